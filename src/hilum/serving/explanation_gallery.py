"""Explanations in a folder: a picture of each, and pages that show the most urgent ones first."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from hilum.decision.operating_point import DECISIONS
from hilum.errors import UsageError
from hilum.files import read_whole, save_bytes, save_text
from hilum.outputs import PAGE, check_folder, check_target
from hilum.serving.explain import Explanation, decisions, draw, full_colour, is_healthy
from hilum.serving.legend import legend
from hilum.serving.model_file import ModelFile
from hilum.serving.prediction import Prediction, urgency
from hilum.templating import render
from hilum.text import Matrix, printable, result_matrix

PER_PAGE = 100  # figures: 2 to 20 MB of pictures, loaded as they come into sight
PANEL = 210  # CSS pixels that each panel of a picture has at least
MOST_FAILED = 200  # unreadable files that are listed; --json and --csv have all
METHODS = {"activation": "class activation", "occlusion": "occlusion"}
SECTIONS = ("wrong", *DECISIONS[::-1])


@dataclass(frozen=True, slots=True)
class Map:
    """What the caption of one heatmap says.

    Attributes:
        child: What it speaks for: a label, or a folder of labels.
        decision: At which folder that was decided; empty at the root.
        share: Its probability there, 0 to 1.
        full_colour: The evidence that has full colour, in log-odds.
        healthy: Whether `child` is healthy, and the map blue.
        method: How the map was made, as `hilum.serving.explain.METHODS` calls it.
    """

    child: str
    decision: str
    share: float
    full_colour: float
    healthy: bool
    method: str


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture of the gallery.

    Attributes:
        picture: Its file, below the gallery's folder.
        size: Width and height in pixels, so that a page need not load it to know where the next one goes.
        name: What distinguishes the image from the others.
        answer: About it.
        truth: The label that its folders name; empty where they name none.
        maps: One for each panel behind the first, which is the radiograph.
    """

    picture: str
    size: tuple[int, int]
    name: str
    answer: Prediction
    truth: str
    maps: tuple[Map, ...] = ()

    @property
    def section(self) -> str:
        """One of `SECTIONS`; an image that was abstained on got no answer that could be wrong."""
        decision = self.answer.decision
        return "wrong" if self.truth not in ("", self.answer.label) and decision != "abstain" else decision


@dataclass(frozen=True, slots=True)
class Figure:
    """What the page says around one picture.

    Attributes:
        shown: The picture, and the answer about it.
        source: The picture's address on the page.
        name: What distinguishes the image from the others, safe to show.
        alt: The picture in one sentence.
        truth: What its folders call it before people; empty where they name no label.
        top: The most probable label and its probability.
        others: The other labels and their probabilities.
    """

    shown: Shown
    source: str
    name: str
    alt: str
    truth: str
    top: str
    others: str


@dataclass(frozen=True, slots=True)
class Counts:
    """How many images there are by triage decision, and by truth and answer where folders name the truth.

    Attributes:
        images: All of them.
        kinds: Decisions, and how many images have each.
        failed: How many could not be read.
        known: How many have folders that name a label.
        agree: Of how many of these it is the most probable one.
        matrix: Their labels against their answers, for the page.
    """

    images: int
    kinds: tuple[tuple[str, int], ...]
    failed: int
    known: int
    agree: int
    matrix: Matrix


def write_pages(folder: Path, shown: Sequence[Shown], failed: Sequence[Prediction], model_file: ModelFile) -> Path:
    """Write ``index.html``, and ``page-2.html`` and so on where there are more than `PER_PAGE` pictures.

    Args:
        folder: Where the pictures lie.
        shown: All pictures.
        failed: What could not be read.
        model_file: Whose answers they are.

    Returns:
        The first page.

    Raises:
        UsageError: A page cannot be written.
    """
    ranked = sorted(shown, key=lambda one: (SECTIONS.index(one.section), *_need(one, model_file), one.name))
    parts = [ranked[start : start + PER_PAGE] for start in range(0, len(ranked), PER_PAGE)] or [[]]
    links: dict[str, str] = {}
    for position, one in enumerate(ranked):
        links.setdefault(one.section, f"{_file(position // PER_PAGE)}#{one.section}")
    common = {
        "model_file": model_file,
        "colours": {},
        "legend": legend(model_file),
        "counts": Counter(one.section for one in shown),
        "links": links,
        "files": [_file(number) for number in range(len(parts))],
        "card": PANEL * (1 + len(decisions(model_file))),
        "methods": METHODS,
        "failed": failed,
        "most_failed": MOST_FAILED,
        "summary": _summary(shown, failed, model_file),
    }
    for number, part in enumerate(parts):
        sections = {name: [_figure(one, model_file) for one in part if one.section == name] for name in SECTIONS}
        content = {**common, "number": number, "sections": {name: found for name, found in sections.items() if found}}
        file = folder / _file(number)
        try:
            if not file.is_symlink():
                check_target(file, PAGE)
            save_text(file, render("gallery.html.j2", content))
        except OSError as error:
            msg = f"{file}: cannot be written ({error.strerror}). Choose another folder for --explain."
            raise UsageError(msg) from error
    return folder / _file(0)


def _need(one: Shown, model_file: ModelFile) -> tuple[float, ...]:
    """Small for what to look at first within its section: of wrong answers the cleared, then the surest."""
    rank, score = urgency(model_file, one.answer)
    if one.section == "wrong":
        return float(one.answer.decision != "clear"), -one.answer.probabilities[one.answer.top]
    return float(-rank), -score


def _file(number: int) -> str:
    return f"page-{number + 1}.html" if number else "index.html"


def _summary(shown: Sequence[Shown], failed: Sequence[Prediction], model_file: ModelFile) -> Counts:
    kinds = Counter(one.answer.decision for one in shown)
    pairs = Counter((one.truth, one.answer.label) for one in shown if one.truth)
    confusion = [[pairs[truth, label] for label in model_file.labels] for truth in model_file.labels]
    return Counts(
        images=len(shown) + len(failed),
        kinds=tuple((kind, kinds[kind]) for kind in SECTIONS if kinds[kind]),
        failed=len(failed),
        known=sum(pairs.values()),
        agree=sum(count for (truth, label), count in pairs.items() if truth == label),
        matrix=result_matrix([model_file.short[label] for label in model_file.labels], confusion),
    )


def _figure(one: Shown, model_file: ModelFile) -> Figure:
    answer, name = one.answer, printable(one.name)
    top = f"{model_file.label_name[answer.top]}, {model_file.percent(answer.probabilities[answer.top])}"
    others = (label for label in model_file.labels if label != answer.top)
    maps = "heatmap" if len(one.maps) == 1 else "heatmaps"
    return Figure(
        shown=one,
        source=quote(one.picture, errors="surrogateescape"),
        name=name,
        alt=f"{name}: radiograph and {maps}. Most probable: {top}. Triage decision: {answer.decision}.",
        truth=model_file.label_name[one.truth] if one.truth else "",
        top=top,
        others="; ".join(f"{model_file.label_name[k]} {model_file.percent(answer.probabilities[k])}" for k in others),
    )


QUALITY = 90  # of JPEG, with full resolution of colours: a quarter of what PNG takes, and no visible difference
COMMENT = b"drawn by hilum predict --explain"  # in every picture: one without it is somebody else's
TAKEN = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)  # another name will do
INDEX = "index.html"


@dataclass
class Gallery:
    """Draws explanations into a folder, one by one, and in the end the pages.

    Args:
        folder: Made if it is not there. An image whose picture would have a name that is too long, or that something
            else has already, gets one by a hash.
        paths: Of all images that are to come; below `folder` they keep what distinguishes them.
        model_file: Whose answers they are.

    Raises:
        UsageError: The folder cannot be made or written to, holds images that are to come, or pages of others.
    """

    folder: Path
    paths: Sequence[Path]
    model_file: ModelFile

    def __post_init__(self) -> None:
        folders = [os.path.abspath(path.parent) for path in self.paths]  # noqa: PTH100 - links are kept
        self.root = os.path.commonpath(folders)
        self.shown: list[Shown] = []
        self.failed: list[Prediction] = []
        self._check()
        self.earlier = (self.folder / INDEX).exists()  # pictures of versions before have no comment
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"{self.folder}: cannot be created ({error.strerror}). Choose another folder for --explain."
            raise UsageError(msg, code="unusable", path=self.folder) from error

    def add(self, path: Path, explanation: Explanation) -> Path:
        """Draw one explanation; the file that was written."""
        relative = os.path.relpath(os.path.abspath(path), self.root)  # noqa: PTH100
        sheet, content = draw(explanation, self.model_file), io.BytesIO()
        sheet.save(content, "JPEG", quality=QUALITY, subsampling=0, comment=COMMENT)
        file = self._save(relative, content.getvalue())
        picture = file.relative_to(self.folder).as_posix()
        maps = tuple(
            Map(
                heatmap.child,
                heatmap.decision,
                heatmap.share,
                full_colour(heatmap),
                is_healthy(heatmap, self.model_file),
                explanation.method,
            )
            for heatmap in explanation.heatmaps
        )
        self.shown.append(Shown(picture, sheet.size, relative, explanation.answer, self.truth_of(path), maps))
        return file

    def _check(self) -> None:
        """Nothing that is read may be replaced, whatever links lead there."""
        check_folder(self.folder, {INDEX: PAGE}, option="--explain")
        home = os.path.realpath(self.folder)
        meant = (os.path.realpath(path) if path.is_symlink() else path for path in self.paths)
        for folder in {os.path.dirname(path) or os.curdir for path in meant}:  # noqa: PTH120 - of links, too
            if os.path.commonpath([home, os.path.realpath(folder)]) == home and self.folder.exists():
                msg = f"--explain {self.folder}: contains images to explain ({folder}). Choose a new folder."
                raise UsageError(msg)

    def _save(self, relative: str, content: bytes) -> Path:
        """Write a picture under the name of its image, or under another one where that cannot be."""
        name = hashlib.sha256(relative.encode(errors="surrogateescape")).hexdigest()[:32]
        natural, other = self.folder / f"{relative}.jpg", self.folder / f"{name}.jpg"
        for file in (natural, other):
            try:
                if not self._may_be(file):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(file))
                file.parent.mkdir(parents=True, exist_ok=True)
                save_bytes(file, content)
            except OSError as error:
                if file == natural and error.errno in TAKEN:
                    continue
                if error.errno in (errno.ENOSPC, errno.EDQUOT):  # not the folder's fault
                    raise
                msg = f"{file}: cannot be written ({error.strerror or error}). Choose another folder for --explain."
                raise UsageError(msg) from error
            break
        return file

    def _may_be(self, file: Path) -> bool:
        """Whether nothing is there but what an earlier call drew, and no link leads out of the folder."""
        home = os.path.realpath(self.folder)
        if os.path.commonpath([home, os.path.realpath(file.parent)]) != home:
            return False
        if file.is_symlink() or not file.exists():  # a link is replaced, not what it leads to
            return True
        return file.is_file() and (self.earlier or COMMENT in read_whole(file, limit=2**30)[:4096])

    def fail(self, answer: Prediction) -> None:
        """Take in an image that could not be read."""
        self.failed.append(answer)

    def truth_of(self, path: Path) -> str:
        """The label that an image's folders name; empty where they name none, or where an image may have several."""
        if self.model_file.findings:
            return ""
        folder = f"/{path.absolute().parent.as_posix().strip('/')}/"
        found = [label for label in self.model_file.labels if folder.endswith(f"/{label}/")]
        return max(found, key=len, default="")

    def close(self) -> Path:
        """Write ``index.html``, and ``page-2.html`` and so on where images are many."""
        return write_pages(self.folder, self.shown, self.failed, self.model_file)

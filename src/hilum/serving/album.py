"""Explanations in a folder: a picture of each, and pages that show the most urgent ones first."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hilum.errors import UsageError
from hilum.opening import read_whole
from hilum.saving import save_bytes
from hilum.serving.album_page import Map, Shown, write_pages
from hilum.serving.answer import Answer
from hilum.serving.bundle import Bundle
from hilum.serving.explanation import Explanation
from hilum.serving.overlay import draw, full_colour, is_healthy
from hilum.targets import PAGE, check_folder

QUALITY = 90  # of JPEG, with full resolution of colours: a quarter of what PNG takes, and no visible difference
COMMENT = b"drawn by hilum predict --explain"  # in every picture: one without it is somebody else's
TAKEN = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)  # another name will do
INDEX = "index.html"


@dataclass
class Album:
    """Draws explanations into a folder, one by one, and in the end the pages.

    Args:
        folder: Made if it is not there. An image whose picture would have a name that is too long, or that something
            else has already, gets one by a hash.
        paths: Of all images that are to come; below `folder` they keep what distinguishes them.
        bundle: Whose answers they are.

    Raises:
        UsageError: The folder cannot be made or written to, holds images that are to come, or pages of others.
    """

    folder: Path
    paths: Sequence[Path]
    bundle: Bundle

    def __post_init__(self) -> None:
        folders = [os.path.abspath(path.parent) for path in self.paths]  # noqa: PTH100 - links are kept
        self.root = os.path.commonpath(folders)
        self.shown: list[Shown] = []
        self.failed: list[Answer] = []
        self._check()
        self.earlier = (self.folder / INDEX).exists()  # pictures of versions before have no comment
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"{self.folder}: cannot be made ({error.strerror}). Choose another folder for --explain."
            raise UsageError(msg, code="unusable", path=self.folder) from error

    def add(self, path: Path, explanation: Explanation) -> Path:
        """Draw one explanation; the file that was written."""
        relative = os.path.relpath(os.path.abspath(path), self.root)  # noqa: PTH100
        sheet, content = draw(explanation, self.bundle), io.BytesIO()
        sheet.save(content, "JPEG", quality=QUALITY, subsampling=0, comment=COMMENT)
        file = self._save(relative, content.getvalue())
        picture = file.relative_to(self.folder).as_posix()
        maps = tuple(
            Map(
                heatmap.child,
                heatmap.decision,
                heatmap.share,
                full_colour(heatmap),
                is_healthy(heatmap, self.bundle),
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
                msg = f"--explain {self.folder}: images to explain lie there ({folder}). Choose a folder that is new."
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

    def fail(self, answer: Answer) -> None:
        """Take in an image that could not be read."""
        self.failed.append(answer)

    def truth_of(self, path: Path) -> str:
        """The label that an image's folders name; empty where they name none."""
        folder = f"/{path.absolute().parent.as_posix().strip('/')}/"
        found = [label for label in self.bundle.labels if folder.endswith(f"/{label}/")]
        return max(found, key=len, default="")

    def close(self) -> Path:
        """Write ``index.html``, and ``page-2.html`` and so on where images are many."""
        return write_pages(self.folder, self.shown, self.failed, self.bundle)

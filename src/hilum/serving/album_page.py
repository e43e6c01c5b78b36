"""The pages of ``--explain``: wrong answers first where folders name the truth, then by the triage decision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hilum.data.operating_point import DECISIONS
from hilum.errors import UsageError
from hilum.printable import printable
from hilum.saving import save_text
from hilum.serving.answer import Answer, legend, urgency
from hilum.serving.bundle import Bundle
from hilum.serving.explanation import decisions
from hilum.targets import PAGE, check_target
from hilum.templating import render
from hilum.text import result_matrix

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
        method: How the map was made, as `hilum.serving.explanation.METHODS` calls it.
    """

    child: str
    decision: str
    share: float
    full_colour: float
    healthy: bool
    method: str


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture of the album.

    Attributes:
        picture: Its file, below the album's folder.
        size: Width and height in pixels, so that a page need not load it to know where the next one goes.
        name: What distinguishes the image from the others.
        answer: About it.
        truth: The label that its folders name; empty where they name none.
        maps: One for each panel behind the first, which is the radiograph.
    """

    picture: str
    size: tuple[int, int]
    name: str
    answer: Answer
    truth: str
    maps: tuple[Map, ...] = ()

    @property
    def section(self) -> str:
        """One of `SECTIONS`; an image that was abstained on got no answer that could be wrong."""
        decision = self.answer.decision
        return "wrong" if self.truth not in ("", self.answer.label) and decision != "abstain" else decision


def write_pages(folder: Path, shown: Sequence[Shown], failed: Sequence[Answer], bundle: Bundle) -> Path:
    """Write ``index.html``, and ``page-2.html`` and so on where there are more than `PER_PAGE` pictures.

    Args:
        folder: Where the pictures lie.
        shown: All pictures.
        failed: What could not be read.
        bundle: Whose answers they are.

    Returns:
        The first page.

    Raises:
        UsageError: A page cannot be written.
    """
    ranked = sorted(shown, key=lambda one: (SECTIONS.index(one.section), *_need(one, bundle), one.name))
    parts = [ranked[start : start + PER_PAGE] for start in range(0, len(ranked), PER_PAGE)] or [[]]
    links: dict[str, str] = {}
    for position, one in enumerate(ranked):
        links.setdefault(one.section, f"{_file(position // PER_PAGE)}#{one.section}")
    common = {
        "bundle": bundle,
        "colours": {},
        "legend": legend(bundle),
        "counts": Counter(one.section for one in shown),
        "links": links,
        "files": [_file(number) for number in range(len(parts))],
        "card": PANEL * (1 + len(decisions(bundle))),
        "failed": failed,
        "most_failed": MOST_FAILED,
        "summary": _summary(shown, failed, bundle),
    }
    for number, part in enumerate(parts):
        sections = {name: [_figure(one, bundle) for one in part if one.section == name] for name in SECTIONS}
        content = {**common, "number": number, "sections": {name: found for name, found in sections.items() if found}}
        file = folder / _file(number)
        try:
            if not file.is_symlink():
                check_target(file, PAGE)
            save_text(file, render("album.html.j2", content))
        except OSError as error:
            msg = f"{file}: cannot be written ({error.strerror}). Choose another folder for --explain."
            raise UsageError(msg) from error
    return folder / _file(0)


def _need(one: Shown, bundle: Bundle) -> tuple[float, ...]:
    """Small for what to look at first within its section: of wrong answers the cleared, then the surest."""
    rank, score = urgency(bundle, one.answer)
    if one.section == "wrong":
        return float(one.answer.decision != "clear"), -one.answer.probabilities[one.answer.label]
    return float(-rank), -score


def _file(number: int) -> str:
    return f"page-{number + 1}.html" if number else "index.html"


def _summary(shown: Sequence[Shown], failed: Sequence[Answer], bundle: Bundle) -> dict[str, Any]:
    """How many images there are by triage decision, and by truth and answer where folders name the truth."""
    kinds = Counter(one.answer.decision for one in shown)
    pairs = Counter((one.truth, one.answer.label) for one in shown if one.truth)
    confusion = [[pairs[truth, label] for label in bundle.labels] for truth in bundle.labels]
    return {
        "images": len(shown) + len(failed),
        "kinds": [(kind, kinds[kind]) for kind in SECTIONS if kinds[kind]],
        "failed": len(failed),
        "known": sum(pairs.values()),
        "agree": sum(count for (truth, label), count in pairs.items() if truth == label),
        "matrix": result_matrix([bundle.short[label] for label in bundle.labels], confusion),
    }


def _figure(one: Shown, bundle: Bundle) -> Mapping[str, Any]:
    """What stands around one picture."""
    answer, name = one.answer, printable(one.name)
    top = f"{bundle.display[answer.label]}, {bundle.percent(answer.probabilities[answer.label])}"
    others = (label for label in bundle.labels if label != answer.label)
    maps = "heatmap" if len(one.maps) == 1 else "heatmaps"
    return {
        "source": quote(one.picture, errors="surrogateescape"),
        "size": one.size,
        "name": name,
        "alt": f"{name}: radiograph and {maps}. Most probable: {top}. Triage decision: {answer.decision}.",
        "truth": bundle.display[one.truth] if one.truth else "",
        "top": top,
        "agrees": one.truth == answer.label,
        "others": "; ".join(f"{bundle.display[k]} {bundle.percent(answer.probabilities[k])}" for k in others),
        "decision": answer.decision,
        "reason": answer.reason,
        "notes": answer.notes,
        "maps": [
            {
                "child": bundle.display.get(item.child, item.child),
                "share": bundle.percent(item.share),
                "given": item.decision,
                "full": f"{item.full_colour:.1f}",
                "healthy": item.healthy,
                "method": METHODS[item.method],
            }
            for item in one.maps
        ],
    }

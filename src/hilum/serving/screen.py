"""Answers on the terminal."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hilum.serving.answer import Answer
from hilum.serving.bundle import Bundle

if TYPE_CHECKING:
    from rich.console import RenderableType

MOST = 40  # rows; of more images only those that need a look are shown
STYLE = {"flag": "bold red", "clear": "green", "abstain": "yellow", "error": "magenta"}


class Summary:
    """Counts all answers, and keeps few of them: memory does not grow with their number."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.shown: list[Answer] = []
        self.troubled: list[Answer] = []

    def add(self, answer: Answer) -> None:
        """Take one more answer into account."""
        self.counts["error" if answer.error else answer.decision] += 1
        if not answer.error:
            self.labels[answer.label] += 1
        if len(self.shown) <= MOST:
            self.shown.append(answer)
        if (answer.error or answer.decision == "abstain" or answer.notes) and len(self.troubled) < MOST:
            self.troubled.append(answer)

    @property
    def total(self) -> int:
        """Images so far."""
        return self.counts.total()


def answer_lines(bundle: Bundle, summary: Summary) -> RenderableType:
    """A table of all answers where they are few, else of those that need a look, and what there was in all."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    few = summary.total <= MOST
    rows = summary.shown if few else summary.troubled
    parts: list[RenderableType] = []
    if rows:
        table = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
        table.add_column("image", overflow="fold", ratio=2)
        for label in bundle.labels:
            table.add_column(_short(label, bundle), justify="right")
        table.add_column("decision")
        why = any(answer.error or answer.notes or answer.decision == "abstain" for answer in rows)
        if why:
            table.add_column("why", overflow="fold", ratio=3)
        folder, names = _names([answer.path for answer in rows])
        table.columns[0].header = f"image in {folder}" if folder else "image"
        for answer, name in zip(rows, names, strict=True):
            table.add_row(name, *_cells(answer, bundle.labels), *([_why(answer)] if why else []))
        parts.append(table)
    kinds = ", ".join(f"{summary.counts[kind]:,} {kind}" for kind in STYLE if summary.counts[kind])
    given = ", ".join(f"{summary.labels[label]:,} {bundle.display[label]}" for label in bundle.labels)
    plural = "" if summary.total == 1 else "s"
    hidden = "" if few or not rows else f" Above: the first {len(rows)} that need a look."
    parts.append(Text(f"{summary.total:,} image{plural}: {kinds}. Most probable: {given}.{hidden}"))
    parts.append(Text(_rule(bundle), style="dim"))
    parts.append(Text(f"Model: {bundle.name} ({bundle.sha256[:12]}). Not for diagnosis.", style="dim"))
    return Group(*parts)


def _short(label: str, bundle: Bundle) -> str:
    name = label.rsplit("/", 1)[-1]
    return f"{name} *" if label == bundle.protected else name


def _cells(answer: Answer, labels: Sequence[str]) -> list[RenderableType]:
    from rich.text import Text

    if answer.error:
        return [*[""] * len(labels), Text("error", STYLE["error"])]
    shown: list[RenderableType] = [
        Text(f"{answer.probabilities[label]:.1%}", "bold" if label == answer.label else "") for label in labels
    ]
    return [*shown, Text(answer.decision, STYLE[answer.decision])]


def _why(answer: Answer) -> str:
    abstained = [f"{answer.reason}."] if answer.decision == "abstain" else []
    return answer.error or " ".join([*abstained, *answer.notes])


def _rule(bundle: Bundle) -> str:
    if point := bundle.facts["operating_point"]:
        group = bundle.display.get(point["group"], point["group"])
        return f"Flagged: {group} from {point['threshold']:.2%} on."
    what = (
        f"those that most probably show {bundle.display[bundle.protected]}" if bundle.protected else "all not healthy"
    )
    return f"No operating point; flagged: {what}."


def _names(paths: Sequence[str]) -> tuple[str, list[str]]:
    """The folder that all paths share, and what is left of each."""
    try:
        folder = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120 - also of bytes and arrays
    except ValueError:  # some are absolute, and some are not
        folder = ""
    if len(paths) == 1 or folder in ("", os.sep):
        return "", list(paths)
    return folder, [os.path.relpath(path, folder) for path in paths]

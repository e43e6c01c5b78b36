"""Decisions about studies on the terminal: the most urgent first, each with its images."""

from __future__ import annotations

import heapq
from collections import Counter
from typing import TYPE_CHECKING

from hilum.data.operating_point import DECISIONS
from hilum.printable import printable
from hilum.serving.answer import Answer, legend, score_of
from hilum.serving.bundle import Bundle
from hilum.serving.screen import MOST_URGENT, STYLE
from hilum.serving.studies import Study

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

MOST = 25  # studies that are shown
IMAGES = 4  # of each


class StudySummary:
    """Counts all studies and keeps the most urgent: memory does not grow with their number.

    Args:
        bundle: Whose answers they are.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.counts: Counter[str] = Counter()
        self.images = self.unreadable = 0
        self._urgent: list[tuple[tuple[int, float], int, Study]] = []

    def add(self, study: Study) -> None:
        """Take one more study into account."""
        self.counts[study.decision] += 1
        self.images += len(study.images)
        self.unreadable += study.unreadable
        need = DECISIONS.index(study.decision), study.score if study.score is not None else 1.0
        item = need, -self.counts.total(), study  # numbers differ: studies are not compared
        if len(self._urgent) < MOST:
            heapq.heappush(self._urgent, item)
        else:
            heapq.heappushpop(self._urgent, item)

    def urgent(self) -> list[Study]:
        """At most `MOST` studies, the most urgent first."""
        return [study for _, _, study in sorted(self._urgent, key=lambda item: item[:2], reverse=True)]


def study_lines(summary: StudySummary) -> RenderableType:
    """The most urgent studies as a table, each with its images, how many there were, and what decisions mean.

    Args:
        summary: Of one study or more.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    bundle, rows = summary.bundle, summary.urgent()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("study", overflow="fold")
    table.add_column("images", justify="right")
    table.add_column(Text(printable(bundle.group) or "score"), justify="right", overflow="fold")
    table.add_column("decision", no_wrap=True)
    notes: dict[str, int] = {}
    if any(study.notes or study.decision in ("abstain", "read") for study in rows):
        table.add_column("note", no_wrap=True)
    for study in rows:
        said = [*([study.reason] if study.decision in ("abstain", "read") else []), *study.notes]
        numbers = "".join(f"[{notes.setdefault(text, len(notes) + 1)}]" for text in said)
        score = "–" if study.score is None else bundle.percent(study.score)
        shown = Text(study.decision, STYLE[study.decision])
        cells: list[RenderableType] = [
            Text(printable(study.name), "bold"),
            str(len(study.images)),
            Text(score, "bold"),
            shown,
        ]
        table.add_row(*cells, *([Text(numbers)] if len(table.columns) > 4 else []))
        if len(study.images) > 1 or study.unreadable:
            for answer in sorted(study.images, key=lambda one: _need(bundle, one))[:IMAGES]:
                table.add_row(*_image(bundle, answer))
            if (left := len(study.images) - IMAGES) > 0:
                table.add_row(Text(f"  and {left:,} more", "dim"))
    total = summary.counts.total()
    kinds = ", ".join(f"{summary.counts[kind]:,} {kind}" for kind in MOST_URGENT if summary.counts[kind])
    hidden = f" Above: the first {len(rows)}, most urgent first." if total > len(rows) else ""
    parts: list[RenderableType] = [table]
    if notes:
        parts.append(_pairs([(Text(f"[{number}]"), Text(printable(text))) for text, number in notes.items()]))
    studies = f"{total:,} stud{'y' if total == 1 else 'ies'} of {summary.images:,} images"
    parts += ["", Text(f"{studies}: {kinds}.{hidden}")]
    words = legend(bundle, of_study=True)
    parts.append(_pairs([(Text(kind, STYLE[kind]), Text(printable(text), "dim")) for kind, text in words]))
    parts.append(Text(f"Model: {printable(bundle.name)} ({bundle.sha256[:12]}). Not for diagnosis.", "dim"))
    return Group(*parts)


def _need(bundle: Bundle, answer: Answer) -> tuple[int, float]:
    """Small for the image to show first: one that could not be read, then by decision and score."""
    if answer.error:
        return -len(DECISIONS), 0.0
    return -DECISIONS.index(answer.decision), -score_of(bundle, answer.probabilities)


def _image(bundle: Bundle, answer: Answer) -> list[RenderableType]:
    from rich.text import Text

    name = Text(f"  {printable(answer.path)}", "dim")
    if answer.error:
        return [name, "", "", Text("not read", "magenta")]
    score = Text(bundle.percent(score_of(bundle, answer.probabilities)), "dim")
    return [name, "", score, Text(answer.decision, STYLE[answer.decision])]


def _pairs(pairs: list[tuple[Text, Text]]) -> Table:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column()
    for first, second in pairs:
        grid.add_row(first, second)
    return grid

"""Answers about images and studies on the terminal: the most urgent first, and what each decision means."""

from __future__ import annotations

import heapq
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from hilum.data.images import WARNED
from hilum.decision.operating_point import DECISIONS
from hilum.serving.finding_decisions import LIKELY
from hilum.serving.legend import legend
from hilum.serving.model_file import ModelFile
from hilum.serving.prediction import Prediction, score_of, urgency
from hilum.serving.studies import StudyPrediction
from hilum.text import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text


Shown = TypeVar("Shown")
MOST = 40  # rows, and files that could not be read
FEW_LABELS = 4  # so many fit into 80 columns; of more the most probable one is shown
CELL = 8  # letters of a probability
MOST_URGENT = DECISIONS[::-1]
STYLE = {"flag": "bold red", "abstain": "yellow", "read": "cyan", "undecided": "", "clear": "green"}


class Urgent(Generic[Shown]):
    """Counts what was decided about and keeps the most urgent: memory does not grow with their number.

    Args:
        model_file: Whose answers they are.
        most: Number of answers or studies that are kept.
    """

    def __init__(self, model_file: ModelFile, most: int) -> None:
        self.model_file, self.most = model_file, most
        self.counts: Counter[str] = Counter()
        self._urgent: list[tuple[tuple[int, float], int, Shown]] = []

    def keep(self, one: Shown, decision: str, need: tuple[int, float]) -> None:
        """Count one, and keep it if it is among the most urgent.

        Args:
            one: An answer or a study.
            decision: The triage decision about it.
            need: How urgent it is, the largest first.
        """
        self.counts[decision] += 1
        item = need, -self.counts.total(), one  # numbers differ: what is kept is not compared
        if len(self._urgent) < self.most:
            heapq.heappush(self._urgent, item)
        else:
            heapq.heappushpop(self._urgent, item)

    def urgent(self) -> list[Shown]:
        """Those that were kept, the most urgent first; equally urgent ones as they came."""
        return [one for _, _, one in sorted(self._urgent, key=lambda item: item[:2], reverse=True)]


class Summary(Urgent[Prediction]):
    """Counts all answers and keeps the most urgent."""

    def __init__(self, model_file: ModelFile) -> None:
        super().__init__(model_file, MOST)
        self.labels: Counter[str] = Counter()
        self.failed: list[Prediction] = []  # the first of them
        self.errors = 0
        self.warned = 0  # answers about images that their decoder complained of

    def add(self, answer: Prediction) -> None:
        """Take one more answer into account."""
        if answer.error:
            self.errors += 1
            if len(self.failed) < MOST:
                self.failed.append(answer)
            return
        self.warned += WARNED in answer.notes
        self.labels.update(likely(answer))
        self.keep(answer, answer.decision, urgency(self.model_file, answer))

    @property
    def answered(self) -> int:
        """Images with an answer so far."""
        return self.counts.total()

    @property
    def total(self) -> int:
        """Files so far."""
        return self.answered + self.errors


def answer_lines(summary: Summary) -> RenderableType:
    """The most urgent answers as a table, notes on them, how many there were, and what the decisions mean.

    Args:
        summary: Of one answer or more.
    """
    from rich.console import Group
    from rich.text import Text

    model_file, rows = summary.model_file, summary.urgent()
    kinds = ", ".join(f"{summary.counts[kind]:,} {kind}" for kind in MOST_URGENT if summary.counts[kind])
    given = (f"{summary.labels[label]:,} {printable(model_file.short[label])}" for label in model_file.labels)
    most = "More probable than not" if model_file.findings else "Most probable"
    plural = "" if summary.answered == 1 else "s"
    more = summary.answered > len(rows)
    hidden = f" Above: the first {len(rows)} of {summary.answered:,}, most urgent first." if more else ""
    folder, names = _names([answer.path for answer in rows])
    shown = (
        list(model_file.labels) if len(model_file.labels) <= FEW_LABELS else [*dict.fromkeys(row.top for row in rows)]
    )
    asides = {label: number for number, label in enumerate((k for k in shown if _is_cut(model_file, k)), 1)}
    notes: dict[str, int] = {model_file.label_name[label]: asides[label] for label in asides}
    table = _answers(model_file, rows, names, asides, notes)
    parts: list[RenderableType] = [_Name(f"in {printable(folder)}{os.sep}")] if folder else []
    parts.append(table)
    if notes:
        parts.append(pairs_of((f"[{number}]", Text(printable(note))) for note, number in notes.items()))
    if summary.failed:
        parts += ["", *_failures(summary)]
    parts += ["", Text(f"{summary.answered:,} image{plural}: {kinds}. {most}: {', '.join(given)}.{hidden}")]
    parts += closing(model_file)
    return Group(*parts)


def closing(model_file: ModelFile, *, of_study: bool = False) -> list[RenderableType]:
    """What is wrong with the training data, what the decisions mean, and of which model they are."""
    from rich.text import Text

    words = legend(model_file, of_study=of_study)
    model = f"Model: {printable(model_file.name)} ({model_file.sha256[:12]}). Not for diagnosis."
    errors = [Text(f"ERROR in the training data: {printable(said)}", "bold red") for said in model_file.data_errors]
    return [
        *errors,
        pairs_of((Text(kind, STYLE[kind]), Text(printable(text), "dim")) for kind, text in words),
        Text(model, "dim"),
    ]


def _answers(
    model_file: ModelFile,
    rows: Sequence[Prediction],
    names: Sequence[str],
    asides: dict[str, int],
    notes: dict[str, int],
) -> Table:
    """One row an answer; what is said of several stands in `notes` once, which receives it."""
    from rich.table import Table
    from rich.text import Text

    few = len(model_file.labels) <= FEW_LABELS
    table = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True)
    table.add_column("image")
    for head in (
        [_heading(model_file.short[k], asides.get(k)) for k in model_file.labels] if few else [Text("probability")]
    ):
        table.add_column(head, justify="right", width=max(CELL, *map(len, head.plain.split())))
    if not few:
        table.add_column("finding" if model_file.findings else "most probable", overflow="fold")
    table.add_column("decision", no_wrap=True)
    noted = [[notes.setdefault(text, len(notes) + 1) for text in _remarks(answer)] for answer in rows]
    if any(noted):
        table.add_column("note", no_wrap=True)
    for answer, name, numbers in zip(rows, names, noted, strict=True):
        chosen = list(model_file.labels) if few else [answer.top]
        bold = likely(answer)
        shown: list[RenderableType] = [
            Text(model_file.percent(answer.probabilities[label]), "bold" if label in bold else "") for label in chosen
        ]
        if not few:
            shown.append(_heading(model_file.short[answer.top], asides.get(answer.top)))
        last = [Text("".join(f"[{number}]" for number in numbers))] if any(noted) else []
        table.add_row(_Name(printable(name)), *shown, Text(answer.decision, STYLE[answer.decision]), *last)
    return table


def likely(answer: Prediction) -> list[str]:
    """The most probable label, or the findings that are more probable than not."""
    if not answer.findings:
        return [answer.label]
    return [name for name, share in answer.probabilities.items() if share >= LIKELY]


def _remarks(answer: Prediction) -> Iterator[str]:
    if answer.decision == "abstain":
        yield answer.reason
    yield from answer.notes


def _is_cut(model_file: ModelFile, label: str) -> bool:
    """Whether a label's heading leaves out a part of its display name, which then stands below the table."""
    return model_file.label_name[label] not in (label, model_file.short[label])


def _heading(name: str, number: int | None) -> Text:
    from rich.text import Text

    return Text(printable(name) + (f" [{number}]" if number else ""))


def _failures(summary: Summary) -> Iterator[RenderableType]:
    from rich.text import Text

    yield Text(f"could not be read: {summary.errors:,}", "magenta")
    for answer in summary.failed:
        yield Text(f"  {printable(answer.path)}: {printable(answer.error)}")
    if summary.errors > len(summary.failed):
        yield Text(f"  and {summary.errors - len(summary.failed):,} more (--json and --csv list all)")


def pairs_of(pairs: Iterable[tuple[str | Text, Text]]) -> Table:
    """A table without lines: what is explained, and its explanation."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column()
    for first, second in pairs:
        grid.add_row(Text(first) if isinstance(first, str) else first, second)
    return grid


def _names(paths: Sequence[str]) -> tuple[str, list[str]]:
    """The folder that all paths share, and what is left of each."""
    try:
        folder = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120 - also of bytes and arrays
    except ValueError:  # some are absolute, and some are not
        folder = ""
    if len(paths) == 1 or folder in ("", os.sep):
        return "", list(paths)
    return folder, [os.path.relpath(path, folder) for path in paths]


def fold(name: str, width: int) -> list[str]:
    """Divide a path into lines: behind its separators, and within a word only where that alone is too long.

    Args:
        name: Without line ends.
        width: Of a line in terminal cells, 1 or more.
    """
    from rich.cells import cell_len, chop_cells

    lines = [""]
    for piece in re.findall(r"[^/\\_\- ]*[/\\_\- ]|[^/\\_\- ]+", name):
        if cell_len(lines[-1] + piece) <= width:
            lines[-1] += piece
        else:
            lines += chop_cells(piece, width)
    return [line for line in lines if line]


class _Name:
    """A path in a table's cell (see `fold`)."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        from rich.cells import cell_len
        from rich.measure import Measurement

        return Measurement(min(12, cell_len(self.text)), cell_len(self.text))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        from rich.text import Text

        yield Text("\n".join(fold(self.text, options.max_width)), no_wrap=True)


MOST_STUDIES = 25  # studies that are shown
IMAGES = 4  # of each


class StudySummary(Urgent[StudyPrediction]):
    """Counts all studies and keeps the most urgent."""

    def __init__(self, model_file: ModelFile) -> None:
        super().__init__(model_file, MOST_STUDIES)
        self.images = self.unreadable = 0

    def add(self, study: StudyPrediction) -> None:
        """Take one more study into account."""
        self.images += len(study.images)
        self.unreadable += study.unreadable
        need = DECISIONS.index(study.decision), study.score if study.score is not None else 1.0
        self.keep(study, study.decision, need)


def study_lines(summary: StudySummary) -> RenderableType:
    """The most urgent studies as a table, each with its images, how many there were, and what decisions mean.

    Args:
        summary: Of one study or more.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    model_file, rows = summary.model_file, summary.urgent()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("study", overflow="fold")
    table.add_column("images", justify="right")
    table.add_column(Text(printable(model_file.group) or "score"), justify="right", overflow="fold")
    table.add_column("decision", no_wrap=True)
    notes: dict[str, int] = {}
    if any(study.notes or study.decision in ("abstain", "read") for study in rows):
        table.add_column("note", no_wrap=True)
    for study in rows:
        said = [*([study.reason] if study.decision in ("abstain", "read") else []), *study.notes]
        numbers = "".join(f"[{notes.setdefault(text, len(notes) + 1)}]" for text in said)
        score = "–" if study.score is None else model_file.percent(study.score)
        shown = Text(study.decision, STYLE[study.decision])
        cells: list[RenderableType] = [
            Text(printable(study.name), "bold"),
            str(len(study.images)),
            Text(score, "bold"),
            shown,
        ]
        table.add_row(*cells, *([Text(numbers)] if len(table.columns) > 4 else []))
        if len(study.images) > 1 or study.unreadable:
            for answer in sorted(study.images, key=lambda one: _need(model_file, one))[:IMAGES]:
                table.add_row(*_image(model_file, answer))
            if (left := len(study.images) - IMAGES) > 0:
                table.add_row(Text(f"  and {left:,} more", "dim"))
    total = summary.counts.total()
    kinds = ", ".join(f"{summary.counts[kind]:,} {kind}" for kind in MOST_URGENT if summary.counts[kind])
    hidden = f" Above: the first {len(rows)}, most urgent first." if total > len(rows) else ""
    parts: list[RenderableType] = [table]
    if notes:
        parts.append(pairs_of((f"[{number}]", Text(printable(text))) for text, number in notes.items()))
    studies = f"{total:,} stud{'y' if total == 1 else 'ies'} of {summary.images:,} images"
    parts += ["", Text(f"{studies}: {kinds}.{hidden}")]
    parts += closing(model_file, of_study=True)
    return Group(*parts)


def _need(model_file: ModelFile, answer: Prediction) -> tuple[int, float]:
    """Small for the image to show first: one that could not be read, then by decision and score."""
    if answer.error:
        return -len(DECISIONS), 0.0
    return -DECISIONS.index(answer.decision), -score_of(model_file, answer.probabilities)


def _image(model_file: ModelFile, answer: Prediction) -> list[RenderableType]:
    from rich.text import Text

    name = Text(f"  {printable(answer.path)}", "dim")
    if answer.error:
        return [name, "", "", Text("not read", "magenta")]
    score = Text(model_file.percent(score_of(model_file, answer.probabilities)), "dim")
    return [name, "", score, Text(answer.decision, STYLE[answer.decision])]

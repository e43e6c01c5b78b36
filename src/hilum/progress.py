"""How long work tells people that it moves: bars on a terminal, plain lines elsewhere, nothing for libraries.

Rooms receive a `Progress` and never print by themselves, so that ``--json -`` keeps standard output clean. Titles and
remarks may hold names from files: they are shown as they are, never as markup (`hilum.text`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from hilum.text import printable

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

Advance = Callable[[int], None]


class Progress:
    """The silent one: the default of every library function."""

    def line(self, text: str) -> None:
        """Say one line about what was found or done."""

    def status(self, text: str) -> None:
        """Change the remark beside the current bar (the latest loss, the best accuracy)."""

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Advance]:
        """Show a task of `total` parts; the yielded function is called with the number newly done."""
        del title, total
        yield lambda done: None


class PlainProgress(Progress):
    """Lines on standard error: after five seconds, then ever more seldom, about twenty a factor of ten in time."""

    SECONDS_BETWEEN_LINES = 5.0
    _status = ""

    def status(self, text: str) -> None:
        """Put the remark behind the next line of the current task."""
        self._status = f"  {printable(text)}"

    def line(self, text: str) -> None:
        """Print the line."""
        sys.stderr.write(f"{printable(text)}\n")
        sys.stderr.flush()

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Advance]:
        """Print how far the task is, now and then, and how long it took."""
        begin = last = time.monotonic()
        finished = 0

        def advance(done: int) -> None:
            nonlocal finished, last
            finished += done
            now = time.monotonic()
            pause = max(self.SECONDS_BETWEEN_LINES, (now - begin) / 8)
            if now - last >= pause and finished < total:
                last = now
                self.line(f"{title}: {finished} of {total}{self._status}")

        self._status = ""
        yield advance
        self.line(f"{title}: {finished} of {total} in {time.monotonic() - begin:.1f} s{self._status}")
        self._status = ""


class TerminalProgress(Progress):
    """Rich bars on standard error; a task within a task gets a bar below it."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False, emoji=False)
        self._bars: Bars | None = None
        self._updates: list[Callable[[str], None]] = []

    def line(self, text: str) -> None:
        """Print the line above the bars."""
        self.console.print(printable(text), markup=False)

    def status(self, text: str) -> None:
        """Show the remark at the end of the innermost bar."""
        if self._updates:
            self._updates[-1](printable(text))

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Advance]:
        """Show a bar with the time left; it stays, complete, when the task is done, unless it was within another."""
        outermost = self._bars is None
        bars = self._bars = self._bars or self._new()
        with bars if outermost else nullcontext():
            number = bars.add_task(printable(title), total=total, status="")
            self._updates.append(lambda text: bars.update(number, status=text))
            try:
                yield lambda done: bars.advance(number, done)
            finally:
                self._updates.pop()
                if outermost:
                    self._bars = None
                else:
                    bars.remove_task(number)

    def _new(self) -> Bars:
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars
        from rich.table import Column

        return Bars(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, min_width=20)),
            BarColumn(bar_width=16),
            MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=9)),
            TimeRemainingColumn(elapsed_when_finished=True, table_column=Column(no_wrap=True, min_width=7)),
            TextColumn(
                "{task.fields[status]}",
                style="dim",
                markup=False,
                table_column=Column(no_wrap=True, ratio=1, overflow="ellipsis"),
            ),
            console=self.console,
            expand=True,
        )


def progress_for_terminal() -> Progress:
    """Bars where standard error is a terminal, plain lines elsewhere."""
    return TerminalProgress() if sys.stderr.isatty() else PlainProgress()

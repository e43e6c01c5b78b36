"""Results that print as tables on a terminal and show as tables in a notebook."""

from __future__ import annotations

import io
import sys
from abc import ABC, abstractmethod
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hilum.api.python_wording import public
from hilum.errors import RunError
from hilum.outputs import PAGE, check_target

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console, RenderableType

WIDTH = 110  # characters; the tables of the command line are made for 80 to 120
CODE = (
    '<pre style="white-space:pre;overflow-x:auto;line-height:normal;'
    "font-family:Menlo,'DejaVu Sans Mono',consolas,'Courier New',monospace\">{code}</pre>"
)


class Writable(Protocol):
    """A typed result."""

    def to_json(self) -> dict[str, Any]:
        """As its JSON file holds it."""


class Printed(ABC):
    """Something with a table: `print` shows it, and so does a notebook."""

    @abstractmethod
    def _table(self) -> RenderableType:
        """What the command line prints about it."""

    def __str__(self) -> str:
        console, written = _console()
        console.print(self._table())
        return written.getvalue().rstrip()

    def _repr_html_(self) -> str:
        console, _ = _console()
        console.print(self._table())
        return console.export_html(inline_styles=True, code_format=CODE)


class Result(Printed):
    """A result that prints as a table and is written as JSON."""

    @abstractmethod
    def _document(self) -> Writable:
        """What the command line writes about it."""

    def to_json(self) -> dict[str, Any]:
        """The object of the JSON file that the command line writes."""
        return self._document().to_json()


class Reported(Result):
    """A result with a report."""

    @abstractmethod
    def _write_page(self, file: Path) -> Path:
        """Write the report; the file is new, or an earlier page."""

    @public
    def to_html(self, path: str | PathLike[str]) -> Path:
        """Write the report, pictures included, as one HTML file.

        Args:
            path: File to write.

        Returns:
            The file.

        Raises:
            RunError: There is no such folder, or it cannot be written.
            UsageError: There is a folder, a link, or a file that hilum has not written.
        """
        return self._write_page(page_file(path))


def displayed(figure: Figure) -> Figure:
    """A figure of a report as a program or a notebook shows it: on white, and as a picture in a cell's output."""
    figure.set_facecolor("white")
    ipython = sys.modules.get("IPython")
    if ipython and (shell := ipython.get_ipython()):
        from IPython.core.pylabtools import select_figure_formats

        select_figure_formats(shell, {"png"})
    return figure


def page_file(path: str | PathLike[str]) -> Path:
    """Where a page may be written: a name that is new, or an earlier page, in a folder that exists.

    Raises:
        RunError: There is no such folder.
        UsageError: There is a folder, a link, or a file that hilum has not written.
    """
    file = Path(path)
    if not file.parent.is_dir():
        msg = f"{file}: there is not a folder {file.parent}. Make it, or choose another place."
        raise RunError(msg, code="no-folder", path=file)
    check_target(file, PAGE)
    return file


def _console() -> tuple[Console, io.StringIO]:
    from rich.console import Console

    written = io.StringIO()
    return Console(file=written, record=True, width=WIDTH, highlight=False, emoji=False, force_jupyter=False), written

"""The options that say how DATA is read, the same for every command that takes one."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from hilum.data.options import ReadOptions
from hilum.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

PANEL = "Reading DATA"


def _column(of: str, more: str = "") -> Any:
    text = f"Column of the {of}, if its name does not say so{more}."
    return typer.Option(metavar="NAME", help=text, rich_help_panel=PANEL)


def _options(
    *,
    path_column: Annotated[str, _column("image paths")] = "",
    label_column: Annotated[str, _column("labels")] = "",
    patient_column: Annotated[str, _column("patients")] = "",
    split_column: Annotated[str, _column("splits", "; none: no column and no folder of a path is one")] = "",
    patients: Annotated[
        str,
        typer.Option(
            metavar="auto|none",
            help="Recognise patients by DICOM headers and by the file names of public sets where no column or folder "
            "has them, or do not.",
            rich_help_panel=PANEL,
        ),
    ] = "auto",
) -> ReadOptions | None:
    """The options together; None where nothing was said."""
    if patients not in ("auto", "none"):
        msg = f"--patients {patients}: auto or none."
        raise UsageError(msg)
    chosen = ReadOptions(
        path_column, label_column, patient_column, split_column, "none" if patients == "none" else "auto"
    )
    return None if chosen == ReadOptions() else chosen


def reads_data(command: Callable[..., None]) -> Callable[..., None]:
    """Add these options to a command, which receives them together as `read` (None where nothing was said)."""
    options = inspect.signature(_options, eval_str=True).parameters
    own = inspect.signature(command, eval_str=True)

    @functools.wraps(command)
    def with_options(**values: Any) -> None:
        read = _options(**{name: values.pop(name) for name in options})
        command(**values, read=read)

    kept = [parameter for name, parameter in own.parameters.items() if name != "read"]
    shown = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in [*kept, *options.values()]]
    described = cast("Any", with_options)
    described.__signature__ = own.replace(parameters=shown)
    described.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return with_options

"""The options that say how DATA is read, and what the command line says of an error."""

from __future__ import annotations

import errno
import functools
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from hilum.data.options import ReadOptions, parse_label_map
from hilum.errors import HilumError, UsageError
from hilum.extras import explained
from hilum.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    from hilum.data.dataset import Dataset
    from hilum.documents import Document


PANEL = "Reading DATA"
UNLOADED = {"Dataset": object}  # named by signatures alone: importing it takes NumPy, and --help needs none


def _column(of: str, more: str = "") -> Any:
    text = f"Column of the {of}, if not recognised by its name{more}."
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
            help="auto: recognise patients also by DICOM headers and by file names of public sets; none: do not.",
            rich_help_panel=PANEL,
        ),
    ] = "auto",
    layout: Annotated[
        str,
        typer.Option(
            metavar="NAME|plain",
            help="Layout of a public dataset, if it is not recognised (hilum datasets lists them); plain: none.",
            rich_help_panel=PANEL,
        ),
    ] = "",
    mapped: Annotated[
        list[str] | None,
        typer.Option(
            "--map-label",
            metavar="SRC=DST",
            help="Rename a label of DATA; SRC= leaves its images out; may be repeated.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    finding_columns: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Columns of findings, of which an image may have several: 1, 0, -1 (uncertain) or empty (unknown).",
            rich_help_panel=PANEL,
        ),
    ] = "",
) -> ReadOptions | None:
    """The options together; None where nothing was said."""
    if patients not in ("auto", "none"):
        msg = f"--patients {patients}: auto or none."
        raise UsageError(msg)
    findings = tuple(name.strip() for name in finding_columns.split(",") if name.strip())
    chosen = ReadOptions(
        path_column,
        label_column,
        patient_column,
        split_column,
        "none" if patients == "none" else "auto",
        layout,
        parse_label_map(mapped or ()),
        findings,
    )
    return None if chosen == ReadOptions() else chosen


def reads_data(command: Callable[..., None]) -> Callable[..., None]:
    """Add these options to a command, which receives them together as `read` (None where nothing was said).

    An option that the command has itself stays its own.
    """
    own = _named(command)
    options = {name: parameter for name, parameter in _named(_options).items() if name not in own}

    @functools.wraps(command)
    def with_options(**values: Any) -> None:
        read = _options(**{name: values.pop(name) for name in options})
        command(**values, read=read)

    return _described(with_options, command, options)


def joins_data(command: Callable[..., None]) -> Callable[..., None]:
    """The same for a command that takes several DATA; it receives one as its path, and several joined."""

    @functools.wraps(command)
    def with_options(data: list[Path], **values: Any) -> None:
        read = _options(**{name: values.pop(name) for name in _named(_options)})
        joining = {name: values.pop(name) for name in _named(_joining) if name != "data"}
        command(data=_joining(data, read, **joining), **values, read=read)

    return _described(with_options, command, {**_named(_joining), **_named(_options)})


def _joining(
    data: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA",
            help="Class folders, a folder with metadata.csv, or a CSV; several are joined.",
            show_default=False,
        ),
    ],
    read: ReadOptions | None,
    *,
    same_patients: Annotated[
        bool,
        typer.Option(
            "--same-patients", help="Equal patient names of several DATA mean one person.", rich_help_panel=PANEL
        ),
    ] = False,
) -> Path | Dataset:
    if len(data) == 1:
        if same_patients:
            msg = "--same-patients goes with several DATA, and there is one. Leave it out."
            raise UsageError(msg, code="ignored-option")
        return data[0]
    from hilum.data.joined import join, read_datasets
    from hilum.progress import progress_for_terminal

    read = read or ReadOptions()
    tables = read_datasets(data, replace(read, label_map=()), progress_for_terminal())
    return join(tables, map_label=dict(read.label_map), same_patients=same_patients)


def _named(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    found = inspect.signature(function, eval_str=True, locals=UNLOADED).parameters
    return {name: parameter for name, parameter in found.items() if name != "read"}


def _described(
    made: Callable[..., None], command: Callable[..., None], options: Mapping[str, inspect.Parameter]
) -> Callable[..., None]:
    """Give a command the parameters that it had, but for `read`, and these options."""
    parameters = {**_named(command), **options}
    shown = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters.values()]
    described = cast("Any", made)
    described.__signature__ = inspect.signature(command, eval_str=True, locals=UNLOADED).replace(parameters=shown)
    described.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return made


TRAINING = ("train", "sweep", "crossval", "summary")  # the commands that take --set
RESUMED = ("train", "sweep", "crossval")  # those that take --resume
MISUSED = typer.BadParameter.__mro__[1]  # what all errors of the parser are; Typer has brought Click along since 0.26
NO_MEMORY = ("allocate memory", "out of memory", "bad_alloc")  # how PyTorch on CPU and GPU says it


def show(screen: RenderableType) -> None:
    """Print what a screen made; its names are escaped, and hold no codes of emoji either (``:100:`` stays)."""
    from rich.console import Console

    Console(highlight=False, emoji=False).print(screen)


def say(text: str, *, err: bool = False) -> None:
    """Print one line, whatever names are in it."""
    typer.echo(printable(text), err=err)


def message_of(error: Exception, arguments: Sequence[str]) -> tuple[str | None, int]:
    """The message about an error, and the exit code.

    Args:
        error: As it left a command or the parser.
        arguments: Of the command line, without the program's name.

    Returns:
        None where the error is not one that is foreseen; an empty message where all was said already.
    """
    if isinstance(error, HilumError):
        kind = "usage" if isinstance(error, UsageError) else "error"
        return f"{kind}: {printable(str(error))}", error.exit_code
    if isinstance(error, ModuleNotFoundError):
        missing = explained(error, f"hilum {arguments[0]}" if arguments else "hilum")
        return (f"error: {missing}", missing.exit_code) if missing else (None, 1)
    if isinstance(error, MISUSED):
        return _misused(error, arguments), 2
    full = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
    if full or any(words in str(error) for words in NO_MEMORY):
        smaller = "Give a smaller training.eval_batch_size, or without an encoder a smaller training.batch_size or "
        smaller += "preprocessing.size, by --set, or free"
        what = smaller if arguments and arguments[0] in TRAINING else "Free"
        return f"error: hilum needs more memory than it can have here. {what} memory, and repeat the command.", 1
    if isinstance(error, OSError):  # a full disk, a folder that is a file, missing permissions
        where = printable(str(error.filename)) if error.filename else "a file or a connection"
        what = printable(str(error.strerror or error))
        return f"error: {where}: {what}. Check the path, its permissions and the free disk space.", 1
    return None, 1


def interrupted(arguments: Sequence[str]) -> str:
    """What to do after Ctrl-C.

    Args:
        arguments: Of the command line, without the program's name.
    """
    if not arguments or arguments[0] not in RESUMED:
        return "interrupted."
    return "interrupted. To continue, repeat the command with --resume; if nothing was saved yet, without it."


def _misused(error: Exception, arguments: Sequence[str]) -> str:
    """What the parser found, in the style of all other messages."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "hilum"
    option = getattr(error, "option_name", None)
    if option and context and context.info_name in TRAINING and (setting := _as_setting(option, arguments)):
        return f"usage: {command} has no option {printable(option)}. {setting}"
    lines: list[str] = getattr(error, "format_message", lambda: "")().splitlines()
    found = " ".join(printable(line.strip()) for line in lines)
    if not found and context:  # no arguments at all
        return str(context.get_help())
    end = "" if found.endswith((".", "?", ")")) else "."
    return f"usage: {found}{end} See: {command} --help"


def _as_setting(option: str, arguments: Sequence[str]) -> str:
    """How what looks like an option of training is written; empty where it is like no key of a recipe."""
    from hilum.training.recipe import suggestion

    given = next((text for text in arguments if text.split("=")[0] == option), option)
    _, equals, value = given.partition("=")
    following = [*arguments, ""][arguments.index(given) + 1] if given in arguments else ""
    value = value if equals else "" if following.startswith("-") else following
    return suggestion(option.lstrip("-").replace("-", "_"), printable(value) or "VALUE")


def print_json(facts: object) -> None:
    """Print an object for programs.

    Raises:
        UsageError: Standard output is closed, and it would be lost without a word.
    """
    import sys

    from hilum.files import json_text

    if sys.stdout is None:
        msg = "--json: standard output is closed. Open it, or omit --json."
        raise UsageError(msg)
    typer.echo(json_text(facts))


def print_result(result: Document, shown: RenderableType, page: Path, *, as_json: bool) -> None:
    """Print what a command found: as JSON and nothing else, or as a table with the places of files and page."""
    if as_json:
        print_json(result.to_json())
        return
    show(shown)
    say(f"written: {page.parent}")
    say(f"page: {page}")

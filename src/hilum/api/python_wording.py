"""Messages name options as the command line spells them; a program reads them as arguments of Python.

`public` does so for every error that leaves a function of the interface, and `PythonProgress` for what long work says.
An option or command without a counterpart in Python, such as ``hilum audit --clean``, stays as it is.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

from hilum.errors import HilumError, RunError
from hilum.progress import Advance, Progress, progress_for_terminal
from hilum.signatures import typed
from hilum.text import printable

P = ParamSpec("P")
R = TypeVar("R")

FLAGS = ("resume", "int8")
NAMES = {  # where they differ
    "prevalence": "prevalences",
    "logger": "loggers",
    "label-name": "label_names",
    "finding-columns": "findings",
}
LISTS = ("prevalence", "logger")
OPTIONS = (
    *("path-column", "label-column", "patient-column", "split-column", "patients", "split", "out", "recipe", "seed"),
    *("positive-label", "predictions", "model", "monitor", "folds", "threads", "licence", "card-intro", "map-label"),
    *("sr", "fhir"),
    *(*FLAGS, *NAMES, "set"),
)
COMMANDS = {"train": "train", "evaluate": "evaluate", "export": "export", "crossval": "cross_validate"}
VALUE = r"'[^']*'|[^\s'=,;]+='?[^\s;']*?'?(?=[.,;:]?(?:\s|$))|\d+(?:\.\d+)?|[A-Z]{2,}|none\b|auto\b"
OPTION = re.compile(rf"(?<![\w/-])--({'|'.join(OPTIONS)})(?![\w-])(?: ({VALUE}))?")
COMMAND = re.compile(rf"`?\bhilum ({'|'.join(COMMANDS)})((?: (?:'[^']*'|[^\s`;,()']+))+)`?")
LEDGER = re.compile(r"--ledger(?: FILE)? or (?=HILUM_LEDGER)")
PLACEHOLDER = re.compile(r"[A-Z]+")
NUMBER = re.compile(r"\d+(\.\d+)?")


def public(function: Callable[P, R]) -> Callable[P, R]:
    """A function of the interface: its arguments are checked, and its errors speak Python.

    Raises:
        ArgumentError: An argument is of another type, or none of the values that are allowed.
    """
    checked = typed(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with speaking_python():
            return checked(*args, **kwargs)

    return call


@contextmanager
def speaking_python() -> Iterator[None]:
    """Let errors of hilum name arguments of Python instead of options; what the system refuses is one of them."""
    try:
        yield
    except HilumError as error:
        error.args = (in_python(str(error)), *error.args[1:])
        raise
    except OSError as error:
        where = printable(str(error.filename)) if error.filename else "a file or a connection"
        msg = f"{where}: {error.strerror or error}. Check the place, its permissions and the room on the disk."
        raise RunError(msg, code="system", path=error.filename) from error


def in_python(text: str) -> str:
    """A message with the arguments and functions of Python in place of options and commands."""
    return OPTION.sub(_argument, COMMAND.sub(_call, LEDGER.sub("", text)).replace("--ledger FILE", "HILUM_LEDGER=FILE"))


class PythonProgress(Progress):
    """Shows the progress as another does, with its remarks in the words of Python."""

    def __init__(self, shown: Progress) -> None:
        self.shown = shown

    def line(self, text: str) -> None:
        """Say one line."""
        self.shown.line(in_python(text))

    def status(self, text: str) -> None:
        """Change the remark beside the current bar."""
        self.shown.status(text)

    @contextmanager
    def task(self, title: str, total: int) -> Iterator[Advance]:
        """Show a task."""
        with self.shown.task(title, total) as advance:
            yield advance


def told(progress: bool) -> Progress:
    """Whom long work tells how far it is: a terminal or notebook, or nobody."""
    return PythonProgress(progress_for_terminal()) if progress else Progress()


def _argument(found: re.Match[str]) -> str:
    return _keyword(found[1], found[2])


def _keyword(option: str, value: str | None) -> str:
    """An option as an argument."""
    if option == "set":
        key, _, setting = (value or "").partition("=")
        swept = "," in setting and not setting.startswith(("{", "["))
        return f"{{'{key}': [{setting}]}}" if swept else f"{key.replace('.', '__')}={setting}" if value else "settings"
    name = NAMES.get(option, option.replace("-", "_"))
    if option in FLAGS:
        return f"{name}=True"
    if value is None:
        return name
    if option == "map-label":
        source, equals, target = value.strip("'").partition("=")
        return f"{name}={{'{source}': '{target}'}}" if equals else f"{name} {value}"
    return f"{name}=[{_literal(value)}]" if option in LISTS else f"{name}={_literal(value)}"


def _literal(value: str) -> str:
    value = value.removeprefix("'").removesuffix("'")
    return value if PLACEHOLDER.fullmatch(value) or NUMBER.fullmatch(value) else repr(value)


def _call(found: re.Match[str]) -> str:
    """A command as a call; as it is where the words behind it are prose, or an option has no counterpart."""
    command, end = found[1], ""
    words = _words(found[2])
    if words and words[-1].endswith(".") and not words[-1].endswith(".."):
        words[-1], end = words[-1].removesuffix("."), "."
    places: list[str] = []
    named: dict[str, str] = {}
    while words:
        word = words.pop(0)
        option = word.removeprefix("--")
        if word.startswith("--"):
            if option not in OPTIONS or (option not in FLAGS and not words):
                return found[0]
            named[option] = "" if option in FLAGS else words.pop(0)
        elif PLACEHOLDER.fullmatch(word) or "/" in word or "." in word or found[0].startswith("`"):
            places.append(word)
        elif places or named:  # the sentence goes on
            end = f" {' '.join([word, *words])}{end}"
            break
        else:
            return found[0]
    given = [_literal(place) for place in places]
    if command == "evaluate" and "model" in named:
        given = [f"data={place}" for place in given]
    given += [_keyword(option, named[option] or None) for option in named]
    return f"hilum.{COMMANDS[command]}({', '.join(given)}){end}"


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()

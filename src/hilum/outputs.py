"""Where a user wants something written: refused where that would take away what is no earlier output of the same kind.

A shell makes the first radiograph the value of ``--json`` in ``hilum predict --json *.png``, and a hand slips. What is
there already is looked at before any work, and is replaced only if it begins as hilum writes it, or is empty. Pipes,
terminals and ``/dev/null`` are written to as they are, since a rename would take the device away.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from hilum.errors import RunError, UsageError
from hilum.files import open_regular

START = 2**16  # bytes that are looked at
LINKS = 40  # in a chain, as many as Linux follows
PATIENCE = 10.0  # seconds that a named pipe may take to find its reader


@dataclass(frozen=True, slots=True)
class Kind:
    """What an output begins with.

    Attributes:
        name: What messages call it.
        starts: Bytes, one of which it begins with, blanks and the case of letters aside.
        holds: Bytes, one of which it holds near its beginning; any where there are none.
    """

    name: str
    starts: tuple[bytes, ...]
    holds: tuple[bytes, ...] = (b"",)

    def fits(self, start: bytes) -> bool:
        """Whether a file that begins so is one, or is empty."""
        text = start.strip().lower()
        return not text or (text.startswith(self.starts) and any(held in text for held in self.holds))


LINES = Kind("JSON lines of hilum predict", (b'{"path"', b'{"study"'))
_COLUMNS = (b"path,label,label_name,decision,", b"path,label,display,decision,")  # of today, and of version 0.1
ROWS = Kind("table of hilum predict", (*_COLUMNS, *(b"study,row," + names for names in _COLUMNS)))
MODEL = Kind("model file of hilum", (b"r",), (b"\n\x05hilum\x12",))  # `hilum.serving.onnx_file`; r is its first field
PAGE = Kind("page of hilum", (b"<!doctype html",), (b"hilum",))
CERTIFICATE = Kind("certificate of hilum", (b"{",), (b'"false_negative_rate"', b'"miss_rate"'))
LEDGER = Kind("ledger of hilum", (b'{"before":',))
METRICS = Kind("metrics.json of hilum", (b"{",), (b'"n_images"',))
PREDICTIONS = Kind("table of hilum evaluate", (b"path,patient_id,label,predicted,", b"path,patient_id,true:"))
DECISIONS = Kind("table of hilum evaluate", (b"path,patient_id,label,decision,", b"path,patient_id,reason,"))
ACCESS = Kind("access_log.json of hilum", (b"{",), (b'"ledger"',))
COMPARISON = Kind("comparison of hilum", (b"{",), (b'"hilum"',))
AUDIT = Kind("audit of hilum", (b"{",), (b'"hilum"',))
CARD = Kind("model card of hilum", (b"---\nlibrary_name: hilum", b'---\nlibrary_name: "hilum"'))
CONFIG = Kind("config.json of hilum", (b"{",), (b'"model_type": "hilum"',))


def check_target(
    path: Path,
    kind: Kind,
    *,
    option: str = "",
    inputs: Iterable[Path] = (),
    outputs: Mapping[str, Path] | None = None,
    streams: bool = False,
) -> None:
    """Find before any work whether a file may be written.

    Args:
        path: Where it is to be.
        kind: What it will be.
        option: What the user wrote before it, such as ``--json``.
        inputs: What is read; only asked for if there is something at `path`.
        outputs: Everything else that is written, by option.
        streams: Whether pipes and the like will do, as `open_stream` opens them.

    Raises:
        UsageError: It is a folder, a link, a device, an input, another output, or a file of another kind.
    """
    said = f"{option} {path}".strip()
    if is_stream(path):
        if streams:
            return
        msg = f"{said}: not a file, but a pipe, terminal or device. Name a new file."
        raise UsageError(msg)
    place = _place(path)
    for other, file in (outputs or {}).items():
        if not is_stream(file) and _place(file) == place:
            msg = f"{said}: {other} writes there, too. Give each a separate file."
            raise UsageError(msg)
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        msg = f"{said}: cannot be written ({getattr(error, 'strerror', '') or error}). Choose another path."
        raise UsageError(msg) from error
    what = ""
    if stat.S_ISDIR(found.st_mode):
        what = "is a folder"
    elif stat.S_ISLNK(found.st_mode):
        what = f"is a symbolic link to {path.readlink()}"
    elif not stat.S_ISREG(found.st_mode):
        what = "is not a file"
    elif (found.st_dev, found.st_ino) in map(_identity, inputs):
        what = "is an input of this command"
    elif not kind.fits(_start(path)):
        what = f"exists and is not a {kind.name}"
    if what:
        msg = f"{said}: {what}. Nothing was written. Choose a new name."
        raise UsageError(msg, code="in-the-way", path=path)


def check_folder(folder: Path, kinds: Mapping[str, Kind], *, option: str = "--out") -> None:
    """Find before any work whether files of fixed names may be written into a folder.

    Links are no obstacle here: `hilum.files` replaces them, and what they lead to stays.

    Args:
        folder: Need not exist.
        kinds: What is written, by name.
        option: What the user wrote before the folder.

    Raises:
        UsageError: It is no folder, or holds a file of such a name that is of another kind, or a folder.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        msg = f"{option} {folder}: not a folder. Nothing was written. Choose a new name."
        raise UsageError(msg, code="no-folder", path=folder)
    for name, kind in kinds.items():
        file = folder / name
        if folder.is_dir() and not file.is_symlink():
            check_target(file, kind, option=f"{option} {folder}:")


def check_file_place(out: Path) -> None:
    """Find before any work whether there is a place for a file.

    Raises:
        RunError: There is a folder instead, or none around it.
    """
    if out.is_dir() or not out.absolute().parent.is_dir():
        what = "is a folder" if out.is_dir() else "lies in a folder that does not exist"
        msg = f"{out}: {what}. Name a file, such as model.onnx."
        raise RunError(msg, code="unusable", path=out)


def is_stream(path: Path) -> bool:
    """Whether a name leads to a pipe, a terminal or the like, which is written to and never replaced."""
    if descriptor_of(path) is not None:
        return True
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)


def descriptor_of(path: Path) -> int | None:
    """The open file of this process that is meant by ``/dev/stdout``, ``/dev/fd/63`` (as ``>(gzip)``) and the like."""
    homes = {os.path.realpath("/dev/fd"), os.path.realpath("/proc/self/fd")}
    here = os.path.abspath(path)  # noqa: PTH100 - links are followed one by one
    for _ in range(LINKS):
        folder, name = os.path.split(here)
        folder = os.path.realpath(folder)
        if folder in homes:
            return int(name) if name.isdecimal() else None
        try:
            here = os.path.join(folder, Path(folder, name).readlink())  # noqa: PTH118 - of a link
        except (OSError, ValueError):
            return None
    return None


def open_stream(path: Path) -> TextIO:
    """Open what `is_stream` says yes to, for text in UTF-8, line by line.

    Raises:
        OSError: It cannot be opened, or nobody reads a named pipe for ten seconds.
    """
    number = descriptor_of(path)
    if number is not None:
        handle = os.dup(number)  # opened anew, a file would be emptied
    else:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
                break
            except OSError as error:
                if error.errno != errno.ENXIO or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        os.set_blocking(handle, True)
    return os.fdopen(handle, "w", encoding="utf-8", newline="", buffering=1)


def _place(path: Path) -> tuple[str, str]:
    """The folder that is meant, and the name in it."""
    return os.path.realpath(path.absolute().parent), path.name


def _identity(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError, ValueError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


def _start(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(START)
    except OSError:
        return b"?"  # what cannot be read is of no known kind


FORMULA = re.compile(r"'*[=+\-@\t\r]")


def cell(text: str) -> str:
    """A text as a cell that no spreadsheet runs."""
    return f"'{text}" if FORMULA.match(text) else text


def from_cell(text: str) -> str:
    """The text of a cell that `cell` made."""
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text

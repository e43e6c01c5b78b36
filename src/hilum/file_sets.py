"""Files of one folder that belong together: all new ones or all old ones, whatever ends the process.

All are written under temporary names first. Then a journal, ``.hilum-set.json``, that says which is to be called what;
with it the new files are valid, and they get their names one by one. Whoever reads or writes in the folder settles
first what a killed process has left to do (`settle`), so that nobody sees some of each.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hilum.opening import read_text
from hilum.saving import PREFIX, json_text, save_json, sweep, to_disk

JOURNAL = ".hilum-set.json"
NEXT = ".next"  # the end of temporary names; `hilum.saving` takes away others after a day


@contextmanager
def saving_together(folder: Path) -> Iterator[Callable[[str, bytes], None]]:
    """Write several files; they have their names when the block ends, and nothing has happened if that fails.

    Args:
        folder: That exists.

    Yields:
        A function that takes a name and the content. The order is that in which the files get their names.

    Raises:
        OSError: They cannot be written.
    """
    settle(folder)
    sweep(folder, NEXT)
    parts: dict[str, str] = {}

    def save(name: str, content: bytes) -> None:
        part = f"{PREFIX}{secrets.token_hex(8)}{NEXT}"
        parts[part] = name
        handle = os.open(folder / part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    try:
        yield save
        save_json(folder / JOURNAL, parts)
    except BaseException:
        settle(folder)  # where the journal was there already, and Ctrl-C came then
        for part in parts:
            with contextlib.suppress(OSError):
                (folder / part).unlink(missing_ok=True)
        raise
    _settle(folder)


def settle(folder: Path) -> None:
    """Give the files of a killed process their names; where one may not write, all stays as it is."""
    with contextlib.suppress(OSError, ValueError, AttributeError, TypeError, RecursionError):
        _settle(folder)


def _settle(folder: Path) -> None:
    journal = folder / JOURNAL
    try:
        text = read_text(journal)
    except FileNotFoundError:  # there is nothing to do, or somebody else has done it
        return
    for part, name in json.loads(text).items():
        if part.startswith(PREFIX) and part.endswith(NEXT) and {Path(part).name, Path(name).name} == {part, name}:
            with contextlib.suppress(FileNotFoundError):  # it has its name already
                (folder / part).replace(folder / name)
    to_disk(folder)
    journal.unlink(missing_ok=True)


def as_bytes(values: Mapping[str, Any]) -> bytes:
    """JSON as `hilum.saving.save_json` writes it.

    Raises:
        ValueError: A number is not finite.
    """
    return f"{json_text(values, indent=2)}\n".encode()


def stated(content: bytes, rows: int) -> dict[str, Any]:
    """What one file says of a table beside it, so that another one, or half of it, is found.

    Args:
        content: Of the table.
        rows: How many it has below its header.
    """
    return {"rows": rows, "sha256": hashlib.sha256(content).hexdigest()}

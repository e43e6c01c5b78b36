"""One process at a time writes into a folder: a lock that ends with its process, and the name of who holds it.

The lock is the system's own (``flock``, by way of filelock), so that whatever ends a process releases it. Between
machines it holds as far as the file system carries it over: NFS does since Linux 2.6.12 unless it is mounted with
``nolock``. Where ``flock`` is unknown, filelock makes do with a file that exists, which a killed process leaves behind.
A folder in which this user may not write is not locked: nothing can be written there.
"""

from __future__ import annotations

import contextlib
import os
import platform
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from hilum.errors import RunError
from hilum.files import PREFIX, SUFFIX, locked, save_json
from hilum.progress import Progress
from hilum.stats.records import Record
from hilum.training.run import read_json

LOCK, HOLDER = ".hilum-in-use.lock", ".hilum-in-use.json"
_held: set[tuple[str, int]] = set()  # folders that a thread of this process holds: what it calls may enter them, too


def contents(folder: Path) -> set[str]:
    """Names in a folder, which may be missing; a lock, and what killed writers have left, do not count."""
    if not folder.is_dir():
        return set()
    return {
        name
        for name in os.listdir(folder)  # noqa: PTH208 - names only
        if name not in (LOCK, HOLDER) and not (name.startswith(PREFIX) and name.endswith(SUFFIX))
    }


class Holder(Record):
    """Who works in a folder: process, machine, command, since when, and whether it waits for others."""

    what: str = "?"
    host: str = "?"
    pid: int | str = "?"
    since: str = "?"
    waits: bool | None = None

    @property
    def named(self) -> str:
        """Who it is, in words."""
        if not self.model_fields_set:
            return "another process"
        return f"process {self.pid} on {self.host} ('hilum {self.what}', since {self.since})"


@contextmanager
def occupied(out: Path, what: str, check: Callable[[], None]) -> Iterator[None]:
    """Make a folder where there is none, and keep other processes out of it.

    On an error, a folder into which nothing was put goes away again, with those around it that were made.

    Args:
        out: The folder.
        what: The command that holds it, such as ``train``.
        check: Raises an error if the folder cannot be used; called before anything is made, and under the lock.

    Raises:
        RunError: Another process holds the folder, or it cannot be made.
    """
    if not (out / LOCK).exists():
        check()
    made = [folder for folder in (out, *out.absolute().parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"{out}: cannot be used ({error.strerror}). Choose another --out."
        raise RunError(msg, code="unusable", path=out) from error
    with only_process(out, what):
        try:
            check()
            yield
        except Exception:
            if made and not contents(out):  # as long as nobody else may enter it
                with contextlib.suppress(OSError):
                    for left in out.iterdir():
                        left.unlink()
                    for folder in made:
                        folder.rmdir()
            raise


@contextmanager
def only_process(folder: Path, what: str, *, wait: bool = False, progress: Progress | None = None) -> Iterator[None]:
    """Keep other processes out of a folder; who holds it already may enter it again.

    Args:
        folder: It exists.
        what: The command that holds it, such as ``train``.
        wait: Wait for another one that waits, too, and so will soon be done; else it is refused at once.
        progress: Told for whom this waits.

    Raises:
        RunError: Another process holds the folder, or it cannot be locked.
    """
    key = os.path.realpath(folder), threading.get_ident()
    if key in _held or not os.access(folder, os.W_OK):
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_locked(folder, wait=wait, progress=progress or Progress()))
        except OSError as error:
            why = error.strerror or error
            msg = f"{folder / LOCK}: cannot be locked ({why}). Make it writable, or work on a copy of {folder}."
            raise RunError(msg) from error
        _held.add(key)
        try:
            since = datetime.now(UTC).isoformat(timespec="seconds")
            with contextlib.suppress(OSError):  # a full disk: the lock itself holds all the same
                holder = Holder(what=what, host=platform.node(), pid=os.getpid(), since=since, waits=wait)
                save_json(folder / HOLDER, holder.as_json())
            yield
        finally:
            _held.discard(key)
            with contextlib.suppress(OSError):
                (folder / HOLDER).unlink()


def _locked(folder: Path, *, wait: bool, progress: Progress) -> AbstractContextManager[None]:
    file = folder / LOCK
    # Made here, since filelock has a mode of its own: this one is the umask's, as that of all files of a run.
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    mode = stat.S_IMODE(os.fstat(handle).st_mode)
    os.close(handle)
    told: list[str] = []

    def busy() -> None:
        holder = _holder(folder)
        if not wait or holder.waits is False:
            msg = f"{folder}: {holder.named} is using it. Wait until it is done, or choose another folder."
            raise RunError(msg, code="in-use", path=folder)
        if not told:
            told.append(f"{folder}: waiting until {holder.named} is done")
            progress.line(told[0])

    return locked(file, busy, mode=mode)


def _holder(folder: Path) -> Holder:
    """What the holder says of itself; it may be just about to say it."""
    for _ in range(5):
        if found := read_json(folder / HOLDER):
            with contextlib.suppress(ValidationError):
                return Holder.model_validate(found)
        time.sleep(0.1)
    return Holder()

"""Run something in a forked child that is killed by SIGKILL before its k-th write event below a folder, or at a time.

A write event is whatever Python tells its audit hooks (PEP 578) of opening a file for writing, renaming, making and
removing. What is between two of them is reached by times.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import hashlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
MOVES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate")
PASSED_OVER = (".lock",)  # which say nothing of their content
FAULT = 99
PATIENCE = 300  # seconds
HUNG = "Timeout ("  # as `faulthandler` begins


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code (negative for a signal), its write events by name, and what it said."""

    code: int
    events: tuple[str, ...]
    said: str

    @property
    def killed(self) -> bool:
        """Whether it came to the kill."""
        return self.code == -signal.SIGKILL


def in_child(
    action: Callable[[], object], below: Path, *, kill: int = 0, after: float = 0.0, patience: float = PATIENCE
) -> Ended:
    """Run a function in a child.

    Args:
        action: Whose exit code is 0, that of SystemExit, or `FAULT` where it raises anything else.
        below: Only write events below this folder count.
        kill: Before which event the child is killed, from 1 on; 0 for none.
        after: Seconds after which it is killed; 0 for never.
        patience: Seconds after which it says where it is, and ends with `FAULT`.
    """
    home = os.path.realpath(below)
    told, tell = os.pipe()
    collecting = gc.isenabled()
    gc.disable()
    child = os.fork()
    if child == 0:
        # What earlier tests left stays as it is: to collect it would end threads that only the parent has.
        gc.freeze()
        gc.enable()
        os.close(told)
        os.dup2(tell, 1)
        os.dup2(tell, 2)
        faulthandler.dump_traceback_later(patience, exit=True, file=tell)
        code = FAULT
        try:
            counted = _watch(home, kill)
            if after:
                signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
                signal.setitimer(signal.ITIMER_REAL, after)
            sys.stdout, sys.stderr = (os.fdopen(os.dup(tell), "w", 1, errors="backslashreplace") for _ in range(2))
            try:
                action()
                code = 0
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else int(error.code is not None)
            except BaseException:
                traceback.print_exc()
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os.write(tell, f"\n\0{os.linesep.join(counted)}".encode(errors="replace"))
        finally:
            os._exit(code)
    if collecting:
        gc.enable()
    os.close(tell)
    with os.fdopen(told, "rb") as pipe:
        text = pipe.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    said, _, events = text.partition("\n\0")
    code = os.waitstatus_to_exitcode(status)
    return Ended(FAULT if code == 1 and HUNG in said else code, tuple(events.splitlines()), said)


def _watch(home: str, kill: int) -> list[str]:
    seen: list[str] = []
    own = os.getpid()

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, _, flags = arguments[:3]
            if not isinstance(flags, int) or not flags & WRITES or isinstance(path, int):
                return
        elif event in MOVES:
            path = arguments[0]
        else:
            return
        if not isinstance(path, (str, bytes, os.PathLike)) or os.getpid() != own:
            return
        name = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - in a hook nothing may be imported
        if not name.startswith(f"{home}{os.sep}") or name.endswith(PASSED_OVER):
            return
        seen.append(f"{event} {name.removeprefix(home + os.sep)}".replace("\n", " "))
        if len(seen) == kill:
            os.kill(own, signal.SIGKILL)

    sys.addaudithook(hook)
    return seen


def command(*arguments: object) -> Callable[[], None]:
    """A command line as an action."""

    def run() -> None:
        from hilum.cli.app import main

        sys.argv = ["hilum", *map(str, arguments)]
        main()

    return run


def digests(folder: Path, names: Iterable[str] = ("**/*",)) -> dict[str, str]:
    """The SHA-256 of files in a folder, by name; temporary ones of killed processes do not count.

    Args:
        folder: Need not exist.
        names: Patterns.
    """
    found = {file for name in names for file in folder.glob(name) if file.is_file()}
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(found)
        if not any(part.startswith(".hilum-") for part in file.relative_to(folder).parts)
        and not file.name.endswith((".lock", ".unfinished"))
    }

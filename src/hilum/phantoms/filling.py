"""A folder of phantoms on disk: written whole or not at all, by several processes."""

import multiprocessing
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from hilum.data.readers.text_table import PHANTOMS
from hilum.errors import DataError
from hilum.files import PREFIX, SUFFIX

Planned = TypeVar("Planned")
Drawn = TypeVar("Drawn")

_FEW = 48
"""Images below which starting processes takes longer than drawing."""


def in_processes(task: Callable[[Planned], Drawn], plan: Sequence[Planned], workers: int | None) -> Iterator[Drawn]:
    """Do a task for each planned image, in order; all processors by default, 1 for none but this one."""
    workers = workers or os.cpu_count() or 1
    if workers == 1 or len(plan) < _FEW:
        yield from map(task, plan)
        return
    # a fresh interpreter a worker: forking a process that has threads (PyTorch's) can hang
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(task, plan, chunksize=8)


@contextmanager
def filling(out: Path) -> Iterator[Path]:
    """A folder to write to, which becomes ``out`` when all is in it.

    Raises:
        DataError: ``out`` is not empty, or cannot be written to.
    """
    try:
        if os.path.lexists(out) and (not out.is_dir() or any(map(_is_others, out.iterdir()))):
            msg = f"{out} is not an empty folder; choose another one, or empty it first"
            raise DataError(msg, code="not-empty", path=out)
        with _whole(out) as part:
            yield part
    except OSError as error:
        msg = f"{out} cannot be written to ({error.strerror or error}); free space or choose another folder"
        raise DataError(msg) from error


def _is_others(file: Path) -> bool:
    """Whether it is no folder that a killed process has left."""
    return not (file.name.startswith(PREFIX) and file.name.endswith(SUFFIX))


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A folder to fill beside `out`, or within where that is there already; it becomes `out` when all is in it."""
    there = out.exists()
    folder = out.absolute() if there else out.absolute().parent
    folder.mkdir(parents=True, exist_ok=True)
    if there:
        for left in folder.glob(f"{PREFIX}*{SUFFIX}"):
            shutil.rmtree(left, ignore_errors=True)
    part = folder / f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}"
    part.mkdir()
    try:
        yield part
        if there:
            table_first = sorted(part.iterdir(), key=lambda file: file.name != PHANTOMS)  # it says what is missing
            for file in table_first:
                file.replace(out / file.name)
            part.rmdir()
        else:
            part.replace(out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise

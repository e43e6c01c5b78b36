"""Which freed memory the process keeps: all of it between the steps of a training, none in an evaluation."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

# mallopt(3) and <malloc.h> of the GNU C library.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
NEVER, USUAL_TRIM, USUAL_MMAP_MAX = -1, 128 * 1024, 65536
LARGE = 2**20


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep what is freed, within the block, rather than hand it to the system and fetch it anew every step.

    The GNU C library maps every large tensor by itself and unmaps it when it is freed; the system then clears each
    page again. Of a step of the original report's VGG on two cores that was a tenth. Other systems are left as they
    are.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    library = ctypes.CDLL(None)
    library.mallopt(TRIM_THRESHOLD, NEVER)
    library.mallopt(MMAP_MAX, 0)
    try:
        yield
    finally:
        library.mallopt(TRIM_THRESHOLD, USUAL_TRIM)
        library.mallopt(MMAP_MAX, USUAL_MMAP_MAX)
        library.malloc_trim(0)


def return_memory() -> None:
    """From now on, let this process hand back to the system whatever of a mebibyte or more it frees.

    The GNU C library raises its limit for mapping a piece by itself to the largest mapped piece freed so far, up to 32
    MiB; smaller pieces then stay in its heap, and an evaluation of very many images holds what tables and batches have
    left behind. It costs the system's clearing of pages, as `kept_memory` tells, and is for a process that ends with
    its command. Other systems are left as they are.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(MMAP_THRESHOLD, LARGE)
        library.mallopt(TRIM_THRESHOLD, LARGE)

"""DICOM radiographs (CR and DX), read in a process of its own: files from anywhere may be made to exhaust a decoder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from hilum.data.images import Picture
from hilum.errors import ExtraError, ImageError, PassingImageError

SECONDS = 60  # a large radiograph takes two
LARGEST_FILE = 2**29
START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from hilum.data import dicom_decoding as d; d.serve()"


def read_dicom(source: Path | bytes, name: str = "") -> tuple[Picture, tuple[str, ...]]:
    """Read one radiograph in DICOM, as a viewer would show it first.

    Args:
        source: A file, or the bytes of one.
        name: What to call it in messages, where `source` is not a path.

    Returns:
        The picture, and what has to be known about it (a lateral view, text burned into the pixels), never an
        identifier.

    Raises:
        ExtraError: The extra ``[dicom]`` is not installed.
        ImageError: It is damaged, no radiograph of a chest, not meant for presentation, or of a kind that is not read.
    """
    name = name or (str(source) if isinstance(source, Path) else "image")
    if find_spec("pydicom") is None:
        msg = f"{name}: a DICOM object; reading these takes: pip install 'hilum[dicom]'"
        raise ExtraError(msg)
    content = _content(source, name)
    single = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # threads reserve address space
    command = [sys.executable, "-c", START, json.dumps(sys.path)]
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=SECONDS, check=False, env=single)
    except subprocess.TimeoutExpired as error:
        msg = f"{name}: decoding took more than {SECONDS} s and was stopped. Check where it comes from."
        raise ImageError(msg) from error
    except OSError as error:
        msg = f"{name}: no process could be started to decode it ({error.strerror}). Free some memory."
        raise PassingImageError(msg) from error
    head, _, rest = done.stdout.partition(b"\n")
    try:
        said = json.loads(head)
    except ValueError as error:  # killed, or out of memory beyond rescue
        msg = f"{name}: decoding broke down, as damaged or malicious files make it. Check where it comes from."
        raise ImageError(msg) from error
    if "error" in said:
        msg = f"{name}: {said['error']}"
        raise ImageError(msg)
    pixels = np.frombuffer(rest, np.float32).reshape(said["shape"])
    return Picture(pixels), tuple(said["notes"])


def _content(source: Path | bytes, name: str) -> bytes:
    if isinstance(source, bytes):
        size = len(source)
    else:
        try:
            size = source.stat().st_size
        except FileNotFoundError as error:
            msg = f"{name}: no such file. Correct the path."
            raise ImageError(msg) from error
    if size == 0 or size > LARGEST_FILE:
        what = "an empty file" if not size else f"{size:,} bytes, more than any radiograph; refused unread"
        msg = f"{name}: {what}. Check where it comes from."
        raise ImageError(msg)
    if isinstance(source, bytes):
        return source
    try:
        return source.read_bytes()
    except OSError as error:
        msg = f"{name}: cannot be read ({error.strerror}). Check the disk and the permissions."
        raise PassingImageError(msg) from error

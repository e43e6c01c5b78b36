"""DICOM radiographs (CR and DX), read in processes of their own (`hilum.data.bounded`)."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from hilum.data.bounded import ask
from hilum.data.images import Picture, read_bytes
from hilum.errors import ExtraError, ImageError


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
    require_extra(name)
    content = source if isinstance(source, bytes) else read_bytes(source, name)
    answer, pixels = ask({"dicom": len(content)}, content, name)
    return Picture(pixels, warned=answer["warned"]), tuple(answer["notes"])


def read_facts(path: Path, name: str = "") -> dict[str, str]:
    """What a table keeps of a DICOM header (see `hilum.data.dicom_gate.facts`); nothing where it cannot be read.

    Raises:
        ExtraError: The extra ``[dicom]`` is not installed.
    """
    require_extra(name or str(path))
    try:
        answer, _ = ask({"header": os.fspath(path)}, b"", name or str(path))
    except ImageError:
        return {}  # decoding it says why
    found: dict[str, str] = answer.get("facts", {})
    return found


def require_extra(name: str) -> None:
    """Stop where DICOM cannot be read.

    Args:
        name: The object that is to be read.

    Raises:
        ExtraError: The extra ``[dicom]`` is not installed.
    """
    if find_spec("pydicom") is None:
        msg = f"{name}: a DICOM object; reading these takes: pip install 'hilum[dicom]'"
        raise ExtraError(msg)

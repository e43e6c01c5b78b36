"""From a file of any kind to a radiograph: the one way for training, audit and prediction."""

from __future__ import annotations

from pathlib import Path

from hilum.data.file_kinds import looks_like_dicom
from hilum.data.images import DICOM_SUFFIXES, SUFFIXES, Picture, read_bytes, read_picture
from hilum.opening import open_regular

WARNED = "Its decoder warned of damage, and went on."


def read_header(path: Path) -> dict[str, str]:
    """What the header of a DICOM file states (see `hilum.data.dicom_gate.facts`); nothing of any other file.

    Raises:
        ExtraError: It is a DICOM object, and the extra that reads those is not installed.
    """
    try:
        with open_regular(path) as file:
            start = file.read(512)
    except (OSError, ValueError):
        return {}  # reading its pixels says why
    if not looks_like_dicom(start):
        return {}
    from hilum.data.dicom import read_facts

    return read_facts(path)


def read_radiograph(source: Path | bytes, name: str = "") -> tuple[Picture, tuple[str, ...]]:
    """Read one radiograph, whatever its file is called.

    Args:
        source: A file, or the bytes of one.
        name: What to call it in messages, and what its ending is taken from.

    Returns:
        The picture, and what has to be known about it: short sentences, never an identifier.

    Raises:
        ImageError: It cannot be read as a radiograph (see `hilum.data.images.read_picture` and
            `hilum.data.dicom.read_dicom`).
        ExtraError: It is a DICOM object, and the extra that reads those is not installed.
    """
    name = name or (str(source) if isinstance(source, Path) else "image")
    content = source if isinstance(source, bytes) else read_bytes(source, name)
    suffix = Path(name).suffix.lower()
    if not looks_like_dicom(content[:512]):
        odd = suffix in DICOM_SUFFIXES
        picture = read_picture(content, name)
        return picture, (*("An ordinary image under the name of a DICOM object.",) * odd, *(WARNED,) * picture.warned)
    from hilum.data.dicom import read_dicom

    picture, notes = read_dicom(content, name)
    notes = (*notes, *("A DICOM object under the name of an ordinary image.",) * (suffix in SUFFIXES))
    return picture, (*notes, *(WARNED,) * picture.warned)

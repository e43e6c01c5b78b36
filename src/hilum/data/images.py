"""From a file of any kind to a greyscale radiograph between 0 and 1, and to the bytes that a network gets."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from hilum.data.file_kinds import looks_like_dicom
from hilum.errors import ImageError, PassingImageError
from hilum.files import NotAFileError, TooLargeError, open_regular, read_whole

# Endings by Pillow's name of a format. Pillow knows more formats; PostScript would start another program.
FORMATS: dict[str, tuple[str, ...]] = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "PPM": (".pgm", ".ppm", ".pbm", ".pnm"),
    "WEBP": (".webp",),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "AVIF": (".avif",),
}
SUFFIXES = frozenset(chain.from_iterable(FORMATS.values()))
DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".dic"})
SMALLEST_SIDE = 32
LARGEST_PIXELS = 89_478_485  # Pillow's own limit; the largest digital radiographs have about 20 million
MOST_VIEWS = 64  # of one image, as a network's input
MOST_PIXELS_OF_VIEWS = 2048**2  # of all of them together, as one view of the largest size has
LARGEST_FILE = 2**28  # bytes; as many pixels in 16 bits, or in three colours of 8

# Sizes are checked here, before anything is decoded; Pillow's warning would only say it twice.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # of damage, which is met soon after


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture as it was read.

    Attributes:
        pixels: Greyscale of shape (H, W), between 0 (black) and 1 (white).
        chroma: How colourful it is: the mean over all pixels of the largest minus the smallest of red, green and blue,
            0 (grey) to 1; taken from a reduced copy.
        warned: Whether its decoder complained of it, and read it all the same.
    """

    pixels: NDArray[np.float32]
    chroma: float = 0.0
    warned: bool = False


def read_picture(source: Path | bytes, name: str = "") -> Picture:
    """Read one radiograph as greyscale, and how colourful it was.

    Colours become luma (ITU-R BT.601), transparent pixels become black, the EXIF orientation is applied, and a TIFF
    whose zero is white is inverted. Detectors deliver 10 to 16 bits, and files of 16 bits seldom say how many of them
    are used: the full scale is the smallest of 8, 10, 12, 14 and 16 bits that holds the brightest pixel. Where integers
    go below zero, they count from the lowest one, which is black. What costs more than a radiograph does is decoded in
    a process of its own (`hilum.data.file_kinds`, `hilum.data.bounded`).

    Args:
        source: A file, or the bytes of one.
        name: What to call it in messages, where `source` is not a path.

    Raises:
        ImageError: The file is missing, damaged, not an image, of an unsupported kind, smaller than 32 pixels
            on a side, larger than 89 million pixels, or takes more than 600 MB or 20 s to decode.
    """
    name = name or (str(source) if isinstance(source, Path) else "image")
    content = source if isinstance(source, bytes) else read_bytes(source, name)
    from hilum.data.file_kinds import is_costly_file

    if not is_costly_file(content):
        from hilum.data.grey_values import decode

        if picture := decode(content, name):
            return picture
    from hilum.data.bounded import read_bounded

    return read_bounded(content, name)


def read_bytes(path: Path, name: str) -> bytes:
    """The content of a file, as of an image.

    Args:
        path: The file.
        name: What messages call it.

    Raises:
        ImageError: There is none, or it is larger than any radiograph.
        PassingImageError: It cannot be read.
    """
    try:
        return read_whole(path, LARGEST_FILE)
    except FileNotFoundError as error:
        msg = f"{name}: no such file. Correct the path, or remove the row."
        raise ImageError(msg, code="missing") from error
    except NotAFileError as error:
        msg = f"{name}: {error.strerror}. Remove it."
        raise ImageError(msg) from error
    except TooLargeError as error:
        msg = f"{name}: {error.strerror}, more than any radiograph has; not read. Check the origin of the file."
        raise ImageError(msg) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        msg = f"{name}: cannot be read ({reason}). Check the disk and the permissions."
        raise PassingImageError(msg) from error
    except MemoryError as error:
        msg = f"{name}: there is not enough memory to read it. Free some memory."
        raise PassingImageError(msg) from error


def is_image_file(path: Path) -> bool:
    """Whether a file of a folder is to be read: by its ending, or as DICOM by its content where that is another.

    Archives of images name DICOM objects ``IM000001`` or by their UID. ``DICOMDIR`` only lists others.
    """
    suffix = path.suffix.lower()
    if suffix in SUFFIXES or suffix in DICOM_SUFFIXES:
        return True
    return path.name.upper() != "DICOMDIR" and is_dicom(path)


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its content; not so where it cannot be read, which reading reports."""
    try:
        with open_regular(path) as file:
            return looks_like_dicom(file.read(512))
    except (OSError, ValueError):
        return False


WARNED = "Its decoder warned of damage and continued."


def read_header(path: Path) -> dict[str, str]:
    """What the header of a DICOM file states (see `hilum.data.dicom_header.facts`); nothing of any other file.

    Raises:
        ExtraError: It is a DICOM object, and the extra that reads those is not installed.
    """
    return read_elements(path, ())


def read_elements(path: Path, keywords: Sequence[str]) -> dict[str, str]:
    """Elements of the header of a DICOM file (see `hilum.data.bounded.read_elements`); none of any other file.

    Args:
        path: Of the file.
        keywords: Of the elements; without any, what `read_header` reads.

    Raises:
        ExtraError: It is a DICOM object, and the extra that reads those is not installed.
    """
    if not is_dicom(path):
        return {}
    from hilum.data import bounded

    return bounded.read_elements(path, keywords)


def read_radiograph(source: Path | bytes, name: str = "") -> tuple[Picture, tuple[str, ...]]:
    """Read one radiograph, whatever its file is called.

    Args:
        source: A file, or the bytes of one.
        name: What to call it in messages, and what its ending is taken from.

    Returns:
        The picture, and what has to be known about it: short sentences, never an identifier.

    Raises:
        ImageError: It cannot be read as a radiograph (see `hilum.data.images.read_picture` and
            `hilum.data.bounded.read_dicom`).
        ExtraError: It is a DICOM object, and the extra that reads those is not installed.
    """
    name = name or (str(source) if isinstance(source, Path) else "image")
    content = source if isinstance(source, bytes) else read_bytes(source, name)
    suffix = Path(name).suffix.lower()
    if not looks_like_dicom(content[:512]):
        odd = suffix in DICOM_SUFFIXES
        picture = read_picture(content, name)
        return picture, (
            *("An ordinary image with a DICOM file name.",) * odd,
            *(WARNED,) * picture.warned,
        )
    from hilum.data.bounded import read_dicom

    picture, notes = read_dicom(content, name)
    notes = (*notes, *("A DICOM object with an image file name.",) * (suffix in SUFFIXES))
    return picture, (*notes, *(WARNED,) * picture.warned)


LARGE = 25_000_000  # pixels
SCHEME = 1  # raise it when the same arguments would give other bytes


def reduce(pixels: NDArray[np.float32], size: int, fit: str = "stretch", equalise: bool = False) -> NDArray[np.uint8]:
    """Reduce (antialiased, bilinear) or enlarge, then quantise, then equalise.

    Args:
        pixels: Of shape (H, W), between 0 and 1.
        size: Side of the result.
        fit: What happens to images that are not square: ``stretch`` them, ``pad`` them with black, or ``crop`` them
            to their central square.
        equalise: Spread the grey values evenly over 0 to 255 (histogram equalisation).

    Returns:
        Bytes of shape (size, size). The network sees them as ``byte / 127.5 - 1``, in [-1, 1].
    """
    height, width = pixels.shape
    side = min(height, width)
    box: tuple[float, float, float, float] = (0, 0, width, height)
    target = (size, size)
    if fit == "crop":
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    elif fit == "pad":
        longest = max(height, width)
        target = (max(1, round(size * width / longest)), max(1, round(size * height / longest)))
    # Mode F keeps all 16 bits until the last step, so that 8-bit and 16-bit copies give the same bytes.
    small = _resized(pixels, target, box)
    quantised: NDArray[np.uint8] = np.clip(np.rint(small * 255), 0, 255).astype(np.uint8)
    if equalise:
        quantised = np.asarray(ImageOps.equalize(Image.fromarray(quantised)))
    if fit != "pad":
        return quantised
    square = np.zeros((size, size), np.uint8)
    top, left = (size - quantised.shape[0]) // 2, (size - quantised.shape[1]) // 2
    square[top : top + quantised.shape[0], left : left + quantised.shape[1]] = quantised
    return square


def stacked(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Square pictures of falling size as one array (V, S, S); smaller ones lie in the upper left corner, over zeros."""
    size = len(pictures[0])
    found = np.zeros((len(pictures), size, size), np.uint8)
    for place, picture in zip(found, pictures, strict=True):
        place[: len(picture), : len(picture)] = picture
    return found


def _resized(
    pixels: NDArray[np.float32], target: tuple[int, int], box: tuple[float, float, float, float]
) -> NDArray[np.float32]:
    """As Pillow resizes; of a large image some rows at a time, since Pillow copies what it gets.

    Pillow resizes along the rows first and along the columns then, so that both ways give the same bits.
    """
    if pixels.size <= LARGE:
        return np.asarray(Image.fromarray(pixels).resize(target, Image.Resampling.BILINEAR, box=box))
    from hilum.data.grey_values import strips

    left, top, right, bottom = box
    narrow = np.empty((len(pixels), target[0]), np.float32)
    for rows in strips(*pixels.shape):
        part, count = Image.fromarray(pixels[rows]), rows.stop - rows.start
        along_rows = part.resize((target[0], count), Image.Resampling.BILINEAR, box=(left, 0, right, count))
        narrow[rows] = np.asarray(along_rows)
    along_columns = (0, top, target[0], bottom)
    return np.asarray(Image.fromarray(narrow).resize(target, Image.Resampling.BILINEAR, box=along_columns))

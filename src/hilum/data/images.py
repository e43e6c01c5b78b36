"""From a file to a greyscale radiograph between 0 and 1."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from hilum.errors import ImageError, PassingImageError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif"})
SMALLEST_SIDE = 32
LARGEST_PIXELS = 89_478_485  # Pillow's own limit; the largest digital radiographs have about 20 million
CONTAINER_BITS = (8, 10, 12, 14, 16)

# Sizes are checked here, before anything is decoded; Pillow's warning would only say it twice.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture as it was read.

    Attributes:
        pixels: Greyscale of shape (H, W), between 0 (black) and 1 (white).
        chroma: How colourful it is: the mean over all pixels of the largest minus the smallest of red, green and blue,
            0 (grey) to 1; taken from a reduced copy.
    """

    pixels: NDArray[np.float32]
    chroma: float = 0.0


def read_grayscale(source: Path | bytes, name: str = "") -> NDArray[np.float32]:
    """Read one radiograph as greyscale (see `read_picture`).

    Returns:
        Pixels of shape (H, W), between 0 (black) and 1 (white).

    Raises:
        ImageError: As `read_picture`.
    """
    return read_picture(source, name).pixels


def read_picture(source: Path | bytes, name: str = "") -> Picture:
    """Read one radiograph as greyscale, and how colourful it was.

    Colours become luma (ITU-R BT.601), transparent pixels become black, the EXIF orientation is applied.
    Detectors deliver 10 to 16 bits, and files of 16 bits seldom say how many of them are used: the full
    scale is the smallest of 8, 10, 12, 14 and 16 bits that holds the brightest pixel.

    Args:
        source: A file, or the bytes of one.
        name: What to call it in messages, where `source` is not a path.

    Raises:
        ImageError: The file is missing, damaged, not an image, of an unsupported kind, smaller than 32 pixels
            on a side, or larger than 89 million pixels.
    """
    name = name or (str(source) if isinstance(source, Path) else "image")
    try:
        # Never by name: Pillow would map an uncompressed TIFF into memory, and read it askew where it has an
        # orientation (seen with Pillow 13.0).
        with (
            source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file,
            Image.open(file) as image,
        ):
            _check_size(image, name)
            # Pillow undoes this for 8 bits only; tag 262 is PhotometricInterpretation (TIFF 6.0, page 37).
            negative = image.mode.startswith("I") and getattr(image, "tag_v2", {}).get(262) == 0
            image.load()
            pixels = _to_unit_range(ImageOps.exif_transpose(image), name)
            return Picture(1 - pixels if negative else pixels, _chroma(image))
    except ImageError:
        raise
    except FileNotFoundError as error:
        msg = f"{name}: no such file. Correct its path, or leave it out."
        raise ImageError(msg) from error
    except UnidentifiedImageError as error:
        msg = f"{name}: {_what_it_is(source)}, not an image that can be read. Replace or remove it."
        raise ImageError(msg) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        msg = f"{name}: claims more than {LARGEST_PIXELS:,} pixels; refused unread. Check where it comes from."
        raise ImageError(msg) from error
    except MemoryError as error:
        msg = f"{name}: there is not enough memory to decode it. Reduce the image."
        raise PassingImageError(msg) from error
    except OSError as error:
        if error.errno is None:  # Pillow's word for damage
            msg = f"{name}: damaged ({error}). Fetch it again, or remove it."
            raise ImageError(msg) from error
        msg = f"{name}: cannot be read ({error.strerror}). Check the disk and the permissions."
        raise PassingImageError(msg) from error
    except Exception as error:  # decoders raise nearly anything on damaged files
        msg = f"{name}: damaged ({error}). Fetch it again, or remove it."
        raise ImageError(msg) from error


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height > LARGEST_PIXELS:
        msg = (
            f"{name}: claims {width}x{height} pixels, more than {LARGEST_PIXELS:,}; refused unread. "
            "Check where it comes from."
        )
        raise ImageError(msg)
    if min(width, height) < SMALLEST_SIDE:
        msg = f"{name}: {width}x{height} pixels; a radiograph needs at least {SMALLEST_SIDE} a side. Remove it."
        raise ImageError(msg)
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # an MPO is a photograph with a preview behind it
        msg = f"{name}: holds {frames} frames; a radiograph is one image. Extract the frame that is meant."
        raise ImageError(msg)


def _to_unit_range(image: Image.Image, name: str) -> NDArray[np.float32]:
    if image.mode.startswith("I"):
        return _from_integers(np.asarray(image), name)
    if image.mode == "F":
        return _in_unit_range(np.asarray(image, dtype=np.float32), name)
    if "transparency" in image.info or image.mode in ("LA", "PA", "La", "RGBA", "RGBa"):
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    return np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255)


def from_array(values: NDArray[Any], name: str = "array") -> Picture:
    """Take a radiograph that is in memory already, by the same rules.

    Args:
        values: Of shape (H, W) or (H, W, 3 or 4): bytes, 16-bit integers, or floating point between 0 and 1.
        name: What messages call it.

    Raises:
        ImageError: It is of another shape or kind, too small or too large, or holds values out of range.
    """
    coloured = values.ndim == 3 and values.shape[2] in (3, 4) and values.dtype == np.uint8
    if not (coloured or values.ndim == 2) or values.dtype.kind not in "uifb" or values.dtype == bool:
        msg = (
            f"{name}: an array of {values.dtype} and shape {values.shape}; a radiograph is (H, W) of integers or of "
            "floating point between 0 and 1, or (H, W, 3) of bytes."
        )
        raise ImageError(msg)
    height, width = values.shape[:2]
    if min(height, width) < SMALLEST_SIDE or height * width > LARGEST_PIXELS:
        msg = (
            f"{name}: {width}x{height} pixels; a radiograph has at least {SMALLEST_SIDE} a side and at most "
            f"{LARGEST_PIXELS:,} in all."
        )
        raise ImageError(msg)
    if values.dtype.kind == "f":
        return Picture(_in_unit_range(values.astype(np.float32), name))
    if values.dtype == np.uint8:
        image = Image.fromarray(np.ascontiguousarray(values))
        return Picture(_to_unit_range(image, name), _chroma(image))
    return Picture(_from_integers(values, name))


def _chroma(image: Image.Image) -> float:
    if image.mode not in ("RGB", "RGBA", "P", "CMYK", "YCbCr", "LAB", "HSV"):
        return 0.0
    small = np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.BOX), dtype=np.float32)
    return float((small.max(axis=2) - small.min(axis=2)).mean() / 255)


def _in_unit_range(values: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        msg = f"{name}: floating-point pixels outside 0 to 1. Scale them to 0 to 1, or store 16-bit integers."
        raise ImageError(msg)
    return values


def _from_integers(values: NDArray[np.integer], name: str) -> NDArray[np.float32]:
    """Scale 16-bit (or 32-bit, if small enough) integers by the bit depth that is really used."""
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0 or highest >= 2**16:
        msg = f"{name}: integer pixels from {lowest} to {highest}; at most 16 bits are read. Store 16-bit integers."
        raise ImageError(msg)
    bits = next(bits for bits in CONTAINER_BITS if highest < 2**bits)
    scaled: NDArray[np.float32] = (values.astype(np.float64) / (2**bits - 1)).astype(np.float32)
    return scaled


def _what_it_is(source: Path | bytes) -> str:
    if isinstance(source, Path):
        with source.open("rb") as file:
            start = file.read(512)
    else:
        start = source[:512]
    if not start:
        return "an empty file"
    if all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in start):
        return "a text file"
    return "a file of an unknown kind"

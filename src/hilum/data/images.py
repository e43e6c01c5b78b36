"""From a file to a greyscale radiograph between 0 and 1."""

from __future__ import annotations

import io
import sys
import warnings
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin, UnidentifiedImageError

from hilum.data.file_kinds import ENOUGH, kind_of, looks_like_dicom
from hilum.errors import ImageError, PassingImageError

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
LARGEST_FILE = 2**30  # bytes; as many pixels in 16-bit colours take 0.7 of it
CONTAINER_BITS = (8, 10, 12, 14, 16)
LUMA = (19595, 38470, 7471)  # ITU-R BT.601, in 65536ths
TIFF_TAGS = {"BitsPerSample": 258, "PhotometricInterpretation": 262, "PlanarConfiguration": 284}  # TIFF 6.0, page 117
WHITE_IS_ZERO = 0
CONVERT = "Convert it to PNG, with all its bits."

# Pillow reduces 16-bit colours to their upper bytes. Told that the bytes are in the other order, it gives the lower.
OTHER_ORDER = {"16B": "16L", "16L": "16B", "16N": "16B" if sys.byteorder == "little" else "16L"}
SIXTEEN = ("RGB;16", "RGBA;16", "RGBX;16")
GREY_ALPHA = "LA;16B"
# libtiff gives numbers in this machine's order, but Pillow 13 unpacks these as the file has them.
FOREIGN = {"I;16BS": "I;16S", "I;32B": "I;32N", "I;32BS": "I;32S", "F;32BF": "F;32F", "F;64BF": "F;64F"}
# Kinds of TIFF that Pillow unpacks, but does not list: byte order, photometric interpretation, sample format, bits.
for _order, _photometric, _format, _bits, _mode, _raw in (
    (b"MM", 0, 1, 16, "I;16B", "I;16B"),
    (b"II", 0, 2, 16, "I", "I;16S"),
    (b"MM", 0, 2, 16, "I", "I;16BS"),
    (b"II", 0, 1, 32, "I", "I;32N"),
    (b"MM", 0, 1, 32, "I", "I;32B"),
    (b"MM", 1, 1, 32, "I", "I;32B"),
    (b"II", 0, 2, 32, "I", "I;32S"),
    (b"MM", 0, 2, 32, "I", "I;32BS"),
    (b"II", 0, 3, 64, "F", "F;64F"),
    (b"II", 1, 3, 64, "F", "F;64F"),
    (b"MM", 0, 3, 64, "F", "F;64BF"),
    (b"MM", 1, 3, 64, "F", "F;64BF"),
):
    TiffImagePlugin.OPEN_INFO.setdefault((_order, _photometric, (_format,), 1, (_bits,), ()), (_mode, _raw))

UNREAD = ("a lossless JPEG", "a JPEG-LS image", "a JPEG image with arithmetic coding")

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
    """

    pixels: NDArray[np.float32]
    chroma: float = 0.0


def read_picture(source: Path | bytes, name: str = "") -> Picture:
    """Read one radiograph as greyscale, and how colourful it was.

    Colours become luma (ITU-R BT.601), transparent pixels become black, the EXIF orientation is applied, and a TIFF
    whose zero is white is inverted. Detectors deliver 10 to 16 bits, and files of 16 bits seldom say how many of them
    are used: the full scale is the smallest of 8, 10, 12, 14 and 16 bits that holds the brightest pixel. Where integers
    go below zero, they count from the lowest one, which is black.

    Args:
        source: A file, or the bytes of one.
        name: What to call it in messages, where `source` is not a path.

    Raises:
        ImageError: The file is missing, damaged, not an image, of an unsupported kind, smaller than 32 pixels
            on a side, or larger than 89 million pixels.
    """
    name = name or (str(source) if isinstance(source, Path) else "image")
    content = source if isinstance(source, bytes) else read_bytes(source, name)
    try:
        return _decode(content, name)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        msg = f"{name}: claims more than {LARGEST_PIXELS:,} pixels; refused unread. Check where it comes from."
        raise ImageError(msg) from error
    except MemoryError as error:
        msg = f"{name}: there is not enough memory to decode it. Reduce the image."
        raise PassingImageError(msg) from error
    except Exception as error:  # decoders raise nearly anything on damaged files, OSError without a number among it
        kind = kind_of(content[:ENOUGH])
        unread = isinstance(error, UnidentifiedImageError)
        if unread and not kind.endswith(("image", "JPEG")):
            msg = f"{name}: {kind}, not an image that can be read. Replace or remove it."
        elif unread or kind in UNREAD:
            msg = f"{name}: {kind} of a kind that cannot be read. {CONVERT}"
        else:
            msg = f"{name}: damaged ({error}). Fetch it again, or remove it."
        raise ImageError(msg) from error


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
        size = path.stat().st_size
        if size <= LARGEST_FILE:
            return path.read_bytes()
    except FileNotFoundError as error:
        msg = f"{name}: no such file. Correct the path, or leave it out."
        raise ImageError(msg) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        msg = f"{name}: cannot be read ({reason}). Check the disk and the permissions."
        raise PassingImageError(msg) from error
    msg = f"{name}: {size:,} bytes, more than any radiograph; refused unread. Check where it comes from."
    raise ImageError(msg)


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
        with path.open("rb", buffering=0) as file:
            return looks_like_dicom(file.read(512))
    except (OSError, ValueError):
        return False


def _decode(content: bytes, name: str) -> Picture:
    # Never by name: Pillow would map an uncompressed TIFF into memory, and read it askew where it has an
    # orientation (seen with Pillow 13.0).
    with _open(content) as image:
        _check_size(image, name)
        raw = _raw_mode(image)
        key = image.info.get("transparency")
        if image.mode in ("RGB", "RGBA", "RGBa", "CMYK") and _has_16_bits(image, raw, content):
            return _from_colours(_sixteen_bits(content, image, raw, name), key)
        white_is_zero = _tag(image, "PhotometricInterpretation") == WHITE_IS_ZERO
        if raw in FOREIGN and sys.byteorder == "little" and image.tile[0].codec_name == "libtiff":
            _unpack_as(image, FOREIGN[raw])
        image.load()
        upright = ImageOps.exif_transpose(image)
        if image.mode == "F":
            pixels = _in_unit_range(np.asarray(upright, dtype=np.float32), name)
        elif image.mode.startswith("I"):
            values = np.asarray(upright)
            pixels = _from_integers(np.where(values == key, 0, values) if isinstance(key, int) else values, name)
        else:
            return Picture(_from_bytes(upright), _chroma(image))  # Pillow inverts bytes itself
        return Picture(1 - pixels if white_is_zero else pixels)


def _open(content: bytes) -> ImageFile.ImageFile:
    return Image.open(io.BytesIO(content), formats=tuple(FORMATS))


def _tag(image: Image.Image, name: str) -> Any:
    """A field of a TIFF; None where there is none, or the file is no TIFF."""
    return getattr(image, "tag_v2", {}).get(TIFF_TAGS[name])


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """How an image is coded, in Pillow's words, such as ``RGB;16B``."""
    arguments: Any = image.tile[0].args if image.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _unpack_as(image: ImageFile.ImageFile, raw: str) -> None:
    """Have an image that was not loaded yet decoded as if it were coded otherwise."""
    tiles: Any = image.tile
    image.tile = [tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw) for tile in tiles]


def _has_16_bits(image: ImageFile.ImageFile, raw: str, content: bytes) -> bool:
    if image.format == "JPEG2000":  # the precision of the first component, less 1 (ISO 15444-1, A.5.1)
        at = content.find(b"\xff\x4f\xff\x51")
        return at >= 0 and content[at + 42 : at + 43] in (b"\x0f", b"\x8f")
    if image.format == "PPM":
        arguments: Any = image.tile[0].args
        return bool(arguments[-1] == 65535)
    return ";16" in raw or max(_tag(image, "BitsPerSample") or (0,)) == 16


def _sixteen_bits(content: bytes, image: ImageFile.ImageFile, raw: str, name: str) -> NDArray[np.uint16]:
    """Colours with all their bits, of shape (H, W, 2 to 4): grey and alpha, or red, green, blue, and perhaps alpha."""
    separate = _tag(image, "PlanarConfiguration") == 2
    if raw != GREY_ALPHA and (not raw.startswith(SIXTEEN) or separate):
        msg = f"{name}: {image.format} in 16-bit colours of a kind that cannot be read. Save it as 16-bit greyscale."
        raise ImageError(msg)
    with _open(content) as again:
        # Grey and alpha take four bytes a pixel: as RGBA all of them come through.
        _unpack_as(again, "RGBA" if raw == GREY_ALPHA else raw[:-3] + OTHER_ORDER[raw[-3:]])
        lower = np.asarray(ImageOps.exif_transpose(again), np.uint16)
    upper = np.asarray(ImageOps.exif_transpose(image), np.uint16)
    if raw == GREY_ALPHA:
        upper, lower = lower[..., ::2], lower[..., 1::2]
    return (upper << 8 | lower).astype(np.uint16)


def _from_colours(values: NDArray[np.uint16], key: object = None) -> Picture:
    """Luma of 16-bit colours, by the bit depth that their visible pixels use.

    Args:
        values: Of shape (H, W, 2 to 4): grey or red, green and blue; of 2 and 4 the last is alpha.
        key: The one colour that is transparent, if any.
    """
    colours = values[..., : 1 if values.shape[2] == 2 else 3]
    alpha: NDArray[np.float32] = np.ones(values.shape[:2], np.float32)
    if values.shape[2] in (2, 4):
        alpha = values[..., -1].astype(np.float32) / np.float32(65535)
    if isinstance(key, tuple):
        alpha = alpha * (colours != np.array(key, np.uint16)).any(axis=2).astype(np.float32)
    full = _full_scale(int(colours.max(axis=2)[alpha > 0].max(initial=0)))
    weights = np.array(LUMA if colours.shape[2] == 3 else [sum(LUMA)], np.uint32)
    grey = (colours @ weights) / (sum(LUMA) * full)  # whole numbers of at most 32 bits: grey stays what it is
    small = (np.minimum(colours, full) * (255 / full)).astype(np.uint8)
    chroma = _chroma(Image.fromarray(small)) if colours.shape[2] == 3 else 0.0
    return Picture((np.minimum(grey, 1) * alpha).astype(np.float32), chroma)


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


def _from_bytes(image: Image.Image) -> NDArray[np.float32]:
    if "transparency" in image.info or image.mode in ("LA", "PA", "La", "RGBA", "RGBa"):
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    return np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255)


def from_array(values: NDArray[Any], name: str = "array") -> Picture:
    """Take a radiograph that is in memory already, by the same rules.

    Args:
        values: Of shape (H, W): bytes, integers of 16 bits, or floating point between 0 and 1; or colours of shape
            (H, W, 3 or 4) in bytes or 16 bits without sign.
        name: What messages call it.

    Raises:
        ImageError: It is of another shape or kind, too small or too large, or holds values out of range.
    """
    coloured = values.ndim == 3 and values.shape[2] in (3, 4) and values.dtype in (np.uint8, np.uint16)
    if not (coloured or values.ndim == 2) or values.dtype.kind not in "uif":
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
        return Picture(_from_bytes(image), _chroma(image))
    return _from_colours(values) if coloured else Picture(_from_integers(values, name))


def _chroma(image: Image.Image) -> float:
    if image.mode not in ("RGB", "RGBA", "P", "CMYK", "YCbCr", "LAB", "HSV"):
        return 0.0
    small = np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.BOX), dtype=np.float32)
    return float((small.max(axis=2) - small.min(axis=2)).mean() / 255)


def _in_unit_range(values: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        msg = f"{name}: {count:,} floating-point pixels that are not finite. Replace them, and scale all to 0 to 1."
        raise ImageError(msg)
    lowest, highest = float(values.min()), float(values.max())
    if lowest < 0 or highest > 1:
        msg = (
            f"{name}: floating-point pixels from {lowest:g} to {highest:g}; only 0 (black) to 1 (white) is read. "
            "Scale them to 0 to 1, or store 16-bit integers."
        )
        raise ImageError(msg)
    return values


def _from_integers(values: NDArray[np.integer], name: str) -> NDArray[np.float32]:
    """Scale integers of at most 16 bits by the bit depth that is really used; below zero from the lowest one on."""
    lowest, highest = int(values.min()), int(values.max())
    start = min(lowest, 0)
    if highest - start >= 2**16:
        msg = f"{name}: integer pixels from {lowest} to {highest}; at most 16 bits are read. Store 16-bit integers."
        raise ImageError(msg)
    scaled: NDArray[np.float32] = ((values.astype(np.float64) - start) / _full_scale(highest - start)).astype(
        np.float32
    )
    return scaled


def _full_scale(highest: int) -> int:
    """What is white, where this is the brightest value: all bits of the smallest depth that holds it."""
    return int(2 ** min(bits for bits in CONTAINER_BITS if highest < 2**bits) - 1)

"""From stored values to grey values between 0 and 1, some rows at a time: one more array of all pixels is too many."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin, UnidentifiedImageError

from hilum.data.file_kinds import ENOUGH, is_costly_image, kind_of
from hilum.data.images import FORMATS, LARGEST_PIXELS, SMALLEST_SIDE, Picture
from hilum.errors import ImageError, PassingImageError

CONTAINER_BITS = (8, 10, 12, 14, 16)
LUMA = (19595, 38470, 7471)  # ITU-R BT.601, in 65536ths
AT_ONCE = 2**20  # pixels
SEEN_FOR_CHROMA = (64, 64)

Rows = Callable[[slice], NDArray[np.uint16]]


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
        raise ImageError(msg, code="no-radiograph")
    height, width = values.shape[:2]
    if min(height, width) < SMALLEST_SIDE or height * width > LARGEST_PIXELS:
        msg = (
            f"{name}: {width}x{height} pixels; a radiograph has at least {SMALLEST_SIDE} a side and at most "
            f"{LARGEST_PIXELS:,} in all."
        )
        raise ImageError(msg, code="wrong-size")
    if values.dtype.kind == "f":
        return Picture(in_unit_range(values.astype(np.float32), name))
    if values.dtype == np.uint8:
        image = Image.fromarray(np.ascontiguousarray(values))
        return Picture(from_bytes(image), chroma(image))
    return from_colours(values.__getitem__, values.shape) if coloured else Picture(from_integers(values, name))


def from_bytes(image: Image.Image) -> NDArray[np.float32]:
    """Luma of an image of 8 bits, of shape (H, W), between 0 and 1; transparent pixels are black."""
    transparent = "transparency" in image.info or image.mode in ("LA", "PA", "La", "RGBA", "RGBa")
    found = np.empty((image.height, image.width), np.float32)
    for rows in strips(image.height, image.width):
        part = rows_of(image, rows)
        if transparent:
            part = part.convert("RGBA")
            part = Image.alpha_composite(Image.new("RGBA", part.size, (0, 0, 0, 255)), part)
        grey = part if part.mode == "L" else part.convert("L")
        np.divide(np.asarray(grey), 255, out=found[rows], dtype=np.float32)
    return found


def from_colours(values: Rows, shape: tuple[int, ...], key: object = None) -> Picture:
    """Luma of 16-bit colours, by the bit depth that their visible pixels use.

    Args:
        values: Gives some rows of (H, W, 2 to 4): grey or red, green and blue; of 2 and 4 the last is alpha.
        shape: Of all of them.
        key: The one colour that is transparent, if any.
    """
    height, width, channels = shape
    count = 1 if channels == 2 else 3
    blocks = list(strips(height, width))
    highest = (
        int(colours.max(axis=2)[alpha > 0].max(initial=0))
        for colours, alpha in (_with_alpha(values(rows), count, key) for rows in blocks)
    )
    full = _full_scale(max(highest))
    weights = np.array(LUMA if count == 3 else [sum(LUMA)], np.uint32)
    found = np.empty((height, width), np.float32)
    small = Image.new("RGB", (width, height)) if count == 3 else None
    for rows in blocks:
        colours, alpha = _with_alpha(values(rows), count, key)
        grey = (colours @ weights) / (sum(LUMA) * full)  # whole numbers of at most 32 bits: grey stays what it is
        found[rows] = np.minimum(grey, 1) * alpha
        if small is not None:
            part = (np.minimum(colours, full) * (255 / full)).astype(np.uint8)
            small.paste(Image.fromarray(part), (0, rows.start))
    return Picture(found, chroma(small) if small else 0.0)


def _with_alpha(values: NDArray[np.uint16], count: int, key: object) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """Colours, and how opaque they are."""
    colours = values[..., :count]
    alpha: NDArray[np.float32] = np.ones(values.shape[:2], np.float32)
    if values.shape[2] in (2, 4):
        alpha = values[..., -1].astype(np.float32) / np.float32(65535)
    if isinstance(key, tuple):
        alpha = alpha * (colours != np.array(key, np.uint16)).any(axis=2).astype(np.float32)
    return colours, alpha


def in_unit_range(values: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Floating-point pixels as they are, if they are between 0 and 1.

    Raises:
        ImageError: They are not.
    """
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        msg = f"{name}: {count:,} floating-point pixels that are not finite. Replace them, and scale all to 0 to 1."
        raise ImageError(msg, code="not-finite")
    lowest, highest = float(values.min()), float(values.max())
    if lowest < 0 or highest > 1:
        msg = (
            f"{name}: floating-point pixels from {lowest:g} to {highest:g}; only 0 (black) to 1 (white) is read. "
            "Scale them to 0 to 1, or store 16-bit integers."
        )
        raise ImageError(msg, code="out-of-range")
    return values


def from_integers(values: NDArray[np.integer], name: str) -> NDArray[np.float32]:
    """Scale integers of at most 16 bits by the bit depth that is really used; below zero from the lowest one on.

    Raises:
        ImageError: They span more.
    """
    lowest, highest = int(values.min()), int(values.max())
    start = min(lowest, 0)
    if highest - start >= 2**16:
        msg = f"{name}: integer pixels from {lowest} to {highest}; at most 16 bits are read. Store 16-bit integers."
        raise ImageError(msg, code="too-many-bits")
    full = _full_scale(highest - start)
    found = np.empty(values.shape, np.float32)
    for rows in strips(*values.shape):
        found[rows] = (values[rows].astype(np.float64) - start) / full
    return found


def chroma(image: Image.Image) -> float:
    """How colourful an image is (see `hilum.data.images.Picture`)."""
    if image.mode not in ("RGB", "RGBA", "P", "CMYK", "YCbCr", "LAB", "HSV"):
        return 0.0
    coloured = image if image.mode == "RGB" else image.convert("RGB")
    small = np.asarray(coloured.resize(SEEN_FOR_CHROMA, Image.Resampling.BOX), dtype=np.float32)
    return float((small.max(axis=2) - small.min(axis=2)).mean() / 255)


def strips(height: int, width: int) -> Iterator[slice]:
    """All rows, as many at a time as have about `AT_ONCE` pixels."""
    each = max(1, AT_ONCE // width)
    for top in range(0, height, each):
        yield slice(top, min(top + each, height))


def rows_of(image: Image.Image, rows: slice) -> Image.Image:
    """Some rows of an image; the image itself if these are all."""
    if rows.stop - rows.start == image.height:
        return image
    return image.crop((0, rows.start, image.width, rows.stop))


def _full_scale(highest: int) -> int:
    """What is white, where this is the brightest value: all bits of the smallest depth that holds it."""
    return int(2 ** min(bits for bits in CONTAINER_BITS if highest < 2**bits) - 1)


TIFF_TAGS = {"BitsPerSample": 258, "PhotometricInterpretation": 262, "PlanarConfiguration": 284}  # TIFF 6.0, page 117
WHITE_IS_ZERO = 0
NO_MEMORY = "decoder error -9"  # in the words of Pillow, which has an error of its own for it in few places
CONVERT = "Convert it to PNG, with all its bits."
UNREAD = ("a lossless JPEG", "a JPEG-LS image", "a JPEG image with arithmetic coding")
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


def decode(content: bytes, name: str, *, bounded: bool = False) -> Picture | None:
    """Decode an image that is no DICOM object; what it becomes says `hilum.data.images.read_picture`.

    Args:
        content: Of its file.
        name: What messages call it.
        bounded: Whether this process may take only so much time and memory.

    Returns:
        None where that takes a process with bounds, and this is none.

    Raises:
        ImageError: It cannot be read.
    """
    try:
        return _decode(content, name, bounded)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        msg = f"{name}: claims more than {LARGEST_PIXELS:,} pixels; not read. Check the origin of the file."
        raise ImageError(msg, code="too-many-pixels") from error
    except Exception as error:  # decoders raise nearly anything on damaged files, OSError without a number among it
        if isinstance(error, MemoryError) or str(error).endswith(NO_MEMORY):
            msg = f"{name}: there is not enough memory to decode it. Reduce the image."
            raise PassingImageError(msg) from error
        kind = kind_of(content[:ENOUGH])
        unread = isinstance(error, UnidentifiedImageError)
        if unread and not kind.endswith(("image", "JPEG")):
            code, msg = "no-image", f"{name}: {kind}, not an image that can be read. Replace or remove it."
        elif unread or kind in UNREAD:
            code, msg = "unread-kind", f"{name}: {kind} of a kind that cannot be read. {CONVERT}"
        else:
            code, msg = "damaged", f"{name}: damaged ({error}). Download it again, or remove it."
        raise ImageError(msg, code=code) from error


def _decode(content: bytes, name: str, bounded: bool) -> Picture | None:
    # Never by name: Pillow would map an uncompressed TIFF into memory, and read it askew where it has an
    # orientation (seen with Pillow 13.0).
    with open_image(content) as image:
        _check_size(image, name)
        raw = _raw_mode(image)
        key = image.info.get("transparency")
        sixteen_bits = image.mode in ("RGB", "RGBA", "RGBa", "CMYK") and _has_16_bits(image, raw, content)
        if not bounded and is_costly_image(image, content, sixteen_bits=sixteen_bits):
            return None
        _check_frames(image, name)
        if sixteen_bits:
            return _sixteen_bits(content, image, raw, name, key)
        white_is_zero = _tag(image, "PhotometricInterpretation") == WHITE_IS_ZERO
        if raw in FOREIGN and sys.byteorder == "little" and image.tile[0].codec_name == "libtiff":
            _unpack_as(image, FOREIGN[raw])
        image.load()
        colourful = chroma(image)
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode == "F":
            pixels = in_unit_range(np.asarray(image, dtype=np.float32), name)
        elif image.mode.startswith("I"):
            values = np.array(image)
            if isinstance(key, int):
                values[values == key] = 0
            pixels = from_integers(values, name)
        else:
            return Picture(from_bytes(image), colourful)  # Pillow inverts bytes itself
        return Picture(1 - pixels if white_is_zero else pixels)


def open_image(content: bytes) -> ImageFile.ImageFile:
    """Open an image of one of the kinds that hilum reads, whatever it is called."""
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


def _sixteen_bits(content: bytes, image: ImageFile.ImageFile, raw: str, name: str, key: object) -> Picture:
    """Colours with all their bits: grey and alpha, or red, green, blue, and perhaps alpha."""
    separate = _tag(image, "PlanarConfiguration") == 2
    if raw != GREY_ALPHA and (not raw.startswith(SIXTEEN) or separate):
        msg = f"{name}: {image.format} in 16-bit colours of a kind that cannot be read. Save it as 16-bit greyscale."
        raise ImageError(msg, code="unread-kind")
    with open_image(content) as again:
        # Grey and alpha take four bytes a pixel: as RGBA all of them come through.
        _unpack_as(again, "RGBA" if raw == GREY_ALPHA else raw[:-3] + OTHER_ORDER[raw[-3:]])
        ImageOps.exif_transpose(again, in_place=True)
        ImageOps.exif_transpose(image, in_place=True)

        def values(rows: slice) -> NDArray[np.uint16]:
            upper, lower = (np.asarray(rows_of(half, rows), np.uint16) for half in (image, again))
            if raw == GREY_ALPHA:
                upper, lower = lower[..., ::2], lower[..., 1::2]
            return (upper << 8 | lower).astype(np.uint16, copy=False)

        channels = 2 if raw == GREY_ALPHA else len(image.getbands())
        return from_colours(values, (again.height, again.width, channels), key)


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if width * height > LARGEST_PIXELS:
        msg = (
            f"{name}: claims {width}x{height} pixels, more than {LARGEST_PIXELS:,}; not read. "
            "Check where it comes from."
        )
        raise ImageError(msg, code="too-many-pixels")
    if min(width, height) < SMALLEST_SIDE:
        msg = f"{name}: {width}x{height} pixels; a radiograph needs at least {SMALLEST_SIDE} a side. Remove it."
        raise ImageError(msg, code="too-small")


def _check_frames(image: ImageFile.ImageFile, name: str) -> None:
    """Refuse what holds a second frame; how many there are is not counted, which may take minutes."""
    if getattr(image, "is_animated", False) and image.format != "MPO":  # a photograph with a preview behind it
        msg = f"{name}: holds several frames; a radiograph is one image. Extract the frame to use."
        raise ImageError(msg, code="several-frames")

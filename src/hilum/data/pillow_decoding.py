"""Decoding by Pillow: 8 and 16 bits, integers and floating point, colours and transparency."""

from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin, UnidentifiedImageError

from hilum.data.costs import is_costly_image
from hilum.data.file_kinds import ENOUGH, kind_of
from hilum.data.grey_values import chroma, from_bytes, from_colours, from_integers, in_unit_range, rows_of
from hilum.data.images import FORMATS, LARGEST_PIXELS, SMALLEST_SIDE, Picture
from hilum.errors import ImageError, PassingImageError

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
        msg = f"{name}: claims more than {LARGEST_PIXELS:,} pixels; refused unread. Check where it comes from."
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
            code, msg = "damaged", f"{name}: damaged ({error}). Fetch it again, or remove it."
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
            f"{name}: claims {width}x{height} pixels, more than {LARGEST_PIXELS:,}; refused unread. "
            "Check where it comes from."
        )
        raise ImageError(msg, code="too-many-pixels")
    if min(width, height) < SMALLEST_SIDE:
        msg = f"{name}: {width}x{height} pixels; a radiograph needs at least {SMALLEST_SIDE} a side. Remove it."
        raise ImageError(msg, code="too-small")


def _check_frames(image: ImageFile.ImageFile, name: str) -> None:
    """Refuse what holds a second frame; how many there are is not counted, which may take minutes."""
    if getattr(image, "is_animated", False) and image.format != "MPO":  # a photograph with a preview behind it
        msg = f"{name}: holds several frames; a radiograph is one image. Extract the frame that is meant."
        raise ImageError(msg, code="several-frames")

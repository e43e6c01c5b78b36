"""Pixel values of every kind of file, against values that were written."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hilum.data.grey_values import from_array
from hilum.data.images import FORMATS, is_image_file, read_picture
from hilum.errors import ImageError
from image_files import png, tiff

RAMP = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))  # (48, 64), values 0 to 252


def save(tmp_path, image, name, **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a.webp", "a.gif"])
def test_eight_bit_greyscale_is_read_exactly(tmp_path, name):
    options = {"lossless": True} if name.endswith("webp") else {}
    image = Image.fromarray(RAMP).convert("RGB") if name.endswith("webp") else Image.fromarray(RAMP)
    np.testing.assert_allclose(read_picture(save(tmp_path, image, name, **options)).pixels, RAMP / 255, atol=1e-6)


def test_jpeg_is_read_within_what_jpeg_costs(tmp_path):
    path = save(tmp_path, Image.fromarray(RAMP), "a.jpg", quality=95)
    assert np.abs(read_picture(path).pixels - RAMP / 255).max() < 4 / 255


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_one_bit_is_black_and_white(tmp_path, name):
    board = np.indices((40, 40)).sum(axis=0) % 2
    path = save(tmp_path, Image.fromarray(board.astype(bool)), name)
    np.testing.assert_array_equal(read_picture(path).pixels, board)


@pytest.mark.parametrize("values", [RAMP, RAMP.astype(np.uint16) * 257 + 771])
def test_a_tiff_whose_zero_is_white_is_read_as_a_positive(tmp_path, values):
    white = 255 if values.dtype == np.uint8 else 65535
    stored = values if white == 255 else white - values  # Pillow turns 8 bits round when it writes them
    path = save(tmp_path, Image.fromarray(stored), "a.tif", tiffinfo={262: 0})
    np.testing.assert_allclose(read_picture(path).pixels, values / white, atol=1e-6)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_sixteen_bit_files_use_the_depth_that_is_there(tmp_path, name, bits):
    values = np.linspace(0, 2**bits - 1, 40 * 40).round().astype(np.uint16).reshape(40, 40)
    path = save(tmp_path, Image.fromarray(values), name)
    np.testing.assert_allclose(read_picture(path).pixels, values / (2**bits - 1), atol=1e-6)


def test_an_eight_bit_image_stored_with_sixteen_bits_is_the_same_image(tmp_path):
    full = RAMP.copy()
    full[0, 0] = 255
    eight = save(tmp_path, Image.fromarray(full), "8.png")
    sixteen = save(tmp_path, Image.fromarray(full.astype(np.uint16) * 257), "16.png")
    np.testing.assert_allclose(read_picture(eight).pixels, read_picture(sixteen).pixels, atol=1e-7)


def test_a_palette_is_looked_up(tmp_path):
    image = Image.fromarray((np.indices((40, 40))[1] // 20).astype(np.uint8), mode=None).convert("P")
    image.putpalette([200, 200, 200, 10, 10, 10] + [0] * 762)
    pixels = read_picture(save(tmp_path, image, "a.png")).pixels
    assert pixels[0, 0] == pytest.approx(200 / 255)
    assert pixels[0, 39] == pytest.approx(10 / 255)


@pytest.mark.parametrize(("colour", "luma"), [((255, 0, 0), 0.299), ((0, 255, 0), 0.587), ((0, 0, 255), 0.114)])
def test_colours_become_luma_of_bt_601(tmp_path, colour, luma):
    pixels = read_picture(save(tmp_path, Image.new("RGB", (40, 40), colour), "a.png")).pixels
    np.testing.assert_allclose(pixels, luma, atol=1 / 255)


def test_transparent_pixels_are_black_and_half_transparent_ones_half_as_bright(tmp_path):
    image = Image.new("RGBA", (40, 40), (255, 255, 255, 0))
    image.paste((255, 255, 255, 128), (20, 0, 40, 40))
    pixels = read_picture(save(tmp_path, image, "a.png")).pixels
    assert pixels[0, 0] == 0
    assert pixels[0, 30] == pytest.approx(128 / 255, abs=1 / 255)


@pytest.mark.parametrize("name", ["a.tif", "a.jpg"])
def test_cmyk_ink_darkens(tmp_path, name):
    image = Image.new("CMYK", (40, 40), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (20, 0, 40, 40))
    pixels = read_picture(save(tmp_path, image, name)).pixels
    assert pixels[20, 5] > 0.98
    assert pixels[20, 35] < 0.02


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path, orientation):
    upright = np.zeros((40, 60), np.uint8)
    upright[:10, :10] = 255  # a marker in the upper left corner
    turned = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.T, 6: np.rot90(upright), 7: np.rot90(upright, 2).T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path, Image.fromarray(np.ascontiguousarray(turned)), "a.tif", exif=exif)
    np.testing.assert_allclose(read_picture(path).pixels, upright / 255)


def test_floating_point_tiff_between_0_and_1_is_taken_as_it_is(tmp_path):
    values = np.linspace(0, 1, 1600, dtype=np.float32).reshape(40, 40)
    np.testing.assert_allclose(read_picture(save(tmp_path, Image.fromarray(values), "a.tif")).pixels, values)


TWELVE = np.random.default_rng(1).integers(0, 4096, (40, 50)).astype(np.uint16)
TWELVE[0, 0] = 4095
OPAQUE = np.full((40, 50, 1), 65535, np.uint16)


@pytest.mark.parametrize("sub", [True, False])
@pytest.mark.parametrize("interlaced", [True, False])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_twelve_bits_in_sixteen_keep_their_depth_with_colour_and_alpha(channels, interlaced, sub):
    grey = np.repeat(TWELVE[:, :, None], 3 if channels > 2 else 1, axis=2)
    values = np.concatenate([grey, OPAQUE], axis=2) if channels in (2, 4) else grey
    found = read_picture(png(values, interlaced=interlaced, sub=sub))
    np.testing.assert_array_equal(found.pixels, (TWELVE / 4095).astype(np.float32))
    assert found.chroma == 0


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("deflate", [True, False])
def test_sixteen_bit_colours_of_a_tiff_keep_their_depth(order, deflate):
    values = np.repeat(TWELVE[:, :, None], 3, axis=2)
    found = read_picture(tiff(values, order=order, deflate=deflate)).pixels
    np.testing.assert_array_equal(found, (TWELVE / 4095).astype(np.float32))


@pytest.mark.parametrize(("channel", "luma"), [(0, 0.299), (1, 0.587), (2, 0.114)])
def test_sixteen_bit_colours_become_luma(channel, luma):
    values = np.zeros((40, 50, 3), np.uint16)
    values[..., channel] = 4095
    found = read_picture(png(values))
    np.testing.assert_allclose(found.pixels, luma, atol=1e-4)
    assert found.chroma == 1
    np.testing.assert_array_equal(from_array(values).pixels, found.pixels)


def test_transparency_of_sixteen_bits_is_black():
    alpha = np.tile(np.array([0, 32768], np.uint16), (40, 25))
    white = np.where(alpha == 0, 65535, TWELVE)  # what is not seen does not set the scale
    found = read_picture(png(np.stack([white, alpha], axis=2))).pixels
    np.testing.assert_allclose(found, TWELVE / 4095 * (alpha / 65535), atol=1e-4)
    keyed = np.where(alpha == 0, 65535, TWELVE)[:, :, None]
    for values, key in ((keyed, [65535]), (np.repeat(keyed, 3, axis=2), [65535] * 3)):
        np.testing.assert_allclose(read_picture(png(values, key=key)).pixels, TWELVE / 4095 * (alpha > 0), atol=1e-6)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("deflate", [True, False])
@pytest.mark.parametrize("white_is_zero", [True, False])
@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "u4", "i4", "f4", "f8"])
def test_every_kind_of_number_in_a_tiff_is_read(kind, white_is_zero, deflate, order):
    whole = np.arange(40 * 64).reshape(40, 64)
    stored, full = {"u": (whole, 4095), "i": (whole - 700, 4095), "f": (whole / 4096, 1)}[kind[0]]
    if kind == "u1":
        stored, full = whole % 256, 255
    expected = (stored - min(0, stored.min())) / full
    found = read_picture(tiff(stored.astype(kind), order=order, deflate=deflate, white_is_zero=white_is_zero)).pixels
    np.testing.assert_allclose(found, 1 - expected if white_is_zero else expected, atol=1e-6)


def test_values_below_zero_count_from_the_lowest():
    signed = TWELVE.astype(np.int16) - 2000
    np.testing.assert_allclose(from_array(signed).pixels, (signed - signed.min()) / 4095, atol=1e-6)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_ending_in_the_list_can_be_read(tmp_path, kind):
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {kind}")
    for ending in FORMATS[kind]:
        path = save(tmp_path, Image.fromarray(RAMP), f"x{ending}", format=kind)
        assert np.abs(read_picture(path).pixels - RAMP / 255).mean() < 0.02
        assert is_image_file(path.with_suffix(ending.upper()))


def test_files_without_a_known_ending_are_images_where_they_are_dicom(tmp_path):
    for name, content in {
        "IM000001": bytes(128) + b"DICM",
        "1.2.840.113619.2": b"\x08\0\x05\0CS\x0a\0ISO_IR 100\x08\0\x08\0CS\x08\0ORIGINAL",
        "implicit": b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100\x08\0\x08\0\x08\0\0\0ORIGINAL",
    }.items():
        (tmp_path / name).write_bytes(content)
        assert is_image_file(tmp_path / name), name
    for name, content in {
        "DICOMDIR": bytes(128) + b"DICM",
        "README": b"hello" * 100,
        "numbers.npy": bytes(500),
        "empty": b"",
    }.items():
        (tmp_path / name).write_bytes(content)
        assert not is_image_file(tmp_path / name), name


def claims(width, height):
    """A PNG whose header claims a size; there is hardly anything behind it."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200)).astype(np.uint8))
BAD = {
    "empty": (b"", "no-image"),
    "text": (b"this is not an image\n", "no-image"),
    "binary": (bytes(range(256)) * 3, "no-image"),
    "truncated JPEG": (encoded(NOISE, "JPEG")[:3000], "damaged"),
    "truncated PNG": (encoded(NOISE, "PNG")[:3000], "damaged"),
    "1x1": (encoded(Image.new("L", (1, 1)), "PNG"), "too-small"),
    "bomb": (claims(50_000, 50_000), "too-many-pixels"),
    "large": (claims(11_000, 9_000), "too-many-pixels"),
    "animation": (encoded(NOISE, "GIF", save_all=True, append_images=[NOISE.rotate(90)]), "several-frames"),
    "float out of range": (encoded(Image.fromarray(np.full((40, 40), 7, np.float32)), "TIFF"), "out-of-range"),
    "not a number": (encoded(Image.fromarray(np.full((40, 40), np.nan, np.float32)), "TIFF"), "not-finite"),
    "32 bits": (encoded(Image.fromarray(np.full((40, 40), 10**6, np.int32)), "TIFF"), "too-many-bits"),
    "half floats": (tiff(np.zeros((40, 40), np.float16)), "unread-kind"),
    "deep PPM": (b"P6 40 40 65535\n" + bytes(9600), "unread-kind"),
    "PDF": (encoded(NOISE, "PDF"), "no-image"),
    "PostScript": (encoded(NOISE, "EPS"), "no-image"),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" * 9, "unread-kind"),
    "JPEG XL": (b"\0\0\0\x0cJXL \r\n\x87\n" * 9, "unread-kind"),
    "12-bit JPEG": (encoded(NOISE, "JPEG").replace(b"\xff\xc0\0\x0b\x08", b"\xff\xc1\0\x0b\x0c"), "unread-kind"),
    "JPEG-LS": (encoded(NOISE, "JPEG").replace(b"\xff\xc0\0\x0b\x08", b"\xff\xf7\0\x0b\x08"), "unread-kind"),
    "ZIP": (b"PK\x03\x04" * 99, "no-image"),
    "error page": (b"<!DOCTYPE html><html>404</html>", "no-image"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\n", "no-image"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("as_file", [True, False])
def test_bad_files_are_named_with_what_was_found(tmp_path, kind, as_file, refuses):
    content, code = BAD[kind]
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with refuses(ImageError, code):
        read_picture(path if as_file else content, name="x.png")


def test_a_missing_file_says_so(tmp_path, refuses):
    with refuses(ImageError, "missing"):
        read_picture(tmp_path / "nothing.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_size_between_pillows_two_limits_is_named(refuses):
    with refuses(ImageError, "too-many-pixels"):
        read_picture(claims(11_000, 9_000), name="x.png")


@given(position=st.integers(0, 2000), value=st.integers(0, 255))
def test_one_altered_byte_gives_an_image_or_a_clear_error_and_nothing_else(position, value):
    content = bytearray(encoded(Image.fromarray(RAMP), "PNG"))
    content[position % len(content)] = value
    try:
        pixels = read_picture(bytes(content)).pixels
    except ImageError:
        return
    assert pixels.ndim == 2
    assert 0 <= pixels.min() <= pixels.max() <= 1

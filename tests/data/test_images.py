"""Pixel values of every kind of file, against values that were written."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hilum.data.images import read_grayscale
from hilum.errors import ImageError

RAMP = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))  # (48, 64), values 0 to 252


def save(tmp_path, image, name, **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a.webp", "a.gif"])
def test_eight_bit_greyscale_is_read_exactly(tmp_path, name):
    options = {"lossless": True} if name.endswith("webp") else {}
    image = Image.fromarray(RAMP).convert("RGB") if name.endswith("webp") else Image.fromarray(RAMP)
    np.testing.assert_allclose(read_grayscale(save(tmp_path, image, name, **options)), RAMP / 255, atol=1e-6)


def test_jpeg_is_read_within_what_jpeg_costs(tmp_path):
    path = save(tmp_path, Image.fromarray(RAMP), "a.jpg", quality=95)
    assert np.abs(read_grayscale(path) - RAMP / 255).max() < 4 / 255


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_one_bit_is_black_and_white(tmp_path, name):
    board = np.indices((40, 40)).sum(axis=0) % 2
    path = save(tmp_path, Image.fromarray(board.astype(bool)), name)
    np.testing.assert_array_equal(read_grayscale(path), board)


@pytest.mark.parametrize("values", [RAMP, RAMP.astype(np.uint16) * 257 + 771])
def test_a_tiff_whose_zero_is_white_is_read_as_a_positive(tmp_path, values):
    white = 255 if values.dtype == np.uint8 else 65535
    stored = values if white == 255 else white - values  # Pillow turns 8 bits round when it writes them
    path = save(tmp_path, Image.fromarray(stored), "a.tif", tiffinfo={262: 0})
    np.testing.assert_allclose(read_grayscale(path), values / white, atol=1e-6)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_sixteen_bit_files_use_the_depth_that_is_there(tmp_path, name, bits):
    values = np.linspace(0, 2**bits - 1, 40 * 40).round().astype(np.uint16).reshape(40, 40)
    path = save(tmp_path, Image.fromarray(values), name)
    np.testing.assert_allclose(read_grayscale(path), values / (2**bits - 1), atol=1e-6)


def test_an_eight_bit_image_stored_with_sixteen_bits_is_the_same_image(tmp_path):
    full = RAMP.copy()
    full[0, 0] = 255
    eight = save(tmp_path, Image.fromarray(full), "8.png")
    sixteen = save(tmp_path, Image.fromarray(full.astype(np.uint16) * 257), "16.png")
    np.testing.assert_allclose(read_grayscale(eight), read_grayscale(sixteen), atol=1e-7)


def test_a_palette_is_looked_up(tmp_path):
    image = Image.fromarray((np.indices((40, 40))[1] // 20).astype(np.uint8), mode=None).convert("P")
    image.putpalette([200, 200, 200, 10, 10, 10] + [0] * 762)
    pixels = read_grayscale(save(tmp_path, image, "a.png"))
    assert pixels[0, 0] == pytest.approx(200 / 255)
    assert pixels[0, 39] == pytest.approx(10 / 255)


@pytest.mark.parametrize(("colour", "luma"), [((255, 0, 0), 0.299), ((0, 255, 0), 0.587), ((0, 0, 255), 0.114)])
def test_colours_become_luma_of_bt_601(tmp_path, colour, luma):
    pixels = read_grayscale(save(tmp_path, Image.new("RGB", (40, 40), colour), "a.png"))
    np.testing.assert_allclose(pixels, luma, atol=1 / 255)


def test_transparent_pixels_are_black_and_half_transparent_ones_half_as_bright(tmp_path):
    image = Image.new("RGBA", (40, 40), (255, 255, 255, 0))
    image.paste((255, 255, 255, 128), (20, 0, 40, 40))
    pixels = read_grayscale(save(tmp_path, image, "a.png"))
    assert pixels[0, 0] == 0
    assert pixels[0, 30] == pytest.approx(128 / 255, abs=1 / 255)


@pytest.mark.parametrize("name", ["a.tif", "a.jpg"])
def test_cmyk_ink_darkens(tmp_path, name):
    image = Image.new("CMYK", (40, 40), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (20, 0, 40, 40))
    pixels = read_grayscale(save(tmp_path, image, name))
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
    np.testing.assert_allclose(read_grayscale(path), upright / 255)


def test_floating_point_tiff_between_0_and_1_is_taken_as_it_is(tmp_path):
    values = np.linspace(0, 1, 1600, dtype=np.float32).reshape(40, 40)
    np.testing.assert_allclose(read_grayscale(save(tmp_path, Image.fromarray(values), "a.tif")), values)


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
    "empty": (b"", "an empty file"),
    "text": (b"this is not an image\n", "a text file"),
    "binary": (bytes(range(256)) * 3, "unknown kind"),
    "truncated JPEG": (encoded(NOISE, "JPEG")[:3000], "damaged"),
    "truncated PNG": (encoded(NOISE, "PNG")[:3000], "damaged"),
    "1x1": (encoded(Image.new("L", (1, 1)), "PNG"), "1x1 pixels"),
    "bomb": (claims(50_000, 50_000), "refused unread"),
    "large": (claims(11_000, 9_000), "refused unread"),
    "animation": (encoded(NOISE, "GIF", save_all=True, append_images=[NOISE.rotate(90)]), "2 frames"),
    "float out of range": (encoded(Image.fromarray(np.full((40, 40), 7, np.float32)), "TIFF"), "0 to 1"),
    "32 bits": (encoded(Image.fromarray(np.full((40, 40), 10**6, np.int32)), "TIFF"), "at most 16 bits"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("as_file", [True, False])
def test_bad_files_are_named_with_what_was_found(tmp_path, kind, as_file):
    content, expected = BAD[kind]
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=expected) as caught:
        read_grayscale(path if as_file else content, name="x.png")
    assert "x.png" in str(caught.value)


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        read_grayscale(tmp_path / "nothing.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_size_between_pillows_two_limits_is_named():
    with pytest.raises(ImageError, match="11000x9000"):
        read_grayscale(claims(11_000, 9_000), name="x.png")


@given(position=st.integers(0, 2000), value=st.integers(0, 255))
def test_one_altered_byte_gives_an_image_or_a_clear_error_and_nothing_else(position, value):
    content = bytearray(encoded(Image.fromarray(RAMP), "PNG"))
    content[position % len(content)] = value
    try:
        pixels = read_grayscale(bytes(content))
    except ImageError:
        return
    assert pixels.ndim == 2
    assert 0 <= pixels.min() <= pixels.max() <= 1

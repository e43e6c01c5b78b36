"""Changes to a finished image: the traces that defects leave in its pixels and in its file."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

VARIANTS: tuple[str, ...] = ("exact", "resized", "jpeg", "cropped", "mirrored", "inverted")
"""How a duplicate differs from its original, in the order in which they are dealt out."""

ENLARGED = 1.25
"""Edge of the images of a label with the ``size`` defect, relative to the others."""

_LETTERS = {
    "R": ("11110", "10001", "10001", "11110", "10100", "10010", "10001"),
    "L": ("10000", "10000", "10000", "10000", "10000", "10000", "11111"),
}


def stamp(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Put a bright letter of about a tenth of the image's height into an upper corner."""
    side = str(rng.choice(["R", "L"]))
    scale = max(1, round(image.shape[0] / 70))
    letter = np.array([[int(dot) for dot in row] for row in _LETTERS[side]], np.uint8).repeat(scale, 0).repeat(scale, 1)
    height, width = letter.shape
    edge = round(0.03 * image.shape[0])
    top, along = edge + int(rng.integers(0, edge + 1)), edge + int(rng.integers(0, edge + 1))
    left = along if side == "R" else image.shape[1] - along - width
    stamped = image.copy()
    region = stamped[top : top + height, left : left + width]
    region[letter > 0] = int(rng.integers(235, 256))
    return stamped


def frame(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Blacken a border of 2 to 7 % of the edge on all four sides, each of its own width."""
    framed = np.zeros_like(image)
    rows, columns = image.shape
    top, bottom, left, right = (max(2, round(share * rows)) for share in rng.uniform(0.02, 0.07, 4))
    framed[top : rows - bottom, left : columns - right] = image[top : rows - bottom, left : columns - right]
    return framed


def brighten(image: Pixels) -> Pixels:
    """Display brighter by a curve of exponent 0.7, which keeps black black and white white."""
    curve = (255 * (np.arange(256) / 255) ** 0.7 + 0.5).astype(np.uint8)
    return curve[image]


def resize(image: Pixels, size: int) -> Pixels:
    """Scale to (size, size)."""
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS))


def crop(image: Pixels) -> Pixels:
    """Cut 5 % of height and width away, half on each side, and scale back to the old size."""
    margin = max(1, round(0.025 * image.shape[0]))
    return resize(np.ascontiguousarray(image[margin:-margin, margin:-margin]), image.shape[0])


def vary(image: Pixels, variant: str) -> Pixels:
    """Alter a duplicate's pixels; ``exact`` and ``jpeg`` (which differs in its file) leave them."""
    if variant == "resized":
        return resize(image, max(32, round(0.75 * image.shape[0])))
    if variant == "cropped":
        return crop(image)
    if variant == "mirrored":
        return np.ascontiguousarray(image[:, ::-1])
    if variant == "inverted":
        return 255 - image
    return image


def encode(image: Pixels, suffix: str, *, stored: bool = False, quality: int = 95) -> bytes:
    """The bytes of a ``.png`` (uncompressed if ``stored``) or ``.jpg`` file of an image (H, W)."""
    buffer = io.BytesIO()
    if suffix == ".jpg":
        Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    else:
        Image.fromarray(image).save(buffer, "PNG", compress_level=0 if stored else 6)
    return buffer.getvalue()


def encode_mask(mask: NDArray[np.bool_]) -> bytes:
    """The bytes of a 1-bit PNG of a mask (H, W)."""
    buffer = io.BytesIO()
    Image.fromarray(mask).convert("1").save(buffer, "PNG")
    return buffer.getvalue()

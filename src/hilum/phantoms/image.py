"""From matter on the rays to a displayed radiograph: attenuation, parallel projection and exposure.

Attenuation coefficients are in 1/cm: mass attenuation coefficients at 60 keV, about the mean energy behind the
patient of a 120 kV beam, times the density, both from Hubbell & Seltzer, *Tables of X-Ray Mass Attenuation
Coefficients*, NISTIR 5632 (NIST Standard Reference Database 126), compositions of ICRU Report 44.

Patient coordinates are in cm: ``x`` to the patient's left (the image's right), ``y`` down, ``z`` forward along the
beam. A shape is either a solid with one interval ``[low, high]`` of ``z`` on each ray, so that differences and
intersections are interval arithmetic, or a tube along a centre line (see `hilum.phantoms.tubes`).

The exposure follows Beer-Lambert, with scatter, quantum noise, the detector's blur and the display window.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.ndimage
from numpy.typing import NDArray
from PIL import Image

SOFT_TISSUE = 0.2048 * 1.06
"""Muscle, blood, liver, consolidated lung."""

ADIPOSE = 0.1974 * 0.95
"""Fat; the breast is taken as fat with some gland."""

CORTICAL_BONE = 0.3148 * 1.92
"""The shell of every bone."""

SPONGY_BONE = 0.85 * SOFT_TISSUE + 0.15 * CORTICAL_BONE
"""Trabecular bone: marrow with 15 % of its volume cortical."""

AIRED_LUNG = 0.2053 * 0.26
"""Lung at full inspiration (density 0.26 g/cm³)."""

AIR = 0.1875 * 1.205e-3
"""Air in the trachea, the bowel and around the patient."""

METAL = 3.0
"""Wires and electrodes: an effective value for thin, mixed parts, not a single element's."""


Array = NDArray[np.float32]

_EMPTY = np.float32(1e3)


@dataclass(frozen=True)
class Grid:
    """The rays: a square detector seen in patient coordinates.

    Attributes:
        side: Rays along each edge.
        spacing: Distance between rays in cm.
        tilt: Rotation of the patient in the image plane, in radians.
        shift: Where the patient's origin falls on the detector, in cm from its middle.
        x: Patient ``x`` of each ray, (side, side).
        y: Patient ``y`` of each ray, (side, side).
    """

    side: int
    spacing: float
    tilt: float
    shift: tuple[float, float]
    x: Array
    y: Array

    @classmethod
    def of(cls, side: int, spacing: float, tilt: float = 0.0, shift: tuple[float, float] = (0.0, 0.0)) -> Grid:
        """The grid whose middle ray meets the patient's origin, moved by ``shift`` and turned by ``tilt``."""
        axis = ((np.arange(side) - (side - 1) / 2) * spacing).astype(np.float32)
        u, v = axis[None, :] - np.float32(shift[0]), axis[:, None] - np.float32(shift[1])
        c, s = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
        return cls(side, spacing, tilt, shift, c * u + s * v, c * v - s * u)

    def pixels(self, x: NDArray[np.floating], y: NDArray[np.floating]) -> tuple[Array, Array]:
        """Fractional (row, column) of the rays through the patient points ``x``, ``y``."""
        c, s = np.cos(self.tilt), np.sin(self.tilt)
        middle = (self.side - 1) / 2
        column = (c * x - s * y + self.shift[0]) / self.spacing + middle
        row = (s * x + c * y + self.shift[1]) / self.spacing + middle
        return np.asarray(row, np.float32), np.asarray(column, np.float32)

    def window(self, x: float, y: float, reach: float) -> tuple[slice, slice]:
        """The part of the grid within ``reach`` cm of a point, as (rows, columns)."""
        row, column = self.pixels(np.array([x]), np.array([y]))
        half = reach / self.spacing + 1
        edges = [(int(max(0, p - half)), int(max(0, min(self.side, p + half + 1)))) for p in (row[0], column[0])]
        return slice(*edges[0]), slice(*edges[1])


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid with one axis along the beam.

    Attributes:
        centre: (x, y, z) in cm.
        radii: Half axes in cm; the first two lie in the image plane, the third along the beam.
        angle: Rotation of the first two axes in the image plane, in radians.
        open_below: Whether the shape goes on downwards below its centre, like a dome.
    """

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    angle: float = 0.0
    open_below: bool = False

    def window(self, grid: Grid) -> tuple[slice, slice]:
        """The part of the grid the ellipsoid can fall on."""
        rows, columns = grid.window(self.centre[0], self.centre[1], max(self.radii[:2]))
        return (slice(rows.start, grid.side) if self.open_below else rows), columns

    def half_chord(self, grid: Grid, window: tuple[slice, slice], ripple: Array | float = 0.0) -> Array:
        """Half of each ray's path through the ellipsoid in ``window``; ``ripple`` shifts the edge."""
        dx = grid.x[window] - np.float32(self.centre[0])
        dy = grid.y[window] - np.float32(self.centre[1])
        if self.open_below:
            dy = np.minimum(dy, np.float32(0))
        c, s = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        u = (c * dx + s * dy) / np.float32(self.radii[0])
        v = (c * dy - s * dx) / np.float32(self.radii[1])
        inside: Array = np.maximum(1 - u * u - v * v - ripple, 0).astype(np.float32, copy=False)
        return np.float32(self.radii[2]) * np.sqrt(inside)


@dataclass
class Solid:
    """One interval of ``z`` a ray: inside between ``low`` and ``high``, nowhere if low > high."""

    low: Array
    high: Array

    @classmethod
    def empty(cls, grid: Grid) -> Solid:
        """A solid no ray meets."""
        shape = (grid.side, grid.side)
        return cls(np.full(shape, _EMPTY), np.full(shape, -_EMPTY))

    def cover(self, grid: Grid, ellipsoid: Ellipsoid) -> None:
        """Grow each ray's interval to the smallest that also holds the ellipsoid."""
        window = ellipsoid.window(grid)
        half = ellipsoid.half_chord(grid, window)
        z = np.float32(ellipsoid.centre[2])
        hit = half > 0
        np.minimum(self.low[window], z - half, out=self.low[window], where=hit)
        np.maximum(self.high[window], z + half, out=self.high[window], where=hit)

    def length(self) -> Array:
        """Path of each ray inside, in cm."""
        path: Array = np.maximum(self.high - self.low, 0)
        return path


_DETECTOR_BLUR = 0.05
_SCATTER_REACH = 4.0


@dataclass(frozen=True)
class Exposure:
    """Technique and display of one radiograph.

    Attributes:
        photons: Incident photons per cm² of detector that would reach it without a patient.
        scatter: Scattered to primary light per unit of optical depth; a grid lowers it.
        slope: Change of the incident light across and down the field (heel effect, misaligned grid).
        flatten: How much of the coarse brightness differences the processing removes, 0 to 1.
        detail: Gain of differences finer than about 1 cm.
        window: Shifts of the display window's dark and bright end, in shares of its width.
        gamma: Exponent of the display curve.
        shutter: Black border in shares of the image's edge: left, right, top, bottom; 0 for none.
    """

    photons: float
    scatter: float
    slope: tuple[float, float]
    flatten: float
    detail: float
    window: tuple[float, float]
    gamma: float
    shutter: tuple[float, float, float, float]


def sample_exposure(rng: np.random.Generator, bedside: bool) -> Exposure:
    """Draw technique and display; bedside films have more scatter and fewer photons."""
    edges = np.where(rng.uniform(size=4) < 0.5, rng.uniform(0.005, 0.06, 4), 0.0)
    shutter = edges if rng.uniform() < 0.22 else np.zeros(4)
    return Exposure(
        photons=float(np.exp(rng.uniform(np.log(4.0e6), np.log(6.0e7)))) * (0.5 if bedside else 1.0),
        scatter=rng.uniform(0.04, 0.12) + (0.06 if bedside else 0.0),
        slope=(rng.normal(0, 0.10), rng.normal(0, 0.10)),
        flatten=rng.uniform(0.25, 0.6),
        detail=rng.uniform(0.2, 1.0),
        window=(rng.normal(0.0, 0.06), rng.normal(0.0, 0.07)),
        gamma=float(np.exp(rng.normal(-0.14, 0.16))),
        shutter=(float(shutter[0]), float(shutter[1]), float(shutter[2]), float(shutter[3])),
    )


def blur(image: Array, sigma: float) -> Array:
    """Gaussian blur by ``sigma`` pixels, wrapping at the edges."""
    rows, columns = image.shape
    fy, fx = scipy.fft.fftfreq(rows), scipy.fft.rfftfreq(columns)
    k = np.float32(-2 * (np.pi * sigma) ** 2)
    transfer = np.exp(k * fy.astype(np.float32) ** 2)[:, None] * np.exp(k * fx.astype(np.float32) ** 2)[None, :]
    blurred: Array = scipy.fft.irfft2(scipy.fft.rfft2(image) * transfer, s=image.shape)
    return blurred


def _soften(image: Array, sigma: float) -> Array:
    """Gaussian blur by ``sigma`` pixels that does not reach across the edges."""
    softened: Array = scipy.ndimage.gaussian_filter(image, sigma, mode="nearest", truncate=2.5)
    return softened


def expose(
    integral: Array, added: Array, spacing: float, margin: int, exposure: Exposure, noise: Array
) -> NDArray[np.uint8]:
    """Expose, detect and display one radiograph.

    The transmitted light is exp(-integral) (Beer-Lambert). Scattered light is the light that interacts in
    first order, transmission times optical depth, spread widely. Counts of photons are Poisson distributed;
    at the hundreds of photons a pixel sees at least, that is a normal distribution of the same variance.
    Window and scatter are set on the anatomy without its disease, so that a phantom and its healthy twin
    differ by the disease alone.

    Args:
        integral: Line integrals of the healthy anatomy with ``margin`` extra rays all around.
        added: What the disease adds to them, of the same shape.
        spacing: Distance of rays in cm.
        margin: Extra rays on each side.
        exposure: Technique and display.
        noise: Standard normal field of the radiograph's shape.

    Returns:
        The radiograph, bones white, (H, W).
    """
    size = noise.shape[0]
    inner = (slice(margin, margin + size),) * 2
    primary = np.exp(-integral)
    scatter = blur(primary * integral, _SCATTER_REACH / spacing)[inner] * np.float32(exposure.scatter)
    primary = primary[inner]
    spread = _DETECTOR_BLUR / spacing * (1 + 0.5 * min(2.0, 2e6 / exposure.photons))
    healthy = light = _soften(primary + scatter, spread)
    if added.any():
        light = _soften(primary * np.exp(-added[inner]) + scatter, spread)

    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    beam = np.exp(np.float32(exposure.slope[0]) * ramp[None, :] + np.float32(exposure.slope[1]) * ramp[:, None])
    quanta = np.float32(exposure.photons * spacing**2)
    healthy, light = np.maximum(healthy * beam, 1e-4), np.maximum(light * beam, 1e-4)
    counts = np.maximum(light * quanta + np.sqrt(light * quanta) * noise, 1.0)

    healthy_log, depth = -np.log(healthy), -np.log(counts / quanta)
    coarse, fine = _soften(healthy_log, 3.0 / spacing), _soften(depth, 0.7 / spacing)
    flat = np.float32(exposure.flatten)
    shown = depth - flat * coarse + np.float32(exposure.detail) * (depth - fine)
    middle = (slice(size // 8, -size // 8, 2),) * 2
    reference = (healthy_log - flat * coarse)[middle][healthy_log[middle] > 1.2]
    dark, bright = np.percentile(reference, (1.0, 98.5))
    width = bright - dark
    dark, bright = dark + (exposure.window[0] - 0.12) * width, bright + (exposure.window[1] + 0.20) * width
    value = np.clip((shown - dark) / (bright - dark), 0, 1) ** np.float32(exposure.gamma)
    edges = [round(edge * size) for edge in exposure.shutter]
    value[:, : edges[0]] = 0.02
    value[:, size - edges[1] :] = 0.02
    value[: edges[2]] = 0.02
    value[size - edges[3] :] = 0.02
    displayed: NDArray[np.uint8] = (value * 255 + 0.5).astype(np.uint8)
    return displayed


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

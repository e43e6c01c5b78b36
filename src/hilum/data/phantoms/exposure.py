"""From line integrals to a displayed radiograph: Beer-Lambert, scatter, quantum noise, detector, window."""

from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.ndimage
from numpy.typing import NDArray

from hilum.data.phantoms.projection import Array

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

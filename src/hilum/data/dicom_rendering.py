"""Stored values of a DICOM object to what a viewer shows first: modality, window or table, polarity (PS3.3 C.11)."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SCALED = (0.5, 99.5)  # percentiles, where the file names no window (judged)


def render(stored: NDArray[Any], dataset: Any, notes: list[str]) -> NDArray[np.float32]:
    """Grey values as they are shown first.

    Args:
        stored: Decoded pixels, of shape (H, W), before any table.
        dataset: Their object.
        notes: Whatever has to be known is added.

    Returns:
        Pixels between 0 (black) and 1 (white); padding (PixelPaddingValue, PS3.3 C.7.5.1.1.2) is black and without
        influence on the scale.
    """
    padding = _padding(stored, dataset)
    inside: Any = ... if padding is None or padding.all() else ~padding
    values = _modality(stored, dataset)
    table = _table(dataset.get("VOILUTSequence"), dataset)
    window = _window(dataset)
    if table is not None:
        first, entries, full = table
        shown = _looked_up(values, first, entries) / full
    elif window is not None:
        shown = _windowed(values, *window, str(dataset.get("VOILUTFunction", "") or "LINEAR").upper().strip())
    else:
        if _numbers(dataset, "WindowWidth"):
            notes.append("Its window is not valid; the grey values were scaled by their percentiles.")
        low, high = np.percentile(values[inside], SCALED)
        shown = (values - low) / max(high - low, 1e-6)
    shown = shown.clip(0, 1)
    if dataset.PhotometricInterpretation == "MONOCHROME1":  # PresentationLUTShape INVERSE says the same once more
        shown = 1 - shown
        if str(dataset.get("PresentationLUTShape", "")).upper() == "IDENTITY":
            notes.append("MONOCHROME1 with an identity presentation table contradict each other; it was inverted.")
    if padding is not None:
        shown[padding] = 0
    result: NDArray[np.float32] = shown.astype(np.float32)
    return result


def _modality(stored: NDArray[Any], dataset: Any) -> Floats:
    """Modality LUT or rescaling; a slope or an intercept that is empty changes nothing."""
    table = _table(dataset.get("ModalityLUTSequence"), dataset)
    if table is not None:
        return _looked_up(stored, *table[:2])
    slope, intercept = _numbers(dataset, "RescaleSlope"), _numbers(dataset, "RescaleIntercept")
    found: Floats = stored * (slope or [1.0])[0] + (intercept or [0.0])[0]
    return found


def _window(dataset: Any) -> tuple[float, float] | None:
    """The first center and width that make a window: a width of 1 or more, or above 0 where the function is not LINEAR.

    PS3.3 C.11.2.1.2 and C.11.2.1.3.
    """
    linear = str(dataset.get("VOILUTFunction", "") or "LINEAR").upper().strip() == "LINEAR"
    pairs = zip(_numbers(dataset, "WindowCenter"), _numbers(dataset, "WindowWidth"), strict=False)
    return next(((c, w) for c, w in pairs if isfinite(c) and isfinite(w) and (w >= 1 if linear else w > 0)), None)


def _windowed(values: Floats, center: float, width: float, function: str) -> Floats:
    if function == "SIGMOID":
        shown: Floats = 1 / (1 + np.exp((-4 * (values - center) / width).clip(-700, 700)))
        return shown
    if function == "LINEAR_EXACT":
        return (values - center) / width + 0.5
    return (values - (center - 0.5)) / max(width - 1, 1e-6) + 0.5


def _table(sequence: Any, dataset: Any) -> tuple[int, Floats, int] | None:
    """The first table of a sequence: the value that its first entry is for, its entries, and what is white.

    The standard knows tables of 8 to 16 bits (PS3.3 C.11.1.1); their data come as words or as bytes, and what they
    claim of their depth may be too little.
    """
    if not sequence:
        return None
    item = sequence[0]
    count, first, bits = (int(number) for number in item.LUTDescriptor)
    count = count % 2**16 or 2**16  # 0 stands for 65536; both numbers may come with or without sign
    data = item.LUTData
    if isinstance(data, bytes):
        order = "<" if dataset.original_encoding[1] is not False else ">"
        width = 2 if len(data) >= 2 * count else 1
        entries = np.frombuffer(data[: len(data) // width * width], f"{order}u{width}")
    else:
        entries = np.asarray([data] if isinstance(data, int) else list(data)).astype(np.uint16)
    entries = entries[:count]
    if not entries.size:
        return None
    full = 2 ** min(max(bits, int(entries.max()).bit_length(), 1), 16) - 1
    return first, entries.astype(np.float64), full


def _looked_up(values: NDArray[Any], first: int, entries: Floats) -> Floats:
    """What stands in a table for each value; those beyond it get its first or last entry."""
    if first >= 2**15 and values.min() < 0:  # a number below zero that was read without its sign
        first -= 2**16
    places = np.rint(values - np.float64(first)).clip(0, len(entries) - 1).astype(np.int64)
    found: Floats = entries[places]
    return found


def _padding(stored: NDArray[Any], dataset: Any) -> NDArray[np.bool_] | None:
    """Which pixels are padding: of PixelPaddingValue, or between it and PixelPaddingRangeLimit."""
    given = _numbers(dataset, "PixelPaddingValue")
    if not given:
        return None
    limit = _numbers(dataset, "PixelPaddingRangeLimit") or given
    low, high = sorted(_as_stored(int(number), dataset) for number in (given[0], limit[0]))
    found: NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return found


def _as_stored(number: int, dataset: Any) -> int:
    """A number as its bits read in a pixel, with or without sign: writers confuse the two."""
    span = 1 << int(dataset.get("BitsAllocated", 16))
    signed = dataset.get("PixelRepresentation") == 1 and number % span >= span // 2
    return number % span - span if signed else number % span


def _numbers(dataset: Any, keyword: str) -> list[float]:
    """The values of an element; none where it is absent or empty."""
    value = dataset.get(keyword)
    values = value if isinstance(value, Iterable) and not isinstance(value, (str, bytes)) else [value]
    return [float(each) for each in values if each is not None and each != ""]

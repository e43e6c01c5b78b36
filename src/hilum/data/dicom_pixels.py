"""From a DICOM object to the grey values that a viewer shows first. Only in a process with bounds."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from hilum.data.dicom_header import ELSEWHERE, Refusal, facts, gate
from hilum.data.file_kinds import ENOUGH, kind_of, looks_like_dicom
from hilum.data.grey_values import strips
from hilum.data.images import LARGEST_FILE
from hilum.files import open_regular

Floats = NDArray[np.float64]
MOST_VALUES = 2**17  # that are rendered one by one; of 16 bits there are half as many
SCALED = (0.5, 99.5)  # percentiles, where the file names no window (judged)


def render(stored: NDArray[Any], dataset: Any, notes: list[str]) -> NDArray[np.float32]:
    """Grey values as they are shown first.

    What is shown of a pixel depends on its stored value alone, and of these there are few: each is rendered once.

    Args:
        stored: Decoded pixels, of shape (H, W), before any table.
        dataset: Their object.
        notes: Whatever has to be known is added.

    Returns:
        Pixels between 0 (black) and 1 (white); padding (PixelPaddingValue, PS3.3 C.7.5.1.1.2) is black and without
        influence on the scale.

    Raises:
        Refusal: The rescaling or the window is none, or what is shown would not be finite.
    """
    lowest, highest = int(stored.min()), int(stored.max())
    if highest - lowest >= MOST_VALUES:
        return _rendered(stored, np.ones(stored.shape, np.int64), dataset, notes)
    counts = np.zeros(highest - lowest + 1, np.int64)
    blocks = list(strips(*stored.shape))
    for rows in blocks:
        counts += np.bincount(stored[rows].ravel().astype(np.int64) - lowest, minlength=len(counts))
    there = np.flatnonzero(counts)
    shown = np.zeros(len(counts), np.float32)
    shown[there] = _rendered((there + lowest).astype(stored.dtype), counts[there], dataset, notes)
    found = np.empty(stored.shape, np.float32)
    for rows in blocks:
        found[rows] = shown[stored[rows].astype(np.int64) - lowest]
    return found


def _rendered(stored: NDArray[Any], counts: NDArray[np.int64], dataset: Any, notes: list[str]) -> NDArray[np.float32]:
    """Grey values of stored ones, of any shape, each of which is there so many times."""
    _check_numbers(dataset)
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
            notes.append("Its window is invalid; grey values were scaled by their percentiles.")
        low, high = _percentiles(values[inside], counts[inside], SCALED)
        shown = (values - low) / max(high - low, 1e-6)
    shown = shown.clip(0, 1)
    if dataset.PhotometricInterpretation == "MONOCHROME1":  # PresentationLUTShape INVERSE says the same once more
        shown = 1 - shown
        if str(dataset.get("PresentationLUTShape", "")).upper() == "IDENTITY":
            notes.append("MONOCHROME1 with an identity presentation table contradict each other; it was inverted.")
    if padding is not None:
        shown[padding] = 0
    if not (np.isfinite(values).all() and np.isfinite(shown).all()):
        msg = "a damaged DICOM object (its rescaling gives values that are not finite). Fetch it again, or remove it."
        raise Refusal(msg)
    result: NDArray[np.float32] = shown.astype(np.float32)
    return result


def _check_numbers(dataset: Any) -> None:
    """Refuse numbers that are none (``nan``, ``inf``), and a window that no image can have."""
    for keyword in ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"):
        if not all(map(isfinite, _numbers(dataset, keyword))):
            msg = f"a damaged DICOM object ({keyword} is no finite number). Fetch it again, or remove it."
            raise Refusal(msg)
    widths = _numbers(dataset, "WindowWidth")
    if widths and max(widths) <= 0:
        msg = "a damaged DICOM object (WindowWidth is not above 0). Fetch it again, or remove it."
        raise Refusal(msg)


def _percentiles(values: Floats, counts: NDArray[np.int64], shares: Sequence[float]) -> list[float]:
    """What `np.percentile` gives for values that are there several times each."""
    order = np.argsort(values, axis=None)
    ordered, until = values.ravel()[order], counts.ravel()[order].cumsum()
    found = []
    for share in shares:
        place = share / 100 * (int(until[-1]) - 1)
        low, high = ordered[np.searchsorted(until, [np.floor(place), np.ceil(place)], side="right")]
        found.append(float(np.quantile([low, high], place - np.floor(place))))  # between neighbours as it does
    return found


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


DEFLATED = "1.2.840.10008.1.2.1.99"
EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_2000 = frozenset({"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"})
PLAIN = {(True, True): "1.2.840.10008.1.2", (False, True): "1.2.840.10008.1.2.1", (False, False): "1.2.840.10008.1.2.2"}
KEPT = (
    *("PatientID", "IssuerOfPatientID", "PatientAge", "PatientSex", "ViewPosition", "ViewCodeSequence"),
    "StudyInstanceUID",
)


def header_facts(path: str) -> dict[str, str]:
    """What a table keeps of the header of a file (see `hilum.data.dicom_header.facts`)."""
    header = _header(path, KEPT)
    return {} if header is None else facts(header)


def header_texts(path: str, keywords: Sequence[str]) -> dict[str, str]:
    """Elements of the header of a file as texts, decoded by its character set."""
    header = _header(path, keywords)
    return {} if header is None else {one: str(header[one].value or "") for one in keywords if one in header}


def _header(path: str, keywords: Sequence[str]) -> Any:
    """The header of a file, so far as it is asked for; None where it is no DICOM object that is read."""
    import pydicom

    with open_regular(path, limit=LARGEST_FILE) as file:
        start = file.read(512)
        file.seek(0)
        if not looks_like_dicom(start) or transfer_syntax(file) == DEFLATED:
            return None
        file.seek(0)
        return pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(keywords))


def decode(content: bytes) -> tuple[NDArray[np.float32], list[str]]:
    """Pixels of one object, between 0 (black) and 1 (white), and notes.

    Raises:
        Refusal: It is not the kind of object that is read.
    """
    import pydicom

    if not looks_like_dicom(content[:512]):
        msg = f"{kind_of(content[:ENOUGH])}, not a DICOM object. Replace or remove it."
        raise Refusal(msg)
    syntax = transfer_syntax(io.BytesIO(content))
    if syntax == DEFLATED:  # 195 KB of it can become 390 MB before the first tag is seen
        msg = (
            "a deflated DICOM object, a possible decompression bomb; not read. Transcode it to explicit little endian."
        )
        raise Refusal(msg)
    if syntax == EXTENDED:
        msg = "JPEG Extended (process 2 and 4, 12 bits), for which no free decoder exists. Transcode it to JPEG 2000."
        raise Refusal(msg)
    # Forced: archives without DICOM's own file format leave the preamble out.
    notes = gate(pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True, force=True))
    dataset = pydicom.dcmread(io.BytesIO(content), force=True)
    if "PixelData" not in dataset:
        msg = "holds no pixels (a report or a presentation state?). Remove it."
        raise Refusal(msg)
    if not syntax:
        dataset.file_meta.TransferSyntaxUID = PLAIN[dataset.original_encoding]
    if syntax in JPEG_2000:
        _check_jpeg_2000(dataset)
    stored = _pixels(dataset, syntax)
    if stored.shape != (dataset.Rows, dataset.Columns):  # what is left over becomes another frame
        msg = "a damaged DICOM object (it holds more pixels than it states). Fetch it again, or remove it."
        raise Refusal(msg)
    return render(stored, dataset, notes), notes


def transfer_syntax(file: BinaryIO) -> str:
    """The transfer syntax that the file meta information names; empty where there is none. Nothing else is read."""
    from pydicom.filereader import read_dataset, read_preamble

    read_preamble(file, force=True)
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    return str(meta.get("TransferSyntaxUID", ""))


def _pixels(dataset: Any, syntax: str) -> NDArray[Any]:
    """Decode; JPEG 2000 by Pillow if it can, which bounds what a lying header can ask for."""
    if syntax in JPEG_2000:
        with contextlib.suppress(Exception):
            dataset.pixel_array_options(decoding_plugin="pillow")
            return np.asarray(dataset.pixel_array)
        dataset.pixel_array_options(decoding_plugin="")
    return np.asarray(dataset.pixel_array)


def _check_jpeg_2000(dataset: Any) -> None:
    """The size in the code stream (SIZ, ISO 15444-1 A.5.1) has to be that of the header."""
    content = dataset.PixelData
    at = content.find(b"\xff\x4f\xff\x51")
    width, height, left, top = (int.from_bytes(content[at + 8 + 4 * k : at + 12 + 4 * k], "big") for k in range(4))
    if at < 0 or (height - top, width - left) != (dataset.Rows, dataset.Columns):
        msg = f"its JPEG 2000 stream differs in size from its header; not read. {ELSEWHERE}"
        raise Refusal(msg)

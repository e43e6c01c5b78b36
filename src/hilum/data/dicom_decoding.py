"""What the process of `hilum.data.dicom` does: gates first, from the header alone; then pixels, within limits."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.data.images import LARGEST_PIXELS, SMALLEST_SIDE

MEMORY = 2**31  # of address space; a radiograph of 20 million pixels takes 0.8 GiB
DEFLATED = "1.2.840.10008.1.2.1.99"
EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_2000 = frozenset({"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"})
CHEST = frozenset({"CHEST", "THORAX", "LUNG", "LUNGS", "CHEST_ABDOMEN", "CHESTABDPELVIS", "RIB", "RIBS"})
LATERAL = frozenset({"LL", "RL", "LATERAL", "LAT", "LLAT", "RLAT"})
SCALED = (0.5, 99.5)  # percentiles, where the file names no window (judged)
ELSEWHERE = "Check where it comes from."


class Refusal(Exception):  # noqa: N818 - not an error of hilum's tree: its text is one's message
    """Why an object is not read; never holds a value of the file that could identify anybody."""


def serve() -> None:
    """Read an object from standard input; answer with a line of JSON, and pixels in float32 behind it."""
    content = sys.stdin.buffer.read()
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a decoder prints must not get into the answer
    _limit()
    warnings.simplefilter("ignore")  # pydicom's warnings tell names
    try:
        pixels, notes = decode(content)
        head = {"shape": list(pixels.shape), "notes": notes}
        target.write(json.dumps(head).encode() + b"\n" + pixels.astype(np.float32).tobytes())
    except Refusal as refusal:
        target.write(json.dumps({"error": str(refusal)}).encode() + b"\n")
    except MemoryError:
        target.write(json.dumps({"error": f"needs more memory than any radiograph does. {ELSEWHERE}"}).encode() + b"\n")
    except Exception as error:  # decoders raise nearly anything; the text could hold a name, the kind cannot
        said = {"error": f"a damaged DICOM object ({type(error).__name__}). Fetch it again, or remove it."}
        target.write(json.dumps(said).encode() + b"\n")
    target.flush()
    os._exit(0)


def decode(content: bytes) -> tuple[NDArray[np.float32], list[str]]:
    """Pixels of one object, between 0 (black) and 1 (white), and notes.

    Raises:
        Refusal: It is not the kind of object that is read.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError
    from pydicom.filereader import read_dataset, read_preamble

    try:
        file = io.BytesIO(content)
        read_preamble(file, force=False)
        meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
        syntax = str(meta.get("TransferSyntaxUID", ""))
    except InvalidDicomError as error:
        msg = "not a DICOM file (it lacks the preamble). Fetch it again, or remove it."
        raise Refusal(msg) from error
    if syntax == DEFLATED:  # 195 KB of it can become 390 MB before the first tag is seen
        msg = "a deflated DICOM object, which may be a bomb; not read. Transcode it to explicit little endian."
        raise Refusal(msg)
    if syntax == EXTENDED:
        msg = "JPEG Extended (process 2 and 4, 12 bits), for which there is no free decoder. Transcode it to JPEG 2000."
        raise Refusal(msg)
    header = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)
    notes = gate(header)
    dataset = pydicom.dcmread(io.BytesIO(content))
    if "PixelData" not in dataset:
        msg = "holds no pixels (a report or a presentation state?). Remove it."
        raise Refusal(msg)
    if syntax in JPEG_2000:
        _check_jpeg_2000(dataset)
    return render(_pixels(dataset, syntax), dataset, notes), notes


def gate(header: Any) -> list[str]:
    """Refuse what is no single chest radiograph for presentation; note what a reader has to know.

    Raises:
        Refusal: By the header alone.
    """
    modality = str(header.get("Modality", "")).upper()
    if modality not in ("CR", "DX"):
        msg = f"modality {_code(modality) or 'not stated'}, not a radiograph (CR or DX). Remove it."
        raise Refusal(msg)
    if str(header.get("PresentationIntentType", "")).upper() == "FOR PROCESSING":
        msg = "raw detector data (FOR PROCESSING). Take the object FOR PRESENTATION of the same exposure."
        raise Refusal(msg)
    part = str(header.get("BodyPartExamined", "")).upper().strip()
    if part and part not in CHEST:
        msg = f"shows another body part ({_code(part)}), not a chest. Remove it."
        raise Refusal(msg)
    frames = int(header.get("NumberOfFrames", 1) or 1)
    if frames > 1:
        msg = f"holds {frames} frames; a radiograph is one image. Extract the frame that is meant."
        raise Refusal(msg)
    rows, columns = int(header.get("Rows", 0)), int(header.get("Columns", 0))
    if rows * columns > LARGEST_PIXELS or min(rows, columns) < SMALLEST_SIDE:
        msg = f"claims {columns}x{rows} pixels, which no radiograph has; refused unread. {ELSEWHERE}"
        raise Refusal(msg)
    if not str(header.get("PhotometricInterpretation", "")).startswith("MONOCHROME"):
        msg = "holds colours; radiographs are MONOCHROME1 or MONOCHROME2. Remove it."
        raise Refusal(msg)
    notes = []
    if str(header.get("ViewPosition", "")).upper().strip() in LATERAL:
        notes.append("A lateral view, which the model may never have seen.")
    if str(header.get("BurnedInAnnotation", "")).upper() == "YES":
        notes.append("Text is burned into the pixels.")
    return notes


def render(stored: NDArray[Any], dataset: Any, notes: list[str]) -> NDArray[np.float32]:
    """Stored values to what a viewer shows first: modality, then window or table, then polarity (PS3.3 C.11)."""
    from pydicom.pixels import apply_modality_lut, apply_voi

    values = np.asarray(apply_modality_lut(stored, dataset), np.float64)
    tables = dataset.get("VOILUTSequence")
    center, width = _first(dataset, "WindowCenter"), _first(dataset, "WindowWidth")
    if tables:
        depth = int(tables[0].LUTDescriptor[2])
        shown = np.asarray(apply_voi(values.astype(np.int64), dataset, index=0), np.float64) / (2**depth - 1)
    elif center is not None and width:  # a width of 0 says nothing
        function = str(dataset.get("VOILUTFunction", "LINEAR")).upper()
        if function == "SIGMOID":
            shown = 1 / (1 + np.exp(-4 * (values - center) / width))
        elif function == "LINEAR_EXACT":
            shown = (values - center) / width + 0.5
        else:
            shown = (values - (center - 0.5)) / max(width - 1, 1e-6) + 0.5
    else:
        low, high = np.percentile(values, SCALED)
        shown = (values - low) / max(high - low, 1e-6)
    shown = shown.clip(0, 1)
    if dataset.PhotometricInterpretation == "MONOCHROME1":  # PresentationLUTShape INVERSE says the same once more
        shown = 1 - shown
        if str(dataset.get("PresentationLUTShape", "")).upper() == "IDENTITY":
            notes.append("MONOCHROME1 with an identity presentation table contradict each other; it was inverted.")
    result: NDArray[np.float32] = shown.astype(np.float32)
    return result


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
        msg = f"its JPEG 2000 stream is not of the size that its header claims; refused. {ELSEWHERE}"
        raise Refusal(msg)


def _first(dataset: Any, keyword: str) -> float | None:
    value = dataset.get(keyword)
    if value is None or value == "":
        return None
    return float(value if isinstance(value, (int, float, str)) else value[0] if hasattr(value, "__len__") else value)


def _code(value: str) -> str:
    """A code string as such: at most 16 capitals, digits, spaces and underscores (PS3.5, 6.2)."""
    return "".join(c for c in value[:16] if c.isalnum() or c in " _")


def _limit() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # not everywhere
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))

"""From a DICOM object to pixels: gates first, from the header alone. Only in a process with bounds."""

from __future__ import annotations

import contextlib
import io
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from hilum.data.dicom_gate import ELSEWHERE, Refusal, facts, gate
from hilum.data.dicom_rendering import render
from hilum.data.file_kinds import ENOUGH, kind_of, looks_like_dicom
from hilum.data.images import LARGEST_FILE
from hilum.opening import open_regular

DEFLATED = "1.2.840.10008.1.2.1.99"
EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_2000 = frozenset({"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"})
PLAIN = {(True, True): "1.2.840.10008.1.2", (False, True): "1.2.840.10008.1.2.1", (False, False): "1.2.840.10008.1.2.2"}
KEPT = (
    *("PatientID", "IssuerOfPatientID", "PatientAge", "PatientSex", "ViewPosition", "ViewCodeSequence"),
    "StudyInstanceUID",
)


def answer(request: dict[str, Any], content: bytes | None) -> tuple[dict[str, Any], NDArray[np.float32] | None]:
    """Answer one request (see `hilum.data.bounded_process.serve`).

    Args:
        request: ``{"header": PATH}``, or any other for all of an object.
        content: Of the object.

    Raises:
        MemoryError: It needs more than there is.
    """
    try:
        if content is None:
            return {"facts": header_facts(request["header"])}, None
        pixels, notes = decode(content)
    except Refusal as refusal:
        return {"error": str(refusal), "code": "dicom"}, None
    except MemoryError:
        raise
    except Exception as error:  # decoders raise nearly anything; the text could hold a name, the kind cannot
        what = f"a damaged DICOM object ({type(error).__name__}). Fetch it again, or remove it."
        return {"error": what, "code": "damaged"}, None
    return {"shape": list(pixels.shape), "notes": notes}, pixels


def header_facts(path: str) -> dict[str, str]:
    """What a table keeps of the header of a file (see `hilum.data.dicom_gate.facts`)."""
    import pydicom

    with open_regular(path, limit=LARGEST_FILE) as file:
        start = file.read(512)
        file.seek(0)
        if not looks_like_dicom(start) or _syntax(file) == DEFLATED:
            return {}
        file.seek(0)
        return facts(pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(KEPT)))


def decode(content: bytes) -> tuple[NDArray[np.float32], list[str]]:
    """Pixels of one object, between 0 (black) and 1 (white), and notes.

    Raises:
        Refusal: It is not the kind of object that is read.
    """
    import pydicom

    if not looks_like_dicom(content[:512]):
        msg = f"{kind_of(content[:ENOUGH])}, not a DICOM object. Replace or remove it."
        raise Refusal(msg)
    syntax = _syntax(io.BytesIO(content))
    if syntax == DEFLATED:  # 195 KB of it can become 390 MB before the first tag is seen
        msg = "a deflated DICOM object, which may be a bomb; not read. Transcode it to explicit little endian."
        raise Refusal(msg)
    if syntax == EXTENDED:
        msg = "JPEG Extended (process 2 and 4, 12 bits), for which there is no free decoder. Transcode it to JPEG 2000."
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


def _syntax(file: BinaryIO) -> str:
    """The transfer syntax that the file meta information names; empty where there is none."""
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
        msg = f"its JPEG 2000 stream is not of the size that its header claims; refused. {ELSEWHERE}"
        raise Refusal(msg)

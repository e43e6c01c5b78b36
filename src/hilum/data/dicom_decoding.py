"""What the process of `hilum.data.dicom` does: gates first, from the header alone; then pixels, within limits."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import warnings
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from hilum.data.dicom_gate import ELSEWHERE, Refusal, facts, gate
from hilum.data.dicom_rendering import render
from hilum.data.file_kinds import ENOUGH, kind_of, looks_like_dicom

MEMORY = 2**31  # of address space; a radiograph of 20 million pixels takes 0.8 GiB
SECONDS = 60  # of processor time for one object
DEFLATED = "1.2.840.10008.1.2.1.99"
EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_2000 = frozenset({"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"})
PLAIN = {(True, True): "1.2.840.10008.1.2", (False, True): "1.2.840.10008.1.2.1", (False, False): "1.2.840.10008.1.2.2"}
KEPT = (
    *("PatientID", "IssuerOfPatientID", "PatientAge", "PatientSex", "ViewPosition", "ViewCodeSequence"),
    "StudyInstanceUID",
)


def serve() -> None:
    """Answer one request after the other until standard input ends: also when whoever started this was killed.

    A request is a line of JSON: ``{"pixels": N}`` with N bytes of an object behind it, or ``{"header": PATH}``. An
    answer is a line of JSON, and pixels in float32 behind it where it holds their ``shape``.
    """
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; who asks decides
    source = sys.stdin.buffer
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a decoder prints must not get into the answers
    warnings.simplefilter("ignore")  # pydicom's warnings tell names
    with contextlib.suppress(BrokenPipeError):
        while line := source.readline():
            _limit()
            answer, pixels = _answer(json.loads(line), source)
            target.write(json.dumps(answer).encode() + b"\n" + pixels)
            target.flush()
            if answer.get("last"):
                break
    os._exit(0)


def _answer(request: dict[str, Any], source: BinaryIO) -> tuple[dict[str, Any], bytes]:
    try:
        if "header" in request:
            return {"facts": header_facts(request["header"])}, b""
        pixels, notes = decode(source.read(request["pixels"]))
        return {"shape": list(pixels.shape), "notes": notes}, pixels.tobytes()
    except Refusal as refusal:
        return {"error": str(refusal)}, b""
    except MemoryError:  # what is left of it is in pieces: another process goes on
        return {"error": f"needs more memory than any radiograph does. {ELSEWHERE}", "last": True}, b""
    except Exception as error:  # decoders raise nearly anything; the text could hold a name, the kind cannot
        return {"error": f"a damaged DICOM object ({type(error).__name__}). Fetch it again, or remove it."}, b""


def header_facts(path: str) -> dict[str, str]:
    """What a table keeps of the header of a file (see `hilum.data.dicom_gate.facts`)."""
    import pydicom

    with open(path, "rb") as file:  # noqa: PTH123 - names that are not valid UTF-8 included
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


def _limit() -> None:
    """Bound the memory of this process, and the processor time of the next object."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # not everywhere
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        used = resource.getrusage(resource.RUSAGE_SELF)
        until = int(used.ru_utime + used.ru_stime) + SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (until, resource.getrlimit(resource.RLIMIT_CPU)[1]))

"""Reports as the bytes of DICOM files, fifty times as fast as highdicom makes them.

highdicom makes one report of each pattern: which labels and findings were decided how, and which texts there are. What
differs between reports of one pattern (identifiers, numbers, the words of texts, the patient) stands in marked places;
all else is encoded once. A report is those bytes with its values between them, and equals what
`hilum.serving.structured_report.result_objects` makes byte for byte.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from hilum.serving.derived_object import NEEDED, check_source, complete, quiet
from hilum.serving.heatmap_object import heatmap_object
from hilum.serving.model_file import ModelFile
from hilum.serving.prediction import Prediction
from hilum.serving.structured_report import (
    ReportedImage,
    outline_of,
    report_object,
    report_uid,
    series_uid,
    texts,
    tracking_identifier,
    tracking_uid,
)

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

PATTERNS = 256  # that are kept; a model with many findings can have more
PREAMBLE = b"\0" * 128 + b"DICM"
MARKED_TIME = datetime(1111, 11, 11, 11, 11, 11, 111111)
LONG = frozenset(
    {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UC", "UN", "UR", "UT"}
)  # lengths of 32 bits (PS3.5, 7.1.2)
MOST = 0xFFFE  # bytes of a value of any other VR
Value = str | float | Sequence[float]


@dataclass(frozen=True)
class _Place:
    """An element whose value differs between reports."""

    head: bytes
    vr: str
    name: str

    def encode(self, values: Mapping[str, Value]) -> bytes:
        content = _encoded(self.vr, values[self.name])
        if self.vr not in LONG and len(content) > MOST:
            msg = "a value too long for its VR"
            raise ValueError(msg)
        return self.head + struct.pack("<L" if self.vr in LONG else "<H", len(content)) + content


@dataclass(frozen=True)
class _Sequence:
    """A sequence with such elements somewhere inside."""

    head: bytes
    items: tuple[tuple[_Piece, ...], ...]

    def encode(self, values: Mapping[str, Value]) -> bytes:
        content = b"".join(
            b"\xfe\xff\x00\xe0" + struct.pack("<L", len(item)) + item
            for item in (_joined(pieces, values) for pieces in self.items)
        )
        return self.head + struct.pack("<L", len(content)) + content


_Piece = bytes | _Place | _Sequence


def _joined(pieces: Sequence[_Piece], values: Mapping[str, Value]) -> bytes:
    return b"".join(piece if isinstance(piece, bytes) else piece.encode(values) for piece in pieces)


@dataclass(frozen=True)
class _Template:
    meta: tuple[_Piece, ...]
    body: tuple[tuple[int, _Piece], ...]  # by tag; without the elements of `complete`


class ReportEncoder:
    """Makes the files to send to an archive; not for several threads at once.

    Args:
        model: Who answers.
        enhanced: As `hilum.serving.structured_report.result_objects`.
    """

    def __init__(self, model: ModelFile, *, enhanced: bool = False) -> None:
        self.model = model
        self.enhanced = enhanced
        self._templates: dict[object, _Template] = {}

    def encode(self, image: ReportedImage, now: datetime | None = None) -> list[bytes]:
        """Files of the structured report, and of the heatmap if there is one.

        Args:
            image: With its answer.
            now: When they are made, in local time; by default the present.

        Raises:
            ImageError: As `hilum.serving.structured_report.result_objects`.
        """
        moment = now or datetime.now()
        with quiet():
            check_source(image.source)
            said = texts(image.prediction, self.model)
            try:
                files = [self._filled(image, [words for _, words in said], self._template(image, moment), moment)]
            except ValueError:  # a text that UTF-8 cannot hold, or too long: as pydicom does it
                report = report_object(image, self.model, said, moment, enhanced=self.enhanced)
                files = [_file(report)]
            if image.heatmap is not None and not image.prediction.error:
                files.append(_file(heatmap_object(image.heatmap, image.source, self.model, moment)))
        return files

    def _template(self, image: ReportedImage, now: datetime) -> _Template:
        answer, source = image.prediction, image.source
        pattern = (
            *(str(source.SOPClassUID), str(source.get("Modality", "") or ""), bool(outline_of(source))),
            *(bool(answer.error), answer.decision, answer.label, tuple(answer.probabilities)),
            tuple((name, one.decision) for name, one in answer.findings.items()),
            tuple(term for term, _ in texts(answer, self.model)),
        )
        found = self._templates.pop(pattern, None) or self._new(image)
        if len(self._templates) >= PATTERNS:
            del self._templates[next(iter(self._templates))]
        self._templates[pattern] = found  # the last one used is the last one to go
        return found

    def _new(self, image: ReportedImage) -> _Template:
        import pydicom

        marked = ReportedImage(_marked_answer(image), _marked_source(image))
        said = [(term, f"hilum:text {number}") for number, (term, _) in enumerate(texts(image.prediction, self.model))]
        made = report_object(marked, self.model, said, MARKED_TIME, enhanced=self.enhanced)
        values = self._values(marked, [words for _, words in said], MARKED_TIME)
        places = {value: name for name, value in values.items() if not isinstance(value, Sequence) or value}
        own = {element.tag for element in complete(_empty(), marked.source, MARKED_TIME)}
        meta = [one for one in pydicom.dcmread(io.BytesIO(_file(made))).file_meta if one.tag.element]  # not its length
        return _Template(
            tuple(_piece(element, places) for element in meta),
            tuple((int(element.tag), _piece(element, places)) for element in made if element.tag not in own),
        )

    def _values(self, image: ReportedImage, said: Sequence[str], now: datetime) -> dict[str, Value]:
        source = image.source
        return {
            **{keyword: str(source[keyword].value).strip(" \0") for keyword in NEEDED if keyword != "SOPClassUID"},
            "report": report_uid(image, self.model, enhanced=self.enhanced),
            "series": series_uid(image, self.model, enhanced=self.enhanced),
            "tracking": tracking_uid(source, self.model),
            "tracked": tracking_identifier(source, self.model),
            "moment": now.strftime("%Y%m%d%H%M%S.%f"),
            "outline": tuple(float(one) for corner in outline_of(source) for one in corner),
            **{f"text {number}": words for number, words in enumerate(said)},
            **{
                f"p {number}": 100 * float(value)
                for number, value in enumerate(image.prediction.probabilities.values())
            },
        }

    def _filled(self, image: ReportedImage, said: Sequence[str], template: _Template, now: datetime) -> bytes:
        values = self._values(image, said, now)
        own = complete(_empty(), image.source, now)
        body = sorted([*template.body, *((int(one.tag), _text(one)) for one in own)], key=lambda pair: pair[0])
        meta = _joined(template.meta, values)
        length = b"\x02\x00\x00\x00UL\x04\x00" + struct.pack("<L", len(meta))
        return PREAMBLE + length + meta + _joined([piece for _, piece in body], values)


# Marks are numbers that 16 characters hold exactly (VR DS).
def _marked_answer(image: ReportedImage) -> Prediction:
    answer = image.prediction
    marks = {label: (number + 1) / 4096 for number, label in enumerate(answer.probabilities)}
    return replace(answer, probabilities=marks)


def _marked_source(image: ReportedImage) -> Dataset:
    made = _empty()
    for number, keyword in enumerate(NEEDED):
        setattr(made, keyword, f"2.25.1111111111{number}")
    made.SOPClassUID = str(image.source.SOPClassUID).strip(" \0")
    made.Modality = str(image.source.get("Modality", "") or "")
    if outline_of(image.source):
        made.Columns, made.Rows = 11111, 11112
    return made


def _empty() -> Dataset:
    from pydicom import Dataset

    return Dataset()


def _piece(element: DataElement, places: Mapping[Value, str]) -> _Piece:
    head = _head(element)
    if element.VR == "SQ":
        items = tuple(tuple(_piece(one, places) for one in item) for item in element.value)
        if all(isinstance(piece, bytes) for pieces in items for piece in pieces):
            return _constant(element)
        return _Sequence(head + b"\0\0", items)
    name = places.get(_value(element))
    return _Place(head + (b"\0\0" if element.VR in LONG else b""), element.VR, name) if name else _constant(element)


def _value(element: DataElement) -> Value:
    if element.VR in ("FL", "FD") and element.VM > 1:
        return tuple(float(one) for one in element.value)
    if element.VR in ("FL", "FD"):
        return float(element.value)
    if element.VR == "DS" and element.VM == 1:
        return float(element.value.original_string if hasattr(element.value, "original_string") else element.value)
    return str(element.value)


def _encoded(vr: str, value: Value) -> bytes:
    if isinstance(value, str):
        content = value.encode()
        return content + (b"\0" if vr == "UI" else b" ") * (len(content) % 2)
    if vr == "DS":
        from pydicom.valuerep import DSfloat

        text = str(DSfloat(value, auto_format=True)).encode("ascii")
        return text + b" " * (len(text) % 2)
    numbers = value if isinstance(value, Sequence) else (value,)
    return struct.pack(f"<{len(numbers)}{'f' if vr == 'FL' else 'd'}", *numbers)


def _constant(element: DataElement) -> bytes:
    from pydicom.charset import convert_encodings
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_data_element

    content = DicomBytesIO()
    content.is_little_endian, content.is_implicit_VR = True, False
    write_data_element(content, element, convert_encodings("ISO_IR 192"))
    found: bytes = content.getvalue()
    return found


def _text(element: DataElement) -> bytes:
    """An element of `complete`, all of which are short texts."""
    return _Place(_head(element), element.VR, "text").encode({"text": str(element.value)})


def _head(element: DataElement) -> bytes:
    representation: str = element.VR
    return struct.pack("<HH", element.tag.group, element.tag.element) + representation.encode()


def _file(made: Dataset) -> bytes:
    content = io.BytesIO()
    made.save_as(content, enforce_file_format=True)
    found: bytes = content.getvalue()
    return found

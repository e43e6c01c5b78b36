"""Encoded reports are, byte for byte, the objects that highdicom makes and pydicom writes."""

import io
import warnings
from dataclasses import replace
from datetime import datetime

import pydicom
import pytest

pytest.importorskip("highdicom", reason="the extra [node] is not installed")

from hilum.errors import ImageError
from hilum.serving import report_encoder
from hilum.serving.report_encoder import ReportEncoder
from hilum.serving.structured_report import ReportedImage, result_objects
from reported_images import ANSWERS, SOURCES, heatmap, source

NOW = datetime(2026, 3, 4, 5, 6, 7, 89)
SEEN = datetime(2025, 2, 3, 4, 5, 6)


def as_file(dataset):
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what UTF-8 cannot hold
        dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()


def other(image):
    """An image with another answer of the same pattern, about another patient."""
    header = source("whole")
    header.SOPInstanceUID, header.StudyInstanceUID = "1.2.3.4.5", "1.2.3.4.55"
    header.PatientName, header.PatientID = "Other^One", "7"
    header.Rows, header.Columns = 7, 77
    numbers = {label: 1e-5 / (place + 1) for place, label in enumerate(image.prediction.probabilities)}
    return replace(image, prediction=replace(image.prediction, probabilities=numbers), source=header)


def check(encoder, image):
    model, enhanced = encoder.model, encoder.enhanced
    assert encoder.encode(image, NOW) == [
        as_file(one) for one in result_objects(image, model, enhanced=enhanced, now=NOW)
    ]


@pytest.mark.parametrize("enhanced", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["3D", "enhanced"])
@pytest.mark.parametrize("which", ANSWERS)
def test_every_answer(which, enhanced):
    prediction, model = ANSWERS[which]
    encoder = ReportEncoder(model, enhanced=enhanced)
    image = ReportedImage(prediction, source("whole"))
    encoder.encode(other(image), SEEN)
    check(encoder, image)  # by a template that another image has made
    assert len(encoder._templates) == 1
    check(encoder, replace(image, heatmap=heatmap()))


@pytest.mark.parametrize("header", SOURCES)
def test_every_header(header):
    prediction, model = ANSWERS["flagged"]
    check(ReportEncoder(model), ReportedImage(prediction, source(header)))


@pytest.mark.parametrize(
    "reason", ["", "odd", "even", "a\\b", "Gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n", "x" * 70_000, "\udc80", " x "]
)
def test_every_text(reason):
    prediction, model = ANSWERS["flagged"]
    encoder = ReportEncoder(model)
    encoder.encode(ReportedImage(prediction, source("whole")), SEEN)
    check(encoder, ReportedImage(replace(prediction, reason=reason), source("whole")))


@pytest.mark.parametrize("value", [0.0, 1.0, 5e-324, 1e-7, 0.1, 1 / 3, 0.999999999999999])
def test_every_number(value):
    prediction, model = ANSWERS["flagged"]
    numbers = dict.fromkeys(prediction.probabilities, value)
    check(ReportEncoder(model), ReportedImage(replace(prediction, probabilities=numbers), source("whole")))


def test_few_templates_are_kept(monkeypatch):
    monkeypatch.setattr(report_encoder, "PATTERNS", 1)
    prediction, model = ANSWERS["flagged"]
    encoder = ReportEncoder(model)
    for notes in ((), ("a note",), ()):
        check(encoder, ReportedImage(replace(prediction, notes=notes), source("whole")))
    assert len(encoder._templates) == 1


def test_an_image_without_an_identifier_is_refused():
    prediction, model = ANSWERS["flagged"]
    header = source("whole")
    header.StudyInstanceUID = ""
    with pytest.raises(ImageError):
        ReportEncoder(model).encode(ReportedImage(prediction, header))


def test_it_is_a_dicom_file():
    prediction, model = ANSWERS["several findings"]
    (content,) = ReportEncoder(model).encode(ReportedImage(prediction, source("whole")), NOW)
    assert pydicom.dcmread(io.BytesIO(content)).ContentDate == "20260304"

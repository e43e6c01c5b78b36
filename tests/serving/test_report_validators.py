"""Structured reports and heatmaps by two validators: dciodvfy of dicom3tools, and dicom-validator."""

import io

import pytest

pytest.importorskip("highdicom", reason="the extra [node] is not installed")

import pydicom

from dicom_objects import encoded
from dicom_tables import faults
from reported_images import ANSWERS, SOURCES, again, as_file, complaints, heatmap, objects, source


@pytest.mark.parametrize("enhanced", [False, True], ids=["3D", "enhanced"])
@pytest.mark.parametrize("which", ANSWERS)
def test_the_validator_of_dicom3tools_finds_no_error(which, enhanced, tmp_path):
    for made in objects(which, enhanced=enhanced, picture=heatmap()):
        (tmp_path / "x.dcm").write_bytes(as_file(made))
        assert complaints(tmp_path / "x.dcm") == []


@pytest.mark.parametrize("header", SOURCES)
def test_it_finds_none_whatever_the_header_of_the_image_lacks(header, tmp_path):
    given = pydicom.dcmread(io.BytesIO(encoded(source(header))))
    for made in objects(source=given, picture=heatmap()):
        (tmp_path / "x.dcm").write_bytes(as_file(made))
        assert complaints(tmp_path / "x.dcm") == []


def test_the_validator_would_find_an_error(tmp_path):
    (made,) = objects()
    del made.CompletionFlag
    (tmp_path / "x.dcm").write_bytes(as_file(made))
    assert complaints(tmp_path / "x.dcm")


@pytest.mark.parametrize("enhanced", [False, True], ids=["3D", "enhanced"])
@pytest.mark.parametrize("which", ANSWERS)
def test_dicom_validator_finds_no_error(which, enhanced, tmp_path):
    """By the tables of PS3.3: modules, attributes, types, conditions, enumerated values."""
    for made in objects(which, enhanced=enhanced, picture=heatmap()):
        (tmp_path / "x.dcm").write_bytes(as_file(made))
        assert faults(tmp_path / "x.dcm") == []


@pytest.mark.parametrize("header", SOURCES)
def test_dicom_validator_finds_none_whatever_the_header_of_the_image_lacks(header, tmp_path):
    given = pydicom.dcmread(io.BytesIO(encoded(source(header))))
    for made in objects(source=given, picture=heatmap()):
        (tmp_path / "x.dcm").write_bytes(as_file(made))
        assert faults(tmp_path / "x.dcm") == []


def first_item(dataset, kind):
    """The first content item of a value type."""
    if dataset.get("ValueType") == kind:
        return dataset
    return next((found for child in dataset.get("ContentSequence", ()) if (found := first_item(child, kind))), None)


def without_flag(dataset):
    del dataset.CompletionFlag


def without_number(dataset):
    del first_item(dataset, "NUM").MeasuredValueSequence


def without_meaning(dataset):
    del first_item(dataset, "CODE").ConceptCodeSequence[0].CodeMeaning


def of_no_known_state(dataset):
    dataset.VerificationFlag = "PERHAPS"


def with_a_stray_attribute(dataset):
    first_item(dataset, "TEXT").PatientComments = "x"


PLANTED = [without_flag, without_number, without_meaning, of_no_known_state, with_a_stray_attribute]


@pytest.mark.parametrize("plant", PLANTED)
def test_dicom_validator_would_find_an_error(plant, tmp_path):
    (made,) = objects()
    made = again(made)  # codes are shared
    plant(made)
    (tmp_path / "x.dcm").write_bytes(as_file(made))
    assert len(faults(tmp_path / "x.dcm")) == 1

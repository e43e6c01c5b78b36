"""``hilum predict --sr`` and ``--fhir``: files that archives and other programs take."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("highdicom", reason="the extra [node] is not installed")

import highdicom
import pydicom

import hilum as hilum_module
from dicom_objects import data_file, encoded
from hilum.errors import ExtraError, UsageError
from hilum.phantoms import LABELS, make_phantom
from hilum.serving.predictor import Predictor
from hilum.serving.result_files import ResultFiles
from hilum.serving.structured_report import ReportedImage, result_objects
from reported_images import ANSWERS, CERTIFIED, complaints, source


def phantom(folder, name, patient, **elements):
    pixels = make_phantom(LABELS[patient % 3], seed=3, patient=patient, size=256).image.astype(np.uint16) * 16
    shown = {
        "Rows": 256, "Columns": 256, "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11,
        "WindowCenter": 2048, "WindowWidth": 4096, "PixelData": pixels.tobytes(),
    }  # fmt: skip
    made = source(**shown, SOPInstanceUID=f"1.2.840.99999.1.2.{patient + 1}", **elements)
    (folder / name).write_bytes(encoded(made))
    return folder / name


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for patient in range(2):
        phantom(folder, f"{patient}.dcm", patient)
    phantom(folder, "knee.dcm", 2, BodyPartExamined="KNEE")
    Image.fromarray(make_phantom(LABELS[0], seed=3, patient=9, size=128).image).save(folder / "photo.png")
    return folder


def numbers(dataset):
    (group,) = highdicom.sr.Comprehensive3DSR.from_dataset(dataset).content.get_image_measurement_groups()
    return [item.value / 100 for item in group.get_measurements()]


def test_reports_heatmaps_and_bundles_of_a_folder(hilum, images, tmp_path):
    out = [tmp_path / name for name in ("sr", "fhir", "maps")]
    result = hilum("predict", images, "--sr", out[0], "--fhir", out[1], "--explain", out[2], check=0)
    assert "photo.png" in result.stderr
    made = [pydicom.dcmread(file) for file in sorted(out[0].iterdir())]
    reports = {one.SOPInstanceUID: one for one in made if one.Modality == "SR"}
    assert len(reports) == 3  # of the knee, too: that it was refused
    assert len(made) == 5
    assert {file.stem for file in out[1].iterdir()} == set(reports)
    expected = {
        f"1.2.840.99999.1.2.{patient + 1}": list(
            Predictor(threads=1).predict(images / f"{patient}.dcm").probabilities.values()
        )
        for patient in range(2)
    }
    for report in reports.values():
        evidence = highdicom.sr.Comprehensive3DSR.from_dataset(report).get_evidence()[0][2]
        assert numbers(report) == pytest.approx(expected.get(evidence, []), abs=1e-6)
        bundle = json.loads((out[1] / f"{report.SOPInstanceUID}.json").read_text())
        assert evidence in json.dumps(bundle)
    for file in out[0].iterdir():
        assert complaints(file) == []


def test_asked_again_the_same_files_are_written_and_none_about_them(hilum, images, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("0.dcm", "knee.dcm"):
        (folder / name).write_bytes((images / name).read_bytes())
    hilum("predict", folder, "--sr", folder / "sr", "--explain", folder / "maps", check=0)
    first = {file.name: pydicom.dcmread(file) for file in (folder / "sr").iterdir()}
    hilum("predict", folder, "--sr", folder / "sr", "--explain", folder / "maps", check=0)
    assert {file.name for file in (folder / "sr").iterdir()} == set(first)
    result = hilum("predict", folder, "--sr", tmp_path / "other", check=0)  # finds the first reports, too
    assert len(list((tmp_path / "other").iterdir())) == 2
    assert "made by hilum" in result.stderr


def test_the_real_radiograph_of_pydicom_data(hilum, tmp_path):
    for name in ("RG1_UNCI.dcm", "RG3_UNCI.dcm"):
        (tmp_path / name).write_bytes(data_file(name).read_bytes())
    hilum("predict", tmp_path, "--sr", tmp_path / "sr", "--sr-enhanced", check=0)
    made = [pydicom.dcmread(file) for file in (tmp_path / "sr").iterdir()]
    assert len(made) == 2
    assert {one.SOPClassUID.name for one in made} == {"Enhanced SR Storage"}
    for file in (tmp_path / "sr").iterdir():
        assert complaints(file) == []


def test_what_cannot_be_reported_ends_in_one_message(hilum, images, tmp_path, one_message):
    photo = images / "photo.png"
    one_message(hilum("predict", photo, "--sr", tmp_path / "sr"), 1)
    assert not list((tmp_path / "sr").iterdir())
    phantom(tmp_path, "nameless.dcm", 0, StudyInstanceUID=None)
    one_message(hilum("predict", tmp_path / "nameless.dcm", "--fhir", tmp_path / "fhir"), 1)
    (tmp_path / "file").touch()
    one_message(hilum("predict", photo, "--sr", tmp_path / "file"), 2)
    one_message(hilum("predict", photo, "--sr-enhanced"), 2)
    one_message(hilum("predict", photo, "--study", "folder", "--fhir", tmp_path / "fhir"), 2)
    one_message(hilum("predict", "--sr", photo), 2)


def test_without_the_extra_the_command_that_installs_it_is_said(monkeypatch, tmp_path):
    import hilum.extras

    find_spec = hilum.extras.find_spec
    monkeypatch.setattr(hilum.extras, "find_spec", lambda name: None if name == "highdicom" else find_spec(name))
    with pytest.raises(ExtraError, match=r"hilum\[node\]"):
        ResultFiles(CERTIFIED, reports=tmp_path / "sr")
    ResultFiles(CERTIFIED, bundles=tmp_path / "fhir")
    prediction, model = ANSWERS["flagged"]
    with pytest.raises(ExtraError, match=r"hilum\[node\]"):
        result_objects(ReportedImage(prediction, source()), model)


def test_a_model_in_python_writes_the_same_files(images, tmp_path):
    results = hilum_module.load().write_reports(images, sr=tmp_path / "sr", fhir=tmp_path / "fhir", heatmaps=True)
    assert results.written == 3
    assert [Path(name).name for name, _ in results.left_out] == ["photo.png"]
    assert len(list((tmp_path / "sr").iterdir())) == 5
    assert len(list((tmp_path / "fhir").iterdir())) == 3


def test_in_python_only_files_and_only_with_a_folder(images, tmp_path):
    model = hilum_module.load()
    with pytest.raises(UsageError) as raised:
        model.write_reports(images)
    assert raised.value.code == "no-folder"
    with pytest.raises(UsageError) as raised:
        model.write_reports(np.zeros((64, 64), np.uint8), sr=tmp_path)
    assert raised.value.code == "no-path"

"""The model that comes with hilum, where this copy has one."""

import hashlib

import pytest

from hilum.errors import ModelFileError
from hilum.exporting.pretrained import LARGEST, NAME, SUMS, WORDS, build
from hilum.serving import model_file as model_file
from hilum.serving.model_file import PRETRAINED, open_model_file, shipped_model
from hilum.training.recipe import load_recipe


def test_its_hash_is_the_recorded_one_and_its_card_is_honest():
    file = PRETRAINED / f"{NAME}.onnx"
    assert (PRETRAINED / SUMS).read_text().split() == [hashlib.sha256(file.read_bytes()).hexdigest(), file.name]
    assert file.stat().st_size <= LARGEST
    shipped = open_model_file(shipped_model())
    assert shipped.label_name == WORDS.label_name
    assert shipped.facts["certificate"]["false_negative_rate"] == 0.05
    assert shipped.facts["preprocessing"]["local_contrast"] == load_recipe("compact").preprocessing.local_contrast
    for text in ("cannot recognise COVID-19", "children", "2018", "Not for diagnosis", "CC BY 4.0", "accuracy 8"):
        assert text in shipped.facts["card"]


@pytest.mark.ci
def test_it_is_built_by_one_call_from_a_run(run_of, squares, tmp_path, monkeypatch, refuses):
    monkeypatch.setattr(model_file, "PRETRAINED", tmp_path)
    with refuses(ModelFileError, "no-model"):
        shipped_model()
    run = run_of("flat")
    before = sorted(run.path.rglob("*"))
    built = build(squares, tmp_path, run, false_negative_rate=0.8)
    assert sorted(run.path.rglob("*")) == before
    assert shipped_model() == tmp_path / f"{NAME}.onnx"
    assert open_model_file(shipped_model()).sha256 == built.sha256
    assert (tmp_path / SUMS).read_text() == f"{built.sha256}  {NAME}.onnx\n"
    assert "viral pneumonia (labelled covid in its training set) (positive" in built.facts["card"]
    assert built.facts["results"]["n_images"] == 72
    assert built.facts["certificate"]["false_negative_rate"] == 0.8
    assert built.facts["operating_point"]["members"] == ["infected/covid"]

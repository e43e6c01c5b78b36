"""The models that come with hilum, where this copy has them."""

import hashlib
from dataclasses import replace

import pytest

from hilum.errors import ModelFileError
from hilum.exporting.pretrained import CHILDREN, MODELS, SUMS, build
from hilum.serving import model_file as model_file
from hilum.serving.model_file import OF_CHILDREN, PRETRAINED, open_model_file, shipped_model, shipped_models
from hilum.training.recipe import load_recipe

HONEST = {
    "paediatric-pneumonia": ("children", "2018", "CC BY 4.0"),
    "adult-pneumonia": ("adults", "NIH", "2017", "attribution", "Apache-2.0", "no lung", "darkcovidnet"),
}


@pytest.mark.parametrize("name", MODELS)
def test_its_hash_is_the_recorded_one_and_its_card_is_honest(name):
    file, made = PRETRAINED / f"{name}.onnx", MODELS[name]
    sums = dict(line.split()[::-1] for line in (PRETRAINED / SUMS).read_text().splitlines())
    assert sums[file.name] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert sums.keys() == {each.name for each in PRETRAINED.glob("*.onnx")}
    assert file.stat().st_size <= made.largest
    shipped = open_model_file(shipped_model(name))
    assert shipped.name == name
    assert shipped.label_name == made.words.label_name
    assert shipped.facts["certificate"]["false_negative_rate"] == made.false_negative_rate
    recipe = load_recipe(made.recipe, made.settings)
    stated, asked = shipped.facts["provenance"]["recipe"], recipe.model_dump(mode="json")
    if name == OF_CHILDREN:  # of today's default recipe
        for part in ("network", "preprocessing", "augmentation", "training"):
            assert stated[part] == asked[part]
    else:
        assert stated["encoder"]["file"] == recipe.encoder.file
        assert shipped.size == 320
    accuracy = shipped.facts["results"]["accuracy"]["value"]
    for text in (f"accuracy {100 * accuracy:.1f} %", "cannot recognise COVID-19", "Not for diagnosis", *HONEST[name]):
        assert text in shipped.facts["card"]


@pytest.mark.ci
def test_it_is_built_by_one_call_from_a_run(run_of, squares, tmp_path, monkeypatch, refuses):
    monkeypatch.setattr(model_file, "PRETRAINED", tmp_path)
    with refuses(ModelFileError, "no-model"):
        shipped_model()
    run = run_of("flat")
    before = sorted(run.path.rglob("*"))
    (tmp_path / SUMS).write_text("0123  other.onnx\n")
    built = build(replace(CHILDREN, false_negative_rate=0.8), squares, tmp_path, run)
    assert sorted(run.path.rglob("*")) == before
    assert shipped_models() == {OF_CHILDREN: tmp_path / f"{OF_CHILDREN}.onnx"}
    assert open_model_file(shipped_model()).sha256 == built.sha256
    assert (tmp_path / SUMS).read_text() == f"0123  other.onnx\n{built.sha256}  {OF_CHILDREN}.onnx\n"
    assert "viral pneumonia (labelled covid in its training set) (positive" in built.facts["card"]
    assert built.facts["results"]["n_images"] == 72
    assert built.facts["certificate"]["false_negative_rate"] == 0.8
    assert built.facts["operating_point"]["members"] == ["infected/covid"]

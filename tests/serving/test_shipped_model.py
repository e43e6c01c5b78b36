"""The model that comes with hilum, where this copy has one."""

import hashlib

from hilum.errors import BundleError
from hilum.export.pretrained import LARGEST, NAME, SUMS, WORDS, build
from hilum.serving import model_file as bundle
from hilum.serving.model_file import SHIPPED, open_bundle, shipped_model
from hilum.training.recipe import load_recipe


def test_its_hash_is_the_recorded_one_and_its_card_is_honest():
    file = SHIPPED / f"{NAME}.onnx"
    assert (SHIPPED / SUMS).read_text().split() == [hashlib.sha256(file.read_bytes()).hexdigest(), file.name]
    assert file.stat().st_size <= LARGEST
    shipped = open_bundle(shipped_model())
    assert shipped.display == WORDS.display
    assert shipped.facts["certificate"]["miss_rate"] == 0.05
    assert shipped.facts["preprocessing"]["local_contrast"] == load_recipe("compact").preprocessing.local_contrast
    for text in ("cannot recognise COVID-19", "children", "2018", "Not for diagnosis", "CC BY 4.0", "| accuracy |"):
        assert text in shipped.facts["card"]


def test_it_is_built_by_one_call_from_a_run(run_of, squares, tmp_path, monkeypatch, refuses):
    monkeypatch.setattr(bundle, "SHIPPED", tmp_path)
    with refuses(BundleError, "no-model"):
        shipped_model()
    run = run_of("flat")
    before = sorted(run.path.rglob("*"))
    built = build(squares, tmp_path, run, miss_rate=0.8)
    assert sorted(run.path.rglob("*")) == before
    assert shipped_model() == tmp_path / f"{NAME}.onnx"
    assert open_bundle(shipped_model()).sha256 == built.sha256
    assert (tmp_path / SUMS).read_text() == f"{built.sha256}  {NAME}.onnx\n"
    assert "viral pneumonia (labelled covid in its training set) (protected" in built.facts["card"]
    assert built.facts["results"]["n_images"] == 72
    assert built.facts["certificate"]["miss_rate"] == 0.8
    assert built.facts["operating_point"]["members"] == ["infected/covid"]

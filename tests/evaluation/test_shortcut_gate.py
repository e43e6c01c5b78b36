"""The shortcut gate: a model that knows no more than a probe does not pass, one that knows more does."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from hilum.audit.features import Probe
from hilum.audit.survey import survey
from hilum.evaluation import lot, shortcut_gate
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.shortcut_gate import compare_with_probes, gate_sentence
from hilum.training.run import open_run
from training_runs import write_squares

LABELS = ("normal", "infected/covid")
AREA = {"value": 0.8, "low": 0.7, "high": 0.9}
BEST = {"label": "normal", "name": "frame", "model": AREA, "auroc": AREA, "difference": AREA}


def compare(model_noise, probe_noise, n=300, protected=LABELS[1], seed=0):
    generator = np.random.default_rng(seed)
    truth = np.arange(n) % 2
    model = 1 / (1 + np.exp(-(truth + model_noise * generator.normal(size=n))))
    probe = (truth + probe_noise * generator.normal(size=n)).astype(np.float32)
    predictions = Predictions(
        LABELS,
        tuple(map(str, range(n))),
        tuple(f"p{i // 4}-{i % 2}" for i in range(n)),
        truth,
        np.stack([1 - model, model], axis=1),
    )
    offered = [Probe(name, "pixels", "It tells", np.zeros((n, 1))) for name in ("useless", "frame")]
    useless = generator.normal(size=n).astype(np.float32)
    scores = {"useless": np.stack([-useless, useless], 1), "frame": np.stack([-probe, probe], 1)}
    return compare_with_probes(predictions, offered, scores, protected)


def test_a_model_that_knows_more_passes():
    gate = compare(0.3, 1.5)
    assert gate["beaten"] is True
    assert gate["best"]["name"] == "frame"
    assert gate["best"]["difference"]["low"] > 0
    assert gate["best"]["difference"]["value"] == pytest.approx(
        gate["best"]["model"]["value"] - gate["best"]["auroc"]["value"]
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_model_that_knows_as_much_or_less_does_not(seed):
    for noise in (1.0, 1.6):
        gate = compare(noise, 1.0, seed=seed)
        assert gate["beaten"] is False
        assert "NOT BETTER THAN A SHORTCUT" in gate_sentence(gate)


def test_too_few_patients_give_no_verdict():
    gate = compare(0.3, 1.0, n=16)
    assert gate["beaten"] is None
    assert "fewer than" in gate_sentence(gate)


@pytest.fixture
def elsewhere(tmp_path):
    """Images of another place; those of covid are of other dimensions, which no probe could learn in training."""
    root = write_squares(tmp_path / "all", seed=5) / "test"
    for file in (root / "infected" / "covid").iterdir():
        with Image.open(file) as image:
            image.resize((100, 70)).save(file)
    return root


def test_probes_of_the_training_images_are_asked_about_other_data_too(run_of, elsewhere, tmp_path):
    run = run_of("flat")
    gate = evaluate(run, elsewhere, out=tmp_path / "out").metrics["shortcuts"]
    assert gate["beaten"] in (True, False)
    probes = {probe["name"]: probe for probe in gate["labels"]["infected/covid"]["probes"]}
    assert {"8x8 thumbnail", "frame", "histogram", "dimensions", "container"} <= set(probes)
    # All training images have the same dimensions: what tells covid here was never learnt.
    assert probes["dimensions"]["auroc"]["value"] in (0.0, 0.5, 1.0)
    assert probes["container"]["auroc"]["value"] == 0.5
    for probe in probes.values():
        lead = gate["labels"]["infected/covid"]["model"]["value"] - probe["auroc"]["value"]
        assert probe["difference"]["value"] == pytest.approx(lead)


def test_a_relative_path_to_the_data_is_no_other_place(run_of, elsewhere, tmp_path, monkeypatch):
    whole = evaluate(run_of("flat"), elsewhere, out=tmp_path / "out").metrics["shortcuts"]
    monkeypatch.chdir(tmp_path)
    assert evaluate(run_of("flat"), elsewhere.relative_to(tmp_path), out=tmp_path / "2").metrics["shortcuts"] == whole


def test_of_many_images_whole_patients_are_drawn(run_of, elsewhere, tmp_path, monkeypatch):
    files = sorted(elsewhere.rglob("*.png"))
    rows = [f"{file},{file.parent.relative_to(elsewhere)},p{i // 3}" for i, file in enumerate(files)]
    (elsewhere / "metadata.csv").write_text("\n".join(["path,label,patient_id", *rows]))
    opened = []
    monkeypatch.setattr(shortcut_gate, "survey", lambda table, **_: opened.append(table) or survey(table))
    whole = evaluate(run_of("flat"), elsewhere / "metadata.csv", out=tmp_path / "1").metrics["shortcuts"]
    monkeypatch.setattr(shortcut_gate, "MOST", 40)
    monkeypatch.setattr(lot, "SURE", 3)
    part = evaluate(run_of("flat"), elsewhere / "metadata.csv", out=tmp_path / "2").metrics["shortcuts"]
    assert whole["n_asked"] == len(files)
    assert 10 < part["n_asked"] < 65
    assert 10 < part["n_fitted"] < whole["n_fitted"]
    drawn = Counter(row.patient_id for row in opened[1].rows if row.split == "asked")
    assert set(drawn.values()) == {3}  # no patient was cut in two
    assert sum(drawn.values()) == part["n_asked"]
    assert f"on {part['n_asked']} of {len(files)} images" in gate_sentence({**part, "beaten": True, "best": BEST})
    assert "images" not in gate_sentence({**whole, "beaten": True, "best": BEST})


def test_without_the_training_images_nothing_is_compared_elsewhere(run_of, elsewhere, tmp_path):
    moved = tmp_path / "run"
    shutil.copytree(run_of("flat").path, moved)
    file = moved / "environment.json"
    facts = json.loads(file.read_text())
    facts["data"] |= {"root": str(tmp_path / "gone"), "given": str(tmp_path / "gone")}
    file.write_text(json.dumps(facts))
    gate = evaluate(open_run(moved), elsewhere, out=tmp_path / "out").metrics["shortcuts"]
    assert gate["beaten"] is None
    assert "training images are not in" in gate_sentence(gate)

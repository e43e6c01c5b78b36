"""Shortcut baselines: a model that knows no more than they do is not shown to, one that knows more is."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from hilum.auditing.probe_classifier import fit_boosting, fit_trees
from hilum.auditing.probe_features import Probe
from hilum.auditing.scan import scan
from hilum.data import splits as sampling
from hilum.evaluation import shortcut_baselines as shortcut_baselines
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.schema import Shortcuts
from hilum.evaluation.shortcut_baselines import (
    STACKED,
    Baseline,
    Evidence,
    baselines,
    compare_with_baselines,
    gate_sentence,
    lead_rows,
)
from hilum.training.run import open_run
from training_runs import write_squares

LABELS = ("normal", "infected/covid")
THREE = (*LABELS, "infected/non-covid")


def predictions_of(truth, probabilities, labels=LABELS, images=1):
    names = tuple(f"p{i // images}-{truth[i]}" for i in range(len(truth)))
    return Predictions(labels, tuple(map(str, range(len(truth)))), names, truth, probabilities)


def compare(model_noise, probe_noise, n=300, seed=0):
    generator = np.random.default_rng(seed)
    truth = np.arange(n) % 2
    model = 1 / (1 + np.exp(-(truth + model_noise * generator.normal(size=n))))
    probe = truth + probe_noise * generator.normal(size=n)
    useless = generator.normal(size=n)
    beside = [Baseline("useless", "pixels", "ridge", np.stack([-useless, useless], 1))]
    beside.append(Baseline("frame", "pixels", "ridge", np.stack([-probe, probe], 1)))
    return compare_with_baselines(predictions_of(truth, np.stack([1 - model, model], 1), images=2), beside)


def test_a_model_that_knows_more_is_shown_to():
    gate = compare(0.3, 1.5)
    assert gate.verdict == "shown"
    assert {found.verdict for found in gate.labels.values()} == {"shown"}
    label, found, nearest, verdict = next(lead_rows(gate))
    assert (label, nearest.name, verdict) == ("normal", "frame", "shown")
    assert nearest.difference.value == pytest.approx(found.model.value - nearest.auroc.value)


@pytest.mark.parametrize("seed", range(3))
def test_a_model_that_knows_as_much_or_less_is_not(seed):
    assert compare(1.0, 1.0, seed=seed).verdict != "shown"
    worse = compare(1.6, 0.6, seed=seed)
    assert worse.verdict == "refuted"
    assert "'frame'" in gate_sentence(worse)
    assert "'useless'" not in gate_sentence(worse)


def test_many_baselines_as_good_as_the_model_do_not_refute_it():
    """Of equal ones some lead by chance: the level holds for all of them together."""
    generator, refuted = np.random.default_rng(0), 0
    for _ in range(25):
        truth = np.arange(160) % 2
        model, *rest = (np.eye(2)[truth] + generator.normal(size=(160, 2)) for _ in range(13))
        gate = compare_with_baselines(
            predictions_of(truth, model), [Baseline(f"probe {n}", "pixels", "ridge", one) for n, one in enumerate(rest)]
        )
        refuted += gate.verdict == "refuted"
    assert refuted <= 5  # 0.999 quantile at the level of 5 %


def test_a_model_that_is_a_baseline_has_no_lead():
    generator = np.random.default_rng(0)
    truth = np.arange(200) % 2
    scores = generator.normal(size=(200, 2)) + np.eye(2)[truth]
    gate = compare_with_baselines(predictions_of(truth, scores), [Baseline("same", "pixels", "ridge", scores)])
    assert gate.verdict == "not shown"


def test_the_weakest_label_decides_and_is_named(snapshot):
    generator = np.random.default_rng(1)
    truth = np.arange(450) % 3
    seen = np.eye(3)[truth]
    model = seen + 0.5 * generator.normal(size=(450, 3))
    probe = np.stack([generator.normal(size=450), generator.normal(size=450), model[:, 2]], 1)
    for learner in ("ridge", "trees"):
        gate = compare_with_baselines(
            predictions_of(truth, model, THREE),
            [Baseline("useless", "pixels", "ridge", 0 * model), Baseline("frame", "pixels", learner, probe)],
        )
        assert [gate.labels[label].verdict == "shown" for label in THREE] == [True, True, False]
        assert gate.verdict != "shown"
        snapshot(gate_sentence(gate))


def test_the_stronger_learner_of_a_probe_counts():
    generator = np.random.default_rng(2)
    truth = np.arange(300) % 2
    model = np.eye(2)[truth] + generator.normal(size=(300, 2))
    weak, strong = (Baseline("frame", "pixels", name, by * model) for name, by in (("weak", 0), ("strong", 1)))
    for beside in ([weak, strong], [strong, weak]):
        gate = compare_with_baselines(predictions_of(truth, model), beside)
        assert gate.verdict != "shown"
        (entry,) = gate.labels["normal"].baselines
        assert entry.learner == "strong"


def test_too_few_patients_give_no_verdict(snapshot):
    gate = compare(0.3, 1.0, n=16)
    assert gate.verdict is None
    assert gate.not_scored == list(LABELS)
    snapshot(gate_sentence(gate))


def test_one_label_alone_is_not_judged():
    truth = np.zeros(40, np.int64)
    gate = compare_with_baselines(predictions_of(truth, np.ones((40, 2)) / 2), [])
    assert gate.verdict is None


@pytest.mark.parametrize("beaten", [True, False, None])
def test_a_comparison_of_an_earlier_version_is_read_without_its_verdict(beaten, snapshot):
    gate = Shortcuts.model_validate({"labels": {}, "judged_by": [], "best": None, "beaten": beaten, "note": ""})
    assert gate.verdict is None
    snapshot(gate_sentence(gate))


def test_trees_and_boosting_see_an_interaction_and_keep_to_the_labels_they_know():
    generator = np.random.default_rng(3)
    features = generator.normal(size=(600, 4))
    truth = ((features[:, 0] > 0) ^ (features[:, 1] > 0)).astype(np.int64) * 2
    found = fit_trees(features[:400], truth[:400], features[400:], 3, trees=60, share=0.5)
    assert roc_auc_score(truth[400:] == 2, found[:, 2]) > 0.9
    assert (found[:, 1] == 0).all()
    assert found.sum(axis=1) == pytest.approx(1)
    found = fit_boosting(features[:400], truth[:400], features[400:], 3)
    assert roc_auc_score(truth[400:] == 2, found[:, 2]) > 0.85
    assert (found[:, 1] == 0).all()
    assert fit_boosting(features[:9], truth[:9] * 0 + 1, features[:2], 3).tolist() == [[0, 1, 0]] * 2
    flat = fit_trees(np.ones((4, 2)), np.array([0, 0, 0, 1]), np.zeros((2, 2)), 2, trees=5, share=1)
    assert flat.tolist() == [[0.75, 0.25]] * 2


@pytest.mark.parametrize("seed", range(3))
def test_a_classifier_of_the_probes_own_features_is_shown_for_no_label(seed):
    """Each probe alone says little; a model of all their features together leads each, but not all of them together."""
    generator = np.random.default_rng(seed)
    truth = np.arange(900) % 3
    parts = [np.eye(3)[truth] * 0.7 + generator.normal(size=(900, 3)) for _ in range(4)]
    offered = tuple(Probe(f"probe {n}", "pixels", "It tells", part) for n, part in enumerate(parts))
    train, test = np.arange(600), np.arange(600, 900)
    tested = predictions_of(truth[test], np.eye(3)[truth[test]], THREE)
    beside = list(baselines(Evidence(tested, offered, train, test, truth[train])))
    features = np.hstack(parts)
    cheat = LogisticRegression(max_iter=500).fit(features[train], truth[train]).predict_proba(features[test])
    gate = compare_with_baselines(predictions_of(truth[test], cheat, THREE), beside)
    for found in gate.labels.values():
        against = {entry.name: entry.verdict for entry in found.baselines}
        assert found.verdict != "shown"
        assert against.pop(STACKED) != "shown"
        assert set(against.values()) == {"shown"}
    seer = np.eye(3)[truth[test]] * 4 + generator.normal(size=(300, 3))
    gate = compare_with_baselines(predictions_of(truth[test], seer, THREE), beside)
    assert gate.verdict == "shown"


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
    gate = evaluate(run, elsewhere, out=tmp_path / "out").metrics.shortcuts
    assert gate.verdict is not None
    probes = {probe.name: probe for probe in gate.labels["infected/covid"].baselines}
    assert {"8x8 thumbnail", "frame", "histogram", "dimensions", "container", STACKED} <= set(probes)
    # All training images have the same dimensions: what tells covid here was never learnt.
    assert probes["dimensions"].auroc.value in (0.0, 0.5, 1.0)
    assert probes["container"].auroc.value == 0.5
    for probe in probes.values():
        lead = gate.labels["infected/covid"].model.value - probe.auroc.value
        assert probe.difference.value == pytest.approx(lead)


@pytest.mark.slow
def test_a_relative_path_to_the_data_is_no_other_place(run_of, elsewhere, tmp_path, monkeypatch):
    whole = evaluate(run_of("flat"), elsewhere, out=tmp_path / "out").metrics.shortcuts
    monkeypatch.chdir(tmp_path)
    assert evaluate(run_of("flat"), elsewhere.relative_to(tmp_path), out=tmp_path / "2").metrics.shortcuts == whole


@pytest.mark.ci
def test_of_many_images_whole_patients_are_drawn(run_of, elsewhere, tmp_path, monkeypatch):
    files = sorted(elsewhere.rglob("*.png"))
    rows = [f"{file},{file.parent.relative_to(elsewhere)},p{i // 3}" for i, file in enumerate(files)]
    (elsewhere / "metadata.csv").write_text("\n".join(["path,label,patient_id", *rows]))
    opened = []
    monkeypatch.setattr(shortcut_baselines, "scan", lambda table, **_: opened.append(table) or scan(table))
    whole = evaluate(run_of("flat"), elsewhere / "metadata.csv", out=tmp_path / "1").metrics.shortcuts
    monkeypatch.setattr(shortcut_baselines, "MOST", 40)
    monkeypatch.setattr(sampling, "MIN_PATIENTS", 3)
    part = evaluate(run_of("flat"), elsewhere / "metadata.csv", out=tmp_path / "2").metrics.shortcuts
    assert whole.n_scored == len(files)
    assert 10 < part.n_scored < 65
    assert 10 < part.n_fitted < whole.n_fitted
    drawn = Counter(row.patient_id for row in opened[1].rows if row.split == "asked")
    assert set(drawn.values()) == {3}  # no patient was cut in two
    assert sum(drawn.values()) == part.n_scored
    assert part.n_images == len(files)
    shown = {"verdict": "shown", "not_scored": [], "labels": compare(0.3, 1.5).labels}
    assert f"on {part.n_scored} of {len(files)} images" in gate_sentence(part.model_copy(update=shown))
    assert "images" not in gate_sentence(whole.model_copy(update={**shown}))


def test_without_the_training_images_nothing_is_compared_elsewhere(run_of, elsewhere, tmp_path, snapshot):
    moved = tmp_path / "run"
    shutil.copytree(run_of("flat").path, moved)
    file = moved / "environment.json"
    facts = json.loads(file.read_text())
    facts["data"] |= {"root": str(tmp_path / "gone"), "data_argument": str(tmp_path / "gone")}
    file.write_text(json.dumps(facts))
    gate = evaluate(open_run(moved), elsewhere, out=tmp_path / "out").metrics.shortcuts
    assert gate.verdict is None
    snapshot(gate_sentence(gate))


@pytest.mark.parametrize("trained", [1, 2, 3])
def test_images_of_one_colour_and_labels_without_training_images_have_baselines(trained):
    """Nothing to see gives every baseline an AUROC of one half, whatever was fitted."""
    truth = np.arange(60) % 3
    offered = tuple(Probe(name, "pixels", "It tells", np.ones((120, 4))) for name in ("frame", "histogram"))
    train, test = np.arange(60), np.arange(60, 120)
    seer = predictions_of(truth, np.eye(3)[truth] + np.random.default_rng(0).normal(size=(60, 3)) / 9, THREE)
    gate = compare_with_baselines(seer, list(baselines(Evidence(seer, offered, train, test, np.sort(truth) % trained))))
    assert gate.verdict == "shown"
    for found in gate.labels.values():
        assert {entry.auroc.value for entry in found.baselines} == {0.5}

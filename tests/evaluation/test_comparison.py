"""Comparing runs: the same images, the same labels, and nothing made of nothing."""

import json
import shutil

import numpy as np
import pytest

from hilum.errors import RunError
from hilum.evaluation.comparison import Comparison, align, compare
from hilum.evaluation.differences import measure_pair
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.performance import measure
from hilum.evaluation.predictions import Predictions
from hilum.training.recipe import load_recipe
from hilum.training.run import open_run
from hilum.training.train import train
from random_datasets import LABELS, write_pictures
from training_runs import TINY, copy_with_data

pytestmark = pytest.mark.usefixtures("small_evaluation")


def predictions(seed=0, n=120, labels=LABELS, sharpness=1.0):
    generator = np.random.default_rng(1)  # the truth is the same for all seeds
    truth = generator.integers(0, 3, n)
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(n, 3)) + sharpness * np.eye(3)[truth]
    return Predictions(
        labels=labels,
        paths=tuple(f"{i}.png" for i in range(n)),
        patients=tuple(f"p{i // 2}" for i in range(n)),
        truth=truth,
        probabilities=np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True),
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    data = write_pictures(folder / "data", splits=("train", "test"), patients=6)
    for name, *more in (("flat",), ("cascade", "architecture=cascade")):
        train(data, folder / name, load_recipe("compact", [*TINY, "epochs=1", *more]))
    return folder


@pytest.fixture
def runs(trained, tmp_path):
    copy_with_data(trained, tmp_path)
    return open_run(tmp_path / "flat"), open_run(tmp_path / "cascade")


def test_two_runs_are_evaluated_and_compared(runs):
    first, second = runs
    result = compare(first, second)
    facts = json.loads((result.folder / "comparison.json").read_text())
    assert facts == result.comparison.to_json()
    assert Comparison.from_json(facts) == result.comparison
    assert result.folder == second.path / "comparison" / "flat"
    metrics = [evaluate(run).metrics for run in runs]
    found = facts["rules"]["argmax"]
    for name in ("accuracy", "balanced_accuracy"):
        for which, of_run in zip(("first", "second"), metrics, strict=True):
            assert found[name][which] == pytest.approx(
                getattr(of_run, name).as_json()
            )  # the figures of the two reports
    for label in LABELS:
        assert facts["auroc"][label]["first"]["value"] == pytest.approx(metrics[0].auroc[label].value, abs=1e-6)
    table = found["mcnemar"]
    assert table["both"] + table["first_only"] == round(metrics[0].accuracy.value * facts["n_images"])
    assert [run["hierarchy"] for run in facts["runs"]] == ["flat", "cascade"]
    differing = {row["key"]: (row["first"], row["second"]) for row in facts["recipe_differences"]}
    assert differing == {"hierarchy": ('"flat"', '"cascade"')}
    assert facts["n_images"] == 36
    assert facts["n_patients"] == 18


def test_more_seeds_have_to_be_seeds_of_the_same_methods(runs, tmp_path, refuses):
    first, second = runs
    with refuses(RunError, "other-recipe"):
        compare(first, second, more_seeds=[(second, first)])
    with refuses(RunError, "same-weights"):
        compare(first, second, more_seeds=[(first, second)])


def test_a_run_does_not_differ_from_itself(runs):
    facts = compare(runs[0], runs[0]).comparison
    for found in facts.rules.values():
        for entry in (found.accuracy, found.balanced_accuracy, *found.recall.values()):
            assert (entry.difference.value, entry.difference.low, entry.difference.high) == (0, 0, 0)
        assert found.mcnemar.p_value == found.patients.p_value == 1.0
        assert found.patients.smallest_significant is None
    assert facts.same_answers


def test_an_evaluation_of_other_weights_is_not_believed(runs):
    first, second = runs
    evaluate(first)
    file = first.path / "evaluation" / "test" / "metrics.json"
    stale = json.loads(file.read_text()) | {"weights_sha256": "0" * 64}
    file.write_text(json.dumps(stale))
    (file.parent / "predictions.csv").write_text("nonsense")
    compare(first, second)
    assert json.loads(file.read_text())["weights_sha256"] == first.environment.weights_sha256


def test_an_evaluation_of_other_files_is_not_believed(runs, tmp_path, snapshot):
    """One test image was another for a while: what was said of it then counts no more."""
    first, second = runs
    image = next((tmp_path / "data" / "test" / "normal").iterdir())
    kept = image.read_bytes()
    image.write_bytes(next((tmp_path / "data" / "test" / "infected" / "covid").iterdir()).read_bytes())
    snapshot(evaluate(first).metrics.data.notes[0])
    image.write_bytes(kept)
    facts = compare(first, second).comparison
    assert facts.notes == []
    assert facts.rules["argmax"].accuracy.first == evaluate(first).metrics.accuracy


def test_damaged_results_are_made_anew(runs):
    first, second = runs
    (first.path / "evaluation" / "test").mkdir(parents=True)
    for file in (first.path / "evaluation" / "test" / "metrics.json", first.path / "calibration.json"):
        file.write_text("[]")
    assert compare(first, second).comparison.n_images == 36


def test_comparisons_do_not_overwrite_each_other(runs, tmp_path):
    first, second = runs
    twin = tmp_path / "other" / "flat"
    shutil.copytree(first.path, twin)
    folders = {
        compare(first, second).folder,
        compare(first, second, split="val").folder,
        compare(open_run(twin), second).folder,
    }
    assert len(folders) == 3
    assert compare(first, second).folder == second.path / "comparison" / "flat"


def test_a_label_that_is_also_a_folder_has_no_tree():
    labels = ("normal", "infected", "infected/covid")
    facts = measure_pair(*(predictions(seed, labels=labels) for seed in (0, 5)))
    assert facts.rule_effect is None


def test_runs_on_different_images_are_refused(runs, write_dataset, tmp_path, tiny, refuses):
    root = write_dataset(name="fewer", splits=("train", "test"), patients=5)
    other = train(root, tmp_path / "other", load_recipe("compact", [*tiny, "epochs=1"]))
    with refuses(RunError, "other-images"):
        compare(runs[0], other)


def test_other_files_under_the_same_names_are_refused(runs, write_dataset, tmp_path, tiny, refuses):
    root = write_dataset(name="look-alikes", splits=("train", "test"), patients=6, start=1)
    other = train(root, tmp_path / "other", load_recipe("compact", [*tiny, "epochs=1"]))
    with refuses(RunError, "other-files"):
        compare(runs[0], other)


def test_splits_that_were_chosen_by_are_named(runs):
    facts = compare(*runs, split="val").comparison
    assert len(facts.notes) == 2
    assert "optimistic" in facts.notes[0]


def test_order_and_names_of_columns_do_not_matter():
    first, second = predictions(), predictions(seed=5)
    order = np.random.default_rng(0).permutation(len(second.paths))
    columns = [2, 0, 1]
    shuffled = Predictions(
        labels=tuple(LABELS[k] for k in columns),
        paths=tuple(second.paths[i] for i in order),
        patients=tuple(second.patients[i] for i in order),
        truth=np.array([columns.index(k) for k in second.truth[order]]),
        probabilities=second.probabilities[order][:, columns],
    )
    _, moved = align(first, shuffled, ("one", "two"))
    assert moved.paths == second.paths
    assert (moved.truth == second.truth).all()
    np.testing.assert_array_equal(moved.probabilities, second.probabilities)


def test_another_truth_or_other_labels_are_refused(refuses):
    first, second = predictions(), predictions(seed=5)
    second.truth[7] = (second.truth[7] + 1) % 3
    with refuses(RunError, "label-changed"):
        align(first, second, ("one", "two"))
    with refuses(RunError, "other-labels"):
        align(first, predictions(labels=("normal", "infected/covid", "tuberculosis")), ("one", "two"))


def test_network_and_rule_are_told_apart():
    """A flat network, and the same probabilities decoded top-down: only the decoding differs."""
    first = predictions(sharpness=0.6, n=400)
    facts = measure_pair(first, first, same=True)
    flat, tree = (facts.rules[rule].accuracy.first.value for rule in ("argmax", "top_down"))
    assert flat != tree
    effect = facts.rule_effect[0].accuracy.difference.value
    assert effect == pytest.approx(tree - flat)
    assert facts.rules["top_down"].recall["normal"].first.value < (
        facts.rules["argmax"].recall["normal"].first.value
    )  # two infections together outweigh normal


def test_labels_without_nesting_have_one_rule():
    facts = measure_pair(*(predictions(seed, labels=("a", "b", "c")) for seed in (0, 5)))
    assert list(facts.rules) == ["argmax"]
    assert facts.rule_effect is None


def test_a_better_classifier_is_found_better():
    facts = measure_pair(predictions(0, 300), predictions(9, 300, sharpness=3.0))
    found = facts.rules["argmax"]
    assert found.accuracy.difference.low > 0
    assert found.patients.p_value < 1e-6
    alone = measure(predictions(9, 300, sharpness=3.0))
    assert found.accuracy.second == alone.accuracy

"""Subgroups: which columns count, and the same measures as on the part alone."""

import numpy as np
import pytest

from hilum.data.dataset import Row
from hilum.evaluation.performance import measure
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.subgroups import (
    age_band,
    columns_of,
    measure_subgroups,
    subgroup_lines,
    subgroup_sentences,
    subgroup_verdict,
)

LABELS = ("normal", "infected/covid")


def some(n=80):
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, n)
    probabilities = generator.dirichlet([1, 1], n)
    return Predictions(LABELS, tuple(map(str, range(n))), tuple(f"p{i // 2}" for i in range(n)), truth, probabilities)


@pytest.mark.parametrize(
    ("value", "band"),
    [
        ("9", "6-17"),
        ("009Y", "6-17"),
        ("018M", "0-1"),
        ("70", "65+"),
        ("", "unknown"),
        ("-3", "unknown"),
        ("x", "unknown"),
    ],
)
def test_ages_become_bands(value, band):
    assert age_band(value) == band


def test_a_subgroup_is_measured_like_the_part_alone():
    predictions = some()
    values = ["AP" if i < 30 else "PA" for i in range(80)]
    found = measure_subgroups(predictions, {"view": values}, LABELS[1])["view"]
    part = Predictions(LABELS, *(field[:30] for field in (predictions.paths, predictions.patients)),
                       predictions.truth[:30], predictions.probabilities[:30])  # fmt: skip
    alone = measure(part, positive_label=LABELS[1])
    assert found["AP"].accuracy.value == alone.accuracy.value
    assert found["AP"].recall.value == alone.recall[LABELS[1]].value
    assert found["AP"].auroc.value == pytest.approx(alone.auroc[LABELS[1]].value)
    assert (found["AP"].n_images, found["AP"].n_patients) == (30, 15)


def test_a_line_names_each_subgroup_with_its_size_and_the_worst():
    predictions = some()
    columns = {"view": ["AP" if i < 30 else "PA" for i in range(80)], "site": ["x"] * 40 + ["y"] * 40}
    found = measure_subgroups(predictions, columns, LABELS[1])
    lines = subgroup_lines(found, LABELS[1])
    assert len(lines) == 2
    assert all(f"{value}" in lines[0] for value in ("view", "AP", "n = 30", "PA", "n = 50"))
    worst = min(found["view"], key=lambda value: found["view"][value].recall.value)
    assert lines[0].partition("; worst: ")[2].startswith(f"{worst} {100 * found['view'][worst].recall.value:.1f} %")
    assert subgroup_lines({}, None) == []


def test_a_subgroup_without_the_label_has_no_recall():
    predictions = some()
    values = ["x" if t else "y" for t in predictions.truth]
    found = measure_subgroups(predictions, {"source": values}, LABELS[1])["source"]
    assert found["y"].recall.value is None
    assert found["x"].auroc.value is None


def test_any_column_forms_subgroups_many_values_taken_together():
    """Ages under every name become bands, other numbers thirds; of many words the frequent ones stay."""
    generator = np.random.default_rng(0)
    rows = [
        Row(
            f"{i}.png",
            "normal",
            extra={
                "patient_age": f"{generator.integers(1, 90)}",
                "exposure": f"{i / 7:.3f}" if i % 10 else "",
                "ward": f"w{i % 40}" if i >= 60 else "emergency",
                "comment": f"seen {i}",
                "file_name": f"{i}",
                "sex": "fm"[i % 2],
            },
        )
        for i in range(120)
    ]
    found = columns_of(rows)
    assert list(found) == ["patient_age", "exposure", "ward", "sex"]
    assert set(found["patient_age"]) <= {"0-1", "2-5", "6-17", "18-39", "40-64", "65+"}
    assert sorted({found["exposure"].count(value) for value in set(found["exposure"])}) == [12, 36]
    assert set(found["ward"]) == {"emergency", "others"}
    names = tuple(map(str, range(120)))
    some = Predictions(("normal", "x"), names, ("",) * 120, np.zeros(120, int), np.full((120, 2), 0.5))
    order = list(measure_subgroups(some, {"exposure": found["exposure"]}, None)["exposure"])
    assert [float(name.split(" to ")[0]) for name in order[:3]] == sorted(float(n.split(" to ")[0]) for n in order[:3])
    assert order[3] == "unknown"


def found_with(recalls, per_group, seed=0, healthy=200):
    """Predictions of a binary classifier that finds each group's patients with its own probability."""
    generator = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(recalls)), per_group)
    hit = generator.random(len(groups)) < np.asarray(recalls)[groups]
    truth = np.r_[np.ones(len(groups), int), np.zeros(healthy, int)]
    stated = np.r_[np.where(hit, 0.9, 0.1), np.full(healthy, 0.1)]
    names = [f"g{k}" for k in groups] + [f"g{i % len(recalls)}" for i in range(healthy)]
    paths = tuple(map(str, range(len(truth))))
    made = Predictions(LABELS, paths, tuple(f"p{i}" for i in paths), truth, np.stack([1 - stated, stated], axis=1))
    return measure_subgroups(made, {"site": names}, LABELS[1])


def test_a_subgroup_that_is_found_less_often_is_refuted_and_named():
    found = found_with([0.95, 0.95, 0.55], 150)
    assert subgroup_verdict(found) == "refuted"
    assert found["site"]["g2"].against_rest.p_holm < 0.001
    assert "g2" in subgroup_sentences(found, None)[0]


def test_equal_subgroups_of_many_patients_are_shown_and_of_three_they_are_not():
    assert subgroup_verdict(found_with([0.95, 0.95], 600)) == "shown"
    few = found_with([1.0, 1.0], 3)
    assert subgroup_verdict(few) == "not shown"
    assert few["site"]["g0"].against_rest.patients_to_decide > 3
    assert subgroup_verdict({}) == "not shown"


def test_patients_to_decide_do_decide():
    few = found_with([0.9, 0.9], 20, seed=1)["site"]["g0"].against_rest
    many = found_with([0.9, 0.9], 20 * 40, seed=1)["site"]["g0"].against_rest
    assert few.verdict == "not shown"
    assert few.patients_to_decide < 20 * 40
    assert many.verdict == "shown"


@pytest.mark.parametrize("per_group", [20, 60])
def test_of_equal_subgroups_hardly_any_is_called_lower(per_group):
    """Four groups, one model: by Holm a p below 5 % anywhere in at most 5 %."""
    runs = [found_with([0.85] * 4, per_group, seed=seed, healthy=40)["site"] for seed in range(60)]
    wrong = [min(entry.against_rest.p_holm for entry in run.values()) < 0.05 for run in runs]
    assert np.mean(wrong) <= 0.1
    assert np.mean([subgroup_verdict({"site": run}) == "refuted" for run in runs]) <= 0.1


def test_a_subgroup_at_twice_the_margin_hardly_ever_passes():
    for per_group in (20, 50, 100):
        runs = [found_with([0.9, 0.7], per_group, seed=seed, healthy=10) for seed in range(60)]
        assert np.mean([subgroup_verdict(run) == "shown" for run in runs]) <= 0.05


def test_the_p_value_agrees_with_fisher_s_exact_test_in_size():
    fisher = pytest.importorskip("scipy.stats").fisher_exact
    found = found_with([0.95, 0.8], 80, seed=2)["site"]["g1"]
    hits = [round(found_with([0.95, 0.8], 80, seed=2)["site"][g].recall.value * 80) for g in ("g0", "g1")]
    p = fisher([[hits[0], 80 - hits[0]], [hits[1], 80 - hits[1]]]).pvalue
    assert 0.3 < found.against_rest.p / p < 3

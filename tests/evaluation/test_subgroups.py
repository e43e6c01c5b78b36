"""Subgroups: which columns count, and the same measures as on the part alone."""

import numpy as np
import pytest

from hilum.data.table import Row
from hilum.evaluation.evaluate import measure
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.subgroups import age_band, columns_of, measure_subgroups

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
    alone = measure(part, protected=LABELS[1])
    assert found["AP"]["accuracy"]["value"] == alone["accuracy"]["value"]
    assert found["AP"]["recall"]["value"] == alone["recall"][LABELS[1]]["value"]
    assert found["AP"]["auroc"]["value"] == pytest.approx(alone["auroc"][LABELS[1]]["value"])
    assert (found["AP"]["n_images"], found["AP"]["n_patients"]) == (30, 15)


def test_a_subgroup_without_the_label_has_no_recall():
    predictions = some()
    values = ["x" if t else "y" for t in predictions.truth]
    found = measure_subgroups(predictions, {"source": values}, LABELS[1])["source"]
    assert found["y"]["recall"]["value"] is None
    assert found["x"]["auroc"]["value"] is None


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
    found = columns_of(None, rows)
    assert list(found) == ["patient_age", "exposure", "ward", "sex"]
    assert set(found["patient_age"]) <= {"0-1", "2-5", "6-17", "18-39", "40-64", "65+"}
    assert sorted({found["exposure"].count(value) for value in set(found["exposure"])}) == [12, 36]
    assert set(found["ward"]) == {"emergency", "others"}
    names = tuple(map(str, range(120)))
    some = Predictions(("normal", "x"), names, ("",) * 120, np.zeros(120, int), np.full((120, 2), 0.5))
    order = list(measure_subgroups(some, {"exposure": found["exposure"]}, None)["exposure"])
    assert [float(name.split(" to ")[0]) for name in order[:3]] == sorted(float(n.split(" to ")[0]) for n in order[:3])
    assert order[3] == "unknown"

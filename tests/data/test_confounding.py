"""Labels that nothing can tell from where they come from."""

from math import comb
from pathlib import Path

import numpy as np
import pytest

from hilum.data.confounding import FEWEST, confounded_labels
from hilum.data.dataset import Dataset, Row
from hilum.data.readers.read import read_table
from places import DARKCOVIDNET, with_darkcovidnet
from wording import numbers


def table(*groups):
    """Rows of (label, source, patients, images of each)."""
    rows = [
        Row(f"{number}-{patient}-{image}.png", label, patient_id=f"{number}-{patient}", source=source)
        for number, (label, source, patients, images) in enumerate(groups)
        for patient in range(patients)
        for image in range(images)
    ]
    return Dataset(Path("data"), tuple(rows))


def test_a_label_with_sources_of_its_own_is_named(snapshot):
    found = confounded_labels(
        table(("normal", "A", 20, 1), ("other", "A", 20, 1), ("covid", "B", 9, 1), ("covid", "C", 8, 3))
    )
    assert [(one.label, one.sources, one.told) for one in found] == [("covid", ("B", "C"), 1.0)]
    snapshot(found[0].sentence)
    assert {"0", "17", "40"} <= numbers(found[0].sentence)


def test_one_odd_patient_changes_nothing(snapshot):
    of = confounded_labels(table(("covid", "A", 100, 1), ("normal", "B", 100, 1), ("normal", "A", 1, 1)))
    assert [one.label for one in of] == ["normal", "covid"]
    snapshot(of[1].sentence)
    assert {"1", "100", "101"} <= numbers(of[1].sentence)


def test_many_images_of_one_patient_prove_nothing():
    assert confounded_labels(table(("E.Coli", "A", 1, 400), ("normal", "B", 300, 1), ("normal", "A", 0, 1))) == []
    assert confounded_labels(table(("E.Coli", "A", FEWEST - 1, 4), ("normal", "B", 300, 1))) == []
    assert len(confounded_labels(table(("E.Coli", "A", FEWEST + 5, 1), ("normal", "B", 300, 1)))) == 2


def test_a_source_a_patient_is_an_identifier():
    rows = [Row(f"{i}.png", "ab"[i % 2], patient_id=f"p{i}", source=f"article {i}") for i in range(60)]
    assert confounded_labels(Dataset(Path("data"), tuple(rows))) == []


def test_small_sources_are_judged_by_chance():
    """Sources of two patients each, labels by lot: they seem to tell a label well, and do so under chance, too."""
    for seed in range(20):
        lot = np.random.default_rng(seed).permutation(40) < 20
        rows = [Row(f"{i}.png", "ab"[int(lot[i])], patient_id=f"p{i}", source=f"s{i // 2}") for i in range(40)]
        assert confounded_labels(Dataset(Path("data"), tuple(rows))) == []


def test_the_p_value_is_that_of_fishers_exact_test_where_labels_are_parted():
    """Of two labels of n patients each, 2 of the (2n over n) divisions part them; 6 and 6: 2 in 924."""
    (one, _) = confounded_labels(table(("a", "A", 6, 1), ("b", "B", 6, 1)))
    assert one.p_value == pytest.approx(2 / comb(12, 6), abs=0.003)


def test_unknown_sources_are_not_claimed(snapshot):
    of = confounded_labels(table(("covid", "A", 10, 1), ("covid", "", 99, 1), ("normal", "B", 100, 1)))
    snapshot(of[1].sentence)
    assert {"10"} <= numbers(of[1].sentence)


def test_unknown_patients_are_images(snapshot):
    rows = [Row(f"{i}.png", "ab"[i % 2], source="AB"[i % 2]) for i in range(40)]
    (one, _) = confounded_labels(Dataset(Path("data"), tuple(rows)))
    snapshot(one.sentence)
    assert {"20"} <= numbers(one.sentence)


@pytest.mark.parametrize(
    "groups",
    [
        [("normal", "A", 9, 1), ("covid", "A", 20, 1), ("covid", "B", 10, 1)],  # one hospital has both
        [("normal", "A", 20, 1), ("covid", "A", 20, 1)],  # one source
        [("normal", "", 20, 1), ("covid", "", 20, 1)],  # unknown
        [("normal", "A", 20, 1), ("covid", "A", 20, 1), ("normal", "B", 20, 1), ("covid", "B", 20, 1)],
    ],
)
def test_what_may_be_the_disease_is_not_accused(groups):
    assert confounded_labels(table(*groups)) == []


@with_darkcovidnet
def test_the_real_set_is_confounded():
    (found,) = confounded_labels(read_table(DARKCOVIDNET))
    assert (found.label, found.told) == ("covid", 1.0)
    assert found.sources == ("ieee8023/covid-chestxray-dataset",)

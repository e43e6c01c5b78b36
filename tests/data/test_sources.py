"""Labels that nothing can tell from where they come from."""

from pathlib import Path

import pytest

from hilum.data.readers.read import read_table
from hilum.data.sources import confounding
from hilum.data.table import Row, Table

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "darkcovidnet"


def table(*pairs):
    return Table(Path("data"), tuple(Row(f"{i}.png", label, source=source) for i, (label, source) in enumerate(pairs)))


def test_a_label_with_a_source_of_its_own_is_named():
    (note,) = confounding(table(("normal", "A"), ("other", "A"), ("covid", "B"), ("covid", "C")))
    assert "2 of 2 images of 'covid' come from B, C, and 0 of 2 others do" in note


def test_one_odd_image_changes_nothing():
    pairs = [("covid", "A")] * 100 + [("normal", "B")] * 100 + [("normal", "A")]
    notes = confounding(table(*pairs))
    assert len(notes) == 2
    assert "100 of 100 images of 'covid' come from A, and 1 of 101 others do" in notes[1]


def test_unknown_sources_are_not_claimed():
    (_, note) = confounding(table(("covid", "A"), *[("covid", "")] * 99, *[("normal", "B")] * 100))
    assert "1 of 1 images of 'covid' whose source is known" in note


@pytest.mark.parametrize(
    "pairs",
    [
        [("normal", "A"), ("covid", "A"), ("covid", "A"), ("covid", "B")],  # one hospital has both
        [("normal", "A"), ("covid", "A")],  # one source
        [("normal", ""), ("covid", "")],  # unknown
        [("normal", "A"), ("covid", "A"), ("normal", "B"), ("covid", "B")],
    ],
)
def test_what_may_be_the_disease_is_not_accused(pairs):
    assert confounding(table(*pairs)) == []


def test_every_label_of_its_own_hospital():
    assert len(confounding(table(("normal", "A"), ("covid", "B")))) == 2


@pytest.mark.skipif(not REAL.is_dir(), reason="the real radiographs (../shared/data/darkcovidnet) are not here")
def test_the_real_set_is_confounded():
    (note,) = confounding(read_table(REAL))
    assert "124 of 124 images of 'covid' come from ieee8023/covid-chestxray-dataset, and 0 of 1000 others" in note

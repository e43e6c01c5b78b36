"""Labels that nothing can tell from where they come from."""

from pathlib import Path

import pytest

from hilum.data.layouts import read_table
from hilum.data.sources import confounding
from hilum.data.table import Row, Table

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "darkcovidnet"


def table(*pairs):
    return Table(Path("data"), tuple(Row(f"{i}.png", label, source=source) for i, (label, source) in enumerate(pairs)))


def test_a_label_with_a_source_of_its_own_is_named():
    (note,) = confounding(table(("normal", "A"), ("other", "A"), ("covid", "B"), ("covid", "C")))
    assert "'covid' comes from B, C" in note


@pytest.mark.parametrize(
    "pairs",
    [
        [("normal", "A"), ("covid", "A"), ("covid", "B")],  # one hospital has both
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
    assert "'covid' comes from ieee8023/covid-chestxray-dataset" in note

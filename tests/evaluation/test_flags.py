"""What is flagged without a certificate: the positive label, else what is not healthy, else nothing."""

import csv

import numpy as np

from hilum.data.familiarity import decisions
from hilum.evaluation.abstaining import write_decisions
from hilum.evaluation.evaluate import flags
from hilum.evaluation.predictions import Predictions

PREDICTIONS = Predictions(
    labels=("0", "1", "2"),
    paths=("a.png", "b.png", "c.png"),
    patients=("", "", ""),
    truth=np.array([0, 1, 2]),
    probabilities=np.eye(3),
)


def test_the_positive_label_else_what_is_not_healthy():
    assert flags(PREDICTIONS, None, "1", ())[1].tolist() == [False, True, False]
    members, flagged = flags(PREDICTIONS, None, None, ("0",))
    assert (members, flagged.tolist()) == (("1", "2"), [False, True, True])


def test_where_no_label_is_known_nothing_is_flagged_or_cleared(tmp_path):
    assert flags(PREDICTIONS, None, None, ()) == ((), None)
    assert decisions(None, ["", "far"]) == ["undecided", "abstain"]
    write_decisions(tmp_path / "decisions.csv", PREDICTIONS, None, None)
    rows = list(csv.DictReader((tmp_path / "decisions.csv").read_text().splitlines()))
    assert {row["decision"] for row in rows} == {"undecided"}


def test_a_certificate_decides_where_there_is_one():
    certificate = {"group": "2", "members": ["2"], "threshold": 0.5}
    assert flags(PREDICTIONS, certificate, None, ())[1].tolist() == [False, False, True]

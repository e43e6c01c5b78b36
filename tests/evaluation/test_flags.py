"""What is flagged without a certificate: the positive label, else what is not healthy, else nothing."""

import numpy as np

from hilum.decision.operating_point import OperatingPoint
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.triage import flags

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


def test_where_no_label_is_known_nothing_is_called_so():
    members, flagged = flags(PREDICTIONS, None, None, ())
    assert members == ()
    assert not flagged.any()


def test_the_operating_point_decides_where_there_is_one():
    assert flags(PREDICTIONS, OperatingPoint("2", ("2",), 0.5), None, ())[1].tolist() == [False, False, True]

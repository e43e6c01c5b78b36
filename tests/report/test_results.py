import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from hilum.evaluation.performance import measure
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.schema import Metrics
from hilum.report.evaluation_console import one_label_sentence
from hilum.report.results import confusions, images_of, not_learnt, probability_scores
from hilum.stats.records import CalibrationError, Interval
from hilum.text import percent, percent_range, plural, result_matrix
from hilum.training.environment import BestCheckpoint
from hilum.training.run import Run
from wording import numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.883, "88.3 %"),
        (1.0, "100.0 %"),
        (0.0, "0.0 %"),
        (0.9996, "> 99.9 %"),  # not everything, so not 100.0 %
        (0.0004, "< 0.1 %"),
        (1 - 1e-9, "> 99.9 %"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_percent(value: float | None, text: str) -> None:
    assert percent(value) == text


def test_percent_range() -> None:
    assert percent_range({"low": 0.8561, "high": 0.9072}) == "85.6 to 90.7 %"
    assert percent_range({"low": None, "high": 0.9}) == "–"


def test_complement_turns_the_interval_round() -> None:
    turned = Interval(value=0.9, low=0.8, high=0.95).complement()
    assert turned.value == pytest.approx(0.1)
    assert turned.low == pytest.approx(0.05)
    assert turned.high == pytest.approx(0.2)


def test_plural() -> None:
    assert (plural(1, "image"), plural(0, "image"), plural(1341, "image")) == (
        "1 image",
        "0 images",
        "1,341 images",
    )


def test_matrix_has_truth_in_rows_as_scikit_learn_has_it() -> None:
    truth, predicted = ["a"] * 10 + ["b"] * 5, ["a"] * 8 + ["b"] * 7
    confusion = confusion_matrix(truth, predicted, labels=["a", "b"]).tolist()
    matrix = result_matrix(["a", "b"], confusion)
    assert [[cell.count for cell in row.cells] for row in matrix.rows] == confusion == [[8, 2], [0, 5]]
    assert matrix.rows[0].cells[1].share == pytest.approx(0.2)  # of the images whose truth is a
    assert matrix.precisions == ("100.0 %", "71.4 %")
    assert [row.recall for row in matrix.rows] == ["80.0 %", "100.0 %"]


def test_label_that_never_occurs_has_no_recall() -> None:
    matrix = result_matrix(["a", "b"], [[3, 0], [0, 0]])
    assert [row.recall for row in matrix.rows] == ["100.0 %", "–"]
    assert matrix.precisions == ("100.0 %", "–")


def test_confusions_are_ranked_and_summed_up() -> None:
    labels = ["a", "b", "c", "d"]
    matrix = [[0, 9, 1, 1], [2, 0, 3, 4], [1, 1, 0, 1], [0, 0, 0, 7]]
    assert confusions(Metrics.model_construct(labels=labels, confusion=matrix), most=2) == (
        "Out of the 23 false cases: 9 a predicted as b, 4 b predicted as d, 10 other errors."
    )
    assert confusions(Metrics.model_construct(labels=["a"], confusion=[[4]])) == "No image is misclassified."


def test_a_training_no_better_than_the_constant_prediction_is_warned_of() -> None:
    """Of 4, 3 and 3 labels the most frequent one is right on 40 % and the frequencies score 1.0889 nats."""
    validation = ["covid"] * 4 + ["normal"] * 3 + ["other"] * 3

    def said(labels: Sequence[str] = validation, findings: Sequence[str] = (), **best: float) -> str:
        rows = [SimpleNamespace(label=label, split="val") for label in labels]
        kept = BestCheckpoint.model_validate({"epoch": 1, "step": 3, **best})
        run = SimpleNamespace(rows=rows, findings=findings, environment=SimpleNamespace(best=kept))
        return not_learnt(cast(Run, run))

    assert "'covid' (40.0 %" in said(val_loss=1.09, val_accuracy=0.4)
    assert {"1.089"} <= numbers(said(val_loss=1.1, val_accuracy=0.3))
    assert said(val_loss=1.08, val_accuracy=0.4) == ""
    assert said(val_loss=1.2, val_accuracy=0.5) == ""
    assert said([], val_loss=1.2, val_accuracy=0.5) == ""
    several: dict[str, Any] = {"findings": ("edema", "mass"), "val_loss": 1.2, "val_accuracy": 0.3}
    assert {"0.500"} <= numbers(said(**several, val_auroc=0.5))
    assert said(**several, val_auroc=0.51) == ""
    assert said(**several) == ""


def test_one_label_for_all_images_is_an_alarm() -> None:
    truth = np.arange(30) % 3
    names = tuple(f"{i}.png" for i in range(30))
    constant = np.tile([0.5, 0.3, 0.2], (30, 1))
    found = measure(Predictions(("a", "b", "c"), names, names, truth, constant), positive_label="b")
    (alarm,) = one_label_sentence(found)
    assert {"30", "0.500"} <= numbers(alarm)
    varied = np.vstack([constant[:29], [[0.3, 0.5, 0.2]]])
    found = measure(Predictions(("a", "b", "c"), names, names, truth, varied), positive_label="b")
    assert one_label_sentence(found) == []


def test_whole_dataset_is_named() -> None:
    assert images_of(Metrics.model_construct(split="all", name="elsewhere", n_images=3)) == "3 images of elsewhere"
    assert images_of(Metrics.model_construct(split="val", name="val", n_images=1)) == "1 val image"


def test_scores_are_compared_with_a_constant_answer(snapshot: Callable[[str], None]) -> None:
    """Of two equally frequent labels: log-loss ln 2, Brier score 2 x 0.5^2."""
    error = CalibrationError(value=0.06, ece_null_mean=0.03)
    metrics = Metrics.model_construct(confusion=[[10, 0], [0, 10]], log_loss=0.2, brier=0.1, ece_class_wise=error)
    log_loss, brier, ece = probability_scores(metrics)
    snapshot(log_loss.reading)
    assert {"0.693"} <= numbers(log_loss.reading)
    snapshot(brier.reading)
    assert {"0.500"} <= numbers(brier.reading)
    snapshot(ece.reading)
    assert {"3.0"} <= numbers(ece.reading)
    assert {"2.0"} <= numbers(ece.reading)

"""Several findings an image: the same figures as scikit-learn's on masked arrays, and what is refused."""

import numpy as np
import polars as pl
import pytest
from sklearn import metrics as reference

from findings_tables import FINDINGS, findings_frame, known
from hilum.errors import RunError, TableError, UsageError
from hilum.evaluation.external_predictions import (
    measure_external,
    measure_external_findings,
    read_external,
    write_external,
)
from hilum.evaluation.findings_predictions import read_findings_predictions
from hilum.evaluation.findings_schema import FindingsMetrics
from hilum.stats.auc import patient_weights
from hilum.stats.intervals import Patients


@pytest.fixture(scope="module")
def frame():
    return findings_frame()


@pytest.fixture(scope="module")
def found(frame):
    return measure_external_findings(read_external(frame))


def test_each_finding_has_the_figures_of_scikit_learn_where_it_is_known(frame, found):
    for name in FINDINGS:
        (truth, score), one = known(frame, name), found.findings[name]
        called = score > 0.5
        counts = one.counts
        assert (counts.present, counts.absent) == (truth.sum(), (~truth).sum())
        assert counts.uncertain == (frame[f"true:{name}"] == -1).sum()
        assert counts.present + counts.absent + counts.uncertain + counts.unknown == len(frame)
        assert one.auroc.value == pytest.approx(reference.roc_auc_score(truth, score))
        assert one.auprc.value == pytest.approx(reference.average_precision_score(truth, score))
        assert one.sensitivity.value == pytest.approx(reference.recall_score(truth, called))
        assert one.specificity.value == pytest.approx(reference.recall_score(~truth, ~called))
        assert one.ppv.value == pytest.approx(reference.precision_score(truth, called))
        assert one.npv.value == pytest.approx(reference.precision_score(~truth, ~called))
        assert one.f1.value == pytest.approx(reference.f1_score(truth, called))
        assert one.accuracy.value == pytest.approx(reference.accuracy_score(truth, called))
        assert one.metrics.log_loss == pytest.approx(reference.log_loss(truth, score))
        assert one.metrics.brier == pytest.approx(2 * reference.brier_score_loss(truth, score))  # over both classes
        assert one.metrics.positive_label == name
        assert one.metrics.healthy == [f"no {name}"]


def test_macro_is_the_mean_and_micro_the_measure_of_all_pairs(frame, found):
    truth, score = (np.concatenate([known(frame, name)[side] for name in FINDINGS]) for side in (0, 1))
    for key in ("auroc", "auprc", "sensitivity", "specificity", "ppv", "npv", "f1", "accuracy"):
        mean = getattr(found.macro, key)
        assert mean.value == pytest.approx(np.mean([getattr(one, key).value for one in found.findings.values()]))
        assert mean.low < mean.value < mean.high
        assert mean.findings == len(FINDINGS)
    assert found.micro.auroc.value == pytest.approx(reference.roc_auc_score(truth, score))
    assert found.micro.auprc.value == pytest.approx(reference.average_precision_score(truth, score))
    assert found.micro.f1.value == pytest.approx(reference.f1_score(truth, score > 0.5))


def test_without_blanks_the_means_are_scikit_learns_own(frame):
    whole = frame[(frame[[f"true:{name}" for name in FINDINGS]].isin([0, 1])).all(axis=1)]
    found = measure_external_findings(read_external(whole))
    truth, score = (whole[[f"{before}:{name}" for name in FINDINGS]].to_numpy() for before in ("true", "p"))
    for kind, means in (("macro", found.macro), ("micro", found.micro)):
        assert means.auroc.value == pytest.approx(reference.roc_auc_score(truth, score, average=kind))
        assert means.auprc.value == pytest.approx(reference.average_precision_score(truth, score, average=kind))
        assert means.f1.value == pytest.approx(reference.f1_score(truth, score > 0.5, average=kind))


def test_a_finding_is_measured_as_two_exclusive_labels_are(frame, found):
    name = "Effusion"
    rows = frame[frame[f"true:{name}"].isin([0, 1])]
    labels = np.where(rows[f"true:{name}"] == 1, name, f"no {name}")
    alone = rows[["path", "patient_id", "sex"]].assign(
        label=labels, **{f"p:{name}": rows[f"p:{name}"], f"p:no {name}": 1 - rows[f"p:{name}"]}
    )
    same = measure_external(read_external(alone), positive_label=name)
    one = found.findings[name]
    assert one.metrics.auroc[name] == same.auroc[name] == one.auroc
    assert one.metrics.sensitivity[name] == same.sensitivity[name] == one.sensitivity
    assert one.metrics.subgroups == same.subgroups
    assert one.ece.value == pytest.approx(same.ece_class_wise.value)


@pytest.mark.ci
def test_intervals_of_the_means_are_as_wide_as_a_bootstrap_of_whole_patients_says(frame, found):
    patients = Patients(frame["patient_id"])
    areas = {"macro": [], "micro": []}
    sides = {name: known(frame, name) for name in FINDINGS}
    rows = {name: np.flatnonzero(frame[f"true:{name}"].isin([0, 1])) for name in FINDINGS}
    for weights in np.concatenate(list(patient_weights(patients, 300, 0))):  # one draw serves all findings
        drawn = {name: weights[rows[name]] for name in FINDINGS}
        each = [reference.roc_auc_score(*sides[name], sample_weight=drawn[name]) for name in FINDINGS]
        areas["macro"].append(np.mean(each))
        pooled = (np.concatenate([sides[name][side] for name in FINDINGS]) for side in (0, 1))
        weight = np.concatenate([drawn[name] for name in FINDINGS])
        areas["micro"].append(reference.roc_auc_score(*pooled, sample_weight=weight))
    for kind, means in (("macro", found.macro), ("micro", found.micro)):
        low, high = np.quantile(areas[kind], [0.025, 0.975])
        assert means.auroc.high - means.auroc.low == pytest.approx(high - low, rel=0.25)


def test_findings_that_repeat_each_other_narrow_nothing(frame):
    """Four copies of one finding say as much as one of it."""
    copied = frame[["path", "patient_id"]].assign(
        **{f"{before}:copy {k}": frame[f"{before}:Effusion"] for before in ("true", "p") for k in range(4)}
    )
    found = measure_external_findings(read_external(copied))
    one = found.findings["copy 0"].auroc
    assert found.macro.auroc.value == pytest.approx(one.value)
    assert found.macro.auroc.high - found.macro.auroc.low == pytest.approx(one.high - one.low, rel=0.02)
    assert found.micro.auroc.high - found.micro.auroc.low == pytest.approx(one.high - one.low, rel=0.15)


def test_a_finding_that_is_only_guessed_is_called_useless(found):
    assert found.useless == ["Nodule"]
    assert found.worst_first()[0] == "Nodule"


def test_a_frame_a_csv_and_hilums_own_table_say_the_same(frame, tmp_path):
    frame.to_csv(tmp_path / "model.csv", index=False, sep=";")
    given = read_external(tmp_path / "model.csv")
    bare = frame.rename(columns=lambda name: name.removeprefix("true:"))
    for other in (frame, pl.DataFrame(frame.to_dict("list")), bare):
        same = read_external(other)
        assert np.array_equal(same.predictions.truth, given.predictions.truth, equal_nan=True)
        assert np.array_equal(same.predictions.probabilities, given.predictions.probabilities)
        assert same.columns == given.columns
    metrics = write_external(given, measure_external_findings(given), tmp_path / "out")
    again = read_findings_predictions(tmp_path / "out" / "predictions.csv")
    assert again.findings == tuple(FINDINGS)
    assert np.array_equal(again.truth, given.predictions.truth, equal_nan=True)
    assert FindingsMetrics.read(tmp_path / "out" / "metrics.json", "") == metrics
    assert read_external(tmp_path / "out" / "predictions.csv").predictions.patients == given.predictions.patients


def test_a_table_that_was_edited_is_not_the_one_that_was_measured(frame, tmp_path):
    given = read_external(frame)
    write_external(given, measure_external_findings(given), tmp_path)
    table = tmp_path / "predictions.csv"
    table.write_bytes(table.read_bytes().replace(b",1,", b",0,", 1))
    with pytest.raises(RunError) as caught:
        read_findings_predictions(table)
    assert caught.value.code == "damaged-predictions"


def test_findings_on_one_side_only_are_named_and_left_out(frame):
    partial = frame.drop(columns=["p:Nodule", "true:Pneumothorax"])
    given = read_external(partial)
    assert given.predictions.findings == ("Effusion", "Cardiomegaly")
    assert (given.only_true, given.only_predicted) == (("Nodule",), ("Pneumothorax",))
    found = measure_external_findings(given)
    assert (found.only_true, found.only_predicted) == (["Nodule"], ["Pneumothorax"])
    assert len(found.data.notes) == 2  # how it was recognised, and both sides in one
    bare = read_external(partial.rename(columns=lambda name: name.removeprefix("true:")))
    assert (bare.only_true, bare.only_predicted) == (given.only_true, given.only_predicted)
    assert "sex" in bare.columns


def test_a_finding_without_both_sides_is_not_measured(frame):
    found = measure_external_findings(read_external(frame.assign(**{"true:Nodule": 0})))
    assert set(found.not_measured) == {"Nodule"}
    assert "Nodule" not in found.findings
    with pytest.raises(TableError) as caught:
        measure_external_findings(read_external(frame.assign(**{f"true:{name}": 0 for name in FINDINGS})))
    assert caught.value.code == "one-sided-findings"


def test_no_finding_is_none(frame):
    with_none = frame.assign(**{"true:No Finding": 0, "p:No Finding": 0.5})
    assert read_external(with_none).predictions.findings == tuple(FINDINGS)


def test_a_table_with_labels_is_still_one_of_labels(frame):
    table = frame[["path"]].assign(label="Effusion", Effusion=1, **{"p:Effusion": 0.5, "p:none of it": 0.5})
    assert read_external(table).predictions.labels == ("Effusion", "none of it")


def with_cell(frame, column, value):
    changed = frame.copy()
    changed[column] = changed[column].astype(object)
    changed.loc[7, column] = value
    return changed


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda frame: with_cell(frame, "true:Nodule", "maybe"), "no-truth"),
        (lambda frame: with_cell(frame, "true:Nodule", 2), "no-truth"),
        (lambda frame: with_cell(frame, "p:Nodule", ""), "no-probability"),
        (lambda frame: with_cell(frame, "p:Nodule", 1.01), "no-probability"),
        (lambda frame: with_cell(frame, "path", "0.png"), "contradicting-rows"),
        (lambda frame: frame[["path", "true:Nodule", "p:Effusion"]], "no-findings"),
        (lambda frame: frame[:0], "no-rows"),
    ],
)
def test_what_cannot_be_measured_is_refused(frame, tmp_path, change, code):
    change(frame).to_csv(tmp_path / "model.csv", index=False)
    for source in (change(frame), tmp_path / "model.csv"):
        with pytest.raises(TableError) as caught:
            read_external(source)
        assert caught.value.code == code


def test_a_positive_label_is_refused(frame):
    with pytest.raises(UsageError) as caught:
        measure_external_findings(read_external(frame), positive_label="Nodule")
    assert caught.value.code == "findings-positive-label"

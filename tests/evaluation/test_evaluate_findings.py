"""Runs of several findings: evaluated, certified, compared and reported finding by finding."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom
from sklearn import metrics as reference

import hilum
from hilum.data.dataset import Row
from hilum.data.multilabel import binary_view, finding_values, with_findings
from hilum.errors import CertificateError, RunError, SplitError, UsageError
from hilum.evaluation.certificate_check import overlap_reason, read_findings_certificate
from hilum.evaluation.certification_patients import certify_at
from hilum.evaluation.certify import NO_REFERENCE
from hilum.evaluation.certify_findings import certify_findings
from hilum.evaluation.cohort import select_images
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.evaluate_findings import prior_of_finding
from hilum.evaluation.findings_cohort import findings_as
from hilum.evaluation.findings_comparison import compare_findings
from hilum.evaluation.findings_predictions import read_findings_predictions
from hilum.evaluation.findings_schema import FindingsMetrics
from hilum.evaluation.ledger import Access, Granted, Refusal, image_set, ledger_file, open_ledger
from hilum.evaluation.prior_step import implied_shares
from hilum.progress import Progress
from hilum.report.run_page import write_report
from hilum.training.run import open_run
from training_runs import FINDINGS, make_findings_run, write_findings

pytestmark = pytest.mark.usefixtures("small_evaluation")

RATE = 0.2


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_findings(tmp_path_factory.mktemp("findings"), patients=400)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return make_findings_run(data, tmp_path_factory.mktemp("run") / "run", "splits.fraction=0.2")


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    return tmp_path_factory.mktemp("ledger") / "ledger.jsonl"


@pytest.fixture(scope="module")
def certified(run, book):
    return certify_findings(run, false_negative_rate=RATE, ledger=book)


@pytest.fixture(scope="module")
def evaluated(run, certified, book):
    return evaluate(run, ledger=book)


@pytest.mark.ci
def test_all_findings_with_enough_patients_are_certified_together(certified, run):
    together = certified.certificate
    assert set(together.findings) | set(together.not_certified) == set(FINDINGS)
    assert together.not_certified  # the rare one
    count = len(together.findings)
    assert count > 1
    assert count * (1 - together.each_confidence) == pytest.approx(1 - together.confidence)
    for name, one in together.findings.items():
        assert one.members == [name]
        assert one.confidence == 0.95
        assert one.lower_confidence == pytest.approx(together.each_confidence)
        # the tolerance limit of Wilks: so many may be missed, and not one more
        assert binom.cdf(one.rank - 1, one.n_patients, RATE) <= 1 - together.each_confidence
        assert binom.cdf(one.rank, one.n_patients, RATE) > 1 - together.each_confidence
    assert read_findings_certificate(run) == together


def test_a_finding_that_is_named_is_not_left_out_but_refused(run, certified, tmp_path):
    other, book = without_certificate(run, tmp_path)
    for name in certified.certificate.not_certified:
        with pytest.raises(CertificateError) as caught:
            certify_findings(other, false_negative_rate=0.05, findings=[name], ledger=book)
        assert caught.value.code == "too-few-patients"
        with open_ledger(book) as ledger:
            assert [entry.group for entry in ledger.of(Refusal)] == [name]


@pytest.mark.ci
def test_the_ledger_holds_one_plan_and_one_access(certified, evaluated, book):
    with open_ledger(ledger_file(book)) as ledger:
        granted, accesses = ledger.of(Granted), ledger.of(Access)
    assert len({entry.plan for entry in granted}) == 1
    assert {entry.planned for entry in granted} == {len(certified.certificate.findings)}
    assert sum(entry.delta for entry in granted) == pytest.approx(0.05)
    assert len(accesses) == 1


def test_certifying_again_spends_nothing(run, certified, book):
    again = certify_findings(run, false_negative_rate=RATE, ledger=book)
    assert again.certificate == certified.certificate


def test_another_bound_has_no_place_left_on_these_patients(run, certified, book):
    for findings in ((), tuple(certified.certificate.findings)[:1]):
        with pytest.raises(CertificateError) as caught:
            certify_findings(
                run, false_negative_rate=0.3, findings=findings, ledger=book, out=book.parent / "other.json"
            )
        assert caught.value.code == "spent"


def test_a_plan_for_several_attempts_leaves_places(run, certified, tmp_path):
    shutil.copytree(run.path, tmp_path / "run", ignore=shutil.ignore_patterns("certificate.json"))
    other, names = open_run(tmp_path / "run"), tuple(certified.certificate.findings)[:1]
    asked = {"findings": names, "ledger": tmp_path / "ledger.jsonl"}
    first = certify_findings(other, false_negative_rate=0.25, attempts=2, **asked)
    second = certify_findings(other, false_negative_rate=0.3, **asked)
    for found in (first, second):
        assert found.certificate.each_confidence == pytest.approx(0.975)


def without_certificate(run, tmp_path):
    """A copy of a run that was not certified, and a ledger of its own."""
    shutil.copytree(run.path, tmp_path / "run", ignore=shutil.ignore_patterns("certificate.json"))
    return open_run(tmp_path / "run"), tmp_path / "ledger.jsonl"


def test_all_findings_have_a_place_or_none_has(run, certified, tmp_path):
    """Another model that was evaluated on these patients takes as many places as this one."""
    other, book = without_certificate(run, tmp_path)
    with open_ledger(book) as ledger:
        table = select_images(other, None, "calibration", Progress()).images.table
        digest = ledger.add_images(image_set(row.sha256 for row in table.rows))
        seen = {"images": digest, "model": "0" * 64, "run": "x", "data": "x", "split": "calibration"}
        ledger.add(Access(**seen, least=1, unrecorded=0))
    asked = {"false_negative_rate": RATE, "ledger": book}
    with pytest.raises(CertificateError) as caught:
        certify_findings(other, **asked)
    assert caught.value.code == "seen-scores"
    with open_ledger(book) as ledger:
        assert not ledger.of(Granted)
    made = certify_findings(other, attempts=2, **asked).certificate
    with open_ledger(book) as ledger:
        granted = ledger.of(Granted)
    assert len(granted) == len(made.findings) > 1
    assert {entry.planned for entry in granted} == {2 * len(granted)}


def test_patients_are_counted_at_the_confidence_of_the_plan(run, certified, tmp_path):
    """What is left out is left out before anything is spent: no place without a certificate."""
    other, book = without_certificate(run, tmp_path)
    made = certify_findings(other, false_negative_rate=RATE, attempts=5, ledger=book).certificate
    assert set(made.findings) == {"above"}  # 29 patients; of 23 with the next one a fifth of the error takes 24
    with open_ledger(book) as ledger:
        assert [(entry.group, entry.planned) for entry in ledger.of(Granted)] == [("above", 5)]


def test_a_finding_that_cannot_be_certified_leaves_the_others(run, certified, tmp_path, monkeypatch):
    other, book = without_certificate(run, tmp_path)
    bad, *rest = certified.certificate.findings

    def failing(book, place, predictions, claim):
        if claim.group == bad:
            reason = "no threshold"
            raise CertificateError(reason, code="no-threshold")
        return certify_at(book, place, predictions, claim)

    monkeypatch.setattr("hilum.evaluation.certify_findings.certify_at", failing)
    made = certify_findings(other, false_negative_rate=RATE, ledger=book).certificate
    assert list(made.findings) == rest
    assert bad in made.not_certified
    with pytest.raises(CertificateError) as caught:
        certify_findings(other, false_negative_rate=RATE, ledger=book, findings=[bad])
    assert caught.value.code == "no-threshold"


def test_patients_of_another_site_are_compared_with_those_of_the_runs_certificate(run, certified, tmp_path):
    outside = elsewhere(tmp_path, FINDINGS, patients=80)
    made = certify_findings(run, outside, false_negative_rate=0.3, ledger=tmp_path / "l.jsonl", out=tmp_path / "c.json")
    for name, one in made.certificate.findings.items():
        assert (one.exchangeability is not None) == (name in certified.certificate.findings)
    other, book = without_certificate(run, tmp_path)
    made = certify_findings(other, outside, false_negative_rate=0.3, ledger=book, out=tmp_path / "d.json").certificate
    assert {one.exchangeability for one in made.findings.values()} == {None}
    assert all(NO_REFERENCE.format(run=other.path) in one.notes for one in made.findings.values())


def test_an_unknown_finding_cannot_be_certified(run):
    with pytest.raises(UsageError) as caught:
        certify_findings(run, false_negative_rate=RATE, findings=["fracture"])
    assert caught.value.code == "unknown-group"


def test_each_finding_is_measured_on_the_test_images_where_it_is_known(run, evaluated):
    found, predictions = evaluated.metrics, evaluated.predictions
    rows = [row for row in run.rows if row.split == "test"]
    assert sorted(predictions.paths) == sorted(row.path for row in rows)
    for k, name in enumerate(FINDINGS):
        known = predictions.known[:, k]
        truth, score = predictions.truth[known, k] == 1, predictions.probabilities[known, k]
        one = found.findings[name]
        assert one.counts.present == truth.sum()
        assert one.auroc.value == pytest.approx(reference.roc_auc_score(truth, score))
        called = score >= one.threshold if one.certified else score > 0.5
        assert one.sensitivity.value == pytest.approx(reference.recall_score(truth, called))
        assert one.metrics.shortcuts.labels.keys() == {name}
        assert one.metrics.abstention is None or sum(one.metrics.abstention.decisions.values()) == known.sum()


def test_certified_thresholds_are_in_force(certified, evaluated):
    for name, certificate in certified.certificate.findings.items():
        one = evaluated.metrics.findings[name]
        assert one.certified
        assert one.threshold == certificate.operating_point.for_images().threshold
        held = one.metrics.operating_point
        assert held.threshold == certificate.threshold
        assert held.patients == one.counts.patients
    for name in certified.certificate.not_certified:
        assert not evaluated.metrics.findings[name].certified


def test_certificates_are_not_checked_on_the_patients_who_made_them(run, certified, evaluated, book, tmp_path):
    made = evaluate(run, split="calibration", ledger=book, out=tmp_path / "out")
    images = select_images(run, None, "calibration", Progress())
    (why,) = {overlap_reason(one, images) for one in certified.certificate.findings.values()}
    assert why
    assert f"WARNING: {why}" in made.metrics.notes
    assert f"WARNING: {why}" not in evaluated.metrics.notes
    assert {one.metrics.operating_point for one in made.metrics.findings.values()} == {None}


def test_weights_in_the_loss_move_the_prior_of_a_finding(data):
    trained = binary_view(replace(data, rows=[replace(row, split="train") for row in data.rows]), "left")
    prior = prior_of_finding(trained, "left", 0.5)
    assert implied_shares(prior) == pytest.approx([0.5, 0.5])
    assert prior.shares[1] < 0.35


def test_decisions_are_written_for_each_finding(certified, evaluated):
    with (evaluated.folder / "decisions.csv").open() as file:
        rows = list(csv.DictReader(file))
    for k, name in enumerate(FINDINGS):
        words = [row[f"decision:{name}"] for row in rows if not row["reason"]]
        point = certified.certificate.findings.get(name)
        if point is None:
            assert set(words) == {"undecided"}
            continue
        threshold = point.operating_point.for_images().threshold
        score = evaluated.predictions.probabilities[[not row["reason"] for row in rows], k]
        assert words == ["flag" if value >= threshold else "clear" for value in score]


def test_what_was_written_is_read_as_it_was(evaluated):
    assert FindingsMetrics.read(evaluated.folder / "metrics.json", "") == evaluated.metrics
    again = read_findings_predictions(evaluated.folder / "predictions.csv")
    np.testing.assert_allclose(again.probabilities, evaluated.predictions.probabilities, atol=1e-8)
    assert np.array_equal(again.truth, evaluated.predictions.truth, equal_nan=True)


def test_a_changed_certificate_is_void(run, certified):
    text = certified.file.read_text()
    written = json.loads(text)
    name = next(iter(written["findings"]))
    written["findings"][name]["threshold"] /= 2
    certified.file.write_text(json.dumps(written))
    try:
        with pytest.raises(CertificateError) as caught:
            read_findings_certificate(run)
        assert caught.value.code == "changed"
    finally:
        certified.file.write_text(text)


def elsewhere(tmp_path, names, patients=40):
    """Other patients' images, of which only some findings are known, under other names."""
    other = write_findings(tmp_path / "elsewhere", patients=patients, seed=7)
    values = finding_values(other)
    rows = [replace(row, patient_id=f"x{row.patient_id}") for row in other.rows]
    return with_findings(replace(other, rows=rows, findings=()), names, values)


@pytest.mark.ci
def test_other_data_may_lack_findings_and_know_further_ones(run, data, evaluated, book, tmp_path):
    outside = elsewhere(tmp_path, ["Above", "fracture", "LEFT"])
    found = evaluate(run, outside, ledger=book, out=tmp_path / "out").metrics
    assert set(found.findings) == {"above", "left"}
    assert set(found.not_measured) == {"below"}
    assert sum("fracture" in note for note in found.data.notes) == 1
    drop = found.findings["above"].metrics.performance_drop
    assert drop.auroc["above"].internal == evaluated.metrics.findings["above"].auroc


@pytest.mark.ci
def test_findings_are_mapped_by_hand(run, data, book, tmp_path):
    outside = elsewhere(tmp_path, ["upper", "lower", "side"])
    with pytest.raises(SplitError) as caught:
        evaluate(run, outside, ledger=book, out=tmp_path / "none")
    assert caught.value.code == "other-findings"
    mapping = {"upper": "above", "side": "left"}
    found = evaluate(run, outside, mapping=mapping, ledger=book, out=tmp_path / "out").metrics
    assert set(found.findings) == {"above", "left"}
    with pytest.raises(UsageError) as caught:
        evaluate(run, outside, mapping={"upper": "fracture"}, ledger=book, out=tmp_path / "none")
    assert caught.value.code == "no-such-label"


def test_data_with_one_label_an_image_are_refused(run, data, tmp_path):
    other = write_findings(tmp_path / "elsewhere", patients=4, seed=7)
    plain = replace(other, rows=[Row(row.path, "normal") for row in other.rows], findings=())
    with pytest.raises(SplitError) as caught:
        select_images(run, plain, "test", Progress())
    assert caught.value.code == "other-task"


def test_a_run_is_compared_with_itself_finding_by_finding(run, evaluated, tmp_path):
    found = compare_findings(run, run, out=tmp_path).comparison
    assert set(found.findings) == set(FINDINGS)
    for name, entry in found.findings.items():
        assert entry.auroc.difference.value == 0
        assert entry.auroc.first.value == pytest.approx(evaluated.metrics.findings[name].auroc.value)
        assert entry.p_holm == 1


@pytest.mark.ci
def test_the_report_and_the_card_say_what_was_measured(run, evaluated):
    page = write_report(run.path).read_text()
    card = (run.path / "model_card.md").read_text()
    for name, one in evaluated.metrics.findings.items():
        for text in (page, card):
            assert name in text
            assert f"{one.auroc.value:.3f}" in text
    assert page.count("<details open>") == 1


def test_a_view_of_one_finding_has_the_rows_where_it_is_known(data):
    for k, name in enumerate(FINDINGS):
        values = finding_values(data)[:, k]
        assert len(binary_view(data, name)) == np.isin(values, (0, 1)).sum()


def test_runs_of_two_kinds_are_not_compared(run, tmp_path, monkeypatch):
    monkeypatch.setattr(type(run), "findings", ())
    with pytest.raises(RunError) as caught:
        compare_findings(run, run, out=tmp_path)
    assert caught.value.code == "other-task"


def test_a_finding_that_was_excluded_is_not_called_unknown(tmp_path):
    notes = []
    findings_as(elsewhere(tmp_path, ["above", "left", "fracture"]), ("above", "left"), {"left": ""}, notes)
    (said,) = notes
    parts = dict(part.split(": ", 1) for part in said.split(": ", 1)[1].split("; "))
    assert parts["excluded by --map-label"] == "left"
    assert parts["not known to the model"] == "fracture"


@pytest.mark.slow
def test_a_model_file_is_measured_on_findings_as_its_run_is(run, certified, evaluated, book, tmp_path):
    outside = elsewhere(tmp_path, ["Above", "fracture", "LEFT"])
    model = hilum.export(run, tmp_path / "model.onnx", progress=False)
    found = hilum.evaluate(model=model, data=outside, progress=False)
    same = evaluate(run, outside, ledger=book, out=tmp_path / "out")
    assert set(found.findings) == {"above", "left"}
    assert found.metrics.split == "all"
    np.testing.assert_allclose(found.predictions.probabilities, same.predictions.probabilities, atol=1e-4)
    for name in found.findings:
        assert found.auroc[name].value == pytest.approx(same.metrics.findings[name].auroc.value, abs=1e-3)
        mine, theirs = found.metrics.findings[name], same.metrics.findings[name]
        assert mine.certified == theirs.certified == (name in certified.certificate.findings)
        assert mine.threshold == pytest.approx(theirs.threshold, abs=1e-5)
        assert mine.sensitivity.value == pytest.approx(theirs.sensitivity.value, abs=0.01)
    plain = replace(outside, rows=[Row(row.path, "normal") for row in outside.rows], findings=())
    with pytest.raises(SplitError) as caught:
        hilum.evaluate(model=model, data=plain, progress=False)
    assert caught.value.code == "other-task"

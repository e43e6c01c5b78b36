"""Certifying and evaluating with a ledger: retrained models, plans, carried certificates, accesses to test images."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from hilum.errors import CertificateError, LedgerError
from hilum.evaluation.accesses import access_sentence, joint_sentence, read_access
from hilum.evaluation.certificate import UpperSide, allowed_rank
from hilum.evaluation.certificate_check import with_checksum
from hilum.evaluation.certify import certify
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.ledger import Granted, Refusal, read_ledger
from hilum.evaluation.temperature import Calibration
from hilum.evaluation.triage_schema import Certificate
from hilum.progress import Progress
from hilum.report.run_page import page_content, write_report
from hilum.training.recipe import load_recipe
from hilum.training.run import open_run
from hilum.training.train import train
from random_datasets import LABELS, write_pictures
from wording import numbers

pytestmark = pytest.mark.usefixtures("small_evaluation")

TINY = ["network.options.width=4", "network.options.blocks=[1, 1]", "preprocessing.size=32", "max_steps=3"]
TINY += ["batch_size=8", "splits.val=val", "early_size=0"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The same data, and two runs on them that differ in their seed; 50 calibration patients a label."""
    root = tmp_path_factory.mktemp("attempts")
    patients = {"train": 12, "val": 6, "calibration": 50, "test": 12}
    write_pictures(root / "data", splits=tuple(patients), patients=patients, images=1, side=36)
    for name in ("first", "second"):
        train(root / "data", root / name, load_recipe("compact", [*TINY, f"training.seed={len(name)}"]))
    return root


@pytest.fixture
def runs(trained, tmp_path):
    """A copy of both, so that no test sees what another one wrote."""
    for name in ("first", "second"):
        shutil.copytree(trained / name, tmp_path / name)
    return open_run(tmp_path / "first"), open_run(tmp_path / "second")


@pytest.fixture
def book(own_cache):
    return own_cache / "ledger.jsonl"


class Told(Progress):
    """What a user reads."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def line(self, text):
        self.lines.append(text)


def test_a_second_certificate_on_the_same_patients_is_refused_whatever_differs(runs, book, refuses):
    first, second = runs
    made = certify(first, false_negative_rate=0.15).certificate
    assert made.rank == allowed_rank(made.n_patients, 0.15, 0.95)
    before = (first.path / "certificate.json").read_bytes()
    for run, asked in (
        (first, {"false_negative_rate": 0.2}),
        (first, {"false_negative_rate": 0.15, "group": "infected/*"}),
        (second, {"false_negative_rate": 0.15}),
    ):
        with refuses(CertificateError, "spent") as refused:
            certify(run, **asked)
        assert str(book) in str(refused.value)
    assert (first.path / "certificate.json").read_bytes() == before
    assert not (second.path / "certificate.json").exists()
    kinds = [entry.kind for entry in read_ledger(book).entries]
    assert kinds == ["ledger", "images", "attempt", "result", "refusal", "refusal", "refusal"]
    assert (
        certify(first, false_negative_rate=0.15, split="test", confidence=0.8).certificate.ledger.number == 1
    )  # other patients


def test_the_same_attempt_again_gives_the_same_file_and_spends_nothing(runs, book):
    certify(runs[0], false_negative_rate=0.15)
    before, entries = (runs[0].path / "certificate.json").read_bytes(), len(read_ledger(book).entries)
    certify(runs[0], false_negative_rate=0.15)
    assert (runs[0].path / "certificate.json").read_bytes() == before
    assert len(read_ledger(book).entries) == entries


def test_planned_attempts_share_delta_over_models(runs, refuses):
    made = [certify(run, false_negative_rate=0.15, attempts=2).certificate for run in runs]
    assert [facts.ledger.number for facts in made] == [1, 2]
    assert [facts.confidence for facts in made] == [0.95, 0.95]
    for facts in made:
        assert facts.rank == allowed_rank(facts.n_patients, 0.15, 0.975)
    with refuses(CertificateError, "spent"):
        certify(runs[0], false_negative_rate=0.2)


def test_a_refusal_for_too_few_patients_spends_nothing_and_says_what_a_plan_takes(runs, book, refuses):
    with refuses(CertificateError, "too-few-patients") as refused:
        certify(runs[0], false_negative_rate=0.01)
    assert "299" in numbers(refused.value.message)  # 0.99 ** 299 is below 0.05
    with refuses(CertificateError, "too-few-patients"):
        certify(runs[0], false_negative_rate=0.05, attempts=10)
    assert not read_ledger(book).of(Granted)
    assert certify(runs[0], false_negative_rate=0.15).certificate.ledger.planned == 1


@pytest.mark.parametrize(
    ("upper", "code"),
    [
        (UpperSide("specificity", 0.99, None, ("normal",)), "too-few-healthy-patients"),
        (UpperSide("specificity", 0.8, None, ()), "no-healthy-patients"),
        (UpperSide("ppv", 0.5, 1e-9, ("normal",)), "unreachable-ppv"),
    ],
)
def test_too_few_for_the_upper_side_spend_nothing_either(runs, book, upper, code, refuses):
    with refuses(CertificateError, code):
        certify(runs[0], false_negative_rate=0.15, upper=upper)
    assert not read_ledger(book).of(Granted)
    assert certify(runs[0], false_negative_rate=0.15).certificate.ledger.number == 1


@pytest.mark.ci
def test_a_model_chosen_by_its_scores_on_the_calibration_patients_needs_a_plan(runs, refuses):
    for run in runs:
        evaluate(run, split="calibration")
    with refuses(CertificateError, "seen-scores"):
        certify(runs[0], false_negative_rate=0.15)
    assert certify(runs[0], false_negative_rate=0.15, attempts=2).certificate.ledger.planned == 2


def test_certificates_of_before_count_and_those_of_another_ledger_are_carried_over(runs, tmp_path, refuses):
    certify(runs[0], false_negative_rate=0.15, ledger=tmp_path / "elsewhere.jsonl")
    with refuses(CertificateError, "spent"):
        certify(runs[0], false_negative_rate=0.2)
    told = Told()
    certify(runs[0], false_negative_rate=0.15, ledger=tmp_path / "third.jsonl", progress=told)
    assert any("missing in the ledger" in line and "third.jsonl" in line for line in told.lines)
    file = runs[0].path / "certificate.json"
    facts = json.loads(file.read_text())
    old = Certificate.model_validate({key: value for key, value in facts.items() if key not in ("ledger", "seal")})
    file.write_text(json.dumps(with_checksum(old).as_json()))
    with refuses(CertificateError, "spent"):
        certify(runs[0], false_negative_rate=0.2, ledger=tmp_path / "fourth.jsonl")
    again = certify(runs[0], false_negative_rate=0.15, ledger=tmp_path / "fourth.jsonl").certificate
    assert again.threshold == facts["threshold"]


def test_places_that_a_lost_ledger_held_stay_taken(runs, tmp_path, refuses):
    """The third of three attempts is at hand; the two before it are known from its number only."""
    for false_negative_rate in (0.15, 0.2, 0.25):
        certify(runs[0], false_negative_rate=false_negative_rate, attempts=3, ledger=tmp_path / "lost.jsonl")
    with refuses(CertificateError, "spent"):
        certify(runs[0], false_negative_rate=0.3, ledger=tmp_path / "new.jsonl")


def test_what_lost_plans_spent_stays_spent(runs, tmp_path, refuses):
    """The certificate at hand states 90 % for itself and for one that is lost: at 90 % nothing is left."""
    certify(runs[0], false_negative_rate=0.15, ledger=tmp_path / "lost.jsonl")
    second = certify(runs[0], false_negative_rate=0.2, confidence=0.9, ledger=tmp_path / "lost.jsonl").certificate
    assert second.ledger.spent_before == pytest.approx(0.05)
    with refuses(CertificateError, "spent"):
        certify(runs[0], false_negative_rate=0.25, confidence=0.9, ledger=tmp_path / "new.jsonl")
    again = certify(runs[0], false_negative_rate=0.2, confidence=0.9, ledger=tmp_path / "new.jsonl").certificate
    assert again.threshold == second.threshold
    assert again.ledger.spent_before == pytest.approx(0.05)


def test_scores_that_are_no_numbers_give_the_place_back(runs, book, monkeypatch, refuses):
    with monkeypatch.context() as broken:
        broken.setattr(Calibration, "applied_to", lambda self, plain, run: plain * np.nan)
        with refuses(CertificateError, "not-a-number"):
            certify(runs[0], false_negative_rate=0.15)
    assert certify(runs[1], false_negative_rate=0.15).certificate.ledger.number == 1
    assert [entry.kind for entry in read_ledger(book).entries].count("void") == 1


def test_a_refusal_that_came_from_the_scores_keeps_the_place(runs, book, monkeypatch, refuses):
    reason = "no threshold has this predictive value"

    def refuse(*given, **named):
        raise CertificateError(reason)

    with monkeypatch.context() as broken:
        broken.setattr("hilum.evaluation.certification_patients.certificate_of", refuse)
        with pytest.raises(CertificateError) as refused:
            certify(runs[0], false_negative_rate=0.15)
    assert refused.value.message.startswith(reason)
    with refuses(CertificateError, "spent"):
        certify(runs[1], false_negative_rate=0.15)
    assert read_ledger(book).of(Refusal)[0].reason == reason


@pytest.mark.slow
def test_the_first_evaluation_is_confirmatory_and_the_same_one_again_is_the_same(runs, snapshot):
    first, second = runs
    found = evaluate(first)
    before = (found.folder / "metrics.json").read_bytes()
    assert (found.access.access, found.access.models, found.access.confirmatory) == (1, 1, True)
    other = evaluate(second).access
    assert (other.access, other.models, other.confirmatory) == (2, 2, False)
    again = evaluate(first)
    assert (again.access.access, again.access.models, again.access.confirmatory) == (1, 2, True)
    assert (found.folder / "metrics.json").read_bytes() == before
    items = {run: next(i for i in page_content(run).checklist if i.number == 13) for run in (first, second)}
    assert [item.state for item in items.values()] == ["PASS", "UNKNOWN"]
    snapshot(items[second].evidence)
    assert {"2"} <= numbers(items[second].evidence)
    told = access_sentence(read_access(first.path / "evaluation" / "test"))
    assert "began on 20" in told
    assert access_sentence(again.access)[1:] in write_report(first.path).read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_later_certificate_on_its_patients_is_said_by_evaluations_of_the_earlier_one(runs):
    certify(runs[0], false_negative_rate=0.15)
    assert evaluate(runs[0]).access.joint is None
    certify(runs[1], false_negative_rate=0.15, confidence=0.9)
    found = evaluate(runs[0])
    assert found.access.joint == pytest.approx(0.9)
    assert joint_sentence(found.access) in page_content(runs[0]).evaluations[0].notes
    assert evaluate(runs[1]).access.joint is None  # it states that confidence itself


def test_images_shared_with_other_data_were_seen(runs, trained, tmp_path):
    shutil.copytree(trained / "data" / "test" / LABELS[1], tmp_path / "other" / LABELS[1])
    shutil.copytree(trained / "data" / "calibration" / LABELS[0], tmp_path / "other" / LABELS[0])
    assert evaluate(runs[0], tmp_path / "other").access.access == 1
    assert evaluate(runs[1]).access.access == 2
    assert evaluate(runs[1], split="val").access is None


@pytest.mark.ci
def test_evaluations_of_before_are_not_forgotten(runs, tmp_path):
    folder = runs[0].path / "evaluation" / "test"
    folder.mkdir(parents=True)
    (folder / "looks.json").write_text('{"looks": 7}')
    assert read_access(folder).unrecorded == 7
    for _ in range(2):
        access = evaluate(runs[0]).access
        assert (access.access, access.confirmatory, access.unrecorded) == (1, False, 7)
    other = evaluate(runs[1]).access
    assert (other.access, other.unrecorded) == (2, 0)
    moved = evaluate(runs[1], ledger=tmp_path / "new.jsonl").access
    assert (moved.access, moved.confirmatory) == (2, False)  # it is not the first one in a new ledger, either


def test_an_access_log_of_other_types_is_said_and_written_anew(runs):
    folder = runs[0].path / "evaluation" / "test"
    folder.mkdir(parents=True)
    (folder / "access_log.json").write_text('{"access": "first", "models": 1}')
    assert "not in hilum's format" in access_sentence(read_access(folder))
    assert evaluate(runs[0]).access.access == 1
    assert read_access(folder).confirmatory


def test_with_a_damaged_ledger_nothing_is_certified_and_evaluations_say_so(runs, book, refuses, snapshot):
    evaluate(runs[0])
    book.write_text(book.read_text().replace("first", "third", 1))
    with refuses(LedgerError, "changed"):
        certify(runs[0], false_negative_rate=0.15)
    found = evaluate(runs[0])
    snapshot(found.access.note)
    assert {"3"} <= numbers(found.access.note)
    assert found.access.access == 1  # as it was known before
    assert not found.access.confirmatory
    assert found.metrics.n_images == 36


def test_where_nobody_may_write_nothing_is_certified_and_evaluations_go_on(runs, tmp_path, refuses, snapshot):
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "ledger.jsonl"
    with refuses(LedgerError, "unwritable"):
        certify(runs[0], false_negative_rate=0.15, ledger=place)
    snapshot(evaluate(runs[0], ledger=place).access.note)


def test_the_command_shows_what_was_done(runs, book, hilum, tmp_path):
    certify(runs[0], false_negative_rate=0.15)
    evaluate(runs[1])
    said = hilum("ledger", check=0).stdout
    assert str(book) in said
    assert "plan at 95 %: 1 of 1 attempts made" in " ".join(said.split())
    assert "no certification attempt" in hilum("ledger", "--ledger", tmp_path / "none.jsonl", check=0).stdout
    result = hilum("certify", runs[0].path, "--sensitivity", "0.8")
    assert result.returncode == 1
    assert "--attempts" in result.stderr
    assert hilum("certify", runs[0].path, "--attempts", "0").returncode == 2
    assert Path(json.loads((runs[0].path / "certificate.json").read_text())["ledger"]["path"]).name == book.name

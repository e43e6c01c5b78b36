"""``hilum certify`` as people use it: certificates, refusals, and what makes one void."""

import csv
import json
import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from hilum.errors import CertificateError
from hilum.evaluation.certificate import allowed_rank
from hilum.evaluation.certification_patients import certificate_of
from hilum.evaluation.predictions import Predictions
from hilum.training.recipe import load_recipe
from hilum.training.train import train
from wording import numbers

pytestmark = pytest.mark.usefixtures("small_evaluation")

LABELS = ("normal", "infected/covid", "infected/non-covid")
TINY = ["network.options.width=4", "network.options.blocks=[1,1]", "preprocessing.size=32", "max_steps=6"]
TINY += ["batch_size=8", "splits.val=val"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with 40 calibration patients a label; fitted too little for a temperature of its own."""
    root = tmp_path_factory.mktemp("certify")
    generator = np.random.default_rng(0)
    rows = []
    for split, patients in (("train", 12), ("val", 6), ("calibration", 70), ("test", 60)):
        for k, label in enumerate(LABELS):
            folder = root / "data" / split / label
            folder.mkdir(parents=True)
            for patient in range(patients):
                for image in range(1 + patient % 2):
                    file = folder / f"{patient:03d}-{image}.png"
                    pixels = generator.normal(60 + 60 * k, 25, (36, 36)).clip(0, 255).astype(np.uint8)
                    Image.fromarray(pixels).save(file)
                    path = file.relative_to(root / "data").as_posix()
                    rows.append((path, label, split, f"{split}-{label}-{patient}"))
    with (root / "data" / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split", "patient_id"), *rows])
    train(root / "data", root / "run", load_recipe("compact", TINY))
    return root


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    return tmp_path / "run"


def test_a_certificate_is_given_written_and_shown_by_the_evaluation(run, trained, hilum):
    said = hilum("certify", run, "--sensitivity", "0.9", check=0).stdout
    assert "at most 10 % of patients with infected/covid are cleared" in " ".join(said.split())
    facts = json.loads((run / "certificate.json").read_text())
    assert facts["rank"] == allowed_rank(facts["n_patients"], 0.1, 0.95)
    assert facts["false_negatives"] < facts["rank"]
    assert facts["n_patients"] == len(facts["reference"]["group"])
    assert set(facts["flagged"]) == {"normal", "infected/non-covid"}
    cost = facts["flagged"]["normal"]
    assert cost["low"] <= cost["value"] <= cost["high"]
    metrics = json.loads(hilum("evaluate", run, "--json", check=0).stdout)
    held = metrics["operating_point"]
    assert (held["patients"], held["resampling_unit"], held["bound"]) == (60, "patients", 0.1)
    assert held["verdict"] in ("shown", "not shown", "refuted")
    assert metrics["certificate"]["seal"] == facts["seal"]


def test_two_thresholds_are_certified_and_decide_about_images_and_patients(run, hilum, tmp_path):
    alone = ("--ledger", tmp_path / "another.jsonl", "--out", tmp_path / "one.json")
    one = json.loads(hilum("certify", run, "--sensitivity", "0.8", *alone, "--json", check=0).stdout)
    asked = ("certify", run, "--sensitivity", "0.8", "--specificity", "0.8")
    assert "healthy patients (normal) are flagged" in " ".join(hilum(*asked, check=0).stdout.split())
    two = json.loads((run / "certificate.json").read_text())
    assert (one["upper"], one["confidence"], two["confidence"]) == (None, 0.95, 0.95)
    assert two["rank"] == allowed_rank(two["n_patients"], 0.2, 0.975) < one["rank"]
    assert two["image_threshold"] <= two["threshold"] <= two["upper_threshold"]
    assert two["images"]["max"] == 2
    metrics = json.loads(hilum("evaluate", run, "--json", check=0).stdout)
    held = metrics["operating_point"]
    assert held["upper"]["verdict"] in ("shown", "not shown", "refuted")
    with (run / "evaluation" / "test" / "decisions.csv").open() as file:
        rows = list(csv.DictReader(file))
    decided = {row["patient_id"]: row["patient_decision"] for row in rows if row["label"] == "infected/covid"}
    assert Counter(decided.values()) == Counter({key: n for key, n in held["outcomes"].items() if n})
    assert {row["decision"] for row in rows} <= {"flag", "read", "clear", "abstain"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--specificity", "1"), "between 0 and 1"),
        (("--ppv", "0.5", "--prevalence", "0"), "between 0 and 1"),
        (("--ppv", "0.5", "--prevalence", "1"), "between 0 and 1"),
        (("--ppv", "0.5"), "--prevalence"),
        (("--specificity", "0.9", "--ppv", "0.5", "--prevalence", "0.1"), "one of them"),
    ],
)
def test_an_upper_side_that_cannot_be_is_refused(run, hilum, options, words, one_message):
    one_message(hilum("certify", run, "--sensitivity", "0.8", *options), 2)


def test_no_healthy_patient_and_too_few_of_them_are_refused(run, hilum, one_message):
    result = hilum("certify", run, "--sensitivity", "0.8", "--specificity", "0.99")
    one_message(result, 1)
    result = hilum("certify", run, "--sensitivity", "0.8", "--group", "normal", "--specificity", "0.8")
    one_message(result, 1)
    hilum("certify", run, "--sensitivity", "0.8", "--specificity", "0.8", check=0)  # they had spent nothing


def test_too_few_patients_are_refused_and_the_missing_ones_counted(run, hilum, one_message):
    result = hilum("certify", run, "--sensitivity", "0.99")
    one_message(result, 1)
    count = int(result.stderr.split(" patients with")[0].split()[-1])
    assert {"299", str(299 - count)} <= numbers(result.stderr)
    assert not (run / "certificate.json").exists()


def test_a_group_can_be_protected(run, hilum, one_message):
    facts = json.loads(hilum("certify", run, "--sensitivity", "0.9", "--group", "infected/*", "--json", check=0).stdout)
    assert facts["members"] == ["infected/covid", "infected/non-covid"]
    assert set(facts["flagged"]) == {"normal"}
    one_message(hilum("certify", run, "--group", "lung"), 2)
    one_message(hilum("certify", run, "--group", "normal", "--sensitivity", "5"), 2)


@pytest.mark.parametrize("split", ["train", "val"])
def test_what_the_run_has_seen_cannot_testify(run, hilum, split, one_message):
    result = hilum("certify", run, "--sensitivity", "0.7", "--split", split)
    one_message(result, 1)


@pytest.mark.slow
def test_copies_of_training_images_in_other_data_are_refused_by_name(run, trained, hilum, tmp_path, one_message):
    other = tmp_path / "other"
    for label in LABELS:
        shutil.copytree(trained / "data" / "test" / label, other / label)
    shutil.copy(trained / "data" / "train" / "normal" / "000-0.png", other / "normal" / "new.png")
    result = hilum("certify", run, other, "--sensitivity", "0.9")
    one_message(result, 1)
    with Image.open(other / "normal" / "new.png") as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(other / "normal" / "new.png")
    result = hilum("certify", run, other, "--sensitivity", "0.9")
    one_message(result, 1)


def test_another_site_gets_a_certificate_of_its_own_and_a_test_against_the_first(
    run, trained, hilum, tmp_path, one_message, snapshot
):
    hilum("certify", run, "--sensitivity", "0.9", check=0)
    other = tmp_path / "clinic"
    for theirs, ours in (("healthy", LABELS[0]), ("covid", LABELS[1]), ("bacteria", LABELS[2])):
        shutil.copytree(trained / "data" / "test" / ours, other / theirs)
    result = hilum("certify", run, other, "--sensitivity", "0.9")
    one_message(result, 1)
    result = hilum("certify", run, other, "--sensitivity", "0.9", "--map-label", "bacteria=infected/non-covid", check=0)
    snapshot(result.stdout, numbers=False)
    file = next((run / "certificates").glob("clinic-*.json"))
    facts = json.loads(file.read_text())
    assert facts["resampling_unit"] == "images"
    assert 0 < facts["exchangeability"]["p_value"] <= 1
    assert json.loads((run / "certificate.json").read_text())["data"]["own"]


@pytest.mark.slow
def test_a_certificate_is_not_proved_by_the_patients_who_made_it(run, hilum, snapshot):
    """Nor by those that the run was trained on; and one that was made on the test images fails the checklist."""
    hilum("certify", run, "--sensitivity", "0.9", "--split", "test", check=0)
    result = hilum("evaluate", run, "--json", check=0)
    assert json.loads(result.stdout)["operating_point"] is None
    snapshot(result.stderr, numbers=False)
    hilum("report", run, check=0)
    card = (run / "model_card.md").read_text()
    assert "| 20 | operating point with its certificate | FAIL |" in card
    assert "selected on the test patients" in card
    hilum("certify", run, "--sensitivity", "0.9", check=0)
    for split in ("train", "val", "calibration"):
        result = hilum("evaluate", run, "--split", split, "--json", check=0)
        assert json.loads(result.stdout)["operating_point"] is None
        snapshot(result.stderr, numbers=False)


def test_without_a_certificate_of_its_own_the_other_site_is_told_what_is_missing(
    run, trained, hilum, tmp_path, snapshot
):
    other = tmp_path / "clinic"
    for label in LABELS:
        shutil.copytree(trained / "data" / "test" / label, other / label)
    snapshot(hilum("certify", run, other, "--sensitivity", "0.9", check=0).stdout, numbers=False)


def test_a_changed_certificate_is_void(run, hilum, snapshot):
    hilum("certify", run, "--sensitivity", "0.9", check=0)
    file = run / "certificate.json"
    facts = json.loads(file.read_text())
    file.write_text(json.dumps(facts | {"false_negative_rate": 0.01}))
    result = hilum("evaluate", run, "--json", check=0)
    assert json.loads(result.stdout)["operating_point"] is None
    snapshot(result.stderr, numbers=False)
    file.write_text("{")
    snapshot(hilum("evaluate", run, "--json", check=0).stderr, numbers=False)


def predictions(n=100, k=1, value=0.5):
    probabilities = np.full((n, 3), (1 - value) / 2)
    probabilities[:, k] = value
    names = tuple(f"{i}" for i in range(n))
    return Predictions(LABELS, names, names, np.full(n, 1), probabilities)


def test_answers_that_are_no_numbers_are_refused(refuses):
    given = predictions()
    given.probabilities[3, 1] = np.nan
    with refuses(CertificateError, "not-a-number"):
        certificate_of(given, LABELS[1], [LABELS[1]], false_negative_rate=0.1, confidence=0.95)


def test_no_patient_with_it_is_refused(refuses):
    with refuses(CertificateError, "too-few-patients"):
        certificate_of(predictions(), "normal", ["normal"], false_negative_rate=0.1, confidence=0.95)


def test_of_a_network_that_says_the_same_of_everyone_everyone_is_flagged():
    facts = certificate_of(predictions(), LABELS[1], [LABELS[1]], false_negative_rate=0.1, confidence=0.95)
    assert (facts.threshold, facts.false_negatives, facts.n_patients) == (0.5, 0, 100)

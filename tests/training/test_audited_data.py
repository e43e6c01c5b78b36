"""What is wrong with the data goes with the run: into its environment, its evaluation, its pages and its exports."""

import csv
import json
from dataclasses import replace

import pytest

from hilum import __version__
from hilum.auditing.audit import audit, write_audit
from hilum.auditing.findings import (
    MISLEADS,
    Finding,
    KnownIssues,
    dataset_key,
    recall,
    remember,
    said_briefly,
    worst_first,
)
from hilum.auditing.near_duplicates.groups import find_groups
from hilum.auditing.preflight import cheap_checks
from hilum.data.cache import open_images
from hilum.data.dataset import Row
from hilum.data.preprocessing import Preprocessing
from hilum.data.readers.read import read_table
from hilum.training.prepare import known_of, look
from hilum.training.recipe import load_recipe
from hilum.training.run import Run, open_run
from hilum.training.train import train

pytestmark = pytest.mark.usefixtures("small_evaluation")


@pytest.fixture
def from_elsewhere(write_dataset):
    """Every label from a hospital of its own, and one patient on both sides of the splits."""
    root = write_dataset(splits=("train", "test"), patients=12)
    table = root / "metadata.csv"
    rows = list(csv.DictReader(table.read_text().splitlines()))
    patient = next(row["patient_id"] for row in rows if row["split"] == "train")
    next(row for row in rows if row["split"] == "test")["patient_id"] = patient
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "source"])
        writer.writeheader()
        writer.writerows(row | {"source": f"hospital of {row['label']}"} for row in rows)
    return root


def looked(root):
    images = open_images(read_table(root), Preprocessing(size=32))
    groups = find_groups(images, "identical")
    return look(images, cheap_checks(images, [row.split for row in images.table.rows], groups))


def errors(found):
    return [finding.check for finding in found.of("error")]


def test_what_takes_a_moment_is_found_without_an_audit(from_elsewhere):
    found = looked(from_elsewhere)
    assert not found.audited
    assert errors(found) == ["sources", "patients"]
    assert set(found.as_json()["findings"][0]) == {"check", "severity", "message", "remedy"}


def test_an_audit_is_remembered_by_files_and_labels_wherever_they_lie(from_elsewhere, tmp_path):
    made = audit(from_elsewhere)
    write_audit(made, tmp_path / "audit")
    moved = from_elsewhere.rename(tmp_path / "moved")
    found = looked(moved)
    assert found.audited
    assert found.written == str((tmp_path / "audit").resolve())
    audited = [finding.check for finding in made.findings if finding.severity == "error"]
    assert sorted(set(errors(found))) == sorted(set(audited))
    assert errors(found).count("patients") == 1
    table = moved / "metadata.csv"
    table.write_text(table.read_text().replace("infected/covid,", "infected/tb,"))
    assert not looked(moved).audited, "other labels are another dataset"


def test_of_an_audit_of_other_splits_what_it_says_of_splits_is_left_out(from_elsewhere, tmp_path):
    write_audit(audit(from_elsewhere), tmp_path / "audit")
    table = from_elsewhere / "metadata.csv"
    table.write_text(table.read_text().replace(",test,", ",train,"))
    found = looked(from_elsewhere)
    assert found.audited
    assert "patients" not in errors(found)
    assert "sources" in errors(found)


def test_the_cache_that_an_audit_makes_is_its_users_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("HILUM_CACHE", str(tmp_path / "above" / "cache"))
    remember({"findings": []}, "key", tmp_path)
    assert recall("key").findings == []
    folders = [tmp_path / "above" / "cache", tmp_path / "above" / "cache" / "audits"]
    assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o700, 0o700]


def test_the_key_is_of_files_labels_patients_and_sources_in_any_order():
    rows = [Row("1", "x", sha256="a"), Row("2", "y", sha256="b"), Row("3", "y", sha256="a")]
    key = dataset_key(rows)
    assert key == dataset_key(reversed(rows)) != dataset_key(rows[:2])
    for change in ({"patient_id": "p"}, {"source": "h"}, {"label": "z"}, {"sha256": "c"}):
        assert dataset_key([replace(rows[0], **change), *rows[1:]]) != key, change
    for change in ({"path": "4"}, {"split": "train"}):
        assert dataset_key([replace(rows[0], **change), *rows[1:]]) == key, change


def test_who_adds_patients_as_the_audit_says_has_other_data(from_elsewhere, tmp_path):
    table = from_elsewhere / "metadata.csv"
    known = table.read_text()
    table.write_text(known.replace("patient_id", "remark"))
    write_audit(audit(from_elsewhere), tmp_path / "audit")
    before = looked(from_elsewhere)
    assert before.audited
    assert "patients" in [finding.check for finding in before.findings]
    table.write_text(known)
    assert not looked(from_elsewhere).audited


@pytest.mark.ci
def test_findings_of_another_version_are_left_out(from_elsewhere, tiny, tmp_path, own_cache):
    run = train(from_elsewhere, tmp_path / "run", load_recipe("compact", tiny))
    write_audit(audit(from_elsewhere), tmp_path / "audit")
    strange = [{"check": "moon", "severity": "error", "message": "m", "remedy": "r"}, {"check": "sources"}, "sources"]
    (file,) = own_cache.rglob("audits/*.json")
    facts = json.loads(file.read_text())
    file.write_text(json.dumps(facts | {"findings": [*facts["findings"], *strange]}))
    found = looked(from_elsewhere)
    assert found.audited
    assert "sources" in errors(found)
    assert "moon" not in errors(found)
    kept = json.loads((run.path / "environment.json").read_text())
    kept["audit"]["findings"] += strange
    (run.path / "environment.json").write_text(json.dumps(kept))
    run = open_run(run.path)
    assert known_of(run).audited
    file.rename(file.with_name(file.name.replace(__version__, "0.0.9")))
    assert not looked(from_elsewhere).audited, "an audit of another version is none"
    assert errors(known_of(run)) == ["sources", "patients"]


@pytest.mark.slow
def test_errors_follow_the_run_into_all_that_is_written_of_it(from_elsewhere, tiny, tmp_path):
    from hilum.evaluation.evaluate import evaluate
    from hilum.exporting.export import export
    from hilum.report.run_page import write_report

    lines = []

    class Listening:
        def __getattr__(self, name):
            return getattr(quiet, name)

        def line(self, text):
            lines.append(text)

    from hilum.progress import Progress

    quiet = Progress()
    run = train(from_elsewhere, tmp_path / "run", load_recipe("compact", tiny), progress=Listening())
    assert [line for line in lines if line.startswith("audit: ERROR sources")]
    assert sum("has not been audited" in line for line in lines) == 1
    assert "positive label: infected/covid (must not be missed); healthy label: normal" in lines
    assert errors(run.environment.audit) == ["sources", "patients"]
    metrics = evaluate(run).metrics
    assert errors(metrics.audit) == ["sources", "patients"]
    page = write_report(run.path).read_text()
    box = page[page.index('class="note error"') : page.index('class="verdict"')]
    assert "2 errors" in box
    assert "Source and label determine each other" in box
    assert "Source and label determine each other" in (run.path / "model_card.md").read_text()
    model_file = export(run, tmp_path / "model.onnx")
    assert errors(KnownIssues.model_validate(model_file.facts["provenance"]["data"])) == ["sources", "patients"]
    assert "Source and label determine each other" in model_file.facts["card"]
    write_audit(audit(from_elsewhere), tmp_path / "audit")  # later: the report takes it up
    assert not run.environment.audit.audited
    assert known_of(open_run(run.path)).audited
    assert errors(known_of(run)).count("patients") == 1


def test_a_finished_run_keeps_the_order_of_its_labels(write_dataset, tiny, tmp_path):
    root = write_dataset(labels=("Bacterial", "NoFinding", "Viral-COVID19"))
    run = train(root, tmp_path / "run", load_recipe("compact", tiny))
    assert run.labels == ("NoFinding", "Bacterial", "Viral-COVID19")
    assert (run.positive_label, run.healthy) == ("Viral-COVID19", ("NoFinding",))
    facts = json.loads((run.path / "environment.json").read_text())
    kept = [facts.pop(key) for key in ("labels", "positive_label", "healthy")]
    assert kept == [["NoFinding", "Bacterial", "Viral-COVID19"], "Viral-COVID19", ["NoFinding"]]
    (run.path / "environment.json").write_text(json.dumps(facts))
    earlier = Run(run.path)  # as hilum 0.1.0 left it, which knew neither name
    assert earlier.labels == ("Bacterial", "NoFinding", "Viral-COVID19")
    assert earlier.positive_label is None


def test_findings_that_are_equally_bad_are_ordered_by_what_misleads_most():
    made = [Finding(check, "error", check) for check in reversed(MISLEADS)]
    made.append(Finding("provenance", "info", "last"))
    assert [finding.check for finding in worst_first(made)] == [*MISLEADS, "provenance"]
    lines = said_briefly(made, most=3)
    assert len(lines) == 4
    assert lines[-1] == f"{len(MISLEADS) - 3} more errors"

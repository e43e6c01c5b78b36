"""The whole audit: a dataset with injected faults, each of which has to be named; and acting on it."""

import csv
import html
import io
import itertools
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from hilum.auditing.audit import audit
from hilum.auditing.checks.composition import interval_of
from hilum.auditing.clean import fix
from hilum.data.readers.read import read_table
from hilum.data.splits import SplitPlan, assign_splits, independent_groups
from hilum.phantoms import write_phantoms
from hilum.report.audit_console import audit_lines, grouped
from hilum.report.audit_page import evidence_of, write_audit_page


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    root = tmp_path_factory.mktemp("phantoms") / "clean"
    write_phantoms(root, patients=90, seed=0, size=96, test_fraction=0.3)
    return root


def with_faults(phantoms, root):
    """A copy in another split, the same picture under two labels, a damaged file, and one label in another format."""
    shutil.copytree(phantoms, root)
    rows = list(csv.DictReader((root / "metadata.csv").read_text().splitlines()))
    train, test = ([row for row in rows if row["split"] == split] for split in ("train", "test"))
    normal = next(row for row in train if row["label"] == "normal")
    covid = next(row for row in train if row["label"] == "infected/covid")
    copy = next(row for row in test if row["label"] == "normal")
    shutil.copy(root / normal["path"], root / copy["path"])
    other = next(row for row in train if row["label"] == "infected/non-covid")
    pixels = np.asarray(Image.open(root / covid["path"]))
    Image.fromarray(pixels).save(root / other["path"])
    damaged = next(row for row in train if row["label"] == "normal" and row != normal)
    (root / damaged["path"]).write_bytes(b"\x89PNG damaged")
    return root, {"copy": copy["path"], "of": normal["path"], "relabelled": other["path"], "damaged": damaged["path"]}


@pytest.fixture
def faulty(phantoms, tmp_path):
    return with_faults(phantoms, tmp_path / "faulty")


@pytest.fixture(scope="module")
def audited(phantoms, tmp_path_factory):
    """The audit of such data, which only reads them, and the names of the faults."""
    root, names = with_faults(phantoms, tmp_path_factory.mktemp("audited") / "faulty")
    return audit(root), names


def checks(found, severity):
    return [finding.check for finding in found.findings if finding.severity == severity]


def test_planted_faults_are_named_worst_first(audited):
    found, names = audited
    severities = [finding.severity for finding in found.findings]
    assert severities == sorted(severities, key=["error", "warning", "info"].index)
    text = json.dumps(found.report.to_json()["findings"])
    for what in ("copy", "of", "relabelled", "damaged"):
        assert names[what] in text, what
    assert found.report.to_json()["duplicates"]["across_splits"] == 1
    assert found.report.to_json()["duplicates"]["across_labels"] == 1
    assert any({names["copy"], names["of"]} <= set(group) for group in found.report.to_json()["duplicates"]["groups"])
    assert "duplicates" in checks(found, "error")
    assert not found.report.passed("error")


def test_a_clean_set_has_no_errors(phantoms):
    found = audit(phantoms)
    assert checks(found, "error") == []
    assert found.report.passed("error")
    assert found.report.to_json()["duplicates"]["across_patients"] == 0  # a patient's next image may be nearly the same
    assert found.report.to_json()["provenance"] == []


def test_what_was_mended_passes(audited):
    found, names = audited
    mended = fix(found.scan.table, found.patients.patient, found.group_of(), [i.path for i in found.scan.unreadable])
    paths = {row.path: row for row in mended.table.rows}
    assert names["damaged"] not in paths
    assert names["relabelled"] not in paths  # nobody here knows which label is right
    assert paths[names["copy"]].split == "test"  # what was held back stays as it was given
    assert names["of"] not in paths  # and is not trained on
    given = {row.path: row.split for row in found.scan.table.rows}
    assert all(row.split == given[row.path] for row in mended.table.rows)
    told = "\n".join(mended.log)
    for what in ("damaged", "relabelled", "of"):
        assert names[what] in told
    sides = {}
    for row, group in zip(mended.table.rows, independent_groups(mended.table), strict=True):
        sides.setdefault(group, set()).add(row.split)
    assert all(len(found) == 1 for found in sides.values())


def test_groups_of_copies_are_not_torn_apart_when_splits_are_carved(write_dataset):
    root = write_dataset(patients=30, images=1)
    table = root / "metadata.csv"
    rows = list(csv.DictReader(table.read_text().splitlines()))
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "duplicate_group"])
        writer.writeheader()
        writer.writerows(
            row | {"duplicate_group": "one" if row["label"] == "normal" and i < 10 else ""}
            for i, row in enumerate(rows)
        )
    read = read_table(root)
    for seed in range(5):
        names = assign_splits(read, SplitPlan(seed=seed)).names
        together = {name for row, name in zip(read.rows, names, strict=True) if row.extra.get("duplicate_group")}
        assert len(together) == 1


def test_small_parts_say_what_they_cannot_show():
    low, high = interval_of(25)
    assert high - low > 0.2
    low, high = interval_of(615)
    assert high - low < 0.06


def test_the_command_writes_and_gates(faulty, hilum, tmp_path, one_message):
    root, names = faulty
    result = hilum("audit", root, "--out", tmp_path / "a", check=0)
    assert "ERROR" in result.stdout
    assert names["damaged"] in result.stdout
    facts = json.loads((tmp_path / "a" / "audit.json").read_text())
    for key in ("n_images", "counts", "findings", "duplicates", "patients", "shortcuts", "provenance", "unreadable"):
        assert key in facts
    page = (tmp_path / "a" / "audit.html").read_text()
    assert page.startswith("<!doctype html>")
    assert names["copy"] in page
    assert "data:image/png" in page
    result = hilum("audit", root, "--out", tmp_path / "a", "--fail-on", "error")
    one_message(result, 3)
    printed = hilum("audit", root, "--out", tmp_path / "b", "--json", "--clean", root / "mended.csv", check=0)
    assert json.loads(printed.stdout)["findings"] == facts["findings"]
    hilum("audit", root, "--out", tmp_path / "b", "--clean", tmp_path / "other" / "mended.csv", check=0)  # anywhere
    here, there = read_table(root / "mended.csv"), read_table(tmp_path / "other" / "mended.csv")
    assert [here.file(row).resolve() for row in here.rows] == [there.file(row).resolve() for row in there.rows]
    again = json.loads(hilum("audit", root / "mended.csv", "--out", tmp_path / "c", "--json", check=0).stdout)
    assert [f["check"] for f in again["findings"] if f["severity"] == "error"] == []
    assert (root / "mended.log").read_text().count("\n") >= 3


def test_bad_input_has_one_message(phantoms, hilum, tmp_path, one_message):
    one_message(hilum("audit", tmp_path / "none"), 1)
    one_message(hilum("audit", phantoms, "--fail-on", "remark"), 2)
    one_message(hilum("audit", phantoms, "--clean", tmp_path / "x.txt"), 1)
    (tmp_path / "file").touch()
    one_message(hilum("audit", phantoms, "--out", tmp_path / "file"), 2)


@pytest.mark.slow
def test_the_seeds_own_data_are_recognised(seed_cxr, snapshot):
    """Published facts: Kermany's children of 2018; identical pairs, none across splits; files written alike."""
    found = audit(seed_cxr)
    worst = found.findings[0]
    assert (worst.check, worst.severity) == ("provenance", "error")
    snapshot(worst.message)
    (known,) = found.report.to_json()["provenance"]
    assert "2018" in known["dataset"]
    assert known["matched"] >= 0.99 * found.report.to_json()["n_images"]
    assert known["labels"]["infected/covid"] >= 0.99 * 1493
    assert found.report.to_json()["duplicates"]["across_splits"] == 0
    assert len(found.report.to_json()["duplicates"]["groups"]) == 30
    probes = {f.evidence.probe: f.severity for f in found.findings if f.check == "shortcuts"}
    assert not {"container", "dimensions"} & set(probes)  # no false container alarm
    assert "error" not in probes.values()
    small = [finding for finding in found.findings if finding.check == "size"]
    assert any("25 images" in finding.message for finding in small)


@pytest.mark.slow
def test_covid_from_one_source_and_the_rest_from_another_is_an_error(seed_cxr, snapshot):
    found = audit(seed_cxr.parent / "darkcovidnet")
    snapshot(found.findings[0].message)
    console = Console(width=80, file=io.StringIO())
    console.print(audit_lines(found.report))
    screen = console.file.getvalue()
    assert screen.count("\n") <= 54  # four of them cite the catalogue
    for clause in ("does not prove", "file properties instead of the lungs", "separate the disease from the"):
        assert " ".join(screen.split()).count(clause) == 1
    assert checks(found, "error").count("sources") == 1
    probes = {f.evidence.probe: f.severity for f in found.findings if f.check == "shortcuts"}
    assert probes["8x8 thumbnail"] == probes["histogram"] == probes["frame"] == "warning"
    matched = {match["dataset"]: match["matched"] for match in found.report.to_json()["provenance"]}
    assert matched["NIH ChestX-ray14"] == 1000
    assert matched["ieee8023/covid-chestxray-dataset"] == 124


def test_one_remedy_is_said_once_and_in_the_order_of_the_page(audited, tmp_path):
    found, names = audited
    groups = grouped(found.findings)
    assert [finding for together in groups for finding in together] == found.findings
    said = [(together[0].check, together[0].severity, together[0].remedy) for together in groups]
    assert all(a != b for a, b in itertools.pairwise(said) if a[2])
    page = write_audit_page(tmp_path / "audit.html", found).read_text()
    articles = [part.split("<p>")[1].split("</p>")[0] for part in page.split("<article")[1:]]
    texts = [html.unescape(text).replace("\xa0", " ") for text in articles]
    assert texts == [together[0].message for together in groups]
    evidence = evidence_of(found, [f for f in found.findings if f.check == "duplicates"][:1])
    shown = {picture.caption.partition(": ")[0] for picture in evidence.pictures}  # behind it: how it was changed
    assert shown >= {names["copy"], names["of"]}
    assert all(picture.uri for picture in evidence.pictures)

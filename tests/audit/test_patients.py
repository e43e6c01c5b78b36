"""Patients from columns and file names, against the patients that the real sets' tables give."""

import csv
from collections import defaultdict
from pathlib import Path

import pytest

from hilum.audit.patients import findings, recognise_patients
from hilum.data.table import Row, Table

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "darkcovidnet"


def table(*rows):
    return Table(Path("data"), tuple(Row(*row) for row in rows))


def named(*names, label="normal", split=""):
    return table(*((f"{label}/{name}", label, split) for name in names))


def test_a_column_is_believed_before_any_name():
    found = recognise_patients(table(*((f"person1_virus_{i}.jpeg", "a", "", "x") for i in range(6))))
    assert set(found.patient) == {"x"}
    assert set(found.how) == {"column"}
    assert found.known


def test_kermanys_numbers_are_read_apart_by_prefix():
    bacteria = [f"person23_bacteria_{i}.jpeg" for i in range(87, 92)]
    virus = [f"person23_virus_{i}.jpeg" for i in range(5)]
    found = recognise_patients(named(*bacteria, *virus))
    assert found.images == {"Kermany 2018:person23_bacteria": 5, "Kermany 2018:person23_virus": 5}


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("person1307_bacteria_3283.jpeg", "person1307_bacteria"),
        ("IM-0115-0001.jpeg", "IM-0115"),
        ("IM-0530-0002-0001.jpeg", "IM-0530"),
        ("NORMAL2-IM-0115-0001.jpeg", "NORMAL2-IM-0115"),
        ("00000013_026.png", "00000013"),
        ("covid-19-pneumonia-24-day12.jpg", "covid-19-pneumonia-24"),
        ("nejmc2001573_f1b.jpeg", "nejmc2001573"),
        ("ryct.2020200034.fig5-day0.jpeg", "ryct.2020200034"),
    ],
)
def test_rules(name, patient):
    found = recognise_patients(named(*[name] * 6))
    assert {known.split(":")[1] for known in found.patient} == {patient}


def test_rsna_names_tell_the_set_but_not_the_patient():
    uuids = [f"{i:08x}-9f3a-4a7e-b1d5-0123456789ab.png" for i in range(8)]
    found = recognise_patients(named(*uuids))
    assert set(found.how) == {"RSNA Pneumonia"}
    assert not found.known
    assert not any(found.patient)


def test_a_rule_counts_only_if_nearly_all_names_of_a_label_fit():
    fitting = [f"{i:08d}_000.png" for i in range(18)]
    assert set(recognise_patients(named(*fitting, "a.png", "b.png")).how) == {"unknown"}
    more = [f"{i:08d}_000.png" for i in range(38)]
    found = recognise_patients(named(*more, "a.png", "b.png"))
    assert [found.how.count(how) for how in ("NIH ChestX-ray8/14", "unknown")] == [38, 2]
    assert set(recognise_patients(named(*fitting[:4])).how) == {"unknown"}, "four names are chance"


def test_one_label_may_follow_a_rule_and_another_none():
    rows = [(f"{i:08d}_000.png", "a") for i in range(10)] + [(f"{i}.png", "b") for i in range(10)]
    found = recognise_patients(table(*rows))
    assert found.how.count("unknown") == 10
    assert not found.known


def test_what_is_wrong_is_said():
    rows = [
        *((f"{i}.png", "a", "train", f"p{i}") for i in range(4)),
        ("4.png", "a", "test", "p0"),
        ("5.png", "b", "train", "p1"),
        ("6.png", "b", "train", ""),
    ]
    found = recognise_patients(table(*rows))
    assert found.across_splits == ("p0",)
    assert found.several_labels == ("p1",)
    said = findings(found)
    assert [finding.severity for finding in said] == ["error", "warning", "info", "info"]
    assert said[0].evidence == {"patients": 1, "images": 2, "examples": ["p0"]}
    assert "1 of 7 images" in said[1].message
    assert "6 images of 4 patients" in said[3].message


def test_nothing_known_is_optimistic():
    (finding,) = findings(recognise_patients(named("1.png", "2.png")))
    assert finding.severity == "warning"
    assert "optimistic" in finding.message


def grouping(patients):
    groups = defaultdict(set)
    for i, patient in patients:
        groups[patient].add(i)
    return {frozenset(group) for group in groups.values()}


def original(folder):
    with (folder / "metadata.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["original_name"]]


def test_kermanys_names_give_the_patients_of_the_table(seed_cxr):
    rows = original(seed_cxr)
    assert len(rows) == 5840
    found = recognise_patients(table(*((row["original_name"], row["label"], row["split"]) for row in rows)))
    assert found.known
    assert grouping(enumerate(found.patient)) == grouping(enumerate(row["patient_id"] for row in rows))
    assert found.across_splits == ()


@pytest.mark.skipif(not REAL.is_dir(), reason="the real radiographs (../shared/data/darkcovidnet) are not here")
def test_the_names_of_nih_and_ieee8023():
    rows = original(REAL)
    found = recognise_patients(table(*((row["original_name"], row["label"]) for row in rows)))
    nih = [i for i, row in enumerate(rows) if row["patient_id"].startswith("nih")]
    assert len(nih) == 1000
    assert grouping((i, found.patient[i]) for i in nih) == grouping((i, rows[i]["patient_id"]) for i in nih)
    # ieee8023: a name that tells the article never parts a patient; a bare UUID may, for few
    cohen = [i for i, row in enumerate(rows) if not row["patient_id"].startswith("nih") and found.patient[i]]
    assert len(cohen) >= 120
    names = defaultdict(set)
    for i in cohen:
        names[rows[i]["patient_id"]].add(found.patient[i])
    parted = {patient for patient, several in names.items() if len(several) > 1}
    assert len(parted) == 6
    assert all(len(name.split(":")[1]) == 36 for patient in parted for name in names[patient])

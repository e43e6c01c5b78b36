"""Patients from file names, against the patients that the real sets' tables give."""

import csv
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from hilum.data import dataset as packing
from hilum.data.dataset import Dataset, Row
from hilum.data.options import ReadOptions
from hilum.data.patients import recognise_patients, rule_of
from hilum.data.readers.read import read_table
from places import DARKCOVIDNET, with_darkcovidnet
from wording import numbers


def recognised(*rows):
    return [row.patient_id for row in recognise_patients(Dataset(Path("data"), tuple(Row(*row) for row in rows))).rows]


def named(*names, label="normal", split=""):
    return recognised(*((f"{label}/{name}", label, split) for name in names))


def test_a_column_is_believed_before_any_name():
    assert set(recognised(*((f"person1_virus_{i}.jpeg", "a", "", "x") for i in range(6)))) == {"x"}


def test_kermanys_numbers_are_read_apart_by_prefix():
    bacteria = [f"person23_bacteria_{i}.jpeg" for i in range(87, 92)]
    virus = [f"person23_virus_{i}.jpeg" for i in range(5)]
    found = Counter(named(*bacteria, *virus))
    assert found == {"Kermany 2018:person23_bacteria": 5, "Kermany 2018:person23_virus": 5}


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
        ("CheXpert-v1.0/train/patient00007/study1/view1_frontal.jpg", "patient00007"),
        ("files/p10/p10000032/s50414267/02aa804e-bde0afdd-112c0b34-7bc16630-4e384014.jpg", "p10000032"),
    ],
)
def test_rules(name, patient):
    assert {known.split(":")[1] for known in named(*[name] * 6)} == {patient}


@pytest.mark.parametrize(
    "name", ["{:08x}-9f3a-4a7e-b1d5-0123456789ab.png", "20200315_{:03d}.png", "patient{:05d}/a.png"]
)
def test_names_that_do_not_tell_the_patient(name):
    """A name of RSNA is an image's; a date and a number are no patient of NIH, whose numbers end at 30,805."""
    assert not any(named(*(name.format(i) for i in range(8))))


def test_a_rule_counts_only_if_nearly_all_names_of_a_label_fit():
    fitting = [f"{i:08d}_000.png" for i in range(18)]
    assert not any(named(*fitting, "a.png", "b.png"))
    more = [f"{i:08d}_000.png" for i in range(38)]
    assert sum(map(bool, named(*more, "a.png", "b.png"))) == 38
    assert not any(named(*fitting[:4])), "four names are chance"
    rows = [(name, "few" if i < 4 else "many") for i, name in enumerate(fitting)]
    assert all(recognised(*rows)), "but not where another label proves the rule"


def test_one_label_may_follow_a_rule_and_another_none():
    found = recognised(*((f"{i:08d}_000.png", "a") for i in range(10)), *((f"{i}.png", "b") for i in range(10)))
    assert [bool(name) for name in found] == [True] * 10 + [False] * 10


def test_numbers_given_anew_in_every_folder_are_no_patients():
    """As a viewer exports studies: IM-0001-0001 lies in the folder of every patient."""
    rows = [(f"{folder}/IM-{i:04d}-0001.jpeg", "a") for folder in "xyz" for i in range(4)]
    assert not any(recognised(*rows))
    copied = [(f"{split}/IM-{i:04d}-0001.jpeg", "a", split) for split in ("train", "test") for i in range(8)]
    assert set(Counter(recognised(*copied)).values()) == {2}, "one file in two splits is a leak, not another patient"


def test_some_rows_may_have_a_patient_already():
    names = [f"0000000{i}_00{k}.png" for i in range(6) for k in range(2)]
    rows = [(name, "a", "", "p3" if name == "00000003_001.png" else "") for name in names]
    found = recognised(*rows)
    assert found[6:8] == ["p3", "p3"], "the same patient, whom one row names"
    assert set(map(rule_of, found)) == {"", "NIH ChestX-ray8/14"}
    assert len(set(found)) == 6


def test_many_rows_are_named_alike(monkeypatch):
    rows = [(f"0000000{i}_00{k}.png", "a", "", "x" if i == k else "") for i in range(6) for k in range(9)]
    few = recognised(*rows)
    monkeypatch.setattr(packing, "PACK_FROM", 10)
    assert recognised(*rows) == few


@pytest.fixture
def nih(write_dataset):
    """A dataset without a table, whose names are those of NIH: two images a patient."""
    root = write_dataset(labels=("a", "b"), splits=("",), patients=6, metadata=False)
    for number, file in enumerate(sorted(root.rglob("*.png"))):
        file.rename(file.with_name(f"{number // 2:08d}_{number % 2:03d}.png"))
    return root


def test_reading_a_dataset_uses_them_and_says_so_unless_told_not_to(nih, snapshot):
    table = read_table(nih)
    assert table.patients_known
    assert len(set(table.patients())) == 12
    snapshot("\n".join(table.notes))
    assert {"12", "24"} <= numbers("\n".join(table.notes))
    unknown = read_table(nih, ReadOptions(patients="none"))
    assert not any(row.patient_id for row in unknown.rows)
    assert unknown.notes == ()
    assert (unknown.given, unknown.options.patients) == (nih, "none")


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
    found = recognised(*((row["original_name"], row["label"], row["split"]) for row in rows))
    assert all(found)
    assert grouping(enumerate(found)) == grouping(enumerate(row["patient_id"] for row in rows))


@with_darkcovidnet
def test_the_names_of_nih_and_ieee8023(tmp_path):
    """Of the folders alone, as they are downloaded; no two patients of one set are ever merged."""
    for label in ("normal", "covid", "non-covid"):
        (tmp_path / label).symlink_to(DARKCOVIDNET / label)
    rows = {row["path"]: row for row in original(DARKCOVIDNET)}
    whose = {path: row["patient_id"] for path, row in rows.items()}
    table = read_table(tmp_path)
    found = {row.path: row.patient_id for row in table.rows}
    assert found.keys() == whose.keys()
    nih = [path for path in found if whose[path].startswith("nih")]
    assert len(nih) == 1000
    assert grouping((path, found[path]) for path in nih) == grouping((path, whose[path]) for path in nih)
    # ieee8023: a name that tells the article never parts a patient; a bare UUID may, for few
    cohen = [path for path in found if path not in nih and found[path]]
    assert len(cohen) >= 120
    names = defaultdict(set)
    for path in cohen:
        names[whose[path]].add(found[path])
    parted = {patient for patient, several in names.items() if len(several) > 1}
    assert len(parted) == 6
    assert all(len(name.split(":")[1]) == 36 for patient in parted for name in names[patient])

"""What a training says before it starts, in one line."""

import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from hilum.auditing import preflight
from hilum.auditing.near_duplicates.groups import CHANGES, find_groups
from hilum.auditing.preflight import cheap_checks
from hilum.data.cache import open_images
from hilum.data.preprocessing import Preprocessing
from hilum.data.readers.read import read_table
from hilum.data.splits import SplitPlan, assign_splits, independent_groups
from hilum.evaluation.folds import assign_folds
from wording import numbers

PLAN = Preprocessing(size=32)


def opened(root):
    return open_images(read_table(root), PLAN)


def given(images):
    return [row.split for row in images.table.rows]


def check(images, sides=None, how="near"):
    return cheap_checks(images, sides or given(images), find_groups(images, how))


def test_nothing_is_said_where_nothing_is_found(write_dataset, snapshot):
    checked = check(opened(write_dataset(splits=("train", "test"))))
    assert (checked.images, checked.with_patient, len(checked.compared)) == (144, 144, 144)
    assert checked.looked_for == ("pixels", *CHANGES)
    assert not checked.leakage
    assert checked.leaks() == []
    line = checked.sentence()
    assert "144" in numbers(line)
    snapshot(line)
    assert "\n" not in line
    assert "WARNING" not in line


def test_patients_and_pictures_on_two_sides_are_counted(write_dataset, snapshot):
    root = write_dataset(splits=("train", "test"))
    shutil.copy(root / "train/normal/tr000-0.png", root / "test/normal/te000-0.png")
    Image.open(root / "train/normal/tr001-0.png").save(root / "test/normal/te001-0.png", compress_level=1)
    Image.open(root / "train/normal/tr002-0.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(
        root / "test/normal/te002-0.png"
    )
    table = root / "metadata.csv"
    table.write_text(table.read_text().replace("test-normal-5", "train-normal-5"))
    images = opened(root)
    checked = check(images)
    assert checked.leakage.patients == ("train-normal-5",)
    assert set(checked.leakage.pictures) == {
        (f"train/normal/tr{i:03d}-0.png", f"test/normal/te{i:03d}-0.png")
        if images.table.rows[0].path.startswith("train")
        else (f"test/normal/te{i:03d}-0.png", f"train/normal/tr{i:03d}-0.png")
        for i in range(3)
    }
    snapshot(checked.sentence())
    assert {"1", "3"} <= numbers(checked.sentence())
    assert [finding.severity for finding in checked.leaks()] == ["error", "error"]
    told = checked.reported().as_json()
    assert told["leakage"] == {"patients": 1, "pictures": 3}
    assert checked.leaks()[1].evidence.number == 3
    assert len(check(images, how="identical").leakage.pictures) == 2  # the mirrored one is not looked for
    snapshot(check(images, how="identical").sentence())
    assert check(images, ["train"] * len(images.table)).sentence().startswith("checked: no patient")


def test_only_what_was_checked_is_said_of_patients(write_dataset, snapshot):
    images = opened(write_dataset(metadata=False))
    checked = check(images)
    assert checked.with_patient == 0
    assert checked.sentence().startswith("checked: no duplicate (")
    snapshot(checked.sentence())
    assert "no patient" not in checked.sentence()
    some = [f"p{i}" if i < 50 else "" for i in range(len(images.table))]
    checked = check(replace(images, table=images.table.with_values("patient_id", some)))
    snapshot(checked.sentence())
    assert {"50", "72"} <= numbers(checked.sentence())


def test_other_files_of_the_same_pixels_stay_together(write_dataset):
    root = write_dataset(labels=("normal", "covid"), patients=20, images=1)
    for name in range(1, 10):
        Image.open(root / "train/normal/tr000-0.png").save(
            root / f"train/normal/tr{name:03d}-0.png", compress_level=name % 9
        )
    images = opened(root)
    duplicates = find_groups(images, "identical").numbers
    assert len(set(independent_groups(images.table, duplicates))) == 31
    same = [i for i, row in enumerate(images.table.rows) if row.path < "train/normal/tr010" and row.label == "normal"]
    assert len(same) == 10
    for seed in range(4):
        names = assign_splits(images.table, SplitPlan(seed=seed), duplicates).names
        assert len({names[i] for i in same}) == 1
        assert len({assign_folds(images.table, 4, seed, duplicates)[i] for i in same}) == 1


def test_blank_images_are_not_one_picture(write_dataset):
    root = write_dataset(patients=2, images=1)
    for level, name in ((9, "tr000-0.png"), (9, "tr001-0.png")):
        Image.fromarray(np.full((40, 40), level, np.uint8)).save(root / "train/normal" / name)
    assert len(set(find_groups(opened(root), "near").numbers)) == 6


def test_the_sample_has_all_labels(monkeypatch):
    monkeypatch.setattr(preflight, "LOOKED_AT", 20)
    labels = ["common"] * 1000 + ["rare"] * 3
    chosen = preflight._spread(labels)
    assert [labels[i] for i in chosen].count("rare") == 3
    assert len(chosen) == 13
    assert (chosen[0], chosen[-1]) == (0, 1002)


def test_real_sets_are_named_before_a_training(seed_cxr, tmp_path):
    rows = list(csv.DictReader((seed_cxr / "metadata.csv").read_text().splitlines()))[::15]
    for row in rows:
        (tmp_path / row["path"]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(seed_cxr / row["path"], tmp_path / row["path"])
    images = open_images(read_table(tmp_path), Preprocessing(size=75, equalise=True))
    line = check(images).sentence()
    assert "Kermany's paediatric radiographs of 2018" in line
    assert "'infected/covid' cannot be COVID-19" in line


@pytest.mark.slow
def test_training_and_cross_validation_say_it_once(write_dataset, tiny, hilum, tmp_path):
    root = write_dataset(labels=("normal", "covid"), patients=12)
    settings = [part for setting in tiny for part in ("--set", setting)]
    for command in ("train",), ("crossval", "--folds", 3):
        result = hilum(*command, root, "--out", tmp_path / command[0], *settings, check=0)
        assert result.stderr.count("checked: ") == 1

"""Splits that folders state: their many spellings, and test images that stay test images."""

import csv

import pytest

from folder_trees import SPLITS, TWO, counts, digests, every
from hilum.data.readers.read import read_table
from hilum.data.readers.split_names import split_of, splits_of
from hilum.data.splits import SplitPlan, assign_splits
from hilum.errors import TableError
from wording import numbers

NAMES = {
    "train": "train TRAIN Training training_set train-set trainset TrainSet train_images train-data Training_Images",
    "val": "val Valid validate validation validation-set dev development Val_1",
    "calibration": "calibration calib Calibration_Set",
    "test": "test Testing test_set test-set TestSet tests holdout hold-out hold_out Held-Out stage_2_test_images eval",
    "": "contest trained latest invalid value deviation NORMAL covid attest_data calf training_wheels train_test data",
}


@pytest.mark.parametrize("split", NAMES)
def test_a_split_is_meant_by_many_spellings_and_by_no_longer_word(split):
    assert {name: split_of(name) for name in NAMES[split].split()} == dict.fromkeys(NAMES[split].split(), split)


def test_blanks_and_accents_make_no_difference_to_a_split():
    assert split_of("Training Images") == "train"
    assert split_of("VALIDAC\u0327A\u0303O") == split_of("Validação") == "val"


def test_evaluation_is_test_unless_another_name_is():
    assert splits_of(["train", "val", "eval"])["eval"] == "test"
    assert splits_of(["train", "eval", "normal"]) == {"train": "train", "eval": "test"}
    assert splits_of(["train", "evaluation", "Test Set"])["evaluation"] == "val"


def layout(kind, label, split):
    """Where a file lies in one of the four kinds of layout that took the split for a part of the label."""
    spelled = {"train": "training_set", "val": "dev-set", "test": "Hold-Out"}[split]
    again = {"train": "train_images", "val": "validate", "test": "test-set"}[split]
    return {
        "wrapped": f"chest_xray/{split}/{label}",
        "label above split": f"{label}/{split}",
        "other names": f"{spelled}/{label}",
        "other names in the middle": f"download/{again}/infected/{label}",
        "validate": f"{again if split == 'val' else split}/{label}",
        "wrapped label above split": f"COVID data/{label}/{spelled}",
        "twice": f"{split}/{again}/{label}",
    }[kind]


KINDS = (
    "wrapped",
    "label above split",
    "other names",
    "other names in the middle",
    "validate",
    "wrapped label above split",
    "twice",
)


@pytest.mark.parametrize("kind", KINDS)
def test_given_test_images_are_not_trained_on_by_their_hashes(tree, kind):
    sizes = {"train": 12, "val": 4, "test": 5}
    root = tree({layout(kind, label, split): n for split, n in sizes.items() for label in TWO})
    given = {
        split: digests(f for label in TWO for f in (root / layout(kind, label, split)).iterdir()) for split in SPLITS
    }
    table = read_table(root)
    assert every(counts(table), TWO, **sizes)
    names = assign_splits(table, SplitPlan()).names
    trained = digests(table.file(row) for row, name in zip(table.rows, names, strict=True) if name == "train")
    tested = digests(table.file(row) for row, name in zip(table.rows, names, strict=True) if name == "test")
    assert tested == given["test"]
    assert not trained & (given["test"] | given["val"])


def test_a_training_keeps_test_images_in_a_wrapped_layout_for_the_test(write_dataset, tiny, tmp_path, hilum):
    flat = write_dataset(labels=TWO, splits=("train", "test"), patients=10, metadata=False)
    root = tmp_path / "wrapped"
    for split, name in (("train", "Training_Set"), ("test", "Test-Set")):
        for label in TWO:
            (root / "xrays" / label).mkdir(parents=True, exist_ok=True)
            (flat / split / label).rename(root / "xrays" / label / name)
    given = digests(root.glob("xrays/*/Test-Set/*"))
    settings = [word for setting in tiny for word in ("--set", setting)]
    said = hilum("train", root, "--out", tmp_path / "run", *settings, check=0)
    rows = list(csv.DictReader((tmp_path / "run" / "split.csv").read_text().splitlines()))
    assert {row["label"] for row in rows} == set(TWO)
    by_split = {split: digests(root / r["path"] for r in rows if r["split"] == split) for split in SPLITS}
    assert by_split["test"] == given
    assert by_split["train"]
    assert not given & (by_split["train"] | by_split["val"])
    assert "Training_Set (train)" in said.stdout + said.stderr


def test_words_that_end_like_a_split_are_labels(tree):
    assert read_table(tree({"contest": 3, "retrain": 3, "normal": 3})).labels == ("normal", "contest", "retrain")


def test_images_of_a_test_without_labels_are_left_out_and_said(tree, snapshot):
    table = read_table(tree({**{f"train/{label}": 4 for label in TWO}, "test": 5}))
    assert every(counts(table), TWO, train=4)
    snapshot("\n".join(table.notes))
    assert {"5"} <= numbers("\n".join(table.notes))


def test_split_folders_beside_other_folders_of_images_are_refused(write_dataset, refuses):
    root = write_dataset(labels=("a", "b"), splits=("train",), patients=1, metadata=False)
    (root / "extra" / "a").mkdir(parents=True)
    (root / "train" / "a" / "tr000-0.png").rename(root / "extra" / "a" / "1.png")
    with refuses(TableError, "labels-beside-splits"):
        read_table(root)

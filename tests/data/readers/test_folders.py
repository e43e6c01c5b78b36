"""Tables from folders: layouts as people publish them, what takes a split or a label away, and what is asked."""

import os
import time

import pytest

from folder_trees import SPLITS, THREE, TWO, below, counts, every, picture
from hilum.data.labels import default_positive, is_healthy
from hilum.data.options import ReadOptions
from hilum.data.readers.folders import read_folders
from hilum.data.readers.read import read_table
from hilum.errors import TableError
from wording import numbers

RADIOGRAPHY = ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia")
KERMANY = {f"{split}/{label}": n for split, n in (("train", 6), ("test", 3), ("val", 2)) for label in TWO}
MACOSX = {f"__MACOSX/chest_xray/{name}": ["._i0.png"] for name in KERMANY}
OZAN = {f"dataset/{split}/{label}": 4 for split in ("train", "test") for label in ("Normal", "Viral-COVID19")}
DARK = {f"X-Ray Image DataSet/{label}": 4 for label in ("Covid-19", "No_findings", "Pneumonia")}
QU_EX = {
    f"Infection Segmentation Data/{split}/{label}/{kind}": 3
    for split in ("Train", "Val", "Test")
    for label in ("COVID-19", "Non-COVID", "Normal")
    for kind in ("images", "lung masks", "infection masks")
}


def test_published_layouts_are_read_as_their_authors_mean_them(tree, snapshot):
    root = tree(
        {
            **below("kaggle", {**KERMANY, **MACOSX}),
            **below("mendeley", below("CellData/chest_xray", KERMANY)),
            **below("radiography", {f"{label}/{kind}": 5 for label in RADIOGRAPHY for kind in ("images", "masks")}),
            **below("qu-ex", below("Infection Segmentation Data", QU_EX)),
            **below("dark", DARK),
            **below("ozan", OZAN),
            **below("compound", {f"covid19_xray_{split}/{label}": 4 for split in ("train", "test") for label in TWO}),
        }
    )
    read = {folder.name: read_table(folder, ReadOptions(layout="plain")) for folder in root.iterdir()}
    found = {name: counts(table) for name, table in read.items()}
    assert every(found["kaggle"], TWO, train=6, test=3, val=2)
    assert every(found["mendeley"], TWO, train=6, test=3, val=2)
    assert found["radiography"] == dict.fromkeys(RADIOGRAPHY, 5)
    snapshot("\n".join(read["radiography"].notes))
    assert {"4", "20"} <= numbers("\n".join(read["radiography"].notes))
    assert every(found["qu-ex"], ("COVID-19", "Non-COVID", "Normal"), train=3, test=3, val=3)
    assert found["dark"] == {"Covid-19": 4, "No_findings": 4, "Pneumonia": 4}
    snapshot("\n".join(read["dark"].notes))
    assert every(found["ozan"], ("Normal", "Viral-COVID19"), train=4, test=4)
    assert every(found["compound"], TWO, train=4, test=4)


def test_a_dataset_that_lies_in_itself_once_more_is_read_once(tree, refuses):
    root = tree({})
    for folder in (root, root / "chest_xray"):
        for k, (name, n) in enumerate(KERMANY.items()):
            (folder / name).mkdir(parents=True)
            for i in range(n):
                (folder / name / f"i{i}.png").write_bytes(picture(100 * k + i))
    table = read_table(root)
    assert every(counts(table), TWO, train=6, test=3, val=2)
    assert not any(row.path.startswith("chest_xray") for row in table.rows)
    (root / "chest_xray/test/NORMAL/i0.png").unlink()
    with refuses(TableError, "several-places"):
        read_table(root)


def test_nesting_stays_where_something_lies_beside_it(tree):
    root = tree({**below("a", dict.fromkeys(THREE, 4)), **below("b", dict.fromkeys(THREE[1:], 4))})
    assert read_table(root / "a").labels == THREE
    table = read_table(root / "b")
    assert table.labels == ("covid", "non-covid")
    assert table.notes == ("'infected' contains all folders and is left out of the labels",)


ASKED = {
    "a label that may be a split": ({"normal": 4, "covid": 4, "test": 4}, "labels-beside-splits"),
    "some labels with splits": ({"A/train": 4, "A/test": 4, "B": 4}, "labels-beside-splits"),
    "two splits in one path": ({"train/val/A": 4, "train/val/B": 4}, "unclear-splits"),
    "split and label in one name": (
        {f"{split}_{label}": 4 for split in ("train", "test") for label in TWO},
        "unclear-splits",
    ),
    "split and label glued": (
        {f"{label}{split}": 4 for split in ("train", "test") for label in ("normal", "covid")},
        "unclear-splits",
    ),
    "label and split glued": ({"TRAINNORMAL": 4, "TESTNORMAL": 4, "TESTCOVID": 4}, "unclear-splits"),
    "a test label beside the label": (
        {"covid": 4, "covid_test": 2, "normal": 4, "normal_test": 2},
        "unclear-splits",
    ),
    "folds": (
        {f"fold{k}/{split}/{label}": 2 for k in (1, 2) for split in ("train", "test") for label in TWO},
        "several-places",
    ),
    "numbered divisions": (
        {f"{split}{k}/{label}": 2 for k in (1, 2) for split in ("train", "test") for label in TWO},
        "unclear-splits",
    ),
    "two datasets with splits": (
        {f"CellData/{which}/{split}/{label}": 2 for which in ("OCT", "chest") for split in SPLITS for label in TWO},
        "several-places",
    ),
    "two datasets, one with splits": ({**below("ozan", OZAN), **below("dark", DARK)}, "labels-beside-splits"),
    "two datasets without splits": ({**below("a", dict.fromkeys(TWO, 4)), **below("b", DARK)}, "several-datasets"),
    "all of QU-Ex": (
        {**QU_EX, **{name.replace("Infection Seg", "Lung Seg"): n for name, n in QU_EX.items()}},
        "several-places",
    ),
    "a dataset with its table": ({**DARK, "ieee/images": 2, "ieee/metadata.csv": "a,b"}, "tables-below"),
    "a table of each split": (
        {**dict.fromkeys(KERMANY, 2), "train/metadata.csv": "a", "test/metadata.csv": "a"},
        "tables-below",
    ),
    "augmented": ({f"{label}/{kind}": 2 for label in TWO for kind in ("original", "augmented")}, "several-datasets"),
    "two kinds of images": (
        {f"{kind}/{label}": 2 for kind in ("CT", "X-ray") for label in ("COVID", "TB")},
        "kind-of-image",
    ),
    "one image in two formats": (
        {f"{label}/{kind}": [f"{k}.{kind}" for k in range(3)] for label in TWO for kind in ("png", "jpg")},
        "same-images-twice",
    ),
    "a label with images and labels": ({"covid": 3, "covid/severe": 3, "normal": 3}, "images-around-label"),
    "images around labels": ({"top": 5, "top/covid": 3, "top/normal": 3}, "images-around-labels"),
    "no class folders": ({"stage_2_train_images": 3, "stage_2_test_images": 3}, "no-class-folder"),
    "no class folders but patients": (
        {f"CheXpert/train/patient{k:05d}/study1": 1 for k in range(8)},
        "no-class-folder",
    ),
    "labels below patients": ({f"patient{k:03d}/{TWO[k % 2]}": 2 for k in range(8)}, "labels-below-patients"),
    "patients by name": (
        {f"{label}/{label[0]}.{name}": 2 for label in TWO for name in "abcdefgh"},
        "labels-or-patients",
    ),
    "one image a label": (dict.fromkeys("abcdef", 1), "labels-or-patients"),
    "numbers below one label": ({"normal": 9, **{f"covid/{k}": 2 for k in range(6)}}, "patients-or-labels"),
    "masks under an unknown name": ({"covid": 3, "normal": 3, "unetmask_v2": 3}, "masks"),
}


@pytest.mark.parametrize("kind", ASKED)
def test_what_can_be_read_in_two_ways_is_asked(tree, kind, refuses):
    spec, code = ASKED[kind]
    root = tree(spec)
    with refuses(TableError, code) as error:
        read_table(root, ReadOptions(layout="plain"))
    assert str(root) in str(error.value)


@pytest.mark.parametrize("form", ["covid/{}", "data/covid/{}", "covid/images/{}", "train/covid/{}", "covid/train/{}"])
def test_what_answers_are_about_stays_in_the_labels(tree, form, snapshot):
    root = tree({form.format("positive"): 4, form.format("negative"): 4})
    table = read_table(root)
    assert set(table.labels) == {"covid/positive", "covid/negative"}
    assert default_positive(table.labels) == "covid/positive"
    assert not any(map(is_healthy, table.labels))
    snapshot("\n".join(table.notes))


def test_a_folder_that_asks_nothing_is_left_out_around_answers(tree):
    root = tree({"a/data/negative": 4, "a/data/positive": 4, "b/cov/negative": 4, "b/cov/tb": 4})
    assert set(read_table(root / "a").labels) == {"negative", "positive"}
    assert set(read_table(root / "b").labels) == {"negative", "tb"}


def test_a_parent_of_datasets_is_refused_before_its_files_are_listed(tree, monkeypatch, refuses):
    root = tree(
        {"seed/metadata.csv": "path,label", "seed/train/a/b": 3, "dark/metadata.csv": "path,label", "dark/c/d": 3}
    )
    scandir, listed = os.scandir, []
    monkeypatch.setattr(os, "scandir", lambda folder: listed.append(folder) or scandir(folder))
    with refuses(TableError, "tables-below"):
        read_folders(root)
    assert len(listed) == 3


@pytest.mark.parametrize("form", ["patient{:03d}", "P{:04d}", "{}", "Patient ({})", "{:08x}1-77af"])
def test_folders_of_patients_are_patients(tree, form, snapshot):
    people = {label: [form.format(k + start) for k in range(8)] for label, start in (("NORMAL", 0), ("PNEUMONIA", 100))}
    root = tree(
        {
            **below("a", {f"{label}/{name}": 2 for label, names in people.items() for name in names}),
            **below("b", {f"train/{label}/{name}/study1": 2 for label, names in people.items() for name in names}),
        }
    )
    for name, split in (("a", ""), ("b", "train:")):
        table = read_table(root / name)
        assert counts(table) == {f"{split}{label}": 16 for label in TWO}
        assert {row.patient_id for row in table.rows} == {*people["NORMAL"], *people["PNEUMONIA"]}
        snapshot("\n".join(table.notes))
        assert {"16"} <= numbers("\n".join(table.notes))


def test_patients_of_one_name_under_two_labels_are_one_and_said(tree, snapshot):
    table = read_table(tree({f"{label}/patient{k}": 2 for label in TWO for k in range(6)}))
    assert len({row.patient_id for row in table.rows}) == 6
    snapshot("\n".join(table.notes))


def test_numbered_labels_are_no_patients(tree):
    grades = {**below("a", {str(k): 4 for k in range(6)}), **below("b", {f"pneumonia/stage{k}": 4 for k in range(6)})}
    root = tree({**grades, "b/normal": 4})
    assert read_table(root / "a").labels == tuple("012345")
    assert len(read_table(root / "b").labels) == 7


def test_many_folders_of_patients_are_read_in_seconds(tmp_path):
    for k in range(4000):
        folder = tmp_path / "train" / TWO[k % 2] / f"patient{k:05d}" / "study1"
        folder.mkdir(parents=True)
        (folder / "1.png").touch()
    begin = time.process_time()
    assert len(read_table(tmp_path)) == 4000
    assert time.process_time() - begin < 8  # 0.7 s on a slow machine; all pairs of folders would take minutes


def test_nested_folders_below_splits_become_labels_in_the_seeds_order(write_dataset):
    root = write_dataset(splits=("train", "val", "test"), patients=2, images=1, metadata=False)
    table = read_table(root)
    assert table.labels == THREE
    assert table.splits == ("train", "val", "test")
    assert len(table) == 3 * 3 * 2
    assert set(table.counts().values()) == {2}
    assert not table.patients_known


def test_folders_without_splits(write_dataset):
    root = write_dataset(labels=("b", "a"), splits=("",), patients=1, metadata=False)
    table = read_table(root)
    assert table.labels == ("a", "b")
    assert table.splits == ()


def test_the_real_data_are_read_as_their_description_says(seed_cxr):
    counts = read_table(seed_cxr).counts()
    # shared/data/README.md: the counts of train, test and val
    published = {"train": (1341, 1345, 2530), "test": (234, 139, 242), "val": (8, 9, 8)}
    assert counts == {
        (split, label): n for split, row in published.items() for label, n in zip(THREE, row, strict=True)
    }


def test_names_in_any_encoding_survive(tmp_path, write_dataset):
    root = write_dataset(labels=("a", "b"), splits=("",), patients=1, images=1, metadata=False)
    next((root / "a").iterdir()).rename(os.fsdecode(os.fsencode(root / "a") + b"/caf\xe9.png"))
    paths = [row.path for row in read_table(root).rows]
    assert any(os.fsencode(path).endswith(b"caf\xe9.png") for path in paths)


def test_labels_that_are_no_text_are_refused(tmp_path, write_dataset, refuses):
    root = write_dataset(labels=("a", "b"), splits=("",), patients=1, images=1, metadata=False)
    (root / "a").rename(os.fsdecode(os.fsencode(root) + b"/caf\xe9"))
    with refuses(TableError, "not-utf8"):
        read_table(root)


def test_an_empty_folder_and_a_folder_of_other_files_are_told_apart(tmp_path, refuses):
    with refuses(TableError, "no-images"):
        read_table(tmp_path)
    (tmp_path / "x.txt").write_text("x")
    with refuses(TableError, "no-images"):
        read_table(tmp_path)

"""Tables from folders: layouts as people publish them, what takes a split or a label away, and what is asked."""

import csv
import hashlib
import io
import os
import time
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from hilum.cli.demo import MARK
from hilum.data.labels import default_positive, is_healthy
from hilum.data.readers.folders import read_folders
from hilum.data.readers.listing import OWN_PAGE
from hilum.data.readers.read import read_table
from hilum.data.readers.split_names import split_of, splits_of
from hilum.data.splits import SplitPlan, assign_splits
from hilum.errors import TableError
from wording import numbers

THREE = ("normal", "infected/covid", "infected/non-covid")
TWO = ("NORMAL", "PNEUMONIA")
SPLITS = ("train", "val", "test")


def picture(number, *, mask=False):
    """The bytes of a PNG: another one for every number; a mask is black and white only."""
    pixels = np.random.default_rng(number).integers(0, 255, (40, 40), np.uint8)
    if mask:
        pixels = np.zeros((40, 40), np.uint8)
        pixels[8 : 12 + number % 20, 10:30] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def tree(tmp_path):
    """Write folders with so many images each, or with the files that are named; text is the content of a file."""

    def write(spec):
        root = tmp_path / "data"
        number = 0
        for name, content in spec.items():
            if isinstance(content, str):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(content)
                continue
            (root / name).mkdir(parents=True, exist_ok=True)
            for file in [f"i{k}.png" for k in range(content)] if isinstance(content, int) else content:
                (root / name / file).write_bytes(picture(number, mask="mask" in f"{name}/{file}".lower()))
                number += 1
        return root

    return write


def below(folder, spec):
    return {f"{folder}/{name}": content for name, content in spec.items()}


def counts(table):
    return {f"{split}:{label}" if split else label: n for (split, label), n in table.counts().items()}


def every(counted, labels, **splits):
    """Whether all labels have so many images in each split, and nothing else is there."""
    return counted == {f"{split}:{label}": n for split, n in splits.items() for label in labels}


def digests(files):
    return {hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


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
    read = {folder.name: read_table(folder) for folder in root.iterdir()}
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
        read_table(root)
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


def test_companions_of_radiographs_are_left_out_and_counted(tree, snapshot):
    labels = {"COVID": 4, "Normal": 4}
    root = tree(
        {
            **below("in", {"COVID": 4, "Normal": 4, "COVID/masks": 4}),
            **below("top", {**below("images", labels), **below("masks", labels)}),
            **below("beside", {**labels, "COVID_masks": 4, "Heat maps": 2, "GradCAM": 3, "bounding_boxes": 1}),
            **below("files", {"COVID": ["a.png", "a_mask.png", "b.png", "b_mask_1.png"], "Normal": 4}),
            **below("arrays", {"COVID/images": 4, "COVID/masks": ["a.npy"], "Normal/images": 4}),
            **below("yolo", {f"{label}/images": 4 for label in labels} | {"COVID/labels": ["a.txt", "a.png"]}),
        }
    )
    expected = Counter({"COVID": 4, "Normal": 4})
    read = {folder.name: read_table(folder) for folder in root.iterdir()}
    assert {name: counts(table) for name, table in read.items()} == {
        **dict.fromkeys(("in", "top", "beside", "arrays", "yolo"), expected),
        "files": {"COVID": 2, "Normal": 4},
    }
    assert sum(note.startswith("left out") for note in read["beside"].notes) == 4
    snapshot("\n".join(read["files"].notes))
    assert {"2"} <= numbers("\n".join(read["files"].notes))


ASIDE = (
    "thumbnails",
    "attention_maps",
    "predictions",
    "SHAP",
    "cam",
    "Grad-CAM",
    "gradcam",
    "lime",
    "trash",
    "removed",
)
OF_ZERO = ("0_crop", "0_lung", "0_thumb", "0_label", "0-lungmask", "0_mask_left", "mask0", "0_lung_mask", "0_mask_2")


def test_previews_explanations_and_the_bin_are_no_labels(tree):
    table = read_table(tree({"COVID": 4, "Normal": 4, **dict.fromkeys(ASIDE, 2)}))
    assert counts(table) == {"COVID": 4, "Normal": 4}
    assert sum(note.startswith("left out 2 images in 1 folder") for note in table.notes) == len(ASIDE)


def test_what_was_derived_from_an_image_beside_it_is_left_out(tree):
    real = ["0.png", "lung1.png", "1.png", "2_left.png", "2.png", "crop_2.png", "3_lung.png"]
    root = tree({"COVID": [*real, *(f"{name}.png" for name in OF_ZERO)], "Normal": 4})
    table = read_table(root)
    assert counts(table) == {"COVID": len(real), "Normal": 4}
    assert any(f"left out {len(OF_ZERO)} images that belong to another" in note for note in table.notes)


def test_labels_that_only_sound_like_companions_stay(tree):
    root = tree({**below("a", {"oxygen masc": 4, "normal": 4}), **below("b", {"data": 4, "scan x": 4})})
    assert read_table(root / "a").labels == ("normal", "oxygen masc")
    (root / "a" / "oxygen masc").rename(root / "a" / "with mask")
    assert "with mask" in read_table(root / "a").labels


def test_own_output_among_the_data_is_left_out(tree, refuses):
    root = tree({"covid": 4, "normal": 4, "explained/covid": ["i0.png.jpg"], "explained/normal": ["i0.png.jpg"]})
    (root / "explained" / "index.html").write_bytes(b"<!doctype html>" + OWN_PAGE)  # tests/serving: as it is written
    (root / "hilum-demo" / "phantoms" / "train" / "normal").mkdir(parents=True)
    (root / "hilum-demo" / MARK).touch()
    (root / "hilum-demo" / "phantoms" / "metadata.csv").touch()
    table = read_table(root)
    assert counts(table) == {"covid": 4, "normal": 4}
    assert sum("hilum wrote" in note for note in table.notes) == 2
    with refuses(TableError, "own-pictures"):
        read_table(root / "explained")


def test_hidden_folders_and_what_systems_leave_are_passed_over(tree):
    junk = ("covid/.ipynb_checkpoints", "covid/@eaDir", "__MACOSX/covid", "$RECYCLE.BIN/x")
    root = tree({"covid": ["1.png", "._1.png"], "normal": ["1.png", "Thumbs.db"], **dict.fromkeys(junk, 1)})
    table = read_table(root)
    assert counts(table) == {"covid": 1, "normal": 1}
    assert table.notes == ()


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


FORMATS = {"jfif": "JPEG", "jpe": "JPEG", "jp2": "JPEG2000", "pgm": "PPM", "avif": "AVIF", "dib": "BMP", "TIF": "TIFF"}


@pytest.mark.parametrize("suffix", FORMATS)
def test_labels_do_not_get_lost_by_their_endings(tree, suffix):
    root = tree({"covid": 0, "normal": 2})
    with Image.open(io.BytesIO(picture(5))) as image:
        image.save(root / "covid" / f"1.{suffix}", format=FORMATS[suffix])
    assert counts(read_table(root)) == {"covid": 1, "normal": 2}


def test_files_without_an_ending_are_known_by_their_content(tree):
    root = tree({"covid": ["IM000001", "1.2.840.113"], "normal": 2, "tb": []})
    (root / "tb" / "IM1").write_bytes(b"\0" * 128 + b"DICM")
    (root / "tb" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (root / "normal" / "README").write_text("x")
    assert counts(read_folders(root)) == {"covid": 2, "normal": 2, "tb": 1}


LOST = {
    "heic": {"COVID": ["a.heic", "b.heic"], "Normal": 3, "TB": 3},
    "volumes": {"COVID/images": ["a.nii.gz"], "Normal/images": 3, "TB/images": 3},
    "an archive": {"train/COVID": ["a.zip"], "train/Normal": 3, "train/TB": 3},
    "most of it": {"COVID": ["a.jxl", "b.jxl", "c.png"], "Normal": 3},
    "arrays": {"COVID": ["a.h5", "b.h5"], "Normal": 3, "TB": 3},
    "pickles": {"train/COVID": ["a.pkl"], "train/Normal": 3, "train/TB": 3},
    "no ending": {"COVID": ["a", "b"], "Normal": 3, "TB": 3},
}


@pytest.mark.parametrize("kind", LOST)
def test_a_label_of_files_that_are_not_read_stops(tree, kind, refuses):
    root = tree(LOST[kind])
    if kind == "no ending":
        for file in (root / "COVID").iterdir():
            file.write_bytes(b"\1\2\3")
    with refuses(TableError, "label-without-images"):
        read_table(root)


def test_what_is_only_partly_read_or_empty_is_said(tree, snapshot):
    files = {"train/COVID": ["a.heic", "b.png", "c.png", "b.npy"], "train/Normal": 3, "train/TB": 0, "test/TB": 2}
    notes = read_table(tree({**files, "train/notes": ["a.txt"]})).notes
    snapshot("\n".join(notes))


def test_folders_of_documents_and_weights_beside_class_folders_are_said(tree, snapshot):
    spec = {"docs": ["a.txt", "b.pdf"], "labels": ["1.txt"], "models": ["best.h5"], "covid": 3, "normal": 3}
    table = read_table(tree(spec))
    assert table.labels == ("normal", "covid")
    snapshot("\n".join(table.notes))


def test_a_class_folder_that_is_a_broken_link_is_named(tree):
    root = tree({"covid": 3, "normal": 3})
    (root / "tb").symlink_to("nowhere")
    assert any(note.startswith("WARNING: 'tb' is a link") for note in read_table(root).notes)


def test_words_that_end_like_a_split_are_labels(tree):
    assert read_table(tree({"contest": 3, "retrain": 3, "normal": 3})).labels == ("normal", "contest", "retrain")


def test_a_link_takes_no_split_and_no_label_away(tree, tmp_path, snapshot):
    root = tree({f"{split}/{label}": 3 for split in ("train", "test") for label in TWO})
    (root / "val").symlink_to("test")  # sorts behind test; a link that sorts before it is no other case
    (root / "a_link").symlink_to("train")
    (root / "up").symlink_to(tmp_path)
    table = read_table(root)
    assert every(counts(table), TWO, train=3, test=3)
    links = [note for note in table.notes if "link" in note]
    assert [any(name in note for name in ("'val'", "'a_link'", "'up'")) for note in links] == [True] * 3
    snapshot("\n".join(links))
    (tmp_path / "linked").symlink_to(root)
    assert counts(read_table(tmp_path / "linked")) == counts(table)


def test_two_links_to_one_folder_elsewhere_stop(tree, tmp_path, refuses):
    root = tree({"normal": 3})
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.png").write_bytes(picture(99))
    (root / "covid").symlink_to(tmp_path / "elsewhere")
    assert counts(read_table(root)) == {"covid": 1, "normal": 3}
    (root / "tb").symlink_to(tmp_path / "elsewhere")
    with refuses(TableError, "linked-twice"):
        read_table(root)


def test_images_of_a_test_without_labels_are_left_out_and_said(tree, snapshot):
    table = read_table(tree({**{f"train/{label}": 4 for label in TWO}, "test": 5}))
    assert every(counts(table), TWO, train=4)
    snapshot("\n".join(table.notes))
    assert {"5"} <= numbers("\n".join(table.notes))


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


def test_loops_of_links_end_and_links_to_folders_are_followed(write_dataset, tmp_path):
    root = write_dataset(labels=("a", "b"), splits=("",), patients=1, images=1, metadata=False)
    (root / "a" / "loop").symlink_to(root)
    elsewhere = tmp_path / "elsewhere"
    (root / "b").rename(elsewhere)
    (root / "b").symlink_to(elsewhere)
    assert len(read_table(root)) == 2


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


def test_links_that_lead_nowhere_are_listed(write_dataset):
    root = write_dataset(labels=("a", "b"), splits=("",), patients=1, images=1, metadata=False)
    (root / "a" / "gone.png").symlink_to(root / "nowhere.png")
    assert "a/gone.png" in [row.path for row in read_table(root).rows]


def test_other_files_and_stray_images_are_counted(write_dataset, snapshot):
    root = write_dataset(labels=("a", "b"), splits=("",), patients=1, images=1, metadata=False)
    (root / "a" / "notes.txt").write_text("hello")
    (root / "a" / "tr000-0.png").with_name("x.png").write_bytes(b"")
    (root / "a" / "x.png").rename(root / "stray.png")
    notes = " ".join(read_table(root).notes)
    assert "stray.png" in notes
    snapshot(notes)


def test_an_empty_folder_and_a_folder_of_other_files_are_told_apart(tmp_path, refuses):
    with refuses(TableError, "no-images"):
        read_table(tmp_path)
    (tmp_path / "x.txt").write_text("x")
    with refuses(TableError, "no-images"):
        read_table(tmp_path)


def test_split_folders_beside_other_folders_of_images_are_refused(write_dataset, refuses):
    root = write_dataset(labels=("a", "b"), splits=("train",), patients=1, metadata=False)
    (root / "extra" / "a").mkdir(parents=True)
    (root / "train" / "a" / "tr000-0.png").rename(root / "extra" / "a" / "1.png")
    with refuses(TableError, "labels-beside-splits"):
        read_table(root)

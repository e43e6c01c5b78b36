"""Tables from folders."""

import os

import pytest

from hilum.data.readers.read import read_table
from hilum.errors import TableError

THREE = ("normal", "infected/covid", "infected/non-covid")


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


def test_labels_that_are_no_text_are_refused(tmp_path, write_dataset):
    root = write_dataset(labels=("a", "b"), splits=("",), patients=1, images=1, metadata=False)
    (root / "a").rename(os.fsdecode(os.fsencode(root) + b"/caf\xe9"))
    with pytest.raises(TableError, match=r"'caf\\xe9' is not UTF-8"):
        read_table(root)


def test_links_that_lead_nowhere_are_listed(write_dataset):
    root = write_dataset(labels=("a", "b"), splits=("",), patients=1, images=1, metadata=False)
    (root / "a" / "gone.png").symlink_to(root / "nowhere.png")
    assert "a/gone.png" in [row.path for row in read_table(root).rows]


def test_other_files_and_stray_images_are_counted(write_dataset):
    root = write_dataset(labels=("a", "b"), splits=("",), patients=1, images=1, metadata=False)
    (root / "a" / "notes.txt").write_text("hello")
    (root / "a" / "tr000-0.png").with_name("x.png").write_bytes(b"")
    (root / "a" / "x.png").rename(root / "stray.png")
    notes = " ".join(read_table(root).notes)
    assert "1 files that are not images (1 .txt)" in notes
    assert "stray.png" in notes


def test_an_empty_folder_and_a_folder_of_other_files_are_told_apart(tmp_path):
    with pytest.raises(TableError, match="no files at all"):
        read_table(tmp_path)
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(TableError, match="1 files of other kinds"):
        read_table(tmp_path)


def test_split_folders_beside_other_folders_of_images_are_refused(write_dataset):
    root = write_dataset(labels=("a", "b"), splits=("train",), patients=1, metadata=False)
    (root / "extra" / "a").mkdir(parents=True)
    (root / "train" / "a" / "tr000-0.png").rename(root / "extra" / "a" / "1.png")
    with pytest.raises(TableError, match="stand beside other folders of images"):
        read_table(root)

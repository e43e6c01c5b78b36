"""Splits that a table states: by columns of any name, or in its paths."""

import pytest

from hilum.data.options import ReadOptions
from hilum.data.readers.read import read_table
from hilum.errors import TableError


@pytest.mark.parametrize("name", ["set", "dataset", "fold", "phase"])
def test_a_column_that_merely_sounds_like_a_split_is_one_only_if_it_holds_splits(write, name):
    table = read_table(write(f"path,label,{name}\na.png,x,train\nb.png,y,Test\n"))
    assert table.splits == ("train", "test")
    table = read_table(write(f"path,label,{name}\na.png,x,1\nb.png,y,2\n"))
    assert table.splits == ()
    assert table.rows[0].extra[name] == "1"


SPLIT_CELLS = {
    "Usage": (["Training", "PublicTest", "PrivateTest"], ["train", "test", "test"]),
    "subset": (["training", "private test", "nan"], ["train", "test", ""]),
    "is_test": (["0", "1", "0"], ["train", "test", "train"]),
    "is_train": (["True", "False", "True"], ["train", "test", "train"]),
} | {
    name: (["train", "Test", "dev"], ["train", "test", "val"])
    for name in ("split_name", "train_test_split", "set_type", "image_set", "splits", "mode", "ML split", "partición")
}


@pytest.mark.parametrize("name", SPLIT_CELLS)
def test_a_column_of_nothing_but_splits_is_used_whatever_its_name(write, name):
    given, meant = SPLIT_CELLS[name]
    rows = "".join(f"{k}.png,{'xy'[k % 2]},{cell},PA\n" for k, cell in enumerate(given))
    root = write(f"path,label,{name},view\n{rows}")
    table = read_table(root)
    assert [row.split for row in table.rows] == meant
    assert any(f"{name} = split" in note for note in table.notes)
    assert read_table(root, ReadOptions(split_column="none")).splits == ()


@pytest.mark.parametrize(("name", "odd"), [("Set", "unused"), ("phase", "arterial"), ("Usage", "B")])
def test_a_column_with_a_splits_name_and_an_odd_cell_stops_and_names_it(write, name, odd, refuses):
    root = write(f"path,label,{name}\na.png,x,train\nb.png,y,Test\nc.png,y,{odd}\n")
    with refuses(TableError, "mixed-split-column"):
        read_table(root)
    assert read_table(root, ReadOptions(split_column="none")).splits == ()


def test_columns_of_one_kind_or_of_further_words_are_no_splits(write):
    table = read_table(write("path,label,mode,kind,is_valid\na.png,x,test,dev,1\nb.png,y,test,pcr,0\n"))
    assert table.splits == ()


def test_two_columns_of_splits_agree_or_are_asked_about(write, refuses):
    table = read_table(write("path,label,mode,split\na.png,x,training,train\nb.png,y,Test,test\n"))
    assert table.splits == ("train", "test")
    with refuses(TableError, "contradicting-splits"):
        read_table(write("path,label,mode,phase\na.png,x,train,train\nb.png,y,val,test\n"))


@pytest.mark.parametrize("above", ["", "ds/", "/kaggle/input/dev/ds/"])
def test_splits_in_the_paths_of_a_table_are_used(write, above, refuses, snapshot):
    text = f"path,label\n{above}train/1.png,x\n{above}train/2.png,y\n{above}test/3.png,x\n"
    table = read_table(write(text))
    assert [row.split for row in table.rows] == ["train", "train", "test"]
    snapshot("\n".join(table.notes))
    root = write(f"{text}{above}more/4.png,y\n")
    with refuses(TableError, "unclear-splits"):
        read_table(root)
    assert read_table(root, ReadOptions(split_column="none")).splits == ()
    with refuses(TableError, "unclear-splits"):
        read_table(write(f"{text}{above}train/val/4.png,y\n"))


def test_a_table_whose_column_of_splits_is_filled_does_not_ask_its_paths(write):
    text = "path,label,split\ntrain/1.png,x,train\ntrain/2.png,y,train\ntest/3.png,x,val\n"
    assert [row.split for row in read_table(write(text)).rows] == ["train", "train", "val"]


@pytest.mark.parametrize("name", ["validate", "Training Set", "holdout", "dev", "TEST"])
def test_splits_are_spelled_in_many_ways(write, name):
    (split,) = read_table(write(f"path,label,split\na.png,x,{name}\nb.png,y,\nc.png,y,nan\n")).splits
    assert split in ("train", "val", "test")


@pytest.mark.parametrize(("names", "noted"), [("train test", 0), ("Training test", 1), ("train eval test", 2)])
def test_splits_that_are_called_otherwise_are_said_as_they_are_for_folders(write, names, noted):
    rows = [f"{name}-{label}.png,{label},{name}" for name in names.split() for label in "xy"]
    table = read_table(write("\n".join(["path,label,split", *rows]), *(row.split(",")[0] for row in rows)))
    said = [note for note in table.notes if "splits are read from the values" in note or "is used as val" in note]
    assert len(said) == noted

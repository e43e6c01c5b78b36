"""Paths that a table states, and the files that they mean."""

import os

import pytest

from hilum.data.dataset import Dataset
from hilum.data.readers.read import read_table
from wording import numbers


@pytest.fixture
def images(write):
    """Two files in a folder beside the table, and how it is read from what it says of them."""
    root = write("path,label\n", "img/a.png", "img/b.png")

    def read(*paths, data=None):
        write("path,label\n" + "".join(f"{path},{label}\n" for path, label in zip(paths, "xyz", strict=False)))
        table = read_table(data or root)
        assert all(table.file(row).exists() for row in table.rows)
        return table

    return read


def test_absolute_paths_below_the_table_are_kept_relative_through_links_too(images, tmp_path):
    root, link = tmp_path / "d", tmp_path / "link"
    link.symlink_to(root)
    for base, data in ((root, root), (root, link), (link, root), (link, link)):
        table = images(base / "img" / "a.png", base / "img" / "b.png", data=data)
        assert [row.path for row in table.rows] == ["img/a.png", "img/b.png"]


def test_absolute_paths_elsewhere_and_paths_upwards_are_read_where_they_lead(images, tmp_path):
    (tmp_path / "other").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "other" / name).touch()
    table = images(tmp_path / "other" / "a.png", "../other/b.png", "./img/../img/a.png")
    assert [row.path for row in table.rows] == [f"{tmp_path}/other/a.png", f"{tmp_path}/other/b.png", "img/a.png"]
    assert table.labels == ("x", "y", "z")


@pytest.mark.parametrize("form", ["{}.png", "{}", "C:\\x\\img\\{}.png", "old/img/{}"])
def test_files_are_found_by_their_names(images, form, snapshot):
    table = images(form.format("a"), form.format("B"))
    assert [row.path for row in table.rows] == ["img/a.png", "img/b.png"]
    snapshot("\n".join(table.notes))
    assert {"2"} <= numbers("\n".join(table.notes))


def test_a_file_is_not_found_where_its_folders_disagree_or_there_are_two(write, snapshot):
    root = write("path,label\nnormal/a.png,x\nb.png,y\n", "covid/a.png", "one/b.png", "two/b.png")
    table = read_table(root)
    assert [row.path for row in table.rows] == ["normal/a.png", "b.png"]
    snapshot("\n".join(table.notes))
    assert {"1"} <= numbers("\n".join(table.notes))


def test_a_file_in_the_folder_of_another_label_is_not_taken(write, snapshot):
    text = "path,label\nIM1,covid\nIM2,normal\nnormal/IM3,covid\nIM4,Covid\nold/IM5.png,covid\nIM6,covid\n"
    files = [f"Normal/images/IM{i}.png" for i in (1, 2)]
    table = read_table(write(text, *files, "normal/IM3.png", "COVID/IM4.png", "normal/old/IM5.png", "set/IM6.png"))
    assert [row.path for row in table.rows] == [
        "IM1",  # which the table calls covid, and the folder normal
        "Normal/images/IM2.png",
        "normal/IM3.png",  # the table itself names the folder
        "COVID/IM4.png",
        "old/IM5.png",
        "set/IM6.png",
    ]
    snapshot("\n".join(table.notes))
    assert {"2"} <= numbers("\n".join(table.notes))


def test_paths_may_hold_from_the_folder_above_the_table(write):
    root = write("path,label\nd/img/a.png,x\nd/img/b.png,y\n", "img/a.png", "img/b.png")
    table = read_table(root)
    assert all(table.file(row).exists() for row in table.rows)
    assert len(table.notes) == 1


def test_names_that_are_not_utf8_on_the_disk_or_in_the_table(write):
    """The same table in Windows-1252 names a file that was copied byte by byte, and one whose name was translated."""
    root = write("path,label\nÄ.png,Entzündung\nÖ.png,y\n", "Ö.png", encoding="cp1252")
    (root / os.fsdecode(b"\xc4.png")).touch()
    table = read_table(root)
    assert all(table.file(row).exists() for row in table.rows)
    assert [row.label for row in table.rows] == ["Entzündung", "y"]
    assert isinstance(table, Dataset)


def test_slashes_of_windows(write):
    table = read_table(write("path,label\nimg\\a.png,x\nimg\\b.png,y\n", "img/a.png", "img/b.png"))
    assert [row.path for row in table.rows] == ["img/a.png", "img/b.png"]

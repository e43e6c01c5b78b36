"""Tables and recipes that are no files keep nobody waiting."""

import os

import pytest

from hilum.data.readers.read import read_table
from hilum.errors import RecipeError, TableError, UsageError
from hilum.evaluation.ledger import ledger_file, place_of
from hilum.serving.inputs import group_files
from hilum.training.recipe import load_recipe

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("link", [False, True])
def test_a_pipe_instead_of_a_table(write_dataset, tmp_path, link, refuses):
    root = write_dataset()
    (root / "metadata.csv").unlink()
    os.mkfifo(tmp_path / "pipe")
    if link:
        (root / "metadata.csv").symlink_to(tmp_path / "pipe")
    else:
        os.mkfifo(root / "metadata.csv")
    for data in (root, root / "metadata.csv"):
        with refuses(TableError, "unreadable", root / "metadata.csv"):
            read_table(data)


def test_a_device_instead_of_a_table_a_recipe_or_studies(tmp_path):
    for name in ("zero.csv", "zero.toml"):
        (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(TableError):
        read_table(tmp_path / "zero.csv")
    with pytest.raises(RecipeError):
        load_recipe(str(tmp_path / "zero.toml"), [])
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(RecipeError):
        load_recipe(str(tmp_path / "pipe.toml"), [])
    with pytest.raises(UsageError):
        group_files([], str(tmp_path / "zero.csv"))


def test_images_that_are_pipes_are_rows(write_dataset):
    root = write_dataset(metadata=False)
    before = len(read_table(root))
    folder = next(root.rglob("normal"))
    os.mkfifo(folder / "pipe.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "zero").symlink_to("/dev/zero")
    assert len(read_table(root)) == before + 2


def test_without_a_home_folder_the_ledger_asks_for_a_place(monkeypatch, tmp_path):
    from pathlib import Path

    from hilum.errors import LedgerError

    def homeless():
        msg = "Could not determine home directory."
        raise RuntimeError(msg)

    monkeypatch.setattr(Path, "home", homeless)
    for name in ("HILUM_LEDGER", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(LedgerError):
        ledger_file()
    assert place_of(ledger_file(tmp_path / "x.jsonl")) == str(tmp_path / "x.jsonl")

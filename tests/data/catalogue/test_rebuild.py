"""Datasets made again from originals of their names."""

import csv
import gzip
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image

from hilum.data.catalogue.rebuild import MISSING, rebuild
from hilum.data.options import ReadOptions
from hilum.data.readers.read import read_table
from hilum.errors import TableError, UsageError

VAL = [f"NORMAL2-IM-14{n}-0001.jpeg" for n in (27, 30, 31, 36, 37, 38, 40, 42)]
VAL += [f"person{p}_bacteria_{k}.jpeg" for p, k in ((1946, 4874), (1946, 4875), (1947, 4876), (1949, 4880))]
VAL += [f"person195{n}_bacteria_488{n + 1}.jpeg" for n in range(4)]


def named(table):
    packed = files("hilum.data.catalogue").joinpath(f"{table}.csv.gz").read_bytes()
    return list(csv.DictReader(gzip.decompress(packed).decode().splitlines()))


def write_originals(folder, names, size=(160, 120)):
    pixels = np.random.default_rng(0).integers(0, 256, size[::-1], np.uint8)
    for name in names:
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)


def test_the_tables_that_come_along_are_those_of_the_real_datasets(seed_cxr):
    for table, folder in (("kermany-150", seed_cxr), ("darkcovidnet", seed_cxr.parent / "darkcovidnet")):
        with (folder / "metadata.csv").open(newline="") as file:
            assert named(table) == list(csv.DictReader(file))


def test_the_reports_dataset_is_made_from_kermanys(tmp_path):
    rows = [row for row in named("kermany-150") if row["original_name"]]
    chosen = [rows[n] for n in range(0, len(rows), 180)]
    write_originals(tmp_path / "chest_xray/train/NORMAL", [row["original_name"] for row in chosen])
    write_originals(tmp_path / "chest_xray/val/NORMAL", VAL)
    made = rebuild("kermany", tmp_path, tmp_path / "out")
    assert made.written == len(chosen) + len(VAL)
    assert made.written + len(made.missing) == 5856
    assert len((tmp_path / "out" / MISSING).read_text().splitlines()) == len(made.missing)
    table = read_table(tmp_path / "out", ReadOptions(layout="kermany-150"))
    assert table.labels == ("normal", "infected/covid", "infected/non-covid")
    found = {row.path: row for row in table.rows}
    for row in chosen:
        assert found[row["path"]].patient_id == row["patient_id"]
        assert found[row["path"]].split == row["split"]
    held_out = [row for row in table.rows if row.split == "val" and row.label != "infected/covid"]
    assert {row.extra["original_name"] for row in held_out} >= {*VAL}
    with Image.open(tmp_path / "out" / chosen[0]["path"]) as image:
        assert (image.size, image.mode) == ((150, 150), "L")


def test_darkcovidnet_is_made_from_its_two_sources(tmp_path):
    chosen = named("darkcovidnet")[::40]
    write_originals(tmp_path / "images", [row["original_name"] for row in chosen], (896, 448))
    made = rebuild("darkcovidnet", tmp_path, tmp_path / "out")
    assert made.written == len(chosen)
    with Image.open(tmp_path / "out" / chosen[0]["path"]) as image:
        assert image.size == (448, 224)
    assert read_table(tmp_path / "out").layout == "darkcovidnet"


def test_what_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(TableError) as refused:
        rebuild("kermany", tmp_path / "empty", tmp_path / "out")
    assert refused.value.code == "missing-images"
    with pytest.raises(UsageError):
        rebuild("nih", tmp_path, tmp_path / "out")
    write_originals(tmp_path / "there", VAL)
    with pytest.raises(UsageError) as refused:
        rebuild("kermany", tmp_path / "there", tmp_path / "there")
    assert refused.value.code == "not-empty"

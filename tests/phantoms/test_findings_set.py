"""A written dataset with several findings an image: what lies where, and that its tables tell the truth."""

import csv
import hashlib
import json
from collections import defaultdict

import numpy as np
import pytest
from PIL import Image

from hilum.errors import DataError, UsageError
from hilum.phantoms import FINDINGS, make_findings_phantom, write_findings_phantoms


def rows(out):
    with (out / "metadata.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def digests(out):
    return {p.relative_to(out): hashlib.sha256(p.read_bytes()).hexdigest() for p in out.rglob("*") if p.is_file()}


SAID = {"patients": 50, "seed": 4, "size": 48, "uncertain": 0.05, "missing": 0.1}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_findings_phantoms(tmp_path_factory.mktemp("findings") / "new", **SAID, workers=1)


def pixels(file):
    with Image.open(file) as image:
        return np.asarray(image)


def test_files_are_the_same_whatever_the_number_of_workers(written, tmp_path):
    write_findings_phantoms(tmp_path / "two", **SAID, workers=2)
    assert digests(tmp_path / "two") == digests(written.out)


def test_metadata_has_a_column_a_finding(written):
    table = rows(written.out)
    assert list(table[0]) == ["path", *FINDINGS, "split", "patient_id", "source", "view", "sex", "age"]
    assert {row[name] for row in table for name in FINDINGS} == {"1", "0", "", "-1"}
    assert sorted(row["path"] for row in table) == sorted(
        file.relative_to(written.out).as_posix() for file in (written.out / "images").iterdir()
    )
    assert written.images == len(table)
    assert written.patients == len({row["patient_id"] for row in table}) == 50


def test_each_patient_has_one_split_sex_and_age_and_few_images(written):
    by_patient = defaultdict(list)
    for row in rows(written.out):
        by_patient[row["patient_id"]].append((row["split"], row["sex"], row["age"]))
    assert all(len(set(found)) == 1 and 1 <= len(found) <= 3 for found in by_patient.values())
    assert [found[0][0] for found in by_patient.values()].count("test") == 15


def test_the_truth_agrees_with_the_table_where_that_is_known(written):
    truth = json.loads((written.out / "truth.json").read_text())
    assert truth["uncertain"] == 0.05
    for row in rows(written.out):
        present = truth["findings"][row["path"]]
        assert all(row[name] in (("1", "-1", "") if name in present else ("0", "-1", "")) for name in FINDINGS)
    counted = {name: sum(name in present for present in truth["findings"].values()) for name in FINDINGS}
    assert counted == written.positives


def test_images_and_masks_are_those_of_the_phantoms(written):
    truth = json.loads((written.out / "truth.json").read_text())["findings"]
    for path, present in list(truth.items())[::7]:
        patient, image = map(int, path.removeprefix("images/p").removesuffix(".png").split("-"))
        phantom = make_findings_phantom(present, seed=4, patient=patient, image=image, size=48)
        np.testing.assert_array_equal(pixels(written.out / path), phantom.image)
        np.testing.assert_array_equal(pixels(written.out / "masks" / "lungs" / path), phantom.lungs)
        for name in FINDINGS:
            mask = written.out / "masks" / name / path
            assert mask.exists() == (name in present)
            if mask.exists():
                np.testing.assert_array_equal(pixels(mask), phantom.masks[name])


def test_prevalences_no_masks_and_no_split(tmp_path):
    shares = {**dict.fromkeys(FINDINGS, 0.0), "nodule": 1.0}
    made = write_findings_phantoms(
        tmp_path / "a", patients=6, size=32, prevalences=shares, test_fraction=0, masks=False, workers=1
    )
    table = rows(tmp_path / "a")
    assert "split" not in table[0]
    assert not (tmp_path / "a" / "masks").exists()
    assert all(row[name] == str(int(name == "nodule")) for row in table for name in FINDINGS)
    assert made.positives["nodule"] == made.images


@pytest.mark.parametrize(
    "wrong",
    [
        {"patients": 1},
        {"test_fraction": 1.0},
        {"uncertain": 0.6, "missing": 0.6},
        {"missing": -0.1},
        {"uncertain": float("nan")},
        {"prevalences": {"edema": 0.1}},
    ],
)
def test_numbers_that_make_no_dataset_are_refused(tmp_path, wrong):
    with pytest.raises(UsageError):
        write_findings_phantoms(tmp_path / "x", **{"patients": 6, "size": 32, "workers": 1, **wrong})
    assert not (tmp_path / "x").exists()


def test_a_folder_that_is_in_use_is_refused_and_left_alone(tmp_path, refuses):
    (tmp_path / "notes.txt").write_text("mine")
    with refuses(DataError, "not-empty"):
        write_findings_phantoms(tmp_path, patients=4, size=32, workers=1)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]

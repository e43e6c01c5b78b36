"""A written dataset: what lies where, and that its tables tell the truth."""

import csv
import hashlib
from collections import Counter, defaultdict
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from hilum.errors import DataError, UsageError
from hilum.phantoms import LABELS, make_phantom, write_phantoms
from hilum.progress import Progress


def rows(out):
    with (out / "metadata.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def digests(out):
    return {p.relative_to(out): hashlib.sha256(p.read_bytes()).hexdigest() for p in out.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("phantoms") / "new"
    counter = Told()
    return write_phantoms(out, patients=60, seed=4, size=48, workers=1, progress=counter), counter


class Told(Progress):
    """Remembers what it was told."""

    total = done = 0

    @contextmanager
    def task(self, title, total):
        self.total = total
        yield self.advance

    def advance(self, done):
        self.done += done


def test_files_are_the_same_whatever_the_number_of_workers(written, tmp_path):
    write_phantoms(tmp_path / "two", patients=60, seed=4, size=48, workers=2)
    assert digests(tmp_path / "two") == digests(written[0].out)


def test_metadata_lists_exactly_the_images(written):
    out = written[0].out
    table = rows(out)
    images = {p.relative_to(out).as_posix() for p in out.rglob("*.png")} - {
        p.relative_to(out).as_posix() for p in (out / "masks").rglob("*.png")
    }
    assert list(table[0]) == ["path", "label", "split", "patient_id", "source"]
    assert sorted(row["path"] for row in table) == sorted(images)
    for row in table:
        assert row["path"].startswith(f"{row['split']}/{row['label']}/{row['patient_id']}-")
        assert row["source"] == "phantom"


def test_counts_and_progress_add_up(written):
    result, counter = written
    table = rows(result.out)
    assert counter.done == counter.total == result.images == len(table)
    assert {s: dict(Counter(r["label"] for r in table if r["split"] == s)) for s in ("train", "test")} == result.counts
    assert result.patients == len({row["patient_id"] for row in table}) == 60


def test_each_patient_has_one_label_one_split_and_few_images(written):
    by_patient = defaultdict(list)
    for row in rows(written[0].out):
        by_patient[row["patient_id"]].append((row["label"], row["split"]))
    assert all(len(set(found)) == 1 and 1 <= len(found) <= 3 for found in by_patient.values())
    assert Counter(found[0][0] for found in by_patient.values()) == dict.fromkeys(LABELS, 20)
    assert Counter(found[0][1] for found in by_patient.values()) == {"train": 42, "test": 18}
    assert 1.2 < np.mean([len(found) for found in by_patient.values()]) < 1.8


def test_images_and_masks_are_those_of_the_phantoms(written):
    out = written[0].out
    for row in rows(out)[::9]:
        stem = row["path"].rsplit("/", 1)[1].removesuffix(".png")
        patient, image = int(stem[1:].split("-")[0]), int(stem.split("-")[1])
        phantom = make_phantom(row["label"], seed=4, patient=patient, image=image, size=48)
        with Image.open(out / row["path"]) as file:
            assert file.mode == "L"
            np.testing.assert_array_equal(np.asarray(file), phantom.image)
        mask = out / "masks" / row["path"]
        assert mask.exists() == (row["label"] != "normal")
        if mask.exists():
            with Image.open(mask) as file:
                assert file.mode == "1"
                np.testing.assert_array_equal(np.asarray(file), phantom.mask)


def test_shares_and_no_masks(tmp_path):
    shares = {"normal": 3.0, "infected/covid": 1.0}
    result = write_phantoms(
        tmp_path / "a", patients=20, size=32, shares=shares, masks=False, workers=1, test_fraction=0
    )
    patients = {(row["patient_id"], row["label"]) for row in rows(tmp_path / "a")}
    assert Counter(label for _, label in patients) == {"normal": 15, "infected/covid": 5}
    assert not (tmp_path / "a" / "masks").exists()
    assert result.counts["test"] == {}


def test_a_folder_that_is_in_use_is_refused_and_left_alone(tmp_path, refuses):
    (tmp_path / "notes.txt").write_text("mine")
    with refuses(DataError, "not-empty"):
        write_phantoms(tmp_path, patients=4, size=32, workers=1)
    with refuses(DataError, "not-empty"):
        write_phantoms(tmp_path / "notes.txt", patients=4, size=32, workers=1)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    "wrong", [{"patients": 1}, {"test_fraction": 1.0}, {"shares": {"healthy": 1.0}}, {"shares": {"normal": -1.0}}]
)
def test_numbers_that_make_no_dataset_are_refused(tmp_path, wrong):
    with pytest.raises(UsageError):
        write_phantoms(tmp_path / "x", **{"patients": 6, "size": 32, "workers": 1, **wrong})
    assert not (tmp_path / "x").exists()

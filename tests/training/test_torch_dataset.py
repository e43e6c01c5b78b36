"""Samples for users of torchxrayvision: the same pixels, labels as one-hot rows, in plain PyTorch loaders."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from hilum.data.preprocessing import Preprocessing
from hilum.data.readers.read import read_table
from hilum.errors import CacheError
from hilum.training import RadiographDataset


def test_samples_hold_pixels_labels_and_numbers(write_dataset):
    table = read_table(write_dataset(side=40))
    found = RadiographDataset(table, Preprocessing(size=40))
    assert len(found) == len(table)
    assert found.pathologies == list(table.labels)
    for number in (0, len(found) - 1):
        sample, row = found[number], table.rows[number]
        assert sample["idx"] == number
        assert sample["img"].shape == (1, 40, 40)
        pixels = np.asarray(Image.open(table.file(row))) / 255
        np.testing.assert_allclose(sample["img"][0].numpy(), pixels, atol=1e-6)
        assert found.pathologies[int(sample["lab"].argmax())] == row.label
    assert (found.labels.sum(axis=1) == 1).all()
    assert list(found.csv["patient_id"]) == [row.patient_id for row in table.rows]


def test_the_range_of_torchxrayvisions_networks_is_at_hand(write_dataset):
    table = read_table(write_dataset())
    plain, theirs = (RadiographDataset(table, value_range=limits) for limits in ((0, 1), (-1024, 1024)))
    torch.testing.assert_close(theirs[3]["img"], plain[3]["img"] * 2048 - 1024)
    assert theirs[0]["img"].min() >= -1024
    assert theirs[0]["img"].max() <= 1024


def test_a_plain_loader_makes_batches_of_them(write_dataset):
    batch = next(iter(DataLoader(RadiographDataset(read_table(write_dataset())), batch_size=5)))
    assert batch["img"].shape[:2] == (5, 1)
    assert batch["lab"].shape == (5, 3)
    assert batch["idx"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("packed", [False, True])
def test_spawned_workers_read_the_same_pixels(write_dataset, monkeypatch, packed):
    if packed:  # as tables of 20,000 rows and more are
        monkeypatch.setattr("hilum.data.dataset.PACK_FROM", 3)
    found = RadiographDataset(read_table(write_dataset()), value_range=(-1.0, 1.0))
    sent = pickle.dumps(found)
    assert len(sent) < found._images.pixels.nbytes
    other = pickle.loads(sent)
    assert list(other.csv["path"]) == list(found.csv["path"])
    torch.testing.assert_close(other[3]["img"], found[3]["img"])
    if not packed:
        batches = DataLoader(found, batch_size=16, num_workers=1, multiprocessing_context="spawn")
        pixels = torch.cat([batch["img"] for batch in batches])
        torch.testing.assert_close(pixels, torch.stack([found[number]["img"] for number in range(len(found))]))


def test_a_dataset_whose_pixels_are_gone_says_so(write_dataset, tmp_path, monkeypatch):
    sent = pickle.dumps(RadiographDataset(read_table(write_dataset())))
    monkeypatch.setenv("HILUM_CACHE", str(tmp_path / "empty"))
    with pytest.raises(CacheError) as caught:
        pickle.loads(sent)
    assert caught.value.code == "not-kept"

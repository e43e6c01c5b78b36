"""Samples for users of torchxrayvision: the same pixels, labels as one-hot rows, in plain PyTorch loaders."""

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader

from hilum.data.preprocessing import Preprocessing
from hilum.data.readers.read import read_table
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

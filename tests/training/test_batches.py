"""Batches: every image once an epoch, in an order that needs no memory."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from hilum.data.cache import Images
from hilum.data.dataset import Dataset, Row
from hilum.training.batches import Batches


def make(count, batch_size, shuffle=None):
    pixels = np.arange(count + 5, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    table = Dataset(Path(), tuple(Row(str(i), "a") for i in range(count)))
    images = Images(table, pixels, np.arange(5, count + 5), (), "", pixels)
    return Batches(images, np.arange(count), batch_size, shuffle)


@pytest.mark.parametrize(("count", "batch_size"), [(10, 3), (9, 3), (100, 32), (2, 64)])
@pytest.mark.parametrize("shuffle", [None, (0, 1)])
def test_every_image_comes_once_with_its_own_target(count, batch_size, shuffle):
    batches = make(count, batch_size, shuffle)
    seen = []
    for pixels, targets in batches:
        assert pixels.dtype == torch.uint8
        assert (pixels[:, 0, 0, 0] == targets + 5).all()
        seen += targets.tolist()
    left_out = 1 if shuffle and count % batch_size == 1 and count > batch_size else 0
    assert len(seen) == len(set(seen)) == count - left_out
    assert len(list(batches)) == len(batches)


def test_a_single_image_left_over_is_no_training_batch():
    assert [len(targets) for _, targets in make(65, 64, shuffle=(0, 0))] == [64]
    assert [len(targets) for _, targets in make(65, 64)] == [64, 1]


def test_the_order_is_a_function_of_seed_and_epoch():
    def order(shuffle):
        return [tuple(targets.tolist()) for _, targets in make(50, 8, shuffle)]

    assert order((1, 2)) == order((1, 2))
    assert order((1, 2)) != order((1, 3))
    assert order((1, 2)) != order((2, 2))


def test_an_order_can_be_entered_anywhere():
    whole = [tuple(targets.tolist()) for _, targets in make(50, 8, (1, 2))]
    batches = make(50, 8, (1, 2))
    batches.start = 3
    assert [tuple(targets.tolist()) for _, targets in batches] == whole[3:]


def test_waiting_is_counted_and_an_abandoned_epoch_leaves_no_thread_at_work():
    def slow(order, number, real=Batches._batch):
        time.sleep(0.05)
        return real(batches, order, number)

    batches = make(64, 8)
    batches._batch = slow
    for _ in batches:
        time.sleep(0.2)  # the next one is gathered meanwhile
    assert 0.04 < batches.waited < 0.3
    before = threading.active_count()
    for _ in batches:
        break
    assert threading.active_count() == before


def test_an_error_while_gathering_reaches_the_one_who_iterates():
    batches = make(64, 8)
    batches.positions = np.full(64, 10_000)
    with pytest.raises(IndexError):
        list(batches)

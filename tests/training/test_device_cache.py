"""The store: the same bytes from wherever they lie, and no memory that grows."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hilum.training import batches
from hilum.training.batches import copy_to, gather, gather_resident


@pytest.fixture
def mapped(tmp_path):
    """A memory map of 64 MiB of random bytes."""
    bytes_ = np.random.default_rng(0).integers(0, 256, (4096, 128, 128), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", bytes_)
    return np.load(tmp_path / "pixels.npy", mmap_mode="r"), bytes_


def test_a_copy_on_the_device_gives_the_bytes_of_the_file(mapped, monkeypatch):
    pixels, bytes_ = mapped
    monkeypatch.setattr(batches, "BLOCK", 100 * 128 * 128)  # several blocks, the last one smaller
    positions = np.array([0, 3, 99, 100, 4095])
    cpu = torch.device("cpu")
    expected = torch.from_numpy(bytes_[positions])[:, None]
    assert torch.equal(gather(pixels, positions, cpu), expected)
    assert torch.equal(gather_resident(copy_to(pixels, cpu), positions), expected)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's account of mapped pages")
def test_gathering_everything_keeps_nothing_of_the_file_in_memory(mapped):
    pixels, bytes_ = mapped

    def in_memory():  # KiB of the file that count as this process's
        lines = iter(Path("/proc/self/smaps").read_text().splitlines())
        return sum(
            int(next(line for line in lines if line.startswith("Rss:")).split()[1])
            for line in lines
            if line.endswith("pixels.npy")
        )

    assert pixels[:].sum() == bytes_.sum()
    assert in_memory() > 60_000
    for first in range(0, 4096, 64):
        gather(pixels, np.arange(first, first + 64), torch.device("cpu"))
        assert in_memory() < 4_000

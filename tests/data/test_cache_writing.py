"""Several processes write one cache, each its own range; who cannot hands its bytes over."""

from itertools import pairwise

import numpy as np
import pytest

from hilum.data import cache, cache_writing
from hilum.data.cache import open_images
from hilum.data.cache_writing import begin_part, decode_into, remove_parts, write_into
from hilum.data.images import read_picture
from hilum.data.preprocessing import Preprocessing
from hilum.data.readers.read import read_table

PLAN = Preprocessing(size=32)


def numbered(table):
    return [(number, row.path) for number, row in enumerate(table.rows)]


def begun(folder, count):
    return [begin_part(folder / name, (count, side, side)) for name, side in (("a.npy", 32), ("a-64.npy", 64))]


def test_ranges_in_any_order_and_twice_are_the_whole(write_dataset, tmp_path):
    """As a cluster gives a range to a second process when the first one was killed."""
    table = read_table(write_dataset())
    files, parts = numbered(table), begun(tmp_path, len(table))
    cuts = [0, 1, 5, 6, len(files)]
    ranges = [files[first:last] for first, last in pairwise(cuts)]
    for some in [*reversed(ranges), ranges[1]]:
        decoded = decode_into(parts, table.root, PLAN, some)
        assert decoded.written
        assert len(decoded.hashes) == len(some)
    written = np.load(parts[0].file)
    for row, pixels in zip(table.rows, written, strict=True):
        np.testing.assert_array_equal(pixels, PLAN.apply(read_picture(table.file(row)).pixels))
    assert np.load(parts[1].file).any(axis=(1, 2)).all()


def test_who_does_not_see_the_files_hands_the_bytes_over(write_dataset, tmp_path, monkeypatch):
    table = read_table(write_dataset())

    def unseen(parts, first, decoded):
        raise FileNotFoundError(parts[0].file)

    written = []
    monkeypatch.setattr(cache_writing, "write_into", unseen)
    monkeypatch.setattr(cache, "write_into", lambda *given: (written.append(given[1]), write_into(*given)))
    found = open_images(table, PLAN, folder=tmp_path / "over")
    assert written
    monkeypatch.setattr(cache_writing, "write_into", write_into)
    monkeypatch.setattr(cache, "write_into", lambda *_: pytest.fail("written by whoever decoded"))
    own = open_images(table, PLAN, folder=tmp_path / "own")
    np.testing.assert_array_equal(found.pixels, own.pixels)
    np.testing.assert_array_equal(found.thumbnails, own.thumbnails)


def test_a_process_that_outlives_its_driver_does_not_write_into_a_later_cache(write_dataset, tmp_path):
    table = read_table(write_dataset())
    old = begun(tmp_path, len(table))
    (tmp_path / "b.part").touch()
    remove_parts(tmp_path / "a.npy")
    new = begun(tmp_path, len(table))
    assert not decode_into(old, table.root, PLAN, numbered(table)).written
    assert not np.load(new[0].file).any()
    assert {file.name for file in tmp_path.glob("*.part")} == {"b.part", *(part.file.name for part in new)}

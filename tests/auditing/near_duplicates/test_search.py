"""The route to very many images: an index finds the same copies as all pairs do."""

import numpy as np
import pytest
from made_pictures import pairs, pictures, with_copies

from hilum.auditing.near_duplicates import cells, search
from hilum.auditing.near_duplicates import codes as index
from hilum.auditing.near_duplicates.search import find_copies
from hilum.auditing.scan import scan
from hilum.data.readers.read import read_table
from hilum.data.splits import components
from sizes import sized


@pytest.mark.slow
def test_the_index_finds_what_all_pairs_find():
    pytest.importorskip("faiss")
    images, injected = with_copies(pictures(700), 20)
    slow, quick = find_copies(images, indexed=False), find_copies(images, indexed=True)
    assert pairs(quick) == pairs(slow)
    assert len(injected & pairs(slow)) >= 0.95 * len(injected)


@pytest.mark.slow
def test_the_index_finds_what_all_pairs_find_among_real_radiographs(seed_cxr):
    pytest.importorskip("faiss")
    table = read_table(seed_cxr)
    images, injected = with_copies(scan(table.take(range(0, len(table), sized(10, 4)))).thumbnails, 100)
    slow, quick = pairs(find_copies(images, indexed=False)), pairs(find_copies(images, indexed=True))
    assert quick <= slow
    assert len(quick) >= 0.99 * len(slow)
    assert len(injected & quick) >= 0.98 * len(injected)


def test_many_images_without_faiss_get_a_remark(monkeypatch):
    monkeypatch.setattr(index, "has_faiss", lambda: False)
    assert index.remark(index.MANY - 1) == ""
    assert "pip install 'hilum[faiss]'" in index.remark(index.MANY)
    monkeypatch.setattr(index, "has_faiss", lambda: True)
    assert index.remark(10**6) == ""


def test_of_many_equal_images_few_hits_are_held_at_once(monkeypatch):
    """Each of 40 equal images finds each, in 17 crops: what is held is bounded, and all are one picture."""
    pytest.importorskip("faiss")
    images = np.concatenate([pictures(50), np.repeat(pictures(1, seed=1), 40, axis=0)])
    monkeypatch.setattr(cells, "HITS", 1000)
    above, best = cells.Cells.above, search._best
    given, held = [], []

    def noted_above(index, asked, least):
        for hits in above(index, asked, least):
            given.append(len(hits[0]))
            yield hits

    def noted_best(i, j, fits, count):
        held.append(len(i))
        return best(i, j, fits, count)

    monkeypatch.setattr(cells.Cells, "above", noted_above)
    monkeypatch.setattr(search, "_best", noted_best)
    found = find_copies(images, indexed=True)
    assert set(components(90, found.first, found.second)[50:]) == {50}
    assert len(found.first) == 39
    assert sum(given) > 17 * 40**2
    assert max(given) <= 1000
    assert max(held) <= 1000 + 90 + search.MOST * 4 * 90  # at most four ways up an image


def test_hits_kept_part_by_part_are_those_kept_of_all():
    """The most alike of each row, of the first row all, in whichever crop; many are equally alike."""
    generator = np.random.default_rng(0)
    i, j = generator.integers(0, 5, 3000), generator.integers(0, 90, 3000)
    fits = generator.integers(0, 40, 3000).astype(np.float32)
    held = cells.joined([])
    for start in range(0, 3000, 250):
        part = slice(start, start + 250)
        held = search._nearest(*search._best(*cells.joined([held, (i[part], j[part], fits[part])]), 90))
    alike = {}
    for row, image, fit in zip(i.tolist(), j.tolist(), fits.tolist(), strict=True):
        alike[row, image] = max(fit, alike.get((row, image), 0))
    wanted = []
    for row in range(5):
        ranked = sorted((-fit, image) for (of, image), fit in alike.items() if of == row)
        wanted += [(row, image, -fit) for fit, image in ranked[: None if row == 0 else search.MOST]]
    assert list(zip(*(part.tolist() for part in held), strict=True)) == wanted

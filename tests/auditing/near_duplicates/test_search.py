"""The route to very many images: an index finds the same copies as all pairs do."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from hilum.auditing.near_duplicates import codes as index
from hilum.auditing.near_duplicates.search import find_copies
from hilum.auditing.scan import scan
from hilum.data.readers.read import read_table


def pictures(number, seed=0):
    """Pictures with coarse shapes and fine detail, a pair of which is as alike as two radiographs are."""
    generator = np.random.default_rng(seed)
    common = gaussian_filter(generator.normal(size=(64, 64)), 10)
    made = np.empty((number, 64, 64), np.uint8)
    for i in range(number):
        coarse, fine = (gaussian_filter(generator.normal(size=(64, 64)), width) for width in (5, 1))
        mixed = sum(part / part.std() * weight for part, weight in ((common, 30), (coarse, 30), (fine, 12)))
        made[i] = np.clip(128 + mixed, 0, 255)
    return made


def cropped(image, generator):
    left, right, top, bottom = (round(64 * share) for share in generator.uniform(0, 0.08, 4))
    part = Image.fromarray(image[top : 64 - bottom, left : 64 - right])
    return np.asarray(part.resize((64, 64), Image.Resampling.BILINEAR))


def pairs(copies):
    return {(min(i, j), max(i, j)) for i, j in zip(copies.first.tolist(), copies.second.tolist(), strict=True)}


def with_copies(images, each, seed=1):
    generator = np.random.default_rng(seed)
    chosen = generator.choice(len(images), 4 * each, replace=False)
    changes = [
        lambda x: cropped(x, generator),
        lambda x: x[:, ::-1],
        lambda x: 255 - x,
        lambda x: (255 * (x / 255) ** 0.8).astype(np.uint8),
    ]
    copies = [changes[n % 4](images[i]) for n, i in enumerate(chosen)]
    return np.concatenate([images, copies]), {(int(i), len(images) + n) for n, i in enumerate(chosen)}


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
    images, injected = with_copies(scan(read_table(seed_cxr)).thumbnails, 100)
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

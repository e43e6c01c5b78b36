"""Copies searched by a cluster, block by block, are those that one process finds among all images."""

import numpy as np
import pytest
from made_pictures import pairs, pictures, with_copies

from hilum.auditing.near_duplicates import ray_search
from hilum.auditing.near_duplicates.codes import Among
from hilum.auditing.near_duplicates.ray_search import _describe, _hinted, _learn, _search, find_copies_by_ray, store_for
from hilum.auditing.near_duplicates.search import find_copies
from hilum.data.splits import components
from hilum.errors import EngineError
from hilum.ray_engine import STORE, connect
from worker_kills import kill_worker


def groups(copies, count):
    return list(components(count, copies.first, copies.second))


@pytest.fixture(scope="module")
def cluster():
    with connect(cpus=2) as found:
        yield found


@pytest.mark.peers
def test_blocks_find_what_one_process_finds_whoever_is_killed(cluster):
    """Copies lie in the block of the original and in others, one picture in all blocks; names hint at two pairs."""
    images, injected = with_copies(pictures(260), 10)
    images = np.concatenate([images, np.repeat(images[5:6], 30, axis=0)])
    images = images[np.random.default_rng(0).permutation(len(images))]
    done, killed = [], []

    def advance(count):
        done.append(count)
        if not killed and (process := kill_worker("_search")):
            killed.append(process)

    hints = [(0, 1), (7, 300)]
    found = find_copies_by_ray(cluster, images, advance, hints=hints, block=90)
    local = find_copies(images, hints=hints)
    assert killed
    assert sum(done) == len(images)
    assert groups(found, len(images)) == groups(local, len(images))
    assert len(found.first) == len(images) - len(set(groups(found, len(images))))  # none says what is known
    assert len(found.first) >= 0.9 * (len(injected) + 30)


def test_large_blocks_are_asked_by_an_index_of_faiss_and_find_the_same(monkeypatch):
    pytest.importorskip("faiss")
    images, _ = with_copies(pictures(200), 20)
    images = images[np.random.default_rng(1).permutation(len(images))]
    half = len(images) // 2
    blocks = [_describe(part.copy()) for part in (images[:half], images[half:])]
    among = _learn([moments for _, moments in blocks], len(images))
    found, asked = {}, []
    for indexed in (False, True):
        monkeypatch.setattr(ray_search, "use_index", lambda count, indexed=indexed: asked.append(count) or indexed)
        other = _search(blocks[0][0], blocks[1][0], False, among)
        same = _search(blocks[0][0], blocks[0][0], True, among)
        assert len(other.first) > 3
        assert len(same.first) > 3
        found[indexed] = pairs(other), pairs(same)
    assert found[True] == found[False]
    assert asked == 2 * [len(images) - half, half]


def test_a_pair_that_names_hint_at_is_compared_by_this_process():
    images = pictures(40)
    images[30] = images[3][::-1]
    among = _learn([_describe(images.copy())[1]], len(images))
    assert pairs(_hinted(images, among, [(3, 30), (4, 9)])) == {(3, 30)}
    assert pairs(_hinted(images, among, [])) == set()


@pytest.mark.peers
def test_an_error_of_a_process_is_one_message(cluster):
    with pytest.raises(EngineError) as caught:
        find_copies_by_ray(cluster, np.zeros((4, 64), np.uint8))
    assert caught.value.code == "no-worker"


def test_blocks_learn_together_what_all_images_teach():
    images = pictures(150)
    parts = [_describe(images[start : start + 60].copy()) for start in (0, 60, 120)]
    together = _learn([moments for _, moments in parts], len(images))
    for space, among in together.items():
        alone = Among.learn(np.concatenate([described.components[space] for described, _ in parts]))
        np.testing.assert_allclose(among.mean, alone.mean, atol=1e-5)
        np.testing.assert_allclose(among.spread, alone.spread, rtol=1e-5)
    few = _learn([_describe(images[:40].copy())[1]], 40)
    assert all((among.mean == 0).all() and (among.spread == 1).all() for among in few.values())


def test_the_store_holds_all_blocks_of_up_to_90_000_images():
    images = pictures(20)
    described, _ = _describe(images.copy())
    arrays = [images, *(part for part in vars(described).values() if isinstance(part, np.ndarray))]
    held = sum(part.nbytes for part in [*arrays, *described.components.values()])
    assert store_for(89_000) >= 89_000 * held / 20
    assert store_for(10) == STORE
    assert store_for(10**7) == store_for(10**8) <= 2**30

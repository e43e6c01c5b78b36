"""What makes the search quick changes nothing in what it finds: each quick way against the plain one it replaces."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from hilum.auditing.near_duplicates.cells import VISITED, Cells, joined
from hilum.auditing.near_duplicates.codes import CROPS, NO_CROP, SIDE, basis, equalised, unit, view
from hilum.auditing.near_duplicates.looks import TILTS, VIEW, inner, inverted, look

STILL = np.eye(2, 3, dtype=np.float32)


@pytest.fixture(scope="module")
def images():
    generator = np.random.default_rng(3)
    noise = generator.normal(128, 60, (40, 64, 64)).clip(0, 255).astype(np.uint8)
    noise[1] = 7  # blank
    noise[2, :60] = 255  # nearly all cut off to white
    noise[3] = np.arange(64)  # few levels
    return noise


def test_equalised_images_are_those_of_pillow(images):
    expected = [np.asarray(ImageOps.equalize(Image.fromarray(image))) for image in images]
    np.testing.assert_array_equal(equalised(images), expected)


def test_cells_give_what_faiss_gives():
    faiss = pytest.importorskip("faiss")
    generator = np.random.default_rng(0)
    codes = unit(generator.normal(size=(4000, 60)).astype(np.float32))
    asked = unit(codes[:900] + 0.1 * generator.normal(size=(900, 60)).astype(np.float32))
    cells = Cells(codes)
    reference = faiss.IndexIVFFlat(cells._centres, 60, cells._centres.ntotal, faiss.METRIC_INNER_PRODUCT)
    reference.add(codes)
    reference.nprobe = VISITED
    limits, _, found = reference.range_search(asked, 0.4)
    query, position, fits = joined(list(cells.above(asked, 0.4)))
    expected = set(
        zip(np.repeat(np.arange(900), np.diff(limits.astype(np.intp))).tolist(), found.tolist(), strict=True)
    )
    assert len(query) == len(expected) > 900
    assert set(zip(query.tolist(), position.tolist(), strict=True)) == expected
    np.testing.assert_allclose(fits, np.einsum("pl,pl->p", asked[query], codes[position]), atol=1e-5)


@pytest.mark.parametrize("space", ["whole", "inner"])
def test_looks_are_those_of_views_one_by_one(images, space):
    if space == "whole":
        views = np.stack([unit(view(images, crop, SIDE)) for crop in CROPS[:, None]])
    else:
        plain = view(images, NO_CROP, VIEW)
        views = np.stack([inner(plain, np.broadcast_to(tilt, (len(images), 2, 3))) for tilt in TILTS])
    flipped = views.reshape(*views.shape[:2], SIDE, SIDE)[..., ::-1].reshape(views.shape)
    found = look(images, np.tile(STILL, (len(images), 1, 1)), space).components
    np.testing.assert_allclose(found[0], basis().describe(views), atol=1e-3)
    np.testing.assert_allclose(found[1], basis().describe(flipped), atol=1e-3)
    np.testing.assert_allclose(inverted(found[0]), basis().describe(-views), atol=1e-3)

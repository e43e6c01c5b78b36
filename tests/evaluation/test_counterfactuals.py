"""Counterfactual images: what is exchanged is the donor's, and everything else stays."""

import io

import numpy as np
import pytest
from PIL import Image

from hilum.data.readers.read import read_table
from hilum.evaluation.counterfactuals import BLACKOUTS, SWAPS, Source, read_source
from hilum.phantoms import write_phantoms


def source(seed=0, shape=(90, 120), tables=None):
    smooth = np.random.default_rng(seed).random((9, 12)).astype(np.float32)
    resized = Image.fromarray(smooth).resize(shape[::-1], Image.Resampling.BILINEAR)
    return Source(0.1 + 0.8 * np.asarray(resized), tables or {})


def bordered(own, rows, columns):
    pixels = own.pixels.copy()
    pixels[:rows] = pixels[-rows:] = pixels[:, :columns] = pixels[:, -columns:] = 0
    return Source(pixels, {})


def file_of(pixels, path, **how):
    Image.fromarray(np.rint(255 * pixels).astype(np.uint8)).save(path, **how)
    return read_source(path.parent, path.name)


@pytest.mark.parametrize("name", SWAPS)
def test_an_images_own_property_changes_nothing(name):
    own = bordered(source(), 6, 9)
    assert SWAPS[name](own, own) == pytest.approx(own.pixels, abs=2e-3) or name == "borders"
    assert SWAPS[name](source(), source()) == pytest.approx(source().pixels, abs=2e-3)


@pytest.mark.parametrize("name", SWAPS)
def test_images_of_one_colour_and_of_other_shapes_are_edited(name):
    flat = Source(np.full((40, 50), 0.5, np.float32), {})
    for own, donor in ((flat, source()), (source(), flat), (flat, flat), (source(shape=(32, 200)), source(1))):
        edited = SWAPS[name](own, donor)
        assert min(edited.shape) > 0
        assert np.isfinite(edited).all()
        assert edited.dtype == np.float32


def test_the_frame_is_the_donors_and_the_rest_its_own():
    own, donor = source(), source(1, (180, 240))
    edited = SWAPS["frame"](own, donor)
    assert (edited[9:-9, 12:-12] == own.pixels[9:-9, 12:-12]).all()
    assert edited[:9] == pytest.approx(np.asarray(Image.fromarray(donor.pixels).resize((120, 90), 2))[:9])


def test_the_upper_corners_are_the_donors():
    own, donor = source(), source(1)
    changed = SWAPS["corner marks"](own, donor) != own.pixels
    assert changed[:16, :22].all()
    assert changed[:16, -22:].all()
    assert not changed[16:].any()
    assert not changed[:, 22:-22].any()


def test_a_border_is_given_and_taken():
    plain, framed = source(), bordered(source(1), 9, 6)
    given = SWAPS["borders"](plain, framed)
    assert (given[:9] == 0).all()
    assert (given[:, -6:] == 0).all()
    assert (given[9:-9, 6:-6] == plain.pixels[9:-9, 6:-6]).all()
    taken = SWAPS["borders"](framed, plain)
    assert (taken == framed.pixels[9:-9, 6:-6]).all()
    # The same content under either border: covered to the donor's share of it.
    assert SWAPS["borders"](framed, framed).shape == taken.shape


def test_the_histogram_is_the_donors_and_the_order_its_own():
    own, donor = source(), Source(source(1).pixels ** 2, {})
    edited = SWAPS["histogram"](own, donor)
    assert np.quantile(edited, np.linspace(0, 1, 20)) == pytest.approx(
        np.quantile(donor.pixels, np.linspace(0, 1, 20)), abs=0.01
    )
    order = np.argsort(own.pixels, axis=None, kind="stable")
    assert (np.diff(edited.ravel()[order]) >= 0).all()


def test_the_aspect_is_the_donors():
    for shape in ((90, 120), (120, 90), (100, 100), (40, 200)):
        height, width = SWAPS["aspect"](source(), source(1, shape)).shape
        assert width / height == pytest.approx(shape[1] / shape[0], rel=0.03)
        assert height in (90, height)
        assert 90 in (height,) or width == 120


def test_compression_is_the_donors_quality(tmp_path):
    own = source()
    strong = file_of(source(1).pixels, tmp_path / "a.jpg", quality=8)
    fine = file_of(source(1).pixels, tmp_path / "b.jpg", quality=95)
    lossless = file_of(source(1).pixels, tmp_path / "c.png")
    assert SWAPS["compression"](own, lossless) is own.pixels
    buffer = io.BytesIO()
    Image.fromarray(np.rint(255 * own.pixels).astype(np.uint8)).save(buffer, "JPEG", quality=8)
    assert (SWAPS["compression"](own, strong) == np.asarray(Image.open(buffer)) / np.float32(255)).all()
    errors = [np.abs(SWAPS["compression"](own, donor) - own.pixels).mean() for donor in (fine, strong)]
    assert errors[0] < errors[1] / 2


def test_large_images_are_reduced_and_keep_their_ratio(tmp_path):
    large = file_of(source(shape=(1500, 3000)).pixels, tmp_path / "a.png")
    assert large.pixels.shape == (512, 1024)


def test_the_centre_and_all_else_are_the_whole():
    own = source()
    outside, inside = BLACKOUTS["centre blacked out"](own), BLACKOUTS["all but the centre blacked out"](own)
    assert (outside + inside == own.pixels).all()
    assert (outside * inside == 0).all()
    assert (inside > 0).mean() == pytest.approx(0.62**2, abs=0.02)
    assert BLACKOUTS["lungs blacked out"](own) is None


def test_the_lungs_of_phantoms_are_blacked_out_by_their_true_mask(tmp_path):
    write_phantoms(tmp_path / "data", patients=6, size=64, workers=1)
    for row in read_table(tmp_path / "data").rows:
        own = read_source(tmp_path / "data", row.path)
        assert 0.15 < own.lungs.mean() < 0.6
        edited = BLACKOUTS["lungs blacked out"](own)
        assert (edited[own.lungs] == 0).all()
        assert (edited[~own.lungs] == own.pixels[~own.lungs]).all()
        lesions = tmp_path / "data" / "masks" / row.path
        if lesions.exists():  # disease is in the lungs
            mask = np.asarray(Image.open(lesions)) > 0
            assert (mask & own.lungs).sum() > 0.95 * mask.sum()

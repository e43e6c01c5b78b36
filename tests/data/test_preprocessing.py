"""From any image to the network's bytes."""

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from hilum.data.preprocessing import Preprocessing


def smooth(side):
    """A picture with structure at every scale that survives reduction: sums of broad waves, in 0..1."""
    y, x = np.mgrid[0:side, 0:side] / side
    wave = np.sin(7 * x + 3 * y) + np.cos(5 * y * x + 1) + np.sin(11 * y)
    return ((wave - wave.min()) / np.ptp(wave)).astype(np.float32)


@pytest.mark.parametrize("equalise", [False, True])
def test_a_large_original_and_its_small_copy_give_the_same_bytes(equalise):
    original = smooth(1500)
    copy = np.asarray(Image.fromarray(original).resize((150, 150), Image.Resampling.BOX))
    plan = Preprocessing(size=75, equalise=equalise)
    difference = np.abs(plan.apply(original).astype(int) - plan.apply(copy).astype(int))
    assert difference.mean() < 2


def test_reduction_is_antialiased():
    stripes = np.tile(np.array([0, 1], np.float32), (300, 150))  # 300 pixels, finest stripes
    assert np.ptp(Preprocessing(size=100).apply(stripes)[:, 2:-2].astype(int)) <= 60  # plain sampling: 255


def test_an_image_of_the_right_size_passes_unchanged():
    pixels = np.random.default_rng(0).integers(0, 256, (150, 150)).astype(np.uint8)
    np.testing.assert_array_equal(Preprocessing(size=150).apply(pixels.astype(np.float32) / 255), pixels)


def test_equalised_grey_values_are_spread_evenly():
    pixels = smooth(300) ** 1.5 * 0.4 + 0.1  # dark, without contrast
    values = Preprocessing(size=150, equalise=True).apply(pixels.astype(np.float32))
    deciles = np.quantile(values, np.linspace(0.1, 0.9, 9))
    np.testing.assert_allclose(deciles, 255 * np.linspace(0.1, 0.9, 9), atol=12)


def test_equalisation_undoes_exposure():
    plan = Preprocessing(size=100, equalise=True)
    darker = (smooth(200) ** 1.7 * 0.8).astype(np.float32)
    assert np.abs(plan.apply(darker).astype(int) - plan.apply(smooth(200)).astype(int)).mean() < 4


@pytest.mark.parametrize(("fit", "expected"), [("stretch", (0, 0)), ("pad", (0, 64)), ("crop", (0, 0))])
def test_pictures_that_are_not_square(fit, expected):
    wide = np.ones((100, 200), np.float32)
    wide[:, 50:150] = 0.5
    square = Preprocessing(size=128, fit=fit).apply(wide)
    assert square.shape == (128, 128)
    bands = {"stretch": 64, "pad": 64, "crop": 128}[fit]
    assert (square[64] == 128).sum() == pytest.approx(bands, abs=3)
    assert (square == 0).sum() == expected[0] + expected[1] * 128


def test_whatever_could_change_the_bytes_changes_the_digest():
    plans = [Preprocessing(size=75), Preprocessing(size=76), Preprocessing(size=75, equalise=True)]
    plans.append(Preprocessing(size=75, fit="pad"))
    assert len({plan.digest() for plan in plans}) == len(plans)


@pytest.mark.parametrize("size", [0, 31, 5000])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(ValidationError):
        Preprocessing(size=size)

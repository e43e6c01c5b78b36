"""Each pixel against its surroundings."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, uniform_filter1d

from hilum.errors import RecipeError
from hilum.models.compact import FLOOR, LARGEST, local_contrast
from hilum.training.recipe import load_recipe

SHARE = 0.067


def radiographs(count=4, side=75):
    generator = np.random.default_rng(0)
    smooth = gaussian_filter(generator.normal(size=(count, 1, side, side)), (0, 0, 3, 3))
    return torch.from_numpy((smooth / smooth.std() * 0.3 + generator.normal(0, 0.05, smooth.shape)).astype(np.float32))


def blurred(images, radius):
    for axis in (-1, -2, -1, -2):
        images = uniform_filter1d(images, 2 * radius + 1, axis=axis, mode="nearest")
    return images


@pytest.mark.parametrize(("side", "radius", "wider"), [(75, 5, 7), (54, 4, 5), (32, 2, 3)])
def test_it_is_what_scipys_filters_make(side, radius, wider):
    images = radiographs(side=side).double().numpy()
    apart = images - blurred(images, radius)
    wanted = np.clip(apart / np.sqrt(blurred(apart**2, wider) + FLOOR), -LARGEST, LARGEST)
    np.testing.assert_allclose(local_contrast(torch.from_numpy(images), SHARE).numpy(), wanted, atol=1e-4)


def test_brightness_drops_out_and_contrast_nearly():
    images = radiographs()
    torch.testing.assert_close(local_contrast(images + 0.4, SHARE), local_contrast(images, SHARE), atol=1e-4, rtol=0)
    shade = torch.linspace(0.6, 1.0, 75)  # a gain that grows across the image, as of uneven exposure
    seen, shaded = (local_contrast(some, SHARE).flatten() for some in (images, images * shade))
    assert torch.corrcoef(torch.stack([seen, shaded]))[0, 1] > 0.99
    assert torch.corrcoef(torch.stack([images.flatten(), (images * shade + shade).flatten()]))[0, 1] < 0.97


def test_a_blank_image_stays_blank():
    assert local_contrast(torch.full((2, 1, 40, 40), 0.7), SHARE).abs().max() < 1e-4


def test_it_keeps_its_digits_under_bfloat16():
    images = radiographs()
    wanted = local_contrast(images, SHARE)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(local_contrast(images, SHARE), wanted, atol=1e-6, rtol=0)


def test_a_share_that_is_none_is_named(refuses):
    with refuses(RecipeError, "impossible-value"):
        load_recipe("compact", ["local_contrast=0.9"])

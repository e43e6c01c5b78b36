"""Each pixel against its surroundings."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, uniform_filter1d

from hilum.errors import RecipeError
from hilum.models.local_contrast import FLOOR, LARGEST, LocalContrast
from hilum.models.registry import build_network


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
    np.testing.assert_allclose(LocalContrast(0.067)(torch.from_numpy(images)).numpy(), wanted, atol=1e-4)


def test_brightness_drops_out_and_contrast_nearly():
    images, see = radiographs(), LocalContrast(0.067)
    torch.testing.assert_close(see(images + 0.4), see(images), atol=1e-4, rtol=0)
    shade = torch.linspace(0.6, 1.0, 75)  # a gain that grows across the image, as of uneven exposure
    seen, shaded = see(images).flatten(), see(images * shade).flatten()
    assert torch.corrcoef(torch.stack([seen, shaded]))[0, 1] > 0.99
    assert torch.corrcoef(torch.stack([images.flatten(), (images * shade + shade).flatten()]))[0, 1] < 0.97


def test_a_blank_image_stays_blank():
    assert LocalContrast(0.067)(torch.full((2, 1, 40, 40), 0.7)).abs().max() < 1e-4


def test_it_keeps_its_digits_under_bfloat16():
    images, see = radiographs(), LocalContrast(0.067)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(see(images), see.float()(images), atol=1e-6, rtol=0)


def test_a_share_that_is_none_is_named():
    with pytest.raises(RecipeError, match=r"local_contrast = 0\.9"):
        build_network("compact", n_labels=3, size=75, local_contrast=0.9)

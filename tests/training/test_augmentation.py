"""Augmentation: what is asked for, no more, and the same from the same draw."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from hilum.training.augmentation import apply, draw
from hilum.training.plan import Augmentation


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def blob(x, y, side=64):
    """Images (1, 1, side, side) with one bright spot at (x, y)."""
    rows, columns = np.mgrid[0:side, 0:side]
    return torch.from_numpy(np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18)).float()[None, None]


def centre(images):
    """Centres of mass (x, y) of a batch, shape (B, 2)."""
    return np.array([ndimage.center_of_mass(image[0].numpy())[::-1] for image in images])


def changed(plan, image, batch=64, seed=0):
    return apply(image.expand(batch, -1, -1, -1), draw(plan, batch, generator(seed)))


def test_nothing_asked_nothing_changed():
    image = torch.rand(4, 1, 20, 20)
    assert torch.equal(apply(image, draw(Augmentation(), 4, generator())), image)


def test_the_same_draw_gives_the_same_images_and_another_seed_others():
    plan = Augmentation(translate=0.1, scale=0.2, rotate=10, gamma=0.2)
    image = torch.rand(1, 1, 32, 32)
    assert torch.equal(changed(plan, image, seed=1), changed(plan, image, seed=1))
    assert not torch.equal(changed(plan, image, seed=1), changed(plan, image, seed=2))


def test_translation_moves_at_most_as_far_as_asked_and_about_that_far():
    shifts = centre(changed(Augmentation(translate=0.1), blob(32, 32))) - 32
    assert np.abs(shifts).max() <= 6.4 + 0.5
    assert np.abs(shifts).max() > 5
    assert np.abs(shifts.mean(axis=0)).max() < 1.5


def test_scaling_keeps_the_middle_and_moves_the_rest_radially():
    moved = centre(changed(Augmentation(scale=0.25), blob(47.5, 31.5))) - 31.5
    assert 16 / 1.25 - 0.5 <= moved[:, 0].min() < 14.5
    assert 17.5 < moved[:, 0].max() <= 16 * 1.25 + 0.5
    assert np.abs(moved[:, 1]).max() < 0.3


def test_rotation_keeps_the_distance_from_the_middle():
    moved = centre(changed(Augmentation(rotate=30), blob(47.5, 31.5))) - 31.5
    np.testing.assert_allclose(np.hypot(*moved.T), 16, atol=0.3)
    angles = np.degrees(np.arctan2(moved[:, 1], moved[:, 0]))
    assert 20 < np.abs(angles).max() <= 31


def test_reflection_exchanges_left_and_right_and_nothing_else():
    image = torch.rand(1, 1, 32, 32)
    mirrored = changed(Augmentation(hflip=1.0), image, batch=3)
    torch.testing.assert_close(mirrored, image.flip(3).expand(3, -1, -1, -1), atol=1e-4, rtol=0)
    half = changed(Augmentation(hflip=0.5), blob(10, 32), batch=400)
    assert (centre(half)[:, 0] > 32).mean() == pytest.approx(0.5, abs=0.08)


def test_aspect_changes_width_against_height():
    moved = centre(changed(Augmentation(aspect=0.3), blob(47.5, 47.5))) - 31.5
    ratio = moved[:, 0] / moved[:, 1]
    assert 1 / 1.33 < ratio.min() < 0.85
    assert 1.18 < ratio.max() < 1.33
    np.testing.assert_allclose(moved.prod(axis=1), 256, rtol=0.05)  # area is kept


def test_gamma_keeps_black_white_and_order():
    image = torch.linspace(0, 1, 400).view(1, 1, 20, 20)
    changed_images = changed(Augmentation(gamma=0.5), image).flatten(1)
    assert (changed_images.diff(dim=1) >= 0).all()
    torch.testing.assert_close(changed_images[:, -1], torch.ones(64))
    middle = torch.log(changed_images[:, 200]) / torch.log(image.flatten()[200])
    assert middle.log().abs().max() <= 0.5 + 1e-4
    assert middle.log().abs().max() > 0.4


@pytest.mark.parametrize("plan", [Augmentation(), Augmentation(scale=0.01)])
def test_smaller_images_show_the_same(plan):
    image = blob(20, 40)
    small = changed(plan, image, batch=4).clone()
    reduced = apply(image.expand(4, -1, -1, -1), draw(plan, 4, generator()), 32)
    assert reduced.shape == (4, 1, 32, 32)
    np.testing.assert_allclose(centre(reduced) * 2 + 0.5, centre(small), atol=0.3)


def test_what_moves_in_from_outside_repeats_the_edge():
    flat = torch.full((1, 1, 32, 32), 0.7)
    plan = Augmentation(translate=0.3, scale=0.5, rotate=45)
    torch.testing.assert_close(changed(plan, flat), flat.expand(64, -1, -1, -1))

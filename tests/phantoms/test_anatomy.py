"""One phantom: reproducible, the same patient again, and the right way round."""

import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from hilum.errors import UsageError
from hilum.phantoms import LABELS, make_phantom
from hilum.phantoms.anatomy import Pose, profiles_of, sample_anatomy
from hilum.phantoms.image import Grid
from hilum.phantoms.thorax import build_thorax

STRAIGHT = Pose(rotation=0.0, tilt=0.0, shift=(0.0, 0.0), field=40.0, breath=0.0, bedside=False)


def thoraces(n):
    grid = Grid.of(100, 0.4)
    for patient in range(n):
        anatomy = sample_anatomy(np.random.default_rng(patient))
        yield grid, anatomy, build_thorax(grid, anatomy, STRAIGHT, profiles_of(anatomy))


@pytest.mark.parametrize("label", LABELS)
def test_same_arguments_same_pixels(label):
    first = make_phantom(label, seed=3, patient=7, image=1, size=64)
    make_phantom(label, seed=4, patient=8, size=64)
    again = make_phantom(label, seed=3, patient=7, image=1, size=64)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.mask, again.mask)
    assert (first.image.dtype, first.mask.dtype, first.label) == (np.uint8, np.bool_, label)
    assert not np.array_equal(first.image, make_phantom(label, seed=4, patient=7, image=1, size=64).image)


@pytest.mark.parametrize("size", [64, 100, 256])
def test_any_size_shows_the_same_scene(size):
    phantom = make_phantom("infected/covid", patient=2, size=size)
    assert phantom.image.shape == phantom.mask.shape == (size, size)
    small = make_phantom("infected/covid", patient=2, size=128)
    coarse = [np.asarray(Image.fromarray(p.image).resize((32, 32), Image.Resampling.BOX)) for p in (phantom, small)]
    assert np.corrcoef(coarse[0].ravel(), coarse[1].ravel())[0, 1] > 0.98
    assert phantom.mask.mean() == pytest.approx(small.mask.mean(), rel=0.25)


def spectrum(image):
    """Fourier transform of an image's finer structure, of unit energy."""
    fine = image.astype(float) - scipy.ndimage.gaussian_filter(image.astype(float), 6)
    transform = np.fft.fft2(np.pad(fine * np.outer(np.hanning(64), np.hanning(64)), 16))
    return transform / np.linalg.norm(transform)


def test_images_of_one_patient_are_more_alike_than_those_of_two():
    n = 20
    spectra = [[spectrum(make_phantom("normal", patient=p, image=k, size=64).image) for p in range(n)] for k in (0, 1)]
    # the best correlation over all shifts, because patients stand differently each time
    alike = np.array([[np.fft.ifft2(a * b.conj()).real.max() for b in spectra[1]] for a in spectra[0]])
    own = np.diag(alike)
    assert (own > (alike.sum(1) - own) / (n - 1)).mean() > 0.6
    rng = np.random.default_rng(0)
    pairings = [alike[np.arange(n), rng.permutation(n)].mean() for _ in range(999)]
    assert own.mean() > max(pairings)  # p < 0.001


def test_heart_and_gas_lie_on_the_images_right_and_the_liver_dome_is_higher():
    for grid, anatomy, thorax in thoraces(25):
        lung, x = thorax.lung(), grid.x
        low = (grid.y > 0) & (grid.y < anatomy.apex + 0.9 * anatomy.height)
        assert lung[low & (x < 0)].sum() > lung[low & (x > 0)].sum()  # the heart takes more of the left lung
        column = [np.argmin(np.abs(x[0] - side * 0.75 * anatomy.half_width)) for side in (-1, 1)]
        ends = [np.flatnonzero(lung[:, c] > 0.5 * lung[:, c].max())[-1] for c in column]
        assert ends[0] < ends[1]
        if anatomy.gas:
            assert (thorax.gas * x).sum() > 0


def test_lungs_hold_a_plausible_volume():
    litres = [float(t.lung().sum()) * g.spacing**2 / 1000 for g, _, t in thoraces(40)]
    # total lung capacity of adolescents and adults, 3 to 8 l (Stocks & Quanjer, Eur Respir J 8 (1995) 492)
    assert min(litres) > 2.5
    assert max(litres) < 8.5
    assert 3.5 < np.mean(litres) < 7.0


def test_air_is_dark_and_dense_parts_are_bright():
    images = np.mean([make_phantom("normal", patient=p).image for p in range(24)], axis=0)
    corners = images[:12, [0, 1, 2, -3, -2, -1]].mean()
    lungs = np.mean([images[50:75, 25:38].mean(), images[50:70, 92:102].mean()])
    middle = images[40:90, 60:68].mean()
    assert corners < lungs < middle - 60


@pytest.mark.parametrize(("label", "size"), [("covid", 128), ("normal", 16)])
def test_impossible_requests_are_refused(label, size):
    with pytest.raises(UsageError):
        make_phantom(label, size=size)


def test_every_patient_has_ribs_of_their_own_that_do_not_cross():
    patients = [sample_anatomy(np.random.default_rng(seed)) for seed in range(200)]
    levels = np.stack([anatomy.rib_levels for anatomy in patients])
    waves = np.stack([anatomy.rib_waves for anatomy in patients])
    # a course is at most its level's and both waves' deviation away from the average's
    between = np.abs(np.diff(levels, axis=-1)) + np.abs(np.diff(waves, axis=-1)).sum(axis=-2)
    assert between.max() < 1.75  # the least distance of two ribs at the spine
    right, left = (levels[:, side].ravel() for side in (0, 1))
    assert abs(np.corrcoef(right, left)[0, 1]) < 0.2
    assert 0.1 < levels.std() < 0.5

"""Lesions: seen where the mask says, nowhere else, and in the pattern of their disease."""

import numpy as np
import pytest
import scipy.ndimage

from hilum.phantoms import LABELS, make_phantom
from hilum.phantoms.anatomy import profiles_of, sample_anatomy
from hilum.phantoms.radiograph import sample_consolidation, sample_ground_glass


def disease(label, patient):
    rng = np.random.default_rng([11, patient])
    anatomy = sample_anatomy(rng)
    sample = sample_ground_glass if label == LABELS[1] else sample_consolidation
    return anatomy, sample(rng, anatomy, profiles_of(anatomy)).lesions


@pytest.mark.parametrize("label", LABELS[1:])
def test_diseased_and_healthy_twin_differ_in_the_mask_only(label):
    inside, outside = [], []
    for patient in range(20):
        ill = make_phantom(label, seed=2, patient=patient)
        well = make_phantom("normal", seed=2, patient=patient)
        change = ill.image.astype(float) - well.image
        assert ill.mask.any()
        assert not well.mask.any()
        inside.append(change[ill.mask].mean())
        far = ~scipy.ndimage.binary_dilation(ill.mask, iterations=12)
        outside.append(np.abs(change[far]).max())
    assert min(inside) > 3
    assert np.mean(inside) > 8
    assert max(outside) <= 6  # faint rims below the mask's threshold; no global shift of the display
    assert np.median(outside) <= 3


def test_ground_glass_lies_in_both_lungs_and_below():
    heights = []
    for patient in range(40):
        anatomy, lesions = disease(LABELS[1], patient)
        sides = [np.sign(lesion.shape.centre[0]) for lesion in lesions]
        assert min(sides.count(-1), sides.count(1)) >= 2
        heights += [(lesion.shape.centre[1] - anatomy.apex) / anatomy.height for lesion in lesions]
    assert np.mean(np.array(heights) > 0.5) > 0.75


def test_ground_glass_shows_on_both_sides_of_the_image():
    seen = [make_phantom(LABELS[1], seed=6, patient=p).mask for p in range(20)]
    # patients may stand off-centre by a few pixels
    assert np.mean([mask[:, :56].any() and mask[:, 72:].any() for mask in seen]) > 0.9


def test_consolidation_is_one_sided_and_keeps_to_its_lobe():
    sides = []
    for patient in range(40):
        _, lesions = disease(LABELS[2], patient)
        found = {np.sign(lesion.shape.centre[0]) for lesion in lesions}
        assert len(found) == 1
        assert len({lesion.lobe for lesion in lesions}) == 1
        sides += found
        mask = make_phantom(LABELS[2], seed=11, patient=patient).mask
        left, right = mask[:, :64].sum(), mask[:, 64:].sum()
        assert max(left, right) > 0.9 * (left + right)
    assert {-1.0, 1.0} == set(sides)


def test_severity_varies():
    areas = [make_phantom(label, seed=1, patient=p).mask.mean() for label in LABELS[1:] for p in range(30)]
    assert np.percentile(areas, 90) > 3 * np.percentile(areas, 10)

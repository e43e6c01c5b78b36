"""Several findings at once: each is seen where its mask says, in the pattern of its disease."""

import numpy as np
import pytest
import scipy.ndimage

from hilum.errors import UsageError
from hilum.phantoms import FINDINGS, make_findings_phantom, make_phantom
from hilum.phantoms.pleura import LARGE
from hilum.phantoms.scene import draw_scene
from hilum.phantoms.thorax import build_thorax, cardiothoracic_ratio, heart_shadow, with_ratio

ALL = dict.fromkeys(FINDINGS, 0.5)


def twins(name, patient, others=(), severity=0.6):
    """A phantom with a finding, and the same one without it."""
    rest = dict.fromkeys(others, 0.5)
    return (
        make_findings_phantom({**rest, name: severity}, seed=2, patient=patient),
        make_findings_phantom(rest, seed=2, patient=patient),
    )


def change(name, patient, others=(), severity=0.6):
    """Grey values by which the finding changes the image, and where its mask is."""
    ill, well = twins(name, patient, others, severity)
    return ill.image.astype(float) - well.image, ill.masks[name]


@pytest.mark.parametrize("severity", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", FINDINGS)
def test_a_finding_changes_the_image_within_its_mask_only(name, severity):
    outside = []
    for patient in range(8):
        moved, mask = change(name, patient, severity=severity)
        assert mask.any()
        assert np.abs(moved[mask]).mean() > 3
        far = ~scipy.ndimage.binary_dilation(mask, iterations=12)
        outside.append(np.abs(moved[far]).max(initial=0))
    assert max(outside) <= 6  # faint rims below the mask's threshold; no global shift of the display
    assert np.median(outside) <= 3


@pytest.mark.parametrize("name", FINDINGS)
def test_the_same_holds_beside_all_other_findings(name):
    for patient in range(8):
        moved, mask = change(name, patient, others=[other for other in FINDINGS if other != name])
        far = ~scipy.ndimage.binary_dilation(mask, iterations=12)
        assert np.abs(moved[far]).max(initial=0) <= 8


def test_density_rises_with_all_findings_but_air():
    for name in FINDINGS:
        moved = [change(name, patient) for patient in range(6)]
        mean = np.mean([m[mask].mean() for m, mask in moved])
        assert (mean < -8) if name == "pneumothorax" else (mean > 3), name


def test_without_findings_it_is_the_healthy_phantom_with_a_normal_heart():
    for patient in range(6):
        plain = make_findings_phantom({}, seed=4, patient=patient)
        normal = make_phantom("normal", seed=4, patient=patient)
        assert not plain.masks
        heart = scipy.ndimage.binary_dilation(plain.lungs ^ normal.lungs, iterations=10)
        upper = np.zeros_like(heart)
        upper[:40] = True
        apart = np.abs(plain.image[upper & ~heart].astype(float) - normal.image[upper & ~heart])
        assert np.median(apart) <= 6


def test_a_large_heart_is_wider_than_half_the_chest_on_its_mask():
    for patient in range(12):
        for severity, least in ((0.0, 0.5), (1.0, 0.6)):
            phantom = make_findings_phantom({"cardiomegaly": severity}, seed=5, patient=patient, size=192)
            heart = np.flatnonzero(phantom.masks["cardiomegaly"].any(0))
            wide = [np.flatnonzero(row) for row in phantom.lungs if row.any()]
            chest = max(row[-1] - row[0] + 1 for row in wide)
            assert least < (heart[-1] - heart[0] + 1) / chest < 0.85, (patient, severity)


def test_a_normal_heart_is_narrower_than_half_the_chest():
    for patient in range(20):
        scene = draw_scene(5, patient, 0, 128)
        anatomy = with_ratio(scene.anatomy, scene.profiles, 0.45)
        shadow = np.flatnonzero(heart_shadow(scene.grid, anatomy, scene.pose).any(0))
        lungs = build_thorax(scene.grid, anatomy, scene.pose, scene.profiles).lung() > 0.5
        chest = max(row[-1] - row[0] + 1 for row in (np.flatnonzero(row) for row in lungs) if row.size)
        assert (shadow[-1] - shadow[0] + 1) / chest == pytest.approx(0.45, abs=0.06)  # lying, it is wider
        assert cardiothoracic_ratio(anatomy, scene.profiles) == pytest.approx(0.45, abs=1e-3)


def test_fluid_fills_the_costophrenic_angle_and_rises_to_the_wall():
    for patient in range(12):
        phantom = make_findings_phantom({"effusion": 0.5}, seed=6, patient=patient)
        right = phantom.masks["effusion"][:, :64].sum() > phantom.masks["effusion"][:, 64:].sum()
        fluid, lung = (m[:, :64] if right else m[:, :63:-1] for m in (phantom.masks["effusion"], phantom.lungs))
        columns = np.flatnonzero(fluid.any(0))  # from the chest wall inwards
        top = fluid.argmax(0)[columns]
        assert top[: len(top) // 2].min() < top[len(top) // 2 :].min()  # a meniscus
        lowest = np.flatnonzero(lung.any(1))[-1]
        assert fluid[lowest - 3 : lowest + 1].any()


def test_nodules_are_round_few_and_of_5_to_30_mm():
    sizes = []
    for patient in range(20):
        phantom = make_findings_phantom({"nodule": patient / 19}, seed=7, patient=patient, size=192)
        field = draw_scene(7, patient, 0, 32).pose.field
        parts, number = scipy.ndimage.label(phantom.masks["nodule"])
        assert 1 <= number <= 3
        for part in scipy.ndimage.find_objects(parts):
            high, wide = (10 * field / 192 * (edge.stop - edge.start) for edge in part)
            sizes.append(max(high, wide))
            assert max(high, wide) < 34  # 30 mm, and a pixel at each edge
    assert min(sizes) > 3
    assert max(sizes) > 24


def test_no_lesions_are_seen_in_the_air_of_a_pneumothorax():
    covered, plain = [], []
    for patient in range(8):
        alone = {"pneumothorax": 0.5}
        lesions = {"ground_glass": 0.9, "nodule": 0.9}
        air, both = (make_findings_phantom(f, seed=8, patient=patient) for f in (alone, {**alone, **lesions}))
        healthy, ill = (make_findings_phantom(f, seed=8, patient=patient) for f in ({}, lesions))
        beyond = scipy.ndimage.binary_erosion(air.masks["pneumothorax"], iterations=3)
        covered += list(np.abs(both.image.astype(float) - air.image)[beyond])
        plain += list(np.abs(ill.image.astype(float) - healthy.image)[beyond])
    assert np.mean(plain) > 3
    assert np.mean(covered) < 0.1 * np.mean(plain)


def test_a_large_pneumothorax_pushes_the_heart_away():
    for patient in range(8):
        pushed = {}
        for severity in (LARGE, 1.0):
            phantom = make_findings_phantom({"pneumothorax": severity, "cardiomegaly": 0.3}, seed=9, patient=patient)
            pushed[severity] = np.argwhere(phantom.masks["cardiomegaly"])[:, 1].mean()
        air = make_findings_phantom({"pneumothorax": LARGE}, seed=9, patient=patient).masks["pneumothorax"]
        side = np.sign(np.argwhere(air)[:, 1].mean() - 64)
        assert side * (pushed[1.0] - pushed[LARGE]) < -3


def test_a_finding_lies_in_the_same_place_in_all_images_of_a_patient():
    for name in ("effusion", "pneumothorax", "consolidation"):
        for patient in range(6):
            sides = {
                bool(mask[:, :64].sum() > mask[:, 64:].sum())
                for mask in (
                    make_findings_phantom({name: 0.4}, seed=1, patient=patient, image=k).masks[name] for k in range(2)
                )
            }
            assert len(sides) == 1 or name == "effusion"  # that may be on both


def test_the_truth_is_told_with_the_image():
    phantom = make_findings_phantom(ALL, seed=1, patient=3, image=1, size=64)
    again = make_findings_phantom(ALL, seed=1, patient=3, image=1, size=64)
    np.testing.assert_array_equal(phantom.image, again.image)
    assert phantom.severities == ALL
    assert set(phantom.masks) == set(FINDINGS)
    assert phantom.image.shape == phantom.lungs.shape == (64, 64)
    assert phantom.view in ("AP", "PA")
    assert phantom.sex in ("F", "M")
    assert 16 <= phantom.age <= 90


@pytest.mark.parametrize("wrong", [{"edema": 0.5}, {"nodule": 1.5}, {"nodule": float("nan")}])
def test_findings_that_are_none_are_refused(wrong, refuses):
    with refuses(UsageError, "unknown-finding"):
        make_findings_phantom(wrong)

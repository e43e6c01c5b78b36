"""Copies that were turned, flipped or rotated are found and named, the plain file is kept, and names only hint."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import affine_transform

from hilum.auditing.checks.duplicate_findings import findings
from hilum.auditing.checks.duplicates import find_duplicates
from hilum.auditing.clean import fix
from hilum.auditing.near_duplicates import search
from hilum.auditing.near_duplicates.codes import equalised
from hilum.auditing.near_duplicates.copy_pairs import CHANGES
from hilum.auditing.near_duplicates.groups import hints, is_altered, say_so
from hilum.auditing.near_duplicates.register import quarter_turns
from hilum.auditing.near_duplicates.search import find_copies
from hilum.auditing.scan import scan
from hilum.data.dataset import Dataset, Row
from hilum.phantoms import LABELS, make_phantom
from wording import numbers

PHANTOMS = 60
ORIENTATIONS = {
    "90Rotated_": ("turned_90", lambda x: np.rot90(x)),
    "180Rotated_": ("turned_180", lambda x: np.rot90(x, 2)),
    "270Rotated_": ("turned_90", lambda x: np.rot90(x, 3)),
    "horizontalFlipped_": ("mirrored", lambda x: x[:, ::-1]),
    "verticalFlipped_": ("upside_down", lambda x: x[::-1]),
    "transposed_": ("transposed", lambda x: x.T),
    "flip_rot90_": ("transposed", lambda x: np.rot90(x, 2).T),
}


@pytest.fixture(scope="module")
def phantoms():
    return [make_phantom(LABELS[i % 3], seed=8, patient=i, image=0, size=128).image for i in range(PHANTOMS)]


@pytest.fixture(scope="module")
def thumbnails(phantoms):
    return np.stack([shrunk(image) for image in phantoms])


def shrunk(image):
    return np.asarray(Image.fromarray(image).resize((64, 64), Image.Resampling.BOX))


def augmented(image, degrees, shift=(0.0, 0.0), zoom=1.0, mode="constant"):
    """As augmentation libraries do it: what comes in is black (``constant``) or repeats the edge (``nearest``)."""
    angle, centre = np.deg2rad(degrees), (np.array(image.shape) - 1) / 2
    turned = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    offset = centre - turned @ centre + np.array(shift) * image.shape
    return affine_transform(image.astype(np.float32), turned, offset, order=1, mode=mode).clip(0, 255).astype(np.uint8)


def write(tmp_path, files):
    """Images as PNG by path, below a folder of their label."""
    for name, image in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(image)).save(tmp_path / name)
    return scan(Dataset(tmp_path, tuple(Row(name, name.split("/")[0]) for name in files)))


def pairs(copies):
    return {(min(i, j), max(i, j)) for i, j in zip(copies.first.tolist(), copies.second.tolist(), strict=True)}


def test_a_downloaded_set_of_40_pictures_in_six_orientations(tmp_path, phantoms, snapshot):
    made = {prefix: change for prefix, (_, change) in ORIENTATIONS.items() if prefix[0] in "129hv"}
    files = {
        f"Viral-COVID19/{prefix}{i}.png": change(phantoms[i]) for i in range(40) for prefix, change in made.items()
    }
    files |= {f"Viral-COVID19/{i}.png": phantoms[i] for i in range(40)}
    files |= {f"Normal/{i}.png": phantoms[i] for i in range(40, PHANTOMS)}
    seen = write(tmp_path, files)
    found = find_duplicates(seen)
    paths = list(files)
    assert {frozenset(paths[i] for i in group) for group in found.groups} == {
        frozenset(f"Viral-COVID19/{prefix}{i}.png" for prefix in ("", *made)) for i in range(40)
    }
    assert found.superfluous == 200
    assert found.kinds() == {"turned_90": 80, "turned_180": 40, "mirrored": 40, "upside_down": 40}
    assert {paths[pair.first] for pair in found.pairs} == {f"Viral-COVID19/{i}.png" for i in range(40)}
    for pair in found.pairs:
        prefix = paths[pair.second].split("/")[1].split("_")[0] + "_"
        assert pair.kind == ORIENTATIONS[prefix][0]
    assert len(found.named) == 200
    (said,) = findings(found, seen.table)
    assert said.evidence.labels == {"Viral-COVID19": 200}
    assert said.evidence.named == 200
    snapshot(said.message)
    assert {"200", "240"} <= numbers(said.message)
    assert all(not is_altered(group[0]) for group in said.evidence.examples)
    number = {i: n for n, group in enumerate(found.groups) for i in group}
    kept = fix(seen.table, [""] * len(files), number, []).table.rows
    assert {row.path for row in kept} == {path for path in files if not is_altered(path)}


@pytest.mark.parametrize("prefix", ORIENTATIONS)
def test_all_orientations_are_found_without_names(phantoms, thumbnails, prefix):
    kind, change = ORIENTATIONS[prefix]
    found = find_copies(np.concatenate([thumbnails, [shrunk(change(image)) for image in phantoms]]))
    assert pairs(found) == {(i, i + PHANTOMS) for i in range(PHANTOMS)}
    assert {CHANGES[change] for change in found.change} == {kind}


@pytest.mark.parametrize("mode", ["constant", "nearest"])
@pytest.mark.parametrize("degrees", [2, -5, 7.5, 10])
def test_rotations_by_a_few_degrees_are_found(phantoms, thumbnails, degrees, mode):
    copies = [shrunk(augmented(image, degrees, mode=mode)) for image in phantoms]
    found = find_copies(np.concatenate([thumbnails, copies]))
    expected = {(i, i + PHANTOMS) for i in range(PHANTOMS)}
    assert pairs(found) <= expected
    assert len(pairs(found)) >= 0.95 * PHANTOMS
    least = 0.85 if degrees == 2 else 0.9  # near the one degree below which a copy counts as upright
    assert Counter(CHANGES[change] for change in found.change)["rotated"] >= least * PHANTOMS


def test_what_is_rotated_shifted_zoomed_and_turned_at_once_is_mostly_found(phantoms, thumbnails):
    generator = np.random.default_rng(3)
    copies = []
    for n, image in enumerate(phantoms):
        shift, zoom = generator.uniform(-0.05, 0.05, 2), generator.uniform(0.95, 1.05)
        done = augmented(image, generator.uniform(-10, 10), shift, zoom, "nearest")
        copies.append(shrunk(np.rot90(done[:, ::-1] if n % 2 else done, n % 4)))
    found = pairs(find_copies(np.concatenate([thumbnails, copies])))
    assert found <= {(i, i + PHANTOMS) for i in range(PHANTOMS)}
    assert len(found) >= 0.7 * PHANTOMS


def test_every_orientation_of_an_image_stands_the_same_way(thumbnails):
    straight = equalised(thumbnails)
    for mirrored in (False, True):
        for quarters in range(4):
            turned = np.rot90(straight[:, :, ::-1] if mirrored else straight, quarters, axes=(1, 2))
            back, doubtful = quarter_turns(np.ascontiguousarray(turned))
            upright = (back + quarters) % 4 == 0
            assert (upright | doubtful[np.arange(PHANTOMS), -quarters % 4]).all()
            assert upright.mean() > 0.9


def test_many_copies_of_one_picture_are_compared_once_each(monkeypatch, phantoms):
    generator = np.random.default_rng(0)
    noisy = [
        np.clip(shrunk(phantoms[0]) + generator.normal(0, 2, (64, 64)), 0, 255).astype(np.uint8) for _ in range(600)
    ]
    compared = []
    for name in ("compare_crops", "compare_mapped"):
        whole = getattr(search, name)
        monkeypatch.setattr(
            search, name, lambda one, *rest, whole=whole: (compared.append(len(one)), whole(one, *rest))[1]
        )
    found = find_copies(np.stack(noisy))
    assert len(found.first) == 599
    assert sum(compared) < 3 * 600  # of 180,000 pairs


def test_names_are_compared_and_never_enough(monkeypatch, thumbnails):
    copies = np.rot90(thumbnails[:10], axes=(1, 2))
    for name in ("CANDIDATE", "MAPPED"):
        monkeypatch.setattr(search, name, 2.0)  # nothing is proposed
    images = np.concatenate([thumbnails, copies])
    assert pairs(find_copies(images)) == set()
    right, wrong = [(i, PHANTOMS + i) for i in range(10)], [(i + 20, PHANTOMS + i) for i in range(10)]
    assert pairs(find_copies(images, hints=[*wrong, *right])) == set(right)


@pytest.mark.parametrize(
    "name",
    [
        *("90Rotated_x-1.jpg", "180Rotated_x-1.png", "verticalFlipped_x-1.png", "x-1_flip.png", "x-1_rot90.png"),
        *("x-1 (1).png", "x-1 - Copy.png", "x-1 - Copy (2).png", "aug_x-1.png", "x-1_aug3.png", "brightness_x-1.png"),
        *("x-1_brightness_1.2.png", "x-1_mirrored_rot180.png", "flip_h_x-1.png", "X-1_jpg.rf.0123456789abcdef01.jpg"),
        "x-1_rotated_-5.png",
    ],
)
def test_names_that_hint_at_a_copy(name):
    paths = ["b/x-2.png", "a/x-1.png", f"c/{name}"]
    assert is_altered(name)
    assert list(hints(paths)) == [(1, 2)]
    assert say_so(paths[1:]) == [1]


@pytest.mark.parametrize(
    "name",
    ["person1_virus_6.jpeg", "NORMAL2-IM-0095-0001.png", "COVID-1.png", "left_x.png", "img_v2.png", "00012345_001.png"],
)
def test_names_that_do_not(name):
    assert not is_altered(name)


def test_a_way_of_counting_is_no_hint():
    assert list(hints([f"COVID ({i}).png" for i in range(200)])) == []
    assert list(hints(["a/1.png", "b/1.png"])) == []
    # nor are files of two folders compared where each has its own original
    assert list(hints(["a/1.png", "b/1.png", "b/1 (1).png"])) == [(1, 2)]

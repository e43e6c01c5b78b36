"""Groups of one picture: whatever changed it, whatever the recipe, found once."""

import io
from collections import defaultdict

import numpy as np
import pytest
from PIL import Image

from hilum.auditing.checks.duplicates import find_duplicates
from hilum.auditing.findings import remember
from hilum.auditing.near_duplicates import groups
from hilum.auditing.near_duplicates.groups import CHANGES, Thumbnails, find_groups, find_known
from hilum.auditing.scan import scan
from hilum.data.cache import open_images
from hilum.data.preprocessing import Preprocessing
from hilum.data.readers.read import read_table
from hilum.data.splits import SplitPlan, assign_splits, find_leakage
from hilum.evaluation.folds import assign_folds
from hilum.phantoms import LABELS, make_phantom
from wording import numbers

PLAN = Preprocessing(size=32)
PATIENTS = 45


def jpeg(image, quality=70):
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def rotated(image, degrees):
    return np.asarray(Image.fromarray(image).rotate(degrees, Image.Resampling.BICUBIC))


CHANGED = {  # kind of change, as find_copies names it: copies that were recompressed, too
    "near": lambda image: jpeg(image[3:-4, 2:-5]),
    "mirrored": lambda image: jpeg(image[:, ::-1]),
    "inverted": lambda image: 255 - image,
    "turned_90": lambda image: jpeg(np.rot90(image)),
    "turned_180": lambda image: jpeg(np.rot90(image, 2)),
    "upside_down": lambda image: jpeg(image[::-1]),
    "transposed": lambda image: jpeg(image.T),
    "rotated": lambda image: jpeg(rotated(image, 4)),
}


@pytest.fixture(scope="module")
def phantoms():
    return [make_phantom(LABELS[i % 3], seed=9, patient=i, image=0, size=128).image for i in range(PATIENTS)]


@pytest.fixture
def write(tmp_path, phantoms):
    """A dataset without patients: originals, and copies of the first ones by name of the change."""

    def write(changes=(), copies=6, name="data"):
        for i, image in enumerate(phantoms):
            folder = tmp_path / name / LABELS[i % 3]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{i:03d}.png")
            for change in changes if i < copies else ():
                Image.fromarray(CHANGED[change](image)).save(folder / f"{i:03d}-{change}.png")
        return tmp_path / name

    return write


def picture(row):
    return row.path.rsplit("/", 1)[1][:3]


def one_side(table, sides):
    found = defaultdict(set)
    for row, side in zip(table.rows, sides, strict=True):
        found[picture(row)].add(side)
    return all(len(on) == 1 for on in found.values())


def test_every_change_that_is_looked_for_is_tried():
    assert set(CHANGES) <= set(CHANGED)


@pytest.mark.parametrize("change", CHANGES)
def test_copies_are_one_group_and_on_one_side_of_every_split(write, change, snapshot):
    images = open_images(read_table(write([change])), PLAN)
    found = find_groups(images, "near")
    names = [picture(row) for row in images.table.rows]
    both = list(zip(names, found.numbers, strict=True))
    assert all((a == b) == (m == n) for a, m in both for b, n in both)
    assert change in found.looked_for
    snapshot(found.notes(images.table)[0])
    assert {"6", "12", "51"} <= numbers(found.notes(images.table)[0])
    torn = 0
    for seed in range(4):
        sides = assign_splits(images.table, SplitPlan(seed=seed), found.numbers).names
        assert {"train", "val", "calibration", "test"} == set(sides)
        assert one_side(images.table, sides)
        assert not find_leakage(images.table, sides, found.numbers)
        assert one_side(images.table, assign_folds(images.table, 3, seed, found.numbers))
        torn += not one_side(images.table, assign_splits(images.table, SplitPlan(seed=seed)).names)
    assert torn  # which they would not be by themselves


def test_identical_pixels_only_where_that_is_asked_for(write, snapshot):
    root = write(["mirrored"], copies=2)
    Image.open(root / LABELS[0] / "000.png").save(root / LABELS[0] / "000-same.png", compress_level=1)
    images = open_images(read_table(root), PLAN)
    found = find_groups(images, "identical")
    assert found.looked_for == ("pixels",)
    snapshot(found.notes(images.table)[0])
    assert {"1", "2", "48"} <= numbers(found.notes(images.table)[0])
    assert len(set(find_groups(images, "near").numbers)) == PATIENTS


def test_groups_are_the_same_for_every_preprocessing_and_found_once(write, monkeypatch):
    table = read_table(write(["near", "mirrored"]))
    first = find_groups(open_images(table, PLAN), "near")
    monkeypatch.setattr(groups, "find_copies", lambda *_: pytest.fail("compared again"))
    for other in (PLAN, Preprocessing(size=75, equalise=True), Preprocessing(size=224, fit="pad")):
        assert find_groups(open_images(table, other), "near") == first


@pytest.mark.parametrize("damage", [b"", b"nothing", b"PK\x03\x04", None])
def test_kept_pairs_that_are_damaged_are_found_anew(write, own_cache, damage):
    images = open_images(read_table(write(["mirrored"])), PLAN)
    first = find_groups(images, "near")
    (file,) = own_cache.glob("*-pairs.npy")
    if damage is None:
        np.save(file, np.array([[0, 10_000]]))
    else:
        file.write_bytes(damage)
    assert find_groups(images, "near") == first
    assert np.load(file).shape == (6, 2)


def test_a_part_of_the_images_is_not_taken_for_the_whole(write):
    images = open_images(read_table(write(["mirrored"])), PLAN)
    whole = find_groups(images, "near")
    part = find_groups(images.select(range(0, 51, 2)), "near")
    assert len(part.numbers) == 26
    expected = {(i, j) for i in range(26) for j in range(26) if whole.numbers[2 * i] == whole.numbers[2 * j]}
    assert expected == {(i, j) for i in range(26) for j in range(26) if part.numbers[i] == part.numbers[j]}


def test_too_many_images_for_all_pairs_are_compared_by_pixels_and_that_is_said(write, monkeypatch):
    images = open_images(read_table(write(["mirrored"])), PLAN)
    monkeypatch.setattr(groups, "MANY", 51)
    monkeypatch.setattr(groups, "has_faiss", lambda: False)
    monkeypatch.setattr(groups, "find_copies", lambda *_: pytest.fail("compared"))
    found = find_groups(images, "near")
    assert found.looked_for == ("pixels",)
    assert "hilum[faiss]" in found.notes(images.table)[-1]
    assert len(set(found.numbers)) == 51


def test_seven_thousand_copies_of_one_file_are_compared_once(write, monkeypatch):
    images = open_images(read_table(write()), PLAN)
    seen = []
    original = groups.find_copies
    monkeypatch.setattr(
        groups, "find_copies", lambda thumbnails, advance: seen.append(len(thumbnails)) or original(thumbnails, advance)
    )
    many = images.select([0] * 7000 + list(range(PATIENTS)))
    assert len(set(find_groups(many, "near").numbers)) == PATIENTS
    assert seen == [PATIENTS]


def test_images_of_another_dataset_are_recognised(write):
    ours = open_images(read_table(write(name="ours")), PLAN)
    theirs = open_images(read_table(write(["mirrored"], copies=4, name="theirs")), PLAN)
    copies = theirs.select(i for i, row in enumerate(theirs.table.rows) if "mirrored" in row.path)
    known = Thumbnails(ours.thumbnails, np.arange(0, PATIENTS, 2), ours.digest)
    found, _ = find_known(copies, known, "near")
    mine = {i: picture(row) for i, row in enumerate(ours.table.rows)}
    twins = {i: mine[2 * place] for i, place in found.items()}
    expected = {i: picture(row) for i, row in enumerate(copies.table.rows) if picture(row) in list(mine.values())[::2]}
    assert twins == expected
    assert twins
    assert find_known(copies, known, "identical")[0] == {}


def test_what_is_kept_is_its_owner_s_alone(write, tmp_path, monkeypatch):
    """Also where nothing was decoded before: names of files tell of patients."""
    images = open_images(read_table(write(["near"], copies=2)), PLAN)
    for number, keep in enumerate((lambda: find_groups(images, "near"), lambda: remember({}, "key", tmp_path))):
        folder = tmp_path / str(number)
        monkeypatch.setenv("HILUM_CACHE", str(folder))
        keep()
        assert any(folder.rglob("*.*"))
        assert folder.stat().st_mode & 0o777 == 0o700


def test_repeated_exposures_are_no_duplicates_for_training_or_audit(tmp_path):
    """Three noisy exposures of each patient are nearly equal; a byte-wise copy of one of them is a duplicate."""
    rng = np.random.default_rng(0)
    lines = ["path,label,patient_id"]
    for patient in range(20):
        coarse = Image.fromarray(rng.integers(0, 255, (12, 12), np.uint8)).resize((96, 96), Image.Resampling.BICUBIC)
        for exposure in range(3):
            noisy = np.clip(np.asarray(coarse) + rng.normal(0, 2, (96, 96)), 0, 255).astype(np.uint8)
            name = f"{patient:02d}-{exposure}.png"
            Image.fromarray(noisy).save(tmp_path / name)
            lines.append(f"{name},{LABELS[patient % 2]},p{patient}")
    (tmp_path / "metadata.csv").write_text("\n".join(lines))

    def said():
        table = read_table(tmp_path)
        images = open_images(table, PLAN)
        scanned = scan(table)
        return find_groups(images, "near").notes(images.table), find_duplicates(scanned)

    notes, duplicates = said()
    assert notes == []
    assert (duplicates.groups, duplicates.exposures) == ((), 60)
    (tmp_path / "same.png").write_bytes((tmp_path / "00-0.png").read_bytes())
    (tmp_path / "metadata.csv").write_text("\n".join([*lines, f"same.png,{LABELS[0]},p0"]))
    notes, duplicates = said()
    assert {"1", "61"} <= numbers(notes[0])
    assert len(duplicates.groups) == 1

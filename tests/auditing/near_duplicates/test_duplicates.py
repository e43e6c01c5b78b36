"""Copies that are injected must be found, and look-alikes must not."""

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageOps

from hilum.auditing.checks.duplicate_findings import findings
from hilum.auditing.checks.duplicates import find_duplicates
from hilum.auditing.clean import fix
from hilum.auditing.near_duplicates import search
from hilum.auditing.near_duplicates.search import find_copies
from hilum.auditing.scan import scan
from hilum.data.dataset import Dataset, Row
from hilum.data.readers.read import read_table
from hilum.phantoms import LABELS, make_phantom
from wording import numbers

PHANTOMS = 40


@pytest.fixture(scope="module")
def phantoms():
    return [make_phantom(LABELS[i % 3], seed=7, patient=i, image=0, size=128).image for i in range(PHANTOMS)]


def crop(image, shares):
    height, width = image.shape
    left, right, top, bottom = shares
    return image[
        round(top * height) : height - round(bottom * height), round(left * width) : width - round(right * width)
    ]


def recompressed(image, quality=60):
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def look(tmp_path, images, labels=None, splits=None, patients=None):
    """Write images, all of them PNG, and scan them."""
    rows = []
    for i, image in enumerate(images):
        (tmp_path / f"{i}.png").write_bytes(b"")
        Image.fromarray(np.ascontiguousarray(image)).save(tmp_path / f"{i}.png")
        rows.append(
            Row(
                f"{i}.png",
                labels[i] if labels else "normal",
                splits[i] if splits else "",
                patients[i] if patients else "",
            )
        )
    return scan(Dataset(tmp_path, tuple(rows)))


def test_different_patients_are_not_merged(tmp_path, phantoms):
    seen = look(tmp_path, phantoms)
    assert find_duplicates(seen).pairs == ()
    (finding,) = findings(find_duplicates(seen), seen.table)
    assert finding.severity == "info"


def test_black_frames_do_not_make_two_patients_one(tmp_path, phantoms):
    framed = [image.copy() for image in phantoms]
    for image in framed:
        image[:6] = image[-6:] = image[:, :6] = image[:, -6:] = 0
    copies = [recompressed(image) for image in framed[:5]]
    found = find_duplicates(look(tmp_path, [*framed, *copies]))
    assert {(pair.first, pair.second) for pair in found.pairs} == {(i, i + PHANTOMS) for i in range(5)}


@pytest.mark.parametrize("seed", [0, 1])
def test_crops_that_were_recompressed_are_found(tmp_path, phantoms, seed):
    generator = np.random.default_rng(seed)
    copies = [recompressed(crop(image, generator.uniform(0, 0.1, 4))) for image in phantoms]
    found = find_duplicates(look(tmp_path, [*phantoms, *copies]))
    expected = {(i, i + PHANTOMS) for i in range(PHANTOMS)}
    pairs = {(pair.first, pair.second) for pair in found.pairs}
    assert pairs <= expected
    assert len(pairs) >= 0.97 * len(expected)
    assert {pair.kind for pair in found.pairs} == {"near"}


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("mirrored", lambda image: image[:, ::-1]),
        ("inverted", lambda image: 255 - image),
        ("mirrored", lambda image: recompressed(crop(image, (0.06,) * 4))[:, ::-1]),
        ("near", lambda image: np.asarray(ImageOps.equalize(Image.fromarray(image)))),
        ("near", lambda image: (255 * (image / 255) ** 0.6).astype(np.uint8)),
        ("near", lambda image: np.asarray(Image.fromarray(image).resize((300, 200)))),
    ],
    ids=["mirrored", "inverted", "mirrored and cropped", "equalised", "gamma", "resized"],
)
def test_changed_copies_are_found_and_named(tmp_path, phantoms, kind, change):
    found = find_duplicates(look(tmp_path, [*phantoms, *(change(image) for image in phantoms[:10])]))
    assert {(pair.first, pair.second, pair.kind) for pair in found.pairs} == {
        (i, i + PHANTOMS, kind) for i in range(10)
    }


def test_same_bytes_are_told_from_same_pixels(tmp_path, phantoms):
    look(tmp_path, phantoms[:3])
    (tmp_path / "3.png").write_bytes((tmp_path / "0.png").read_bytes())
    Image.fromarray(phantoms[1]).save(tmp_path / "4.bmp")
    names = ["0.png", "1.png", "2.png", "3.png", "4.bmp"]
    found = find_duplicates(scan(Dataset(tmp_path, tuple(Row(name, "normal") for name in names))))
    assert [(pair.first, pair.second, pair.kind) for pair in found.pairs] == [(0, 3, "identical"), (1, 4, "pixels")]


def test_copies_of_copies_are_one_picture(tmp_path, phantoms):
    a, b, c = phantoms[:3]
    images = [a, b, c, a, recompressed(a), a[:, ::-1]]
    found = find_duplicates(look(tmp_path, images))
    assert found.groups == ((0, 3, 4, 5),)
    assert found.superfluous == 3


def test_groups_across_splits_labels_and_patients(tmp_path, phantoms, snapshot):
    images = [*phantoms[:8], *(recompressed(image) for image in phantoms[:4])]
    labels = ["normal", "normal", "covid", "covid", "normal", "normal", "covid", "covid"]
    seen = look(
        tmp_path,
        images,
        labels=[*labels, "normal", "covid", "covid", "covid"],
        splits=["train"] * 8 + ["test", "train", "train", "train"],
        patients=[f"p{i}" for i in range(8)] + ["p0", "p1", "other", ""],
    )
    found = find_duplicates(seen)
    assert found.groups == ((0, 8), (1, 9), (2, 10), (3, 11))
    assert (found.across_splits, found.across_labels, found.across_patients) == ((0,), (1,), (2,))
    said = findings(found, seen.table)
    assert [finding.severity for finding in said] == ["error", "error", "warning", "warning"]
    assert said[0].evidence.examples == [["0.png", "8.png"]]
    snapshot(said[-1].message)
    assert {"4", "12"} <= numbers(said[-1].message)


def test_a_finer_label_of_a_copy_is_not_wrong(tmp_path, phantoms):
    """The newcomer's pictures were 'COVID-19, ARDS' here and 'COVID-19' there: both are right, and neither is lost."""
    labels = ["COVID-19", "COVID-19", "normal", "COVID-19, ARDS", "normal", "normal"]
    seen = look(tmp_path, [*phantoms[:3], *phantoms[:3]], labels=labels)
    found = find_duplicates(seen)
    assert found.across_labels == (0, 1)
    wrong, finer = (finding for finding in findings(found, seen.table) if "label" in finding.message)
    assert (finer.severity, finer.evidence.examples) == ("warning", [["0.png", "3.png"]])
    assert (wrong.severity, wrong.evidence.examples) == ("error", [["1.png", "4.png"]])
    kept = fix(seen.table, [""] * 6, {i: number for number, group in enumerate(found.groups) for i in group}, [])
    assert [row.path for row in kept.table.rows] == ["0.png", "2.png"]


@pytest.mark.slow
def test_what_is_nearly_one_picture_is_not_compared_with_everything(phantoms, monkeypatch):
    """Copies that noise has made too different to be confirmed: twice as many take twice as long, not four times."""
    compared = Counter()
    for name in ("compare_crops", "compare_mapped"):
        real = getattr(search, name)

        def counted(one, *others, real=real):
            compared["pairs"] += len(one)
            return real(one, *others)

        monkeypatch.setattr(search, name, counted)
    picture = np.asarray(Image.fromarray(phantoms[0]).resize((64, 64), Image.Resampling.BOX)).astype(float)
    noise = np.random.default_rng(0).normal(0, 12, (240, 64, 64))
    images = (picture + noise).clip(0, 255).astype(np.uint8)
    pairs = []
    for count in (120, 240):
        compared.clear()
        assert len(search.find_copies(images[:count]).first) < count / 4
        pairs.append(compared["pairs"])
    assert pairs[0] > 120 * 8  # candidates they are
    assert pairs[1] < 2.5 * pairs[0]


def test_blank_and_few_images_are_no_trouble(tmp_path, phantoms):
    flat = [np.full((64, 64 + i), level, np.uint8) for i, level in enumerate((0, 128, 255))]
    assert find_duplicates(look(tmp_path, [*flat, phantoms[0]])).pairs == ()
    assert find_duplicates(look(tmp_path, phantoms[:1])).groups == ()


@pytest.mark.slow
def test_the_real_radiographs(seed_cxr):
    seen = scan(read_table(seed_cxr))
    found = find_duplicates(seen)
    # By hash alone: 30 pictures occur more than once, 28 of them twice and 2 three times.
    by_hash = {}
    for i, pixels in enumerate(seen.pixels):
        by_hash.setdefault(pixels, []).append(i)
    assert found.groups == tuple(sorted(tuple(group) for group in by_hash.values() if len(group) > 1))
    assert found.superfluous == 32
    assert {pair.kind for pair in found.pairs} == {"identical"}
    assert found.across_splits == found.across_labels == ()
    in_test = [group for group in found.groups if seen.table.rows[group[0]].split == "test"]
    assert len(in_test) == 6
    claimed = [{seen.table.rows[i].patient_id for i in found.groups[number]} for number in found.across_patients]
    assert claimed == [{"NORMAL2-IM-0095", "NORMAL2-IM-0096"}]
    assert not [finding for finding in findings(found, seen.table) if finding.severity != "info"]


@pytest.mark.slow
@pytest.mark.parametrize("centred", [True, False])
def test_real_crops_are_found(seed_cxr, centred):
    generator = np.random.default_rng(11)
    table = read_table(seed_cxr)
    chosen = table.take(int(i) for i in generator.choice(len(table), 400, replace=False))
    thumbnails, copies = scan(chosen).thumbnails, []
    for row in chosen.rows:
        shares = np.tile(generator.uniform(0, 0.1), 4) if centred else generator.uniform(0, 0.1, 4)
        small = Image.fromarray(recompressed(crop(np.asarray(Image.open(chosen.file(row)).convert("L")), shares)))
        copies.append(np.asarray(small.resize((64, 64), Image.Resampling.BILINEAR)))
    found = find_copies(np.concatenate([thumbnails, np.stack(copies)]))
    pairs = {(int(min(i, j)), int(max(i, j))) for i, j in zip(found.first, found.second, strict=True)}
    true = {pair for pair in pairs if pair[1] - pair[0] == 400}
    assert len(true) >= 0.99 * 400
    # nothing else but copies of what is identical in the set itself
    assert all((thumbnails[i % 400] == thumbnails[j % 400]).all() for i, j in pairs - true)

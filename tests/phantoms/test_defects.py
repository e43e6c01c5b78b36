"""Every injected defect is there, is where the truth says, and is nowhere else."""

import csv
import json
from collections import defaultdict

import numpy as np
import pytest
from PIL import Image

from hilum.errors import UsageError
from hilum.phantoms import LABELS, Defect, make_phantom, write_phantoms

COVID = "infected/covid"
SETTING = {"patients": 30, "seed": 9, "size": 64, "workers": 1}


def inject(tmp_path, *texts):
    out = tmp_path / "injected"
    result = write_phantoms(out, defects=[Defect.parse(text) for text in texts], **SETTING)
    with (out / "metadata.csv").open(newline="", encoding="utf-8") as file:
        table = {row["path"]: row for row in csv.DictReader(file)}
    truth = json.loads((out / "truth.json").read_text(encoding="utf-8"))["defects"]
    assert [(t["kind"], tuple(t["paths"])) for t in truth] == [(d.kind, d.paths) for d in result.defects]
    assert all(path in table for t in truth for path in t["paths"])
    return out, table, truth


def pixels(path):
    with Image.open(path) as file:
        return np.asarray(file).astype(int)


def clean(row):
    """What the image would be without any defect."""
    patient, image = row["path"].rsplit("/", 1)[1].rsplit(".", 1)[0][1:].split("-")
    return make_phantom(row["label"], seed=9, patient=int(patient), image=int(image), size=64).image.astype(int)


def of_label(table, label=COVID):
    return {path for path, row in table.items() if row["label"] == label}


def changed(out, table):
    return {
        path
        for path, row in table.items()
        if pixels(out / path).shape != (64, 64) or not np.array_equal(pixels(out / path), clean(row))
    }


def test_marker_is_a_bright_letter_in_an_upper_corner_of_its_share(tmp_path):
    out, table, (truth,) = inject(tmp_path, "marker:infected/covid:0.8")
    marked = set(truth["paths"])
    assert marked == changed(out, table)
    assert marked < of_label(table)
    assert len(marked) == round(0.8 * len(of_label(table)))
    for path in marked:
        image = pixels(out / path)
        rows, columns = np.nonzero(image != clean(table[path]))
        assert rows.max() < 16
        assert columns.max() < 16 or columns.min() > 47
        assert image[rows, columns].min() >= 235


def test_frame_is_a_black_border(tmp_path):
    out, table, (truth,) = inject(tmp_path, "frame:normal")
    assert set(truth["paths"]) == of_label(table, "normal") == changed(out, table)
    widths = set()
    for path in truth["paths"]:
        image = pixels(out / path)
        assert not image[:2].any()
        assert not image[-2:].any()
        assert not image[:, :2].any()
        assert not image[:, -2:].any()
        widths.add(int(np.argmax(image.any(axis=0))))
    assert len(widths) > 1


def test_brightness_raises_the_grey_levels(tmp_path):
    out, table, (truth,) = inject(tmp_path, "brightness:infected/non-covid")
    assert set(truth["paths"]) == of_label(table, "infected/non-covid") == changed(out, table)
    assert all((pixels(out / p) >= clean(table[p])).all() for p in truth["paths"])
    assert np.mean([(pixels(out / p) - clean(table[p])).mean() for p in truth["paths"]]) > 10


def test_format_size_and_bytes_change_the_files(tmp_path):
    out, table, truth = inject(tmp_path, "format:normal", "size:infected/covid", "bytes:infected/non-covid")
    for path, row in table.items():
        with Image.open(out / path) as file:
            assert file.format == ("JPEG" if row["label"] == "normal" else "PNG")
            assert file.size == ((80, 80) if row["label"] == COVID else (64, 64))
        stored = (out / path).stat().st_size > 64 * 64
        if row["label"] == "infected/non-covid":
            assert stored
            np.testing.assert_array_equal(pixels(out / path), clean(row))
        elif row["label"] == "normal":
            assert not stored
            assert np.abs(pixels(out / path) - clean(row)).mean() < 3
        else:
            assert pixels(out / "masks" / path).shape == (80, 80)
    assert [set(t["paths"]) for t in truth] == [of_label(table, label) for label in ("normal", COVID, LABELS[2])]


def test_duplicates_are_copies_of_training_images_in_test(tmp_path):
    out, table, (truth,) = inject(tmp_path, "duplicates:12")
    assert len(truth["paths"]) == len(truth["details"]) == 12
    assert [d["variant"] for d in truth["details"]].count("mirrored") == 2
    for found in truth["details"]:
        copy, original = out / found["path"], out / found["original"]
        a, b = pixels(copy), pixels(original)
        assert (table[found["path"]]["split"], table[found["original"]]["split"]) == ("test", "train")
        assert table[found["path"]]["label"] == table[found["original"]]["label"]
        assert table[found["path"]]["patient_id"] != table[found["original"]]["patient_id"]
        masked = out / "masks" / f"{found['path'].rsplit('.', 1)[0]}.png"
        assert masked.exists() == (table[found["path"]]["label"] != "normal")
        variant = found["variant"]
        if variant == "exact":
            assert copy.read_bytes() == original.read_bytes()
        elif variant == "resized":
            assert a.shape == (48, 48)
            back = np.asarray(Image.fromarray(a.astype(np.uint8)).resize((64, 64), Image.Resampling.BICUBIC))
            assert np.abs(back.astype(int) - b).mean() < 8
        elif variant == "jpeg":
            assert copy.suffix == ".jpg"
            assert 0 < np.abs(a - b).mean() < 5
        elif variant == "mirrored":
            np.testing.assert_array_equal(a, b[:, ::-1])
        elif variant == "inverted":
            np.testing.assert_array_equal(a, 255 - b)
        else:
            assert variant == "cropped"
            box = (64 * 0.025, 64 * 0.025, 64 * 0.975, 64 * 0.975)
            cut = Image.fromarray(b.astype(np.uint8)).resize((64, 64), Image.Resampling.BICUBIC, box=box)
            assert np.corrcoef(a.ravel(), np.asarray(cut).ravel())[0, 1] > 0.98


def test_patients_on_both_sides_are_those_named_and_no_others(tmp_path):
    out, table, (truth,) = inject(tmp_path, "patient:4")
    sides = defaultdict(set)
    for row in table.values():
        sides[row["patient_id"]].add(row["split"])
    both = {patient for patient, splits in sides.items() if len(splits) == 2}
    assert both == {d["patient_id"] for d in truth["details"]}
    assert len(both) == 4
    assert changed(out, table) == set()


def test_mislabelled_images_show_another_disease_than_they_are_filed_under(tmp_path):
    out, table, (truth,) = inject(tmp_path, "mislabel:6")
    assert len(truth["details"]) == 6
    wrong = changed(out, table)
    assert wrong == set(truth["paths"])
    for found in truth["details"]:
        row = table[found["path"]]
        assert (row["split"], row["label"]) == ("train", found["label"])
        assert found["truth"] != found["label"]
        np.testing.assert_array_equal(pixels(out / found["path"]), clean({**row, "label": found["truth"]}))


def test_defects_are_planted_together_and_duplicates_carry_the_marker(tmp_path):
    out, table, truth = inject(tmp_path, "duplicates:10", "marker:infected/covid:1", "mislabel:4", "patient:2")
    marked = set(truth[1]["paths"])
    assert marked == of_label(table)
    for found in truth[0]["details"]:
        assert (found["path"] in marked) == (found["original"] in marked)
        if found["variant"] == "exact":
            assert (out / found["path"]).read_bytes() == (out / found["original"]).read_bytes()


@pytest.mark.parametrize(
    ("text", "defect"),
    [
        ("marker:infected/covid", Defect("marker", COVID, 0.95)),
        ("marker:normal:0.5", Defect("marker", "normal", 0.5)),
        ("size:normal", Defect("size", "normal")),
        ("duplicates", Defect("duplicates", number=12)),
        ("patient:3", Defect("patient", number=3)),
    ],
)
def test_defects_are_read_and_written_back(text, defect):
    assert Defect.parse(text) == defect
    assert Defect.parse(str(defect)) == defect


@pytest.mark.parametrize(
    "text",
    ["", "blur", "marker", "marker:covid", "marker:normal:2", "marker:normal:x", "frame:normal:0.5", "patient:0",
     "duplicates:many", "mislabel:1:2"],
)  # fmt: skip
def test_malformed_defects_are_refused_with_the_list_of_all(text, refuses):
    with refuses(UsageError, "unknown-defect"):
        Defect.parse(text)


def test_more_than_there_is_cannot_be_planted(tmp_path, refuses):
    with refuses(UsageError, "too-few-candidates"):
        write_phantoms(tmp_path / "x", defects=[Defect.parse("mislabel:999")], **SETTING)

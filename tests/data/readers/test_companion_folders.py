"""What lies beside the radiographs: companions, own output, files of systems, formats that are not read."""

import io
from collections import Counter

import pytest
from PIL import Image

from folder_trees import below, counts, picture
from hilum.cli.demo import MARK
from hilum.data.readers.folders import read_folders
from hilum.data.readers.listing import OWN_PAGE
from hilum.data.readers.read import read_table
from hilum.errors import TableError
from wording import numbers


def test_companions_of_radiographs_are_left_out_and_counted(tree, snapshot):
    labels = {"COVID": 4, "Normal": 4}
    root = tree(
        {
            **below("in", {"COVID": 4, "Normal": 4, "COVID/masks": 4}),
            **below("top", {**below("images", labels), **below("masks", labels)}),
            **below("beside", {**labels, "COVID_masks": 4, "Heat maps": 2, "GradCAM": 3, "bounding_boxes": 1}),
            **below("files", {"COVID": ["a.png", "a_mask.png", "b.png", "b_mask_1.png"], "Normal": 4}),
            **below("arrays", {"COVID/images": 4, "COVID/masks": ["a.npy"], "Normal/images": 4}),
            **below("yolo", {f"{label}/images": 4 for label in labels} | {"COVID/labels": ["a.txt", "a.png"]}),
        }
    )
    expected = Counter({"COVID": 4, "Normal": 4})
    read = {folder.name: read_table(folder) for folder in root.iterdir()}
    assert {name: counts(table) for name, table in read.items()} == {
        **dict.fromkeys(("in", "top", "beside", "arrays", "yolo"), expected),
        "files": {"COVID": 2, "Normal": 4},
    }
    assert sum(note.startswith("left out") for note in read["beside"].notes) == 4
    snapshot("\n".join(read["files"].notes))
    assert {"2"} <= numbers("\n".join(read["files"].notes))


ASIDE = (
    "thumbnails",
    "attention_maps",
    "predictions",
    "SHAP",
    "cam",
    "Grad-CAM",
    "gradcam",
    "lime",
    "trash",
    "removed",
)


OF_ZERO = ("0_crop", "0_lung", "0_thumb", "0_label", "0-lungmask", "0_mask_left", "mask0", "0_lung_mask", "0_mask_2")


def test_previews_explanations_and_the_bin_are_no_labels(tree):
    table = read_table(tree({"COVID": 4, "Normal": 4, **dict.fromkeys(ASIDE, 2)}))
    assert counts(table) == {"COVID": 4, "Normal": 4}
    assert sum(note.startswith("left out 2 images in 1 folder") for note in table.notes) == len(ASIDE)


def test_what_was_derived_from_an_image_beside_it_is_left_out(tree):
    real = ["0.png", "lung1.png", "1.png", "2_left.png", "2.png", "crop_2.png", "3_lung.png"]
    root = tree({"COVID": [*real, *(f"{name}.png" for name in OF_ZERO)], "Normal": 4})
    table = read_table(root)
    assert counts(table) == {"COVID": len(real), "Normal": 4}
    assert any(f"left out {len(OF_ZERO)} images that belong to another" in note for note in table.notes)


def test_labels_that_only_sound_like_companions_stay(tree):
    root = tree({**below("a", {"oxygen masc": 4, "normal": 4}), **below("b", {"data": 4, "scan x": 4})})
    assert read_table(root / "a").labels == ("normal", "oxygen masc")
    (root / "a" / "oxygen masc").rename(root / "a" / "with mask")
    assert "with mask" in read_table(root / "a").labels


def test_own_output_among_the_data_is_left_out(tree, refuses):
    root = tree({"covid": 4, "normal": 4, "explained/covid": ["i0.png.jpg"], "explained/normal": ["i0.png.jpg"]})
    (root / "explained" / "index.html").write_bytes(b"<!doctype html>" + OWN_PAGE)  # tests/serving: as it is written
    (root / "hilum-demo" / "phantoms" / "train" / "normal").mkdir(parents=True)
    (root / "hilum-demo" / MARK).touch()
    (root / "hilum-demo" / "phantoms" / "metadata.csv").touch()
    table = read_table(root)
    assert counts(table) == {"covid": 4, "normal": 4}
    assert sum("hilum wrote" in note for note in table.notes) == 2
    with refuses(TableError, "own-pictures"):
        read_table(root / "explained")


def test_hidden_folders_and_what_systems_leave_are_passed_over(tree):
    junk = ("covid/.ipynb_checkpoints", "covid/@eaDir", "__MACOSX/covid", "$RECYCLE.BIN/x")
    root = tree({"covid": ["1.png", "._1.png"], "normal": ["1.png", "Thumbs.db"], **dict.fromkeys(junk, 1)})
    table = read_table(root)
    assert counts(table) == {"covid": 1, "normal": 1}
    assert table.notes == ()


FORMATS = {"jfif": "JPEG", "jpe": "JPEG", "jp2": "JPEG2000", "pgm": "PPM", "avif": "AVIF", "dib": "BMP", "TIF": "TIFF"}


@pytest.mark.parametrize("suffix", FORMATS)
def test_labels_do_not_get_lost_by_their_endings(tree, suffix):
    root = tree({"covid": 0, "normal": 2})
    with Image.open(io.BytesIO(picture(5))) as image:
        image.save(root / "covid" / f"1.{suffix}", format=FORMATS[suffix])
    assert counts(read_table(root)) == {"covid": 1, "normal": 2}


def test_files_without_an_ending_are_known_by_their_content(tree):
    root = tree({"covid": ["IM000001", "1.2.840.113"], "normal": 2, "tb": []})
    (root / "tb" / "IM1").write_bytes(b"\0" * 128 + b"DICM")
    (root / "tb" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (root / "normal" / "README").write_text("x")
    assert counts(read_folders(root)) == {"covid": 2, "normal": 2, "tb": 1}


LOST = {
    "heic": {"COVID": ["a.heic", "b.heic"], "Normal": 3, "TB": 3},
    "volumes": {"COVID/images": ["a.nii.gz"], "Normal/images": 3, "TB/images": 3},
    "an archive": {"train/COVID": ["a.zip"], "train/Normal": 3, "train/TB": 3},
    "most of it": {"COVID": ["a.jxl", "b.jxl", "c.png"], "Normal": 3},
    "arrays": {"COVID": ["a.h5", "b.h5"], "Normal": 3, "TB": 3},
    "pickles": {"train/COVID": ["a.pkl"], "train/Normal": 3, "train/TB": 3},
    "no ending": {"COVID": ["a", "b"], "Normal": 3, "TB": 3},
}


@pytest.mark.parametrize("kind", LOST)
def test_a_label_of_files_that_are_not_read_stops(tree, kind, refuses):
    root = tree(LOST[kind])
    if kind == "no ending":
        for file in (root / "COVID").iterdir():
            file.write_bytes(b"\1\2\3")
    with refuses(TableError, "label-without-images"):
        read_table(root)


def test_what_is_only_partly_read_or_empty_is_said(tree, snapshot):
    files = {"train/COVID": ["a.heic", "b.png", "c.png", "b.npy"], "train/Normal": 3, "train/TB": 0, "test/TB": 2}
    notes = read_table(tree({**files, "train/notes": ["a.txt"]})).notes
    snapshot("\n".join(notes))


def test_folders_of_documents_and_weights_beside_class_folders_are_said(tree, snapshot):
    spec = {"docs": ["a.txt", "b.pdf"], "labels": ["1.txt"], "models": ["best.h5"], "covid": 3, "normal": 3}
    table = read_table(tree(spec))
    assert table.labels == ("normal", "covid")
    snapshot("\n".join(table.notes))


def test_other_files_and_stray_images_are_counted(write_dataset, snapshot):
    root = write_dataset(labels=("a", "b"), splits=("",), patients=1, images=1, metadata=False)
    (root / "a" / "notes.txt").write_text("hello")
    (root / "a" / "tr000-0.png").with_name("x.png").write_bytes(b"")
    (root / "a" / "x.png").rename(root / "stray.png")
    notes = " ".join(read_table(root).notes)
    assert "stray.png" in notes
    snapshot(notes)

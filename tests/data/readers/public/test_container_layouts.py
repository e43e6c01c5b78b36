"""Datasets whose images lie in one file, or whose tables are of an exchange format."""

import io
import json

import numpy as np
import polars
import pytest
from PIL import Image

from hilum.data.images import read_picture
from hilum.errors import TableError


def write_medmnist(file, side, *, several=0, colours=False, count=6):
    generator = np.random.default_rng(0)
    arrays = {}
    for split in ("train", "val", "test"):
        shape = (count, side, side, 3) if colours else (count, side, side)
        arrays[f"{split}_images"] = generator.integers(0, 256, shape, np.uint8)
        labels = np.arange(count)[:, None] % 2 if not several else generator.integers(0, 2, (count, several))
        arrays[f"{split}_labels"] = labels.astype(np.uint8)
    np.savez_compressed(file, **arrays)
    return arrays


@pytest.mark.parametrize(
    ("side", "name"), [(28, "pneumoniamnist"), (64, "pneumoniamnist_64"), (224, "pneumoniamnist_224")]
)
def test_pneumoniamnist_keeps_pixels_labels_and_splits(tmp_path, read, side, name):
    arrays = write_medmnist(tmp_path / f"{name}.npz", side)
    for data in (tmp_path / f"{name}.npz", tmp_path):
        table = read(data)
        assert (table.layout, table.labels) == ("medmnist", ("normal", "pneumonia"))
        assert table.values("split") == {"train": 6, "val": 6, "test": 6}
    row = next(row for row in table.rows if row.path == "val/val-000003.png")
    assert row.label == "pneumonia"
    factor = 2 if side < 32 else 1
    picture = np.asarray(Image.open(table.file(row)))
    assert np.array_equal(picture[::factor, ::factor], arrays["val_images"][3])
    assert read_picture(table.file(row)).pixels.shape[0] == side * factor


def test_chestmnist_has_findings_and_unknown_sets_have_numbers(tmp_path, read):
    arrays = write_medmnist(tmp_path / "chestmnist.npz", 32, several=14)
    table = read(tmp_path / "chestmnist.npz")
    assert len(table.findings) == 14
    assert table.findings[0] == "atelectasis"
    row = next(row for row in table.rows if row.path == "test/test-000002.png")
    assert [row.extra[f"finding:{name}"] for name in table.findings] == list(map(str, arrays["test_labels"][2]))
    write_medmnist(tmp_path / "mine.npz", 32, colours=True)
    table = read(tmp_path / "mine.npz")
    assert table.labels == ("class 0", "class 1")
    assert any(note.startswith("WARNING") for note in table.notes)


def test_a_volume_and_a_damaged_file_are_refused(tmp_path, read):
    file = tmp_path / "organmnist3d.npz"
    arrays = {f"{split}_images": np.zeros((2, 28, 28, 28), np.uint8) for split in ("train", "val", "test")}
    np.savez(file, **arrays, **{f"{split}_labels": np.zeros((2, 1)) for split in ("train", "val", "test")})
    with pytest.raises(TableError) as refused:
        read(file)
    assert refused.value.code == "unknown-shape"
    write_medmnist(file, 32)
    content = bytearray(file.read_bytes())
    content[200:400] = b"\0" * 200
    file.write_bytes(content)
    with pytest.raises(TableError):
        read(file)


def test_coco_categories_are_labels(tree, read):
    annotated = {
        "images": [{"id": n, "file_name": f"{n}.png"} for n in range(4)],
        "categories": [{"id": 1, "name": "normal"}, {"id": 2, "name": "pneumonia"}],
        "annotations": [{"id": n, "image_id": n, "category_id": n % 2 + 1} for n in range(4)],
    }
    root = tree(
        {"annotations/instances_train.json": json.dumps(annotated), **{f"images/{n}.png": None for n in range(4)}}
    )
    table = read(root)
    assert table.counts() == {("train", "normal"): 2, ("train", "pneumonia"): 2}
    annotated["annotations"].append({"id": 9, "image_id": 0, "category_id": 2})
    (root / "annotations/instances_train.json").write_text(json.dumps(annotated))
    with pytest.raises(TableError) as refused:
        read(root)
    assert refused.value.code == "contradicting-labels"


def test_an_imagefolder_with_a_table_in_each_split(tree, read):
    lines = "".join(
        json.dumps({"file_name": f"{n}.png", "label": ["a", "b"][n % 2], "age": 40 + n}) + "\n" for n in range(4)
    )
    files = {f"{split}/{n}.png": None for split in ("train", "test") for n in range(4)}
    root = tree({"train/metadata.jsonl": lines, "test/metadata.csv": "file_name,label\n0.png,a\n1.png,b\n", **files})
    table = read(root)
    assert table.counts() == {("train", "a"): 2, ("train", "b"): 2, ("test", "a"): 1, ("test", "b"): 1}
    assert next(row for row in table.rows if row.path == "train/2.png").extra["age"] == "42"


def test_parquet_of_hugging_face(tmp_path, read):
    def encoded(value):
        stream = io.BytesIO()
        Image.fromarray(np.full((40, 40), value, np.uint8)).save(stream, "PNG")
        return {"bytes": stream.getvalue(), "path": f"{value}.png"}

    frame = polars.DataFrame(
        {"image": [encoded(n) for n in range(6)], "label": [0, 1] * 3, "age": [50 + n for n in range(6)]}
    )
    told = {"info": {"features": {"label": {"names": ["normal", "pneumonia"], "_type": "ClassLabel"}}}}
    (tmp_path / "data").mkdir()
    for split in ("train", "test"):
        file = tmp_path / f"data/{split}-00000-of-00001.parquet"
        frame.write_parquet(file, metadata={"huggingface": json.dumps(told)})
    table = read(tmp_path)
    assert table.counts() == {(s, label): 3 for s in ("train", "test") for label in ("normal", "pneumonia")}
    row = next(row for row in table.rows if row.extra["age"] == "54" and row.split == "test")
    assert np.asarray(Image.open(table.file(row))).max() == 4
    assert row.label == "normal"

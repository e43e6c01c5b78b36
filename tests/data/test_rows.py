"""Rows in columns: the same rows, in a fraction of the memory."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.data import dataset as rows_module
from hilum.data.cache import open_images
from hilum.data.dataset import Dataset, PackedRows, Row, one_image_each, pack
from hilum.data.preprocessing import Preprocessing
from hilum.data.readers.read import read_table
from hilum.data.splits import SplitPlan, assign_splits
from hilum.errors import TableError

TEXT = st.text(max_size=8) | st.just("not \udcff UTF-8")
DIGESTS = st.just("") | st.binary(min_size=32, max_size=32).filter(any).map(bytes.hex)
ROWS = st.lists(
    st.builds(Row, TEXT, TEXT, TEXT, TEXT, TEXT, DIGESTS, st.dictionaries(TEXT, TEXT, max_size=2)), max_size=20
)


def encodes(row):
    try:
        row.path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


@given(ROWS.map(lambda rows: tuple(row for row in rows if encodes(row))), st.integers(-25, 25), st.integers(-25, 25))
def test_packed_rows_are_the_rows(rows, start, stop):
    packed = PackedRows.of(rows)
    assert len(packed) == len(rows)
    assert tuple(packed) == rows
    assert packed == rows
    assert packed[start:stop] == rows[start:stop]
    if rows:
        assert packed[-1] == rows[-1]
        assert packed != rows[1:]
    with pytest.raises(IndexError):
        packed[len(rows)]


@given(ROWS.map(lambda rows: tuple(row for row in rows if encodes(row))), st.data())
def test_other_values_of_a_column_leave_the_others_alone(rows, data):
    splits = data.draw(st.lists(TEXT, min_size=len(rows), max_size=len(rows)))
    digests = data.draw(st.lists(DIGESTS, min_size=len(rows), max_size=len(rows)))
    packed = PackedRows.of(rows).with_values("split", splits).with_values("sha256", digests)
    assert packed == [replace(row, split=s, sha256=d) for row, s, d in zip(rows, splits, digests, strict=True)]


@given(ROWS.map(lambda rows: tuple(row for row in rows if encodes(row))), st.dictionaries(TEXT, TEXT, max_size=4))
def test_other_words_for_values_are_counted_and_read_alike(rows, changed):
    """Two values may become one, and a column in words or in columns gives the same."""
    changed |= {row.label: "one" for row in rows[::2]}
    few, many = Dataset(Path(), rows), replace(Dataset(Path(), ()), rows=PackedRows.of(rows))
    assert many.renamed("label", changed).rows == few.renamed("label", changed).rows
    for column in ("label", "split", "patient_id", "source"):
        assert many.renamed("label", changed).values(column) == few.renamed("label", changed).values(column)


def test_many_rows_take_less_than_200_bytes_each():
    def rows():
        return (Row(f"train/normal/{i:06}.jpg", f"{'normal'}", "train", f"patient {i // 2}") for i in range(30_000))

    def size(make):
        tracemalloc.start()
        kept = make()
        current, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return current, kept

    packed, kept = size(lambda: pack(rows()))
    objects, _ = size(lambda: [replace(row, sha256="0" * 63 + "1", patient_id=row.patient_id + "") for row in rows()])
    assert isinstance(kept, PackedRows)
    assert packed < objects / 2
    assert packed / len(kept) < 200


def test_a_table_of_many_rows_is_split_and_decoded_like_one_of_few(write_dataset, monkeypatch):
    root = write_dataset(splits=("train", "test"), patients=40)
    table = read_table(root)
    table.file(table.rows[5]).unlink()
    few = open_images(table, Preprocessing(size=32))
    monkeypatch.setattr(rows_module, "PACK_FROM", 10)
    packed = read_table(root)
    assert isinstance(packed.rows, PackedRows)
    assert packed.rows == table.rows
    many = open_images(packed, Preprocessing(size=32))
    assert isinstance(many.table.rows, PackedRows)
    assert many.table.rows == few.table.rows
    assert many.digest == few.digest
    assert [item.message for item in many.unreadable] == [item.message for item in few.unreadable]
    assert assign_splits(many.table, SplitPlan()) == assign_splits(few.table, SplitPlan())
    assert many.select([0, 7]).table.rows == few.select([0, 7]).table.rows


def test_a_column_of_another_length_is_refused(monkeypatch):
    rows = (Row("a", "x"), Row("b", "y"))
    for few in (False, True):
        monkeypatch.setattr(rows_module, "PACK_FROM", 1 + few)
        for values in (["train"], ["train"] * 3):
            with pytest.raises(ValueError):
                Dataset(Path(), rows).with_values("split", values)


def test_a_path_that_is_listed_twice_is_found_among_many(tmp_path, monkeypatch, refuses):
    monkeypatch.setattr(rows_module, "PACK_FROM", 10)
    names = [f"{label}/{i}.png" for label in ("a", "b") for i in range(20)]
    (tmp_path / "metadata.csv").write_text(
        "path,label\n" + "".join(f"{name},{name[0]}\n" for name in names) + f"{names[3]},b\n"
    )
    with refuses(TableError, "contradicting-rows"):
        read_table(tmp_path)


def test_one_image_of_each_patient_whatever_their_order():
    paths, patients = [f"{i}.png" for i in range(12)], [f"p{i // 3}" for i in range(12)]
    chosen = one_image_each(paths, patients)
    assert chosen == sorted(chosen)
    assert [patients[i] for i in chosen] == ["p0", "p1", "p2", "p3"]
    back = one_image_each(paths[::-1], patients[::-1])
    assert {paths[::-1][i] for i in back} == {paths[i] for i in chosen}
    assert one_image_each([], []) == []


def test_absolute_paths_keep_links_and_mean_the_same_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to("kept")
    monkeypatch.chdir(tmp_path)
    table = Dataset(Path("link"), (Row("1.png", "a"),), given=Path("link"), joined=(Path("other"),)).absolute()
    monkeypatch.chdir("/")
    assert table.file(table.rows[0]) == tmp_path / "link" / "1.png"
    assert (table.given, table.joined) == (tmp_path / "link", (tmp_path / "other",))

"""Several findings an image: what rows keep, and each finding as a problem of two labels."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from hilum.data.dataset import PACK_FROM, Dataset, PackedRows, Row, read_csv, write_csv
from hilum.data.multilabel import (
    NO_FINDING,
    binary_labels,
    binary_view,
    column_of,
    finding_values,
    findings_of,
    known_rows,
    with_findings,
)

NAMES = ("Atelectasis", "Effusion", "Nodule or Mass")
VALUES = np.array([[1, 0, 0], [1, 1, np.nan], [0, 0, 0], [-1, np.nan, 1], [np.nan, np.nan, np.nan]], np.float32)


def table(values=VALUES, names=NAMES):
    rows = [Row(f"{i}.png", "", patient_id=f"p{i}", extra={"age": str(40 + i)}) for i in range(len(values))]
    return with_findings(Dataset(Path(), rows), names, values)


def test_rows_keep_what_was_given_and_other_columns():
    made = table()
    assert made.findings == NAMES == findings_of(made.rows)
    np.testing.assert_array_equal(finding_values(made), VALUES)
    assert [row.label for row in made.rows] == [
        "Atelectasis",
        "Atelectasis|Effusion",
        NO_FINDING,
        "Nodule or Mass",
        NO_FINDING,
    ]
    assert [row.extra["age"] for row in made.rows] == ["40", "41", "42", "43", "44"]


def test_findings_survive_selection_and_a_table_on_disk(tmp_path):
    made = table().take([3, 1])
    np.testing.assert_array_equal(finding_values(made), VALUES[[3, 1]])
    write_csv(tmp_path / "split.csv", made.rows)
    _, rows = read_csv(tmp_path / "split.csv")
    assert findings_of(rows) == NAMES
    np.testing.assert_array_equal(finding_values(Dataset(Path(), rows, findings=NAMES)), VALUES[[3, 1]])


@pytest.mark.parametrize(
    ("uncertain", "places", "positive"),
    [
        ("ignore", [0, 1, 2], [1, 1, 0]),
        ("positive", [0, 1, 2, 3], [1, 1, 0, 1]),
        ("negative", [0, 1, 2, 3], [1, 1, 0, 0]),
    ],
)
def test_a_finding_is_a_problem_of_two_labels(uncertain, places, positive):
    made = table()
    view = binary_view(made, "Atelectasis", uncertain)
    assert view.findings == ()
    assert all(set(row.extra) == {"age"} for row in view.rows), "a finding would describe itself"
    assert [row.path for row in view.rows] == [f"{i}.png" for i in places]
    absent, present = binary_labels("Atelectasis")
    assert [row.label for row in view.rows] == [present if each else absent for each in positive]
    np.testing.assert_array_equal(known_rows(made, "Atelectasis", uncertain), places)


def test_a_slash_would_be_a_nested_label():
    assert table(names=("A", "B", "Nodule/ Mass")).findings[2] == "Nodule or Mass"


def test_what_cannot_be_is_refused():
    with pytest.raises(KeyError):
        binary_view(table(), "Hernia")
    with pytest.raises(ValueError, match="1, 0, -1"):
        table(np.full((2, 3), 0.5))
    with pytest.raises(ValueError, match="2 findings"):
        table(names=("A", "B"))


def test_many_rows_take_bytes_and_not_objects():
    names = tuple(f"finding {i}" for i in range(14))
    count = PACK_FROM + 10
    values = np.random.default_rng(0).integers(0, 2, (count, 14)).astype(np.float32)
    plain = Dataset(Path(), [Row(f"{i}.png", "x", extra={"age": "50"}) for i in range(count)])
    tracemalloc.start()
    made = with_findings(plain, names, values)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(made.rows, PackedRows)
    assert taken < 300 * count  # a dictionary of fifteen names takes 700
    np.testing.assert_array_equal(finding_values(made), values)
    assert made.rows[5].extra[column_of("finding 0")] in ("0", "1")
    assert dict(made.rows[5].extra) == made.rows[5].extra
    assert made.rows[5].extra["age"] == "50"
    again = made.with_splits(["train"] * count)
    np.testing.assert_array_equal(finding_values(again), values)


def test_rows_without_a_column_have_none():
    rows = [Row(f"{i}.png", "x", extra={"age": str(i)} if i % 2 else {"sex": "F"}) for i in range(PACK_FROM + 3)]
    packed = Dataset(Path(), rows).rows
    assert [row.extra for row in packed[:4]] == [{"sex": "F"}, {"age": "1"}, {"sex": "F"}, {"age": "3"}]
    assert packed[0].extra.get("age") is None
    assert list(packed) == rows

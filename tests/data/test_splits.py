"""Splits: nobody on two sides, labels in equal shares, the test images choosing nothing."""

from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.data.dataset import Dataset, Row
from hilum.data.readers.read import read_table
from hilum.data.splits import GROUP_COLUMN, SplitPlan, assign_splits, components, find_leakage, independent_groups
from hilum.errors import SplitError
from wording import numbers


def make(patients_of, split="train", images=2, known=True):
    return [
        Row(f"{split}/{label}/{p}-{i}.png", label, split, f"{split}{label}{p}" if known else "")
        for label, count in patients_of.items()
        for p in range(count)
        for i in range(images)
    ]


@settings(max_examples=25, deadline=None)
@given(
    counts=st.lists(st.integers(12, 60), min_size=2, max_size=4),
    images=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_whole_patients_move_and_every_part_has_every_label(counts, images, seed):
    table = Dataset(Path(), tuple(make({f"l{k}": n for k, n in enumerate(counts)}, split="", images=images)))
    names = assign_splits(table, SplitPlan(seed=seed)).names
    sides = defaultdict(set)
    for row, name in zip(table.rows, names, strict=True):
        sides[row.patient_id].add(name)
    assert all(len(side) == 1 for side in sides.values())
    for part in ("train", "val", "calibration", "test"):
        assert {row.label for row, name in zip(table.rows, names, strict=True) if name == part} == set(table.labels)


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.3])
def test_every_label_gives_its_share_to_every_part(fraction):
    table = Dataset(Path(), tuple(make({"a": 200, "b": 600, "rare": 5}, split="", images=1)))
    names = assign_splits(table, SplitPlan(fraction=fraction)).names
    counts = Counter(zip(names, (row.label for row in table.rows), strict=True))
    for part in ("val", "calibration", "test"):
        assert counts[part, "a"] == 200 * fraction
        assert counts[part, "b"] == 600 * fraction
        assert counts[part, "rare"] == 1
    assert counts["train", "a"] == 200 - 3 * 200 * fraction


def test_images_with_the_same_bytes_stay_together():
    rows = [replace(row, sha256=f"{i // 3}", patient_id="") for i, row in enumerate(make({"a": 45, "b": 45}, split=""))]
    names = assign_splits(Dataset(Path(), tuple(rows)), SplitPlan()).names
    sides = defaultdict(set)
    for row, name in zip(rows, names, strict=True):
        sides[row.sha256].add(name)
    assert all(len(side) == 1 for side in sides.values())
    assert {"train", "val", "calibration", "test"} == set(names)


def test_the_same_bytes_on_two_given_sides_are_found():
    rows = [*make({"a": 40, "b": 40}), *make({"a": 5, "b": 5}, "test")]
    rows[0], rows[-1] = replace(rows[0], sha256="same"), replace(rows[-1], sha256="same")
    table = Dataset(Path(), tuple(rows))
    for sides in ([row.split for row in rows], assign_splits(table, SplitPlan()).names):
        assert find_leakage(table, sides).pictures == ((rows[0].path, rows[-1].path),)


def test_duplicates_are_held_out_together_and_join_patients():
    rows = make({"a": 60, "b": 60}, split="", images=2)
    duplicates = [i - i % 12 if i % 4 == 0 else i for i in range(len(rows))]  # three patients show one picture
    for seed in range(3):
        names = assign_splits(Dataset(Path(), tuple(rows)), SplitPlan(seed=seed), duplicates).names
        together = defaultdict(set)
        for i, name in enumerate(names):
            together[i // 12].add(name)
        sides = [side for number, side in together.items() if len(side) == 1]
        # of six patients of a block, the three that share a picture are on one side with all of their images
        assert all(len({names[i] for i in range(b, b + 12) if i // 2 % 2 == 0}) == 1 for b in range(0, len(rows), 12))
        assert len(sides) < len(together)  # the others are divided as ever
        assert not find_leakage(Dataset(Path(), tuple(rows)), names, duplicates)


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 4), min_size=1, max_size=12))
def test_leakage_is_what_counting_finds(drawn):
    rows = tuple(
        Row(f"{i}.png", "a", patient_id=f"p{p}" * (p > 0), sha256=f"{s}") for i, (p, s, _, _) in enumerate(drawn)
    )
    sides = [("unused", "train", "val", "test")[side] for _, _, side, _ in drawn]
    duplicates = [number for _, _, _, number in drawn]
    found = find_leakage(Dataset(Path(), rows), sides, duplicates)
    patients = {
        f"p{p}"
        for p in (1, 2, 3)
        if len({side for side, (q, *_) in zip(sides, drawn, strict=True) if q == p} - {"unused"}) > 1
    }
    assert set(found.patients) == patients
    together = list(range(len(rows)))  # by hand: join until nothing changes
    for _ in rows:
        for i, (_, s, _, d) in enumerate(drawn):
            for j, (_, t, _, e) in enumerate(drawn):
                if s == t or d == e:
                    together[i] = together[j] = min(together[i], together[j])
    torn = {
        number: [i for i, other in enumerate(together) if other == number and sides[i] != "unused"]
        for number in together
    }
    expected = {tuple(rows[i].path for i in of) for of in torn.values() if len({sides[i] for i in of}) > 1}
    assert set(found.pictures) == expected


def test_names_of_what_is_on_two_sides_are_said_and_made_safe():
    rows = [*make({"a": 40, "b": 40}), *make({"a": 5, "b": 5}, "test")]
    rows += [Row(f"test/x{i}.png", "a", "test", f"traina{i}\x1b[31m" if i == 0 else f"traina{i}") for i in range(1, 8)]
    rows[0] = replace(rows[0], path="train/\x1b[31m.png", sha256="same")
    rows[-1] = replace(rows[-1], sha256="same")
    table = Dataset(Path(), tuple(rows))
    found = find_leakage(table, assign_splits(table, SplitPlan()).names)
    assert len(found.patients) == 7
    shown = found.examples()
    assert shown["patients"].count("traina") == 3
    assert shown["patients"].endswith("...")
    assert "\x1b" not in "".join(shown.values())
    assert "test/x7.png" in shown["pictures"]
    assert not shown["pictures"].endswith("...")


def test_a_patient_with_several_labels_is_on_one_side():
    rows = make({"a": 40, "b": 40, "c": 12}, split="")
    rows = [replace(row, patient_id=f"p{i % 50}") for i, row in enumerate(rows)]
    names = assign_splits(Dataset(Path(), tuple(rows)), SplitPlan()).names
    sides = defaultdict(set)
    for row, name in zip(rows, names, strict=True):
        sides[row.patient_id].add(name)
    assert all(len(side) == 1 for side in sides.values())


def test_rows_without_a_split_beside_rows_with_one_are_left_aside_and_said(snapshot):
    rows = [*make({"a": 40, "b": 40}), *make({"a": 5, "b": 5}, "test"), *make({"a": 3}, "")]
    notes = assign_splits(Dataset(Path(), tuple(rows)), SplitPlan()).notes
    assert "6" in numbers(" ".join(notes))
    snapshot("\n".join(notes))


@pytest.mark.parametrize("plan", [{"val": "test"}, {"calibration": "test"}, {"test": "val", "min_val_patients": 5}])
def test_no_split_serves_twice(plan, refuses):
    rows = [*make({"a": 50, "b": 50}), *make({"a": 8, "b": 9}, "val"), *make({"a": 5, "b": 5}, "test")]
    with refuses(SplitError, "one-split-twice"):
        assign_splits(Dataset(Path(), tuple(rows)), SplitPlan(**plan))


def test_the_same_seed_gives_the_same_split_and_another_one_another():
    table = Dataset(Path(), tuple(make({"a": 40, "b": 40})))
    assert assign_splits(table, SplitPlan(seed=1)) == assign_splits(table, SplitPlan(seed=1))
    assert assign_splits(table, SplitPlan(seed=1)).names != assign_splits(table, SplitPlan(seed=2)).names


def test_the_datasets_own_splits_serve_where_they_can():
    rows = [*make({"a": 50, "b": 50}), *make({"a": 25, "b": 25}, "val"), *make({"a": 5, "b": 5}, "test")]
    table = Dataset(Path(), tuple(rows))
    splits = assign_splits(table, SplitPlan())
    for row, name in zip(rows, splits.names, strict=True):
        if row.split in ("val", "test"):
            assert name == row.split
    assert "calibration" in splits.names


def test_a_val_too_small_to_choose_by_is_left_aside_and_said(snapshot):
    rows = [*make({"a": 50, "b": 50}), *make({"a": 8, "b": 9}, "val"), *make({"a": 5, "b": 5}, "test")]
    splits = assign_splits(Dataset(Path(), tuple(rows)), SplitPlan())
    assert {name for row, name in zip(rows, splits.names, strict=True) if row.split == "val"} == {"unused"}
    assert all(row.split == "train" for row, name in zip(rows, splits.names, strict=True) if name == "val")
    snapshot("\n".join(splits.notes))


def test_the_seeds_protocol_swaps_test_and_val(seed_cxr):
    table = read_table(seed_cxr)
    names = assign_splits(table, SplitPlan(val="test", test="val", calibration="none")).names
    assert Counter(names) == {"train": 5216, "val": 615, "test": 25}


def test_on_the_real_data_validation_comes_from_train_by_patient(seed_cxr):
    table = read_table(seed_cxr)
    names = assign_splits(table, SplitPlan()).names
    sides = defaultdict(set)
    for row, name in zip(table.rows, names, strict=True):
        assert (name == "test") == (row.split == "test")
        if row.split == "train":
            sides[row.patient_id].add(name)
    assert all(len(side) == 1 for side in sides.values())


def test_unknown_patients_are_called_optimistic(snapshot):
    table = Dataset(Path(), tuple(make({"a": 40, "b": 40}, known=False)))
    snapshot("\n".join(assign_splits(table, SplitPlan()).notes))


def test_a_patient_on_two_sides_is_found():
    rows = [
        *make({"a": 40, "b": 40}),
        Row("test/a.png", "a", "test", "traina0"),
        Row("test/b.png", "b", "test", "x"),
    ]
    table = Dataset(Path(), tuple(rows))
    assert find_leakage(table, assign_splits(table, SplitPlan()).names).patients == ("traina0",)


def test_a_label_that_train_does_not_have_is_refused(refuses):
    rows = [*make({"a": 40, "b": 40}), *make({"a": 4, "c": 4}, "test")]
    with refuses(SplitError, "label-not-in-train"):
        assign_splits(Dataset(Path(), tuple(rows)), SplitPlan())


def test_too_few_patients_to_divide_are_refused_with_numbers(refuses):
    with refuses(SplitError, "too-few-patients"):
        assign_splits(Dataset(Path(), tuple(make({"a": 40, "b": 3}, split=""))), SplitPlan())


def test_a_split_that_is_not_there_is_refused(refuses):
    with refuses(SplitError, "no-such-split"):
        assign_splits(Dataset(Path(), tuple(make({"a": 40, "b": 40}))), SplitPlan(val="nope"))


def test_splits_without_train_are_refused(refuses):
    with refuses(SplitError, "no-train"):
        assign_splits(Dataset(Path(), tuple(make({"a": 4, "b": 4}, "test"))), SplitPlan())


def test_whatever_any_of_several_lists_holds_together_gets_one_number():
    known = [("a", "x", ""), ("a", "y", ""), ("b", "y", ""), ("c", "z", ""), ("d", "", "q"), ("", "", "q")]
    rows = tuple(
        Row(f"{i}.png", "normal", "train", patient, sha256=digest, extra={GROUP_COLUMN: group} if group else {})
        for i, (patient, digest, group) in enumerate(known)
    )
    assert independent_groups(Dataset(Path(), rows)) == [0, 0, 0, 1, 2, 2]
    assert independent_groups(Dataset(Path(), rows), [1, 2, 3, 4, 5, 1]) == [0, 0, 0, 1, 0, 0]
    assert components(5, [3, 1], [4, 2]).tolist() == [0, 1, 1, 2, 2]

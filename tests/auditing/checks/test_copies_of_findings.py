"""Several findings an image: what copies and patients contradict is a finding that is here and not there."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from hilum.auditing.audit import audit
from hilum.auditing.clean import fix, write_fixed
from hilum.data.dataset import Dataset, Row
from hilum.data.multilabel import finding_values, with_findings
from hilum.data.readers.read import read_table

NAN = float("nan")
NAMES = ("edema", "effusion")


@pytest.fixture
def table(write_dataset):
    """Twelve pictures; the last four are copies: of one nothing differs, of the others one cell."""
    root = write_dataset(patients=8)
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))[:8]
    values = [[1, 0], [0, 1], [0, 1], [0, NAN]] * 2
    rows = [Row(file, "", patient_id=f"p{k}") for k, file in enumerate(files)]
    for k, copied in enumerate([[1, 0], [0, 0], [NAN, 1], [0, -1]]):
        name = f"again-{k}.png"
        (root / name).write_bytes((root / files[k]).read_bytes())
        rows.append(Row(name, "", patient_id=f"p{k}"))
        values.append(copied)
    return with_findings(Dataset(root, rows), NAMES, np.array(values, np.float32))


def test_a_copy_that_contradicts_is_an_error_and_one_that_knows_less_is_not(table, snapshot):
    found = audit(table)
    assert [found.duplicates.groups[g] for g in found.duplicates.across_labels] == [(1, 9)]
    said = [one for one in found.findings if one.check == "duplicates"]
    wrong = [one for one in said if one.severity == "error"]
    assert len(wrong) == 1
    assert wrong[0].evidence.examples == [[table.rows[1].path, "again-1.png"]]
    assert said[-1].evidence.labels == {"edema": 1, "no finding": 2, "effusion": 1}
    assert found.patients.several_labels == ("p1",)
    snapshot("\n".join(one.message for one in [*said, *(f for f in found.findings if f.check == "patients")]))


def test_a_cleaned_table_keeps_what_is_unknown_and_uncertain(table, tmp_path):
    table = replace(table)
    groups = {0: 0, 8: 0, 1: 1, 9: 1, 2: 2, 10: 2, 3: 3, 11: 3}
    fixed = fix(table, [row.patient_id for row in table.rows], groups, [])
    write_fixed(fixed, tmp_path / "clean.csv")
    again = read_table(tmp_path / "clean.csv")
    assert again.findings == NAMES
    assert len(again) == 12 - 2 - 3
    kept = {row.patient_id: line.tolist() for row, line in zip(again.rows, finding_values(again), strict=True)}
    assert "p1" not in kept
    np.testing.assert_array_equal(kept["p3"], [0, NAN])
    np.testing.assert_array_equal(kept["p0"], [1, 0])
    with (tmp_path / "clean.csv").open() as file:
        assert "label" not in next(csv.reader(file))

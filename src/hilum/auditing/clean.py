"""Acting on an audit: a table without what cannot be read or believed, and a log of what was done."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hilum.auditing.checks.duplicate_findings import both_right
from hilum.auditing.near_duplicates.groups import is_altered
from hilum.data.dataset import Dataset, Row
from hilum.data.multilabel import UNKNOWN, column_of, contradicted, finding_values
from hilum.data.patients import rule_of
from hilum.data.readers.text_table import LOG, is_log, statement
from hilum.data.splits import GROUP_COLUMN, independent_groups
from hilum.errors import TableError
from hilum.files import save_bytes, save_text
from hilum.outputs import cell
from hilum.text import printable

COLUMNS = ("path", "label", "split", "patient_id", "source", GROUP_COLUMN)
HOLDS_BACK = ("test", "calibration", "val", "train")  # whoever is in several goes to the first of them


@dataclass(frozen=True)
class Fixed:
    """A table as it should have been, and what was changed: one line a row or group."""

    table: Dataset
    log: tuple[str, ...]


def fix(table: Dataset, patients: Sequence[str], groups: Mapping[int, int], unreadable: Sequence[str]) -> Fixed:
    """Clean what can be cleaned without looking at an image. Nothing is moved: what was held back stays as given.

    - Files that cannot be read are left out (they are not in `table` any more).
    - Patients that were recognised by file names are written down.
    - A picture that lies under several labels is left out: one of the labels is wrong, and nobody here knows which. So
      is one with a finding that is present on one copy and absent on another. Labels of which one says all that the
      other says (``COVID-19`` and ``COVID-19, ARDS``) are both right.
    - Of other copies one is kept: that in ``test`` before ``calibration`` before ``val`` before ``train``; on one side,
      a file whose name does not say that it is a copy (as ``180Rotated_x.jpg`` does). If two patients claim a picture,
      it keeps both names in one group, so that no split tears these patients apart.
    - Of a patient on several sides of given splits only the images on the first of these sides are kept.

    Args:
        table: The readable rows, N of them.
        patients: Whose image each is; empty where unknown.
        groups: The number of the duplicate group, by position; positions without copies are absent.
        unreadable: Paths that were left out already.
    """
    log = [f"left out {path}: cannot be read" for path in unreadable]
    rows = [replace(row, patient_id=patient) for row, patient in zip(table.rows, patients, strict=True)]
    named = sum(bool(rule_of(row.patient_id)) for row in rows)
    if named:
        log.append(f"wrote the patient of {named} images, recognised by their file names")

    members: defaultdict[int, list[int]] = defaultdict(list)
    for position, group in groups.items():
        members[group].append(position)
    kept = {position: row for position, row in enumerate(rows) if position not in groups}
    together: dict[str, str] = {}  # the group of patients who claim one picture
    values = finding_values(table) if table.findings else None
    for group, positions in members.items():
        if values is not None:
            wrong = [name for name, no in zip(table.findings, contradicted(values[positions]), strict=True) if no]
            why = f"on copies of it {', '.join(wrong)} is present and absent" if wrong else ""
        else:
            labels = sorted({rows[position].label for position in positions})
            why = "" if both_right(labels) else f"the same image lies under {', '.join(labels)}"
        if why:
            log += [f"left out {rows[i].path}: {why}" for i in positions]
            continue
        first, *copies = sorted(positions, key=lambda i: (_side(rows[i]), is_altered(rows[i].path), i))
        kept[first] = rows[first]
        log += [f"left out {rows[i].path}: a copy of {rows[first].path}" for i in copies]
        claimed = {rows[i].patient_id for i in positions if rows[i].patient_id}
        if len(claimed) > 1:
            together |= dict.fromkeys(claimed, f"copies-{group}")
    mended = [
        replace(row, extra={**row.extra, GROUP_COLUMN: together[row.patient_id]}) if row.patient_id in together else row
        for _, row in sorted(kept.items())
    ]
    return Fixed(replace(table, rows=tuple(_on_one_side(mended, log))), tuple(log))


def _side(row: Row) -> tuple[int, str]:
    return (HOLDS_BACK.index(row.split) if row.split in HOLDS_BACK else len(HOLDS_BACK), row.split)


def _on_one_side(rows: Sequence[Row], log: list[str]) -> list[Row]:
    """Leave out what a patient has on other sides than the first."""
    numbers = independent_groups(Dataset(Path(), tuple(rows)))
    first: dict[int, Row] = {}
    for row, number in zip(rows, numbers, strict=True):
        if number not in first or _side(row) < _side(first[number]):
            first[number] = row
    kept = []
    for row, number in zip(rows, numbers, strict=True):
        there = first[number]
        if row.split == there.split:
            kept.append(row)
        else:
            who = f"patient {there.patient_id}" if there.patient_id else there.path
            log.append(f"left out {row.path} of {row.split or 'no split'}: {who} is in {there.split}, too")
    return kept


def write_fixed(fixed: Fixed, out: Path) -> Path:
    """Write the table, with paths that hold from where it lies, and beside it the log.

    Args:
        fixed: What `fix` made.
        out: A CSV file to make.

    Returns:
        The log's file, which begins with what `hilum.data.readers.text_table` knows a table by that was cut.

    Raises:
        TableError: `out` is not a CSV file name, exists, or cannot be written.
    """
    check_fixed(out)
    root, here, log = fixed.table.root.resolve(), out.parent.resolve(), out.with_suffix(".log")
    file, path = io.StringIO(newline=""), ""
    writer = csv.writer(file)
    columns = [column_of(name) for name in fixed.table.findings]  # which alone say what is unknown or uncertain
    writer.writerow([*(name for name in COLUMNS if name != "label" or not columns), *columns])
    for row in fixed.table.rows:
        path = Path(os.path.relpath(root / row.path, here)).as_posix()
        path = path if path == cell(path) else f"./{path}"  # the same file, and no formula
        words = [] if columns else [row.label]
        words += [row.split, row.patient_id, row.source, row.extra.get(GROUP_COLUMN, "")]
        values = (row.extra.get(column, UNKNOWN) for column in columns)
        writer.writerow([path, *map(cell, words), *values])
    content = file.getvalue().encode("utf-8", "surrogateescape")
    lines = [f"{LOG}{json.dumps(statement(content, path, len(fixed.table)).model_dump())}", *map(printable, fixed.log)]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        save_text(log, "".join(f"{line}\n" for line in lines))
        save_bytes(out, content)  # last: a table is never without its log
    except OSError as error:
        msg = f"{out}: cannot be written ({error.strerror}). Choose another path."
        raise TableError(msg) from error
    return log


def check_fixed(out: Path) -> None:
    """Find before any work what would prevent a cleaned table from being written.

    Args:
        out: The CSV file to make.

    Raises:
        TableError: `out` is not a CSV file name, or exists.
    """
    if out.suffix.lower() != ".csv":
        msg = f"{out}: the cleaned table is a CSV file. Give it a name that ends in .csv."
        raise TableError(msg)
    log = out.with_suffix(".log")
    for target in (out, log):
        killed = target == log and is_log(log)  # before the table was written, which is not there
        if os.path.lexists(target) and not killed:
            msg = f"{target}: exists already. Choose another name, or delete it."
            raise TableError(msg)

"""The run's own data with every column of their table, and what these columns say about where the images come from."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from hilum.data.labels import is_covid
from hilum.data.readers.read import read_table
from hilum.data.sources import given_away
from hilum.data.table import Row, Table
from hilum.errors import HilumError
from hilum.evaluation.subgroups import AGE, age_band
from hilum.training.run import Run

WANTED = {  # what a report asks for, by the names under which tables have it
    "source": ("source", "site", "hospital", "institution", "dataset"),
    "site": ("site", "hospital", "institution", "centre", "center"),
    "date": ("date", "year", "acquired", "acquisition_date", "study_date", "studydate"),
    "licence": ("licence", "license"),
    "age": AGE,
    "sex": ("sex", "gender", "patient_sex", "patientsex"),
    "view": ("view", "projection", "view_position", "viewposition"),
    "label_source": ("label_source", "reference_standard", "ground_truth", "labelled_by", "annotator", "rt_pcr"),
}
FIRST_COVID = 2019
MOST_VALUES = 12


def own_table(run: Run, root: Path) -> Table:
    """The run's own data with all columns of their table; as the run keeps them if that table has gone.

    Args:
        run: A run.
        root: Where the images lie now.
    """
    given = Path(run.environment.get("data", {}).get("given") or root)
    for place in (given, root):
        try:
            table = read_table(place, run.read_options)
        except (HilumError, OSError):
            continue
        if table.root.resolve() == root.resolve():
            return table
    return run.table(root)


def table_facts(table: Table) -> dict[str, Any]:
    """What the table says of source, date, licence, age, sex, view, and the making of labels.

    Returns:
        ``n_images``; ``columns``: for each of `WANTED` the column that has it, its share of filled cells and, where it
        takes few values, counts by label; ``given_away``: labels that the source gives away; ``impossible``: labels
        that cannot be true at their images' dates; ``undated``: images whose date tells no year.
    """
    names = dict.fromkeys(name for row in table.rows for name in row.extra)
    columns: dict[str, Any] = {}
    for wanted, synonyms in WANTED.items():
        named = [name for name in ("source", *names) if name.lower() in synonyms]
        cells = ((name, [_cell(row, name) for row in table.rows]) for name in named)
        name, values = next(((name, values) for name, values in cells if any(values)), ("", []))
        if not name:
            continue
        filled = sum(bool(value) for value in values)
        if wanted == "age":
            values = [age_band(value) for value in values]
        pairs = zip(table.rows, values, strict=True)
        by_label = Counter((row.label, value or "unknown") for row, value in pairs)
        few = len({value for _, value in by_label}) <= MOST_VALUES
        counts = {label: {v: n for (of, v), n in sorted(by_label.items()) if of == label} for label in table.labels}
        columns[wanted] = {"column": name, "filled": filled / len(table), "by_label": counts if few else None}
    date = columns.get("date", {}).get("column")
    return {
        "n_images": len(table),
        "columns": columns,
        "given_away": [found.sentence for found in given_away(table)],
        "impossible": _impossible(table, date),
        "undated": sum(_year(row, date) is None for row in table.rows) if date else None,
    }


def _impossible(table: Table, column: str | None) -> list[str]:
    """COVID-19 before there was any."""
    if column is None:
        return []
    early: Counter[str] = Counter()
    for row in table.rows:
        year = _year(row, column)
        if year and year < FIRST_COVID and is_covid(row.label):
            early[row.label] += 1
    return [f"{count} images of '{label}' are dated before {FIRST_COVID}" for label, count in early.items()]


def _year(row: Row, column: str) -> int | None:
    year = re.search(r"(19|20)\d\d", _cell(row, column))
    return int(year[0]) if year else None


def _cell(row: Row, column: str) -> str:
    return row.source.strip() if column == "source" else str(row.extra.get(column, "")).strip()

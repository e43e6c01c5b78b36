"""Several datasets as one table, joined before any split: patients and duplicates across them then stay together."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hilum.data.dataset import Dataset, Row, pack
from hilum.data.label_map import apply_label_map
from hilum.data.label_names import same_finding
from hilum.data.multilabel import UNKNOWN, column_of
from hilum.data.options import ReadOptions
from hilum.data.patients import rule_of
from hilum.data.readers.read import TABLE, read_table
from hilum.data.splits import GROUP_COLUMN
from hilum.errors import TableError, UsageError
from hilum.progress import Progress
from hilum.text import plural, printable

LEFT_OUT = ""


def read_datasets(
    data: Sequence[Path], options: ReadOptions | None = None, progress: Progress | None = None
) -> list[Dataset]:
    """Read several datasets, each with its own layout.

    Args:
        data: Folders and tables.
        options: How to read them. Columns hold for the tables, folders have none.
        progress: Told while headers are read.

    Raises:
        TableError: One of them is no labelled dataset, or columns are named and none is a table.
    """
    options = options or ReadOptions()
    tables, refused = [], []
    for path in data:
        try:
            tables.append(read_table(path, options, progress))
        except TableError as error:
            if error.code != "no-table":
                raise
            refused.append(error)
            tables.append(read_table(path, ReadOptions(patients=options.patients), progress))
    if len(refused) == len(data):
        raise refused[0]
    return tables


def join(
    tables: Sequence[Dataset], *, map_label: Mapping[str, str] | None = None, same_patients: bool = False
) -> Dataset:
    """Join datasets into one.

    Each image keeps where it comes from in the column ``source``: ``NAME`` of its dataset, or ``NAME/SOURCE`` where the
    dataset states a source. Labels of one meaning become one label, in the spelling of the first dataset that has it.
    Patients of different datasets are different people, except those who are recognised by the file names of one
    public set. Where a dataset brings no splits, those of the others are put together.

    Args:
        tables: One or more datasets.
        map_label: New names of labels by their names in any of the datasets; an empty one leaves the images out.
        same_patients: Whether equal names of patients mean one person in all datasets.

    Returns:
        Rows in the order of the datasets, with paths relative to the folder above all of them.

    Raises:
        UsageError: `map_label` names a label that no dataset has.
        TableError: Some have exclusive labels and others several findings an image, two labels of a dataset have the
            meaning of one of another, fewer than two labels are left, or a file is in two of the datasets.
    """
    names = dataset_names(tables)
    findings = _findings(tables, names)
    if findings:
        tables = [_mapped(table, map_label or {}) for table in tables]
        findings = tuple(dict.fromkeys(name for table in tables for name in table.findings))
        labels, notes = (
            [{label: label for label in table.labels} for table in tables],
            _lacking(tables, names, findings),
        )
    else:
        labels, notes = _labels(tables, names, map_label or {})
    every = {column_of(name): UNKNOWN for name in findings}
    if len(tables) > 1:
        sizes = ", ".join(f"{name} ({len(table):,})" for name, table in zip(names, tables, strict=True))
        notes.insert(0, f"joined {len(tables)} datasets: {sizes}")
    divided = [bool(table.splits) for table in tables]
    anew = any(divided) and not all(divided)
    if anew:
        lacking = [name for name, has in zip(names, divided, strict=True) if not has]
        notes.append(f"{', '.join(lacking)} has no splits: the splits of the other datasets are pooled")
    root = Path(os.path.commonpath([os.path.abspath(table.root) for table in tables]))  # noqa: PTH100
    notes += [
        note if len(tables) == 1 else f"{name}: {note}"
        for name, table in zip(names, tables, strict=True)
        for note in table.notes
    ]
    alone = len(tables) == 1

    def rows() -> Iterator[Row]:
        for name, table, renamed in zip(names, tables, labels, strict=True):
            for row in table.rows:
                label = renamed[row.label]
                if label == LEFT_OUT:
                    continue
                if alone:
                    yield replace(row, label=label)
                    continue
                yield replace(
                    row,
                    label=label,
                    path=_below(root, table.file(row)),
                    split="" if anew else row.split,
                    patient_id=row.patient_id if same_patients else _own(row.patient_id, name),
                    source=f"{name}/{row.source}" if row.source else name,
                    extra={**every, **_own_groups(row.extra, name)},
                )

    whole = replace(
        tables[0] if alone else Dataset(root, (), options=tables[0].options, joined=_given(tables), findings=findings),
        rows=pack(rows()),
        notes=tuple(notes),
    )
    if len(whole.labels) < 2:
        msg = f"{root}: {', '.join(whole.labels) or 'no label'} is all that is left. A classifier needs two labels."
        raise TableError(msg, code="single-label", path=root)
    if not alone:
        _check_each_once(whole, [Path(os.path.abspath(table.root)) for table in tables])  # noqa: PTH100
    return whole


def dataset_of(source: str) -> str:
    """The dataset's name in the source of an image of joined datasets."""
    return source.partition("/")[0]


def dataset_names(tables: Sequence[Dataset]) -> list[str]:
    """A name for each dataset: that of its folder or table, with folders above it where two are equal."""
    places = [_place(table, number) for number, table in enumerate(tables, 1)]
    names: list[str] = []
    for place in places:
        count = 1
        while count < len(place) and sum(place[-count:] == other[-count:] for other in places) > 1:
            count += 1
        names.append("-".join(place[-count:]))
    twice = Counter(names)
    return [f"{name}-{number}" if twice[name] > 1 else name for number, name in enumerate(names, 1)]


def _place(table: Dataset, number: int) -> tuple[str, ...]:
    if table.given is None:
        return (f"dataset-{number}",)
    given = Path(os.path.abspath(table.given))  # noqa: PTH100
    if given.is_file():
        given = given.parent if given.stem.lower() == TABLE else given.with_suffix("")
    return tuple(part.replace("/", "") for part in given.parts) or (f"dataset-{number}",)


def _given(tables: Sequence[Dataset]) -> tuple[Path, ...]:
    return tuple(table.given or table.root for table in tables)


def _labels(
    tables: Sequence[Dataset], names: Sequence[str], given: Mapping[str, str]
) -> tuple[list[dict[str, str]], list[str]]:
    """The new name of each label, by dataset, and notes of what was renamed, left out, or is in one dataset only."""
    every = dict.fromkeys(label for table in tables for label in table.labels)
    for label, target in given.items():
        if label not in every:
            msg = (
                f"--map-label {label}={target}: no dataset has this label. Labels: {', '.join(map(printable, every))}."
            )
            raise UsageError(msg, code="no-such-label")
    known = dict.fromkeys(target for target in given.values() if target)
    found: list[dict[str, str]] = []
    notes: list[str] = []
    for table, name in zip(tables, names, strict=True):
        renamed: dict[str, str] = {}
        for label in table.labels:
            alike = [other for other in known if other not in table.labels and same_finding(label, other)]
            if label in given:
                renamed[label] = given[label]
            elif label in known or not alike or len(tables) == 1:
                renamed[label] = label
            elif len(alike) == 1:
                renamed[label] = alike[0]
            else:
                msg = (
                    f"{table.given or table.root}: '{printable(label)}' may be {' or '.join(map(printable, alike))} of "
                    f"the other datasets. Choose one with --map-label '{printable(label)}=LABEL'."
                )
                raise TableError(msg, code="ambiguous-label", path=table.root)
        known |= dict.fromkeys(label for label in renamed.values() if label)
        found.append(renamed)
        counts = table.values("label")
        notes += [
            f"{name}: {printable(label)} is read as {printable(new)}"
            for label, new in renamed.items()
            if new not in (label, LEFT_OUT)
        ]
        notes += [
            f"{name}: {plural(counts[label], 'image')} of {printable(label)} left out, as --map-label says"
            for label, new in renamed.items()
            if new == LEFT_OUT
        ]
    for label in known if len(tables) > 1 else ():
        having = [name for name, renamed in zip(names, found, strict=True) if label in renamed.values()]
        if len(having) == 1:
            notes.append(f"WARNING: only {having[0]} has the label {printable(label)}")
    return found, notes


def _findings(tables: Sequence[Dataset], names: Sequence[str]) -> tuple[str, ...]:
    """The findings of all; none where labels are exclusive."""
    having = [name for table, name in zip(tables, names, strict=True) if table.findings]
    if having and len(having) < len(tables):
        others = [name for name in names if name not in having]
        msg = (
            f"{', '.join(having)} may have several findings an image, and {', '.join(others)} has one label an image: "
            "they cannot be joined. Give datasets of one kind."
        )
        raise TableError(msg, code="two-kinds", path=tables[0].root)
    return tuple(dict.fromkeys(name for table in tables for name in table.findings))


def _mapped(table: Dataset, given: Mapping[str, str]) -> Dataset:
    """New names for the findings of one dataset; of the others' findings it has none."""
    return apply_label_map(table, tuple((old, new) for old, new in given.items() if old in table.findings))


def _lacking(tables: Sequence[Dataset], names: Sequence[str], findings: Sequence[str]) -> list[str]:
    """Notes of findings that a dataset does not state, where they are unknown."""
    return [
        f"{name}: {', '.join(map(printable, lacking))} unknown: only the other datasets state it"
        for table, name in zip(tables, names, strict=True)
        if (lacking := [one for one in findings if one not in table.findings])
    ]


def _own(patient: str, name: str) -> str:
    return f"{patient}@{name}" if patient and not rule_of(patient) else patient


def _own_groups(extra: Mapping[str, str], name: str) -> Mapping[str, str]:
    """Groups of duplicates are numbered by dataset."""
    group = extra.get(GROUP_COLUMN)
    return {**extra, GROUP_COLUMN: f"{group}@{name}"} if group else extra


def _below(root: Path, file: Path) -> str:
    """A path relative to `root` where it lies below it, else as it is."""
    path, above = os.path.abspath(file), f"{root}{os.sep}" if root != root.parent else str(root)  # noqa: PTH100
    return path.removeprefix(above)


def _check_each_once(whole: Dataset, roots: Sequence[Path]) -> None:
    seen: set[str] = set()
    for row in whole.rows:
        if row.path in seen:
            where = ", ".join(dict.fromkeys(map(str, roots)))
            msg = f"{printable(row.path)}: is in two of the datasets ({where}). Give every file once."
            raise TableError(msg, code="file-twice", path=whole.file(row))
        seen.add(row.path)

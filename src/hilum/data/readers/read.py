"""Reads a dataset, however it is laid out, and adds what its DICOM files state: patients, views, ages and sexes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from hilum.data.dataset import Dataset, Row, pack
from hilum.data.dicom_header import LATERAL
from hilum.data.frames import Frame, write_frame
from hilum.data.images import DICOM_SUFFIXES, SUFFIXES, is_dicom
from hilum.data.label_map import apply_label_map
from hilum.data.label_names import several_in_words, tidy_labels
from hilum.data.options import ReadOptions
from hilum.data.patients import recognise_patients, tidy_patients
from hilum.data.process_pool import usable_cores
from hilum.data.readers.columns import choose_columns, is_known
from hilum.data.readers.csv_table import read_csv_table
from hilum.data.readers.findings_as_read import from_lists, tidy_findings
from hilum.data.readers.folders import read_folders
from hilum.data.readers.public.known_layouts import layout_of
from hilum.data.readers.text_table import open_text_table
from hilum.errors import TableError
from hilum.progress import Progress
from hilum.text import printable

SAMPLE = 32  # files that are opened although their names say that they are images
COLUMNS = ("view", "age", "sex")


def with_headers(table: Dataset, progress: Progress | None = None, *, patients: bool = True) -> Dataset:
    """Fill in what the headers of a table's DICOM files state, where the table does not state it.

    Patients become pseudonyms (see `hilum.data.dicom_header.facts`), or what the table calls them on other rows where
    it
    names them always alike; view, age and sex become columns of those names.
    Lateral views stay, and are counted. Of files with an image's ending only a few are opened where no other file is
    DICOM. A single PatientID on files of several labels is what de-identification leaves: it says nothing of patients.

    Args:
        table: A dataset.
        progress: Told while headers are read.
        patients: Whether to take patients, too.

    Returns:
        The table itself where no file is DICOM; otherwise one with more values, and notes of what was found.

    Raises:
        ExtraError: A file is DICOM, and the extra ``[dicom]`` is not installed.
    """
    numbers = _objects(table)
    if not numbers:
        return table
    from hilum.data.bounded import read_facts, require_extra

    require_extra(table.rows[numbers[0]].path)
    found: dict[int, dict[str, str]] = {}
    with (
        (progress or Progress()).task("Reading DICOM headers", len(numbers)) as advance,
        ThreadPoolExecutor(usable_cores()) as pool,
    ):
        read = pool.map(lambda number: read_facts(table.file(table.rows[number])), numbers)
        for number, facts in zip(numbers, read, strict=True):
            found[number] = facts
            advance(1)
    people, notes = _people(table, found) if patients else ({}, [])
    names = [table.rows[number].path for number in numbers]
    disguised = [name for name in names if PurePosixPath(name).suffix.lower() in SUFFIXES]
    if disguised:
        notes.append(f"read {len(disguised)} files as DICOM, despite their image extension (first: {disguised[0]})")
    lateral = sum(facts.get("view") in LATERAL for facts in found.values())
    if lateral:
        notes.append(
            f"kept {lateral} lateral views among {len(numbers)} DICOM files; remove their rows to leave them out"
        )
    return replace(table, rows=pack(_filled(table, found, people)), notes=(*table.notes, *notes))


def _objects(table: Dataset) -> list[int]:
    """Positions of the rows whose files are DICOM."""
    found, images = [], []
    for number, row in enumerate(table.rows):
        suffix = PurePosixPath(row.path).suffix.lower()
        if suffix in SUFFIXES:
            images.append(number)
        elif suffix in DICOM_SUFFIXES or is_dicom(table.file(row)):
            found.append(number)
    # Names may be wrong, but all files are opened only where some are DICOM.
    if found or any(is_dicom(table.file(table.rows[n])) for n in images[:: max(1, len(images) // SAMPLE)]):
        found += [number for number in images if is_dicom(table.file(table.rows[number]))]
    return sorted(found)


def _people(table: Dataset, found: Mapping[int, Mapping[str, str]]) -> tuple[dict[int, str], list[str]]:
    """Patients of rows that name none, by position, and notes of where they are from."""
    told = {number: facts["patient_id"] for number, facts in found.items() if "patient_id" in facts}
    rows = {number: table.rows[number] for number in told}
    missing = [number for number, row in rows.items() if not row.patient_id]
    if not missing:
        return {}, []
    if len(set(told.values())) == 1 and len({row.label for row in rows.values()}) > 1:
        return {}, ["all DICOM files share one PatientID, as after de-identification: it was not used"]
    called = defaultdict(set)
    for number, row in rows.items():
        if row.patient_id:
            called[told[number]].add(row.patient_id)
    given = {pseudonym: next(iter(names)) for pseudonym, names in called.items() if len(names) == 1}
    people = {number: given.get(told[number], told[number]) for number in missing}
    pseudonyms = set(people.values()) - set(given.values())
    ways = [f"as {len(pseudonyms)} pseudonyms"] if pseudonyms else []
    ways += ["by the identifiers in other rows"] if len(set(people.values())) > len(pseudonyms) else []
    took = f"took the patients of {len(missing)} DICOM files from their headers, {' and '.join(ways)}"
    return people, [f"{took}; --patients none switches this off"]


def _filled(table: Dataset, found: Mapping[int, Mapping[str, str]], people: Mapping[int, str]) -> Iterator[Row]:
    stated = {name.lower() for row in table.rows for name in row.extra}
    for number, row in enumerate(table.rows):
        facts = found.get(number)
        if facts:
            added = {name: facts[name] for name in COLUMNS if name in facts and name not in stated}
            row = replace(row, patient_id=people.get(number, row.patient_id), extra={**row.extra, **added})
        yield row


FRAME = "data frame"  # what messages call it
TABLE = "metadata"  # what a table beside the images is called, in any case
ENDINGS = (".csv", ".tsv")
SHOWN = 5


def read_table(data: Path, options: ReadOptions | None = None, progress: Progress | None = None) -> Dataset:
    """Read a dataset, whichever way it is laid out.

    Labels are brought to one spelling each, images without a label are left out, and patients whom no column names are
    taken from DICOM headers or recognised by file names: the table's notes tell of all that.

    Args:
        data: A folder of class folders (optionally below ``train``, ``val``, ``test``), a folder that
            holds a ``metadata.csv``, or such a table itself.
        options: How to read it, where it does not say so itself.
        progress: Told while the headers of DICOM files are read.

    Raises:
        TableError: There is nothing there, or it is not a labelled dataset of two or more labels.
        ExtraError: A file is DICOM, and the extra that reads those is not installed.
    """
    options = options or ReadOptions()
    try:
        return _read(data, options, progress)
    except TableError as error:
        recognised = not data.is_dir() or options.layout or layout_of(data, options)
        found = [] if recognised else _tables_of_images(data, options)
        if len(found) != 1:
            raise
        why = str(error.__cause__ if isinstance(error.__cause__, TableError) else error)
        msg = (
            f"{data}: holds {printable(found[0].name)}, a table of images and labels. Give it instead "
            f"({printable(str(found[0]))}). Without it: {why}"
        )
        raise TableError(msg, code="table-in-folder", path=data) from error


def _read(data: Path, options: ReadOptions, progress: Progress | None) -> Dataset:
    if not data.exists():
        msg = f"{data}: no such folder or file. Give a folder of class folders, or a CSV with path and label."
        raise TableError(msg, code="missing", path=data)
    if layout := layout_of(data, options):
        table, options = layout.read(data, options), replace(options, layout=layout.name)
    else:
        table = _read_folder(data, options) if data.is_dir() else read_csv_table(data, options)
    return replace(_finished(table, data, options, progress), given=data, options=options)


def read_frame(frame: Frame, options: ReadOptions | None = None, progress: Progress | None = None) -> Dataset:
    """Read a dataset from a data frame, with the columns that a CSV table would have.

    Args:
        frame: A pandas or polars data frame with a column of image paths and one of labels, optionally of splits,
            patients and sources. Paths are absolute, or relative to the current folder.
        options: How to read it, where its columns do not say so themselves.
        progress: Told while the headers of DICOM files are read.

    Raises:
        TableError: It is not a labelled dataset of two or more labels.
        ExtraError: A file is DICOM, and the extra that reads those is not installed.
    """
    options, root = options or ReadOptions(), Path.cwd()
    with TemporaryDirectory(prefix="hilum-") as folder:
        file = Path(folder) / FRAME
        write_frame(frame, file)
        try:
            table = _finished(read_csv_table(file, options, root), file, options, progress)
        except TableError as error:
            raise TableError(str(error).replace(str(file), FRAME), code=error.code) from error
    return replace(table, options=options)


def _finished(table: Dataset, data: Path, options: ReadOptions, progress: Progress | None) -> Dataset:
    """What all datasets share once their rows are read: one spelling a label, findings, and patients."""
    table = table if table.findings else from_lists(tidy_labels(table))
    table = tidy_findings(table, data) if table.findings else table
    table = tidy_patients(apply_label_map(table, options.label_map))
    if not table.findings and len(table.labels) < 2:
        only = "".join(f" ('{printable(label)}')" for label in table.labels)
        found = f"{len(table)} images with a single label{only}" if len(table) else "no image with a label"
        msg = (
            f"{data}: found {found}. A classifier needs "
            "at least two: put the images of each label into one folder, such as normal/ and infected/covid/."
            + "".join(f" ({note})" for note in table.notes)
        )
        raise TableError(msg, code="single-label", path=data)
    table = with_headers(table, progress, patients=options.patients == "auto")
    if several := several_in_words(table):
        note = f"{several}: separated by none of | ; , each is a label of its own, and a training refuses them"
        table = replace(table, notes=(*table.notes, note))
    return recognise_patients(table) if options.patients == "auto" else table


def _read_folder(data: Path, options: ReadOptions) -> Dataset:
    return next(table for reader in READERS if (table := reader(data, options)) is not None)


def _tables(data: Path) -> list[Path]:
    return sorted(file for file in data.iterdir() if file.suffix.lower() in ENDINGS and not file.is_dir())


def _tables_of_images(data: Path, options: ReadOptions) -> list[Path]:
    """The tables in a folder with columns of paths and labels; none where one of them is read with the folder."""
    found = []
    for file in _tables(data):
        if file.stem.lower() == TABLE:
            return []
        try:
            choose_columns(open_text_table(file, partial(is_known, options=options)), options, lambda _: None)
        except TableError:
            continue
        found.append(file)
    return found


def _read_metadata(data: Path, options: ReadOptions) -> Dataset | None:
    """A folder by its ``metadata.csv``; None where it has none."""
    meant = [file for file in _tables(data) if file.stem.lower() == TABLE]
    exact = [file for file in meant if file.name == f"{TABLE}.csv"] or meant
    if len(exact) > 1:
        msg = f"{data}: holds {' and '.join(printable(file.name) for file in exact)}. Give one of them."
        raise TableError(msg, code="several-tables", path=data)
    return read_csv_table(exact[0], options) if exact else None


def _read_class_folders(data: Path, options: ReadOptions) -> Dataset:
    """A folder by its class folders; tables in it are named."""
    tables = _tables(data)
    columns = [name for name in ("path", "label", "patient", "split") if getattr(options, f"{name}_column")]
    others = ", ".join(printable(file.name) for file in tables[:SHOWN])
    if columns:
        hint = f"Give one of its tables ({others})." if tables else "Leave the option out, or give a table."
        msg = f"{data}: --{columns[0]}-column takes a table, and this folder has no {TABLE}.csv. {hint}"
        raise TableError(msg, code="no-table", path=data)
    hint = f"tables in it were not read ({others}): to use one, give it in place of the folder"
    try:
        table = read_folders(data)
    except TableError as error:
        if not tables:
            raise
        msg = f"{error} ({hint[0].upper()}{hint[1:]}.)"
        raise TableError(msg, code=error.code, path=error.path) from error
    return replace(table, notes=(*table.notes, hint)) if tables else table


READERS: tuple[Callable[[Path, ReadOptions], Dataset | None], ...] = (
    _read_metadata,
    _read_class_folders,
)
"""Readers of folders, asked in this order: each returns None for a layout that is not its own. A reader of a further
layout is a module in `hilum.data.readers` and an entry before the class folders, which take whatever is left."""

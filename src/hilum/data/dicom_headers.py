"""Patients, views, ages and sexes that DICOM files state themselves, added to a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import PurePosixPath

from hilum.data.crew import usable_cores
from hilum.data.dicom_gate import LATERAL
from hilum.data.images import DICOM_SUFFIXES, SUFFIXES, is_dicom
from hilum.data.rows import Row, pack
from hilum.data.table import Table
from hilum.progress import Progress

SAMPLE = 32  # files that are opened although their names say that they are images
COLUMNS = ("view", "age", "sex")


def with_headers(table: Table, progress: Progress | None = None) -> Table:
    """Fill in what the headers of a table's DICOM files state, where the table does not state it.

    Patients become pseudonyms (see `hilum.data.dicom_gate.facts`); view, age and sex become columns of those names.
    Lateral views stay, and are counted. Of files with an image's ending only a few are opened where no other file is
    DICOM. A single PatientID on files of several labels is what de-identification leaves: it says nothing of patients.

    Args:
        table: A dataset.
        progress: Told while headers are read.

    Returns:
        The table itself where no file is DICOM; otherwise one with more values, and notes of what was found.

    Raises:
        ExtraError: A file is DICOM, and the extra ``[dicom]`` is not installed.
    """
    numbers = _objects(table)
    if not numbers:
        return table
    from hilum.data.dicom import read_facts, require_extra

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
    people = {facts.get("patient_id", "") for facts in found.values()} - {""}
    labels = {table.rows[number].label for number, facts in found.items() if "patient_id" in facts}
    notes = []
    if len(people) == 1 and len(labels) > 1:
        notes.append("all DICOM files share one PatientID, as de-identification leaves it: their patients are unknown")
        found = {number: {**facts, "patient_id": ""} for number, facts in found.items()}
    elif people:
        notes.append(f"took the patients of {len(numbers)} DICOM files from their headers, as {len(people)} pseudonyms")
    names = [table.rows[number].path for number in numbers]
    disguised = [name for name in names if PurePosixPath(name).suffix.lower() in SUFFIXES]
    if disguised:
        notes.append(
            f"read {len(disguised)} files as DICOM, although they have an image's ending (first: {disguised[0]})"
        )
    lateral = sum(facts.get("view") in LATERAL for facts in found.values())
    if lateral:
        notes.append(
            f"kept {lateral} lateral views among {len(numbers)} DICOM files; remove their rows to leave them out"
        )
    return replace(table, rows=pack(_filled(table, found)), notes=(*table.notes, *notes))


def _objects(table: Table) -> list[int]:
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


def _filled(table: Table, found: Mapping[int, Mapping[str, str]]) -> Iterator[Row]:
    stated = {name.lower() for row in table.rows for name in row.extra}
    for number, row in enumerate(table.rows):
        facts = found.get(number)
        if facts:
            added = {name: facts[name] for name in COLUMNS if name in facts and name not in stated}
            patient = row.patient_id or facts.get("patient_id", "")
            row = replace(row, patient_id=patient, extra={**row.extra, **added})
        yield row

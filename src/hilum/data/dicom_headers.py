"""Patients, views, ages and sexes that DICOM files state themselves, added to a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import PurePosixPath

from hilum.data.crew import usable_cores
from hilum.data.dicom_gate import LATERAL
from hilum.data.images import DICOM_SUFFIXES, SUFFIXES, is_image_file
from hilum.data.rows import Row, pack
from hilum.data.table import Table
from hilum.progress import Progress

COLUMNS = ("view", "age", "sex")


def with_headers(table: Table, progress: Progress | None = None) -> Table:
    """Fill in what the headers of a table's DICOM files state, where the table does not state it.

    Patients become pseudonyms (see `hilum.data.dicom_gate.facts`); view, age and sex become columns of those names.
    Files with an image's ending are not opened. A single PatientID on files of several labels is what de-identification
    leaves, and says nothing of patients.

    Args:
        table: A dataset.
        progress: Told while headers are read.

    Returns:
        The table itself where no file is DICOM; otherwise one with more values, and notes of what was found.

    Raises:
        ExtraError: A file is DICOM, and the extra ``[dicom]`` is not installed.
    """
    numbers = [number for number, row in enumerate(table.rows) if _is_dicom(table, row)]
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
    lateral = sum(facts.get("view") in LATERAL for facts in found.values())
    if lateral:
        notes.append(
            f"kept {lateral} lateral views among {len(numbers)} DICOM files; remove their rows to leave them out"
        )
    return replace(table, rows=pack(_filled(table, found)), notes=(*table.notes, *notes))


def _is_dicom(table: Table, row: Row) -> bool:
    suffix = PurePosixPath(row.path).suffix.lower()
    return suffix in DICOM_SUFFIXES or (suffix not in SUFFIXES and is_image_file(table.file(row)))


def _filled(table: Table, found: Mapping[int, Mapping[str, str]]) -> Iterator[Row]:
    stated = {name.lower() for row in table.rows for name in row.extra}
    for number, row in enumerate(table.rows):
        facts = found.get(number)
        if facts:
            added = {name: facts[name] for name in COLUMNS if name in facts and name not in stated}
            patient = row.patient_id or facts.get("patient_id", "")
            row = replace(row, patient_id=patient, extra={**row.extra, **added})
        yield row

"""Patients, views, ages and sexes that DICOM files state themselves, added to a table."""

from __future__ import annotations

from collections import defaultdict
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


def with_headers(table: Table, progress: Progress | None = None, *, patients: bool = True) -> Table:
    """Fill in what the headers of a table's DICOM files state, where the table does not state it.

    Patients become pseudonyms (see `hilum.data.dicom_gate.facts`), or what the table calls them on other rows where it
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
    people, notes = _people(table, found) if patients else ({}, [])
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
    return replace(table, rows=pack(_filled(table, found, people)), notes=(*table.notes, *notes))


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


def _people(table: Table, found: Mapping[int, Mapping[str, str]]) -> tuple[dict[int, str], list[str]]:
    """Patients of rows that name none, by position, and notes of where they are from."""
    told = {number: facts["patient_id"] for number, facts in found.items() if "patient_id" in facts}
    rows = {number: table.rows[number] for number in told}
    missing = [number for number, row in rows.items() if not row.patient_id]
    if not missing:
        return {}, []
    if len(set(told.values())) == 1 and len({row.label for row in rows.values()}) > 1:
        return {}, ["all DICOM files share one PatientID, as de-identification leaves it: it was not used"]
    called = defaultdict(set)
    for number, row in rows.items():
        if row.patient_id:
            called[told[number]].add(row.patient_id)
    given = {pseudonym: next(iter(names)) for pseudonym, names in called.items() if len(names) == 1}
    people = {number: given.get(told[number], told[number]) for number in missing}
    pseudonyms = set(people.values()) - set(given.values())
    ways = [f"as {len(pseudonyms)} pseudonyms"] if pseudonyms else []
    ways += ["by the names that other rows give them"] if len(set(people.values())) > len(pseudonyms) else []
    took = f"took the patients of {len(missing)} DICOM files from their headers, {' and '.join(ways)}"
    return people, [f"{took}; --patients none switches this off"]


def _filled(table: Table, found: Mapping[int, Mapping[str, str]], people: Mapping[int, str]) -> Iterator[Row]:
    stated = {name.lower() for row in table.rows for name in row.extra}
    for number, row in enumerate(table.rows):
        facts = found.get(number)
        if facts:
            added = {name: facts[name] for name in COLUMNS if name in facts and name not in stated}
            row = replace(row, patient_id=people.get(number, row.patient_id), extra={**row.extra, **added})
        yield row

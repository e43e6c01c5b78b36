"""What a predictor is asked about: files, bytes or arrays, and which images belong together as a study."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.data.grey_values import from_array
from hilum.data.images import DICOM_SUFFIXES, SUFFIXES, Picture, is_image_file, read_header, read_radiograph
from hilum.data.readers.folder_kinds import without_companions
from hilum.data.readers.listing import Folder, list_all
from hilum.errors import ImageError, UsageError
from hilum.files import open_text
from hilum.text import printable

Source = Path | str | bytes | NDArray[Any]


def name_of(source: Source, number: int) -> str:
    """What answers and messages call a source; bytes and arrays by their position, from 1 on."""
    return str(source) if isinstance(source, (Path, str)) else f"image {number}"


def read_source(source: Source, name: str) -> tuple[Picture, tuple[str, ...]]:
    """Read one source, and what has to be known about it.

    Raises:
        ImageError: It cannot be read as a radiograph, or shows the same value everywhere.
        ExtraError: It is a DICOM object, and the extra that reads those is not installed.
    """
    notes: tuple[str, ...] = ()
    if isinstance(source, np.ndarray):
        picture = from_array(source, name)
    else:
        picture, notes = read_radiograph(source if isinstance(source, bytes) else Path(source), name)
    if picture.pixels.min() == picture.pixels.max():
        msg = f"{name}: every pixel has the same value. Check its origin, or remove it."
        raise ImageError(msg, code="constant")
    return picture, notes


def find_files(
    paths: Iterable[Path],
    without: Iterable[Path | None] = (),
    say: Callable[[str], object] | None = None,
    unlisted: Callable[[str], object] | None = None,
) -> Iterator[Path]:
    """Files as they were named, and in order of their names all images and DICOM objects below folders.

    Hidden folders, what systems leave behind, and what goes with the images beside it (`without_companions`, as when a
    dataset is read) are passed over below a folder; a folder that is named itself is read. Links are followed, each
    folder is read once.

    Args:
        paths: Files and folders.
        without: Folders that are passed over where they lie below another one: what an earlier call has written.
        say: Told in one line for each folder what was left out.
        unlisted: Told in one line of each folder that cannot be listed.

    Raises:
        UsageError: A folder holds none.
    """
    written = [os.path.realpath(folder) for folder in without if folder]
    for path in paths:
        if not os.path.isdir(path):  # noqa: PTH112 - false where permissions are missing, which reading reports
            yield path
            continue
        listed, _, failed = list_all(path)
        for message in failed:
            if unlisted:
                unlisted(message)
        folders = [folder for folder in map(partial(_with_objects, path), listed) if folder.images]
        for home in written:
            if home.startswith(os.path.join(os.path.realpath(path), "")):  # noqa: PTH118
                folders = [folder for folder in folders if not _is_in(home, path.joinpath(*folder.parts))]
        if not folders and not failed:
            known = ", ".join(sorted(SUFFIXES | DICOM_SUFFIXES))
            msg = f"{path}: no image in this folder or below it ({known}). Name the files themselves."
            raise UsageError(msg, code="no-images", path=path)
        kept, _ = without_companions(folders)
        found, chosen = (
            sorted(path.joinpath(*folder.parts, name) for folder in some for name in folder.images)
            for some in (folders, kept)
        )
        if say and (left := sorted(set(found) - set(chosen))):
            say(
                f"{printable(str(path))}: of {len(found):,} files left out {len(left):,} that belong to the images "
                f"beside them by name (such as {printable(str(left[0].relative_to(path)))}); name these files, or "
                "their folder, to predict them"
            )
        yield from chosen


def _with_objects(root: Path, folder: Folder) -> Folder:
    """The folder with DICOM objects under any name among its images."""
    more = [name for name in folder.others if is_image_file(root.joinpath(*folder.parts, name))]
    return replace(folder, images=tuple(sorted((*folder.images, *more)))) if more else folder


def _is_in(home: str, folder: Path) -> bool:
    real = os.path.realpath(folder)
    return real == home or real.startswith(os.path.join(home, ""))  # noqa: PTH118


PATHS = ("path", "file", "filename", "image")
STUDIES = ("study", "study_id", "studyinstanceuid", "patient_id", "patient", "patientid", "subject_id")
PATIENTS = ("patient_id", "patient", "patientid", "subject_id")
WAYS = "folder, dicom (StudyInstanceUID), patient (DICOM PatientID), or TABLE.csv[:COLUMN]"
SHOWN = 3


@dataclass(frozen=True)
class Grouping:
    """Studies and what has to be known about how they were formed.

    Attributes:
        studies: By name, in the order of their first image, the images of each.
        missing: By name, images that a table counts to the study, and that were not given.
        notes: Sentences for whoever asked.
    """

    studies: dict[str, list[Path]]
    missing: dict[str, list[str]]
    notes: tuple[str, ...] = ()


def group_files(files: Sequence[Path], how: str) -> Grouping:
    """Form studies.

    Args:
        files: Images; none where a table names them all.
        how: ``folder``; ``dicom``, by StudyInstanceUID; ``patient``, by PatientID of the headers; or a table in CSV
            with a column of paths, relative to it, and after a colon the name of the column that holds the study.

    Raises:
        UsageError: No such way or column, or a table that does not name every image.
    """
    if how == "folder":
        return _by_folder(files)
    if how in ("dicom", "patient"):
        return _by_header(files, how)
    table, column = _table_of(how)
    if table is None:
        msg = f"--study {how}: no such grouping. Give {WAYS}."
        raise UsageError(msg, code="no-such-grouping")
    return _by_table(files, table, column)


def _collected(named: Sequence[tuple[str, Path]]) -> Grouping:
    studies: dict[str, list[Path]] = {}
    for name, file in named:
        studies.setdefault(name, []).append(file)
    return Grouping(studies, {})


def _by_folder(files: Sequence[Path]) -> Grouping:
    """By folder, however it was written; its name is as it was written first."""
    names: dict[Path, str] = {}
    pairs = [(names.setdefault(_absolute(file.parent), str(file.parent)), file) for file in files]
    return _collected(pairs)


def _by_header(files: Sequence[Path], how: str) -> Grouping:
    key = "study" if how == "dicom" else "patient_id"
    facts = [read_header(file) for file in files]
    found = _collected([(known.get(key) or str(file), file) for known, file in zip(facts, files, strict=True)])
    unnamed = [file for known, file in zip(facts, files, strict=True) if key not in known]
    notes = []
    if unnamed:
        tag = "StudyInstanceUID" if how == "dicom" else "PatientID"
        notes.append(
            f"{len(unnamed):,} of {len(files):,} files state no {tag} (such as {printable(str(unnamed[0]))}): each is "
            "a separate study"
        )
    if how == "dicom":
        pairs = [(known.get("patient_id", ""), known.get("study", "")) for known in facts]
        notes += _in_several(pairs, "--study patient")
    return Grouping(found.studies, {}, tuple(notes))


def _in_several(pairs: Sequence[tuple[str, str]], remedy: str) -> list[str]:
    """Notes where patients have several studies, or studies several patients: the certificate counts patients."""
    of: dict[str, set[str]] = {}
    within: dict[str, set[str]] = {}
    for patient, study in pairs:
        if patient and study:
            of.setdefault(patient, set()).add(study)
            within.setdefault(study, set()).add(patient)
    mixed = [study for study, patients in within.items() if len(patients) > 1]
    notes = []
    if mixed:
        holds = "study holds" if len(mixed) == 1 else "studies hold"
        notes.append(
            f"WARNING: {len(mixed):,} {holds} images of several patients ({_shown(mixed)}): each study gets one "
            f"decision. To decide per patient: {remedy}"
        )
    several = [patient for patient, studies in of.items() if len(studies) > 1]
    if not several:
        return notes
    are = "patient is" if len(several) == 1 else "patients are"
    return [
        *notes,
        f"{len(several):,} {are} in several studies ({_shown(several)}): each study is decided separately, but the "
        f"guarantee is per patient. To decide per patient: {remedy}",
    ]


def _shown(names: Sequence[str]) -> str:
    return f"{', '.join(map(printable, names[:SHOWN]))}{', ...' if len(names) > SHOWN else ''}"


def _table_of(how: str) -> tuple[Path | None, str]:
    """The table that is meant, and the column after its colon."""
    if Path(how).is_file():
        return Path(how), ""
    name, _, column = how.rpartition(":")
    return (Path(name), column) if name and Path(name).is_file() else (None, "")


def _by_table(files: Sequence[Path], table: Path, column: str) -> Grouping:
    try:
        with open_text(table, encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.DictReader(file)
            heads = list(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, csv.Error) as error:
        msg = f"{table}: cannot be read as a table ({error}). Give a CSV file with a column of paths."
        raise UsageError(msg) from error
    find = _finder(table, heads)
    paths, study = find("", PATHS), find(column, STUDIES)
    if not rows:
        msg = f"{table}: no image: the table has no rows below its columns ({', '.join(heads)}). Add the images."
        raise UsageError(msg, code="no-rows", path=table)
    patient = next((head for head in heads if head.strip().lower() in PATIENTS), "")
    named: dict[Path, tuple[str, str]] = {}
    given: dict[Path, Path] = {}
    for number, row in enumerate(rows, start=2):
        path, name = (row[paths] or "").strip(), (row[study] or "").strip()
        if not path or not name:
            msg = f"{table}, line {number}: no {study if path else paths}. Fill it in, or remove the line."
            raise UsageError(msg, code="empty-cell", path=table)
        place = table.parent / path
        key = _absolute(place)
        if named.get(key, (name, ""))[0] != name:
            two = f"{named[key][0]} and {name}"
            msg = f"{table}, line {number}: {path} is in two studies, {two}. Keep one of the lines."
            raise UsageError(msg, code="two-studies", path=table)
        named[key], given[key] = (name, (row[patient] or "").strip() if patient else ""), place
    chosen = {_absolute(file): file for file in files} if files else given
    unknown = [file for key, file in chosen.items() if key not in named]
    if unknown:
        msg = f"{table}: names no study of {len(unknown):,} of {len(chosen):,} images, such as {unknown[0]}. Add them."
        raise UsageError(msg, code="images-not-named", path=table)
    found = _collected([(named[key][0], file) for key, file in chosen.items()])
    missing: dict[str, list[str]] = {}
    for key, (name, _) in named.items():
        if key not in chosen and name in found.studies:
            missing.setdefault(name, []).append(str(given[key]))
    pairs = [] if patient == study else [(named[key][1], named[key][0]) for key in chosen]
    return Grouping(found.studies, missing, tuple(_in_several(pairs, f"--study {table}:{patient}")))


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - links are kept: two of them are two images


def _finder(table: Path, heads: Sequence[str]) -> Callable[[str, Sequence[str]], str]:
    def find(wanted: str, usual: Sequence[str]) -> str:
        for name in [wanted] if wanted else usual:
            alike = [head for head in heads if head.strip().lower() == name.lower()]
            exact = [head for head in alike if head == name]
            if len(exact) > 1 or (len(alike) > 1 and not exact):
                msg = f"{table}: has {len(alike)} columns called '{name}'. Rename all but one."
                raise UsageError(msg, code="ambiguous-column", path=table)
            if alike:
                return (exact or alike)[0]
        said = f"'{wanted}'" if wanted else f"called {' or '.join(usual[:4])}"
        hint = f"Its columns are: {', '.join(heads) or 'none'}."
        remedy = "Rename that of the images." if usual is PATHS else f"Name one: --study {table}:COLUMN."
        msg = f"{table}: has no column {said}. {hint} {remedy}"
        raise UsageError(msg, code="no-such-column", path=table)

    return find

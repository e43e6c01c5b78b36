"""Which column of a table is which: by its name, or as the user says."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from hilum.data.dataset import Dataset
from hilum.data.label_names import is_missing_value
from hilum.data.labels import words_of
from hilum.data.multilabel import PREFIX
from hilum.data.options import ReadOptions
from hilum.data.readers.finding_columns import finding_columns, finding_name
from hilum.data.readers.listing import common, named
from hilum.data.readers.split_names import split_of, splits_of
from hilum.data.readers.text_table import TextTable
from hilum.errors import TableError
from hilum.text import printable

# hilum's own name first; written without case, blanks, "_" and "-". From the tables of NIH (Image Index, Finding
# Labels, Patient ID), ieee8023 (filename, finding, patientid), CoronaHack (X_ray_image_name, Dataset_type) and others.
NAMES: Mapping[str, tuple[str, ...]] = {
    key: tuple(names.split())
    for key, names in {
        "path": (
            "path filepath file filename image imagepath imagefile imagename imageid imageindex img imgpath imgname "
            "imagefilename xrayimagename dicompath dcmpath fullpath relativepath"
        ),
        "label": (
            "label labels class classname classlabel finding findings findinglabel findinglabels diagnosis category "
            "target disease pathology"
        ),
        "patient_id": (
            "patientid patient patientnumber patientno subjectid subject case caseid mrn pid participantid participant "
            "personid patid ptid patientidentifier anonpatientid idpaciente paciente patientname"
        ),
        "split": ("split set subset partition fold datasplit datasettype dataset phase usage"),
        "source": ("source dataset site hospital institution"),
    }.items()
}
WORDS = {"path": "path", "label": "label", "patient_id": "patient", "split": "split", "source": "source"}
LAST = "patientname"  # where nothing else says whose an image is
NONE = "none"  # given as the column of splits: there is none
SAID = {"path": "path_column", "label": "label_column", "patient_id": "patient_column", "split": "split_column"}


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column is which.

    Attributes:
        place: The number of the column, by hilum's name for it.
        extra: The further columns' numbers and names; that of sources, too, if it is called otherwise.
        note: What was recognised by another name than hilum's; empty where nothing was.
        findings: The numbers and names of the columns of findings, where the table has those instead of labels.
    """

    place: Mapping[str, int]
    extra: tuple[tuple[int, str], ...]
    note: str
    findings: tuple[tuple[int, str], ...] = ()


def is_known(name: str, options: ReadOptions) -> bool:
    """Whether a column of this name would be used."""
    bare = plain(name)
    said = [plain(getattr(options, option)) for option in SAID.values()]
    said += map(plain, options.finding_columns)
    return bool(bare) and (bare in said or any(bare in names for names in NAMES.values()))


def choose_columns(
    table: TextTable, options: ReadOptions, find_split: Callable[[Collection[int]], int | None]
) -> Columns:
    """Find the columns of paths, labels, patients, splits and sources.

    Args:
        table: With its header.
        options: What the user says.
        find_split: The column of splits, if there is one, by the numbers of columns that are something else.

    Raises:
        TableError: A column that was named or is needed is not there, or is there twice, or several may be meant.
    """
    place: dict[str, int] = {}
    no_split = options.split_column.casefold() == NONE and NONE not in map(str.casefold, table.header)
    for role, option in SAID.items():
        if (name := getattr(options, option)) and not (role == "split" and no_split):
            place[role] = _named(table, name, _flag(role))
    for role in NAMES:
        if role in place or (role == "split" and (no_split or not {"path", "label"} <= place.keys())):
            continue
        used = set(place.values())
        found = find_split(used) if role == "split" else _recognised(table, role, used)
        if found is not None:
            place[role] = found
    if "label" in place and not options.label_column:
        _check_agreement(table, place["label"], set(place.values()))
    findings: tuple[int, ...] = ()
    written = any(name.startswith(PREFIX) for name in table.header)
    if "path" in place and (written or options.finding_columns or "label" not in place):
        findings = finding_columns(table, options.finding_columns, set(place.values()))
    if findings and not no_split and "split" not in place:
        used = {*place.values(), *findings}
        place |= {"split": found} if (found := find_split(used)) is not None else {}
    needed = ("path",) if findings else ("path", "label")
    if missing := [role for role in needed if role not in place]:
        what = " and ".join(f"the column of {'image paths' if role == 'path' else 'labels'}" for role in missing)
        flags = " and ".join(f"{_flag(role)} NAME" for role in missing)
        msg = (
            f"{table.path}: {what} {'are' if len(missing) > 1 else 'is'} not recognised; its columns: {table.columns}. "
            f"Name them: {flags}. A table of hilum is a CSV with the columns path and label."
        )
        raise TableError(msg, code="unrecognised-columns", path=table.path)
    taken = {number for role, number in place.items() if role != "source" or table.header[number] == role}
    taken |= set(findings)
    extra, names = [], set()
    for number, name in enumerate(table.header):
        if name and number not in taken:
            shown = name if name not in names else f"{name} ({number + 1})"
            names.add(shown)
            extra.append((number, shown))
    told = [
        f"{printable(table.header[number])} = {WORDS[role]}"
        for role, number in place.items()
        if table.header[number] != role and not getattr(options, SAID.get(role, ""), "")
    ]
    if "patient_id" in place and plain(table.header[place["patient_id"]]) == LAST:
        told[-1:] = [f"{told[-1]}; it holds names of people, which are not removed"] if told else []
    named = tuple((number, finding_name(table.header[number])) for number in findings)
    return Columns(place, tuple(extra), f"columns: {', '.join(told)}" if told else "", named)


def _recognised(table: TextTable, role: str, used: set[int]) -> int | None:
    """The column that plays a role; hilum's own name for it goes before others."""
    names = NAMES[role]
    free = [(number, name) for number, name in enumerate(table.header) if number not in used]
    for found in (
        [number for number, name in free if name == role],
        [number for number, name in free if plain(name) == names[0]],
        [number for number, name in free if plain(name) in names and plain(name) != LAST],
        [number for number, name in free if plain(name) in names],
    ):
        if role == "source" and len(found) > 1:
            return None  # nobody needs it to go on
        if len(found) > 1:
            columns = dict.fromkeys(f"'{printable(table.header[number])}'" for number in found)
            if len(columns) < len(found):
                msg = f"{table.path}: the column {', '.join(columns)} occurs {len(found)} times. Rename all but one."
            else:
                which = f"Name one: {_flag(role)} NAME."
                msg = f"{table.path}: the columns {' and '.join(columns)} may all be the {WORDS[role]}. {which}"
            raise TableError(msg, code="ambiguous-column", path=table.path)
        if found:
            return found[0]
    return None


def _check_agreement(table: TextTable, label: int, used: Collection[int]) -> None:
    """Refuse a second column of labels that says other labels of the same names.

    Raises:
        TableError: It does, in some row.
    """
    others = [n for n, name in enumerate(table.header) if n not in used and plain(name) in NAMES["label"]]
    if not others:
        return
    cells = [(number, line) for number, line in table.lines() if len(line) == len(table.header)]
    of = {n: [line[n].strip().casefold() for _, line in cells] for n in (label, *others)}
    for other in others:
        shared = set(of[label]) & set(of[other]) - {""}
        pairs = zip(cells, of[label], of[other], strict=True)
        differ = [number for (number, _), one, two in pairs if one != two and {one, two} <= shared]
        if differ:
            line = dict(cells)[differ[0]]
            names = " and ".join(f"'{printable(table.header[n])}'" for n in (label, other))
            said = " and ".join(f"'{printable(line[n][:40])}'" for n in (label, other))
            msg = (
                f"{table.path}: the columns {names} disagree in {len(differ):,} of {len(cells):,} rows; line "
                f"{differ[0]} has {said}. Name the right one: {_flag('label')} NAME."
            )
            raise TableError(msg, code="labels-disagree", path=table.path)


def _named(table: TextTable, name: str, flag: str) -> int:
    exact = [number for number, column in enumerate(table.header) if column == name]
    found = exact or [number for number, column in enumerate(table.header) if plain(column) == plain(name)]
    if len(found) == 1:
        return found[0]
    if found:
        msg = f"{table.path}: {flag} {name}: {len(found)} columns have this name. Rename all but one in the table."
        raise TableError(msg)
    close = difflib.get_close_matches(name.lower(), [column.lower() for column in table.header], n=1)
    hint = next((f" Did you mean '{c}'?" for c in table.header if close and c.lower() == close[0]), "")
    msg = f"{table.path}: {flag} {name}: no such column; its columns: {table.columns}.{hint}"
    raise TableError(msg, code="no-such-column", path=table.path)


def _flag(role: str) -> str:
    return f"--{SAID[role].replace('_', '-')}"


def plain(name: str) -> str:
    """A column's name as it is compared: letters and digits, without case."""
    letters = unicodedata.normalize("NFKD", name).casefold()
    return "".join(letter for letter in letters if letter.isalnum())


SHOWN = 5
MOST = 1000  # different cells of a column that may still hold splits
YES, NO = frozenset({"1", "1.0", "true", "yes", "y"}), frozenset({"0", "0.0", "false", "no", "n"})
NO_COLUMN = "if no column holds splits, use --split-column none"


def find_split_column(table: TextTable, used: Collection[int]) -> int | None:
    """The column of splits: by its name, or because its cells are names of at least two splits and nothing else.

    A column called ``is_test`` or ``is_train`` whose cells are 0 and 1 is one, too (`meanings`).

    Args:
        table: With its header.
        used: Columns that are something else.

    Raises:
        TableError: Some cells of a column with a split's name are no splits, or two columns contradict each other.
    """
    free = [number for number in range(len(table.header)) if number not in used]
    called = [number for number in free if plain(table.header[number]) in NAMES["split"]]
    cells = _cells(table, free, called)
    found = []
    for number, values in cells.items():
        name, known = table.header[number], meanings(table.header[number], values)
        kinds, odd = set(known.values()), sorted(value for value in values if value not in known)
        if not odd and (len(kinds) > 1 or (kinds and number in called)):
            found.append(number)
        elif name == "split":
            return number  # its cells are named with their lines when they are read
        elif kinds and number in called:
            msg = (
                f"{table.path}: the column '{printable(name)}' holds splits ({named(known, SHOWN)}) and other values "
                f"({named(odd, SHOWN)}). Write train, val, calibration, test or nothing there, or name the column of "
                f"splits: --split-column NAME; {NO_COLUMN}."
            )
            raise TableError(msg, code="mixed-split-column", path=table.path)
    if len(found) > 1:
        _check_alike(table, {number: meanings(table.header[number], cells[number]) for number in found})
    if not found:
        return next((number for number in called if table.header[number] == "split"), None)
    return min(found, key=lambda number: (table.header[number] != "split", number not in called, number))


def meanings(name: str, values: Iterable[str]) -> dict[str, str]:
    """What the cells of a column of splits mean, those left out that mean none.

    In a column called ``is_test`` 1 is test and 0 is train; in one called ``is_train`` 1 is train and 0 is test.

    Args:
        name: Of the column.
        values: Its cells, each once.
    """
    values = set(values)
    words = words_of(name)
    split = split_of(words[1]) if len(words) == 2 and words[0] == "is" else ""
    if split in ("train", "test") and values and all(value.casefold() in YES | NO for value in values):
        other = "test" if split == "train" else "train"
        return {value: split if value.casefold() in YES else other for value in values}
    return splits_of(values)


def _cells(table: TextTable, free: Iterable[int], called: Collection[int]) -> dict[int, set[str]]:
    """The different cells of columns that may hold splits, those left out that say nothing."""
    cells: dict[int, set[str]] = {number: set() for number in free}
    for _, line in table.lines():
        for number in list(cells):
            value = line[number] if number < len(line) else ""
            if not value or value in cells[number] or is_missing_value(value):
                continue
            cells[number].add(value)
            flag = value.casefold() in YES | NO and words_of(table.header[number])[:1] == ("is",)
            if len(cells[number]) > MOST or not (number in called or flag or split_of(value)):
                del cells[number]
        if not cells:
            break
    return cells


def _check_alike(table: TextTable, columns: Mapping[int, Mapping[str, str]]) -> None:
    for number, line in table.lines():
        said = [known.get(line[column], "") if column < len(line) else "" for column, known in columns.items()]
        if len(set(said)) > 1:
            names = " and ".join(f"'{printable(table.header[column])}'" for column in columns)
            what = " and ".join(split or "nothing" for split in said)
            msg = (
                f"{table.path}, line {number}: the columns {names} hold splits and differ ({what}). Name the "
                "one to use: "
                f"--split-column NAME."
            )
            raise TableError(msg, code="contradicting-splits", path=table.path)


def with_splits_of_paths(table: Dataset, name: str) -> Dataset:
    """Take the splits from the folders in the paths, where no cell names one: ``train/1.png`` and ``test/2.png``.

    Folders that all paths share say nothing. What is left counts where it names at least two splits.

    Args:
        table: Without splits, with its paths as they stand in it.
        name: Of the table, for messages.

    Raises:
        TableError: Only some paths have a split, or one has two.
    """
    folders = {row.path.rpartition("/")[0] for row in table.rows}
    shared = len(common(tuple(folder.split("/")) for folder in folders))
    below = {folder: folder.split("/")[shared:] for folder in folders}
    known = splits_of({part for parts in below.values() for part in parts})
    splits = {folder: {known[part] for part in parts if part in known} for folder, parts in below.items()}
    kinds = set().union(*splits.values())
    if not kinds or (len(kinds) == 1 and all(splits.values())):
        return table
    if wrong := sorted(folder for folder, found in splits.items() if len(found) != 1):
        example = next(folder for folder, found in sorted(splits.items()) if found)
        what = "two splits" if splits[wrong[0]] else "no split"
        msg = (
            f"{name}: folders in its paths name splits ('{printable(example)}'), but '{printable(wrong[0] or '.')}' "
            f"names {what}. Add a column split; {NO_COLUMN}."
        )
        raise TableError(msg, code="unclear-splits")
    told = ", ".join(f"{printable(part)} ({split})" for part, split in sorted(known.items()))
    chosen = {folder: next(iter(found)) for folder, found in splits.items()}
    table = table.with_splits([chosen[row.path.rpartition("/")[0]] for row in table.rows])
    return replace(table, notes=(*table.notes, f"splits are read from the folders in the paths: {told}"))

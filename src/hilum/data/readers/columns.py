"""Which column of a table is which: by its name, or as the user says."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from hilum.data.options import ReadOptions
from hilum.data.readers.text_table import TextTable
from hilum.errors import TableError
from hilum.printable import printable

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
    """

    place: Mapping[str, int]
    extra: tuple[tuple[int, str], ...]
    note: str


def is_known(name: str, options: ReadOptions) -> bool:
    """Whether a column of this name would be used."""
    bare = plain(name)
    said = [plain(getattr(options, option)) for option in SAID.values()]
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
    if missing := [role for role in ("path", "label") if role not in place]:
        what = " and ".join(f"the column of {'image paths' if role == 'path' else 'labels'}" for role in missing)
        flags = " and ".join(f"{_flag(role)} NAME" for role in missing)
        msg = (
            f"{table.path}: {what} {'are' if len(missing) > 1 else 'is'} not recognised; its columns: {table.columns}. "
            f"Say which: {flags}. A table of hilum is a CSV with the columns path and label."
        )
        raise TableError(msg, code="unrecognised-columns", path=table.path)
    taken = {number for role, number in place.items() if role != "source" or table.header[number] == role}
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
        told[-1:] = [f"{told[-1]}; it holds people's names, which are kept as they are"] if told else []
    return Columns(place, tuple(extra), f"columns: {', '.join(told)}" if told else "")


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
                msg = f"{table.path}: the column {', '.join(columns)} is there {len(found)} times. Rename all but one."
            else:
                which = f"Say which: {_flag(role)} NAME."
                msg = f"{table.path}: the columns {' and '.join(columns)} may all be the {WORDS[role]}. {which}"
            raise TableError(msg, code="ambiguous-column", path=table.path)
        if found:
            return found[0]
    return None


def _named(table: TextTable, name: str, flag: str) -> int:
    exact = [number for number, column in enumerate(table.header) if column == name]
    found = exact or [number for number, column in enumerate(table.header) if plain(column) == plain(name)]
    if len(found) == 1:
        return found[0]
    if found:
        msg = f"{table.path}: {flag} {name}: {len(found)} columns are called so. Rename all but one in the table."
        raise TableError(msg)
    close = difflib.get_close_matches(name.lower(), [column.lower() for column in table.header], n=1)
    hint = next((f" Did you mean '{c}'?" for c in table.header if close and c.lower() == close[0]), "")
    msg = f"{table.path}: {flag} {name}: there is no such column; its columns: {table.columns}.{hint}"
    raise TableError(msg, code="no-such-column", path=table.path)


def _flag(role: str) -> str:
    return f"--{SAID[role].replace('_', '-')}"


def plain(name: str) -> str:
    """A column's name as it is compared: letters and digits, without case."""
    letters = unicodedata.normalize("NFKD", name).casefold()
    return "".join(letter for letter in letters if letter.isalnum())

"""COVIDx: lists of train, val and test images, a line ``patient file class source`` each.

Wang, Lin and Wong 2020, "COVID-Net", *Sci. Rep.* 10:19549. Lists of early versions have no source, and three classes.
File names may hold blanks.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hilum.data.dataset import Dataset
from hilum.data.options import ReadOptions
from hilum.data.readers.public.assembling import Entry, Layout, assemble, folder_of
from hilum.data.readers.public.tables import files_like
from hilum.data.readers.split_names import split_of
from hilum.errors import TableError
from hilum.files import open_text

LISTS = ("train*.txt", "val*.txt", "test*.txt")
CLASSES = {
    "positive": "COVID-19 positive",
    "negative": "COVID-19 negative",
    "normal": "normal",
    "pneumonia": "pneumonia",
    "covid-19": "COVID-19",
}
FEW = 5


def _parsed(line: str) -> tuple[str, str, str, str] | None:
    """Patient, file, class and source of a line; None where it is none of COVIDx."""
    words = line.split()
    for place in (len(words) - 1, len(words) - 2):
        if place >= 2 and words[place].lower() in CLASSES:
            return words[0], " ".join(words[1:place]), CLASSES[words[place].lower()], " ".join(words[place + 1 :])
    return None


def _lists(data: Path) -> dict[str, Path]:
    """The list of each split."""
    found: dict[str, Path] = {}
    for file in files_like(folder_of(data), LISTS) if files_like(data, LISTS) else ():
        if file.stat().st_size and all(_parsed(line) for line in _first(file)):
            found.setdefault(split_of(file.stem.split("_")[0]), file)
    return found


def _first(file: Path) -> list[str]:
    with open_text(file, errors="replace") as lines:
        return [line for _, line in zip(range(FEW), lines, strict=False)]


def _recognise(data: Path) -> str | None:
    return ", ".join(file.name for file in _lists(data).values()) or None


def _read(data: Path, options: ReadOptions) -> Dataset:
    lists = _lists(data)
    if not lists:
        msg = (
            f"{data}: --layout covidx needs train.txt and test.txt with lines 'patient file class'. Give their folder."
        )
        raise TableError(msg, code="not-this-layout", path=data)
    entries = (entry for split, file in lists.items() for entry in _entries(split, file))
    return assemble("covidx", data, entries, options)


def _entries(split: str, file: Path) -> Iterator[Entry]:
    with open_text(file, errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            parsed = _parsed(line)
            if parsed is None:
                msg = f"{file}, line {number}: no class of COVIDx in '{line.strip()[:80]}'. Write: patient file class."
                raise TableError(msg, code="malformed-list", path=file)
            patient, name, label, source = parsed
            yield Entry(f"{split}/{name}", label, split, f"{source}:{patient}" if source else patient, source)


COVIDX = Layout("covidx", _recognise, _read)

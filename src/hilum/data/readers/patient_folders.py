"""Folders of patients below the folders of their labels."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from hilum.data.labels import word_set, words_of
from hilum.data.readers.companions import is_images_name
from hilum.data.readers.listing import Folder, around, named
from hilum.data.readers.split_names import split_of
from hilum.errors import TableError
from hilum.printable import printable

Parts = tuple[str, ...]
PERSON = word_set("patient patients pat pt subject subj sub person participant individual patientid pid case")
LETTERS = frozenset({"p", "s", "id"})  # as in P001: too little to say so of a few
STUDY = word_set("study series ser ses scan visit session exam date followup baseline view pa ap lateral")
# With a number these are kinds of patients or of places, of which there may be several for one label.
NO_PERSON = word_set(
    "grade stage class label level type severity score category group fold site hospital center centre batch source "
    "dataset set year month week day cohort covid part version phase cluster wave"
)
SEVERAL = 5  # folders with names of one pattern that are numbered, not chosen
FEW = 10  # images a patient, on average, where the names alone do not say that they are patients
HEXADECIMAL = re.compile(r"(?=.*\d)[0-9a-f]{8}[0-9a-f-]*", re.IGNORECASE)


def without_patients(
    root: Path, folders: Sequence[Folder], rests: Sequence[Parts], notes: list[str]
) -> tuple[list[Parts], list[str]]:
    """Take folders of patients out of the labels.

    They are recognised by names that differ in a number only: by a word such as ``patient``, or, with other words, by
    being many (`SEVERAL`) with few images each (`FEW`). Folders of studies or series below them are left out as well.

    Args:
        root: For messages.
        folders: N folders with images.
        rests: What is left of the path of each.
        notes: Remarks are added.

    Returns:
        The paths down to the label, and the patients, empty where there is none.

    Raises:
        TableError: Folders of patients stand above labels, or beside others.
    """
    patterns = _patterns(root, folders, rests)
    if not patterns:
        return list(rests), [""] * len(rests)
    at = [next((i for i, name in enumerate(rest) if _pattern(name) in patterns), None) for rest in rests]
    labels: defaultdict[str, set[Parts]] = defaultdict(set)
    kept, patients = [], []
    for rest, depth in zip(rests, at, strict=True):
        if depth is None:
            kept.append(rest)
            patients.append("")
            continue
        deeper = [name for name in rest[depth + 1 :] if not _is_study(name)]
        if deeper:
            msg = (
                f"{root}: '{printable('/'.join(rest))}' has the folder '{printable(deeper[0])}' below "
                f"'{printable(rest[depth])}', which looks like a patient. hilum reads labels above patients "
                "(LABEL/PATIENT/1.png): rearrange the folders, or list every image in a metadata.csv with the columns "
                "path, label and patient_id."
            )
            raise TableError(msg, code="labels-below-patients")
        kept.append(rest[:depth])
        patients.append(rest[depth])
        labels[rest[depth]].add(tuple(name for name in rest[:depth] if not split_of(name)))
    parents = {rest for rest, patient in zip(kept, patients, strict=True) if patient}
    strange = next((rest for rest in kept if rest not in parents and rest[:-1] in parents and rest[:-1]), None)
    if strange:
        msg = (
            f"{root}: '{printable('/'.join(strange))}' lies beside folders of patients ({named(labels, 3)}). A patient "
            "or a label? Rename it after the same pattern, or move it up."
        )
        raise TableError(msg)
    if all(not any(not split_of(name) for name in rest) for rest in parents):
        msg = (
            f"{root}: the folders look like patients ({named(labels, 3)}), and none around them names a label. Put "
            "each label's patients into one folder, or list every image in a metadata.csv with the columns path, label "
            "and patient_id."
        )
        raise TableError(msg)
    notes.append(f"patients are read from {len(labels)} folders below the labels ({named(labels, 3)})")
    twice = [name for name, above in labels.items() if len(above) > 1]
    if twice:
        notes.append(
            f"{len(twice)} patients have folders of the same name under several labels ({named(twice, 3)}) and count "
            "as one each; if numbers start again in every label, rename the folders"
        )
    return kept, patients


def _patterns(root: Path, folders: Sequence[Folder], rests: Sequence[Parts]) -> set[str]:
    """The patterns of names that are patients."""
    names: defaultdict[str, set[str]] = defaultdict(set)
    places: defaultdict[str, set[Parts]] = defaultdict(set)
    labels: defaultdict[str, set[Parts]] = defaultdict(set)
    images = Counter[str]()
    plain = [tuple(name for name in rest if not split_of(name)) for rest in rests]
    outer = len(around(plain))
    for folder, rest in zip(folders, plain, strict=True):
        found = {pattern: depth for depth, name in reversed([*enumerate(rest)]) if (pattern := _pattern(name))}
        for pattern, depth in found.items():
            names[pattern].add(rest[depth])
            places[pattern].add(rest[: depth + 1])
            labels[pattern].add(rest[outer:depth])
            images[pattern] += len(folder.images)
    chosen = set()
    for pattern, different in names.items():
        words = set(pattern.replace("#", " ").split())
        if words & PERSON and len(different) > 1:
            chosen.add(pattern)
            continue
        few_images = images[pattern] <= FEW * len(places[pattern]) or (words and words <= LETTERS)
        if len(different) < SEVERAL or words & NO_PERSON or not few_images or () in labels[pattern]:
            continue
        if len(labels[pattern]) == 1:
            msg = (
                f"{root}: {len(different)} folders below '{printable('/'.join(*labels[pattern]))}' differ in a number "
                f"only ({named(different, 3)}). Patients or labels? Name patients patient001 and so on, or list every "
                "image in a metadata.csv with the columns path, label and patient_id."
            )
            raise TableError(msg, code="patients-or-labels")
        chosen.add(pattern)
    return chosen


def _pattern(name: str) -> str:
    """A name with every number as ``#``; empty where it has none."""
    if HEXADECIMAL.fullmatch(name):
        return "#"
    words = words_of(name)
    if not any(word.isdigit() for word in words):
        return ""
    return " ".join("#" if word.isdigit() else word for word in words)


def _is_study(name: str) -> bool:
    words = {word for word in words_of(name) if not word.isdigit()}
    return words <= STUDY | {"s", "e"} or is_images_name(name) or bool(HEXADECIMAL.fullmatch(name))

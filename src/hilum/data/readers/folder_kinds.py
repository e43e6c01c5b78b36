"""Folders that are patients, masks or annotations rather than labels."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hilum.data.images import read_picture
from hilum.data.labels import word_set, words_of
from hilum.data.readers.listing import Folder, around, named
from hilum.data.readers.split_names import split_of
from hilum.errors import ImageError, TableError
from hilum.text import printable

# One word each, as they stand when the words of a name are written together.
COMPANIONS = word_set(
    "mask masks segmentation segmentations seg segs annotation annotations annot annots groundtruth groundtruths "
    "heatmap heatmaps overlay overlays gradcam gradcams saliency bbox bboxes boundingbox boundingboxes contour "
    "contours landmark landmarks explanation explanations attention attentions prediction predictions shap lime cam "
    "cams preview previews thumbnail thumbnails thumb thumbs"
)
DISCARDED = word_set("trash removed deleted discarded")
CERTAIN = COMPANIONS | DISCARDED
# These may be labels or folders of images, unless a folder of images lies beside them.
DOUBTFUL = word_set("label labels gt boxes edges")
# Words that may stand beside them: "infection masks", "ManualMask", "leftMask", "lung mask png".
MODIFIERS = word_set(
    "lung lungs infection infections lesion lesions heart hearts clavicle clavicles left right manual auto automatic "
    "predicted prediction predictions binary png jpg image images img map maps the of and"
)
IMAGE_WORDS = word_set(
    "image images img imgs png pngs jpg jpgs jpeg jpegs dicom dicoms dcm dcms file files data picture pictures pics "
    "photo photos scan scans radiograph radiographs cxr cxrs xray xrays"
)
RADIOGRAPH = frozenset({"chest", "x", "ray", "rays"})  # say so only together with others
# "1_mask.png" beside "1.png", "mask-1.png", "benign (1)_mask_1.png"
OF_AN_IMAGE = "mask|masks|seg|segmentation|gt|groundtruth|heatmap|overlay|gradcam|bbox|contour|annotated|annotation"
# "1_mask_left.png", "1-lungmask.png", and behind a mark only: "1_crop.png", "1_lung.png"
PART = r"lungs?|heart|infection|lesion|left|right"
DERIVED = rf"crop|cropped|thumb|thumbnail|preview|labels?|prediction|cam|lungs?|(?:(?:{PART})[ _-]?)+(?:{OF_AN_IMAGE})"
BEHIND = re.compile(rf"(.+?)[ _.-]*(?:{OF_AN_IMAGE})(?:[ _-]?(?:\d+|{PART}))*", re.IGNORECASE)
DERIVED_BEHIND = re.compile(rf"(.+?)[ _.-]+(?:{DERIVED})(?:[ _-]?\d+)?", re.IGNORECASE)
BEFORE = re.compile(rf"(?:{OF_AN_IMAGE})[ _.-]*(.+)", re.IGNORECASE)
LOOKED_AT = 3  # images of a label by which masks are recognised; the first one that is none ends the search
EXTREMES, TWO_VALUED = 24, 0.98  # grey values of 256 next to black and white, and the share of pixels among them


def is_images_name(name: str) -> bool:
    """Whether a folder's name says only that images lie in it: ``images``, ``PNG``, ``images_001``, ``CXR_png``."""
    words = {word for word in words_of(name) if not word.isdigit()}
    return words <= IMAGE_WORDS | RADIOGRAPH and bool(words & IMAGE_WORDS or {"x", "ray"} <= words)


def without_companions(folders: Sequence[Folder]) -> tuple[list[Folder], list[str]]:
    """Leave out what lies beside the radiographs.

    A folder counts as such by its name, and only where images lie beside it or in the folder that holds it.

    Args:
        folders: All that were listed.

    Returns:
        The others, without single files that belong to an image beside them (``1_mask.png``); and remarks.
    """
    children: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    for folder in folders:
        for depth in range(len(folder.parts) if folder.images else 0):
            children[folder.parts[:depth]].add(folder.parts[depth])
    own = {folder.parts: len(folder.images) for folder in folders}
    judged: dict[tuple[str, ...], bool] = {}

    def companion(path: tuple[str, ...]) -> bool:
        if not _companion_word(path[-1], set(words_of(path[-1]))):  # by far the most, and quickly told
            return False
        if path not in judged:
            beside = children[path[:-1]] - {path[-1]}
            named_so = _is_companion(path[-1], beside, own.get(path[:-1], 0))
            # "Lung Segmentation Data" is a dataset: it holds images and masks of its own.
            judged[path] = named_so and not any(is_images_name(name) for name in children[path])
        return judged[path]

    kept: list[Folder] = []
    left: dict[str, list[int]] = {}
    for folder in folders:
        depths = range(1, len(folder.parts) + 1)
        top = next((folder.parts[:depth] for depth in depths if companion(folder.parts[:depth])), None)
        if top is None:
            kept.append(folder)
        elif folder.images:
            left.setdefault(top[-1], []).append(len(folder.images))
    notes = [
        f"left out {sum(counts)} images in {len(counts)} folder{'s'[: len(counts) - 1]} called '{printable(name)}', "
        f"{'by their name' if DISCARDED.intersection(words_of(name)) else 'which go with the images beside them'}"
        for name, counts in sorted(left.items())
    ]
    return _without_files(kept, notes), notes


def looks_like_masks(files: Sequence[Path]) -> bool:
    """Whether all of a few images are black and white only, as masks are and radiographs never; unreadable are not.

    Args:
        files: Images of one label; the first, the middle and the last are looked at.
    """
    chosen = [files[i] for i in sorted({0, len(files) // 2, len(files) - 1})[:LOOKED_AT]]
    return bool(chosen) and all(_is_two_valued(file) for file in chosen)


def _is_companion(name: str, beside: set[str], images_around: int) -> bool:
    others = {other for other in beside if not _companion_word(other, set())}
    if not others and not images_around:
        return False
    words = set(words_of(name))
    kind = _companion_word(
        name, {word for other in others if words.issuperset(words_of(other)) for word in words_of(other)}
    )
    doubtful = kind == "doubtful" and not images_around and not any(is_images_name(other) for other in others)
    return bool(kind) and not doubtful


def _companion_word(name: str, beside: set[str]) -> str:
    """``certain`` or ``doubtful`` where a name says so; words of `beside` may stand in it (``COVID_masks``)."""
    words = [word for word in words_of(name) if not word.isdigit()]
    for size in (1, 2):
        for start in range(len(words) - size + 1):
            joined = "".join(words[start : start + size])
            rest = {*words[:start], *words[start + size :]} - MODIFIERS - beside
            if all(split_of(word) for word in rest - CERTAIN):
                if joined in CERTAIN:
                    return "certain"
                if joined in DOUBTFUL and len(words) == size:
                    return "doubtful"
    return ""


def _without_files(folders: Sequence[Folder], notes: list[str]) -> list[Folder]:
    kept, count, example = [], 0, ""
    for folder in folders:
        stems = {name.rpartition(".")[0] or name for name in folder.images}
        masks = {stem for stem in stems if _belongs(stem, stems)}
        if masks:
            images = tuple(name for name in folder.images if (name.rpartition(".")[0] or name) not in masks)
            count += len(folder.images) - len(images)
            example = example or f"{folder.path}/{min(masks)}".lstrip("/")
            folder = replace(folder, images=images)
        kept.append(folder)
    if count:
        notes.append(f"left out {count} images that belong to another image by their names ({printable(example)})")
    return kept


def _belongs(stem: str, stems: set[str]) -> bool:
    matches = (pattern.fullmatch(stem) for pattern in (BEHIND, DERIVED_BEHIND, BEFORE))
    return any(match is not None and match[1] in stems for match in matches)


def _is_two_valued(file: Path) -> bool:
    try:
        values = read_picture(file).pixels
    except ImageError:  # reported later
        return False
    margin = (EXTREMES - 0.5) / 255
    extreme = (values < margin) | (values > 1 - margin)
    return bool(extreme.mean() >= TWO_VALUED and np.ptp(values) > 0)


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
            f"{root}: '{printable('/'.join(strange))}' is beside folders of patients ({named(labels, 3)}). A patient "
            "or a label? Rename it after the same pattern, or move it up."
        )
        raise TableError(msg)
    if all(not any(not split_of(name) for name in rest) for rest in parents):
        msg = (
            f"{root}: the folders look like patients ({named(labels, 3)}), and no parent folder names a label. Put "
            "each label's patients into one folder, or list every image in a metadata.csv with the columns path, label "
            "and patient_id."
        )
        raise TableError(msg)
    notes.append(f"patients are read from {len(labels)} folders below the labels ({named(labels, 3)})")
    twice = [name for name, above in labels.items() if len(above) > 1]
    if twice:
        notes.append(
            f"{len(twice)} patients have folders of the same name under several labels ({named(twice, 3)}) and count "
            "once each; if numbering restarts in every label, rename the folders"
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

"""What the folders of an image say: its label, its split and its patient."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hilum.data.labels import is_answer, is_generic_name, is_healthy, words_of
from hilum.data.readers.folder_kinds import is_images_name, without_patients
from hilum.data.readers.listing import Folder, around, common, named
from hilum.data.readers.split_names import glued_split_and_rest, split_and_rest, split_of, splits_in_words, splits_of
from hilum.errors import TableError
from hilum.text import printable

Parts = tuple[str, ...]
MANY, FEW = 12, 3  # labels, and images of the middle one: so many labels of so few images are no labels
VERY_MANY = 30  # nested labels, whatever their images
AROUND = "'{}' contains all folders and is left out of the labels"


@dataclass(frozen=True, slots=True)
class Place:
    """What one folder says of its images; the label is empty where it says none."""

    label: str
    split: str = ""
    patient: str = ""


def places_of(root: Path, folders: Sequence[Folder]) -> tuple[list[Place], list[str]]:
    """Read labels, splits and patients from folder paths.

    Folders that say only that images lie there, folders of patients and of splits are taken out of the label wherever
    they stand, and so is what is around everything; what can be read in two ways is an error.

    Args:
        root: For messages.
        folders: Those with images, masks and copies left out.

    Returns:
        One place a folder, and remarks.

    Raises:
        TableError: The folders can be read in more than one way, hold several datasets, or more labels than images
            make sense for.
    """
    notes: list[str] = []
    rests = _without_images_names(root, folders, notes)
    rests, patients = without_patients(root, folders, rests, notes)
    rests, splits = _Splits(root, folders, rests, notes).take_out()
    rests = _without_wrapper(root, folders, rests, notes)
    _check_labels(root, folders, rests)
    _check_datasets(root, folders, rests)
    places = [
        Place("/".join(rest), split, patient) for rest, split, patient in zip(rests, splits, patients, strict=True)
    ]
    return places, notes


def _without_images_names(root: Path, folders: Sequence[Folder], notes: list[str]) -> list[Parts]:
    """Leave out ``images`` and its like where no folder of another kind lies beside it."""
    paths = [folder.parts for folder in folders]
    beside: defaultdict[Parts, set[str]] = defaultdict(set)
    for path in paths:
        for depth in range(len(path)):
            beside[path[:depth]].add(path[depth])
    outer = len(around(paths))

    def empty(path: Parts, depth: int) -> bool:
        name = path[depth]
        if depth < outer or split_of(name) or not is_images_name(name):
            return False
        return all(is_images_name(other) and not split_of(other) for other in beside[path[:depth]])

    rests, names = [], set()
    for path in paths:
        dropped = {depth for depth in range(len(path)) if empty(path, depth)}
        names |= {path[depth] for depth in dropped}
        rests.append(tuple(name for depth, name in enumerate(path) if depth not in dropped))
    if names:
        notes.append(f"folders called {named(names)} hold images and are left out of the labels")
        _check_formats(root, folders, rests)
    return rests


def _check_formats(root: Path, folders: Sequence[Folder], rests: Sequence[Parts]) -> None:
    """Stop where the same images lie in two folders of one label, such as ``png`` beside ``jpg``."""
    first: dict[Parts, tuple[Folder, set[str]]] = {}
    for folder, rest in zip(folders, rests, strict=True):
        stems = {name.rpartition(".")[0] for name in folder.images}
        other, known = first.setdefault(rest, (folder, stems))
        if other is not folder and rest and len(known & stems) * 2 > min(len(known), len(stems)):
            msg = (
                f"{root}: '{printable(other.path)}' and '{printable(folder.path)}' hold files of the same names. Are "
                "they the same images? Keep one of these folders, or list the images in a metadata.csv."
            )
            raise TableError(msg, code="same-images-twice")


class _Splits:
    """Splits in folder paths: every image below the same folders, or every split below its label."""

    def __init__(self, root: Path, folders: Sequence[Folder], rests: Sequence[Parts], notes: list[str]) -> None:
        self.root, self.folders, self.rests, self.notes = root, folders, list(rests), notes
        self.meaning = splits_of({name for rest in rests for name in rest})

    def take_out(self) -> tuple[list[Parts], list[str]]:
        """The paths without their splits, and the splits."""
        self._add_compound_names()
        at = [[depth for depth, name in enumerate(rest) if name in self.meaning] for rest in self.rests]
        if not any(at):
            return self.rests, [""] * len(self.rests)
        whole = list(zip(self.rests, at, strict=True))
        for rest, depths in whole:
            if len({self.meaning[rest[depth]] for depth in depths}) > 1:
                self._stop([rest], "one path has two splits")
            if depths and depths[-1] - depths[0] + 1 != len(depths):
                self._stop([rest], "one path has a split at two levels")
        fronts = {rest[: depths[0]] for rest, depths in whole if depths}
        behind = {rest[depths[-1] + 1 :] for rest, depths in whole if depths}
        front = next(iter(fronts)) if len(fronts) == 1 else ()
        if len(fronts) > 1 and behind != {()}:
            self._stop_at_datasets(fronts)
        without = [rest for rest, depths in whole if not depths and rest != front[: len(rest)]]
        if without:
            self._stop_beside(without, [rest for rest, depths in whole if depths], front)
        self._check_numbers()
        asked = _question(front, [front + end for end in behind])
        self._say(() if asked else front, plain=fronts == {()} and all(len(depths) < 2 for depths in at))
        kept = front if asked else ()  # _without_wrapper says so
        rests = [
            () if not depths else kept + rest[depths[-1] + 1 :] if len(fronts) == 1 else rest[: depths[0]]
            for rest, depths in whole
        ]
        return rests, [self.meaning[rest[depths[0]]] if depths else "" for rest, depths in whole]

    def _add_compound_names(self) -> None:
        """Take ``covid19_train`` beside ``covid19_test`` for splits, and stop at ``train_normal`` and its like."""
        names = {name for rest in self.rests for name in rest} - set(self.meaning)
        found = {name: pair for name in names if (pair := split_and_rest(name))[0]}
        rests = {rest for _, rest in found.values()}
        kinds = {split for split, _ in found.values()}
        if len(rests) == 1 and len(kinds) > 1 and not self.meaning:
            self.meaning = {name: split for name, (split, _) in found.items()}
            return
        plain = {" ".join(words_of(name)) for name in names - set(found)}
        if found and (len(kinds) > 1 or rests & plain):
            concerned = [rest for rest in self.rests if found.keys() & set(rest)]
            self._stop(concerned, f"the folders {named(found)} seem to hold a split and a label in one name")
        self._check_glued_names(names)

    def _check_glued_names(self, names: set[str]) -> None:
        """Stop at ``normaltrain`` beside ``normaltest``: two splits of one rest."""
        kinds: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for name in names:
            split, rest = glued_split_and_rest(name)
            if split:
                kinds[rest][name] = split
        glued = {name for found in kinds.values() if len(set(found.values())) > 1 for name in found}
        if glued:
            concerned = [rest for rest in self.rests if glued & set(rest)]
            self._stop(concerned, f"the folders {named(glued)} seem to hold a split and a label in one name")

    def _check_numbers(self) -> None:
        """Stop at train1, test1, train2, test2: several divisions of the same images."""
        kinds: defaultdict[str, set[str]] = defaultdict(set)
        for name, split in self.meaning.items():
            number = " ".join(word for word in words_of(name) if word.isdigit())
            if number:
                kinds[number].add(split)
        if sum(len(splits) > 1 for splits in kinds.values()) > 1:
            self._stop(self.rests, f"the folders {named(self.meaning)} seem to be several divisions into splits")

    def _say(self, front: Parts, *, plain: bool) -> None:
        self.notes += splits_in_words(self.meaning, "folder", always=not plain)
        if front:
            self.notes.append(AROUND.format(printable("/".join(front))))

    def _reading(self, rests: Sequence[Parts]) -> str:
        """How the paths would have been read: the first and the last."""
        shown = []
        ordered = sorted(set(rests))
        for rest in dict.fromkeys((ordered[0], ordered[-1])):
            label = "/".join(name for name in rest if name not in self.meaning)
            split = next((self.meaning[name] for name in rest if name in self.meaning), "none")
            shown.append(f"{printable('/'.join(rest))} as label '{printable(label)}', split {split}")
        return "; ".join(shown)

    def _stop(self, rests: Sequence[Parts], why: str) -> None:
        msg = (
            f"{self.root}: {why}. hilum would read {self._reading(rests)}. Give a folder with only train/LABEL/ and "
            "test/LABEL/ (rename or move folders), or list every image in a metadata.csv with the "
            "columns path, label and split."
        )
        raise TableError(msg, code="unclear-splits", path=self.root)

    def _stop_beside(self, without: Sequence[Parts], having: Sequence[Parts], front: Parts) -> None:
        depth = len(common([*without, *having])) + 1
        splits = named({"/".join(rest[:depth]) for rest in having})
        others = named({"/".join(rest[:depth]) or "the folder itself" for rest in without})
        msg = (
            f"{self.root}: split folders ({splits}) stand beside other folders of images ({others}), and it is unclear "
            f"whether these are training data. hilum would read {self._reading([having[0], without[0]])}."
            f"{self._did_you_mean(front)} Move those elsewhere, give the folder with only splits, or list "
            "the images in a metadata.csv."
        )
        raise TableError(msg, code="labels-beside-splits", path=self.root)

    def _did_you_mean(self, front: Parts) -> str:
        if not front or is_healthy(front[-1]):
            return ""
        return f" Did you mean {printable(str(self.root.joinpath(*_real(self.folders, self.rests, front))))}?"

    def _stop_at_datasets(self, fronts: set[Parts]) -> None:
        tops = sorted(fronts)
        shown = named(printable("/".join(front)) or "the folder itself" for front in tops)
        msg = (
            f"{self.root}: split folders are at {len(tops)} places ({shown}): several datasets, or labels above and "
            f"below the splits. hilum would read {self._reading(self.rests)}."
            f"{self._did_you_mean(next(front for front in tops if front))} To use all of it, list every image in a "
            "metadata.csv with the columns path, label and split."
        )
        raise TableError(msg, code="several-places", path=self.root)


def _real(folders: Sequence[Folder], rests: Sequence[Parts], start: Parts) -> Parts:
    """The folder, as it lies on the disk, that the beginning of a shortened path means."""
    path = next(folder.parts for folder, rest in zip(folders, rests, strict=True) if rest[: len(start)] == start)
    depth = 0
    for name in start:
        depth = path.index(name, depth) + 1
    return path[:depth]


def _question(outer: Parts, labelled: Sequence[Parts]) -> Parts:
    """The folder around all labels that these only answer to: ``covid`` of covid/positive and covid/negative."""
    below = {rest[len(outer)] for rest in labelled if len(rest) > len(outer)}
    asking = [name for name in outer if not is_generic_name(name)]
    return tuple(asking[-1:]) if below and all(map(is_answer, below)) else ()


def _without_wrapper(root: Path, folders: Sequence[Folder], rests: Sequence[Parts], notes: list[str]) -> list[Parts]:
    """Leave out the folders around all labels; images that lie in these directly have no label."""
    labelled = [rest for rest in rests if rest]
    outer = around(labelled)
    if not outer:
        return list(rests)
    images = Counter[Parts]()
    for folder, rest in zip(folders, rests, strict=True):
        images[rest] += len(folder.images)
    direct = sum(images[outer[:depth]] for depth in range(1, len(outer) + 1))
    smallest = min(count for rest, count in images.items() if len(rest) > len(outer))
    name = printable("/".join(outer))
    if direct >= smallest:
        msg = (
            f"{root}: {direct} images lie in '{name}' itself and others in folders below it. Is it a label, or does it "
            f"contain the labels? Move them to a folder of their own, such as {name}/other/, or remove them."
        )
        raise TableError(msg, code="images-around-labels")
    question = _question(outer, labelled)
    if question:
        kept = printable(question[0])
        notes.append(f"'{kept}' contains all folders and stays in the labels, since their names complete it")
    if around_it := "/".join(part for part in outer if part not in question):
        notes.append(AROUND.format(printable(around_it)))
    return [question + rest[len(outer) :] if len(rest) > len(outer) else () for rest in rests]


def _check_datasets(root: Path, folders: Sequence[Folder], rests: Sequence[Parts]) -> None:
    """Stop where folders side by side hold folders of the same names, or each a healthy label: several datasets."""
    inside: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for rest in rests:
        if rest:
            inside[rest[0]].update({"".join(words_of(name)): name for name in rest[1:]})
    nested = {top for top, names in inside.items() if names}
    counted = Counter(key for top in nested for key in inside[top])
    shared = {key for key, count in counted.items() if count > 1}
    well = {key for top in nested for key, name in inside[top].items() if is_healthy(name)}
    healthy = {top for top, names in inside.items() if well & names.keys() or is_healthy(top)}
    # Where a healthy label lies beside them, the others are labels too: covid/severe, other/severe and normal.
    taxonomy = any(top not in nested for top in healthy) and not shared & well
    several = len(healthy) > 1 and bool(healthy & nested)
    if not several and (not shared or taxonomy):
        return
    concerned = sorted(top for top in nested if inside[top].keys() & (shared or well)) or sorted(nested)
    names = named(name for top in concerned for key, name in inside[top].items() if key in (shared or well))
    labels = named(("/".join(rest) for rest in rests if rest), 6)
    guess = ""
    if not any(is_healthy(top) for top in inside):
        path = root.joinpath(*_real(folders, rests, (concerned[0],)))
        guess = f" Did you mean {printable(str(path))}?"
    msg = (
        f"{root}: {named(concerned)} hold folders of the same kind ({names}): several datasets, or folders that are "
        f"not "
        f"labels? hilum would read the labels {labels}.{guess} To use all of it, list every image in a metadata.csv "
        "with the columns path and label."
    )
    raise TableError(msg, code="several-datasets")


def _check_labels(root: Path, folders: Sequence[Folder], rests: Sequence[Parts]) -> None:
    """Stop at labels that are none: ``images`` beside other folders, or many of few images each."""
    counts = Counter[Parts]()
    for folder, rest in zip(folders, rests, strict=True):
        if rest:
            counts[rest] += len(folder.images)
    empty = next((rest for rest in counts if any(is_images_name(name) for name in rest)), None)
    if empty and len(counts) > 1:
        msg = (
            f"{root}: '{printable('/'.join(empty))}' would be a label, but its name is "
            f"generic (all labels: {named('/'.join(rest) for rest in counts)}). Rename it to its label, move "
            "the others "
            "elsewhere, or give one of the folders."
        )
        raise TableError(msg, code="kind-of-image")
    holders = {rest[:depth]: rest for rest in counts for depth in range(1, len(rest))}
    both = next((rest for rest in counts if rest in holders), None)
    if both:
        msg = (
            f"{root}: '{printable('/'.join(both))}' directly holds images ({counts[both]}) and the folder "
            f"'{printable('/'.join(holders[both]))}': one label or two? Move these images to a folder within it, or "
            "all of them into one."
        )
        raise TableError(msg, code="images-around-label")
    middle = sorted(counts.values())[len(counts) // 2] if counts else 0
    nested = any(len(rest) > 1 for rest in counts)
    few = (len(counts) > MANY and middle <= FEW) or (len(counts) > FEW + 1 and middle <= 1)
    if few or (nested and len(counts) > VERY_MANY):
        msg = (
            f"{root}: {len(counts)} folders would be labels ({named('/'.join(rest) for rest in counts)}), half of them "
            f"with at most {middle} images. Are they patients? Name them patient001 and so on below the folder of "
            "their label, or list every image in a metadata.csv with the columns path, label and patient_id."
        )
        raise TableError(msg, code="labels-or-patients")

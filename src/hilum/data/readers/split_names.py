"""The names under which datasets keep their splits, for folders and for the cells of a table's split column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from hilum.data.labels import word_set, words_of
from hilum.text import printable

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "trn", "trainval", "entrenamiento", "treino", "entrainement"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validating", "validation", "validacion", "validacao"), "val"),
    **dict.fromkeys(("vali", "validierung", "dev", "devel", "development"), "val"),
    **dict.fromkeys(("calibration", "calibrate", "calib", "cal"), "calibration"),
    **dict.fromkeys(("test", "testing", "tests", "tst", "holdout", "heldout", "prueba", "teste"), "test"),
    **dict.fromkeys(("externaltest", "externalvalidation", "independenttest", "internaltest"), "test"),
    **dict.fromkeys(("publictest", "privatetest"), "test"),
    **dict.fromkeys(("eval", "evaluate", "evaluation"), "test"),  # but see splits_of
}
EVALUATION = frozenset({"eval", "evaluate", "evaluation"})
# Words that say nothing beside the name of a split, as in "train_images", "Test Set" and "stage_2_test_images".
FILLERS = word_set(
    "set sets subset data dataset split part partition stage folder dir files sample samples image images img imgs "
    "x ray xray xrays cxr chest radiograph radiographs picture pictures scan scans case cases"
)
GLUED = ("subset", "dataset", "images", "image", "imgs", "img", "data", "sets", "set")  # as in "trainset"


@lru_cache(maxsize=4096)
def split_of(name: str) -> str:
    """The split that a name means: ``train``, ``val``, ``calibration``, ``test``, or empty where it means none.

    Case, blanks, ``_``, ``-``, numbers and words such as ``set`` or ``images`` make no difference. A longer word that
    merely holds such a name, such as ``contest`` or ``trained``, means none. ``eval`` means test (see `splits_of`).

    Args:
        name: Of a folder, or a cell of a table.
    """
    return SPLIT_NAMES.get(_core(name), "")


def splits_of(names: Iterable[str]) -> dict[str, str]:
    """What each name of one dataset means, those left out that mean no split.

    ``eval`` and ``evaluation`` mean test, which neither trains nor chooses anything, unless another name means test:
    then they are what is evaluated on during training, val.

    Args:
        names: All names that stand in the place of a split.
    """
    found = {name: split for name in names if (split := split_of(name))}
    evaluation = {name for name in found if is_evaluation(name)}
    if "test" in {split for name, split in found.items() if name not in evaluation}:
        found |= dict.fromkeys(evaluation, "val")
    return found


def is_evaluation(name: str) -> bool:
    """Whether a name means test or val, as `splits_of` decides."""
    return _core(name) in EVALUATION


def splits_in_words(meaning: Mapping[str, str], what: str, *, always: bool = False) -> list[str]:
    """What is to be said of how names were read as splits; nothing where each is the split's own, in any case.

    Args:
        meaning: As `splits_of` gives it.
        what: What the names are: ``folder`` or ``value``.
        always: Say it in any case.
    """
    notes = []
    if always or any(name.casefold() != split for name, split in meaning.items()):
        read = [f"{printable(name)} ({split})" for name, split in sorted(meaning.items())]
        notes.append(f"splits are read from the {what}s {', '.join(read)}")
    for name, split in meaning.items():
        if is_evaluation(name):
            which = "no other" if split == "test" else "another"
            notes.append(f"'{printable(name)}' is used as {split}, since {which} {what} is called test")
    return notes


def split_and_rest(name: str) -> tuple[str, str]:
    """A split that a name holds among other words, and those: ``COVID_test`` is test and ``covid``; or two blanks.

    Args:
        name: Of a folder.
    """
    words = words_of(name)
    found = [word for word in words if split_of(word)]
    rest = " ".join(word for word in words if word not in found and word not in FILLERS)
    return (split_of(found[0]), rest) if len(found) == 1 and rest else ("", "")


def glued_split_and_rest(name: str) -> tuple[str, str]:
    """A split's word that a name begins or ends with, and the rest: ``normaltrain`` is train and ``normal``.

    Args:
        name: Of a folder; ``contest`` is con and test as well, so it takes other names with the same rest to mean it.
    """
    joined = "".join(words_of(name))
    for word in sorted(SPLIT_NAMES, key=len, reverse=True):
        rest = joined.removesuffix(word) if joined.endswith(word) else joined.removeprefix(word)
        if rest and rest != joined:
            return SPLIT_NAMES[word], rest
    return "", ""


def _core(name: str) -> str:
    """What is left of a name without numbers and fillers, in one word."""
    core = "".join(word for word in words_of(name) if word not in FILLERS and not word.isdigit())
    if core not in SPLIT_NAMES:
        core = next((core.removesuffix(end) for end in GLUED if core.endswith(end)), core)
    return core

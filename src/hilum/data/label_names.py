"""The names that a dataset gives its labels, put in order: one spelling each, none that says nothing, none for several.

Everything here works on the distinct labels, so that millions of rows cost no more than counting them.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

from hilum.data.dataset import Dataset, pack
from hilum.data.labels import is_covid, is_healthy, last_component
from hilum.errors import TableError
from hilum.text import printable, visible

# What stands where nothing is known: as pandas, R, SQL and Excel write it, and as people do.
MISSING = frozenset(
    ("", "nan", "na", "n/a", "n.a.", "<na>", "#n/a", "null", "?", "??", "???", "todo", "to do", "tbd", "unknown")
) | {"unlabeled", "unlabelled", "not labeled", "not labelled", "undefined", "missing", "not available", "not known"}
MISSING |= {"nat", "#ref!", "#value!", "no data", "no label", "pending"}
UNCLEAR = frozenset(("none", "-", "--", "nil"))  # no label, or no disease
SHOWN = 4

_DASHES = r"\-" "\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{FIGURE DASH}\N{EN DASH}\N{EM DASH}"
_BETWEEN = re.compile(rf"(?<=[^\W_])[\s_{_DASHES}]+(?=[^\W_])")
_LISTED = re.compile(r"[|;,+~^#&]")
_SURE = re.compile(r"[|;~^]")  # no name of one finding holds these
_NUMBER = re.compile(r"\d+(\.0+)?")


def is_missing_value(text: str) -> bool:
    """Whether a cell or folder name stands for a value that is not known: ``nan``, ``N/A``, ``?``, ``todo``.

    ``none`` and ``-`` do, too; as a label they may mean that there is no disease, which `tidy_labels` asks about.

    Args:
        text: Any.
    """
    return " ".join(text.split()).casefold() in MISSING | UNCLEAR


def without_decimals(values: Iterable[str]) -> dict[str, str]:
    """Whole numbers that were written as decimals, ``3.0`` for ``3``, as happens to a column with empty cells.

    Args:
        values: Of a column, each once.

    Returns:
        By value what is to be read instead; empty where any number of the column is no whole one.
    """
    numbers = [value for value in values if re.fullmatch(r"\d+\.\d+|\d+", value)]
    if not all(_NUMBER.fullmatch(value) for value in numbers):
        return {}
    return {value: value.partition(".")[0] for value in numbers if "." in value}


def tidy_labels(table: Dataset) -> Dataset:
    """Give every label one spelling, and leave out rows whose label says nothing; notes tell of both.

    Labels that differ in case, in blanks, ``_`` and ``-`` between their words, in invisible characters or in how
    accents are composed (Unicode's NFC and NFD) are one, under the spelling that most images have. Folders above a
    label are treated in the same way.

    Args:
        table: As it was read.

    Raises:
        TableError: Labels differ only as singular and plural, or ``none`` may mean that there is no disease.
    """
    counts = table.values("label")
    if unsure := counts["-1"] + counts["-1.0"]:
        note = (
            f"WARNING: the label -1 of {unsure:,} images often stands for uncertain; here it is an ordinary label: "
            "empty these cells to exclude the images"
        )
        table = replace(table, notes=(*table.notes, note))
    changed = _tidy(counts, table.root)
    if not changed:
        return table
    notes = []
    for new in dict.fromkeys(name for name in changed.values() if name):
        olds = sorted((old for old, name in changed.items() if name == new), key=lambda old: (-counts[old], old))
        shown = ", ".join(f"'{visible(old)}' ({counts[old]:,} images)" for old in olds)
        notes.append(f"read as the label '{printable(new)}': {shown}")
    if lost := {old: counts[old] for old, new in changed.items() if not new}:
        which = ", ".join(f"'{printable(old)}' {count:,}" if old else f"empty {count:,}" for old, count in lost.items())
        notes.append(f"left out {sum(lost.values()):,} images without a label ({which})")
    table = replace(table, notes=(*table.notes, *notes))
    if lost:
        table = replace(table, rows=pack(row for row in table.rows if row.label not in lost))
    return table.renamed("label", changed)


def _tidy(counts: Mapping[str, int], root: Path) -> dict[str, str]:
    """What each label that does not stay as it is becomes; empty where it says nothing."""
    changed = {label: "" for label in counts if is_missing_value(label)}
    kept = [label for label in counts if label not in changed]
    if all(_NUMBER.fullmatch(label) for label in kept):
        changed |= without_decimals(kept)
    unclear = [label for label in changed if " ".join(label.split()).casefold() in UNCLEAR]
    if unclear and not any(is_healthy(label) for label in kept):
        msg = (
            f"{root}: the label '{printable(unclear[0])}' of {counts[unclear[0]]:,} images may mean no disease, or no "
            "label. Rename it to normal (in the table or the folder name), or empty the cell to exclude the images."
        )
        raise TableError(msg, code="unclear-label")
    paths = {label: [_clean(part) for part in label.split("/")] for label in kept if label not in changed}
    spellings: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for label, parts in paths.items():
        for level, part in zip(_levels(parts), parts, strict=True):
            spellings[level][part] += counts[label]
    best = {level: min(found, key=lambda part: (-found[part], part)) for level, found in spellings.items()}
    _check_plurals({level: "/".join(best[up] for up in accumulate((k,) for k in level)) for level in best}, root)
    for label, parts in paths.items():
        new = "/".join(best[level] for level in _levels(parts))
        if new != label:
            changed[label] = new
    return changed


def _levels(parts: Iterable[str]) -> Iterable[tuple[str, ...]]:
    """The keys of a label's folders: (infected,) and (infected, covid)."""
    return accumulate((spelling_key(part),) for part in parts)


def _check_plurals(names: Mapping[tuple[str, ...], str], root: Path) -> None:
    seen: dict[tuple[str, ...], str] = {}
    for level, name in names.items():
        twin = seen.setdefault((*level[:-1], _singular(level[-1])), name)
        if twin != name:
            msg = (
                f"{root}: '{visible(twin)}' and '{visible(name)}' are two labels that differ as singular and plural. "
                "Rename one: to the other if they are the same, else to a distinct name."
            )
            raise TableError(msg, code="twin-labels")


def _clean(part: str) -> str:
    """One component as it is shown: composed letters, single blanks, nothing invisible at the ends."""
    letters = unicodedata.normalize("NFC", part)
    while letters and unicodedata.category(letters[-1]) == "Cf":
        letters = letters[:-1]
    while letters and unicodedata.category(letters[0]) == "Cf":
        letters = letters[1:]
    return " ".join(letters.split()) or part


@lru_cache(maxsize=4096)
def spelling_key(part: str) -> str:
    """Equal for spellings of one name. ``COVID-`` and ``COVID+`` stay two: a sign at an end may be a result."""
    letters = unicodedata.normalize("NFC", unicodedata.normalize("NFC", part).casefold())
    letters = "".join(letter for letter in letters if unicodedata.category(letter) != "Cf")
    joined = _BETWEEN.sub(lambda gap: _joint(letters[gap.start() - 1], letters[gap.end()]), letters)
    return joined.strip().strip("_") or part


def _joint(before: str, after: str) -> str:
    return " " if before.isdigit() and after.isdigit() else ""  # grade 1-1 is not grade 11


def _singular(key: str) -> str:
    """Without an English plural's ending; short names (ARDS) and those in ss, us, is are none."""
    if len(key) < 5 or key.endswith(("ss", "us", "is")):
        return key
    if key.endswith("ies"):
        return key[:-3] + "y"
    return key[:-2] if key.endswith(("sses", "xes", "ches", "shes")) else key.removesuffix("s")


def _parts(label: str) -> tuple[str, ...]:
    """The keys of the findings that a label may list; one where it lists none."""
    return tuple(spelling_key(part.strip()) for part in _LISTED.split(last_component(label)) if part.strip())


def same_finding(a: str, b: str) -> bool:
    """Whether two labels name one finding, by their last components: all names for healthy are one, all for COVID-19.

    Args:
        a: A label.
        b: Another.
    """
    return _finding(a) == _finding(b)


def _finding(label: str) -> str:
    return "normal" if is_healthy(label) else "covid" if is_covid(label) else spelling_key(last_component(label))


def nested_findings(a: str, b: str) -> bool:
    """Whether one label says all that the other says, so that both may be right: ``COVID-19, ARDS`` and ``COVID-19``.

    Args:
        a: A label.
        b: Another.
    """
    one, other = set(_parts(a)), set(_parts(b))
    return one <= other or other <= one or a.startswith(f"{b}/") or b.startswith(f"{a}/")


def several_findings(labels: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Labels that list several findings, such as ``COVID-19|Effusion``, each with other labels that share some.

    A comma or a plus may belong to the name of one finding (``pneumonia, bacterial`` beside ``pneumonia, viral``):
    such a label is a list only if one of its parts is a label of its own, or all of them occur in other lists. With
    ``|`` or ``;`` one part that occurs elsewhere is enough.

    Args:
        labels: Of one dataset.
    """
    parts = {label: _parts(label) for label in sorted(set(labels))}
    lists = {label: found for label, found in parts.items() if len(set(found)) > 1}
    alone = {found[0] for label, found in parts.items() if len(set(found)) == 1}
    used = Counter(part for found in lists.values() for part in set(found))
    several = {}
    for label, found in lists.items():
        shared = [used[part] > 1 for part in found]
        if alone & set(found) or all(shared) or (_SURE.search(label) and any(shared)):
            several[label] = tuple(name for name in parts if name != label and set(parts[name]) & set(found))
    return several


def several_in_words(table: Dataset) -> str:
    """What a dataset's labels that list several findings are; empty where there is none, or findings are kept apart."""
    found = {} if table.findings else several_findings(table.labels)
    if not found:
        return ""
    counts = Counter({label: count for label, count in table.values("label").items() if label in found})
    named = ", ".join(f"'{printable(label)}' {count:,}" for label, count in counts.most_common(SHOWN))
    more = f", and {len(counts) - SHOWN} more such labels" if len(counts) > SHOWN else ""
    return f"{counts.total():,} of {len(table):,} images have several findings in one label ({named}{more})"


def check_one_finding(table: Dataset) -> None:
    """Find labels that a classifier of one label an image would learn wrongly.

    Raises:
        TableError: Some list several findings: an image of ``COVID-19|Effusion`` would be learnt as no COVID-19.
    """
    if told := several_in_words(table):
        msg = (
            f"{table.given or table.root}: {told}. As exclusive labels, such an image would be a counterexample of its "
            "own findings. Separate them by | in a table, or give each finding a column of 1, 0 and -1 (uncertain)."
        )
        raise TableError(msg, code="several-findings")

"""Whose image each is, where no column says so: by file names that follow the rule of a well-known public set."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from hilum.data.dataset import Dataset, Row
from hilum.data.label_names import is_missing_value, without_decimals
from hilum.text import printable

FROM_HEADER = "dicom:"  # what a pseudonym of a DICOM header begins with
# What de-identification and filling in a form leave, without blanks, dashes and underscores.
NOBODY = frozenset(
    ("anon", "anonym", "anonymous", "anonymised", "anonymized", "anonymise", "anonymize", "deidentified", "noid")
) | {"patient", "patientid", "removed", "test", "xxxx"}
ONE_IN = 20  # names of a label that may miss a rule that counts
FEWEST = 5  # names of a label that a rule is judged by


def _by(pattern: str, folders: int = 0) -> Callable[[tuple[str, ...]], str | None]:
    """A function from a path's parts to a patient: the pattern's group where all of the name fits, else None.

    Args:
        pattern: Of the name without its ending, with as many folders before it as `folders` says.
        folders: How many.
    """
    compiled = re.compile(pattern, re.IGNORECASE)

    def patient(parts: tuple[str, ...]) -> str | None:
        match = compiled.fullmatch("/".join(parts[-1 - folders :]))
        return match[1] if match else None

    return patient


@dataclass(frozen=True, slots=True)
class Rule:
    """How a public set names its files.

    Attributes:
        name: Of the set, as it is reported.
        forms: From the parts of a path, the last without its ending, to the patient; None where they do not fit.
        tells: Whether the name tells the patient; if not, only the set is known.
        by_folders: Whether folders have to fit, too.
    """

    name: str
    forms: tuple[Callable[[tuple[str, ...]], str | None], ...]
    tells: bool = True
    by_folders: bool = False

    def patient(self, parts: tuple[str, ...]) -> str | None:
        """The patient; empty if the name fits but does not tell, None if it does not fit."""
        found = next((name for form in self.forms if (name := form(parts)) is not None), None)
        return f"{self.name}:{found}" if found and self.tells else found


# The numbers of person<n>_virus_<k> and person<n>_bacteria_<k> are two patients, and so are IM-<n> and NORMAL2-IM-<n>:
# over 979 numbers that occur with both, images of person<n>_virus and person<n>_bacteria are as alike as those of two
# numbers drawn by chance (mean correlation of codes 0.018 and 0.019, standard error 0.005; within one prefix 0.205).
_KERMANY = (
    _by(r"(person\d+_(?:virus|bacteria))_\d+(?:_\d+)?"),
    _by(r"((?:NORMAL2-)?IM-\d+)-\d+(?:-\d+)?"),
)
# Figures of articles and cases of web pages: what differs is the panel, the view or the day. The article or case is
# the unit: it may hold several patients, and keeping them together is the safe side. Names that are a bare UUID count
# as one patient each; 6 patients of DarkCovidNet have more.
_COHEN = (
    _by(r"(covid-19-pneumonia-(?:evolution-over-a-week-|bilateral-)?\d+)(?:-(?:pa|ap|l|day-?\d+))*"),
    _by(r"(covid-19-[a-z-]+?)(?:-(?:admission|pa|ap|day-\d+|\d+-(?:hours|days)))*"),
    _by(r"(1-s2\.0-s\w{16}).*"),
    _by(r"((?:ncov-)?(?:radiol|ryct)\.\d+)\..*"),
    _by(r"(nejm[a-z]*\d+|lancet-case\d+|auntminnie|all\d+|ciaa\d+|41591_\d+_\d+)(?:[-_.].*|[a-z])?"),
    _by(r"(jkms-\d+-e\d+|kjr-\d+-e\d+)-.*"),
    _by(r"(1\.cxrctthorax.*?-\d+)-fig\d+[a-z]"),
    _by(r"(figure1-[0-9a-f]{24})-.*"),
    _by(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:\.annot\.original)?"),
)
_RSNA = (_by(r"()(?-i:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"),)  # an image each; whose, is not told

RULES = (
    Rule("Kermany 2018", _KERMANY),
    Rule("NIH ChestX-ray8/14", (_by(r"(000[0-3]\d{4})_\d{3}"),)),  # up to 30805: no 20200315_001
    Rule("CheXpert", (_by(r"(patient\d{5})/study\d+/view\d+_(?:frontal|lateral)", 2),), by_folders=True),
    Rule("MIMIC-CXR", (_by(r"p\d\d/(p\d{8})/s\d{8}/[^/]+", 3),), by_folders=True),
    Rule("RSNA Pneumonia", _RSNA, tells=False),
    Rule("ieee8023/covid-chestxray-dataset", _COHEN),
)
NAMES = frozenset(rule.name for rule in RULES)


def is_nobody(name: str) -> bool:
    """Whether an identifier stands for a patient who is not known: ``nan``, ``unknown``, ``Anonymous``, ``REMOVED``.

    Args:
        name: Of a table's column, a folder or a DICOM header.
    """
    return is_missing_value(name) or re.sub(r"[\s_-]", "", name.casefold()) in NOBODY


def tidy_patients(table: Dataset) -> Dataset:
    """Take patients that say nothing (see `is_nobody`) for unknown, and ``1.0`` for ``1``.

    Args:
        table: As it was read.
    """
    counts = table.values("patient_id")
    del counts[""]
    lost = [name for name in counts if is_nobody(name)]
    lost += [name for name in ("-1", "-1.0") if name in counts]  # as programs write an integer that is missing
    decimals = without_decimals(counts)
    if merged := [name for name, whole in decimals.items() if whole in counts]:
        shown = f"'{merged[0]}' and '{decimals[merged[0]]}'"
        note = f"{len(merged):,} patients are written with and without decimals and count once each ({shown})"
        table = replace(table, notes=(*table.notes, note))
    changed = decimals | dict.fromkeys(lost, "")
    if not changed:
        return table
    table = table.renamed("patient_id", changed)
    if not lost:
        return table
    which = ", ".join(f"'{printable(name)}' {counts[name]:,}" for name in lost)
    note = f"the patient of {sum(counts[name] for name in lost):,} images is not known ({which})"
    return replace(table, notes=(*table.notes, note))


def rule_of(patient: str) -> str:
    """The set by whose rule a patient was recognised; empty where a column gave it."""
    name = patient.partition(":")[0]
    return name if name in NAMES else ""


def recognise_patients(table: Dataset) -> Dataset:
    """Fill in the patients that no column gives, from file names, with a note of how many.

    A rule counts only for a label of which at least 95 % of the names without a patient fit it (at least 5, unless the
    names of another label prove the rule), and not where files of one name lie in several folders: numbers are given
    anew there. Recognised patients begin with the rule's name and a colon, so that they are no patient of a column;
    where a name's patient is given in another row of the table, it is that one.

    Args:
        table: Any; never held as a whole where it is large.
    """
    chosen = _rules(table)
    if not chosen:
        return table
    given = _given(table.rows, chosen)
    table = table.with_values("patient_id", (row.patient_id or _named(row, chosen, given) for row in table.rows))
    found = {patient: count for patient, count in table.values("patient_id").items() if rule_of(patient)}
    if not found:
        return table
    sets = " and ".join(dict.fromkeys(map(rule_of, found)))
    note = (
        f"{len(found):,} patients of {sum(found.values()):,} images recognised by their file names (as in {sets}); "
        "--patients none switches this off"
    )
    return replace(table, notes=(*table.notes, note))


def _rules(table: Dataset) -> dict[str, Rule]:
    """The rule that the names of each label follow, where there is one."""
    if not table.values("patient_id")[""]:
        return {}
    totals = Counter(row.label for row in table.rows if not row.patient_id)
    possible = {label: dict.fromkeys(RULES, 0) for label in totals}  # how many names miss
    for row in table.rows:
        if row.patient_id or not (misses := possible.get(row.label)):
            continue
        parts = _parts(row)
        for rule in list(misses):
            if rule.patient(parts) is None:
                misses[rule] += 1
                if misses[rule] * ONE_IN > totals[row.label]:
                    del misses[rule]
    fitting = {label: next(iter(rules)) for label, rules in possible.items() if rules}
    proven = {rule for label, rule in fitting.items() if totals[label] >= FEWEST}
    fitting = {label: rule for label, rule in fitting.items() if rule in proven}
    anew = _numbered_anew(table.rows, fitting) if fitting else set()
    return {label: rule for label, rule in fitting.items() if label not in anew and rule.tells}


def _numbered_anew(rows: Sequence[Row], fitting: dict[str, Rule]) -> set[str]:
    """Labels of which more than one name in twenty lies in several folders of one split."""
    folders: defaultdict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    repeated: defaultdict[str, set[int]] = defaultdict(set)
    for row in rows:
        if row.patient_id or row.label not in fitting or fitting[row.label].by_folders:
            continue
        path = PurePosixPath(row.path)
        name, folder = hash(path.stem), hash(path.parent)
        if folders[row.split, row.label].setdefault(name, folder) != folder:
            repeated[row.label].add(name)
    names = Counter[str]()
    for (_, label), found in folders.items():
        names[label] += len(found)
    return {label for label, found in repeated.items() if len(found) * ONE_IN > names[label]}


def _given(rows: Sequence[Row], chosen: dict[str, Rule]) -> dict[str, str]:
    """What a column calls the patients of whom names tell, where it names them always alike."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    rules = dict.fromkeys(chosen.values())
    for row in rows:
        if row.patient_id:
            for rule in rules:
                if name := rule.patient(_parts(row)):
                    found[name].add(row.patient_id)
    return {name: next(iter(ids)) for name, ids in found.items() if len(ids) == 1}


def _named(row: Row, chosen: dict[str, Rule], given: dict[str, str]) -> str:
    rule = chosen.get(row.label)
    name = rule.patient(_parts(row)) if rule else None
    return given.get(name, name) if name else ""


def _parts(row: Row) -> tuple[str, ...]:
    folders, _, name = row.path.rpartition("/")
    stem, dot, _ = name.rpartition(".")
    return (*folders.split("/")[-3:], stem if dot and stem else name)


def in_words(known: int, total: int) -> str:
    """For how many images the patient is known, to be said where it is not for all of them.

    Args:
        known: Images whose patient is known.
        total: All images, more than `known`.
    """
    if not known:
        return "patients are unknown"
    return f"patients are known for {known:,} of {total:,} images, every other image counts as a separate patient"

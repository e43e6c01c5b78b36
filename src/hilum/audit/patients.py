"""Whose image each is: from the table, or from file names that follow the rule of a well-known public set."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from hilum.audit.findings import Finding
from hilum.data.table import Table

FITTING = 0.95  # share of a label's names that have to fit a rule before it counts
FEWEST = 5  # names of a label that a rule is judged by
EXAMPLES = 5
COLUMN = "column"
UNKNOWN = "unknown"


def _by(pattern: str, form: str) -> Callable[[str], str | None]:
    """A function from a file name to a patient: `form` filled in where all of the name fits, else None."""
    compiled = re.compile(pattern, re.IGNORECASE)

    def patient(stem: str) -> str | None:
        match = compiled.fullmatch(stem)
        return match.expand(form) if match else None

    return patient


@dataclass(frozen=True, slots=True)
class Rule:
    """How a public set names its files.

    Attributes:
        name: Of the set, as it is reported.
        forms: From a file name without its ending to the patient; None where it does not fit.
        tells: Whether the name tells the patient; if not, only the set is known.
    """

    name: str
    forms: tuple[Callable[[str], str | None], ...]
    tells: bool = True

    def patient(self, stem: str) -> str | None:
        """The patient; empty if the name fits but does not tell, None if it does not fit."""
        found = next((name for form in self.forms if (name := form(stem)) is not None), None)
        return "" if found is not None and not self.tells else found


# The numbers of person<n>_virus_<k> and person<n>_bacteria_<k> are two patients, and so are IM-<n> and NORMAL2-IM-<n>:
# on the images, the same number in both is no more alike than two numbers drawn by chance (see `recognise_patients`).
_KERMANY = (
    _by(r"(person\d+_(?:virus|bacteria))_\d+(?:_\d+)?", r"\1"),
    _by(r"((?:NORMAL2-)?IM-\d+)-\d+(?:-\d+)?", r"\1"),
)
# Figures of articles and cases of web pages: what differs is the panel, the view or the day. The article or case is
# the unit: it may hold several patients, and keeping them together is the safe side.
_COHEN = (
    _by(r"(covid-19-pneumonia-(?:evolution-over-a-week-|bilateral-)?\d+)(?:-(?:pa|ap|l|day-?\d+))*", r"\1"),
    _by(r"(covid-19-[a-z-]+?)(?:-(?:admission|pa|ap|day-\d+|\d+-(?:hours|days)))*", r"\1"),
    _by(r"(1-s2\.0-s\w{16}).*", r"\1"),
    _by(r"((?:ncov-)?(?:radiol|ryct)\.\d+)\..*", r"\1"),
    _by(r"(nejm[a-z]*\d+|lancet-case\d+|auntminnie|all\d+|ciaa\d+|41591_\d+_\d+)(?:[-_.].*|[a-z])?", r"\1"),
    _by(r"(jkms-\d+-e\d+|kjr-\d+-e\d+)-.*", r"\1"),
    _by(r"(1\.cxrctthorax.*?-\d+)-fig\d+[a-z]", r"\1"),
    _by(r"(figure1-[0-9a-f]{24})-.*", r"\1"),
    _by(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:\.annot\.original)?", r"\1"),
)
_RSNA = (_by(r"(?-i:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", ""),)  # an image each; whose, is not told

RULES = (
    Rule("Kermany 2018", _KERMANY),
    Rule("NIH ChestX-ray8/14", (_by(r"(\d{8})_\d{3}", r"\1"),)),
    Rule("RSNA Pneumonia", _RSNA, tells=False),
    Rule("ieee8023/covid-chestxray-dataset", _COHEN),
)


@dataclass(frozen=True)
class Patients:
    """Whose images a table holds.

    Attributes:
        patient: One a row; empty where unknown. Names from a rule begin with the rule's name and a colon.
        how: One a row: ``column``, the rule's name, or ``unknown``.
        across_splits: Patients with images in more than one split, those with most images first.
        several_labels: Patients with more than one label, those with most images first.
        images: Number of images of each patient.
    """

    patient: tuple[str, ...]
    how: tuple[str, ...]
    across_splits: tuple[str, ...]
    several_labels: tuple[str, ...]
    images: Mapping[str, int]

    @property
    def known(self) -> bool:
        """Whether every image's patient is known."""
        return bool(self.patient) and all(self.patient)


def recognise_patients(table: Table) -> Patients:
    """Tell whose image each is: from the column, else from the file name.

    A rule counts only for labels of which at least 95 % of the names (and at least 5) fit it. Kermany's numbers are
    read apart by prefix: over 979 numbers that occur with both, images of ``person<n>_virus`` and of
    ``person<n>_bacteria`` are as alike as those of two numbers drawn by chance (mean correlation of codes 0.018 and
    0.019, standard error 0.005; within one prefix 0.205). Names of ieee8023 that are a bare UUID count as one
    patient each; 6 patients of DarkCovidNet have more.

    Args:
        table: Any.
    """
    patient = [row.patient_id for row in table.rows]
    how = [COLUMN if known else UNKNOWN for known in patient]
    by_label = defaultdict(list)
    for i, row in enumerate(table.rows):
        if not row.patient_id:
            by_label[row.label].append(i)
    for positions in by_label.values():
        stems = [PurePosixPath(table.rows[i].path).stem for i in positions]
        for rule in RULES:
            found = [rule.patient(stem) for stem in stems]
            fitting = sum(name is not None for name in found)
            if fitting < max(FEWEST, FITTING * len(found)):
                continue
            for i, name in zip(positions, found, strict=True):
                how[i] = rule.name if name is not None else UNKNOWN
                patient[i] = f"{rule.name}:{name}" if name else ""
            break
    images = Counter(name for name in patient if name)
    splits, labels = defaultdict(set), defaultdict(set)
    for row, name in zip(table.rows, patient, strict=True):
        if name:
            splits[name].add(row.split)
            labels[name].add(row.label)
    most = [name for name, _ in images.most_common()]
    return Patients(
        patient=tuple(patient),
        how=tuple(how),
        across_splits=tuple(name for name in most if len(splits[name] - {""}) > 1),
        several_labels=tuple(name for name in most if len(labels[name]) > 1),
        images=images,
    )


def findings(patients: Patients) -> list[Finding]:
    """Say what was found.

    A patient on two sides of the splits is an error: results would be too good. Unknown patients are a warning:
    nobody can tell. Several labels of one patient are good to know: a disease may come and go.
    """
    total, known = len(patients.patient), sum(map(bool, patients.patient))
    found = []
    if patients.across_splits:
        number = len(patients.across_splits)
        plural = "s have" if number > 1 else " has"
        images = sum(patients.images[name] for name in patients.across_splits)
        found.append(
            Finding(
                "patients",
                "error",
                f"{number} patient{plural} images in more than one split ({images} images): "
                "a model may recognise the patient instead of the disease, and looks better than it is.",
                "Split by patient: hilum audit DATA --fix OUT.csv keeps each patient on one side.",
                {"patients": number, "images": images, "examples": list(patients.across_splits[:EXAMPLES])},
            )
        )
    if known < total:
        what = "No image says whose it is"
        what = what if not known else f"{total - known} of {total} images do not say whose they are"
        counted = "splits and" if not known else "each counts as a patient of its own in splits and"
        found.append(
            Finding(
                "patients",
                "warning",
                f"{what}, neither in a column nor by a file name that follows a known rule: {counted} "
                f"intervals{' are by image' if not known else ''}, which are optimistic if a patient has several.",
                "Fill in a column patient_id: hilum audit DATA --fix OUT.csv writes a table that has it.",
                {"unknown": total - known, "how": dict(Counter(patients.how))},
            )
        )
    if patients.several_labels:
        number = len(patients.several_labels)
        found.append(
            Finding(
                "patients",
                "info",
                f"{number} patient{'s have' if number > 1 else ' has'} images of more than one label.",
                "Check that this is the course of a disease and not a mistake.",
                {"patients": number, "examples": list(patients.several_labels[:EXAMPLES])},
            )
        )
    if known:
        rules = sorted({how for how in patients.how if how not in (COLUMN, UNKNOWN)})
        ways = [f"from file names as in {rule}" for rule in rules]
        ways = ["from the column patient_id", *ways] if COLUMN in patients.how else ways
        found.append(
            Finding(
                "patients",
                "info",
                f"{known} images of {len(patients.images)} patients ({known / len(patients.images):.2f} images each, "
                f"at most {max(patients.images.values())}), known {' and '.join(ways)}.",
                "hilum train splits by these patients; hilum audit DATA --fix OUT.csv writes them down."
                if rules
                else "",
                {"images": known, "patients": len(patients.images), "how": dict(Counter(patients.how))},
            )
        )
    return found

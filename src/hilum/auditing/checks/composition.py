"""What a dataset consists of, whose images they are, and what follows from it for splits and labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from scipy.stats import binomtest

from hilum.auditing.findings import Composition, Finding, FindingEvidence, Severity, UnreadableFile
from hilum.auditing.scan import Scan
from hilum.data.dataset import Dataset
from hilum.data.label_names import several_in_words
from hilum.data.multilabel import contradicted, finding_values, has_label
from hilum.data.patients import FROM_HEADER, rule_of

IMBALANCE = 3.0  # times as many images of the most frequent label as of the rarest
FEW_TESTED = 0.1  # half an interval wider than this concludes little
GOOD = 0.9  # the accuracy for which that interval is computed
PARTS = ("train", "val", "calibration", "test")


def compose(scan: Scan) -> Composition:
    """Count images, splits, sources and kinds of file; images of each finding where they may have several.

    Args:
        scan: Of the readable files.
    """
    table = scan.table
    images: defaultdict[str, Counter[str]] = defaultdict(Counter)
    names = table.findings or table.labels
    present = {name: has_label(table, name) for name in table.findings}
    for number, row in enumerate(table.rows):
        images[row.split].update([name for name in names if present[name][number]] if present else [row.label])
    splits = list(table.splits) or [""]
    splits += [""] if "" in images and "" not in splits else []
    return Composition(
        n_images=len(table),
        n_patients=len({row.patient_id for row in table.rows}) if table.patients_known else None,
        labels=list(names),
        counts={split or "all": {name: images[split][name] for name in names} for split in splits},
        sources=dict(Counter(row.source for row in table.rows if row.source).most_common()),
        formats=dict(Counter(container.format for container in scan.containers).most_common()),
        modes=dict(Counter(container.mode for container in scan.containers).most_common()),
        sizes=dict(Counter(f"{c.width}x{c.height}" for c in scan.containers).most_common(20)),
        n_sizes=len({(c.width, c.height) for c in scan.containers}),
        unreadable=[UnreadableFile(path=item.path, message=item.message) for item in scan.unreadable],
    )


def interval_of(n: int, share: float = GOOD) -> tuple[float, float]:
    """What a test of `n` patients can conclude: the exact 95 % interval if `share` of them were right."""
    found = binomtest(round(share * n), n).proportion_ci(0.95)
    return float(found.low), float(found.high)


def composition_findings(counted: Composition, table: Dataset) -> list[Finding]:
    """What the counts mean.

    Rules: unreadable files are a warning, an error above one in twenty; several findings in one label are a warning; a
    label three times as frequent as another is good to know; a validation or test part whose interval at 90 % right is
    wider than 10 points either way is a warning; a label that a part lacks is an error in ``train`` and a warning
    elsewhere.

    Args:
        counted: What `compose` found.
        table: The readable rows.
    """
    found = [
        *_unreadable(counted),
        *_several(table),
        *(() if table.findings else _balance(counted)),
        *_lacking(counted.counts),
        *_too_small(counted, table),
    ]
    if counted.n_sizes > 1 or len(counted.formats) > 1 or len(counted.modes) > 1:
        kinds = ", ".join(f"{count} {name}" for name, count in counted.formats.items())
        modes = ", ".join(f"{count} {name}" for name, count in counted.modes.items())
        message = f"Files differ: {counted.n_sizes} sizes in pixels, formats {kinds}, modes {modes}."
        remedy = "See the shortcut probes: differences matter only where they correlate with the labels."
        found.append(Finding("composition", "info", message, remedy))
    return found


def _unreadable(counted: Composition) -> list[Finding]:
    lost = counted.unreadable
    if not lost:
        return []
    total = counted.n_images + len(lost)
    severity: Severity = "error" if len(lost) > total / 20 else "warning"
    message = f"{len(lost)} of {total} files cannot be read. The first: {lost[0].message}"
    evidence = UnreadablePaths(paths=[item.path for item in lost[:50]])
    remedy = "Download them again, or exclude them: hilum audit DATA --clean OUT.csv."
    return [Finding("unreadable", severity, message, remedy, evidence)]


def _several(table: Dataset) -> list[Finding]:
    told = several_in_words(table)
    if not told:
        return []
    message = f"{told[0].upper()}{told[1:]}: each combination counts as a separate label."
    remedy = "Give each image one label (in one column, --label-column), or exclude these images."
    return [Finding("composition", "warning", message, remedy, meaning="hilum train learns one label per image.")]


def _balance(counted: Composition) -> list[Finding]:
    totals = Counter({label: sum(part[label] for part in counted.counts.values()) for label in counted.labels})
    (most, many), *_, (least, few) = totals.most_common() if len(totals) > 1 else [*totals.items()] * 2
    if many < IMBALANCE * few:
        return []
    message = (
        f"Class imbalance: {many:,} images of '{most}', {few:,} of '{least}'. Always predicting '{most}' has an "
        f"accuracy of {100 * many / sum(totals.values()):.0f} %: report balanced accuracy and recall."
    )
    remedy = 'class_weights = "balanced" in the recipe weights labels equally, "hierarchical" each child of a folder.'
    return [Finding("balance", "info", message, remedy, ImagesByLabel(images=dict(totals)))]


def _lacking(counts: Mapping[str, Mapping[str, int]]) -> list[Finding]:
    found = []
    for part, labels in counts.items():
        lacking = [label for label, count in labels.items() if not count]
        if lacking and part != "all":
            severity: Severity = "error" if part == "train" else "warning"
            message = f"{part} has no image of {', '.join(lacking)}."
            found.append(Finding("composition", severity, message, "Add such images, or let hilum create the splits."))
    return found


def _too_small(counted: Composition, table: Dataset) -> list[Finding]:
    found = []
    for part in (name for name in counted.counts if name in PARTS[1:]):
        rows = [row for row in table.rows if row.split == part]
        n = len({row.patient_id for row in rows}) if table.patients_known else len(rows)
        low, high = interval_of(n)
        if high - low <= 2 * FEW_TESTED:
            continue
        unit = "patients" if table.patients_known else "images"
        message = (
            f"{part} is small: {len(rows)} images of {n} {unit}. An accuracy of {100 * GOOD:.0f} % would have a 95 % "
            f"CI of {100 * low:.0f} to {100 * high:.0f}."
        )
        remedy = "Draw no conclusion from it alone; hilum crossval tests every patient once."
        evidence = SplitSize(part=part, n=n, resampling_unit=unit, low=low, high=high)
        found.append(Finding("size", "warning", message, remedy, evidence))
    return found


class UnreadablePaths(FindingEvidence):
    """The first files that cannot be read."""

    paths: list[str]


class ImagesByLabel(FindingEvidence):
    """Images of each label."""

    images: dict[str, int]


class SplitSize(FindingEvidence):
    """How many patients or images a split has, and the interval of a share of them."""

    part: str
    n: int
    resampling_unit: str
    low: float
    high: float


class PatientsUnknown(FindingEvidence):
    """How many images have no patient, and how many are known in which way."""

    unknown: int
    how: dict[str, int]


class PatientsKnown(FindingEvidence):
    """How many images have a patient, of how many patients, and how these are known."""

    images: int
    patients: int
    how: dict[str, int]


class PatientExamples(FindingEvidence):
    """How many patients and images a finding is about, and the first patients."""

    patients: int
    images: int = 0
    examples: list[str]


EXAMPLES = 5
COLUMN, FOLDERS, HEADERS = "column", "folders", "DICOM headers"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Patients:
    """Whose images a table holds.

    Attributes:
        patient: One a row; empty where unknown.
        how: One a row: ``column``, ``folders``, ``DICOM headers``, the public set whose file names tell it, or
            ``unknown``.
        across_splits: Patients with images in more than one split, those with most images first.
        several_labels: Patients with more than one label, or with a finding that is present on one image and absent on
            another, those with most images first.
        images: Number of images of each patient.
        findings: Whether an image may have several findings.
    """

    patient: tuple[str, ...]
    how: tuple[str, ...]
    across_splits: tuple[str, ...]
    several_labels: tuple[str, ...]
    images: Mapping[str, int]
    findings: bool = False


def count_patients(table: Dataset) -> Patients:
    """Tell whose image each is, by the table, where file names were recognised when it was read.

    Args:
        table: Any.
    """
    patient = [row.patient_id for row in table.rows]
    stated = COLUMN if table.columns else FOLDERS
    how = [_rule(name) or stated if name else UNKNOWN for name in patient]
    images = Counter(name for name in patient if name)
    splits: defaultdict[str, set[str]] = defaultdict(set)
    labels: defaultdict[str, set[str]] = defaultdict(set)
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for number, (row, name) in enumerate(zip(table.rows, patient, strict=True)):
        if name:
            splits[name].add(row.split)
            labels[name].add(row.label)
            rows[name].append(number)
    differ = {name for name in rows if len(labels[name]) > 1}
    if table.findings:
        values = finding_values(table)
        differ = {name for name in differ if contradicted(values[rows[name]]).any()}
    most = [name for name, _ in images.most_common()]
    return Patients(
        patient=tuple(patient),
        how=tuple(how),
        across_splits=tuple(name for name in most if len(splits[name] - {""}) > 1),
        several_labels=tuple(name for name in most if name in differ),
        images=images,
        findings=bool(table.findings),
    )


def _rule(patient: str) -> str:
    return HEADERS if patient.startswith(FROM_HEADER) else rule_of(patient)


def patient_findings(patients: Patients) -> list[Finding]:
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
                "Split by patient: hilum audit DATA --clean OUT.csv keeps each patient in one split.",
                PatientExamples(patients=number, images=images, examples=list(patients.across_splits[:EXAMPLES])),
            )
        )
    if known < total:
        what = "No image states its patient"
        what = what if not known else f"{total - known} of {total} images do not state their patient"
        counted = "splits and" if not known else "each counts as a separate patient in splits and"
        found.append(
            Finding(
                "patients",
                "warning",
                f"{what}, by a column, folder, DICOM header or file name that follows a known rule: {counted} "
                f"intervals{' are by image' if not known else ''}, which are optimistic if a patient has several.",
                "Fill in a column patient_id: hilum audit DATA --clean OUT.csv writes a table that has it.",
                PatientsUnknown(unknown=total - known, how=dict(Counter(patients.how))),
            )
        )
    if patients.several_labels:
        number = len(patients.several_labels)
        found.append(
            Finding(
                "patients",
                "info",
                f"{number} patient{'s have' if number > 1 else ' has'} "
                f"{'images with and without a finding' if patients.findings else 'images of more than one label'}.",
                "Check whether this is the course of a disease or a label error.",
                PatientExamples(patients=number, examples=list(patients.several_labels[:EXAMPLES])),
            )
        )
    if known:
        stated = {COLUMN: "from the column patient_id", FOLDERS: "from folders", HEADERS: "from DICOM headers"}
        rules = sorted(set(patients.how) - {*stated, UNKNOWN})
        ways = [way for how, way in stated.items() if how in patients.how]
        ways += [f"from file names as in {rule}" for rule in rules]
        found.append(
            Finding(
                "patients",
                "info",
                f"{known} images of {len(patients.images)} patients ({known / len(patients.images):.2f} images "
                f"each, at most {max(patients.images.values())}), known {' and '.join(ways)}.",
                "Splits are made by these patients, unless --patients none is given; hilum audit DATA --clean OUT.csv "
                "writes them to a table."
                if rules or HEADERS in patients.how
                else "",
                PatientsKnown(images=known, patients=len(patients.images), how=dict(Counter(patients.how))),
            )
        )
    return found

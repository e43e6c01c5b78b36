"""What an audit says: its report of findings, each with severity, evidence and remedy, and how reports are kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    JsonValue,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from hilum import __version__
from hilum.data.cache_files import PRIVATE, cache_folder, make_private
from hilum.data.dataset import Row
from hilum.earlier import current
from hilum.files import read_text, save_json
from hilum.stats.records import Record
from hilum.text import printable

Severity = Literal["info", "warning", "error"]
ORDER: tuple[Severity, ...] = ("error", "warning", "info")
MISLEADS = (
    "provenance",  # labels that cannot be what they say
    "sources",  # source and label determine each other: no measure can tell one from the other
    "patients",  # leakage: results are too good
    "duplicates",
    "labels",  # some are wrong
    "shortcuts",  # the file, then the picture, tells the label
    "composition",
    "unreadable",
    "size",
    "balance",
)
"""Checks by how much what they find misleads: the order of findings that are equally bad. Mending a shortcut does not
mend the source that brought it, so that files come after sources. Trainings repeat what the checks named here find."""


class FindingEvidence(BaseModel):
    """Numbers and names behind a finding, as JSON can hold them. A page that shows them asks for a subclass."""

    model_config = ConfigDict(frozen=True, extra="allow")

    @model_serializer(mode="wrap")
    def _given(self, dump: SerializerFunctionWrapHandler) -> dict[str, JsonValue]:
        return {key: value for key, value in dump(self).items() if key in self.model_fields_set}


@dataclass(frozen=True)
class Statement:
    """What a run keeps of a `Finding`."""

    check: str
    severity: Severity
    message: str
    remedy: str = ""


@dataclass(frozen=True)
class Finding(Statement):
    """One thing to know about a dataset.

    Attributes:
        check: What found it, such as ``duplicates``.
        severity: ``error``: results on these data would be wrong; ``warning``: they could mislead; ``info``: good
            to know.
        message: What was found, in words that a student understands.
        meaning: What that means; the same words for all findings of a kind, so that they can be said once.
        remedy: What to do about it; empty where nothing is to be done.
        evidence: Numbers and names behind it, as JSON can hold them.
    """

    evidence: SerializeAsAny[FindingEvidence] = field(default_factory=FindingEvidence)
    meaning: str = ""

    @property
    def statement(self) -> Statement:
        """It without evidence and meaning."""
        return Statement(self.check, self.severity, self.message, self.remedy)


Found = TypeVar("Found", bound=Statement)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UnreadableFile(_Part):
    """A file that cannot be read, and why."""

    path: str
    message: str


class DuplicateGroups(_Part):
    """Copies of one picture.

    Attributes:
        groups: Paths of the images of each group.
        across_splits: Groups in more than one split.
        across_labels: Groups under more than one label.
        across_patients: Groups of more than one patient.
    """

    groups: list[list[str]]
    across_splits: int
    across_labels: int
    across_patients: int


class KnownPatients(_Part):
    """The patients of a dataset, as far as they are known.

    Attributes:
        known: Share of the images whose patient is known, 0 to 1.
        images: Images whose patient is known.
        number: Patients.
        how: How patients were identified, such as ``column``.
        across_splits: Patients in more than one split.
        several_labels: Patients with images of more than one label.
    """

    known: float
    images: int
    number: int
    how: list[str]
    across_splits: int
    several_labels: int


class ShortcutProbe(_Part):
    """How well a probe tells one label from the rest; see `hilum.auditing.checks.shortcuts.Shortcut`."""

    probe: str
    kind: Literal["container", "pixels"]
    label: str
    auroc: float
    low: float | None
    high: float | None
    p_value: float


class RecognisedSet(_Part):
    """A public dataset that images come from, how many, and how many of each label."""

    dataset: str
    matched: int
    labels: dict[str, int]
    message: str


class UnlikelyLabel(_Part):
    """An image whose label a model finds less probable than another."""

    path: str
    label: str
    likely: str
    p_label: float
    p_likely: float


class LabelIssues(_Part):
    """Labels that may be wrong, who judged them and how, and how many images were judged."""

    run: str
    how: str
    judged: int
    label_issues: list[UnlikelyLabel]


class Composition(_Part):
    """What a dataset is made of.

    Attributes:
        n_images: Readable images.
        n_patients: Patients; None where they are not all known.
        labels: Every label or finding, in the dataset's order.
        counts: Images by split and label, or by split and present finding; without splits the one key ``all``.
        sources: Images by source.
        formats: Images by file format.
        modes: Images by colour mode, as Pillow names them.
        sizes: Images by size in pixels, the 20 most frequent.
        n_sizes: Number of sizes.
        unreadable: Files that cannot be read.
    """

    n_images: int
    n_patients: int | None
    labels: list[str]
    counts: dict[str, dict[str, int]]
    sources: dict[str, int]
    formats: dict[str, int]
    modes: dict[str, int]
    sizes: dict[str, int]
    n_sizes: int
    unreadable: list[UnreadableFile]


class AuditReport(Composition):
    """What ``audit.json`` holds, besides the dataset's composition.

    Attributes:
        schema_version: Of this form.
        hilum: Version that made it.
        data: The dataset, as a path.
        findings: Worst first.
        duplicates: Copies of one picture.
        patients: Whose images they are.
        shortcuts: What tells labels without the lungs.
        provenance: Public datasets that images come from.
        label_errors: Labels that may be wrong; None where no model was asked.
        notes: What has to be known besides.
    """

    schema_version: Literal[1] = 1
    hilum: str
    data: str
    findings: list[Finding]
    duplicates: DuplicateGroups
    patients: KnownPatients
    shortcuts: list[ShortcutProbe]
    provenance: list[RecognisedSet]
    label_errors: LabelIssues | None
    notes: list[str]

    def passed(self, gate: Severity) -> bool:
        """Whether nothing was found that is as bad as `gate`, ``warning`` or ``error``, or worse."""
        return not any(finding.severity in ORDER[: ORDER.index(gate) + 1] for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """The object of ``audit.json``."""
        first = {"schema_version": self.schema_version, "hilum": self.hilum, "data": self.data}
        return first | self.model_dump()

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> Self:
        """A report that was read, also one of version 0.1.

        Raises:
            ValueError: It is not what ``audit.json`` holds.
        """
        return cls.model_validate(current(document))


def _understood(findings: object) -> list[object]:
    """Findings that a file holds, without those that this version does not know."""
    if not isinstance(findings, list):
        msg = "no list of findings"
        raise ValueError(msg)
    return [
        found
        for found in findings
        if isinstance(found, Statement)
        or (
            isinstance(found, dict)
            and all(isinstance(found.get(key), str) for key in ("check", "severity", "message", "remedy"))
            and found["check"] in MISLEADS
            and found["severity"] in ORDER
        )
    ]


class RememberedAudit(Record):
    """What the cache keeps of an audit: its statements, images by split and label, and the folder in which it lies."""

    findings: Annotated[list[Statement], BeforeValidator(_understood)]
    counts: dict[str, dict[str, int]] = {}
    written: str = ""


class LeakageCounts(Record):
    """How many patients and pictures lie on two sides of a split."""

    patients: int
    pictures: int


class CheckedData(Record):
    """What was checked before a training; see `hilum.auditing.preflight.Checked`.

    Attributes:
        images: How many there are.
        with_patient: Of how many of them the patient is known.
        duplicates: What counted as a duplicate.
        leakage: What lies on two sides; None of versions before.
        compared: Images that were compared with known public sets.
    """

    images: int
    with_patient: int = 0
    duplicates: list[str] = []
    leakage: LeakageCounts | None = None
    compared: int = 0


class KnownIssues(Record):
    """What is known to be wrong with the data of a training, as ``environment.json`` and ``metrics.json`` hold it.

    Attributes:
        audited: Whether these files were audited, with these labels, patients and sources.
        written: The audit's folder; empty without one.
        findings: Worst first.
        checked: What was checked without an audit.
    """

    audited: bool = False
    written: str = ""
    findings: Annotated[list[Statement], BeforeValidator(_understood)] = []
    checked: CheckedData | None = None

    def of(self, severity: Severity) -> list[Statement]:
        """The findings of one severity."""
        return [finding for finding in self.findings if finding.severity == severity]


def worst_first(findings: Iterable[Found]) -> list[Found]:
    """Errors, then warnings, then what is good to know; within each what misleads most, as `MISLEADS` has it."""
    place = {check: number for number, check in enumerate(MISLEADS)}
    return sorted(findings, key=lambda finding: (ORDER.index(finding.severity), place.get(finding.check, len(place))))


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names in quotes, the first few of many: ``'a', 'b' and 12 more``."""
    shown = [f"'{printable(name)}'" for name in names[:most]]
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def said_briefly(findings: Sequence[Statement], severity: Severity = "error", most: int = 5) -> list[str]:
    """The findings of one severity in one line each, the first few of many: ``ERROR sources: ...``.

    Args:
        findings: All of them.
        severity: Which.
        most: Lines before the rest is only counted.
    """
    chosen = [finding for finding in findings if finding.severity == severity]
    lines = [f"{severity.upper()} {finding.check}: {printable(finding.message)}" for finding in chosen[:most]]
    if len(chosen) > most:
        lines.append(f"{len(chosen) - most} more {severity}s")
    return lines


def dataset_key(rows: Iterable[Row]) -> str:
    """What an audit is about: the same wherever the files lie, whatever they are called and however they are split.

    Args:
        rows: Of the readable files, in any order; files, labels, patients and sources count.
    """
    lines = sorted(json.dumps([row.sha256, row.label, row.patient_id, row.source]) for row in rows)
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:32]


def remember(facts: Mapping[str, object], key: str, written: Path | None = None) -> None:
    """Keep an audit in the cache; where that cannot be written, nothing is kept.

    Args:
        facts: What ``audit.json`` holds.
        key: The dataset's (`dataset_key`).
        written: The folder in which the audit lies; None where it was not written.
    """
    file = _file(key)
    with contextlib.suppress(OSError):
        make_private(file.parent.parent)
        file.parent.mkdir(mode=PRIVATE, exist_ok=True)
        save_json(file, {**facts, "written": str(written.resolve()) if written else ""}, indent=None)


def recall(key: str) -> RememberedAudit | None:
    """An audit of this version as the cache keeps it; None if there is none."""
    try:
        return RememberedAudit.model_validate(json.loads(read_text(_file(key))))
    except (OSError, ValueError, RecursionError):
        return None


def _file(key: str) -> Path:
    return cache_folder() / "audits" / f"{key}-{__version__}.json"

"""What the checklist is computed from, and its items about the data: what the table says, and how it was split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from hilum.auditing.findings import AuditReport, KnownIssues
from hilum.data.dataset import Row
from hilum.data.patients import in_words
from hilum.data.splits import UNUSED
from hilum.evaluation.accesses import AccessLog
from hilum.evaluation.findings_schema import FindingsMetrics
from hilum.evaluation.schema import Metrics
from hilum.evaluation.subgroups import in_order
from hilum.text import percent
from hilum.training.run import UNREADABLE, Run

State = Literal["PASS", "FAIL", "REPORTED", "UNKNOWN"]


@dataclass(frozen=True)
class Facts:
    """What the checklist is computed from.

    Attributes:
        run: The run.
        split: All rows of its ``split.csv``.
        metrics: Of its own test images; None if they were not evaluated.
        external: Metrics of other data, by name.
        audit: Of its data; None without an audit.
        access: What the ledger says of accesses to the test images (`hilum.evaluation.accesses`).
        errors_shown: How many wrongly answered images the gallery shows; None without a gallery.
        findings: Of its own test images, where an image may have several findings; `metrics` then is of one of them.
        external_findings: The same of other data, by name.
    """

    run: Run
    split: Sequence[Row]
    metrics: Metrics | None
    external: Mapping[str, Metrics]
    audit: AuditReport | None
    access: AccessLog
    errors_shown: int | None
    findings: FindingsMetrics | None = None
    external_findings: Mapping[str, FindingsMetrics] = field(default_factory=dict)

    def about(self, finding: str) -> Facts:
        """What the checklist of one finding is computed from."""
        assert self.findings
        metrics = self.findings.findings[finding].metrics.model_copy(update={"audit": self.findings.audit})
        outside = {
            name: found.findings[finding].metrics
            for name, found in self.external_findings.items()
            if finding in found.findings
        }
        return replace(self, metrics=metrics, external=outside, findings=None, external_findings={})

    @property
    def known(self) -> KnownIssues:
        """What was known to be wrong with the data when the run was evaluated."""
        return (self.metrics.audit if self.metrics else None) or self.run.environment.audit or KnownIssues()


Outcome = tuple[State, str]
OLDER: Outcome = ("UNKNOWN", "the evaluation is of an older version: hilum evaluate RUN again")
NOT_READ: Outcome = ("UNKNOWN", "the data's table was not read: hilum evaluate RUN")
NOT_EVALUATED: Outcome = ("UNKNOWN", "the test images are not evaluated yet: hilum evaluate RUN")


def columns(facts: Facts, *wanted: str, by_label: bool = False) -> Outcome:
    """What the table says of its images, column by column."""
    table = facts.metrics and facts.metrics.table
    if not table:
        return NOT_READ
    found = {name: table.columns[name] for name in wanted if name in table.columns}
    told = [
        f"{name.replace('_', ' ')} in column '{entry.column}' ({percent(entry.filled)} filled)"
        + (f": {by_class(entry.by_label)}" if by_label else "")
        for name, entry in found.items()
    ]
    missing = [name.replace("_", " ") for name in wanted if name not in found]
    if missing:
        told.append(f"no column of the table states {', '.join(missing)}")
    complete = not missing and all(entry.filled == 1 for entry in found.values())
    complete = complete and not (by_label and any(entry.by_label is None for entry in found.values()))
    return ("PASS" if complete else "UNKNOWN"), "; ".join(told)


def by_class(counts: Mapping[str, Mapping[str, int]] | None) -> str:
    """Counts by label, in words."""
    if counts is None:
        return "too many values for a table"
    shown = (
        f"{label} ({', '.join(f'{value} {by[value]:,}' for value in sorted(by, key=in_order))})"
        for label, by in counts.items()
    )
    return ", ".join(shown)


def possible(facts: Facts) -> Outcome:
    """Whether labels contradict the images' dates, or known sets."""
    table = facts.metrics and facts.metrics.table
    impossible = list(table.impossible) if table else []
    found = [*(facts.audit.findings if facts.audit else ()), *facts.known.findings]
    impossible += [
        finding.message for finding in found if finding.check == "provenance" and finding.severity == "error"
    ]
    if impossible:
        return "FAIL", "; ".join(dict.fromkeys(impossible))
    if table and (date := table.columns.get("date")):
        undated = table.undated
        if undated is None:
            undated = 0 if date.filled == 1 else table.n_images
        if not undated:
            return "PASS", "no label contradicts the images' dates"
        return "UNKNOWN", f"no label contradicts the image dates, but {undated:,} images have none"
    if not table:
        return NOT_READ
    checked = facts.known.checked
    compared = f", and {checked.compared:,} images were compared with known sets before the training" if checked else ""
    compared = compared or ", and no audit compared the images with known sets"
    return "UNKNOWN", f"no dates in the table{'' if facts.audit else compared}"


def counts(facts: Facts) -> Outcome:
    """How many images each split has, and how many are left out."""
    counts = Counter(row.split for row in facts.split)
    used = ", ".join(f"{name} {n:,}" for name, n in counts.items() if name not in (UNUSED, UNREADABLE))
    return "PASS", f"{used}; unused {counts[UNUSED]:,}, unreadable {counts[UNREADABLE]:,}"


def unit(facts: Facts) -> Outcome:
    """Whether the split is by patient, and none is on two sides."""
    used = [row for row in facts.split if row.split not in (UNUSED, UNREADABLE)]
    known = sum(bool(row.patient_id) for row in used)
    if not used or known < len(used):
        return "UNKNOWN", f"split by {'patient' if known else 'image'}, {in_words(known, len(used))}: optimistic"
    crossing = _on_both_sides({(row.patient_id, row.split) for row in used})
    if crossing:
        return "FAIL", f"{crossing} patients are in more than one split"
    return "PASS", f"split by patient; none of {len({row.patient_id for row in used}):,} is in more than one split"


def duplicates(facts: Facts) -> Outcome:
    """Whether copies are on two sides of the split."""
    used = {(row.sha256, row.split) for row in facts.split if row.sha256 and row.split not in (UNUSED, UNREADABLE)}
    crossing = _on_both_sides(used)
    if crossing:
        return "FAIL", f"{crossing} files are in more than one split, byte for byte"
    checked = facts.known.checked
    if not facts.audit and checked and checked.leakage and "near" in checked.duplicates:
        crossing = checked.leakage.pictures
        told = f"{checked.images:,} images compared before the training, including cropped, mirrored and turned copies"
        return ("FAIL" if crossing else "PASS"), f"{told}: {crossing or 'no'} near-duplicates across splits"
    if not facts.audit:
        return (
            "UNKNOWN",
            "no file is in two splits; near-duplicates are unknown: hilum audit DATA --out RUN/audit",
        )
    found = facts.audit.duplicates
    if found.across_splits:
        return "FAIL", f"{found.across_splits} groups of copies are in more than one split of the dataset"
    return "PASS", f"{len(found.groups)} groups of copies, none across splits"


def sources(facts: Facts) -> Outcome:
    """Where images come from, by label."""
    table = facts.metrics and facts.metrics.table
    if table and table.confounded_labels:
        return "FAIL", "; ".join(table.confounded_labels)
    if not table:
        return NOT_READ
    source = table.columns.get("source")
    if not source:
        return "UNKNOWN", "no column of the table states the source of the images, or it is empty"
    if not source.by_label:
        return "UNKNOWN", "too many sources for a table"
    return "PASS", by_class(source.by_label)


def _on_both_sides(pairs: set[tuple[str, str]]) -> int:
    sides: defaultdict[str, set[str]] = defaultdict(set)
    for who, side in pairs:
        sides[who].add(side)
    return sum(len(found) > 1 for found in sides.values())

"""The audit: every check on one scan of the files, and what they found, worst first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hilum import __version__
from hilum.auditing.checks.catalogued import findings as catalogue_findings
from hilum.auditing.checks.composition import Patients, compose, composition_findings, count_patients, patient_findings
from hilum.auditing.checks.duplicate_findings import findings as duplicate_findings
from hilum.auditing.checks.duplicates import Duplicates, find_duplicates
from hilum.auditing.checks.label_issues import LabelErrors, OutOfSample, find_label_errors
from hilum.auditing.checks.label_issues import findings as label_findings
from hilum.auditing.checks.public_sets import Match, recognise
from hilum.auditing.checks.public_sets import findings as public_set_findings
from hilum.auditing.checks.shortcuts import Shortcuts, probe_shortcuts
from hilum.auditing.checks.shortcuts import findings as shortcut_findings
from hilum.auditing.checks.sources import findings as source_findings
from hilum.auditing.findings import (
    AuditReport,
    Composition,
    DuplicateGroups,
    Finding,
    KnownPatients,
    dataset_key,
    remember,
    worst_first,
)
from hilum.auditing.near_duplicates.codes import remark
from hilum.auditing.near_duplicates.ray_search import find_copies_by_ray, store_for
from hilum.auditing.near_duplicates.search import find_copies
from hilum.auditing.ray_scan import look_by_ray
from hilum.auditing.scan import Scan, scan
from hilum.data.dataset import Dataset
from hilum.data.options import ReadOptions
from hilum.data.ray_pool import check_nodes, wanted_by
from hilum.data.readers.read import read_table
from hilum.errors import RunError
from hilum.files import save_json
from hilum.outputs import AUDIT, PAGE, check_folder
from hilum.progress import Progress
from hilum.ray_engine import check_engine, connect

FILE, PAGE_FILE = "audit.json", "audit.html"


@dataclass(frozen=True)
class Evidence:
    """What the checks work on.

    Attributes:
        scan: Of the readable files.
        duplicates: Copies of one picture.
        patients: Whose images they are, and how that is known.
        shortcuts: What tells labels without the lungs.
        matches: Public sets that images come from.
        counted: What there is, as `hilum.auditing.checks.composition.compose` counts it.
        labels: Labels that may be wrong; None where no model was asked.
    """

    scan: Scan
    duplicates: Duplicates
    patients: Patients
    shortcuts: Shortcuts
    matches: tuple[Match, ...]
    counted: Composition
    labels: LabelErrors | None


CHECKS: tuple[Callable[[Evidence], Iterable[Finding]], ...] = (
    lambda seen: duplicate_findings(seen.duplicates, seen.scan.table),
    lambda seen: patient_findings(seen.patients),
    lambda seen: public_set_findings(seen.matches),
    lambda seen: catalogue_findings(seen.scan.table, seen.matches),
    lambda seen: source_findings(seen.scan.table.with_values("patient_id", seen.patients.patient), seen.matches),
    lambda seen: shortcut_findings(seen.shortcuts),
    lambda seen: label_findings(seen.labels, seen.scan.table) if seen.labels else (),
    lambda seen: composition_findings(seen.counted, seen.scan.table),
)
"""All checks. A new one is a module in `hilum.auditing.checks` and a line here."""


@dataclass(frozen=True)
class Audit(Evidence):
    """All that an audit knows: the evidence, and what follows from it.

    Attributes:
        report: What ``audit.json`` holds.
    """

    report: AuditReport

    @property
    def findings(self) -> list[Finding]:
        """Worst first."""
        return self.report.findings

    def group_of(self) -> dict[int, int]:
        """The number of the duplicate group by position; images without copies are absent."""
        return {position: number for number, group in enumerate(self.duplicates.groups) for position in group}


def check_audit(out: Path) -> None:
    """Find before any work what would prevent an audit from being written.

    Raises:
        UsageError: The folder holds files of the same names that are of other kinds.
    """
    check_folder(out, {FILE: AUDIT, PAGE_FILE: PAGE})


def write_audit(found: Audit, out: Path) -> Path:
    """Write ``audit.json``, and keep it in the cache, so that trainings of these data repeat its errors.

    Args:
        found: An audit.
        out: A folder; made if it is not there.

    Returns:
        The file.

    Raises:
        RunError: It cannot be written.
        UsageError: `out` holds files of other kinds.
    """
    check_audit(out)
    file = out / FILE
    try:
        out.mkdir(parents=True, exist_ok=True)
        save_json(file, found.report.to_json())
    except OSError as error:
        msg = f"{out}: cannot be written ({error.strerror}). Choose another folder with --out."
        raise RunError(msg) from error
    remember(found.report.to_json(), dataset_key(found.scan.table.rows), out)
    return file


def audit(
    data: Path | Dataset,
    *,
    opinion: Callable[[Dataset], OutOfSample] | None = None,
    read: ReadOptions | None = None,
    engine: str = "local",
    address: str = "",
    progress: Progress | None = None,
) -> Audit:
    """Look for what is wrong with a dataset; nothing is trained, nothing is changed.

    Args:
        data: A dataset, as `hilum.data.readers.read.read_table` takes it, or one that was read.
        opinion: What a model says of images that it was not trained on, to find wrong labels by: a function of the
            readable rows (see `hilum.evaluation.inference`).
        read: How to read it.
        engine: What opens the files and searches for copies: ``local`` or ``ray``. What follows is done here.
        address: Of a Ray cluster; by default one is started here.
        progress: Told about long work.

    Raises:
        EngineError: The cluster does not answer, a node does not see the files, or processes end without an answer.
        ExtraError: Label errors are asked for, and cleanlab is not installed; or Ray is not.
        TableError: The data cannot be read at all.
    """
    check_engine(engine, address)
    progress = progress or Progress()
    table = data if isinstance(data, Dataset) else read_table(data, read, progress)
    with connect(address, store=store_for(len(table))) if engine == "ray" else nullcontext() as cluster:
        if cluster:
            check_nodes(cluster, address, wanted_by(table))
        seen = scan(table, looks=partial(look_by_ray, cluster) if cluster else None, progress=progress)
        find = partial(find_copies_by_ray, cluster) if cluster else find_copies
        copies = find_duplicates(seen, find=find, progress=progress)
    whose = count_patients(seen.table)
    together = list(range(len(seen)))
    for group in copies.groups:
        for position in group:
            together[position] = group[0]
    shortcuts = probe_shortcuts(seen, together, progress=progress)
    matches = tuple(recognise(seen))
    counted = compose(seen)
    doubts = find_label_errors(seen.table, opinion(seen.table)) if opinion else None
    evidence = Evidence(seen, copies, whose, shortcuts, matches, counted, doubts)
    found = worst_first(finding for check in CHECKS for finding in check(evidence))
    paths = [row.path for row in seen.table.rows]
    report = AuditReport(
        **dict(counted),
        hilum=__version__,
        data=str((table.given or table.root).resolve()),
        findings=found,
        duplicates=DuplicateGroups(
            groups=[[paths[i] for i in group] for group in copies.groups],
            across_splits=len(copies.across_splits),
            across_labels=len(copies.across_labels),
            across_patients=len(copies.across_patients),
        ),
        patients=KnownPatients(
            known=sum(map(bool, whose.patient)) / len(seen),
            images=sum(map(bool, whose.patient)),
            number=len(whose.images),
            how=sorted(set(whose.how)),
            across_splits=len(whose.across_splits),
            several_labels=len(whose.several_labels),
        ),
        shortcuts=[shortcut.reported() for shortcut in shortcuts.found],
        provenance=[match.reported() for match in matches],
        label_errors=doubts.reported(seen.table) if doubts else None,
        notes=[*seen.table.notes, *shortcuts.notes, *filter(None, [remark(len(seen))])],
    )
    return Audit(**vars(evidence), report=report)

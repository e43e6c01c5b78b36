"""What is known to be wrong with the data of a training: by an audit of them, and by what takes a moment to find."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from hilum.auditing.checks.catalogued import findings as catalogue_findings
from hilum.auditing.checks.public_sets import findings as public_set_findings
from hilum.auditing.checks.sources import findings as source_findings
from hilum.auditing.findings import (
    Finding,
    KnownIssues,
    RememberedAudit,
    Statement,
    dataset_key,
    recall,
    said_briefly,
    worst_first,
)
from hilum.auditing.near_duplicates.groups import find_groups
from hilum.auditing.preflight import Checked, cheap_checks
from hilum.data.cache import Images, open_images
from hilum.data.dataset import Dataset, pack
from hilum.data.process_pool import Pool
from hilum.data.splits import assign_splits
from hilum.progress import Progress
from hilum.training.recipe import Recipe
from hilum.training.run import UNREADABLE, Run

NOT_AUDITED = "this dataset has not been audited: hilum audit DATA"
OF_SPLITS = ("patients", "duplicates", "size", "composition")  # checks that speak of the splits that an audit saw


def look(images: Images, checked: Checked) -> KnownIssues:
    """Errors and warnings about the data of a training.

    Args:
        images: The images, with the splits that the dataset brings.
        checked: What was checked in a moment.

    Returns:
        What an audit of these files found, or what takes a moment to find. Of an audit of other splits, what it says
        of splits is left out.
    """
    table = images.table
    audit = recall(dataset_key(table.rows))
    leaks = checked.leaks()
    given = Counter({(split or "all", label): number for (split, label), number in table.counts().items()})
    told = _of_audit(audit, same_splits=_counted(audit) == given) if audit else _at_once(images.table, checked)
    twice = {finding.check for finding in leaks}
    kept = [finding for finding in told if finding.severity != "error" or finding.check not in twice]
    return KnownIssues(
        audited=bool(audit),
        written=audit.written if audit else "",
        findings=_as_kept([*leaks, *kept]),
        checked=checked.reported(),
    )


def known_of(run: Run) -> KnownIssues:
    """What `look` found before a run was trained, or an audit that was made of its data since."""
    kept = run.environment.audit or KnownIssues(audited=False, written="", findings=[])
    key = run.environment.data.key
    audit = recall(key) if key and not kept.audited else None
    if not audit:
        return kept.model_copy(update={"findings": worst_first(kept.findings)})
    leaks = [finding for finding in kept.findings if finding.check in OF_SPLITS]
    findings = worst_first([*leaks, *_of_audit(audit, same_splits=False)])
    return KnownIssues(audited=True, written=audit.written, findings=findings, checked=kept.checked)


def say(found: KnownIssues, progress: Progress) -> None:
    """Say each error in one line, and whether there was an audit.

    Args:
        found: As `look` returns it.
        progress: Told.
    """
    for line in said_briefly(found.findings):
        progress.line(f"audit: {line}")
    if not found.audited:
        progress.line(f"audit: {NOT_AUDITED}")


def _of_audit(audit: RememberedAudit, *, same_splits: bool) -> list[Statement]:
    return [
        finding
        for finding in audit.findings
        if finding.severity != "info" and (same_splits or finding.check not in OF_SPLITS)
    ]


def _as_kept(findings: Iterable[Statement]) -> list[Statement]:
    return worst_first(finding.statement if isinstance(finding, Finding) else finding for finding in findings)


def _counted(audit: RememberedAudit) -> Counter[tuple[str, str]]:
    """An audit's images by split and label."""
    counts = audit.counts.items()
    return +Counter({(part, label): number for part, labels in counts for label, number in labels.items()})


def _at_once(table: Dataset, checked: Checked) -> list[Finding]:
    """What an audit would say of sources, found by the column, or else by a sample of the images."""
    sample, matches = table.take(checked.compared), checked.matches
    by_column = source_findings(table)
    by_sets = source_findings(sample.with_values("source", [""] * len(sample)), matches)
    of_sample = [*public_set_findings(matches)]
    if not any(finding.severity == "error" for finding in by_column):
        of_sample += by_sets
    if len(sample) < len(table):
        where = f" (Counted in a sample of {len(sample):,} of {len(table):,} images.)"
        of_sample = [replace(finding, message=finding.message + where) for finding in of_sample]
    published = catalogue_findings(table, matches)
    return [finding for finding in (*of_sample, *by_column, *published) if finding.severity != "info"]


def prepare(
    table: Dataset, recipe: Recipe, progress: Progress, *, check: bool = True, pool: Pool | None = None
) -> tuple[Images, Dataset, list[str], KnownIssues | None]:
    """Decode a table and give every image its split.

    Returns:
        The readable images with their splits; the whole table with its splits, where unreadable files have the
        split ``unreadable``; remarks in plain words, which were said already; and, if `check`, what is wrong with the
        data, as `hilum.training.prepare.look` finds it.
    """
    images = open_images(table, recipe.preprocessing, pool=pool, progress=progress)
    for item in images.unreadable[:10]:
        progress.line(f"left out: {item.message}")
    if len(images.unreadable) > 10:
        progress.line(f"left out: {len(images.unreadable) - 10} more unreadable files (see environment.json)")
    groups = find_groups(images, recipe.splits.duplicates, progress)
    splits = assign_splits(images.table, recipe.splits, groups.numbers)
    notes = [*table.notes, *groups.notes(images.table), *splits.notes]
    if images.unreadable:
        notes.insert(0, f"left out {len(images.unreadable)} unreadable files of {len(table)}")
    for note in notes:
        progress.line(f"note: {note}")
    findings = None
    if check:
        checked = cheap_checks(images, splits.names, groups)
        notes.append(checked.sentence())
        progress.line(notes[-1])
        findings = look(images, checked)
        say(findings, progress)
    images = replace(images, table=images.table.with_splits(splits.names))
    if not images.unreadable:
        return images, replace(images.table, notes=table.notes), notes, findings
    readable, known = iter(images.table.rows), set(images.positions.tolist())
    rows = (next(readable) if i in known else replace(row, split=UNREADABLE) for i, row in enumerate(table.rows))
    return images, replace(table, rows=pack(rows)), notes, findings

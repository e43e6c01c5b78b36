"""From a table to what a training sees: readable images, decoded, each with its split."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hilum.audit.groups import find_groups
from hilum.audit.preflight import cheap_checks
from hilum.data.cache import Images, open_images
from hilum.data.rows import pack
from hilum.data.splits import assign_splits
from hilum.data.table import Table
from hilum.progress import Progress
from hilum.training.findings import look, say
from hilum.training.recipe import Recipe
from hilum.training.run import UNREADABLE


def prepare(
    table: Table, recipe: Recipe, progress: Progress, *, check: bool = True
) -> tuple[Images, Table, list[str], dict[str, Any] | None]:
    """Decode a table and give every image its split.

    Returns:
        The readable images with their splits; the whole table with its splits, where unreadable files have the
        split ``unreadable``; remarks in plain words, which were said already; and, if `check`, what is wrong with the
        data, as `hilum.training.findings.look` finds it.
    """
    images = open_images(table, recipe.preprocessing, progress=progress)
    for item in images.unreadable[:10]:
        progress.line(f"left out: {item.message}")
    if len(images.unreadable) > 10:
        progress.line(f"left out: {len(images.unreadable) - 10} more files that cannot be read (see environment.json)")
    groups = find_groups(images, recipe.splits.duplicates, progress)
    splits = assign_splits(images.table, recipe.splits, groups.numbers)
    notes = [*table.notes, *groups.notes(), *splits.notes]
    if images.unreadable:
        notes.insert(0, f"left out {len(images.unreadable)} of {len(table)} files, which cannot be read")
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

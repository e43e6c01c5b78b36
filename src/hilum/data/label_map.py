"""Other names for the labels or findings of a dataset, as the user says: ``--map-label SRC=DST``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hilum.data.dataset import Dataset, pack
from hilum.data.multilabel import finding_values, with_findings
from hilum.data.options import LabelMap
from hilum.errors import TableError
from hilum.text import printable


def apply_label_map(table: Dataset, label_map: LabelMap) -> Dataset:
    """Rename labels, or findings where an image may have several, with a note.

    Args:
        table: Any.
        label_map: Pairs of a name and its new name; an empty new name leaves the label's images, or the finding, out.

    Raises:
        TableError: The dataset has no such label or finding.
    """
    if not label_map:
        return table
    mapping = dict(label_map)
    known = table.findings or table.labels
    if unknown := [name for name in mapping if name not in known]:
        what = "finding" if table.findings else "label"
        there = ", ".join(printable(name) for name in known)
        msg = f"{table.given or table.root}: --map-label: no {what} '{printable(unknown[0])}'. Its {what}s: {there}."
        raise TableError(msg, code="no-such-label", path=table.root)
    shown = ", ".join(f"{printable(old)} = {printable(new) or 'left out'}" for old, new in mapping.items())
    table = replace(table, notes=(*table.notes, f"as --map-label says: {shown}"))
    if table.findings:
        return _map_findings(table, mapping)
    if lost := {old for old, new in mapping.items() if not new}:
        table = replace(table, rows=pack(row for row in table.rows if row.label not in lost))
    return table.renamed("label", {old: new for old, new in mapping.items() if new})


def _map_findings(table: Dataset, mapping: Mapping[str, str]) -> Dataset:
    """Findings of one new name are one: present where any is, else uncertain, else unknown, else absent."""
    if len({mapping.get(name, name) for name in table.findings} - {""}) < 2:
        msg = f"{table.given or table.root}: --map-label leaves fewer than two findings. Keep at least two."
        raise TableError(msg, code="single-finding", path=table.root)
    values = finding_values(table)
    columns: dict[str, list[NDArray[np.float32]]] = {}
    for place, name in enumerate(table.findings):
        if new := mapping.get(name, name):
            columns.setdefault(new, []).append(values[:, place])
    joined = []
    for parts in columns.values():
        stacked = np.stack(parts)
        value = np.where(np.isnan(stacked).any(0), np.float32("nan"), np.float32(0))
        value = np.where((stacked == -1).any(0), np.float32(-1), value)
        joined.append(np.where((stacked == 1).any(0), np.float32(1), value))
    return with_findings(table, tuple(columns), np.stack(joined, axis=1))

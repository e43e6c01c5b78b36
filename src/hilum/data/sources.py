"""Where images come from, beside what they are called: labels that nothing can tell from their source."""

from __future__ import annotations

from collections import Counter, defaultdict

from hilum.data.table import Table


def confounding(table: Table) -> list[str]:
    """Warn of labels that come from sources of their own.

    If every image of a label comes from one hospital and no other label does, a classifier that recognises the
    hospital looks perfect (Maguolo and Nanni 2021, *Information Fusion*; DeGrave et al. 2021, *Nature Machine
    Intelligence*). No measure on such data can tell one from the other.

    Args:
        table: With the column ``source``; rows that lack it are passed over.

    Returns:
        One sentence a label; empty where sources are unknown or there is only one.
    """
    images: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in table.rows:
        if row.source:
            images[row.source][row.label] += 1
    if len(images) < 2:
        return []
    notes = []
    for label in table.labels:
        own = sorted(source for source, labels in images.items() if set(labels) == {label})
        mixed = any(label in labels and len(labels) > 1 for labels in images.values())
        if own and not mixed:
            where = ", ".join(own)
            notes.append(
                f"WARNING: every image of '{label}' comes from {where}, and no other label does: "
                "results on these data may show that source rather than the disease"
            )
    return notes

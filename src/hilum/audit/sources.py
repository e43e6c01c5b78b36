"""Where images come from, beside what they are called."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hilum.audit.findings import Finding, Severity
from hilum.data.sources import given_away
from hilum.data.table import Table

STRONG = 0.5
"""Cramér's V from which sources and labels go together so much that it is a warning; 0.3 is 'medium' and 0.5 'large'
for a table of two columns in Cohen's words (1988, *Statistical Power Analysis*)."""
WEAK = 0.1
DETERMINED = 0.99  # how well sources tell a label from the rest before nothing else can be measured
MOST_SHOWN = 20


def cross_table(table: Table) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Images by source and label.

    Args:
        table: Rows without a source are passed over.

    Returns:
        S sources, the largest first, and counts of shape (S, K), columns in the order of ``table.labels``.
    """
    rows = [row for row in table.rows if row.source]
    names = sorted({row.source for row in rows})
    counts = np.zeros((len(names), len(table.labels)), np.int64)
    source, label = ({name: i for i, name in enumerate(known)} for known in (names, table.labels))
    np.add.at(counts, ([source[row.source] for row in rows], [label[row.label] for row in rows]), 1)
    order = np.argsort(-counts.sum(axis=1), kind="stable")
    return tuple(names[i] for i in order), counts[order]


def cramers_v(counts: NDArray[np.int64]) -> float:
    """How much rows and columns of a table go together, corrected for chance (Bergsma 2013, *J. Korean Stat. Soc.*).

    Args:
        counts: Of shape (S, K).

    Returns:
        From 0 (nothing) to 1 (one determines the other); 0 where there is only one row or column.
    """
    counts = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0].astype(float)
    rows, columns = counts.shape
    if min(rows, columns) < 2:
        return 0.0
    total = counts.sum()
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / total
    square = ((counts - expected) ** 2 / expected).sum() / total
    corrected = max(0.0, square - (rows - 1) * (columns - 1) / (total - 1))
    rows_left = rows - (rows - 1) ** 2 / (total - 1)
    columns_left = columns - (columns - 1) ** 2 / (total - 1)
    least = min(rows_left, columns_left) - 1
    return float(min(1.0, np.sqrt(corrected / least))) if least > 0 else 0.0


def findings(table: Table) -> list[Finding]:
    """Say whether a label could be told by where its images come from.

    Args:
        table: A dataset.

    Returns:
        ``error``: source and label determine each other (balanced accuracy of at least `DETERMINED`); ``warning``:
        the source gives a label away (95 %), or Cramér's V is at least `STRONG`; ``info``: sources are unknown
        (wholly or in part), or go a little with the label (`WEAK`). Empty where there is nothing to say.
    """
    names, counts = cross_table(table)
    unknown = sum(not row.source for row in table.rows)
    if not names:
        return [
            Finding(
                "sources",
                "info",
                "The table has no column 'source': whether labels come from hospitals of their own cannot be checked.",
                "Add a column 'source' to metadata.csv: the hospital or collection of each image.",
            )
        ]
    strength = cramers_v(counts)
    evidence = {
        "cramers_v": round(strength, 4),
        "labels": list(table.labels),
        "images": {name: row.tolist() for name, row in list(zip(names, counts, strict=True))[:MOST_SHOWN]},
        "sources": len(names),
        "unknown": unknown,
    }
    remedy = (
        "Collect images of all labels from each source, or test on sources that were not trained on. No measure on "
        "these data can tell the disease from the source."
    )
    made = []
    told = given_away(table)
    if told:
        determined = [found.label for found in told if found.told >= DETERMINED]
        message = "; ".join(found.sentence for found in told) + "."
        if determined:
            which = " and ".join(f"'{label}'" for label in determined)
            message = f"Source and label determine each other ({which}): {message}"
        made.append(Finding("sources", "error" if determined else "warning", message, remedy, evidence))
    elif strength >= WEAK:
        severity: Severity = "warning" if strength >= STRONG else "info"
        how = "strongly" if strength >= STRONG else "somewhat"
        message = (
            f"Sources and labels go together {how} (Cramér's V {strength:.2f}, from 0 for not at all to 1): knowing "
            "where an image comes from helps to guess its label."
        )
        made.append(Finding("sources", severity, message, remedy, evidence))
    if unknown:
        message = f"{unknown} of {len(table)} images have no source: they were passed over when sources were compared."
        made.append(Finding("sources", "info", message, "Fill in the column 'source'.", {"unknown": unknown}))
    return made

"""Where images come from, beside what they are called."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hilum.auditing.checks.public_sets import COVID_YEAR, Match
from hilum.auditing.findings import Finding, FindingEvidence, Severity, listed
from hilum.data.confounding import LEVEL, confounded_labels, drawn_tables, patients_by_source
from hilum.data.dataset import Dataset
from hilum.data.labels import is_covid
from hilum.data.multilabel import binary_view

STRONG = 0.5
"""Cramér's V from which sources and labels go together so much that it is a warning; 0.3 is 'medium' and 0.5 'large'
for a table of two columns in Cohen's words (1988, *Statistical Power Analysis*)."""
WEAK = 0.1
DETERMINED = 0.99  # how well sources tell a label from the rest before nothing else can be measured
MOST_SHOWN, MOST_LABELS = 20, 3
DRAWS = 199
ELSEWHERE = "no recognised set"
MEANING = "No metric on these data can separate the disease from the source."
REMEDY = (
    "Collect images of all labels from each source, or test on sources that are not in the training data. Writing all "
    "files in one format does not remove this confounding."
)


def cross_table(table: Dataset) -> tuple[tuple[str, ...], NDArray[np.int64]]:
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


def _chance(counts: NDArray[np.int64], strength: float) -> float:
    """How often tables of the same sums, drawn at random, have as large a V: a p-value of at least 1 / (B + 1)."""
    drawn = (cramers_v(table) >= strength for tables in drawn_tables(counts, DRAWS) for table in tables)
    return (1 + sum(drawn)) / (1 + DRAWS)


class SourceTable(FindingEvidence):
    """Images by source (the first of many) and label.

    Attributes:
        cramers_v: How closely patients' sources and labels go together, 0 to 1.
        labels: Every label, in the order of the counts.
        images: Of each source, the number of images with each label.
        sources: Number of sources.
        unknown: Images without a source.
        confounded_labels: Labels that the source tells.
        matched: Images by recognised set and label.
    """

    cramers_v: float
    labels: list[str]
    images: dict[str, list[int]]
    sources: int
    unknown: int
    confounded_labels: list[str] = []
    matched: dict[str, dict[str, int]] = {}


class SetsByLabel(FindingEvidence):
    """The recognised sets of each label."""

    sets: dict[str, list[str]]


class SourcesUnknown(FindingEvidence):
    """How many images have no source."""

    unknown: int


class SourcesApart(FindingEvidence):
    """Labels that come from other sets than the rest, and images by recognised set and label."""

    labels: list[str]
    matched: dict[str, dict[str, int]]


def findings(table: Dataset, matches: Sequence[Match] = ()) -> list[Finding]:
    """Say whether a label could be predicted from the source of its images: the column ``source``, and recognised sets.

    Args:
        table: A dataset, with the patients that are known.
        matches: Public sets that its images were recognised to come from; positions are those of the table's rows.

    Returns:
        ``error``: source and label determine each other, by the column (balanced accuracy of at least `DETERMINED`) or
        by the recognised sets (95 %); ``warning``: the column gives a label away (95 %), its Cramér's V is at least
        `STRONG`, or labels come from different sets; ``info``: sources are unknown (wholly or in part), or go a little
        with the label (`WEAK`). All by patients (see `hilum.data.confounding.confounded_labels`). Empty where there is
        nothing to
        say.
    """
    if table.findings:
        return _by_finding(table)
    made = []
    from_sets = confounded_labels(table, sets_of_images(matches, [row.label for row in table.rows]))
    if from_sets:
        made.append(_apart(matches, [found.label for found in from_sets]))
    mixture = [] if made else _mixture(matches)
    by_column = _by_column(table, said=bool(made or mixture))
    if made and by_column and by_column[0].severity != "info":  # the same fact: the column knows more of it
        made, by_column = [_together(by_column[0], made[0], matches), *by_column[1:]], []
    elif not made and not any(finding.severity == "error" for finding in by_column):
        made = mixture
    return [*made, *by_column]


def _by_finding(table: Dataset) -> list[Finding]:
    """Each finding as a problem of two labels: what could mislead of each, and what is good to know of sources once."""
    made: list[Finding] = []
    for name in table.findings:
        for found in findings(binary_view(table, name)):
            if found.severity != "info":
                made.append(replace(found, message=f"{name}: {found.message}"))
            elif not any(one.message == found.message for one in made):
                made.append(found)
    return made


def sets_of_images(matches: Sequence[Match], labels: Sequence[str]) -> list[str]:
    """The recognised set of each image.

    Args:
        matches: As recognised.
        labels: Of N images.

    Returns:
        N names; `ELSEWHERE` for what cannot come from any of these sets, as all of a set's images are known or as it
        is too old for the label; empty where that is not known.
    """
    found = [""] * len(labels)
    if not matches:
        return found
    whole = all(match.known.complete for match in matches)
    old = all(match.known.complete or match.known.year < COVID_YEAR for match in matches)
    foreign = {label: whole or (old and is_covid(label)) for label in set(labels)}
    found = [ELSEWHERE if foreign[label] else "" for label in labels]
    for match in matches:
        for position in match.positions:
            found[position] = match.known.name
    return found


def _apart(matches: Sequence[Match], labels: Sequence[str]) -> Finding:
    """The finding that labels come from other collections than the others, with the numbers that were recognised."""
    labels = sorted(labels, key=lambda label: not is_covid(label))  # the one that people train for leads
    told = []
    for label in labels[:MOST_LABELS]:
        own = [f"{match.labels[label]} match {match.known.name}" for match in matches]
        others = {match.known.name: match.matched - match.labels[label] for match in matches}
        total = matches[0].totals[label]
        beside = [f"{number} {name}" for name, number in others.items()]
        rest = sum(matches[0].totals.values()) - total
        told.append(
            f"of the {total} images of '{label}' {' and '.join(own)}; of the {rest} others {' and '.join(beside)}"
        )
    which = listed(labels)
    verb = "comes" if len(labels) == 1 else "come"
    everything = len(labels) == len(matches[0].totals)
    apart = "different collections" if everything else "a different collection than all other labels"
    message = f"{which} {verb} from {apart}: {'. '.join(told)}."
    if children := _ages_differ(matches):
        message += f" {children}"
    evidence = SourcesApart(labels=labels, matched=_matched(matches))
    return Finding("sources", "error", message, REMEDY, evidence, MEANING)


def _ages_differ(matches: Sequence[Match]) -> str:
    ages: defaultdict[str, list[str]] = defaultdict(list)
    for match in matches:
        for label in match.labels:
            if match.holds(label) and match.known.ages not in ages[label]:
                ages[label].append(match.known.ages)
    if len({tuple(sorted(found)) for found in ages.values() if found}) < 2:
        return ""
    told = "; ".join(f"'{label}': {' and '.join(found)}" for label, found in ages.items() if found)
    return f"The sets differ in age ({told})."


def _mixture(matches: Sequence[Match]) -> list[Finding]:
    """Warn where labels come from different sets though none comes from one of its own."""
    held = {
        label: [match for match in matches if match.holds(label)] for label in (matches[0].labels if matches else ())
    }
    held = {label: found for label, found in held.items() if found}
    if len({tuple(match.known.key for match in found) for found in held.values()}) < 2:
        return []
    told = "; ".join(
        f"'{label}': "
        + " and ".join(f"{match.labels[label]} of {match.totals[label]} match {match.known.name}" for match in found)
        for label, found in held.items()
    )
    message = f"Labels come from different sets. {told}. {_ages_differ(matches)}".strip()
    evidence = SetsByLabel(sets={label: [match.known.name for match in found] for label, found in held.items()})
    remedy = "Take all labels from one set, or every label from each; test on a set that is not in the training data."
    meaning = "A model can recognise the set instead of the disease."
    return [Finding("sources", "warning", message, remedy, evidence, meaning)]


def _matched(matches: Sequence[Match]) -> dict[str, dict[str, int]]:
    return {match.known.name: dict(match.labels) for match in matches}


def _together(by_column: Finding, by_sets: Finding, matches: Sequence[Match]) -> Finding:
    """The column's finding, with what the images themselves say."""
    return replace(
        by_column,
        severity="error",
        message=f"{by_column.message} The comparison with public sets confirms this.",
        evidence=by_column.evidence.model_copy(update={"matched": _matched(matches)}),
        meaning=by_sets.meaning,
        remedy=by_sets.remedy,
    )


def _by_column(table: Dataset, *, said: bool) -> list[Finding]:
    """What the column ``source`` says; that it is missing only where nothing else was `said` of sources."""
    names, counts = cross_table(table)
    unknown = sum(not row.source for row in table.rows)
    if not names:
        if said:
            return []
        if "source" in table.columns:
            what, remedy = "The column 'source' is empty", "Fill in the column 'source'"
        else:
            what = "The table has no column 'source'" if table.columns else "No table states where images come from"
            remedy = "Add a column 'source' to the table" if table.columns else "List the images in a table with one"
        return [
            Finding(
                "sources",
                "info",
                f"{what}: confounding of label and hospital cannot be checked.",
                f"{remedy}: the hospital or collection of each image.",
            )
        ]
    patients = patients_by_source(table)
    strength = cramers_v(patients)
    evidence = SourceTable(
        cramers_v=round(strength, 4),
        labels=list(table.labels),
        images={name: row.tolist() for name, row in list(zip(names, counts, strict=True))[:MOST_SHOWN]},
        sources=len(names),
        unknown=unknown,
    )
    made = []
    told = sorted(confounded_labels(table), key=lambda found: (found.told < DETERMINED, not is_covid(found.label)))
    if told:
        determined = [found.label for found in told if found.told >= DETERMINED]
        message = "; ".join(found.sentence for found in told[:MOST_LABELS])
        message += f"; and so for {len(told) - MOST_LABELS} more labels." if len(told) > MOST_LABELS else "."
        if determined:
            message = f"Source and label determine each other ({listed(determined)}): {message}"
        evidence = evidence.model_copy(update={"confounded_labels": [found.label for found in told]})
        made.append(Finding("sources", "error" if determined else "warning", message, REMEDY, evidence, MEANING))
    elif strength >= WEAK and _chance(patients, strength) <= LEVEL:
        severity: Severity = "warning" if strength >= STRONG else "info"
        how = "strongly" if strength >= STRONG else "somewhat"
        message = (
            f"Sources and labels are {how} associated (Cramér's V {strength:.2f}, from 0, none, to 1): the source "
            "of an image predicts its label."
        )
        made.append(Finding("sources", severity, message, REMEDY, evidence))
    if unknown:
        message = f"{unknown} of {len(table)} images have no source: they were excluded from the comparison of sources."
        made.append(
            Finding("sources", "info", message, "Fill in the column 'source'.", SourcesUnknown(unknown=unknown))
        )
    return made

"""Where images come from, beside what they are called: labels that nothing can tell from their source."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from hilum.data.table import Table

TOLD = 0.95  # how well a source may tell a label from the rest before it is a warning


@dataclass(frozen=True, slots=True)
class GivenAway:
    """A label that the source gives away.

    Attributes:
        label: Which.
        sources: Those whose images mostly have it.
        told: How well they tell it from the rest: balanced accuracy, `TOLD` to 1.
        sentence: The same in words.
    """

    label: str
    sources: tuple[str, ...]
    told: float
    sentence: str


def confounding(table: Table) -> list[str]:
    """Warn of labels that the source gives away: one sentence each, as `given_away` finds them."""
    return [f"WARNING: {found.sentence}" for found in given_away(table)]


def given_away(table: Table) -> list[GivenAway]:
    """Find labels that the source gives away.

    If a label comes from one hospital and the others from elsewhere, a classifier that recognises the hospital looks
    perfect (Maguolo and Nanni 2021, *Information Fusion*; DeGrave et al. 2021, *Nature Machine Intelligence*). No
    measure on such data can tell one from the other. Here each source calls its images what most of them are; a label
    is given away if that finds it, and clears the others, in 95 % of images on average (balanced accuracy).

    Args:
        table: With the column ``source``; rows that lack it are passed over.

    Returns:
        In the order of the labels; empty where sources are unknown or there is only one.
    """
    images: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in table.rows:
        if row.source:
            images[row.source][row.label] += 1
    if len(images) < 2:
        return []
    totals = sum(images.values(), Counter[str]())
    found = []
    for label in table.labels:
        own = {source for source, labels in images.items() if 2 * labels[label] > labels.total()}
        others = totals.total() - totals[label]
        if not own or not others:
            continue
        here = sum(images[source][label] for source in own)
        foreign = sum(images[source].total() for source in own) - here
        told = (here / totals[label] + 1 - foreign / others) / 2
        if told < TOLD:
            continue
        known = totals[label] == sum(row.label == label for row in table.rows)
        which = "" if known else " whose source is known"
        names = ", ".join(sorted(own))
        sentence = (
            f"{here} of {totals[label]} images of '{label}'{which} come from {names}, and {foreign} of {others} others "
            "do: results on these data may show that source rather than the disease"
        )
        found.append(GivenAway(label, tuple(sorted(own)), told, sentence))
    return found

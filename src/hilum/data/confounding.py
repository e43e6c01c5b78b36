"""Where images come from, beside what they are called: labels that nothing can tell from their source."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hilum.data.dataset import Dataset, owner
from hilum.data.labels import order_labels

TOLD = 0.95  # how well a source may tell a label from the rest before it is a warning
FEWEST = 5  # patients of a label, and of the rest, below which a source proves nothing: they are from somewhere
LEVEL = 0.01
DRAWS = 999
MOST_CELLS, MOST_AT_ONCE = 20_000_000, 1_000_000  # of drawn tables together
SHOWN = 3


@dataclass(frozen=True, slots=True)
class GivenAway:
    """A label that the source gives away.

    Attributes:
        label: Which.
        sources: Those whose patients mostly have it.
        told: How well they tell it from the rest: balanced accuracy, `TOLD` to 1.
        p_value: Of that by chance, corrected for all labels.
        sentence: The same in words.
    """

    label: str
    sources: tuple[str, ...]
    told: float
    p_value: float
    sentence: str


def confounded_labels(table: Dataset, sources: Sequence[str] | None = None) -> list[GivenAway]:
    """Find labels that the source gives away, judged by patients.

    If a label comes from one hospital and the others from elsewhere, a classifier that recognises the hospital looks
    perfect (Maguolo and Nanni 2021, *Information Fusion*; DeGrave et al. 2021, *Nature Machine Intelligence*). No
    measure on such data can tell one from the other. Here each source calls its patients what most of them have; a
    label is confounded with its source if that finds it, and clears the others, in 95 % on average (balanced
    accuracy), and if chance seldom does as well: of tables with the same sums, drawn at random (Patefield 1981), at
    most 1 in 100 gives any label away so well. So a source of one patient proves nothing. Labels of fewer than
    `FEWEST` patients are not judged, nor are the others where they have fewer.

    Args:
        table: Rows without a source are passed over; an image of an unknown patient counts as a patient.
        sources: Another source of each row than the column ``source``; empty where it is not known.

    Returns:
        In the order of the labels; empty where sources are unknown or there is only one.
    """
    known = [row.source for row in table.rows] if sources is None else sources
    if len({*known} - {""}) < 2:
        return []
    labels, names, counts, unknown, named = _by_patient(table, known)
    if 2 * len(names) > counts.sum():  # every patient a source: these are identifiers
        return []
    own, told = _told(counts[None])
    sizes = counts.sum(axis=0)
    judged = (sizes >= FEWEST) & (sizes.sum() - sizes >= FEWEST)
    suspect = np.flatnonzero(judged & (told[0] >= TOLD))
    if not len(suspect):
        return []
    chance = _drawn(counts, judged)
    unit = "patients" if named else "images"
    found = []
    for k in map(int, suspect):
        p_value = float((1 + (chance >= told[0, k] - 1e-12).sum()) / (1 + len(chance)))
        if p_value > LEVEL:
            continue
        here = int(counts[own[0, :, k], k].sum())
        foreign = int(counts[own[0, :, k]].sum()) - here
        mine = tuple(names[i] for i in np.flatnonzero(own[0, :, k]))
        more = f" and {len(mine) - SHOWN} more sources" if len(mine) > SHOWN else ""
        which = " whose source is known" if labels[k] in unknown else ""
        whence = f"{', '.join(mine[:SHOWN])}{more}"
        sentence = (
            f"{here} of {sizes[k]} {unit} with '{labels[k]}'{which} come from {whence}, and {foreign} of "
            f"{sizes.sum() - sizes[k]} others do"
        )
        found.append(GivenAway(labels[k], mine, float(told[0, k]), p_value, sentence))
    return found


def patients_by_source(table: Dataset) -> NDArray[np.int64]:
    """Patients whose source is known by source and label, of shape (S, K); as `confounded_labels` counts them."""
    return _by_patient(table, [row.source for row in table.rows])[2]


def _by_patient(
    table: Dataset, sources: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...], NDArray[np.int64], set[str], bool]:
    """Labels (K), sources (S), and patients by both, shape (S, K): each once a label, at the source of most images.

    Also the labels of images without a source, and whether any patient is known.
    """
    images: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    found, unknown, named = set(), set(), False
    for row, source in zip(table.rows, sources, strict=True):
        found.add(row.label)
        named = named or bool(row.patient_id)
        if source:
            images[owner(row.patient_id, row.path), row.label][source] += 1
        else:
            unknown.add(row.label)
    patients = Counter((of.most_common(1)[0][0], label) for (_, label), of in images.items())
    labels, names = order_labels(found), tuple(sorted({source for source, _ in patients}))
    counts = np.zeros((len(names), len(labels)), np.int64)
    place, column = ({name: i for i, name in enumerate(of)} for of in (names, labels))
    for (source, label), number in patients.items():
        counts[place[source], column[label]] = number
    return labels, names, counts, unknown, named


def _told(counts: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Of tables (B, S, K): which sources are a label's own, (B, S, K), and how well they tell it, (B, K)."""
    by_source, by_label = counts.sum(axis=2, keepdims=True), counts.sum(axis=1)
    own = 2 * counts > by_source
    here = np.where(own, counts, 0).sum(axis=1)
    foreign = np.where(own, by_source, 0).sum(axis=1) - here
    others = by_label.sum(axis=1, keepdims=True) - by_label
    told = (here / np.maximum(by_label, 1) + 1 - foreign / np.maximum(others, 1)) / 2
    return own, np.where((here > 0) & (others > 0), told, 0.0)


def drawn_tables(counts: NDArray[np.int64], draws: int) -> Iterator[NDArray[np.int64]]:
    """Tables with the sums of another one, drawn at random (Patefield 1981), always the same ones.

    Args:
        counts: Dataset of shape (S, K).
        draws: Number of tables.

    Yields:
        Some of the tables at a time, of shape (B, S, K).
    """
    from scipy.stats import random_table

    drawing = random_table(counts.sum(axis=1), counts.sum(axis=0), seed=0)
    at_once = int(np.clip(MOST_AT_ONCE // counts.size, 1, draws))
    for begun in range(0, draws, at_once):
        part = min(at_once, draws - begun)
        yield drawing.rvs(size=part).astype(np.int64).reshape(part, *counts.shape)


def _drawn(counts: NDArray[np.int64], judged: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The best that sources tell any judged label in each of B tables of the same sums, drawn at random, shape (B,)."""
    draws = int(np.clip(MOST_CELLS // counts.size, 199, DRAWS))
    return np.concatenate([_told(tables)[1][:, judged].max(axis=1) for tables in drawn_tables(counts, draws)])

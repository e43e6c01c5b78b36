"""Held-out parts of a dataset with several findings an image, by iterative stratification.

Sechidis, Tsoumakas and Vlahavas 2011, "On the Stratification of Multi-Label Data", *ECML PKDD*: the finding with the
fewest patients is dealt first, each of its patients to the part that lacks it most. Whole groups are dealt here,
patients and their duplicates, and a finding counts twice: as present and as absent. What a part lacks is counted as a
share of what it is to have, not as a number: with few patients the largest part would get them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.data.dataset import Dataset
from hilum.data.multilabel import finding_values
from hilum.text import printable

Counts = NDArray[np.float64]


def deal_groups(marks: NDArray[np.bool_], parts: int, fraction: float, seed: int) -> NDArray[np.int64]:
    """Deal groups to parts, so that each part has its share of every mark.

    Args:
        marks: Of shape (G, M): which marks each of G groups bears.
        parts: Number of parts that are held out.
        fraction: Share of the groups of every mark that each of them receives, at least one group where there are more
            groups than parts. The rest stays.
        seed: Random seed.

    Returns:
        Of shape (G,): the part of each group, from 0; `parts` for what stays.
    """
    generator = np.random.default_rng(seed)
    wanted = np.stack([_shares(int(count), parts, fraction) for count in marks.sum(axis=0)], axis=1)
    room = _shares(len(marks), parts, fraction)
    planned, space = np.maximum(wanted, 1), np.maximum(room, 1)
    part = np.full(len(marks), -1, np.int64)
    order = generator.permutation(len(marks))
    while True:
        free = order[part[order] < 0]
        left = marks[free].sum(axis=0)
        if not left.any():
            break
        mark = int(np.argmin(np.where(left > 0, left, np.iinfo(np.int64).max)))
        for group in free[marks[free, mark]]:
            part[group] = _neediest(wanted[:, mark] / planned[:, mark], room / space)
            wanted[part[group], marks[group]] -= 1
            room[part[group]] -= 1
    for group in free:  # of these nothing is known
        part[group] = int(np.argmax(room / space))
        room[part[group]] -= 1
    return part


def _shares(count: int, parts: int, fraction: float) -> Counts:
    """How many of a number of groups each part is to have; what stays has at least one."""
    each = min(max(1, round(fraction * count)), max(0, count - 1) // parts)
    return np.array([each] * parts + [count - parts * each], np.float64)


def _neediest(wanted: Counts, room: Counts) -> int:
    """The part that lacks the largest share of a mark; of several the one that lacks the largest share of groups."""
    return max(range(len(wanted)), key=lambda part: (wanted[part], room[part]))


def marks_of_groups(
    values: NDArray[np.floating[Any]], member: NDArray[np.integer[Any]], groups: int
) -> NDArray[np.bool_]:
    """Which findings are present, and which absent, in some image of each group.

    Args:
        values: Of N images and F findings, as `hilum.data.multilabel.finding_values` gives them.
        member: The group of each image, shape (N,), from 0.
        groups: How many, G.

    Returns:
        Of shape (G, 2 F): first whether each finding is present, then whether it is absent.
    """
    marks = np.zeros((groups, 2 * values.shape[1]), bool)
    np.logical_or.at(marks, member, np.hstack([values == 1, values == 0]))
    return marks


def hold_out_groups(
    table: Dataset, pool: Sequence[int], groups: Sequence[int], roles: Sequence[str], fraction: float, seed: int
) -> Mapping[int, str]:
    """Deal the groups of some rows of a dataset with findings to held-out parts.

    Args:
        table: N rows with findings.
        pool: The positions of the rows that are dealt.
        groups: One number for each of the N rows, equal where two must stay together.
        roles: What the held-out parts are called.
        fraction: Share that each receives.
        seed: Random seed.

    Returns:
        The role of each group that is held out; the others stay.
    """
    values = finding_values(table)[list(pool)]
    numbers, member = np.unique([groups[i] for i in pool], return_inverse=True)
    marks = marks_of_groups(values, member, len(numbers))
    part = deal_groups(marks, len(roles), fraction, seed)
    return {int(group): roles[place] for group, place in zip(numbers, part, strict=True) if place < len(roles)}


def one_sided(table: Dataset, splits: Sequence[str]) -> dict[str, dict[str, str]]:
    """The findings that are nowhere present, or nowhere absent, in a split that has images.

    Args:
        table: N rows with findings.
        splits: The split of each.

    Returns:
        By split and finding ``present`` or ``absent``, whichever is missing; ``known`` where both are.
    """
    values, names = finding_values(table), np.asarray(splits)
    found: dict[str, dict[str, str]] = {}
    for split in dict.fromkeys(splits):
        inside: NDArray[np.floating[Any]] = values[names == split]
        present, absent = (inside == 1).any(axis=0), (inside == 0).any(axis=0)
        missing = {
            name: "known" if not (up or down) else "absent" if up else "present"
            for name, up, down in zip(table.findings, present, absent, strict=True)
            if not (up and down)
        }
        if missing:
            found[split] = missing
    return found


def one_sided_notes(table: Dataset, splits: Sequence[str], roles: Sequence[str]) -> list[str]:
    """What `one_sided` finds, in one line for each split and kind.

    Args:
        table: N rows with findings.
        splits: The split of each.
        roles: The splits that are looked at.
    """
    notes = []
    for role, missing in one_sided(table, splits).items():
        for what in ("present", "absent", "known"):
            names = [name for name, lacking in missing.items() if lacking == what]
            if names and role in roles:
                notes.append(f"{role} has no image on which {' or '.join(map(printable, names))} is {what}")
    return notes

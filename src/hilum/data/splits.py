"""Who is trained on, who chooses, who calibrates, and who tests.

What a dataset does not bring is carved from its ``train``, by patient and stratified by label, so that nobody
is on two sides and the test images choose nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from sklearn.model_selection import StratifiedGroupKFold

from hilum.data.table import Table
from hilum.errors import SplitError

ROLES = ("test", "val", "calibration")  # in the order in which they are carved
UNUSED = "unused"


class SplitPlan(BaseModel):
    """Where each part comes from.

    Each of the roles is ``auto`` (the dataset's own, if it is there and large enough to serve; otherwise carved),
    ``carve``, ``none``, or the name of one of the dataset's splits.

    Attributes:
        val: Chooses the epoch and the recipe.
        calibration: Seen only by temperature and certificate.
        test: Chooses nothing.
        fraction: Share of ``train`` that each carved part receives.
        smallest_val: With fewer patients of some label than this, a dataset's own ``val`` is not used by
            ``auto``: too few to choose by.
        seed: Of the carving.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    val: str = "auto"
    calibration: str = "auto"
    test: str = "auto"
    fraction: float = Field(default=0.1, gt=0, lt=0.5)
    smallest_val: int = Field(default=20, ge=1)
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class Splits:
    """The split of every row (``unused`` for what serves nothing), and how it came about in plain words."""

    names: tuple[str, ...]
    notes: tuple[str, ...]


def assign_splits(table: Table, plan: SplitPlan) -> Splits:
    """Give every image its split.

    Raises:
        SplitError: The plan names a split that is not there, a label has too few patients to be divided, or a
            label of another split does not occur in ``train``.
    """
    given = [row.split for row in table.rows]
    notes: list[str] = []
    names = [UNUSED] * len(table)
    has_splits = bool(table.splits)
    if has_splits and "train" not in table.splits:
        msg = f"{table.root}: splits {', '.join(table.splits)}, but no 'train'. Name the training part 'train'."
        raise SplitError(msg)
    for i, split in enumerate(given):
        if split == "train" or not has_splits:
            names[i] = "train"
    carved = []
    for role in ROLES:
        wanted = getattr(plan, role)
        source = _given_split(table, role, wanted, plan, notes)
        if source:
            for i, split in enumerate(given):
                if split == source:
                    names[i] = role
        elif wanted != "none":
            carved.append(role)
    _carve(table, plan, names, carved)
    if carved:
        unit = "patient" if table.patients_known else "image, since patients are unknown (optimistic)"
        notes.append(f"carved {plan.fraction:.0%} of train for each of {', '.join(carved)}, by {unit}")
    left = Counter(given[i] for i, name in enumerate(names) if name == UNUSED)
    notes += [f"the dataset's own '{split}' ({count} images) is not used" for split, count in left.items()]
    notes += _check(table, names)
    return Splits(tuple(names), tuple(notes))


def _given_split(table: Table, role: str, wanted: str, plan: SplitPlan, notes: list[str]) -> str | None:
    """The dataset's split that plays this role, if one does."""
    if wanted in ("carve", "none"):
        return None
    if wanted != "auto":
        if wanted not in table.splits:
            there = ", ".join(table.splits) or "none"
            msg = f"{table.root}: the recipe takes {role} from split '{wanted}'; the dataset's splits: {there}."
            raise SplitError(msg)
        return wanted
    if role not in table.splits:
        return None
    if role == "val":
        patients = defaultdict(set)
        for row, patient in zip(table.rows, table.patients(), strict=True):
            if row.split == "val":
                patients[row.label].add(patient)
        fewest = min(table.labels, key=lambda label: len(patients[label]))
        if len(patients[fewest]) < plan.smallest_val:
            notes.append(
                f"the dataset's own val has {len(patients[fewest])} patients of '{fewest}': too few to choose by "
                f"(splits.smallest_val = {plan.smallest_val})"
            )
            return None
    return role


def _carve(table: Table, plan: SplitPlan, names: list[str], roles: list[str]) -> None:
    """Move whole patients from train into the roles; `names` is changed in place."""
    if not roles:
        return
    pool = np.array([i for i, name in enumerate(names) if name == "train"])
    labels = np.array([table.rows[i].label for i in pool])
    everyone = table.patients()
    groups = np.array([everyone[i] for i in pool])
    for label in sorted(set(labels)):
        patients = len(set(groups[labels == label]))
        if patients <= len(roles):
            msg = (
                f"{table.root}: '{label}' has {patients} patient{'s' if patients != 1 else ''} in train; "
                f"to carve {', '.join(roles)} from them takes at least {len(roles) + 1}. "
                'Add images, bring these splits, or switch a part off (splits.calibration = "none").'
            )
            raise SplitError(msg)
    remaining = np.arange(len(pool))
    for number, role in enumerate(roles):
        share = plan.fraction / (1 - number * plan.fraction)  # of what is left
        scarcest = min(len(set(groups[remaining][labels[remaining] == label])) for label in set(labels))
        folds = max(2, min(round(1 / share), scarcest))
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=plan.seed + number)
        keep, take = next(splitter.split(remaining, labels[remaining], groups[remaining]))
        for i in pool[remaining[take]]:
            names[i] = role
        remaining = remaining[keep]


def _check(table: Table, names: list[str]) -> list[str]:
    """Labels that cannot be learnt are an error; what merely weakens a conclusion is a note."""
    labels = defaultdict(set)
    sides = defaultdict(set)
    for row, name, patient in zip(table.rows, names, table.patients(), strict=True):
        labels[name].add(row.label)
        sides[patient].add(name)
    for role in ROLES:
        unknown = sorted(labels[role] - labels["train"])
        if unknown:
            count = sum(name == role and row.label == unknown[0] for row, name in zip(table.rows, names, strict=True))
            known = ", ".join(sorted(labels["train"]))
            msg = (
                f"{table.root}: {count} images in {role} have the label '{unknown[0]}', which train does not have "
                f"(train: {known}). Rename the label, or add such images to train."
            )
            raise SplitError(msg)
    notes = [
        f"{role} has no image of {', '.join(sorted(labels['train'] - labels[role]))}"
        for role in ROLES
        if labels[role] and labels["train"] - labels[role]
    ]
    shared = sum(len(names_of - {UNUSED}) > 1 for patient, names_of in sides.items())
    if shared:
        notes.append(f"WARNING: {shared} patients are on more than one side of the splits: results are optimistic")
    return notes

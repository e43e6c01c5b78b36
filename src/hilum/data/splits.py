"""Who is trained on, who chooses, who calibrates, and who tests.

What a dataset does not bring is carved from its ``train``, by patient and by identical content, label by label,
so that nobody is on two sides and the test images choose nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hilum.data.patients import in_words
from hilum.data.table import Table
from hilum.errors import SplitError

ROLES = ("test", "val", "calibration")  # in the order in which they are carved
UNUSED = "unused"
GROUP_COLUMN = "duplicate_group"  # in a table: what belongs together beyond patients, as the audit found it


class SplitPlan(BaseModel):
    """Where each part comes from.

    Each of the roles is ``auto`` (the dataset's own, if it is there and large enough to serve; otherwise carved),
    ``carve``, ``none``, or the name of one of the dataset's splits.

    Attributes:
        val: Chooses the epoch and the recipe.
        calibration: Seen only by temperature and certificate.
        test: Chooses nothing.
        fraction: Share of the patients of ``train`` that each carved part receives, label by label.
        smallest_val: With fewer patients of some label than this, a dataset's own ``val`` is not used by
            ``auto``: too few to choose by.
        seed: Of the carving.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    val: str = "auto"
    calibration: str = "auto"
    test: str = "auto"
    fraction: float = Field(default=0.1, gt=0, le=0.3)
    smallest_val: int = Field(default=20, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**31)


@dataclass(frozen=True)
class Splits:
    """The split of every row (``unused`` for what serves nothing), and how it came about in plain words."""

    names: tuple[str, ...]
    notes: tuple[str, ...]


def assign_splits(table: Table, plan: SplitPlan, alike: Sequence[int] | None = None) -> Splits:
    """Give every image its split.

    Args:
        table: N rows.
        plan: Where each part comes from.
        alike: A number a row, equal where pixels are, if that is known.

    Raises:
        SplitError: The plan names a split that is not there or takes one twice, a label has too few patients to
            be divided, or a label of another split does not occur in ``train``.
    """
    given = [row.split for row in table.rows]
    notes: list[str] = []
    has_splits = bool(table.splits)
    if has_splits and "train" not in table.splits:
        msg = f"{table.root}: splits {', '.join(table.splits)}, but no 'train'. Name the training part 'train'."
        raise SplitError(msg)
    source_of = {role: _source(table, role, plan, notes) for role in ROLES}
    taken = [source for source in source_of.values() if source]
    for source in taken:
        if taken.count(source) > 1 or source == "train":
            roles = " and as ".join(role for role in ROLES if source_of[role] == source)
            msg = f"{table.root}: '{source}' would serve as {roles}. Give one of them another split, or none or carve."
            raise SplitError(msg if source != "train" else msg.replace("serve as", "serve as train and as"))
    role_of = {source: role for role, source in source_of.items() if source} | {"train": "train"}
    names = [role_of.get(split, UNUSED) if has_splits else "train" for split in given]

    groups = independent_groups(table, alike)
    carved = [role for role in ROLES if not source_of[role] and getattr(plan, role) != "none"]
    if carved:
        _carve(table, plan, names, carved, groups)
        shares = ", ".join(f"{role} {names.count(role)} images" for role in carved)
        unit = "patient" if table.patients_known else f"image ({in_words(0, len(table))}: optimistic)"
        if 0 < table.with_patient < len(table):
            unit = f"patient ({in_words(table.with_patient, len(table))}: optimistic)"
        notes.append(f"carved from train, {plan.fraction:.0%} of every label, by {unit}: {shares}")
    left = Counter(given[i] for i, name in enumerate(names) if name == UNUSED)
    notes += [
        f"the dataset's own '{split}' ({count} images) is not used"
        if split
        else f"{count} images without a split are not used"
        for split, count in left.items()
    ]
    notes += _check(table, names, alike)
    return Splits(tuple(names), tuple(notes))


def independent_groups(table: Table, alike: Sequence[int] | None = None) -> list[int]:
    """One number a row, equal where two images must not be on two sides: one patient, or copies of one picture.

    Copies are the same bytes, by the column ``sha256`` where it is filled, the same pixels, where `alike` says so, and
    what the column ``duplicate_group`` says, which ``hilum audit --fix`` writes.

    Args:
        table: N rows.
        alike: A number a row, equal where pixels are (`hilum.data.cache.Images.alike`), if that is known.
    """
    first: dict[str, int] = {}
    same_patient = [first.setdefault(patient, i) for i, patient in enumerate(table.patients())]
    same_bytes = [first.setdefault(f"sha256:{row.sha256 or i}", i) for i, row in enumerate(table.rows)]
    groups = [row.extra.get(GROUP_COLUMN) for row in table.rows]
    same_group = [first.setdefault(f"group:{name}" if name else f"row:{i}", i) for i, name in enumerate(groups)]
    same_pixels = list(range(len(table)) if alike is None else alike)
    a, b = np.array(same_patient + same_bytes + same_group + same_pixels), np.tile(np.arange(len(table)), 4)
    graph = coo_array((np.ones(len(a)), (a, b)), shape=(len(table), len(table)))
    _, group = connected_components(graph, directed=False)
    return [int(number) for number in group]


def _source(table: Table, role: str, plan: SplitPlan, notes: list[str]) -> str | None:
    """The dataset's split that plays this role, if one does."""
    wanted: str = getattr(plan, role)
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


def _carve(table: Table, plan: SplitPlan, names: list[str], roles: Sequence[str], groups: Sequence[int]) -> None:
    """Move whole groups from train into the roles, label by label; `names` is changed in place.

    A group with several labels is dealt with its rarest one, which can least do without it.
    """
    pool = [i for i, name in enumerate(names) if name == "train"]
    labels = [row.label for row in table.rows]
    frequency = Counter(labels[i] for i in pool)
    label_of: dict[int, str] = {}
    for i in pool:
        label = labels[i]
        label_of[groups[i]] = min(label_of.get(groups[i], label), label, key=lambda name: (frequency[name], name))
    holders = Counter(label for label, _ in {(labels[i], groups[i]) for i in pool})
    role_of: dict[int, str] = {}
    for label in sorted(frequency):
        if holders[label] <= len(roles):
            msg = (
                f"{table.root}: '{label}' has {holders[label]} patient{'s' if holders[label] != 1 else ''} in train; "
                f"to carve {', '.join(roles)} from them takes at least {len(roles) + 1}. "
                'Add images, bring these splits, or switch a part off (splits.calibration = "none").'
            )
            raise SplitError(msg)
        members = sorted(group for group, name in label_of.items() if name == label)
        generator = np.random.default_rng([plan.seed, *label.encode(errors="surrogateescape")])
        shuffled = [members[i] for i in generator.permutation(len(members))]
        each = min(max(1, round(plan.fraction * len(members))), max(0, len(members) - 1) // len(roles))
        for number, role in enumerate(roles):
            role_of |= dict.fromkeys(shuffled[number * each : (number + 1) * each], role)
    for i in pool:
        names[i] = role_of.get(groups[i], "train")


def _check(table: Table, names: Sequence[str], alike: Sequence[int] | None) -> list[str]:
    """Labels that cannot be learnt are an error; what merely weakens a conclusion is a note."""
    labels = defaultdict(set)
    patients, contents = defaultdict(set), defaultdict(set)
    content = [row.sha256 for row in table.rows] if alike is None else [f"pixels:{number}" for number in alike]
    for row, name, same in zip(table.rows, names, content, strict=True):
        labels[name].add(row.label)
        if name != UNUSED:
            patients[row.patient_id].add(name)
            contents[same].add(name)
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
    for what, sides in (("patients", patients), ("identical images", contents)):
        shared = sum(len(names_of) > 1 for key, names_of in sides.items() if key)
        if shared:
            notes.append(f"WARNING: {shared} {what} are on more than one side of the splits: results are optimistic")
    return notes

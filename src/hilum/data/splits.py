"""Who is trained on, who chooses, who calibrates, and who tests.

What a dataset does not bring is held out from its ``train``, by patient and by picture, label by label, so that nobody
is on two sides and the test images choose nothing.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hilum.data.dataset import Dataset, Row
from hilum.data.multilabel import NO_FINDING
from hilum.data.patients import in_words
from hilum.data.stratification import hold_out_groups, one_sided_notes
from hilum.errors import SplitError
from hilum.text import printable

Ints = NDArray[np.integer[Any]]
ROLES = ("test", "val", "calibration")  # in the order in which they are held out
UNUSED = "unused"
GROUP_COLUMN = "duplicate_group"  # in a table: what belongs together beyond patients, as the audit found it
NAMED = 3  # examples in a sentence


class SplitPlan(BaseModel):
    """Where each part comes from.

    Each role is ``auto`` (the dataset's own, if it is there and large enough; otherwise held out), ``hold_out``,
    ``none``, or the name of one of the dataset's splits.

    Attributes:
        val: Source of the validation split, which selects the checkpoint and the recipe: ``auto``, ``hold_out``,
            ``none``, or one of the dataset's splits.
        calibration: Source of the calibration split, which only the temperature and the certificate see; as `val`.
        test: Source of the test split, which selects nothing; as `val`.
        fraction: Share of the patients of ``train`` that each held out part receives, label by label.
        min_val_patients: Minimum number of patients of each label; with fewer, ``auto`` does not use a dataset's own
            ``val``.
        seed: Random seed of the splits.
        duplicates: Images that stay in one split. ``near``: copies of one radiograph, also cropped, resized,
            recompressed, mirrored or otherwise changed. ``identical``: equal pixels only.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    val: str = "auto"
    calibration: str = "auto"
    test: str = "auto"
    fraction: float = Field(default=0.1, gt=0, le=0.3)
    min_val_patients: int = Field(default=20, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**31)
    duplicates: Literal["near", "identical"] = "near"


@dataclass(frozen=True)
class Splits:
    """The split of every row (``unused`` for what serves nothing), and how it came about in plain words."""

    names: tuple[str, ...]
    notes: tuple[str, ...]


def assign_splits(table: Dataset, plan: SplitPlan, duplicates: Sequence[int] | None = None) -> Splits:
    """Give every image its split.

    Args:
        table: N rows.
        plan: Where each part comes from.
        duplicates: One number a row, equal for duplicates, if they are known
            (`hilum.auditing.near_duplicates.groups.find_groups`).

    Raises:
        SplitError: The plan names a split that is not there or takes one twice, a label has too few patients to
            be divided, or a label of another split does not occur in ``train``.
    """
    given = [row.split for row in table.rows]
    notes: list[str] = []
    has_splits = bool(table.splits)
    if has_splits and "train" not in table.splits:
        msg = f"{table.root}: splits {', '.join(table.splits)}, but no 'train'. Name the training part 'train'."
        raise SplitError(msg, code="no-train", path=table.root)
    source_of = {role: _source(table, role, plan, notes) for role in ROLES}
    taken = [source for source in source_of.values() if source]
    for source in taken:
        if taken.count(source) > 1 or source == "train":
            own = ["train"] if source == "train" else []
            roles = " and as ".join([*own, *(role for role in ROLES if source_of[role] == source)])
            remedy = "Give one of them another split, `none` or `hold_out`"
            msg = f"{table.root}: '{source}' would be used as {roles}. {remedy}."
            raise SplitError(msg, code="one-split-twice", path=table.root)
    role_of = {source: role for role, source in source_of.items() if source} | {"train": "train"}
    names = [role_of.get(split, UNUSED) if has_splits else "train" for split in given]

    groups = independent_groups(table, duplicates)
    held_out = [role for role in ROLES if not source_of[role] and getattr(plan, role) != "none"]
    if held_out:
        _hold_out(table, plan, names, held_out, groups)
        shares = ", ".join(f"{role} {names.count(role)} images" for role in held_out)
        unit = "patient" if table.patients_known else f"image ({in_words(0, len(table))}: optimistic)"
        if 0 < table.with_patient < len(table):
            unit = f"patient ({in_words(table.with_patient, len(table))}: optimistic)"
        what = "finding" if table.findings else "label"
        notes.append(f"held out from train, {plan.fraction:.0%} of every {what}, by {unit}: {shares}")
    left = Counter(given[i] for i, name in enumerate(names) if name == UNUSED)
    notes += [
        f"the dataset's own '{split}' ({count} images) is not used"
        if split
        else f"{count} images without a split are not used"
        for split, count in left.items()
    ]
    notes += _check(table, names)
    return Splits(tuple(names), tuple(notes))


def independent_groups(table: Dataset, duplicates: Sequence[int] | None = None) -> list[int]:
    """One number a row, equal where two images must not be on two sides: one patient, or one picture.

    Args:
        table: N rows.
        duplicates: As for `pictures`.
    """
    numbers: list[int] = _joined(_first(table.patients()), _first(pictures(table, duplicates).tolist())).tolist()
    return numbers


def pictures(table: Dataset, duplicates: Sequence[int] | None = None) -> Ints:
    """One number a row, equal where two images are the same picture.

    These have the same bytes, by the column ``sha256`` where it is filled, the same ``duplicate_group``, a column which
    ``hilum audit --clean`` writes, or the same number in `duplicates`.

    Args:
        table: N rows.
        duplicates: One number a row, equal for duplicates (`hilum.auditing.near_duplicates.groups.find_groups`), if
            they are known.
    """
    same_bytes: dict[str, int] = {}
    same_group: dict[str, int] = {}
    firsts = np.tile(np.arange(len(table)), (2, 1))  # without a digest, or group: of its own
    for i, row in enumerate(table.rows):
        if row.sha256:
            firsts[0, i] = same_bytes.setdefault(row.sha256, i)
        if group := row.extra.get(GROUP_COLUMN):
            firsts[1, i] = same_group.setdefault(group, i)
    return _joined(*firsts, *([] if duplicates is None else [_first(duplicates)]))


def _first(values: Iterable[str | int]) -> Ints:
    """For each value, the number of the first that is equal."""
    first: dict[str | int, int] = {}
    return np.fromiter((first.setdefault(value, i) for i, value in enumerate(values)), np.intp)


def _joined(*firsts: Ints) -> Ints:
    """One number a row, equal for all that any of several divisions of N rows, by `_first`, holds together."""
    count = len(firsts[0])
    return components(count, np.concatenate(firsts), np.tile(np.arange(count), len(firsts)))


def components(count: int, first: Sequence[int] | Ints, second: Sequence[int] | Ints) -> Ints:
    """Connected components of a graph, numbered from 0 in the order of their first members.

    Args:
        count: Number of nodes.
        first: One end of each of P edges, from 0 to below `count`.
        second: The other end, P numbers.

    Returns:
        The component of each node, `count` numbers.
    """
    graph = coo_array((np.ones(len(first), np.bool_), (first, second)), shape=(count, count))
    numbers: Ints = connected_components(graph, directed=False)[1]
    return numbers


@dataclass(frozen=True)
class Leakage:
    """What lies on more than one side of a division.

    Attributes:
        patients: Their names.
        pictures: For each picture the paths of its images, at least two.
    """

    patients: tuple[str, ...]
    pictures: tuple[tuple[str, ...], ...]

    def __bool__(self) -> bool:
        return bool(self.patients or self.pictures)

    def examples(self) -> dict[str, str]:
        """The first few of both kinds by their names, as they may be shown."""
        found = {
            "patients": [printable(patient) for patient in self.patients[:NAMED]],
            "pictures": [" = ".join(map(printable, paths[:NAMED])) for paths in self.pictures[:NAMED]],
        }
        return {
            kind: "; ".join([*shown, *["..."] * (len(getattr(self, kind)) > NAMED)]) for kind, shown in found.items()
        }


def counted(number: int, name: str) -> str:
    """Such as ``1 patient is`` or ``2 patients are``."""
    return f"{number:,} {name} is" if number == 1 else f"{number:,} {name}s are"


def find_leakage(table: Dataset, sides: Sequence[str], duplicates: Sequence[int] | None = None) -> Leakage:
    """Find the patients and the pictures that lie on more than one side.

    Args:
        table: N rows.
        sides: The side of each; ``unused`` is none.
        duplicates: As for `pictures`.
    """
    used = np.array([side != UNUSED for side in sides])
    code = _first(sides)
    names = [row.patient_id for row in table.rows]
    patients, known = _first(names), np.array([bool(name) for name in names])
    number = pictures(table, duplicates)
    torn = np.isin(number, _torn(number, code, used)) & used
    of_picture: dict[int, list[str]] = {}
    for i in np.flatnonzero(torn):
        of_picture.setdefault(int(number[i]), []).append(table.rows[int(i)].path)
    return Leakage(
        tuple(names[int(first)] for first in _torn(patients, code, used & known)),
        tuple(map(tuple, of_picture.values())),
    )


def _torn(number: Ints, side: Ints, counts: NDArray[np.bool_]) -> Ints:
    """Which numbers lie on more than one side."""
    pairs = np.unique(np.stack([number[counts], side[counts]], axis=1), axis=0)
    values, sides = np.unique(pairs[:, 0], return_counts=True)
    torn: Ints = values[sides > 1]
    return torn


def _source(table: Dataset, role: str, plan: SplitPlan, notes: list[str]) -> str | None:
    """The dataset's split that plays this role, if one does."""
    wanted: str = getattr(plan, role)
    if wanted in ("hold_out", "none"):
        return None
    if wanted != "auto":
        if wanted not in table.splits:
            there = ", ".join(table.splits) or "none"
            msg = f"{table.root}: the recipe takes {role} from split '{wanted}'; the dataset's splits: {there}."
            raise SplitError(msg, code="no-such-split", path=table.root)
        return wanted
    if role not in table.splits:
        return None
    if role == "val" and table.findings:
        ill = {owner for row, owner in zip(table.rows, table.patients(), strict=True) if _shows_any(row)}
        if len(ill) < plan.min_val_patients:
            notes.append(
                f"the dataset's own val has {len(ill)} patients with any finding: too few to choose by "
                f"(splits.min_val_patients = {plan.min_val_patients})"
            )
            return None
    elif role == "val":
        patients = defaultdict(set)
        for row, patient in zip(table.rows, table.patients(), strict=True):
            if row.split == "val":
                patients[row.label].add(patient)
        fewest = min(table.labels, key=lambda label: len(patients[label]))
        if len(patients[fewest]) < plan.min_val_patients:
            notes.append(
                f"the dataset's own val has {len(patients[fewest])} patients of '{fewest}': too few for model "
                f"selection (splits.min_val_patients = {plan.min_val_patients})"
            )
            return None
    return role


def _shows_any(row: Row) -> bool:
    return row.split == "val" and row.label != NO_FINDING


def _hold_out(table: Dataset, plan: SplitPlan, names: list[str], roles: Sequence[str], groups: Sequence[int]) -> None:
    """Move whole groups from train into the roles, label by label; `names` is changed in place.

    A group with several labels is dealt with its rarest one, which can least do without it. Several findings an image
    are dealt by `hold_out_groups`.
    """
    pool = [i for i, name in enumerate(names) if name == "train"]
    if table.findings:
        moved = hold_out_groups(table, pool, groups, roles, plan.fraction, plan.seed)
        for i in pool:
            names[i] = moved.get(groups[i], "train")
        return
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
                f"to hold out {', '.join(roles)} from them takes at least {len(roles) + 1}. "
                'Add images, provide these splits, or disable one (splits.calibration = "none").'
            )
            raise SplitError(msg, code="too-few-patients", path=table.root)
        members = sorted(group for group, name in label_of.items() if name == label)
        generator = np.random.default_rng([plan.seed, *label.encode(errors="surrogateescape")])
        shuffled = [members[i] for i in generator.permutation(len(members))]
        each = min(max(1, round(plan.fraction * len(members))), max(0, len(members) - 1) // len(roles))
        for number, role in enumerate(roles):
            role_of |= dict.fromkeys(shuffled[number * each : (number + 1) * each], role)
    for i in pool:
        names[i] = role_of.get(groups[i], "train")


def _check(table: Dataset, names: Sequence[str]) -> list[str]:
    """Labels that cannot be learnt are an error; what merely weakens a conclusion is a note."""
    if table.findings:
        return one_sided_notes(table, names, ROLES)
    labels = defaultdict(set)
    for row, name in zip(table.rows, names, strict=True):
        labels[name].add(row.label)
    for role in ROLES:
        unknown = sorted(labels[role] - labels["train"])
        if unknown:
            count = sum(name == role and row.label == unknown[0] for row, name in zip(table.rows, names, strict=True))
            known = ", ".join(sorted(labels["train"]))
            msg = (
                f"{table.root}: {count} images in {role} have the label '{unknown[0]}', which train does not have "
                f"(train: {known}). Rename the label, or add such images to train."
            )
            raise SplitError(msg, code="label-not-in-train", path=table.root)
    return [
        f"{role} has no image of {', '.join(sorted(labels['train'] - labels[role]))}"
        for role in ROLES
        if labels[role] and labels["train"] - labels[role]
    ]


ALL = 2**64
MIN_PATIENTS = 25  # patients of each label that are drawn in any case


@dataclass(frozen=True)
class PatientSample:
    """Whose images are drawn.

    Attributes:
        limits: By label, the number below which a patient's own one has to lie.
    """

    limits: Mapping[str, int]

    @classmethod
    def of(cls, images: Iterable[tuple[str, str]], most: int) -> PatientSample:
        """Draw about `most` images, or all where there are no more.

        Labels keep their shares, but a rare one gets half of what it would get if all were equally frequent, as far as
        it has that many, and at least the images of 25 patients.

        Args:
            images: Label and patient of each; gone through once, and not held.
            most: How many images, about.
        """
        counts: Counter[str] = Counter()
        lowest: dict[str, list[int]] = {}
        for label, patient in images:
            counts[label] += 1
            numbers = lowest.setdefault(label, [])
            numbers.append(_number(patient))
            if len(numbers) > 40 * MIN_PATIENTS:
                numbers[:] = sorted(set(numbers))[:MIN_PATIENTS]
        if counts.total() <= most:
            return cls(dict.fromkeys(counts, ALL))
        limits = {}
        for label, count in counts.items():
            wanted = max(most * count // counts.total(), most // (2 * len(counts)))
            surely = sorted(set(lowest[label]))[:MIN_PATIENTS][-1] + 1
            limits[label] = max(min(ALL, ALL * wanted // count), surely)
        return cls(limits)

    def holds(self, label: str, patient: str) -> bool:
        """Whether a patient's images of a label are drawn."""
        return _number(patient) < self.limits[label]


def _number(patient: str) -> int:
    return int.from_bytes(hashlib.sha256(patient.encode(errors="surrogateescape")).digest()[:8], "big")

"""The tree that nested labels form: where a cascade decides, and between what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Branch:
    """One decision of the tree.

    Attributes:
        name: The folder path at which it is taken; empty at the root.
        children: What it decides between: labels, or folders that hold several labels.
        members: For each child, the indices of the labels below it.
    """

    name: str
    children: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]

    def child_of(self, n_labels: int) -> list[int]:
        """For each label the index of the child that holds it, or -1 where it is not below this branch."""
        found = [-1] * n_labels
        for child, labels in enumerate(self.members):
            for label in labels:
                found[label] = child
        return found


def branches(labels: Sequence[str]) -> tuple[Branch, ...]:
    """All decisions, the root's first; a folder with a single child decides nothing and is passed over.

    Args:
        labels: In the order of the network's outputs.

    Raises:
        ValueError: A label is also a folder of other labels, such as ``infected`` beside ``infected/covid``.
    """
    for label in labels:
        inner = next((other for other in labels if other.startswith(f"{label}/")), None)
        if inner:
            msg = f"'{label}' is a label and also the folder of '{inner}'. Give its own images a folder within it."
            raise ValueError(msg)
    return tuple(_below("", tuple(range(len(labels))), labels))


def nested_decisions(labels: Sequence[str]) -> tuple[Branch, ...]:
    """The decisions of nested labels; none where there is only one to take, or no tree (see `branches`)."""
    try:
        found = branches(labels)
    except ValueError:
        return ()
    return found if len(found) > 1 else ()


def fair_shares(labels: Sequence[str]) -> list[float]:
    """The probability of each label where every decision of the tree is a fair one; without a tree all have the same.

    ``normal``, ``infected/covid``, ``infected/non-covid`` get a half, a quarter and a quarter.
    """
    shares = [1.0] * len(labels)
    for branch in nested_decisions(labels):
        for label, child in enumerate(branch.child_of(len(labels))):
            shares[label] /= len(branch.children) if child >= 0 else 1
    return [share / sum(shares) for share in shares]


def _below(name: str, members: tuple[int, ...], labels: Sequence[str]) -> list[Branch]:
    depth = name.count("/") + 1 if name else 0
    groups: dict[str, list[int]] = {}
    for index in members:
        groups.setdefault("/".join(labels[index].split("/")[: depth + 1]), []).append(index)
    if len(groups) == 1:
        (only, inside), *_ = groups.items()
        return [] if only == labels[inside[0]] else _below(only, tuple(inside), labels)
    children = tuple(labels[inside[0]] if len(inside) == 1 else folder for folder, inside in groups.items())
    here = Branch(name, children, tuple(tuple(inside) for inside in groups.values()))
    return [here, *(branch for folder, inside in groups.items() for branch in _below(folder, tuple(inside), labels))]

"""One measured thing: contestants taken in turn, their repeats, medians and ratios."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

RATES = ("images/s", "images/min", "GFLOP/s")  # more is better; of all other units less is


@dataclass
class Measurement:
    """What several contestants gave, the first of which is hilum's.

    Attributes:
        what: What was done.
        unit: Of all values.
        values: The repeats of each contestant. Equal positions were measured one after the other.
        note: What has to be known to read them.
    """

    what: str
    unit: str
    values: dict[str, list[float]] = field(default_factory=dict)
    note: str = ""

    def median(self, name: str) -> float:
        """The middle of a contestant's repeats."""
        return statistics.median(self.values[name])

    def ratio(self, other: str) -> float:
        """How many times better the first contestant is than another: the median over pairs taken in turn."""
        first = next(iter(self.values))
        pairs = list(zip(self.values[first], self.values[other], strict=False))
        return statistics.median(a / b if self.unit in RATES else b / a for a, b in pairs)

    def to_json(self) -> dict[str, Any]:
        """Everything, the raw repeats included."""
        others = list(self.values)[1:]
        return {
            "what": self.what,
            "unit": self.unit,
            "contestants": [
                {"name": name, "median": self.median(name), "repeats": repeats} for name, repeats in self.values.items()
            ],
            "ratios": {other: self.ratio(other) for other in others},
            "note": self.note,
        }


def in_turn(
    works: Mapping[str, Callable[[], float]], repeats: int, say: Callable[[str], None] = print
) -> dict[str, list[float]]:
    """Call each work in turn, A B A B, so that whatever disturbs the machine disturbs all alike.

    Args:
        works: Each returns its value, by the name of its contestant.
        repeats: Rounds.
        say: Told after every round.
    """
    values: dict[str, list[float]] = {name: [] for name in works}
    for number in range(repeats):
        for name, work in works.items():
            values[name].append(work())
        latest = ", ".join(f"{name} {found[-1]:.4g}" for name, found in values.items())
        say(f"round {number + 1} of {repeats}: {latest}")
    return values

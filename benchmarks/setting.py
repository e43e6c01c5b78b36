"""What all parts of a run of the bench share."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Setting:
    """Data, extent, and what one part leaves to another.

    Attributes:
        data: A dataset.
        real: Whether it is not made of phantoms.
        folder: For everything that is thrown away in the end.
        quick: Few repeats and short trainings, about five minutes in all.
        recipes: Whose accuracy is measured, and with how many seeds.
        begin: When the bench began.
        seed_rate: Images a second of the original report's own loop, once that was measured.
    """

    data: Path
    real: bool
    folder: Path
    quick: bool = False
    recipes: Mapping[str, int] = field(default_factory=lambda: {"compact": 1})
    begin: float = field(default_factory=time.monotonic)
    seed_rate: float = 0.0

    def say(self, text: str) -> None:
        """A line on standard error, with the time since the start."""
        sys.stderr.write(f"[{time.monotonic() - self.begin:6.0f} s] {text}\n")
        sys.stderr.flush()

    def repeats(self, whole: int, quick: int) -> int:
        """How often something is repeated."""
        return quick if self.quick else whole

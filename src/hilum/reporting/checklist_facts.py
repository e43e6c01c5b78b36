"""What the checklist is computed from, and what an item answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hilum.data.table import Row
from hilum.training.run import Run

State = Literal["PASS", "FAIL", "REPORTED", "UNKNOWN"]


@dataclass(frozen=True)
class Facts:
    """What the checklist is computed from.

    Attributes:
        run: The run.
        split: All rows of its ``split.csv``.
        metrics: Of its own test images; empty if they were not evaluated.
        external: Metrics of other data, by name.
        audit: What ``audit.json`` says of its data; empty without an audit.
        access: What the ledger says of accesses to the test images (`hilum.evaluation.accesses`).
        errors_shown: How many wrongly answered images the gallery shows; None without a gallery.
    """

    run: Run
    split: Sequence[Row]
    metrics: Mapping[str, Any]
    external: Mapping[str, Mapping[str, Any]]
    audit: Mapping[str, Any]
    access: Mapping[str, Any]
    errors_shown: int | None


Answer = tuple[State, str]
OLDER: Answer = ("UNKNOWN", "the evaluation is of an older version: hilum evaluate RUN again")
NOT_EVALUATED: Answer = ("UNKNOWN", "the test images were not evaluated yet: hilum evaluate RUN")

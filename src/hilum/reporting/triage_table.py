"""What becomes of evaluated patients, as a table of the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hilum.evaluation.outcomes import COUNTED, share
from hilum.text import percent, percent_range

HEADS = {"flag": "Flagged", "read": "To be read", "abstain": "Abstained on", "clear": "Cleared"}


def triage_table(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """Patients by label and decision.

    Args:
        metrics: What ``metrics.json`` holds.

    Returns:
        ``unit``, ``heads`` and ``rows`` of label, patients, and count with share and range by decision; None where no
        certificate was checked, or by a version that did not count so.
    """
    held = metrics.get("operating_point")
    if not held or "outcomes" not in held:
        return None
    found = {held["group"]: held["outcomes"], **held["others"]}
    there = {name for counts in found.values() for name in COUNTED if counts[name]}
    used = [name for name in COUNTED if name in ("flag", "clear") or name in there]
    rows = []
    for label, counts in found.items():
        total = sum(counts.values())
        shares = [(counts[name], share(counts[name], total)) for name in used]
        rows.append((label, total, [(count, f"{percent(of['value'])} ({percent_range(of)})") for count, of in shares]))
    return {"unit": held["unit"], "heads": [HEADS[name] for name in used], "rows": rows}

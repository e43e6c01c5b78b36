"""Rows of the tables of ``comparison.json``. Differences are second minus first, in percentage points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hilum.evaluation.comparison_text import excludes_zero
from hilum.text import measured

Facts = Mapping[str, Any]
RULES = {"most_probable": "Read by the most probable label", "down_the_tree": "Read down the label tree"}


def measure_rows(facts: Facts, found: Facts) -> list[dict[str, Any]]:
    """Accuracy, balanced accuracy and each sensitivity: first, second and difference with intervals."""
    entries = [("Accuracy", None, found["accuracy"]), ("Balanced accuracy", None, found["balanced_accuracy"])]
    entries += [("Sensitivity (recall) of", label, found["recall"][label]) for label in facts["labels"]]
    return [{"measure": measure, "label": label, "entry": entry, **_three(entry)} for measure, label, entry in entries]


def area_rows(facts: Facts) -> list[dict[str, Any]]:
    """AUROC of each label: first, second and difference with intervals."""
    return [
        {"measure": "", "label": label, **_three(entry, as_percent=False)} for label, entry in facts["auroc"].items()
    ]


def _three(entry: Mapping[str, Any], *, as_percent: bool = True) -> dict[str, Any]:
    shown = {
        which: measured(entry[which], as_percent=as_percent, sign=which == "difference")
        for which in ("first", "second", "difference")
    }
    return {**shown, "certain": excludes_zero(entry["difference"])}


def rule_title(rule: str) -> str:
    """How a rule reads the probabilities."""
    return RULES.get(rule, rule)

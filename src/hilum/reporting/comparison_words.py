"""Rows of the tables of ``comparison.json``. Differences are second minus first, in percentage points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hilum.evaluation.comparison_text import excludes_zero, signed, signed_range
from hilum.reporting.results import fraction, fraction_range, percent, percent_range

Facts = Mapping[str, Any]
RULES = {"most_probable": "Read by the most probable label", "down_the_tree": "Read down the label tree"}


def measure_rows(facts: Facts, found: Facts) -> list[dict[str, Any]]:
    """Accuracy, balanced accuracy and each recall: first, second and difference with intervals."""
    entries = [("Accuracy", None, found["accuracy"]), ("Balanced accuracy", None, found["balanced_accuracy"])]
    entries += [("Recall of", label, found["recall"][label]) for label in facts["labels"]]
    return [
        {
            "measure": measure,
            "label": label,
            "entry": entry,
            "first": (percent(entry["first"]["value"]), percent_range(entry["first"])),
            "second": (percent(entry["second"]["value"]), percent_range(entry["second"])),
            "difference": (signed(entry["difference"]["value"]), signed_range(entry["difference"])),
            "certain": excludes_zero(entry["difference"]),
        }
        for measure, label, entry in entries
    ]


def area_rows(facts: Facts) -> list[dict[str, Any]]:
    """AUROC of each label: first, second and difference with intervals."""
    return [
        {
            "measure": "",
            "label": label,
            "first": (fraction(entry["first"]["value"]), fraction_range(entry["first"])),
            "second": (fraction(entry["second"]["value"]), fraction_range(entry["second"])),
            "difference": (signed(entry["difference"]["value"], 1, 3), signed_range(entry["difference"], 1, 3)),
            "certain": excludes_zero(entry["difference"]),
        }
        for label, entry in facts["auroc"].items()
    ]


def rule_title(rule: str) -> str:
    """How a rule reads the probabilities."""
    return RULES.get(rule, rule)

"""What ``comparison.json`` says, in words. Differences are second minus first, in percentage points."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hilum.evaluation.comparison_screen import excludes_zero, p_text
from hilum.reporting.results import fraction, fraction_range, percent, percent_range, plural

Facts = Mapping[str, Any]
TOLD_APART = ("network", "architecture", "recipe", "seed", "split")
SIGNIFICANT = 0.05
RULES = {"most_probable": "Read by the most probable label", "down_the_tree": "Read down the label tree"}


def signed(value: float | None, factor: float = 100, digits: int = 1) -> str:
    """``+2.3``, ``−0.5``, ``0.0``; one more digit where a difference would otherwise look like none."""
    if value is None or not math.isfinite(value):
        return "–"
    number = factor * value
    if number and abs(number) < 0.5 * 10**-digits:
        digits += 1
    if not round(number, digits):
        return f"{0:.{digits}f}"
    return f"{number:+.{digits}f}".replace("-", "−")


def signed_range(entry: Mapping[str, float | None], factor: float = 100, digits: int = 1) -> str:
    """``−0.5 to +5.1`` of a difference's interval; a dash where it is undefined."""
    low, high = signed(entry.get("low"), factor, digits), signed(entry.get("high"), factor, digits)
    return "–" if "–" in (low, high) else f"{low} to {high}"


def p_equals(value: float) -> str:
    """``p = 0.11`` or ``p < 0.001``."""
    text = p_text(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def verdict(facts: Facts) -> str:
    """The comparison in one sentence, read by the most probable label."""
    where = f"On the same {plural(facts['n_images'], 'image')}"
    if facts["n_patients"] is not None:
        where += f" of {plural(facts['n_patients'], 'patient')}"
    first, second = (run["name"] for run in facts["runs"])
    if facts["same_answers"]:
        return f"{where}, {first} and {second} give the same answers."
    return f"{where}, {outcome(facts, next(iter(facts['rules'].values())))}."


def outcome(facts: Facts, found: Facts) -> str:
    """Which run is right more often, and whether that could be chance.

    Args:
        facts: What ``comparison.json`` holds.
        found: One of its rules.
    """
    first, second = (run["name"] for run in facts["runs"])
    difference, p_value = found["accuracy"]["difference"], found["patients"]["p_value"]
    confidence = f"{100 * facts['intervals']['confidence']:g} %"
    measured = f"{confidence} interval {signed_range(difference)}, {p_equals(p_value)}"
    if not difference["value"]:
        alike = not (found["mcnemar"]["first_only"] or found["mcnemar"]["second_only"])
        on = "on the same images" if alike else "not on the same images"
        return f"{first} and {second} are right equally often, {on} ({measured})"
    size = signed(difference["value"]).lstrip("+−")
    more = "more" if difference["value"] > 0 else "less"
    said = f"{second} is right {size} points {more} often than {first}"
    chance, outside = p_value >= SIGNIFICANT, not excludes_zero(difference)
    if chance and outside:
        return f"{said}; that could be chance ({measured})"
    if chance or outside:
        return f"{said}; that is on the border of chance, where interval and p-value disagree ({measured})"
    return f"{said}, more than chance explains ({measured})"


def differing(facts: Facts) -> list[str]:
    """By which of their choices the two runs differ."""
    first, second = facts["runs"]
    return [key for key in TOLD_APART if first[key] != second[key]]


def power(facts: Facts, found: Facts) -> str:
    """What this sample could have shown at all, by one rule."""
    patients = found["patients"]
    count = patients["discordant_patients"]
    told = f"{plural(count, facts['unit'].removesuffix('s'))} {'tells' if count == 1 else 'tell'} the two runs apart"
    if not count:
        return f"No {told.removeprefix('0 ').replace('s tell the', ' tells the')}."
    if patients["smallest_significant"] is None:
        return f"Only {told}: too few for any difference to be significant.{_floor(facts, patients)}"
    return (
        f"{told[0].upper()}{told[1:]}. With them, the smallest difference of accuracy that could have been "
        f"significant (p < {SIGNIFICANT}) is {100 * patients['smallest_significant']:.1f} points; a true difference "
        f"of {100 * patients['detectable']:.1f} points would be found in four of five such samples."
        f"{_floor(facts, patients)}"
    )


def _floor(facts: Facts, patients: Facts) -> str:
    if patients["floor"] is None:
        return ""
    return f" No sample of {facts['n_images']:,} images shows less than {100 * patients['floor']:.1f} points."


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

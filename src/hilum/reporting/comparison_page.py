"""The page of a comparison: two runs on the same images, what differs and how surely."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hilum.evaluation.comparison_text import excludes_zero, outcome, p_values, power, seed_rows, verdict
from hilum.reporting.comparison_figures import paired_dots
from hilum.reporting.figures import label_colours
from hilum.templating import write_page
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


ABOUT = {
    "name": "Name",
    "network": "Network",
    "architecture": "Architecture",
    "recipe": "Recipe",
    "seed": "Seed",
    "split": "Images of its split",
    "path": "Folder",
    "weights_sha256": "SHA-256 of the weights",
}


def write_comparison_page(folder: Path, facts: dict[str, Any]) -> Path:
    """Write the page of a comparison.

    Args:
        folder: Exists; usually where ``comparison.json`` lies.
        facts: What that file holds.

    Returns:
        The file that was written, ``comparison.html``. The same facts give the same bytes.
    """
    return write_page(folder / "comparison.html", "comparison.html.j2", page_content(facts))


def page_content(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the template shows, by name."""
    first, second = facts["runs"]
    rules = [_rule(facts, rule, found) for rule, found in facts["rules"].items()]
    return {
        "facts": facts,
        "names": (first["name"], second["name"]),
        "colours": label_colours(facts["labels"]),
        "verdict": verdict(facts),
        "differing": facts.get("recipe_differences"),
        "same_weights": first["weights_sha256"] == second["weights_sha256"],
        "about": [(title, first.get(key), second.get(key)) for key, title in ABOUT.items()],
        "rules": rules,
        "areas": area_rows(facts),
        "seeds": seed_rows(facts),
        "effect": _effect(facts, rules) if facts["rule_effect"] else None,
    }


def _rule(facts: Mapping[str, Any], rule: str, found: Mapping[str, Any]) -> dict[str, Any]:
    rows = measure_rows(facts, found)
    names = facts["runs"][0]["name"], facts["runs"][1]["name"]
    return {
        "rule": rule,
        "title": rule_title(rule),
        "outcome": _sentence(outcome(facts, found)),
        "figure": paired_dots(
            [(" ".join(filter(None, (row["measure"], row["label"]))), row["entry"]) for row in rows],
            names,
            f"paired-{rule.replace('_', '-')}",
        ),
        "rows": rows,
        "alone": found["mcnemar"],
        "tests": p_values(facts, found),
        "power": power(facts, found),
    }


def _effect(facts: Mapping[str, Any], rules: list[dict[str, Any]]) -> dict[str, Any]:
    """Accuracy by run and rule, and what reading down the tree changes in each measure of each run."""
    by_run = [measure_rows(facts, effect) for effect in facts["rule_effect"]]
    return {
        "titles": [rule["title"] for rule in rules],
        "runs": [
            {
                "name": run["name"],
                "cells": [rows[0]["first"], rows[0]["second"]],
                "difference": rows[0]["difference"],
                "certain": rows[0]["certain"],
            }
            for run, rows in zip(facts["runs"], by_run, strict=True)
        ],
        "between": [(rule["rows"][0]["difference"], rule["rows"][0]["certain"]) for rule in rules],
        "measures": list(zip(*by_run, strict=True)),
    }


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."

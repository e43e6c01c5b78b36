"""The page of a comparison: two runs on the same images, what differs and how surely."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hilum.evaluation import comparison_text as text
from hilum.reporting import comparison_words as words
from hilum.reporting.comparison_figures import paired_dots
from hilum.reporting.figures import label_colours
from hilum.templating import write_page

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
        "verdict": text.verdict(facts),
        "differing": facts.get("recipe_differences"),
        "same_weights": first["weights_sha256"] == second["weights_sha256"],
        "about": [(title, first.get(key), second.get(key)) for key, title in ABOUT.items()],
        "rules": rules,
        "areas": words.area_rows(facts),
        "seeds": text.seed_rows(facts),
        "effect": _effect(facts, rules) if facts["rule_effect"] else None,
    }


def _rule(facts: Mapping[str, Any], rule: str, found: Mapping[str, Any]) -> dict[str, Any]:
    rows = words.measure_rows(facts, found)
    names = facts["runs"][0]["name"], facts["runs"][1]["name"]
    return {
        "rule": rule,
        "title": words.rule_title(rule),
        "outcome": _sentence(text.outcome(facts, found)),
        "figure": paired_dots(
            [(" ".join(filter(None, (row["measure"], row["label"]))), row["entry"]) for row in rows],
            names,
            f"paired-{rule.replace('_', '-')}",
        ),
        "rows": rows,
        "alone": found["mcnemar"],
        "tests": text.p_values(facts, found),
        "power": text.power(facts, found),
    }


def _effect(facts: Mapping[str, Any], rules: list[dict[str, Any]]) -> dict[str, Any]:
    """Accuracy by run and rule, and what reading down the tree changes in each measure of each run."""
    by_run = [words.measure_rows(facts, effect) for effect in facts["rule_effect"]]
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

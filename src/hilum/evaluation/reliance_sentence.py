"""On which shortcuts a model relies, in a sentence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from hilum.text import interval_text

LEVEL = 0.05
NOTABLE = 0.05  # share of the margin below which reliance, though shown, is left to the table
WITHOUT = ("centre blacked out", "lungs blacked out")


def relied_on(reliance: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Labels and exchanged properties on which the model is shown to rely for at least 5 % of the margin.

    Shown means that the corrected p-value is below 5 % and that the interval of the change lies above zero.

    Args:
        reliance: What `hilum.evaluation.reliance.measure_reliance` found.
    """
    for label, part in reliance["labels"].items():
        for entry in part["found"]:
            if entry["kind"] != "swap" or entry["p_corrected"] >= LEVEL or not entry["log_odds"]["low"] > 0:
                continue
            if not _certain(entry) or entry["share"]["value"] >= NOTABLE:
                yield label, entry


def reliance_sentence(reliance: Mapping[str, Any]) -> str:
    """On which shortcuts the model is shown to rely; if on none, how much of the margin could rest on one.

    Args:
        reliance: What `hilum.evaluation.reliance.measure_reliance` found.
    """
    if reliance["note"]:
        return f"reliance on shortcuts: not measured: {reliance['note']}"
    shown: dict[str, list[str]] = defaultdict(list)
    for label, entry in relied_on(reliance):
        share = (
            f"{interval_text(entry['share'], digits=0)} of the margin of {label}"
            if _certain(entry)
            else f"{label}, which has no margin"
        )
        shown[entry["name"]].append(share)
    if shown:
        told = "RELIES ON A SHORTCUT: " + "; ".join(f"{name}: {', '.join(of)}" for name, of in shown.items())
    else:
        told = f"reliance on shortcuts: none shown{_largest(reliance)}"
    return "; ".join([told, *filter(None, (_left(reliance, name) for name in WITHOUT))])


def _left(reliance: Mapping[str, Any], name: str) -> str:
    """What is left of the margins with a part blacked out, where that is shown to be more than nothing."""
    left = [
        f"{interval_text(entry['share'], digits=0)} of the margin of {label}"
        for label, part in reliance["labels"].items()
        for entry in part["found"]
        if entry["name"] == name and _certain(entry) and entry["share"]["low"] > 0
    ]
    return f"with the {name} {', '.join(left)} is left" if left else ""


def _largest(reliance: Mapping[str, Any]) -> str:
    limits = [
        (entry["share"]["high"], label, entry["name"])
        for label, part in reliance["labels"].items()
        for entry in part["found"]
        if entry["kind"] == "swap" and _certain(entry)
    ]
    if not limits:
        return ", and no margin between the labels either"
    high, label, name = max(limits)
    return f"; at most {100 * max(0.0, high):.0f} % of the margin of {label} may rest on one ({name})"


def _certain(entry: Mapping[str, Any]) -> bool:
    return entry["share"]["high"] is not None

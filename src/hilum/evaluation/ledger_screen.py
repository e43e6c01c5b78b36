"""The ledger on the terminal: who certified and evaluated what, and what is left for these patients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from hilum.evaluation.accesses import models_on
from hilum.evaluation.attempts import attempts_of
from hilum.evaluation.ledger import ImageSet, Ledger, place_of
from hilum.evaluation.spending import joint_confidence
from hilum.printable import escape

SHOWN = ("attempt", "refusal", "access")


def ledger_lines(ledger: Ledger, images: ImageSet | None = None) -> RenderableType:
    """One row an attempt, refusal or access, and what is left for each set of patients.

    Args:
        ledger: As it was read.
        images: Only what is about some of these images; None for all.
    """
    shown = [e for e in ledger.of(*SHOWN) if images is None or ledger.images(e["images"]) & images]
    where = f"ledger {escape(place_of(ledger.file))}: {len(ledger.entries)} entries"
    if not shown:
        return Group("", where, "no attempt to certify and no access is recorded here", "")
    results = {entry["attempt"]: entry for entry in ledger.of("result")}
    void = {entry["entry"] for entry in ledger.of("void")}
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("entry", "time (UTC)", "data", "images", "model", "what"):
        table.add_column(name, justify="right" if name in ("entry", "images") else "left", overflow="fold")
    for entry in shown:
        told = _what(entry, results, given_back=entry["n"] in void)
        count = len(ledger.images(entry["images"]))
        cells = (str(entry["n"]), entry["time"][:16].replace("T", " "), entry["data"], f"{count:,}", entry["model"][:8])
        table.add_row(*map(escape, cells), escape(told))
    return Group("", where, table, *map(escape, _left(ledger, shown)), "")


def _what(entry: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]], *, given_back: bool) -> str:
    if entry["kind"] == "access":
        return f"evaluated, {entry['split']}"
    claim = f"{entry['group']}, {100 * entry['miss_rate']:g} %"
    claim += f", {entry['form']}" if entry.get("form", "float") != "float" else ""
    if entry["kind"] == "refusal":
        return f"refused: {claim}"
    told = f"certify {claim}: {entry['number']} of {entry['planned']} at {100 * entry['confidence']:.4g} %"
    if given_back:
        return f"{told}, given back"
    found = results.get(entry["attempt"])
    return f"{told}, threshold {found['threshold']:.4g}" if found else f"{told}, no certificate"


def _left(ledger: Ledger, shown: list[dict[str, Any]]) -> list[str]:
    """For each set of images: the confidence of all certificates together, places that are left, models that saw it."""
    made, lines = attempts_of(ledger), []
    for digest, name in {entry["images"]: entry["data"] for entry in shown}.items():
        images = ledger.images(digest)
        here = [attempt for attempt in made if attempt.images & images]
        models = len(models_on(ledger, images))
        told = f"{name}, {len(images):,} images ({digest[:8]}): {models} model{'' if models == 1 else 's'}"
        for plan in dict.fromkeys(attempt.plan for attempt in here):
            of_plan = [attempt for attempt in made if attempt.plan == plan]
            stated, planned = 100 * of_plan[0].confidence, of_plan[0].planned
            told += f"; plan at {stated:.4g} %: {len(of_plan)} of {planned} attempts made"
        if here:
            told += f"; all certificates together hold with {100 * joint_confidence(made, images):.4g} %"
        lines.append(told)
    return lines

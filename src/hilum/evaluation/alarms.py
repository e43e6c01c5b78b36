"""What has to be read before any figure of an evaluation, on the terminal as in the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hilum.evaluation.certificate_check import verdict_of
from hilum.evaluation.certificate_screen import exchangeability_sentence, holding_sentence
from hilum.evaluation.decision_curve import harm_sentence
from hilum.evaluation.exchangeability import DIFFER
from hilum.evaluation.reliance_sentence import reliance_sentence, relied_on
from hilum.evaluation.shortcut_verdict import gate_sentence, read_gate
from hilum.evaluation.verdicts import REFUTED, SHOWN


def alarms_of(metrics: Mapping[str, Any]) -> list[str]:
    """Sentences that forbid to take the figures at their word; none where nothing does.

    Args:
        metrics: What ``metrics.json`` holds.
    """
    found = []
    gate = read_gate(metrics)
    if gate and gate["verdict"] not in (SHOWN, None):
        found.append(gate_sentence(gate))
    if harm := harm_sentence(metrics.get("decision_curve")):
        found.append(harm)
    reliance = metrics.get("reliance")
    if reliance and any(relied_on(reliance)):
        found.append(reliance_sentence(reliance))
    held = metrics.get("operating_point")
    if held and verdict_of(held) == REFUTED:
        found.append(holding_sentence(held))
    if held and held["exchangeability"] and held["exchangeability"]["p_value"] < DIFFER:
        found.append(exchangeability_sentence(held["exchangeability"]))
    return found

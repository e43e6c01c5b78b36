"""What a destination's answer means for the one who sent: done, again, or never."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """What follows from an answer."""

    SENT = "sent"
    AGAIN = "again"
    DEAD = "dead"


@dataclass(frozen=True)
class Outcome:
    """A verdict, and its reason without identifiers; empty where all was well."""

    verdict: Verdict
    reason: str = ""


# Statuses of C-STORE (PS3.4 B.2.3, PS3.7 annex C) and failure reasons of STOW-RS (PS3.18), which are the same numbers.
MEANING = {
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0107: "attribute list error",
    0x0110: "processing failure",
    0x0111: "duplicate SOP Instance",
    0x0112: "no such object instance",
    0x0115: "invalid argument value",
    0x0117: "invalid object instance",
    0x0118: "no such SOP class",
    0x0119: "class-instance conflict",
    0x0120: "missing attribute",
    0x0121: "missing attribute value",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
    0x0210: "duplicate invocation",
    0x0211: "unrecognised operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
    0xA770: "referenced transfer syntax not supported",
    0xB000: "coerced elements",
    0xB006: "discarded elements",
    0xB007: "data set does not match SOP class, stored",
}
PASSING = frozenset({0x0110, 0x0210, 0x0213, 0xFE00})  # may be otherwise next time
STORED = frozenset({0x0000, 0x0001, 0x0107, 0x0111, 0x0116})  # 0x0111: it has it already


def outcome_of(status: int) -> Outcome:
    """What a status of C-STORE, or a failure reason of STOW-RS, means.

    Out of resources (A7xx) and passing faults are worth another try. That the object itself is refused (A9xx, Cxxx, or
    one of the general failures of PS3.7) does not change by itself: a person has to look, and `hilum node retry`.
    Unknown numbers count as passing, so that nothing is given up by mistake.
    """
    if status in STORED or 0xB000 <= status <= 0xBFFF:
        return Outcome(Verdict.SENT, "" if status == 0 else said(status))
    if 0xA700 <= status <= 0xA7FF and status != 0xA770:
        return Outcome(Verdict.AGAIN, said(status))
    refused = status in MEANING or 0xA900 <= status <= 0xA9FF or 0xC000 <= status <= 0xCFFF
    return Outcome(Verdict.DEAD if refused and status not in PASSING else Verdict.AGAIN, said(status))


def said(status: int) -> str:
    """A status in words."""
    meaning = MEANING.get(status)
    if meaning is None:
        family = {0xA7: "out of resources", 0xA9: "data set does not match SOP class"}.get(status >> 8)
        meaning = family or ("cannot understand" if status >> 12 == 0xC else "unknown status")
    return f"status 0x{status:04X}: {meaning}"


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The outcome of several objects together: dead before again before sent."""
    order = (Verdict.DEAD, Verdict.AGAIN, Verdict.SENT)
    return min(outcomes, key=lambda outcome: (order.index(outcome.verdict), not outcome.reason))

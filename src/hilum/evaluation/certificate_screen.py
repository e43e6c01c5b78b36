"""A certificate on the terminal, and in sentences that a report can use, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from hilum.data.labels import is_healthy
from hilum.evaluation.exchangeability import shift_sentence
from hilum.printable import escape


def certificate_lines(facts: Mapping[str, Any]) -> RenderableType:
    """What is certified, what it costs, and under which conditions.

    Args:
        facts: What ``certificate.json`` holds.
    """
    table = Table(box=box.SIMPLE_HEAD, title="what it costs the others", title_justify="left")
    for name in ("", "patients", "flagged", "% (interval)"):
        table.add_column(name, justify="right" if name else "left", overflow="fold")
    for label, cost in facts["flagged"].items():
        shown = f"{100 * cost['value']:.1f} ({100 * cost['low']:.1f}-{100 * cost['high']:.1f})"
        table.add_row(escape(label), str(cost["patients"]), str(cost["flagged"]), shown)
    lines: list[RenderableType] = [
        f"[bold]{escape(certified_sentence(facts))}[/]",
        escape(counted_sentence(facts)),
        table,
    ]
    lines += [f"[yellow]{escape(note)}[/]" for note in facts["notes"]]
    if facts["exchangeability"]:
        lines.append(escape(exchangeability_sentence(facts["exchangeability"])))
    return Group("", *lines, *(f"[dim]- {escape(sentence)}[/]" for sentence in facts["conditions"]), "")


def certified_sentence(facts: Mapping[str, Any]) -> str:
    """The certificate in one sentence."""
    who = "patients" if facts["unit"] == "patients" else "images (patients are not all known)"
    return (
        f"With {100 * facts['confidence']:g} % confidence at most {100 * facts['miss_rate']:g} % of {who} with "
        f"{facts['group']} are missed, if those are flagged whose probability of it is at least "
        f"{facts['threshold']:.4g}"
    )


def counted_sentence(facts: Mapping[str, Any]) -> str:
    """On whom it rests."""
    unit, missed = facts["unit"], facts["missed_here"]
    source = f"{facts['data']['name']}" if facts["data"]["own"] else f"the other data {facts['data']['name']}"
    return (
        f"counted on {facts['n_patients']} {unit} with it ({source}), none of whom the run has seen; "
        f"{missed} of them {'is' if missed == 1 else 'are'} missed"
    )


def cost_sentence(facts: Mapping[str, Any], known: Sequence[str] | None = None) -> str:
    """How many healthy patients are flagged; empty where no label is known to be healthy.

    Args:
        facts: How a certificate holds.
        known: The healthy labels; None where only their names tell.
    """
    flagged = facts["flagged"].items()
    healthy = {label: cost for label, cost in flagged if (is_healthy(label) if known is None else label in known)}
    if not healthy:
        return "no healthy patient was there to say what it costs" if not facts["flagged"] else ""
    label, cost = next(iter(healthy.items()))
    return (
        f"{cost['flagged']} of {cost['patients']} {facts['unit']} of '{label}' are flagged, too: "
        f"{100 * cost['value']:.1f} % ({100 * cost['low']:.1f} to {100 * cost['high']:.1f})"
    )


def exchangeability_sentence(found: Mapping[str, Any]) -> str:
    """Whether other patients look like those of the reference certificate."""
    return shift_sentence(found)


def holding_sentence(held: Mapping[str, Any]) -> str:
    """How a certificate holds on patients that were evaluated."""
    if not held["patients"]:
        return "no patient with it is here: nothing shows whether the certificate holds"
    rate = f"{100 * held['value']:.1f} % ({100 * held['low']:.1f} to {100 * held['high']:.1f})"
    bound = f"the bound of {100 * held['bound']:g} %"
    verdict = {
        "broken": f"BROKEN: significantly above {bound}",
        "above": f"above {bound}, though so few patients cannot prove it broken",
        "within": f"within {bound}",
    }[held["verdict"]]
    return f"{held['missed']} of {held['patients']} {held['unit']} with {held['group']} missed, {rate}: {verdict}"

"""An audit on the terminal: the same findings in the same order as on the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding

COLOURS = {"error": "bold red", "warning": "yellow", "info": "cyan"}
WORDS = {"error": ("error", "errors"), "warning": ("warning", "warnings"), "info": ("remark", "remarks")}


def audit_lines(facts: Mapping[str, Any]) -> RenderableType:
    """What was looked at, then the findings, worst first, each with its remedy.

    Args:
        facts: What ``audit.json`` holds.
    """
    people = f" of {facts['n_patients']:,} patients" if facts["n_patients"] else ", patients unknown"
    counts = ", ".join(
        f"{sum(part[label] for part in facts['counts'].values()):,} {escape(label)}" for label in facts["labels"]
    )
    parts: list[RenderableType] = ["", f"[bold]{facts['n_images']:,} images[/]{people}: {counts}", ""]
    for finding in facts["findings"]:
        colour = COLOURS[finding["severity"]]
        parts.append(f"[{colour}]{finding['severity'].upper()}[/] {escape(finding['message'])}")
        if finding["remedy"]:
            parts.append(Padding(f"[dim]{escape(finding['remedy'])}[/]", (0, 0, 0, 2)))
    parts += ["", f"[bold]{summary(facts['findings'])}[/]"]
    parts += [f"[dim]{escape(note)}[/]" for note in facts["notes"]]
    return Group(*parts, "")


def summary(findings: Sequence[Mapping[str, Any]]) -> str:
    """``2 errors, 1 warning, 3 remarks``."""
    counts = Counter(finding["severity"] for finding in findings)
    told = [f"{counts[severity]} {WORDS[severity][counts[severity] != 1]}" for severity in COLOURS if counts[severity]]
    return ", ".join(told) or "nothing was found"

"""An audit on the terminal: the same findings in the same order as on the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding

from hilum.printable import escape

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
    for together in grouped(facts["findings"]):
        parts += [f"{_head(finding)} {escape(finding['message'])}" for finding in together]
        if remedy := together[0]["remedy"]:
            parts.append(Padding(f"[dim]{escape(remedy)}[/]", (0, 0, 0, 2)))
    parts += ["", f"[bold]{summary(facts['findings'])}[/]"]
    parts += [f"[dim]{escape(note)}[/]" for note in facts["notes"]]
    return Group(*parts, "")


def demo_lines(facts: Mapping[str, Any], planted: Mapping[str, Any] | None, defect: str) -> RenderableType:
    """What the demo says of its audits: of the data in one line or few, of the planted defect its finding.

    Args:
        facts: What ``audit.json`` holds.
        planted: The finding about a defect that was planted elsewhere, if one was.
        defect: What was planted, in words.
    """
    worse = [finding for finding in facts["findings"] if finding["severity"] != "info"]
    parts: list[RenderableType] = ["", f"[bold]Audit[/] of {facts['n_images']:,} images: {summary(facts['findings'])}"]
    parts += [f"{_head(finding)} {escape(finding['message'])}" for finding in worse]
    if planted:
        parts.append(f"[bold]Planted[/] in other phantoms: {escape(defect)}. The audit says:")
        parts.append(Padding(f"{_head(planted)} {escape(planted['message'])}", (0, 0, 0, 2)))
    return Group(*parts, "")


def _head(finding: Mapping[str, Any]) -> str:
    return f"[{COLOURS[finding['severity']]}]{finding['severity'].upper()}[/]"


def grouped(findings: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Findings that follow each other and have one remedy, so that it is said once."""
    groups: list[list[Mapping[str, Any]]] = []
    for finding in findings:
        same = groups and all(groups[-1][0][key] == finding[key] for key in ("severity", "check", "remedy"))
        if same and finding["remedy"]:
            groups[-1].append(finding)
        else:
            groups.append([finding])
    return groups


def summary(findings: Sequence[Mapping[str, Any]]) -> str:
    """``2 errors, 1 warning, 3 remarks``."""
    counts = Counter(finding["severity"] for finding in findings)
    told = [f"{counts[severity]} {WORDS[severity][counts[severity] != 1]}" for severity in COLOURS if counts[severity]]
    return ", ".join(told) or "nothing was found"

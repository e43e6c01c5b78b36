"""An audit on the terminal: the same findings in the same order as on the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding

from hilum.auditing.checks.shortcuts import ProbedLabels
from hilum.auditing.findings import ORDER, AuditReport, Finding
from hilum.text import escape, printable

COLOURS = {"error": "bold red", "warning": "yellow", "info": "cyan"}
WORDS = {"error": ("error", "errors"), "warning": ("warning", "warnings"), "info": ("remark", "remarks")}


def audit_lines(report: AuditReport) -> RenderableType:
    """The summary, then the findings, worst first; what they mean and what to do once for all of a kind.

    Args:
        report: What was found.
    """
    counts = ", ".join(
        f"{sum(part[label] for part in report.counts.values()):,} {_shown(label)}" for label in report.labels
    )
    parts: list[RenderableType] = [
        "",
        f"[bold]{summary(report.findings)}[/] in {_shown(of_patients(report))}: {counts}",
    ]
    said_info = False
    for together in grouped(report.findings):
        first = together[0]
        if first.severity != "info" or not said_info:
            parts.append("")
        said_info = first.severity == "info"
        lines = lines_of(together)
        parts += [f"{_head(first, len(together) - len(lines) + 1)} {_shown(line)}" for line in lines]
        what_follows = [first.meaning, first.remedy] if first.severity != "info" else []
        if any(what_follows):
            parts.append(Padding(f"[dim]{_shown(' '.join(filter(None, what_follows)))}[/]", (0, 0, 0, 2)))
    parts += ["", *(f"[dim]{_shown(note)}[/]" for note in report.notes)]
    return Group(*parts, f"[bold]{summary(report.findings)}[/]")


def of_patients(report: AuditReport) -> str:
    """How many images of how many patients, and of how many images these are known.

    Args:
        report: What was found.
    """
    images, known = report.n_images, report.patients
    if not known.images:
        return f"{images:,} images, patients unknown"
    if known.images == images:
        return f"{images:,} images of {known.number:,} patients"
    return f"{images:,} images; patients known for {known.images:,} of {images:,} images"


def lines_of(together: Sequence[Finding]) -> list[str]:
    """The messages of findings of a kind; one sentence for several probes that predict the same label best.

    Args:
        together: Findings as `grouped` gives them.
    """
    probed = [finding.evidence for finding in together if isinstance(finding.evidence, ProbedLabels)]
    worst = [evidence.labels[0] for evidence in probed]
    if len(worst) < 2 or len({(entry.label, entry.kind) for entry in worst}) > 1:
        return [finding.message for finding in together]
    told = []
    for evidence, entry in zip(probed, worst, strict=True):
        what = evidence.what.removeprefix("The ").removeprefix("A ")
        told.append(f"{what[:1].lower()}{what[1:]} {entry.auroc:.2f}")
    subject = "pixel properties" if worst[0].kind == "pixels" else "file properties"
    return [f"Each of these {subject} predicts '{worst[0].label}' (AUROC): {', '.join(told)}."]


def demo_lines(report: AuditReport, injected: Finding | None, defect: str) -> RenderableType:
    """What the demo says of its audits: of the data in one line or few, of the injected defect its finding.

    Args:
        report: What was found in the data.
        injected: The finding about a defect that was injected elsewhere, if one was.
        defect: What was injected, in words.
    """
    worse = [finding for finding in report.findings if finding.severity != "info"]
    parts: list[RenderableType] = ["", f"[bold]Audit[/] of {report.n_images:,} images: {summary(report.findings)}"]
    parts += [f"{_head(finding)} {_shown(finding.message)}" for finding in worse]
    if injected:
        parts.append(f"[bold]Injected[/] into other phantoms: {escape(defect)}. The audit reports:")
        parts.append(Padding(f"{_head(injected)} {_shown(injected.message + ' ' + injected.meaning)}", (0, 0, 0, 2)))
    return Group(*parts, "")


def _shown(text: str) -> str:
    return escape(printable(text))


def _head(finding: Finding, number: int = 1) -> str:
    """The severity, before a line that stands for a number of findings: ``5 WARNINGS``."""
    word = finding.severity.upper() if number == 1 else f"{number} {WORDS[finding.severity][1].upper()}"
    return f"[{COLOURS[finding.severity]}]{word}[/]"


def grouped(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Findings that follow each other and have one meaning and remedy, so that these are said once."""
    groups: list[list[Finding]] = []
    kind_before = None
    for finding in findings:
        kind = finding.severity, finding.check, finding.meaning, finding.remedy
        if finding.remedy and kind == kind_before:
            groups[-1].append(finding)
        else:
            groups.append([finding])
        kind_before = kind
    return groups


def summary(findings: Sequence[Finding]) -> str:
    """``2 errors, 1 warning, 3 remarks``."""
    counts = Counter(finding.severity for finding in findings)
    told = [f"{counts[severity]} {WORDS[severity][counts[severity] != 1]}" for severity in ORDER if counts[severity]]
    return ", ".join(told) or "nothing was found"

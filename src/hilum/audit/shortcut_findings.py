"""What the shortcut probes mean, in words and by stated rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from hilum.audit.features import BYTES, COLUMN, LETTERS
from hilum.audit.findings import Finding, Severity
from hilum.audit.shortcuts import Shortcut, Shortcuts

LEVEL = 0.01
SEVERITIES: dict[str, tuple[tuple[float, Severity], ...]] = {
    "container": ((0.95, "error"), (0.7, "warning"), (0.0, "info")),
    BYTES: ((0.95, "error"), (0.9, "warning"), (0.7, "info")),
    COLUMN: ((0.7, "warning"), (0.0, "info")),
    LETTERS: ((0.8, "warning"), (0.65, "info")),
    "pixels": ((0.9, "warning"), (0.7, "info")),
}
"""From which AUROC on a finding has which severity, where p is at most `LEVEL`. Settings and dimensions of a file
cannot show a disease. Its bytes can, a little: detail takes space. A column of the table may (age, view), and pixels
may hold some of the disease itself, so that neither is ever an error. Letters do not, but collars and shoulders may be
taken for them."""


def findings(shortcuts: Shortcuts) -> list[Finding]:
    """One finding a probe that tells some label from the rest, at the label that it tells best.

    Args:
        shortcuts: As `probe_shortcuts` gives them. Severities are those of `SEVERITIES`.
    """
    by_probe: defaultdict[str, list[tuple[int, Severity, Shortcut]]] = defaultdict(list)
    for shortcut in shortcuts.found:
        for rank, (least, severity) in enumerate(SEVERITIES[_rule(shortcut)]):
            if shortcut.p_value <= LEVEL and shortcut.auroc >= least:
                by_probe[shortcut.probe].append((rank, severity, shortcut))
                break
    made = []
    for entries in by_probe.values():
        _, severity, worst = min(entries, key=lambda entry: (entry[0], -entry[2].auroc))
        others = [shortcut for _, _, shortcut in entries if shortcut is not worst]
        made.append(
            Finding(
                check="shortcuts",
                severity=severity,
                message=_message(worst, [s for _, equal, s in entries if equal == severity and s is not worst]),
                remedy=_remedy(worst),
                evidence={
                    "probe": worst.probe,
                    "what": worst.words.rpartition(" tell")[0].removesuffix(",").removesuffix(" alone"),
                    "labels": [item.as_json() for item in (worst, *others)],
                },
                meaning=_meaning(worst),
            )
        )
    return sorted(made, key=lambda finding: _place(finding.evidence["labels"][0]))


def _place(worst: Mapping[str, Any]) -> int:
    """What the file tells first, then pixels, then columns of the table."""
    return 2 if worst["probe"].startswith(COLUMN) else 1 if worst["kind"] == "pixels" else 0


def _rule(shortcut: Shortcut) -> str:
    if shortcut.probe.startswith(COLUMN):
        return COLUMN
    return shortcut.probe if shortcut.probe in SEVERITIES else shortcut.kind


def _message(worst: Shortcut, others: Sequence[Shortcut]) -> str:
    interval = "" if worst.low is None else f" ({worst.low:.2f} to {worst.high:.2f})"
    listed = ", ".join(f"'{item.label}' {item.auroc:.2f}" for item in others)
    also = f"; also {listed}" if others else ""
    return f"{worst.words} '{worst.label}' from the rest with AUROC {worst.auroc:.2f}{interval}{also}."


def _meaning(worst: Shortcut) -> str:
    if worst.probe.startswith(COLUMN):
        return "A model may learn what goes with it, not the disease."
    if worst.kind == "pixels":
        return "A shortcut is available, which does not prove that a model uses it."
    if worst.probe == BYTES and worst.auroc < SEVERITIES[BYTES][0][0]:
        return "More detail takes more bytes, so that this may be the picture itself, or how the file was written."
    if worst.auroc >= SEVERITIES["container"][1][0]:
        return "A model may learn the file, not the lungs."
    return "It is little, but chance does not explain it, and files should know nothing of labels."


def _remedy(worst: Shortcut) -> str:
    if worst.probe.startswith(COLUMN):
        return (
            f"Compare the labels at equal '{worst.probe.removeprefix(COLUMN)}', or collect images of all labels that "
            "do not differ in it."
        )
    if worst.kind == "container":
        return (
            "Files that differ by label mostly come from different sources. Writing all files alike does not mend the "
            "source: collect images of all labels from each source first. Compare every model with this probe."
        )
    return (
        "Collect images of all labels from each source, remove borders and letters, and count a model as good only "
        "where it beats this probe on the same patients."
    )

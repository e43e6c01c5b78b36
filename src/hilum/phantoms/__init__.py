"""Synthetic frontal chest radiographs with known truth, and datasets of them with injected defects."""

from hilum.phantoms.cooccurrence import CORRELATIONS, FINDINGS, PREVALENCES, parse_prevalence
from hilum.phantoms.defects import Defect, InjectedDefect
from hilum.phantoms.findings_phantom import FindingsPhantom, make_findings_phantom
from hilum.phantoms.findings_set import WrittenFindings, write_findings_phantoms
from hilum.phantoms.generate import WrittenPhantoms, write_phantoms
from hilum.phantoms.radiograph import LABELS, Phantom, make_phantom

__all__ = [
    "CORRELATIONS",
    "FINDINGS",
    "LABELS",
    "PREVALENCES",
    "Defect",
    "FindingsPhantom",
    "InjectedDefect",
    "Phantom",
    "WrittenFindings",
    "WrittenPhantoms",
    "make_findings_phantom",
    "make_phantom",
    "parse_prevalence",
    "write_findings_phantoms",
    "write_phantoms",
]

"""What an audit says: findings, each with its severity, its evidence and its remedy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Severity = Literal["info", "warning", "error"]
ORDER: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """One thing to know about a dataset.

    Attributes:
        check: What found it, such as ``duplicates``.
        severity: ``error``: results on these data would be wrong; ``warning``: they could mislead; ``info``: good
            to know.
        message: What was found, in words that a student understands.
        remedy: What to do about it; empty where nothing is to be done.
        evidence: Numbers and names behind it, as JSON can hold them.
    """

    check: str
    severity: Severity
    message: str
    remedy: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For ``audit.json``."""
        return asdict(self)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Errors, then warnings, then what is good to know; otherwise in the order given."""
    return sorted(findings, key=lambda finding: ORDER.index(finding.severity))

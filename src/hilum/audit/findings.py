"""What an audit says: findings, each with its severity, its evidence and its remedy, and how audits are kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from hilum import __version__
from hilum.data.cache_files import PRIVATE, cache_folder, make_private
from hilum.data.dataset import Row
from hilum.files import read_text, save_json
from hilum.text import printable

Severity = Literal["info", "warning", "error"]
ORDER: tuple[Severity, ...] = ("error", "warning", "info")
KEPT = ("check", "severity", "message", "remedy")  # what a run keeps of each finding
MISLEADS = (
    "provenance",  # labels that cannot be what they say
    "sources",  # source and label determine each other: no measure can tell one from the other
    "patients",  # leakage: results are too good
    "duplicates",
    "labels",  # some are wrong
    "shortcuts",  # the file, then the picture, tells the label
    "composition",
    "unreadable",
    "size",
    "balance",
)
"""Checks by how much what they find misleads: the order of findings that are equally bad. Mending a shortcut does not
mend the source that brought it, so that files come after sources."""


@dataclass(frozen=True)
class Finding:
    """One thing to know about a dataset.

    Attributes:
        check: What found it, such as ``duplicates``.
        severity: ``error``: results on these data would be wrong; ``warning``: they could mislead; ``info``: good
            to know.
        message: What was found, in words that a student understands.
        meaning: What that means; the same words for all findings of a kind, so that they can be said once.
        remedy: What to do about it; empty where nothing is to be done.
        evidence: Numbers and names behind it, as JSON can hold them.
    """

    check: str
    severity: Severity
    message: str
    remedy: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)
    meaning: str = ""

    def as_json(self) -> dict[str, Any]:
        """For ``audit.json``."""
        return asdict(self)


def understood(findings: Iterable[Any]) -> list[Finding]:
    """Findings that a file holds, without those that this version does not know.

    Args:
        findings: As `Finding.as_json` gave them, or only with check, severity, message and remedy.
    """
    return [
        Finding(found["check"], found["severity"], found["message"], found["remedy"])
        for found in findings
        if isinstance(found, dict)
        and all(isinstance(found.get(key), str) for key in KEPT)
        and found["check"] in MISLEADS
        and found["severity"] in ORDER
    ]


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Errors, then warnings, then what is good to know; within each what misleads most, as `MISLEADS` has it."""
    return sorted(findings, key=lambda finding: (ORDER.index(finding.severity), MISLEADS.index(finding.check)))


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names in quotes, the first few of many: ``'a', 'b' and 12 more``."""
    shown = [f"'{printable(name)}'" for name in names[:most]]
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def said_briefly(findings: Sequence[Mapping[str, Any]], severity: Severity = "error", most: int = 5) -> list[str]:
    """The findings of one severity in one line each, the first few of many: ``ERROR sources: ...``.

    Args:
        findings: As `Finding.as_json` gives them.
        severity: Which.
        most: Lines before the rest is only counted.
    """
    chosen = [finding for finding in findings if finding["severity"] == severity]
    lines = [f"{severity.upper()} {finding['check']}: {printable(finding['message'])}" for finding in chosen[:most]]
    if len(chosen) > most:
        lines.append(f"{len(chosen) - most} more {severity}s")
    return lines


def dataset_key(rows: Iterable[Row]) -> str:
    """What an audit is about: the same wherever the files lie, whatever they are called and however they are split.

    Args:
        rows: Of the readable files, in any order; files, labels, patients and sources count.
    """
    lines = sorted(json.dumps([row.sha256, row.label, row.patient_id, row.source]) for row in rows)
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:32]


def remember(facts: Mapping[str, Any], key: str, written: Path) -> None:
    """Keep an audit in the cache; where that cannot be written, nothing is kept.

    Args:
        facts: What ``audit.json`` holds.
        key: The dataset's (`dataset_key`).
        written: The folder in which the audit lies.
    """
    file = _file(key)
    with contextlib.suppress(OSError):
        make_private(file.parent.parent)
        file.parent.mkdir(mode=PRIVATE, exist_ok=True)
        save_json(file, {**facts, "written": str(written.resolve())}, indent=None)


def recall(key: str) -> dict[str, Any]:
    """What ``audit.json`` held, and ``written``, the folder in which it lay; empty if this version made none."""
    try:
        found = json.loads(read_text(_file(key)))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("findings"), list) else {}


def _file(key: str) -> Path:
    return cache_folder() / "audits" / f"{key}-{__version__}.json"

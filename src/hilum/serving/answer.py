"""What is said about one radiograph, and how it is written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer about one image, or why there is none.

    Attributes:
        path: Of the image, or what it is called.
        label: The most probable one; empty where there is an `error`.
        probabilities: By label, in the bundle's order.
        display: What that label is called before people.
        decision: The triage decision: ``flag``, ``read`` (between two thresholds), ``clear``, ``abstain``, or
            ``undecided`` where the bundle has no operating point; empty where there is an `error`.
        reason: Of the decision, one sentence.
        notes: What has to be known besides, such as a lateral view.
        p_familiar: Share of calibration patients at least as unlike the training images as this image; None where
            the bundle cannot tell.
        error: Why the image could not be read; empty where it could.
    """

    path: str
    label: str = ""
    display: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    decision: str = ""
    reason: str = ""
    notes: tuple[str, ...] = ()
    p_familiar: float | None = None
    error: str = ""

    def to_json(self, model: Mapping[str, str]) -> dict[str, Any]:
        """The object of one line of ``hilum predict --json``.

        Args:
            model: ``name`` and ``sha256`` of the bundle.
        """
        if self.error:
            return {"path": self.path, "error": self.error, "model": dict(model)}
        return {
            "path": self.path,
            "label": self.label,
            "display": self.display,
            "probabilities": dict(self.probabilities),
            "decision": self.decision,
            "reason": self.reason,
            "notes": list(self.notes),
            "p_familiar": self.p_familiar,
            "model": dict(model),
        }

    def to_row(self, labels: Sequence[str], model: Mapping[str, str]) -> list[str]:
        """The cells of one row of ``hilum predict --csv`` (see `columns`)."""
        shown = [f"{self.probabilities[label]:.8f}" if not self.error else "" for label in labels]
        familiar = "" if self.p_familiar is None else f"{self.p_familiar:.6f}"
        words = [
            self.path,
            self.label,
            self.display,
            self.decision,
            self.reason,
            *shown,
            familiar,
            " ".join(self.notes),
            self.error,
        ]
        return [*words, model["name"], model["sha256"]]


def columns(labels: Sequence[str]) -> list[str]:
    """The head of ``hilum predict --csv``."""
    shown = [f"p:{label}" for label in labels]
    return [
        "path",
        "label",
        "display",
        "decision",
        "reason",
        *shown,
        "p_familiar",
        "notes",
        "error",
        "model",
        "model_sha256",
    ]

"""What the report of a run shows of several findings an image: its evaluations, and how often each finding occurs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hilum.data.multilabel import NO_FINDING
from hilum.evaluation.accesses import FILE as ACCESS
from hilum.evaluation.accesses import access_sentence, joint_sentence, read_access
from hilum.evaluation.findings_predictions import read_findings_predictions
from hilum.evaluation.findings_schema import FindingsMetrics
from hilum.evaluation.predictions import FILE as PREDICTIONS
from hilum.files import settle
from hilum.report.figures import label_colours
from hilum.report.findings_page import FindingsEvaluation, findings_evaluation
from hilum.training.environment import Environment

STALE = "The run holds other weights than were evaluated here: run `hilum evaluate` again."


def read_findings_metrics(folder: Path) -> FindingsMetrics:
    """What ``metrics.json`` of an evaluation of several findings holds.

    Raises:
        RunError: It is missing or damaged.
    """
    settle(folder)
    return FindingsMetrics.read(folder / "metrics.json", f"hilum evaluate {folder.parent.parent}")


def findings_evaluation_of(folder: Path, metrics: FindingsMetrics, environment: Environment) -> FindingsEvaluation:
    """Everything that the page of a run shows of an evaluation.

    Args:
        folder: Below the run's ``evaluation``.
        metrics: What its ``metrics.json`` holds.
        environment: The run's.
    """
    root = Path(metrics.data.root or environment.data.root or ".")
    access = read_access(folder)
    notes = [sentence] if (sentence := joint_sentence(access)) else []
    if (metrics.weights_sha256 or "") != environment.weights_sha256:
        notes.append(STALE)
    told = access_sentence(access) if (folder / ACCESS).exists() else ""
    predictions = read_findings_predictions(folder / PREDICTIONS)
    return findings_evaluation(folder.name, metrics, predictions, root, notes, told)


def colours_of_data(findings: Sequence[str]) -> dict[str, str]:
    """Colours of what images are counted by: each finding, and none."""
    return label_colours([NO_FINDING, *findings])


def colours_of_run(findings: Sequence[str], evaluations: Sequence[FindingsEvaluation]) -> dict[str, str]:
    """Colours of the data's labels, and those of each finding and its absence in evaluations."""
    colours = colours_of_data(findings)
    for evaluation in evaluations:
        colours |= evaluation.colours
    return colours

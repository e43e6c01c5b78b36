"""What a page shows of several findings an image: the table, small multiples, and one section a finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hilum import __version__
from hilum.evaluation.findings_predictions import FindingsPredictions
from hilum.evaluation.findings_schema import FindingsMetrics
from hilum.evaluation.schema import Unreadable
from hilum.report.evaluation_sections import Evaluation, of_predictions, slug
from hilum.report.figures import label_colours
from hilum.report.findings_console import (
    COLUMNS,
    FindingRow,
    finding_alarms,
    finding_rows,
    left_out_sentences,
    mean_rows,
    threshold_sentence,
)
from hilum.report.findings_figures import reliability_grid, roc_grid
from hilum.templating import write_page
from hilum.text import interval_text, plural

FILE = "report.html"


@dataclass(frozen=True)
class FindingsEvaluation:
    """Several findings an image, ready to be shown.

    Attributes:
        name: Of the evaluation.
        metrics: What ``metrics.json`` holds.
        verdict: One sentence.
        alarms: What forbids to take figures at their word.
        heads: Headings of the table.
        rows: One row a finding.
        means: Macro and micro.
        threshold: At which thresholds findings are called.
        roc: ROC curves, a panel a finding.
        reliability: Reliability diagrams, a panel a finding.
        sections: Each finding as a problem of two labels, the lowest AUROC first, which alone has a gallery.
        colours: Colour by label of the sections.
        notes: Remarks.
        access: How often the images were evaluated.
    """

    name: str
    metrics: FindingsMetrics
    verdict: str
    alarms: list[str]
    heads: tuple[str, ...]
    rows: list[FindingRow]
    means: list[FindingRow]
    threshold: str
    roc: str
    reliability: str
    sections: list[Evaluation]
    colours: dict[str, str]
    notes: list[str]
    unreadable: list[Unreadable]
    access: str = ""

    @property
    def errors_shown(self) -> int:
        """How many wrongly answered images the gallery shows."""
        return self.sections[0].errors_shown


def findings_evaluation(
    name: str,
    metrics: FindingsMetrics,
    predictions: FindingsPredictions,
    root: Path,
    notes: Sequence[str] = (),
    access: str = "",
) -> FindingsEvaluation:
    """Everything that a page shows of several findings.

    Args:
        name: What the page calls the evaluation.
        metrics: What was measured.
        predictions: Of what.
        root: The folder that the paths of the images are relative to.
        notes: Remarks besides those of the measures.
        access: How often the images were evaluated.
    """
    colours = finding_colours(metrics)
    order = metrics.worst_first()
    sections = [
        of_predictions(
            finding,
            metrics.findings[finding].metrics,
            predictions.of_finding(finding),
            colours,
            root,
            gallery=finding == order[0],
        )
        for finding in order
    ]
    return FindingsEvaluation(
        name=name,
        metrics=metrics,
        verdict=findings_verdict(metrics),
        alarms=finding_alarms(metrics),
        heads=COLUMNS,
        rows=finding_rows(metrics),
        means=mean_rows(metrics),
        threshold=threshold_sentence(metrics),
        roc=roc_grid(metrics.findings, f"roc-{slug(name)}"),
        reliability=reliability_grid(metrics.findings, f"reliability-{slug(name)}"),
        sections=sections,
        colours=colours,
        notes=[*metrics.data.notes, *metrics.notes, *notes, *left_out_sentences(metrics)],
        unreadable=metrics.unreadable,
        access=access,
    )


def finding_colours(metrics: FindingsMetrics) -> dict[str, str]:
    """One colour for all findings, and one for their absence, by label."""
    return {
        label: colour
        for one in metrics.findings.values()
        for label, colour in label_colours(one.metrics.labels).items()
    }


def findings_verdict(metrics: FindingsMetrics) -> str:
    """The evaluation in one sentence: the mean, the best and the worst finding."""
    worst, *_, best = [*metrics.worst_first(), *metrics.worst_first()]
    ends = "" if worst == best else f"; lowest {_area(metrics, worst)}, highest {_area(metrics, best)}"
    count = plural(len(metrics.findings), "finding")
    return f"Macro AUROC {interval_text(metrics.macro.auroc, as_percent=False)} of {count}{ends}."


def _area(metrics: FindingsMetrics, name: str) -> str:
    return f"{name} {interval_text(metrics.findings[name].auroc, as_percent=False)}"


def write_findings_page(file: Path, metrics: FindingsMetrics, predictions: FindingsPredictions) -> Path:
    """Write the page of predictions of several findings and their measures.

    Args:
        file: Is written, or written over.
        metrics: What was measured.
        predictions: Of what; pictures are shown where their files are found.

    Returns:
        The file. The same evaluation gives the same bytes.
    """
    root = Path(metrics.data.root or ".")
    found = findings_evaluation(metrics.name or "predictions", metrics, predictions, root)
    content = {
        "evaluation": found,
        "colours": found.colours,
        "foreign": metrics.weights_sha256 is None,
        "version": __version__,
    }
    return write_page(file, "findings.html.j2", content)

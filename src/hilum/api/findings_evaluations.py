"""How good a classifier of several findings an image is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hilum.api.printed import Reported, Writable, displayed
from hilum.evaluation.findings_predictions import FindingsPredictions
from hilum.evaluation.findings_schema import FindingMeans, FindingsMetrics
from hilum.stats.records import Interval, Intervals
from hilum.text import interval_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType


class FindingsEvaluation(Reported):
    """Measures of a classifier of several findings an image, and the predictions behind them.

    Each finding is measured against its absence, over the images where it is known.

    Attributes:
        metrics: Everything that ``metrics.json`` holds, typed; ``metrics.findings[NAME].metrics`` has all of a finding.
        predictions: Probabilities and truth, image by image and finding by finding.
        folder: Where it was written; None if it was not.
    """

    def __init__(self, metrics: FindingsMetrics, predictions: FindingsPredictions, folder: Path | None = None) -> None:
        self.metrics = metrics
        self.predictions = predictions
        self.folder = folder

    @property
    def findings(self) -> tuple[str, ...]:
        """The findings that are measured."""
        return tuple(self.metrics.findings)

    @property
    def labels(self) -> tuple[str, ...]:
        """The findings, under the name that labels have in `Evaluation`."""
        return self.findings

    @property
    def macro(self) -> FindingMeans:
        """Mean of the findings' measures; intervals count a patient once for all findings."""
        return self.metrics.macro

    @property
    def micro(self) -> FindingMeans:
        """Measures of all pairs of image and finding."""
        return self.metrics.micro

    @property
    def accuracy(self) -> Interval:
        """Macro mean of the accuracy of the findings."""
        return self.macro.accuracy

    @property
    def balanced_accuracy(self) -> Interval:
        """Macro mean of the balanced accuracy of the findings."""
        return self.macro.balanced_accuracy

    @property
    def sensitivity(self) -> Intervals:
        """Sensitivity (recall) by finding, at its threshold."""
        return self._by_finding("sensitivity")

    @property
    def specificity(self) -> Intervals:
        """Specificity by finding, at its threshold."""
        return self._by_finding("specificity")

    @property
    def ppv(self) -> Intervals:
        """Positive predictive value (precision) by finding, at the frequencies of these images."""
        return self._by_finding("ppv")

    @property
    def npv(self) -> Intervals:
        """Negative predictive value by finding, at the frequencies of these images."""
        return self._by_finding("npv")

    @property
    def f1(self) -> Intervals:
        """F1 by finding: harmonic mean of precision and recall."""
        return self._by_finding("f1")

    @property
    def auroc(self) -> Intervals:
        """Area under the ROC curve by finding."""
        return self._by_finding("auroc")

    @property
    def auprc(self) -> Intervals:
        """Average precision by finding."""
        return self._by_finding("auprc")

    def _by_finding(self, measure: str) -> Intervals:
        return {name: getattr(one, measure) for name, one in self.metrics.findings.items()}

    def _document(self) -> Writable:
        return self.metrics

    def _write_page(self, file: Path) -> Path:
        from hilum.report.findings_page import write_findings_page

        return write_findings_page(file, self.metrics, self.predictions)

    def plot_roc(self) -> Figure:
        """Draw the ROC curve of every finding, with 95 % bands and operating points."""
        from hilum.report.findings_figures import roc_grid_figure

        return displayed(roc_grid_figure(self.metrics.findings))

    def plot_calibration(self) -> Figure:
        """Draw the reliability diagram of every finding: stated probability against observed share."""
        from hilum.report.findings_figures import reliability_grid_figure

        return displayed(reliability_grid_figure(self.metrics.findings))

    def _table(self) -> RenderableType:
        from hilum.report.findings_console import findings_table

        return findings_table(self.metrics)

    def __repr__(self) -> str:
        area = interval_text(self.macro.auroc, as_percent=False)
        return (
            f"<hilum.FindingsEvaluation of {self.metrics.n_images:,} images, {len(self.findings)} findings: "
            f"macro AUROC {area}>"
        )

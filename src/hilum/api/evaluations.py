"""`hilum.evaluate`: how good a run is, or the predictions of any other model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from hilum.api.datasets import Data, table_of
from hilum.api.findings_evaluations import FindingsEvaluation
from hilum.api.printed import Reported, Writable, displayed
from hilum.api.python_wording import public, told
from hilum.api.runs import open_run
from hilum.data.frames import Frame
from hilum.errors import UsageError
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.schema import Metrics
from hilum.extras import explaining
from hilum.signatures import refuse_ignored
from hilum.stats.records import Interval, Intervals
from hilum.text import interval_text
from hilum.training.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType

    from hilum.evaluation.external_findings import ExternalFindings
    from hilum.evaluation.external_predictions import ExternalPredictions
    from hilum.progress import Progress


WHOLE = "with predictions, a table of images and labels that is evaluated whole"


class Evaluation(Reported):
    """Measures of a classifier with their intervals, and the predictions behind them.

    Attributes:
        metrics: Everything that ``metrics.json`` holds, typed.
        predictions: Probabilities and true labels, image by image.
        folder: Where it was written; None if it was not.
    """

    def __init__(self, metrics: Metrics, predictions: Predictions, folder: Path | None = None) -> None:
        self.metrics = metrics
        self.predictions = predictions
        self.folder = folder

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the probabilities."""
        return tuple(self.metrics.labels)

    @property
    def accuracy(self) -> Interval:
        """Share of images whose most probable label is the true one."""
        return self.metrics.accuracy

    @property
    def balanced_accuracy(self) -> Interval:
        """Mean of the labels' sensitivities."""
        return self.metrics.balanced_accuracy

    @property
    def sensitivity(self) -> Intervals:
        """Sensitivity (recall) by label: share of its images that are called so."""
        return self.metrics.sensitivity

    @property
    def specificity(self) -> Intervals:
        """Specificity by label: share of the other images that are not called so."""
        return self.metrics.specificity

    @property
    def ppv(self) -> Intervals:
        """Positive predictive value (precision) by label, at the frequencies of these images."""
        return self.metrics.ppv

    @property
    def npv(self) -> Intervals:
        """Negative predictive value by label, at the frequencies of these images."""
        return self.metrics.npv

    @property
    def f1(self) -> Intervals:
        """F1 by label: harmonic mean of precision and recall."""
        return self.metrics.f1

    @property
    def auroc(self) -> Intervals:
        """Area under the ROC curve by label, against all others."""
        return self.metrics.auroc

    @property
    def auprc(self) -> Intervals:
        """Average precision by label."""
        return self.metrics.auprc

    def _document(self) -> Writable:
        return self.metrics

    def _write_page(self, file: Path) -> Path:
        from hilum.report.evaluation_page import write_evaluation_page

        return write_evaluation_page(file, self.metrics, self.predictions)

    def plot_roc(self) -> Figure:
        """Draw ROC and precision-recall curves of every label, with 95 % bands."""
        from hilum.report.evaluation_figures import curves_figure
        from hilum.report.figures import label_colours

        return displayed(curves_figure(self.metrics.curves, label_colours(self.labels)))

    def plot_calibration(self) -> Figure:
        """Draw the reliability diagram of every label: stated probability against observed share."""
        from hilum.report.evaluation_figures import reliability_figure
        from hilum.report.figures import label_colours

        return displayed(reliability_figure(self.metrics.reliability, label_colours(self.labels)))

    def plot_confusion_matrix(self) -> Figure:
        """Draw the confusion matrix: true labels as rows, most probable labels as columns."""
        from hilum.report.evaluation_figures import confusion_figure

        return displayed(confusion_figure(self.labels, self.metrics.confusion))

    def _table(self) -> RenderableType:
        from hilum.report.evaluation_console import result_table

        return result_table(self.metrics)

    def __repr__(self) -> str:
        return f"<hilum.Evaluation of {self.metrics.n_images:,} images: accuracy {interval_text(self.accuracy)}>"


@public
def evaluate(
    run: Run | str | PathLike[str] | None = None,
    data: Data | None = None,
    *,
    predictions: Frame | str | PathLike[str] | None = None,
    model: str | PathLike[str] | None = None,
    split: str | None = None,
    out: str | PathLike[str] | None = None,
    positive_label: str | None = None,
    map_label: Mapping[str, str] | None = None,
    prevalences: Sequence[float] = (),
    progress: bool = True,
) -> Evaluation | FindingsEvaluation:
    """Measure how good a classifier is, with 95 % confidence intervals that count patients.

    Either a run, on its own test patients or on other data; or the predictions of any model; or a model file on `data`.

    Args:
        run: Finished run, or its folder; a model goes to `model`, with `data`.
        data: Other dataset with the same labels; by default the run's own.
        predictions: CSV table or data frame with the column ``label``, a column of probabilities a label, named by the
            label or ``p:`` and the label, and optionally ``path``, ``patient_id`` and columns of subgroups. Of several
            findings an image: columns ``true:NAME`` (1, 0, blank or -1) and ``p:NAME``.
        model: Model file of hilum, or TOML file that describes an ONNX network; it is evaluated on `data`.
        split: Part of the data that is evaluated, ``test`` by default; predictions are evaluated whole.
        out: Folder to write to. By default a run is written to its own folder ``evaluation``, and predictions nowhere.
        positive_label: Label that must not be missed, of `predictions` or `model`; by default recognised by its name.
            Of a run it is the recipe's.
        map_label: The run's label for labels of `data`; empty text to leave images out.
        prevalences: Further prevalences for predictive values and net benefit, each in (0, 1).
        progress: Whether long work shows its progress on standard error.

    Returns:
        Measures and predictions; a `FindingsEvaluation` of several findings an image.

    Raises:
        UsageError: Not exactly one of a run, predictions and a model is given, or a model without data; or an argument
            would be ignored.
        ModelFileError: The model cannot be used.
        RunError: The training is not finished, or its images are gone.
        TableError: The predictions cannot be used.
        SplitError: The split is empty, or holds labels that the run does not know.
    """
    if sum(given is not None for given in (run, predictions, model)) != 1 or (model is not None and data is None):
        msg = "evaluate takes a run, or predictions=, or model= with data. Give one of them."
        raise UsageError(msg, code="run-or-predictions")
    if predictions is not None:
        refuse_ignored(WHOLE, {"data": None if data is None else True, "--split": split, "--map-label": map_label})
    if run is not None:
        refuse_ignored("with a run, whose recipe names it", {"--positive-label": positive_label})
    split = split or "test"
    teller, folder = told(progress), None if out is None else Path(out)
    if run is None:
        from hilum.evaluation.external_findings import ExternalFindings
        from hilum.evaluation.external_predictions import (
            check_asked,
            measure_external,
            measure_external_findings,
            write_external,
        )

        check_asked(folder, prevalences)
        given = _external(predictions, model, data, split, map_label, teller)
        if isinstance(given, ExternalFindings):
            several = measure_external_findings(given, positive_label=positive_label, prevalences=prevalences)
            if folder:
                several = write_external(given, several, folder)
            return FindingsEvaluation(several, given.predictions, folder)
        metrics = measure_external(given, positive_label=positive_label, prevalences=prevalences)
        if folder:
            metrics = write_external(given, metrics, folder)
        return Evaluation(metrics, given.predictions, folder)
    with explaining("the evaluation of a run"):
        from hilum.evaluation.evaluate import evaluate as run_evaluation
        from hilum.evaluation.evaluate_findings import FindingsEvaluated

    found = run_evaluation(
        open_run(run),
        None if data is None else table_of(data, teller),
        split=split,
        out=folder,
        mapping=map_label,
        prevalences=prevalences,
        progress=teller,
    )
    if isinstance(found, FindingsEvaluated):
        return FindingsEvaluation(found.metrics, found.predictions, found.folder)
    return Evaluation(found.metrics, found.predictions, found.folder)


def _external(
    predictions: Frame | str | PathLike[str] | None,
    model: str | PathLike[str] | None,
    data: Data | None,
    split: str,
    map_label: Mapping[str, str] | None,
    teller: Progress,
) -> ExternalPredictions | ExternalFindings:
    """Predictions of a model that is no run: those that were given, or those that it makes now."""
    from hilum.evaluation.external_predictions import read_external

    if model is not None and data is not None:
        from hilum.evaluation.external_model import predict_by

        return predict_by(Path(model), table_of(data, teller), split=split, mapping=map_label, progress=teller)
    assert predictions is not None  # one of the two is given
    return read_external(Path(predictions) if isinstance(predictions, str | PathLike) else predictions)

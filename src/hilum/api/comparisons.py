"""`hilum.compare`: two classifiers on the same patients."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from hilum.api.printed import Reported, Writable
from hilum.api.python_wording import public, told
from hilum.api.runs import open_run
from hilum.data.frames import Frame
from hilum.evaluation import comparison as comparisons
from hilum.evaluation import findings_comparison as of_findings
from hilum.evaluation.external_findings import ExternalFindings
from hilum.evaluation.external_predictions import ExternalPredictions, of_one_kind, read_external, two_kinds
from hilum.evaluation.findings_comparison import compare_external_findings, compare_findings
from hilum.signatures import refuse_ignored
from hilum.training.run import Run

if TYPE_CHECKING:
    from rich.console import RenderableType

Compared = Run | str | PathLike[str] | Frame
"""A run or its folder; or predictions: a CSV table or a data frame."""


class Comparison(Reported):
    """Two classifiers on the same patients: paired differences with intervals, and what could have been seen.

    Attributes:
        result: Everything that ``comparison.json`` holds, typed.
        folder: Where it was written; None if it was not.
    """

    def __init__(self, result: comparisons.Comparison, folder: Path | None = None) -> None:
        self.result = result
        self.folder = folder

    def _document(self) -> Writable:
        return self.result

    def _write_page(self, file: Path) -> Path:
        from hilum.report.comparison_page import write_comparison_page

        return write_comparison_page(file, self.result)

    def _table(self) -> RenderableType:
        from hilum.report.comparison_text import comparison_table

        return comparison_table(self.result)

    def __repr__(self) -> str:
        first, second = (run.name for run in self.result.runs)
        return f"<hilum.Comparison of {first} and {second} on {self.result.n_images:,} images>"


class FindingsComparison(Reported):
    """Two classifiers of several findings on the same patients: paired differences by finding, with Holm's correction.

    Attributes:
        result: Everything that ``comparison.json`` holds, typed.
        folder: Where it was written; None if it was not.
    """

    def __init__(self, result: of_findings.FindingsComparison, folder: Path | None = None) -> None:
        self.result = result
        self.folder = folder

    def _document(self) -> Writable:
        return self.result

    def _write_page(self, file: Path) -> Path:
        from hilum.report.compared_findings import write_findings_comparison_page

        return write_findings_comparison_page(file, self.result)

    def _table(self) -> RenderableType:
        from hilum.report.compared_findings import findings_comparison_table

        return findings_comparison_table(self.result)

    def __repr__(self) -> str:
        first, second = (run.name for run in self.result.runs)
        count = len(self.result.findings)
        return (
            f"<hilum.FindingsComparison of {first} and {second} on {self.result.n_images:,} images, {count} findings>"
        )


@public
def compare(
    first: Compared,
    second: Compared,
    *,
    split: str | None = None,
    out: str | PathLike[str] | None = None,
    positive_label: str | None = None,
    progress: bool = True,
) -> Comparison | FindingsComparison:
    """Compare two classifiers on the same patients. Differences are second minus first.

    Args:
        first: Run or its folder; or predictions of any model, a CSV table or data frame as `evaluate` takes them.
        second: The other one, of the same kind.
        split: Split of both runs on whose images they are compared, ``test`` by default.
        out: Folder to write to. By default runs are written to ``comparison`` in the second, predictions nowhere.
        positive_label: Label of predictions that must not be missed; by default recognised by its name.
        progress: Whether long work shows its progress on standard error.

    Returns:
        Paired differences with intervals, tests by patient, and their power; of several findings an image a
        `FindingsComparison`.

    Raises:
        RunError: They are about other images or labels, or a run is not finished.
        TableError: Predictions cannot be used.
        UsageError: One is a run and the other predictions, or an argument would be ignored.
    """
    folder = None if out is None else Path(out)
    given, beside = _predictions(first), _predictions(second)
    if given and beside:
        refuse_ignored("with predictions, which are compared whole", {"--split": split})
        both = of_one_kind(given, beside)
        if isinstance(both[0], ExternalFindings):
            refuse_ignored("with several findings", {"--positive-label": positive_label})
            several = compare_external_findings(*both)
            if folder:
                comparisons.write_comparison(several, folder)
            return FindingsComparison(several, folder)
        result = comparisons.compare_external(*both, positive_label=positive_label)
        if folder:
            comparisons.write_comparison(result, folder)
        return Comparison(result, folder)
    refuse_ignored("with runs, whose recipes name it", {"--positive-label": positive_label})
    table, run = (given or beside), (first if beside else second)
    if table:
        raise two_kinds(table.name, Path(run.path if isinstance(run, Run) else str(run)))
    one, two = (open_run(run) for run in (first, second) if isinstance(run, Run | str | PathLike))
    if one.findings or two.findings:
        compared = compare_findings(one, two, split=split or "test", out=folder, progress=told(progress))
        return FindingsComparison(compared.comparison, compared.folder)
    found = comparisons.compare(one, two, split=split or "test", out=folder, progress=told(progress))
    return Comparison(found.comparison, found.folder)


def _predictions(given: Compared) -> ExternalPredictions | ExternalFindings | None:
    """Predictions, where a table of them was given."""
    if isinstance(given, str | PathLike):
        return read_external(Path(given)) if Path(given).is_file() else None
    return None if isinstance(given, Run) else read_external(given)

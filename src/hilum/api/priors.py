"""`hilum.set_prior`: move a run's probabilities to another prevalence, or another boundary."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Literal

from hilum.api.datasets import Data, table_of
from hilum.api.python_wording import public, told
from hilum.api.runs import open_run
from hilum.evaluation import set_prior as steps
from hilum.signatures import refuse_ignored
from hilum.stats.records import PriorStep
from hilum.training.run import Run


@public
def set_prior(
    run: Run | str | PathLike[str],
    data: Data | None = None,
    *,
    prevalences: Mapping[str, float] | None = None,
    prevalence_from: str | PathLike[str] | None = None,
    choose: Literal["accuracy", "balanced-accuracy"] | None = None,
    implied: Literal["loss", "calibration"] = "loss",
    split: str | None = None,
    map_label: Mapping[str, str] | None = None,
    progress: bool = True,
) -> PriorStep:
    """Set the prior step of a run, which `evaluate`, `export` and ``hilum certify`` apply after the temperature.

    It replaces the one before it. Give one of `prevalences`, `prevalence_from` and `choose`.

    Args:
        run: Finished run, or its folder.
        data: With `choose`, other data with labels; by default the run's own.
        prevalences: Shares, above 0 and below 1, of labels or of groups such as ``infected/*`` where the model will be
            used. Labels without one share what is left. Of several findings, each its own.
        prevalence_from: Folder of images whose labels nobody knows, on which the shares are estimated by expectation
            maximisation (Saerens et al. 2002); never test images.
        choose: Measure by which factors are chosen on patients with labels.
        implied: Source of the prevalence to which the probabilities belong so far: the loss, or calibration patients.
        split: With `choose`, the part of the data, ``val`` by default; never ``test``.
        map_label: With `data`, the run's label for labels of it; empty text to leave images out.
        progress: Whether long work shows its progress on standard error.

    Returns:
        The step, which is kept in the run: factors, the shares, and of estimated ones their intervals.

    Raises:
        UsageError: Not exactly one way is given, a label is unknown, or shares do not sum to one.
        RunError: The training is not finished, test images are given, no image is left, or nothing can be written.
    """
    if choose is None:
        refuse_ignored("without choose", {"data": data, "split": split, "map_label": map_label})
    say = told(progress)
    table = None if data is None else table_of(data, say)
    kept = steps.set_prior(
        open_run(run),
        table,
        prevalences=prevalences,
        unlabelled=None if prevalence_from is None else Path(prevalence_from),
        measure=choose,
        implied=implied,
        split=split or "val",
        mapping=map_label,
        progress=say,
    )
    return kept.facts

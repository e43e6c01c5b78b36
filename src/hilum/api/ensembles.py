"""`hilum.ensemble`: from several runs to one."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from hilum.api.python_wording import public, told
from hilum.api.runs import Run, open_run
from hilum.evaluation.ensemble import make_ensemble


@public
def ensemble(runs: Sequence[Run | str | PathLike[str]], out: str | PathLike[str], *, progress: bool = True) -> Run:
    """Make one run of several, whose probabilities are the geometric mean of theirs.

    Temperatures, prior step, certificate and out-of-distribution reference of the members are not taken over.
    `hilum.evaluate`, ``hilum certify`` and ``hilum prior`` make those of the new run.

    Args:
        runs: Finished runs of the same images, labels and splits, or their folders, at least two. They may differ in
            preprocessing, network and recipe.
        out: New folder.
        progress: Whether it is said on standard error which of these the members have.

    Returns:
        The new run, which holds copies of all weights.

    Raises:
        UsageError: There are fewer than two runs, one is an ensemble itself, several have a frozen encoder, or they
            take more pixels of an image than a model file may.
        RunError: A run is not finished, the runs are of other images, labels or splits, `out` is in the way, or
            cannot be written.
        CheckpointError: The weights of a run are not those with which its training ended.
    """
    return open_run(make_ensemble([open_run(run) for run in runs], Path(out), progress=told(progress)))

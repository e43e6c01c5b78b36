"""Trials of a sweep that fall behind on validation are stopped: successive halving by Ray Tune.

Asynchronous successive halving (Li et al. 2020, "A system for massively parallel hyperparameter tuning", MLSys): at the
first, third, ninth, ... validation a trial goes on if it is among the best third of those that came so far. Which are
stopped depends on which came first, so two sweeps may differ. A trial that is not stopped ends as it would alone. A
stopped one has no result, and nothing is chosen by it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from math import inf, isfinite
from pathlib import Path

from hilum.data.cache_files import cache_folder
from hilum.data.dataset import Dataset
from hilum.data.process_pool import usable_cores
from hilum.errors import DivergenceError, EngineError
from hilum.progress import Progress
from hilum.ray_engine import connect
from hilum.training.multirun import finished
from hilum.training.parallel import RETRIES, Engine, Member, Place, check_cluster, train_here
from hilum.training.plan import Monitor
from hilum.training.recipe import Recipe
from hilum.training.run import Run

KEPT = 3  # one of so many goes on
PLACE, SCORE, MESSAGE = "place", "score", "message"


def score(row: Mapping[str, float], monitor: Monitor) -> float:
    """What trials are compared by, the smaller the better.

    Args:
        row: A line of ``history.csv``.
        monitor: Which of its measures counts.
    """
    value = row[f"val_{monitor}"]
    return -value if monitor in ("accuracy", "auroc") else value


def train_with_stopping(
    out: Path, members: Sequence[Member], over: Sequence[bool], engine: Engine, monitor: Monitor, progress: Progress
) -> Iterator[tuple[int, str, str]]:
    """Train trials side by side, and stop those that fall behind.

    Args:
        out: Folder of the sweep, with its plan.
        members: All trials, also those that ended before: the others are compared with what they reached.
        over: Which of them ended before.
        engine: Where.
        monitor: What they are compared by.
        progress: Told about the cluster.

    Yields:
        Of each trial that ended now its position, ``finished``, ``diverged`` or ``stopped``, and why.

    Raises:
        EngineError: The cluster does not answer, does not see the folder or the data, or lost a trial again and again.
    """
    if all(over):
        return
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # the runs keep a history of their own
    with (
        connect(engine.address, usable_cores()) as cluster,
        tempfile.TemporaryDirectory(prefix="hilum-tune-") as folder,
    ):
        from ray import tune

        check_cluster(cluster, engine, out, members[0].data)
        progress.line(f"Ray Tune: {cluster.cpus} CPUs, {engine.cpus} a trial; trials that fall behind are stopped")
        place = Place(str(cache_folder().resolve()), engine.cpus)
        given = [(str(member.folder.resolve()), member.recipe) for member in members]
        trainable = tune.with_parameters(
            _trial, data=members[0].data.absolute(), members=given, over=list(over), at=place, monitor=monitor
        )
        resources = {"cpu": engine.cpus, "gpu": min(1, cluster.gpus)}
        tuner = tune.Tuner(
            tune.with_resources(trainable, resources),
            param_space={PLACE: tune.grid_search(list(range(len(members))))},
            tune_config=tune.TuneConfig(
                scheduler=tune.schedulers.ASHAScheduler(
                    metric=SCORE, mode="min", grace_period=1, reduction_factor=KEPT, max_t=10**9
                )
            ),
            run_config=tune.RunConfig(
                storage_path=folder, verbose=0, failure_config=tune.FailureConfig(max_failures=RETRIES)
            ),
        )
        with redirect_stdout(StringIO()):  # Ray Tune prints tables of its own, where results of hilum may be expected
            results = tuner.fit()
        for result in results:
            number = (result.config or {})[PLACE]
            if over[number]:
                continue
            if result.error:
                msg = (
                    f"{members[number].folder}: its worker was lost or failed {RETRIES + 1} times "
                    f"({str(result.error).strip().splitlines()[-1]}). Repeat the command with --resume."
                )
                raise EngineError(msg, code="worker-lost", path=members[number].folder)
            yield number, *_ended(members[number], result.metrics or {})


def _ended(member: Member, metrics: Mapping[str, object]) -> tuple[str, str]:
    if finished(member.folder):
        return "finished", ""
    if metrics.get(MESSAGE):
        return "diverged", str(metrics[MESSAGE])
    rows = Run(member.folder).history()
    return "stopped", f"fell behind the other trials at epoch {rows[-1]['epoch']:g}" if rows else "fell behind"


class _Reports(Progress):
    """Hands every validation to Ray Tune, which ends this trial where it falls behind."""

    def __init__(self, run: Run, monitor: Monitor, epochs: int) -> None:
        self.run, self.monitor, self.epochs, self.reported = run, monitor, epochs, 0

    def status(self, text: str) -> None:
        """Report the validations that were written since."""
        del text
        from ray import tune

        for row in self.run.history()[self.reported :]:
            self.reported += 1
            if isfinite(found := score(row, self.monitor)) and (row["epoch"] < self.epochs or self.reported == 1):
                # to stop a trial at its end would save nothing
                tune.report({SCORE: found, MESSAGE: ""})


def _trial(
    config: Mapping[str, int],
    data: Dataset,
    members: Sequence[tuple[str, Recipe]],
    over: Sequence[bool],
    at: Place,
    monitor: Monitor,
) -> None:
    """One trial in a worker; of one that ended before, what it reached is reported again."""
    from ray import tune

    number = config[PLACE]
    folder, recipe = members[number]
    reports = _Reports(Run(Path(folder)), monitor, recipe.training.epochs)
    if over[number] or finished(Path(folder)):
        reports.status("")
        return
    try:
        train_here(data, Path(folder), recipe, at, reports)
    except DivergenceError as error:
        tune.report({SCORE: inf, MESSAGE: str(error)})
    except KeyboardInterrupt:  # as which Lightning hands on that Ray Tune ends this trial
        return

"""The whole way in one call, on phantoms where no data are given."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from hilum.data.layouts import read_table
from hilum.errors import RunError
from hilum.evaluation.evaluate import Evaluation, evaluate
from hilum.progress import Progress
from hilum.reporting.page import write_report
from hilum.training.recipe import load_recipe
from hilum.training.run import Run
from hilum.training.train import train

MARK = ".hilum-demo"  # only a folder that holds this file is ever replaced
PATIENTS = 800


@dataclass(frozen=True)
class Demo:
    """What a demo leaves behind."""

    run: Run
    evaluation: Evaluation
    report: Path


def run_demo(data: Path | None, out: Path, *, seed: int = 0, progress: Progress | None = None) -> Demo:
    """Train, evaluate on test, and report.

    Args:
        data: A dataset; phantoms are made when it is None.
        out: Where phantoms and run are put; an earlier demo there is replaced.
        seed: Of phantoms and training.
        progress: Told about everything.

    Raises:
        RunError: `out` holds something that no demo has put there.
        HilumError: Whatever the stages raise.
    """
    progress = progress or Progress()
    if data is not None:
        read_table(data)  # before an earlier demo is thrown away
    _make_room(out, data)
    recipe = load_recipe("phantoms" if data is None else "compact", [f"training.seed={seed}"])
    if data is None:
        from hilum.data.phantoms import write_phantoms

        data = out / "phantoms"
        write_phantoms(data, patients=PATIENTS, seed=seed, progress=progress)
    run = train(data, out / "run", recipe, progress=progress)
    evaluation = evaluate(run, progress=progress)
    return Demo(run, evaluation, write_report(run.path))


def _make_room(out: Path, data: Path | None) -> None:
    """Take away what an earlier demo made, and nothing else."""
    made = [out / "run", out / "phantoms"]
    inside = data and any(data.resolve().is_relative_to(folder.resolve()) for folder in made)
    if inside:
        msg = f"{out}: holds the data ({data}) itself, and a demo replaces an earlier one. Choose another --out."
        raise RunError(msg)
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not (out / MARK).exists() and any(out.iterdir()):
            msg = f"{out}: is not empty, and no earlier demo. Choose another --out."
            raise RunError(msg)
        (out / MARK).touch()
        for folder in made:
            if folder.exists():
                shutil.rmtree(folder)
    except OSError as error:
        msg = f"{out}: cannot be used ({error.strerror}). Choose another --out."
        raise RunError(msg) from error

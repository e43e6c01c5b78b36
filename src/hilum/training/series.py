"""Several trainings in one folder, which can be interrupted and continued: what sweep and cross-validation share."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hilum.data.table import Table
from hilum.errors import RecipeError, RunError
from hilum.progress import Progress
from hilum.training.recipe import Recipe
from hilum.training.run import Run
from hilum.training.train import train

PLAN = "plan.json"


def begin_series(out: Path, plan: Mapping[str, Any], what: str, *, resume: bool) -> None:
    """Make a folder for several runs, or check that the one that is there was begun by the same plan.

    Args:
        out: The folder.
        plan: Every choice, as JSON can hold it; kept in ``plan.json``.
        what: What to call it, such as ``sweep``.
        resume: The folder is there, and is to be continued.

    Raises:
        RunError: The folder is in the way, or there is nothing to continue.
        RecipeError: It was begun by another plan.
    """
    file = out / PLAN
    if not resume:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            begun = f"holds a {what} already. Continue it with --resume, or choose"
            msg = f"{out}: {begun if file.exists() else 'is in the way. Choose'} another --out."
            raise RunError(msg)
        out.mkdir(parents=True, exist_ok=True)
        write_json(file, plan)
        return
    try:
        earlier = json.loads(file.read_text(encoding="utf-8"))
        differing = ", ".join(key for key in plan if plan[key] != earlier[key])
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{file}: no {what} to continue ({type(error).__name__}). Leave out --resume to begin one."
        raise RunError(msg) from error
    if differing:
        msg = f"{out}: was begun with other choices (differs in: {differing}). Repeat them, or choose another --out."
        raise RecipeError(msg)


def train_member(data: Path | Table, folder: Path, recipe: Recipe, progress: Progress) -> Run:
    """Train one run of a series: from the beginning, from where it was interrupted, or not at all if it is finished.

    Raises:
        DivergenceError: The loss is no longer a finite number.
        RunError: The data are not those with which the run was begun.
    """
    begun = Run(folder).last.exists()
    if not begun and folder.exists():
        shutil.rmtree(folder)  # stopped before its first validation: nothing is lost
    if begun and Run(folder).finished:
        return Run(folder)
    return train(data, folder, recipe, resume=begun, progress=progress)


def write_json(file: Path, values: Mapping[str, Any]) -> None:
    """Write a file that is there whole or not at all."""
    part = file.with_name(f"{file.name}.part")
    part.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    part.replace(file)

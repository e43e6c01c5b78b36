"""Several trainings in one folder, which can be interrupted and continued: what sweep and cross-validation share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar

from pydantic import PlainSerializer

from hilum.data.dataset import Dataset
from hilum.documents import Document
from hilum.errors import RecipeError, RunError
from hilum.files import save_json
from hilum.progress import Progress
from hilum.training.lock import contents, occupied
from hilum.training.recipe import Recipe
from hilum.training.run import ENVIRONMENT, RECIPE, Run, check_place, read_json
from hilum.training.train import train

PLAN = "plan.json"
WholeRecipe = Annotated[Recipe, PlainSerializer(lambda recipe: recipe.model_dump(mode="json"))]
"""A recipe of which a file holds every key, the defaults, too."""
Given = ParamSpec("Given")
Result = TypeVar("Result")


def series(what: str) -> Callable[[Callable[Given, Result]], Callable[Given, Result]]:
    """Decorates a function that makes a series in a folder `out`: no other process enters the folder meanwhile.

    Args:
        what: What to call it, such as ``sweep``.
    """

    def decorated(function: Callable[Given, Result]) -> Callable[Given, Result]:
        @wraps(function)
        def locked(*arguments: Given.args, **named: Given.kwargs) -> Result:
            given = signature(function).bind(*arguments, **named).arguments
            out, resume = given["out"], bool(given.get("resume"))
            with occupied(out, what, lambda: check_series(out, what, resume=resume)):
                return function(*arguments, **named)

        return locked

    return decorated


def check_series(out: Path, what: str, *, resume: bool) -> None:
    """Find before any work whether a folder is in the way, or lacks what is to be continued.

    Args:
        out: The folder.
        what: What to call it, such as ``sweep``.
        resume: It is there, and is to be continued.

    Raises:
        RunError: It is in the way, or there is nothing to continue.
    """
    kind = read_json(out / PLAN).get("kind")
    if resume and kind != what and (contents(out) or not out.is_dir()):
        msg = f"{out}: no {what} to continue{f' (it is a {kind})' if kind else ''}. Omit --resume to start one."
        raise RunError(msg, code="nothing-to-continue", path=out)
    check_place(out)
    if not resume and contents(out):
        begun = f"already holds a {what}. Continue it with --resume, delete it, or choose"
        msg = f"{out}: {begun if kind == what else 'is not empty. Choose'} another --out."
        raise RunError(msg, code="in-the-way", path=out)


def begin_series(out: Path, plan: Document, what: str, *, resume: bool) -> None:
    """Put a plan into a folder for several runs, or check that the one that is there is the same.

    Args:
        out: The folder; it exists.
        plan: Every choice, and the identity of the data; kept in ``plan.json``.
        what: What to call it, such as ``sweep``.
        resume: The folder is there, and is to be continued.

    Raises:
        RunError: The folder is in the way, or there is nothing to continue.
        RecipeError: It was begun by another plan, or on other data.
    """
    check_series(out, what, resume=resume)
    chosen = {"kind": what, **plan.to_json()}
    if not (earlier := read_json(out / PLAN)):  # begun just now, or interrupted before its plan was known
        save_json(out / PLAN, chosen)
        return
    every = [key for key in {**chosen, **earlier} if key != "schema_version"]
    differing = ", ".join(key for key in every if chosen.get(key) != earlier.get(key))
    if differing:
        msg = f"{out}: was started with other options or data (differs in: {differing}). Repeat them, or start again."
        raise RecipeError(msg, code="other-choices", path=out)


def identity(table: Dataset) -> str:
    """A hash of everything that decides about splits and folds: files, labels, patients, sources, groups.

    Args:
        table: With the column ``sha256``.
    """
    lines = [
        json.dumps([row.path, row.label, row.split, row.patient_id, row.source, row.sha256, sorted(row.extra.items())])
        for row in table.rows
    ]
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def finished(folder: Path) -> bool:
    """Whether a run of a series is complete."""
    return "weights_sha256" in read_json(folder / ENVIRONMENT)


def train_member(data: Path | Dataset, folder: Path, recipe: Recipe, progress: Progress) -> Run:
    """Train one run of a series: from the beginning, from where it was interrupted, or not at all if it is finished.

    Raises:
        DivergenceError: The loss is no longer a finite number.
        RunError: The data are not those with which the run was begun.
    """
    run = Run(folder)
    if finished(folder):
        return run
    begun = (folder / RECIPE).exists()
    return train(data, folder, recipe, resume=begun, check=False, progress=progress)

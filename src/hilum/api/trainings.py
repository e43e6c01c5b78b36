"""`hilum.train`: from a dataset to a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from hilum.api.datasets import Data, table_of
from hilum.api.python_wording import public, told
from hilum.api.runs import Run, open_run
from hilum.data.dataset import Dataset
from hilum.training import recipe as recipes
from hilum.training.devices import Devices, check_alone
from hilum.training.recipe import Recipe, change_recipe
from hilum.training.train import train as run_training


@public
def load_recipe(name: str | PathLike[str], settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or from a file, and change single values.

    Args:
        name: Name of a recipe of hilum, or TOML file.
        settings: ``key=value`` each, the value as in TOML: ``training.lr=0.01``, or ``lr=0.01`` where that is
            unambiguous.

    Raises:
        RecipeError: The recipe is not there or is not TOML, a key is unknown or ambiguous, a value impossible.
    """
    return recipes.load_recipe(name if isinstance(name, str) else Path(name), settings)


def recipe_of(recipe: str | PathLike[str] | Recipe, settings: dict[str, Any]) -> Recipe:
    """A recipe by name, file or value, with some keys changed.

    Args:
        recipe: Name, TOML file, or recipe.
        settings: Values by key, in full with ``__`` for the dots (``training__lr``), or by the last part (``lr``).

    Raises:
        RecipeError: There is no such recipe or key, or a value is impossible.
    """
    if recipe == "compact" and "encoder" in settings:  # which the default recipe would ignore
        recipe = "encoder"
    loaded = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    return change_recipe(loaded, {key.replace("__", "."): value for key, value in settings.items()})


@public
def train(
    data: Data,
    out: str | PathLike[str],
    recipe: str | PathLike[str] | Recipe | None = None,
    *,
    seed: int | None = None,
    resume: bool = False,
    loggers: Sequence[str] = (),
    devices: int | None = None,
    nodes: int | None = None,
    strategy: str = "ddp",
    sync_batchnorm: bool = True,
    engine: str = "local",
    address: str = "",
    progress: bool = True,
    **settings: Any,
) -> Run:
    """Train a classifier. The cheap checks of the audit run first, and say what they find.

    Args:
        data: Folder, CSV table, data frame of pandas or polars, or `Dataset`; or a list of them, which are joined.
        out: Folder of the run; it must not exist yet, unless `resume`.
        recipe: Name of a recipe, TOML file, or `Recipe`; by default ``compact``, with the setting ``encoder`` (an ONNX
            file or a name) ``encoder``, or with `resume` that of the run. ``auto``: chosen by the data
            (`hilum.evaluation.recipe_choice.choose_recipe`).
        seed: Random seed; by default the recipe's.
        resume: Whether to go on with a training that was interrupted.
        loggers: Experiment loggers: ``tensorboard``, ``mlflow``, ``wandb``, each in the run's folder ``logs``.
        devices: Processes a node: one a GPU, or without GPUs one on each share of the cores; by default one, or what
            ``torchrun`` started. Each takes its part of every batch of the recipe. They are started anew: a script
            needs ``if __name__ == "__main__":`` around what it does.
        nodes: Machines, each of which runs the same script: started by ``torchrun`` or ``srun``, or with the variables
            ``MASTER_ADDR``, ``MASTER_PORT`` and ``NODE_RANK``; by default one.
        strategy: Strategy of Lightning: ``ddp``.
        sync_batchnorm: Whether batch normalisation takes its statistics over the batches of all devices, as one
            device would; else each over its own part.
        engine: What reads and decodes the images before the training: ``local``, this machine, or ``ray``. The bytes
            are the same.
        address: ``HOST:PORT`` of the head of a cluster of Ray, whose nodes share a file system that holds the data;
            empty for this machine alone.
        progress: Whether long work shows its progress on standard error.
        settings: Recipe keys with other values, such as ``lr=1e-3`` or ``epochs=5``; where a name is ambiguous, in full
            with ``__`` for the dot: ``training__lr=1e-3``.

    Returns:
        The finished run.

    Raises:
        RunError: `out` holds something else, or there is nothing to resume.
        RecipeError: There is no such recipe or key, or a value is impossible.
        DataError: The data cannot be used.
        DivergenceError: The loss is no longer a finite number.
        EngineError: The cluster does not answer, or does not see the data.
        UsageError: There are fewer devices, or nothing says how the nodes find each other.
    """
    teller = told(progress)
    asked = Devices(devices, nodes, strategy, sync_batchnorm)
    settings |= {} if seed is None else {"training.seed": seed}
    table: Path | Dataset = table_of(data, teller)
    chosen: Recipe | None
    if recipe == recipes.AUTO:
        from hilum.evaluation.recipe_choice import choose_for

        check_alone(asked, "recipe 'auto'")
        words = [f"{key.replace('__', '.')}={json.dumps(value)}" for key, value in settings.items()]
        given = {"engine": engine, "address": address}
        table, chosen = choose_for(table, Path(out), words, resume=resume, read=None, **given, progress=teller)
    else:
        chosen = None if resume and recipe is None and not settings else recipe_of(recipe or "compact", settings)
    done = run_training(
        table,
        Path(out),
        chosen,
        resume=resume,
        loggers=tuple(loggers),
        devices=asked,
        engine=engine,
        address=address,
        progress=teller,
    )
    return open_run(done)

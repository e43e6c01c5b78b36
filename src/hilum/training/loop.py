"""The training loop: the Trainer, and what is checked before it."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import ceil
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy

from hilum.data.cache import Images
from hilum.data.dataset import Dataset
from hilum.errors import RecipeError, SplitError
from hilum.models.registry import ENCODER
from hilum.progress import Progress
from hilum.training.allocation import kept_memory
from hilum.training.beginning import Beginning, announce
from hilum.training.callbacks import History, Keep, Steps
from hilum.training.checkpoints import TrainingState, load_weights, weights_sha256
from hilum.training.encoder_head import check_head
from hilum.training.environment import BestCheckpoint, Outcome, computes_bfloat16
from hilum.training.fine_tuning import check_frozen
from hilum.training.initialisation import build_for, initialise
from hilum.training.loggers import close_loggers, make_loggers
from hilum.training.module import ClassifierModule, RadiographDataModule, size_of_step
from hilum.training.plan import TrainingPlan
from hilum.training.ranks import ALONE, Ranks
from hilum.training.recipe import Recipe
from hilum.training.run import Run


def fit(
    run: Run,
    images: Images,
    labels: Sequence[str],
    *,
    resume: bool,
    loggers: Sequence[str] = (),
    progress: Progress | None = None,
    ranks: Ranks | None = None,
) -> Outcome:
    """Train a run's network and keep its checkpoints.

    Args:
        run: A run folder that holds its recipe.
        images: All images, each with its split.
        labels: In the order of the network's outputs, K of them.
        resume: Continue from the run's last validation, where there was one.
        loggers: Names of experiment loggers (see `hilum.training.loggers`).
        progress: Told about steps and losses.
        ranks: Who trains together, if several do; this is the first of them.

    Returns:
        What ``environment.json`` says about the outcome: time, speed, the share of the time in which training waited
        for data, parameters, the chosen checkpoint, and the SHA-256 of its weights.

    Raises:
        DivergenceError: The loss is no longer a finite number.
        KeyboardInterrupt: Somebody stopped it; `resume` goes on after the last validation.
    """
    recipe = run.recipe
    resumed = TrainingState.load(run.last) if resume and run.last.exists() else None
    if resumed and not resumed.history:  # checkpoints of versions before: theirs lies in the file alone
        resumed = replace(resumed, history=run.history())
    beginning = Beginning(recipe, tuple(labels), run.positive_label, resumed, precision_of(recipe.training))
    ranks = ranks or ALONE
    announce(beginning, images, run.path, ranks)
    return fit_part(run, images, beginning, loggers=loggers, progress=progress, ranks=ranks)


def fit_part(
    run: Run,
    images: Images,
    beginning: Beginning,
    *,
    loggers: Sequence[str] = (),
    progress: Progress | None = None,
    ranks: Ranks = ALONE,
) -> Outcome:
    """One rank's part of `fit`, which says what the first rank returns and raises; the others read and write no run."""
    progress = progress or Progress()
    recipe, resumed = beginning.recipe, beginning.resumed
    plan = recipe.training
    first = resumed.step if resumed else 0
    data = RadiographDataModule(images, beginning.labels, plan, first_step=first, ranks=ranks)
    module = ClassifierModule(recipe, data, beginning.positive)
    total, per_epoch = data.total_steps, data.steps_per_epoch
    history = History(run, progress, resumed)
    keep = Keep(run, history, resumed)
    with _quiet(), kept_memory(), progress.task(f"Training {recipe.network.architecture}", total) as advance:
        steps = Steps(advance)
        made = make_loggers(run, loggers)
        trainer = pl.Trainer(
            accelerator="auto",
            **(spread_over(ranks, recipe) if ranks.several else {"devices": 1}),
            max_epochs=ceil(total / per_epoch) - first // per_epoch,
            max_steps=total - first,
            precision="bf16-mixed" if beginning.precision == "bfloat16" else "32-true",
            val_check_interval=min(plan.validate_every or per_epoch, total),
            check_val_every_n_epoch=None,  # count steps over the whole training, not within an epoch
            num_sanity_val_steps=0,
            logger=made,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[history, keep, steps],
            enable_checkpointing=False,  # hilum's own: without pickled code, and exact to the bit
            default_root_dir=run.path,
        )
        begin = time.monotonic()
        try:
            if first < total:
                trainer.fit(module, data)
        except SystemExit as stop:  # Lightning's answer to Ctrl-C
            raise KeyboardInterrupt from stop
        finally:
            close_loggers(made)
        busy = time.monotonic() - begin - history.validation_seconds
    seen = sum(ranks.gather_objects(steps.images))
    if not ranks.first:
        return Outcome()
    network = module.network
    load_weights(network, run.best)
    return Outcome(
        seconds=run.history()[-1]["seconds"],
        images_per_second=round(seen / busy, 1),
        data_wait_share=round(sum(steps.waited.values()) / busy, 5),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        weights_sha256=weights_sha256(network),
        best=BestCheckpoint.model_validate(keep.best),
    )


def spread_over(ranks: Ranks, recipe: Recipe) -> dict[str, Any]:
    """What Lightning's Trainer takes to train on several devices, whose processes are there already."""
    chosen = recipe.training
    # Layers that are frozen for a while, and stages of a cascade that a batch does not reach, have no gradient.
    unused = bool(recipe.hierarchy == "cascade" or chosen.frozen_stages or chosen.head_warmup)
    strategy = DDPStrategy(
        cluster_environment=TorchElasticEnvironment(),
        find_unused_parameters=unused,
        broadcast_buffers=not ranks.sync_batchnorm,  # which are the same on all ranks then
    )
    place = ranks.place
    return {
        "devices": place.local_world,
        "num_nodes": place.nodes,
        "strategy": strategy,
        "use_distributed_sampler": False,  # `Batches` shares by itself
    }


def check_before(recipe: Recipe, table: Dataset, labels: Sequence[str]) -> None:
    """Find what would prevent a training, before a run folder is made for it.

    Raises:
        SplitError: There is nothing to train on or nothing to choose by.
        RecipeError: The network cannot be built, or cannot take `progressive_size`.
    """
    splits = {row.split for row in table.rows}
    frozen = recipe.network.architecture == ENCODER  # whose folds are its validation
    for part, what in (("train", "training"), ("val", "validation")):
        if part not in splits and not (frozen and part == "val"):
            remedy = "Set splits.val to auto, hold_out, or the name of a split." if part == "val" else "Add some."
            msg = f"{table.root}: no {what} images. {remedy}"
            raise SplitError(msg, code="empty-split", path=table.root)
    if frozen:
        check_head(recipe, table)
    check_network(recipe, labels, findings=bool(table.findings))


def check_network(recipe: Recipe, labels: Sequence[str], *, findings: bool = False) -> None:
    """Find a network that cannot be built, before any image is decoded for it; an encoder was looked at before.

    Raises:
        RecipeError: Its name or its options are wrong, or it cannot take `progressive_size`.
        CheckpointError: The weights that it begins with are missing, damaged, or those of another network.
    """
    if recipe.network.architecture == ENCODER:
        return
    early = size_of_step(recipe.training, 0, 1, recipe.preprocessing.size)
    with torch.device("meta"):  # shapes only: nothing is computed
        network = build_for(recipe, labels, findings=findings)
        try:
            if early < recipe.preprocessing.size:
                network(torch.zeros(2, 1, early, early))
        except RuntimeError as error:
            msg = (
                f"training.progressive_size = {early}: {recipe.network.architecture} only takes images of "
                f"{recipe.preprocessing.size} pixels ({error}). Set it to 0."
            )
            raise RecipeError(msg, code="fixed-size") from error
    check_frozen(network, recipe.training)
    if recipe.network.init:
        initialise(network, recipe, labels, findings=findings)


def precision_of(plan: TrainingPlan) -> str:
    """The precision that ``auto`` means on this machine."""
    if plan.precision == "auto":
        return "bfloat16" if computes_bfloat16() else "float32"
    return plan.precision


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's remarks about devices and loaders away from the user; its errors still come through."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

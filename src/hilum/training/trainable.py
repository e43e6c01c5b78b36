"""What would prevent a training, found before anything is made for it; and the roles of its labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hilum.data.dataset import Dataset
from hilum.data.labels import roles_sentence
from hilum.data.multilabel import finding_values
from hilum.errors import RecipeError, SplitError
from hilum.text import printable
from hilum.training.recipe import Recipe
from hilum.training.run import resolve_healthy, resolve_positive_label


def check_training(table: Dataset, recipe: Recipe) -> tuple[str, ...]:
    """Find what would prevent a training, before anything is made for it.

    Args:
        table: Readable rows with the splits that the recipe gives them.
        recipe: Every choice.

    Returns:
        The labels that will be learnt.

    Raises:
        SplitError: ``train`` has fewer than two labels, a finding cannot be learnt, or there is nothing to choose by.
        RecipeError: The positive or the healthy label does not exist, or the network cannot be built for these labels.
    """
    from hilum.training.loop import check_before

    if table.findings:
        check_findings(table, recipe)
        check_before(recipe, table, table.findings)
        return table.findings
    labels = table.take(i for i, row in enumerate(table.rows) if row.split == "train").labels
    if len(labels) < 2:
        msg = f"{table.root}: train holds only {', '.join(labels) or 'nothing'}. Add images of another label to it."
        raise SplitError(msg)
    positive_label = resolve_positive_label(recipe, labels)
    resolve_healthy(recipe, labels, positive_label)
    if positive_label is None and recipe.training.monitor == "false_negatives":
        msg = f'{table.root}: monitor = "false_negatives" needs a positive label. Name one: --set positive_label=LABEL.'
        raise RecipeError(msg, code="no-positive-label")
    if recipe.training.monitor == "auroc":
        msg = f'{table.root}: monitor = "auroc" is for several findings an image. Take loss (--set monitor=loss).'
        raise RecipeError(msg, code="no-findings")
    check_before(recipe, table, labels)
    return labels


def check_shares(recipe: Recipe, world: int, table: Dataset | None = None) -> None:
    """Find, before any work, that there is not a part for each process of a training on several devices.

    Args:
        recipe: Every choice.
        world: Processes.
        table: Rows with their splits, once they are known.

    Raises:
        RecipeError: A batch has fewer images than there are processes.
        SplitError: Training or validation has.
    """
    if world == 1:
        return
    if world > recipe.training.batch_size:
        msg = (
            f"training.batch_size = {recipe.training.batch_size}: {world} processes have less than one image each. "
            f"Train on fewer devices, or give at least {world} (--set batch_size={world})."
        )
        raise RecipeError(msg, code="fewer-than-devices")
    if table is None:
        return
    for part, what in (("train", "training"), ("val", "validation")):
        count = sum(row.split == part for row in table.rows)
        if count < world:
            images = f"{count} {what} image{'s' * (count != 1)}"
            msg = f"{table.root}: {images} for {world} processes. Train on fewer devices, or add images to {part}."
            raise SplitError(msg, code="fewer-than-devices", path=table.root)


def check_findings(table: Dataset, recipe: Recipe) -> None:
    """Find what of a recipe does not work with several findings an image, and findings that cannot be learnt.

    Args:
        table: Readable rows with findings and splits.
        recipe: Every choice.

    Raises:
        SplitError: A finding is nowhere present, or nowhere absent, in train; or in val, where it is to choose.
        RecipeError: Labels are nested, or the positive finding does not exist.
    """
    from hilum.training.findings_loss import targets_of

    if recipe.hierarchy == "cascade":
        msg = (
            f"{table.root}: an image may have several findings ({_listed(table.findings)}), and a cascade "
            "decides between exclusive labels. Take one classifier for all (--set hierarchy=flat)."
        )
        raise RecipeError(msg, code="cascade-of-findings")
    plan = recipe.training
    positive = resolve_positive_label(recipe, table.findings)
    if positive is None and plan.monitor == "false_negatives":
        msg = f'{table.root}: monitor = "false_negatives" needs a positive finding: --set positive_label=FINDING.'
        raise RecipeError(msg, code="no-positive-label")
    values = targets_of(finding_values(table), plan.uncertain)
    splits = np.array([row.split for row in table.rows])
    known = {split: values[splits == split] for split in ("train", "val")}
    for number, name in enumerate(table.findings):
        here = known["train"][:, number]
        missing = [what for what, there in (("present", here > 0), ("absent", here < 1)) if not there.any()]
        if missing:
            msg = (
                f"{table.root}: no image of train has the finding '{printable(name)}' "
                f"{' and none '.join(missing)}. Add such images, or leave it out: --finding-columns with the others."
            )
            raise SplitError(msg, code="one-sided-finding", path=table.root)
    both = (known["val"] == 1).any(axis=0) & (known["val"] == 0).any(axis=0)
    if plan.monitor == "auroc" and not both.any():
        msg = (
            f'{table.root}: monitor = "auroc" needs a finding that is present on some images of val and absent on '
            "others. Take loss (--set monitor=loss), or add images to val."
        )
        raise SplitError(msg, code="one-sided-finding", path=table.root)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(printable, names))


def roles_of(recipe: Recipe, labels: Sequence[str], *, findings: bool = False) -> str:
    """Which of the labels is positive and which is healthy, or how to say it, in one line."""
    positive_label = resolve_positive_label(recipe, labels)
    if findings:
        positive = f"; positive: {printable(positive_label)} (must not be missed)" if positive_label else ""
        return f"{len(labels)} findings, of which an image may have several: {_listed(labels)}{positive}"
    healthy = resolve_healthy(recipe, labels, positive_label)
    return roles_sentence(labels, positive_label, healthy, chosen=recipe.positive_label == "none")

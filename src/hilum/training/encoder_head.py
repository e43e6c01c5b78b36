"""A penalised logistic regression on the features of a frozen encoder, in place of a training by steps."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from hilum.data.cache import Images
from hilum.data.dataset import Dataset
from hilum.data.splits import independent_groups
from hilum.errors import RecipeError, RunError, SplitError
from hilum.models.encoder_network import Encoder, EncoderNetwork, kept_features
from hilum.models.mixed import to_network_range
from hilum.models.registry import ENCODER
from hilum.models.stages import final_layer
from hilum.progress import Progress
from hilum.training.batches import Batches
from hilum.training.checkpoints import save_checkpoint, weights_sha256
from hilum.training.encoder_file import open_encoder
from hilum.training.environment import BestCheckpoint, EncoderFacts, Outcome
from hilum.training.findings_loss import Validated
from hilum.training.initialisation import build_for
from hilum.training.penalised_regression import Regression, fit_regression
from hilum.training.plan import Augmentation, EncoderChoice, TrainingPlan
from hilum.training.recipe import Recipe
from hilum.training.run import Run
from hilum.training.split_part import select_part

APPLY = {"seed", "class_weights", "finding_weights", "uncertain", "eval_batch_size", "precision", "monitor"}


def has_encoder(recipe: Recipe) -> bool:
    """Whether a recipe takes a frozen encoder."""
    return recipe.network.architecture == ENCODER


def settle_encoder(recipe: Recipe, progress: Progress | None = None) -> Recipe:
    """A recipe with all that the file of its encoder says; any other recipe as it is.

    Args:
        recipe: Every choice.
        progress: Told.

    Raises:
        RecipeError: It names no encoder, or has values that would be ignored.
        ModelFileError: The encoder cannot be used (`hilum.training.encoder_file.open_encoder`).
    """
    if not has_encoder(recipe):
        if recipe.encoder.file:
            msg = (
                f"encoder.file = {recipe.encoder.file}: recipe '{recipe.name}' trains {recipe.network.architecture}, "
                "and would ignore it. Take the recipe encoder (--recipe encoder)."
            )
            raise RecipeError(msg, code="ignored-encoder")
        return recipe
    if not recipe.encoder.file:
        msg = "recipe 'encoder' names no encoder. Give --encoder FILE.onnx, a folder, hf://OWNER/NAME, or a name."
        raise RecipeError(msg, code="no-encoder")
    _check_applies(recipe)
    (progress or Progress()).status("reading the encoder")
    _, choice = open_encoder(recipe.encoder)
    taken = choice.input
    assert taken  # it was filled in
    shape = recipe.preprocessing
    if shape.size not in (taken.size, Recipe().preprocessing.size):
        msg = f"preprocessing.size = {shape.size}: the encoder takes images of {taken.size} pixels. Omit the size."
        raise RecipeError(msg, code="fixed-size")
    fitted = shape.model_copy(
        update={
            "size": taken.size,
            "fit": taken.fit if "fit" in taken.model_fields_set else shape.fit,
            "equalise": shape.equalise or taken.equalise,
        }
    )
    return recipe.model_copy(update={"encoder": choice, "preprocessing": fitted})


def _check_applies(recipe: Recipe) -> None:
    """Find what a frozen encoder would ignore.

    Raises:
        RecipeError: Something would be.
    """
    usual = TrainingPlan()
    ignored = [f"training.{key}" for key in TrainingPlan.model_fields if key not in APPLY]
    ignored = [key for key in ignored if getattr(recipe.training, key[9:]) != getattr(usual, key[9:])]
    ignored += ["augmentation"] if recipe.augmentation != Augmentation() else []
    ignored += ["network.init"] if recipe.network.init else []
    ignored += ["network.options"] if recipe.network.options else []
    ignored += ["network.ensemble_size"] if recipe.network.ensemble_size > 1 else []
    ignored += ["preprocessing.local_contrast"] if recipe.preprocessing.local_contrast else []
    ignored += [f"hierarchy = {recipe.hierarchy}"] if recipe.hierarchy != "flat" else []
    if ignored:
        msg = (
            f"{', '.join(ignored)}: not with a frozen encoder, whose head is one logistic regression. Omit "
            f"{'it' if len(ignored) == 1 else 'them'}, or train a network."
        )
        raise RecipeError(msg, code="not-of-an-encoder")


def check_head(recipe: Recipe, table: Dataset) -> None:
    """Find a penalty that cannot be chosen, before any image is decoded.

    Args:
        recipe: With an encoder.
        table: Rows with splits.

    Raises:
        SplitError: There are fewer patients than labels, or a label has too few for the folds.
    """
    train = table.take(i for i, row in enumerate(table.rows) if row.split == "train")
    patients = [row.patient_id or f"\0{i}" for i, row in enumerate(train.rows)]
    names = train.findings or train.labels
    if len(set(patients)) < len(names):
        msg = f"{table.root}: train has {len(set(patients))} patients for {len(names)} labels. Add patients."
        raise SplitError(msg, code="too-few-patients", path=table.root)
    if train.findings or (recipe.encoder.penalty and any(row.split == "val" for row in table.rows)):
        return
    for label in names:
        of_label = {who for who, row in zip(patients, train.rows, strict=True) if row.label == label}
        if len(of_label) < 2:
            msg = (
                f"{table.root}: {len(of_label)} patient of train has '{label}', and the penalty is chosen by folds of "
                "patients. Add patients, or give the penalty and a validation part (--set encoder.penalty=300 --set "
                "splits.val=hold_out)."
            )
            raise SplitError(msg, code="too-few-patients", path=table.root)


def encoder_of(run: Run) -> Encoder | None:
    """The encoder that a run keeps, its own or that of a member; None of a run without one.

    Raises:
        RunError: Its file is missing, or not the one of the training.
    """
    choice = next((one.encoder for one in run.recipe.members or (run.recipe,) if has_encoder(one)), None)
    if choice is None:
        return None
    file = run.encoder_file
    if choice.input is None or not file.is_file():
        msg = f"{file}: no such file. Take another copy of the run, or train again."
        raise RunError(msg, code="no-encoder", path=file)
    return Encoder(file, choice.sha256, choice.input, choice.output)


def fit_head(run: Run, images: Images, labels: Sequence[str], *, progress: Progress | None = None) -> Outcome:
    """Fit the head of a run's encoder.

    Features are standardised by the training images. The penalty is the one with the smallest log loss on folds of
    the training images, grouped by patient and picture. Without a validation part, these folds are the validation.

    Args:
        run: A run folder that holds its recipe.
        images: All images, each with its split.
        labels: In the order of the network's outputs, K of them.
        progress: Told about images and fits.

    Returns:
        What ``environment.json`` says about the outcome.
    """
    progress, recipe, begin = progress or Progress(), run.recipe, time.monotonic()
    keep_encoder(run, recipe.encoder)
    encoder = encoder_of(run)
    several = bool(images.table.findings)
    network = build_for(recipe, labels, findings=several, encoder=encoder).eval()
    inner = next(module for module in network.modules() if isinstance(module, EncoderNetwork))
    train, targets = select_part(images, "train", labels, recipe.training.uncertain)
    known = "ignore" if recipe.training.uncertain == "soft" else recipe.training.uncertain
    held_out, truth = select_part(images, "val", labels, known)
    with progress.task("Computing features", len(train.table) + len(held_out.table)) as advance, kept_features(inner):
        described, of_held_out = (_features(inner, part, recipe, advance) for part in (train, held_out))
    read = time.monotonic() - begin
    groups = np.array(independent_groups(train.table))
    found = fit_regression(described, targets, groups, labels, recipe.training, recipe.encoder, progress)
    _put(found, network, several=several)
    if len(held_out.table):
        answers = network_answers(network, inner, of_held_out)
    else:
        answers, truth = (
            _answers_of_scores(found.left_out, several=several),
            select_part(images, "train", labels, known)[1],
        )
    positive = list(labels).index(run.positive_label) if run.positive_label else -1
    of_train = _measures(network_answers(network, inner, described), targets, positive)
    measured = _measures(answers, truth, positive)
    seconds = time.monotonic() - begin
    row = {"epoch": 1, "step": 1, "train_loss": round(of_train["val_loss"], 6), "lr": 0.0}
    row |= {"seconds": round(seconds, 3), **{key: round(value, 6) for key, value in measured.items()}}
    run.write_history([row])
    save_checkpoint(run.best, {"network": network.state_dict()})
    choice = recipe.encoder
    progress.line(
        f"encoder: {described.shape[1]:,} features; penalty {found.penalty:g}{' (given)' * bool(choice.penalty)}"
    )
    return Outcome(
        seconds=row["seconds"],
        images_per_second=round((len(described) + len(of_held_out)) / max(read, 1e-3), 1),
        data_wait_share=0.0,
        parameters=sum(parameter.numel() for parameter in network.parameters()) + _weights_of(run.encoder_file),
        weights_sha256=weights_sha256(network),
        best=BestCheckpoint.model_validate({key: row[key] for key in BestCheckpoint.model_fields if key in row}),
        encoder=EncoderFacts(
            name=Path(choice.file).name or choice.file,
            sha256=choice.sha256,
            licence=choice.licence,
            terms=choice.terms,
            pooling=list(choice.pooling),
            features=described.shape[1],
            penalty=found.penalty,
            penalties=found.tried,
        ),
    )


def keep_encoder(run: Run, choice: EncoderChoice) -> None:
    """Put the encoder into a run's folder, where it is not there yet: a run can be carried anywhere.

    Raises:
        RunError: It cannot be written.
    """
    if run.encoder_file.is_file():
        return
    encoder, _ = open_encoder(choice)
    part = run.encoder_file.with_suffix(".part")
    try:
        part.unlink(missing_ok=True)
        with suppress(OSError):  # the cache's file is never changed in place: runs share it where the system lets them
            os.link(encoder.file, part)
        if not part.exists():
            shutil.copyfile(encoder.file, part)
        part.replace(run.encoder_file)
    except OSError as error:
        msg = f"{run.encoder_file}: cannot be written ({error.strerror}). Free some space, then continue with --resume."
        raise RunError(msg) from error


def network_answers(network: nn.Module, inner: EncoderNetwork, features: NDArray[np.float32]) -> Tensor:
    """Log-probabilities of features (N, D): (N, K), or (N, F, 2) of findings."""
    with torch.inference_mode():
        logs = F.log_softmax(inner.head(torch.from_numpy(features)), dim=1)
        return logs if network is inner else F.log_softmax(logs.reshape(len(logs), -1, 2), dim=2)


def _answers_of_scores(scores: NDArray[np.float64], *, several: bool) -> Tensor:
    stated = torch.from_numpy(scores)
    return torch.stack([F.logsigmoid(-stated), F.logsigmoid(stated)], dim=2) if several else stated.log_softmax(dim=1)


def _weights_of(file: Path) -> int:
    import onnx

    bare = onnx.load(file, load_external_data=False)
    floating = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
    return sum(int(np.prod(tensor.dims)) for tensor in bare.graph.initializer if tensor.data_type in floating)


def _features(inner: EncoderNetwork, images: Images, recipe: Recipe, advance: object) -> NDArray[np.float32]:
    batches = Batches(images, np.zeros(len(images.table), np.int64), recipe.training.eval_batch_size)
    parts = []
    with torch.inference_mode():
        for pixels, _ in batches:
            seen = to_network_range(pixels.cpu().float() / 255, recipe.preprocessing)
            parts.append(inner.features(seen).numpy())
            advance(len(pixels))  # type: ignore[operator]
    width = inner.head.in_features
    return np.concatenate(parts) if parts else np.empty((0, width), np.float32)


def _measures(logs: Tensor, targets: NDArray[np.generic], positive: int) -> dict[str, float]:
    """Loss, accuracy and false negatives under the names of a validation."""
    if logs.dim() == 3:
        validated, stated = Validated(), torch.from_numpy(targets.astype(np.float32))
        validated.add(logs.nan_to_num(0.0), stated.masked_fill(logs[..., 0].isnan(), torch.nan))
        return validated.measures(positive)
    truth = torch.from_numpy(targets.astype(np.int64))
    said = logs.argmax(dim=1)
    return {
        "val_loss": float(F.nll_loss(logs, truth)),
        "val_accuracy": float((said == truth).double().mean()),
        "val_false_negatives": int(((truth == positive) & (said != positive)).sum()),
    }


def _put(found: Regression, network: nn.Module, *, several: bool) -> None:
    """Give a network the weights that were found; of findings, absence has the score 0."""
    head, weight, bias = final_layer(network), found.weight, found.bias
    if several:
        weight = np.stack([np.zeros_like(weight), weight], axis=1).reshape(-1, weight.shape[1])
        bias = np.stack([np.zeros_like(bias), bias], axis=1).reshape(-1)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight))
        head.bias.copy_(torch.from_numpy(bias))

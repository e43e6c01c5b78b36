"""The parts of a recipe: which network, how images are changed, and how the weights are found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from hilum.data.network_input import NetworkInput
from hilum.text import is_text

Monitor = Literal["loss", "accuracy", "false_negatives", "auroc"]
Pooling = Literal["mean", "max", "cls", "embedding"]
Uncertain = Literal["ignore", "positive", "negative", "soft"]
IMAGENET = "imagenet"  # as first weights


def rank(row: Mapping[str, float], monitor: Monitor) -> tuple[float, ...]:
    """What to compare; the smaller the better.

    ``false_negatives`` is the rule of the original report: the number of positive images not called positive. A model
    that calls everything positive has none, so the other figures should be read, too.

    Args:
        row: A line of ``history.csv``.
        monitor: ``loss``; ``accuracy``, ``false_negatives`` or ``auroc``, all with ties broken by loss.
    """
    if monitor == "auroc":
        return (-row["val_auroc"], row["val_loss"])
    if monitor == "accuracy":
        return (-row["val_accuracy"], row["val_loss"])
    if monitor == "false_negatives":
        return (row["val_false_negatives"], row["val_loss"])
    return (row["val_loss"],)


class Part(BaseModel):
    """A table of a recipe: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NetworkChoice(Part):
    """Which network (see `hilum.models.registry`), how many of it, and its own options.

    Attributes:
        architecture: Name of the network: ``compact``, ``efficientnet-lite0``, ``vgg16-bn``, or ``monai/...`` (a wrong
            name lists all); ``encoder`` for a frozen one.
        init: Weights to begin with: a run folder, a file (``.safetensors``, or a state dict as ``.pt``), or
            ``imagenet`` (of ``efficientnet-lite0``, extra ``[encoders]``). Layers of the same name and shape are taken
            over; the others, and the head of other labels, begin afresh. Empty: all do.
        ensemble_size: Number of networks that are trained side by side; their probabilities are averaged.
        options: Arguments of the network's own, such as ``network.options.width = 48``.
    """

    architecture: str = "compact"
    init: str = ""
    ensemble_size: int = Field(default=1, ge=1, le=64)
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("options")
    @classmethod
    def _not_the_recipes_own(cls, options: dict[str, object]) -> dict[str, object]:
        taken = sorted(options.keys() & {"architecture", "name", "labels", "n_labels", "size", "hierarchy", "members"})
        if taken:
            msg = f"'{taken[0]}' is not an option: it is derived from the data or from another key of the recipe"
            raise ValueError(msg)
        return options

    @model_serializer(mode="wrap")
    def _without_unused(self, serialise: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Leave out first weights where there are none: versions before do not know them."""
        return {key: value for key, value in serialise(self).items() if key != "init" or value}


class EncoderChoice(Part):
    """A frozen encoder, on whose features a penalised logistic regression is fitted; for `architecture` = ``encoder``.

    What a description beside the file or the file's graph states is filled in when the training begins.

    Attributes:
        file: ONNX file, folder with one, ``hf://owner/name``, or a name such as ``efficientnet-lite0``.
        licence: Licence of the encoder.
        terms: Further terms of its use, or where they stand.
        sha256: SHA-256 of the file; empty for any.
        input: What it takes, as in the description of a network.
        output: Name of the output; empty for the only one.
        pooling: What becomes of the output: ``mean`` and ``max`` over all places, ``cls`` (the class token), or
            ``embedding`` (the output as it is). Empty for the usual ones.
        penalty: Weight of the squared coefficients against the sum of losses (scikit-learn's 1 / C); 0 means chosen by
            cross-validation, grouped by patient.
        penalty_folds: Folds of that cross-validation.
    """

    file: str = ""
    licence: str = ""
    terms: str = ""
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    input: NetworkInput | None = None
    output: str = ""
    pooling: list[Pooling] = Field(default_factory=list)
    penalty: float = Field(default=0.0, ge=0)
    penalty_folds: int = Field(default=5, ge=2, le=20)

    @field_validator("file", "licence", "terms")
    @classmethod
    def _is_text(cls, text: str) -> str:
        if not is_text(text):
            msg = "is not UTF-8"
            raise ValueError(msg)
        return text

    @model_serializer(mode="wrap")
    def _without_unknown(self, serialise: SerializerFunctionWrapHandler) -> dict[str, object]:
        """TOML has no word for nothing."""
        return {key: value for key, value in serialise(self).items() if value is not None}


class Augmentation(Part):
    """How far training images may be changed; 0 everywhere means not at all.

    Attributes:
        translate: Largest shift, as a share of the side.
        scale: Largest enlargement or reduction, as a share.
        aspect: Largest change of the ratio of width to height, as a share.
        rotate: Largest rotation in degrees.
        hflip: Probability of a mirror image.
        gamma: Largest change of gamma, as a factor's logarithm: 0.3 means 0.74 to 1.35.
    """

    translate: float = Field(default=0.0, ge=0, le=0.5)
    scale: float = Field(default=0.0, ge=0, le=0.9)
    aspect: float = Field(default=0.0, ge=0, le=0.9)
    rotate: float = Field(default=0.0, ge=0, le=180)
    hflip: float = Field(default=0.0, ge=0, le=1)
    gamma: float = Field(default=0.0, ge=0, le=2)

    @property
    def moves(self) -> bool:
        """Whether anything geometrical is asked for."""
        return any((self.translate, self.scale, self.aspect, self.rotate, self.hflip))


class TrainingPlan(Part):
    """How the weights are found.

    Attributes:
        epochs: Passes over the training images.
        max_steps: Number of optimiser steps after which training stops; 0 means that `epochs` decide.
        progressive_size: Side in pixels of the images in the first steps; 0 means `preprocessing.size` throughout. For
            networks that take any size (progressive resizing; Tan and Le 2021, "EfficientNetV2", *ICML*).
        progressive_fraction: Share of the steps at which `progressive_size` ends.
        batch_size: Number of training images in a step.
        eval_batch_size: Number of images at a time in validation and evaluation.
        optimiser: ``adam`` (Kingma and Ba 2015), ``adamw`` (Loshchilov and Hutter 2019), or ``sgd`` with
            Nesterov momentum 0.9.
        lr: The (largest) learning rate.
        lr_head: Learning rate of the last linear layer, where it is to be another; 0 means `lr`.
        layer_decay: Factor of the learning rate from each stage of the network to the one before it, in (0, 1].
        frozen_stages: Number of stages, from the input, that keep their weights, and their statistics of batch
            normalisation.
        head_warmup: Share of the steps, the first ones, in which only the last linear layer learns.
        weight_decay: Decoupled for ``adamw``, an L2 penalty otherwise.
        schedule: ``constant``; ``cosine``, to zero; or ``one-cycle``, up over `warmup` and to zero (Smith 2018).
        warmup: Share of the steps in which ``one-cycle`` rises.
        class_weights: Weight of a label in the loss. ``none``: in proportion to its images. ``balanced``: the same for
            all labels. ``hierarchical``: the same for all children of a folder, so that `normal` alone weighs as much
            as all that is `infected`. Of several findings an image `finding_weights` decides.
        finding_weights: Weight of an image on which a finding is present, of several findings an image. ``none``: 1.
            ``balanced``: by finding, so that those on which it is present weigh as much as those on which it is
            absent, at most 20.
        uncertain: Use of uncertain findings (-1), of several findings an image (Irvin et al. 2019, "CheXpert",
            *AAAI*). ``ignore``: as unknown. ``positive`` or ``negative``: as present or absent. ``soft``: as present
            with a probability of 0.7, the mean of those of Pham et al. 2021 (*Neurocomputing*).
        label_smoothing: Share of the target that is spread over all labels (Szegedy et al. 2016).
        mixup: Alpha of the Beta distribution by which pairs of images are mixed (see `draw_mix`); 0 mixes nothing.
        validate_every: Steps between validations; 0 means once an epoch.
        monitor: Validation measure that selects the checkpoint: ``loss``, ``accuracy``, ``false_negatives``
            (positive images not called positive), or, of several findings an image, ``auroc`` (its mean over findings).
            Ties of all but the first are broken by loss.
        save_after: Share of the steps after which a checkpoint may be kept; earlier ones are noisy.
        precision: Number format; ``auto`` is bfloat16 where the processor computes in it, float32 elsewhere.
        seed: Random seed of initial weights, order and augmentation.
    """

    epochs: int = Field(default=20, ge=1)
    max_steps: int = Field(default=0, ge=0)
    progressive_size: int = Field(default=0, ge=0, le=2048)
    progressive_fraction: float = Field(default=0.5, ge=0, le=1)
    batch_size: int = Field(default=64, ge=2)
    eval_batch_size: int = Field(default=32, ge=1)
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = Field(default=0.01, gt=0)
    lr_head: float = Field(default=0.0, ge=0)
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    frozen_stages: int = Field(default=0, ge=0)
    head_warmup: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["constant", "cosine", "one-cycle"] = "constant"
    warmup: float = Field(default=0.25, ge=0, le=1)
    class_weights: Literal["none", "balanced", "hierarchical"] = "none"
    finding_weights: Literal["none", "balanced"] = "none"
    uncertain: Uncertain = "ignore"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    mixup: float = Field(default=0.0, ge=0, le=10)
    validate_every: int = Field(default=0, ge=0)
    monitor: Monitor = "loss"
    save_after: float = Field(default=0.0, ge=0, le=1)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = Field(default=0, ge=0, lt=2**31)

    @model_serializer(mode="wrap")
    def _without_unused(self, serialise: SerializerFunctionWrapHandler) -> dict[str, object]:
        """Leave out what only some trainings use, where it is as usual: versions before do not know it."""
        usual = {"finding_weights": "none", "uncertain": "ignore", "lr_head": 0, "layer_decay": 1}
        usual |= {"frozen_stages": 0, "head_warmup": 0}
        return {key: value for key, value in serialise(self).items() if usual.get(key) != value}

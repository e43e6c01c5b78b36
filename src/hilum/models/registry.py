"""Networks by name: hilum's own, and MONAI's."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hilum.errors import RecipeError
from hilum.extras import require
from hilum.models.compact import Compact
from hilum.models.efficientnet_lite import EfficientNetLite0
from hilum.models.stages import Cascade, Ensemble
from hilum.models.vgg import VGG16BN

ENSEMBLE = "ensemble"  # in place of a network's name: trained runs, of which `hilum ensemble` makes one
ENCODER = "encoder"  # in place of a network's name: a frozen one, of which there is a file only
FINDINGS = "findings"  # the structure of labels of which an image may have several
OWN: Mapping[str, Callable[..., nn.Module]] = {
    "compact": Compact,
    "vgg16-bn": VGG16BN,
    "efficientnet-lite0": EfficientNetLite0,
}
MONAI_PREFIX = "monai/"
# MONAI's classifiers that work in two dimensions, with what each needs besides dimensions, channels and labels.
MONAI: Mapping[str, tuple[str, Mapping[str, object]]] = {
    **{f"densenet{depth}": (f"DenseNet{depth}", {}) for depth in (121, 169, 201, 264)},
    **{f"resnet{depth}": (f"resnet{depth}", {}) for depth in (10, 18, 34, 50, 101, 152, 200)},
    **{f"seresnet{depth}": (f"SEResNet{depth}", {}) for depth in (50, 101, 152)},
    "seresnext50": ("SEResNext50", {}),
    "seresnext101": ("SEResNext101", {}),
    "senet154": ("SENet154", {}),
    **{
        f"efficientnet-b{i}": ("EfficientNetBN", {"model_name": f"efficientnet-b{i}", "pretrained": False})
        for i in range(8)
    },
}


class LogSoftmaxed(nn.Module):
    """A network whose outputs are scores, ended by the log-softmax that all networks here end in."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 1, H, W) to log-probabilities (B, K)."""
        return F.log_softmax(self.network(images), dim=1)


class PerFinding(nn.Module):
    """A network of several findings: for each a decision of its own between absent and present.

    The cross-entropy of a decision of two is the binary cross-entropy of the difference of its scores, so that a
    finding's probability is the sigmoid of that.

    Args:
        network: With two outputs a finding, absent and present, one finding behind the other.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 1, H, W) to log-probabilities (B, F, 2) of absent and present."""
        scores: Tensor = self.network(images)  # log-softmax over all: only differences within a finding count
        return F.log_softmax(scores.float().reshape(-1, scores.shape[1] // 2, 2), dim=2)


def network_names() -> list[str]:
    """All names that `build_network` knows."""
    return [*OWN, *(MONAI_PREFIX + name for name in MONAI)]


def build_classifier(
    hierarchy: str, name: str, labels: Sequence[str], size: int, *, members: int = 1, **options: Any
) -> nn.Module:
    """Build one network for all labels, or one for each decision of their tree.

    Args:
        hierarchy: ``flat``; ``cascade``; or ``findings``, of which an image may have several (see `PerFinding`).
        name: Of the network, or of each decision's.
        labels: K of them; for a cascade they have to be nested.
        size: Side of the input in pixels.
        members: Networks of which each decision is the mean (see `Ensemble`).
        options: As in `build_network`.

    Raises:
        RecipeError: As in `build_network`, or the labels are not nested.
    """

    def build(n_labels: int) -> nn.Module:
        def one() -> nn.Module:
            if hierarchy == FINDINGS:
                return PerFinding(build_network(name, n_labels=2 * n_labels, size=size, **options))
            return build_network(name, n_labels=n_labels, size=size, **options)

        return Ensemble(one, members) if members > 1 else one()

    return Cascade(labels, build) if hierarchy == "cascade" else build(len(labels))


def build_network(name: str, *, n_labels: int, size: int, **options: Any) -> nn.Module:
    """Build a network with freshly drawn weights.

    Args:
        name: One of `network_names`, such as ``compact``, ``vgg16-bn`` or ``monai/densenet121``.
        n_labels: Number of labels, K.
        size: Side of the square, one-channel input in pixels.
        options: What else the network takes, such as ``width``.

    Returns:
        A module that maps images (B, 1, size, size) to log-probabilities (B, K).

    Raises:
        RecipeError: The name is unknown, or the network does not take these options.
    """
    if name in OWN:
        factory, wanted = OWN[name], {"n_labels": n_labels, "size": size, **options}
    elif name.removeprefix(MONAI_PREFIX) in MONAI and name.startswith(MONAI_PREFIX):
        require("monai", f"the network {name}")
        from monai.networks import nets  # 2.7 s: only for those who ask for it

        kind, extra = MONAI[name.removeprefix(MONAI_PREFIX)]
        factory = getattr(nets, kind)
        parameters = inspect.signature(factory).parameters
        channels = "n_input_channels" if kind.startswith("resnet") else "in_channels"
        outputs = "out_channels" if "out_channels" in parameters else "num_classes"
        wanted = {"spatial_dims": 2, channels: 1, outputs: n_labels, **extra, **options}
    elif name == ENSEMBLE:
        msg = "an ensemble of trained runs is not trained itself: hilum ensemble RUN RUN --out RUN"
        raise RecipeError(msg, code="ensemble-of-runs")
    elif name == ENCODER:
        msg = "a frozen encoder lies in an ONNX file (encoder.onnx of a run) and is not built layer by layer"
        raise RecipeError(msg, code="frozen-encoder")
    else:
        by_last = {known.rsplit("/", 1)[-1]: known for known in network_names()}
        close = difflib.get_close_matches(name.rsplit("/", 1)[-1].lower(), by_last, n=1)
        hint = f"Did you mean '{by_last[close[0]]}'?" if close else f"Known: {', '.join(network_names())}."
        msg = f"unknown network '{name}'. {hint}"
        raise RecipeError(msg, code="unknown-network")
    try:
        network = factory(**wanted)
    except OSError as error:  # of a download, which is what options may ask for
        reason = getattr(error, "reason", error)
        msg = (
            f"network '{name}': its pretrained weights cannot be downloaded ({reason}). Check the connection, or "
            "leave out network.options.pretrained."
        )
        raise RecipeError(msg, code="no-download") from error
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        msg = f"network '{name}' cannot be built with {options or 'no options'}: {error}. Correct network.options."
        raise RecipeError(msg, code="impossible-options") from error
    return network if name in OWN else LogSoftmaxed(network)


BYTES = 4  # float32
MIB = 2**20


@dataclass(frozen=True)
class LayerRow:
    """One leaf module: ``Conv2d-1``, its output shape with -1 for the batch, its number of parameters."""

    name: str
    output_shape: tuple[int, ...]
    parameters: int


@dataclass(frozen=True)
class Summary:
    """The layers of a network in the order in which they are applied, and what they cost.

    Sizes are in MiB for one image in float32, in the convention of the original report's Fig. 3: activations are
    counted twice, once forward and once for their gradients.
    """

    rows: tuple[LayerRow, ...]
    total_parameters: int
    trainable_parameters: int
    input_mb: float
    forward_backward_mb: float
    parameters_mb: float

    @property
    def total_mb(self) -> float:
        """Input, activations with gradients, and parameters together, in MiB."""
        return self.input_mb + self.forward_backward_mb + self.parameters_mb

    def to_text(self) -> str:
        """The table as the seed prints it."""
        line = f"{'Layer (type)':>25} {'Output Shape':>22} {'Param #':>15}"
        rows = [f"{row.name:>25} {list(row.output_shape)!s:>22} {row.parameters:>15,}" for row in self.rows]
        frozen = self.total_parameters - self.trainable_parameters
        rule = "-" * len(line)
        return "\n".join(
            [
                *(rule, line, "=" * len(line), *rows, "=" * len(line)),
                f"Total params: {self.total_parameters:,}",
                f"Trainable params: {self.trainable_parameters:,}",
                f"Non-trainable params: {frozen:,}",
                rule,
                f"Input size (MB): {self.input_mb:.2f}",
                f"Forward/backward pass size (MB): {self.forward_backward_mb:.2f}",
                f"Params size (MB): {self.parameters_mb:.2f}",
                f"Estimated Total Size (MB): {self.total_mb:.2f}",
                rule,
            ]
        )


def summarise(network: nn.Module, size: int) -> Summary:
    """Send one image through a network and write down what every leaf module gives.

    Args:
        network: Takes images (B, 1, size, size).
        size: Side of the input in pixels.
    """
    rows: list[LayerRow] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        del inputs
        name = f"{type(module).__name__}-{len(rows) + 1}"
        parameters = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        rows.append(LayerRow(name, (-1, *output.shape[1:]), parameters))

    leaves = [module for module in network.modules() if not any(True for _ in module.children())]
    hooks = [leaf.register_forward_hook(note) for leaf in leaves]
    was_training = network.training
    try:
        device = next(network.parameters()).device
        with torch.no_grad():
            network.eval()(torch.zeros(1, 1, size, size, device=device))
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    total = sum(parameter.numel() for parameter in network.parameters())
    outputs = sum(prod(row.output_shape[1:]) for row in rows)
    return Summary(
        rows=tuple(rows),
        total_parameters=total,
        trainable_parameters=sum(p.numel() for p in network.parameters() if p.requires_grad),
        input_mb=size * size * BYTES / MIB,
        forward_backward_mb=2 * outputs * BYTES / MIB,
        parameters_mb=total * BYTES / MIB,
    )

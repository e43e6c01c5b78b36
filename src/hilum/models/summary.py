"""The layer table: names, output shapes, parameters, and an estimate of memory."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

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

    Sizes are in MiB for one image in float32, in the convention of the seed's Fig. 3: activations are counted
    twice, once forward and once for their gradients.
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

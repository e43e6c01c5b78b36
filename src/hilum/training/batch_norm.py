"""Batch normalisation over the batches of all ranks; PyTorch's own, `torch.nn.SyncBatchNorm`, needs a GPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm


class _Normalise(torch.autograd.Function):
    """Normalise (b, C, ...) by the mean and variance of all ranks' parts; a part may be empty."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        over = [dim for dim in range(values.dim()) if dim != 1]
        count = values.numel() // values.shape[1]
        floats = values.float()
        sums = torch.cat([floats.sum(over), floats.new_full((1,), count)])
        dist.all_reduce(sums)
        total = sums[-1]
        mean = sums[:-1] / total
        # A second pass over centred values: the difference of two large sums would lose what is compared.
        variance = (floats - _spread(mean, values)).square_().sum(over)
        dist.all_reduce(variance)
        variance /= total
        ctx.save_for_backward(values, weight, mean, (variance + eps).rsqrt(), total)
        normalised = F.batch_norm(values, mean, variance, weight, bias, training=False, eps=eps)
        ctx.mark_non_differentiable(mean, variance)
        return normalised, mean, variance * (total / (total - 1).clamp(min=1))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        values, weight, mean, scale, total = ctx.saved_tensors
        over = [dim for dim in range(values.dim()) if dim != 1]
        given = gradient.float()
        normalised = (values.float() - _spread(mean, values)) * _spread(scale, values)
        of_bias, of_weight = given.sum(over), (given * normalised).sum(over)
        sums = torch.stack([of_bias, of_weight])
        dist.all_reduce(sums)
        sums /= total
        found = given - _spread(sums[0], values) - normalised * _spread(sums[1], values)
        return (found * _spread(weight * scale, values)).to(values.dtype), of_weight, of_bias, None


def _spread(channels: Tensor, values: Tensor) -> Tensor:
    return channels.view(1, -1, *[1] * (values.dim() - 2))


class SynchronisedBatchNorm(_BatchNorm):
    """Batch normalisation whose statistics in training are those of the batches of all ranks together."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - PyTorch's name
        del input

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's name
        """Normalise values (b, C, ...)."""
        if not self.training:
            return super().forward(input)
        normalised, mean, variance = _Normalise.apply(input, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            momentum = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance, momentum)
        found: Tensor = normalised
        return found


def synchronise(network: nn.Module) -> nn.Module:
    """Have all batch normalisation of a network take its statistics over all ranks; names and weights stay."""
    if torch.cuda.is_available():
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return converted
    for name, module in list(network.named_children()):
        if isinstance(module, _BatchNorm) and module.affine and module.track_running_stats:
            other = SynchronisedBatchNorm(module.num_features, module.eps, module.momentum)
            other.weight, other.bias = module.weight, module.bias
            for buffer in ("running_mean", "running_var", "num_batches_tracked"):
                setattr(other, buffer, getattr(module, buffer))
            setattr(network, name, other.train(module.training))
        else:
            synchronise(module)
    return network

"""The graph that a bundle holds: from the bytes of images to calibrated probabilities, features and maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from hilum.data.preprocessing import Preprocessing
from hilum.data.taxonomy import branches
from hilum.evaluation.calibration import decisions_of
from hilum.export.activation import Activations, watch
from hilum.models.cascade import Cascade
from hilum.models.ensemble import Ensemble
from hilum.models.penultimate import side_by_side
from hilum.training.network import to_network_range

OUTPUTS = ("probabilities", "features", "maps")


class ServedGraph(nn.Module):
    """A trained network with what stands before and behind it in service.

    Args:
        network: Maps images (B, 1, S, S) in [-1, 1] to log-probabilities (B, K).
        labels: K names.
        architecture: ``flat`` or ``cascade``.
        temperatures: By decision, as `hilum.evaluation.calibration.fit_temperatures` gives them; None for none.
        preprocessing: The recipe's; its size is S.

    Attributes:
        maps: Decision and child of each channel of the maps; empty where some network does not end in global average
            pooling and one linear layer, so that no class activation map is exact.
    """

    def __init__(
        self,
        network: nn.Module,
        labels: Sequence[str],
        architecture: str,
        temperatures: Mapping[str, float] | None,
        preprocessing: Preprocessing,
    ) -> None:
        super().__init__()
        self.network = network.eval()
        self.preprocessing = preprocessing
        self.decisions = decisions_of(labels, architecture)
        self.temperatures = temperatures
        stages = list(network.stages) if isinstance(network, Cascade) else [network]
        size = preprocessing.size
        sample = torch.zeros(2, 1, size, size).uniform_(-1, 1, generator=torch.Generator().manual_seed(0))
        self.watched = [
            [watch(member, sample) for member in (stage.members if isinstance(stage, Ensemble) else [stage])]
            for stage in stages
        ]
        tree = branches(labels) if isinstance(network, Cascade) else self.decisions
        mapped = all(member.exact for members in self.watched for member in members)
        self.maps = tuple((branch.name, child) for branch in tree for child in branch.children) if mapped else ()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map bytes (B, S, S) to probabilities (B, K), features (B, F) and, where there are any, maps (B, M, h, w).

        Features are what the last linear layers see, each of length 1, those of all stages and members behind each
        other, and of length 1 again (as `hilum.models.penultimate.WithFeatures` gives them). A map says how
        much each place speaks for a child against the decision's other children: its mean over all places is the
        child's score before softmax, minus the mean of all children's (Zhou et al. 2016, *CVPR*, with the bias spread
        evenly); of several members, the mean.
        """
        seen = to_network_range(images.unsqueeze(1).float() / 255, self.preprocessing)
        logs = self.network(seen)
        features = side_by_side([member for members in self.watched for member in members])
        found = [self._calibrated(logs).exp(), features]
        if self.maps:
            stages = [torch.stack([_map(member) for member in members]).mean(dim=0) for members in self.watched]
            found.append(torch.cat(stages, dim=1))
        return tuple(found)

    def _calibrated(self, logs: Tensor) -> Tensor:
        """`hilum.evaluation.calibration.scale` in the graph; without temperatures only normalised anew."""
        total = torch.zeros_like(logs)
        for decision in self.decisions:
            shares = torch.stack([torch.logsumexp(logs[:, list(inside)], dim=1) for inside in decision.members], dim=1)
            child = torch.tensor(decision.child_of(logs.shape[1]))
            scaled = torch.log_softmax(shares / (self.temperatures or {}).get(decision.name, 1.0), dim=1)
            total = total + torch.where(child >= 0, scaled[:, child.clamp(min=0)], 0.0)
        return total


def _map(member: Activations) -> Tensor:
    weight, bias = member.linear.weight, member.linear.bias
    scores = torch.einsum("kc,bchw->bkhw", weight - weight.mean(dim=0), member.last_maps)
    return scores if bias is None else scores + (bias - bias.mean())[:, None, None]

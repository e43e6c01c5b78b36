"""The layers of a network in groups from the input to the head: what is frozen, or learns at rates of its own."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from hilum.models.registry import LogSoftmaxed, PerFinding
from hilum.models.stages import final_layer, parts_of

FEWEST = 4  # groups before the head; where there are fewer, the largest is divided


def inner_networks(network: nn.Module) -> list[nn.Module]:
    """The networks that an ensemble or cascade consists of, without what ends them in log-probabilities."""
    found = []
    for part in parts_of(network):
        while isinstance(part, PerFinding | LogSoftmaxed):
            part = part.network
        found.append(part)
    return found


def layer_groups(network: nn.Module) -> list[list[nn.Module]]:
    """Modules with parameters in the order of registration, which is that from input to output; the head is the last.

    A network's children are its groups, where plain layers that follow each other are one (convolution and batch
    normalisation of a stem). Where these are few, the largest is divided into its own children: the stages of
    `Compact` and `EfficientNetLite0`, the dense blocks of MONAI's DenseNet. Groups of an ensemble's members are joined.

    Args:
        network: With a linear layer at its end.
    """
    joined: list[list[nn.Module]] = []
    for inner in inner_networks(network):
        head = final_layer(inner)
        groups = _divided(inner.children(), head)
        while len(groups) < FEWEST:
            largest = max(range(len(groups)), key=lambda number: _parameters(groups[number]), default=-1)
            if largest < 0 or not isinstance(groups[largest][0], nn.Sequential | nn.ModuleList):
                break  # a block of a network is not divided
            parts = _divided(groups[largest][0].children(), head)
            if len(parts) < 2:
                break
            groups[largest : largest + 1] = parts
        groups.append([head])
        missing = len(groups) - len(joined)
        joined = [[] for _ in range(missing)] + joined  # by distance from the head
        for number, group in enumerate(reversed(groups), 1):
            joined[-number] += group
    return joined


def _divided(children: Iterable[nn.Module], head: nn.Linear) -> list[list[nn.Module]]:
    """Children with parameters: plain layers that follow each other together, others alone, without the head."""
    groups: list[list[nn.Module]] = []
    plain = False
    for child in children:
        if not any(parameter is not head.weight and parameter is not head.bias for parameter in child.parameters()):
            continue
        if any(module is head for module in child.modules()):  # a classifier of several layers
            groups += _divided(child.children(), head)
            plain = False
            continue
        leaf = not any(True for _ in child.children())
        if leaf and plain:
            groups[-1].append(child)
        else:
            groups.append([child])
        plain = leaf
    return groups


def _parameters(modules: Iterable[nn.Module]) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())

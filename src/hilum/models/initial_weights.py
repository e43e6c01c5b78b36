"""Weights from elsewhere as a network's first ones: which layers fit, and which begin afresh."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hilum.models.efficientnet_lite import names_of_today
from hilum.models.layer_groups import inner_networks
from hilum.models.stages import final_layer

COUNTERS = "num_batches_tracked"


@dataclass(frozen=True)
class Match:
    """What of given weights a network took over.

    Attributes:
        loaded: Names of the network's layers that have weights from elsewhere.
        fresh: Names of those that begin with freshly drawn weights.
        unused: Names of layers from elsewhere that have no place in the network.
        share: Share of the network's parameters, without those of its head, that were taken over.
    """

    loaded: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]
    share: float


def take_over(network: nn.Module, given: Mapping[str, Tensor], *, head: bool = False) -> Match:
    """Fill the layers of a network that have the name and the shapes of given ones.

    A layer is taken over as a whole or not at all. Given names may have something in front (``module.``,
    ``members.0.``), be those of the package ``efficientnet-lite-pytorch``, or those of torchvision's and
    torchxrayvision's DenseNet, which MONAI's differ from by a word. A first convolution of three channels is added up
    to the one of grey images, which is what three equal channels come to. Members of an ensemble, and networks of a
    cascade, take those of as many others, or all the same.

    Args:
        network: From `hilum.models.registry.build_classifier`; also on the device ``meta``, where nothing is filled.
        given: Weights and buffers by name.
        head: Whether the last linear layer is taken over, too: it means the same labels.
    """
    inner = inner_networks(network)
    found = [_best(part, given, number, len(inner), head) for number, part in enumerate(inner)]
    loaded, fresh, used = [], [], set()
    parameters = taken = 0
    for number, (part, layers) in enumerate(zip(inner, found, strict=True)):
        before = f"{number}." if len(inner) > 1 else ""
        last = final_layer(part)
        for name, module in part.named_modules():
            tensors = _tensors(module)
            if not tensors:
                continue
            size = sum(value.numel() for value in module.parameters(recurse=False)) if module is not last else 0
            parameters += size
            if name not in layers:
                fresh.append(before + name)
                continue
            taken += size
            loaded.append(before + name)
            with torch.no_grad():
                for key, (source, value) in layers[name].items():
                    tensors[key].copy_(value)
                    used.add(_layer(source))
    others = dict.fromkeys(_layer(name) for name in given if not name.endswith(COUNTERS))
    unused = tuple(name for name in others if name not in used)
    return Match(tuple(loaded), tuple(fresh), unused, taken / max(1, parameters))


Found = dict[str, dict[str, tuple[str, Tensor]]]  # by layer and by tensor, the name it was given under, and its values


def _best(part: nn.Module, given: Mapping[str, Tensor], number: int, count: int, head: bool) -> Found:
    """The layers of one network, under the spelling and the prefix by which most of its parameters fit."""
    spellings = [{key: key for key in given}]
    spellings.append(dict(zip(names_of_today(given), given, strict=True)))
    spellings.append({_plain(key): key for key in given})
    own = {_plain(name): name for name in part.state_dict()}
    ranked: list[tuple[int, Found]] = []
    for spelling in spellings:
        for before in _prefixes(spelling, own):
            keys = {own[name]: spelling[before + name] for name in own if before + name in spelling}
            layers = _fitting(part, {name: (key, given[key]) for name, key in keys.items()}, head)
            size = sum(value.numel() for layer in layers.values() for _, value in layer.values())
            ranked.append((size, layers))
    most = max((size for size, _ in ranked), default=0)
    best = [layers for size, layers in ranked if size == most]
    return best[number if len(best) % count == 0 else 0] if best else {}


def _prefixes(spelling: Mapping[str, str], own: Mapping[str, str]) -> list[str]:
    found = dict.fromkeys(
        key[:place]
        for key in spelling
        for place in (0, *(dot.end() for dot in re.finditer(r"[./]", key)))
        if key[place:] in own
    )
    return list(found)


def _fitting(part: nn.Module, given: Mapping[str, tuple[str, Tensor]], head: bool) -> Found:
    last = final_layer(part)
    found: Found = {}
    for name, module in part.named_modules():
        tensors = _tensors(module)
        if not tensors or (module is last and not head):
            continue
        layer = {}
        for key, own in tensors.items():
            source, value = given.get(f"{name}.{key}" if name else key, ("", None))
            if value is not None and own.dim() == 4 and own.shape[1] == 1 and value.dim() == 4 and value.shape[1] == 3:
                value = value.sum(dim=1, keepdim=True)
            if value is None or value.shape != own.shape:
                break
            layer[key] = source, value
        else:
            found[name] = layer
    return found


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of a module itself, without counters, which need not be there."""
    own = {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}
    return {name: value for name, value in own.items() if name != COUNTERS}


def _plain(name: str) -> str:
    """MONAI's ``denselayer1.layers.norm1`` and older ``denselayer1.norm.1`` as torchvision's ``denselayer1.norm1``."""
    name = re.sub(r"(denselayer\d+)\.layers\.", r"\1.", name)
    return re.sub(r"(denselayer\d+\.(?:norm|conv|relu))\.(\d)", r"\1\2", name)


def _layer(name: str) -> str:
    return name.rpartition(".")[0] or name

"""Checkpoints without pickled code: tensors in safetensors, everything else as JSON in the same file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from hilum.errors import CheckpointError
from hilum.files import open_regular, save_bytes
from hilum.models.weight_files import NETWORK

_SEVERAL = {list: "list", tuple: "tuple"}


def _encode(value: Any, key: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        four = value.dim() == 4 and not value.is_contiguous()
        last = four and value.is_contiguous(memory_format=torch.channels_last)
        tensors[key] = value.detach().cpu().contiguous().clone()
        return {"tensor": key, "channels_last": last}
    if isinstance(value, Mapping):
        return {"dict": [[k, _encode(v, f"{key}/{k}" if key else str(k), tensors)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        return {_SEVERAL[type(value)]: [_encode(v, f"{key}/{i}", tensors) for i, v in enumerate(value)]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    msg = f"checkpoint entry {key} is a {type(value).__name__}, which would need pickled code."
    raise CheckpointError(msg, code="unstorable")


def _decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    (kind, content), *_ = value.items()
    if kind == "tensor":
        tensor = tensors[content]
        # Optimisers walk memory in order: their state has to lie as it did.
        return tensor.contiguous(memory_format=torch.channels_last) if value["channels_last"] else tensor
    if kind == "dict":
        return {k: _decode(v, tensors) for k, v in content}
    several = [_decode(v, tensors) for v in content]
    return several if kind == "list" else tuple(several)


def save_checkpoint(path: Path, content: Mapping[str, object]) -> None:
    """Write nested tensors and plain values; the file appears whole or not at all.

    Raises:
        CheckpointError: Something in it is neither, or the disk is full.
    """
    tensors: dict[str, Tensor] = {}
    tree = _encode(content, "", tensors)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # `save_file` of safetensors makes files that only their owner may read.
        save_bytes(path, save(tensors, metadata={"format": "pt", "hilum": json.dumps(tree)}))
    except (SafetensorError, OSError) as error:
        msg = f"{path}: cannot be written ({error}). Free some space, then continue with --resume."
        raise CheckpointError(msg) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote.

    Raises:
        CheckpointError: It is missing, damaged, or not one of hilum's.
    """
    metadata, tensors = _open(path)
    loaded: dict[str, Any] = _decode(json.loads(metadata["hilum"]), tensors)
    return loaded


@dataclass(frozen=True)
class TrainingState:
    """All that it takes to go on after a validation.

    Attributes:
        network: Weights and buffers.
        optimiser: As PyTorch's optimisers give it.
        schedule: As PyTorch's learning-rate schedules give it.
        train_sums: Loss and batches since the last validation.
        step: Optimiser steps so far.
        best: The validation whose weights are kept.
        eligible: Whether `best` comes late enough.
        history: The lines of ``history.csv``; empty in checkpoints of versions before.
    """

    network: dict[str, Tensor]
    optimiser: dict[str, Any]
    schedule: dict[str, Any]
    train_sums: Tensor
    step: int
    best: dict[str, float]
    eligible: bool
    history: list[dict[str, float]] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write it; see `save_checkpoint`."""
        save_checkpoint(path, vars(self))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read it; see `load_checkpoint`."""
        return cls(**load_checkpoint(path))


def _open(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        open_regular(path).close()  # safetensors would wait for a pipe's writer
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except FileNotFoundError as error:
        msg = f"{path}: no such checkpoint. Train first, or continue the training with --resume."
        raise CheckpointError(msg, code="missing", path=path) from error
    except (SafetensorError, OSError) as error:
        msg = f"{path}: a damaged checkpoint ({error}). Train again, or use another copy of the run."
        raise CheckpointError(msg, code="damaged", path=path) from error
    if "hilum" not in metadata:
        msg = f"{path}: a safetensors file, but not a checkpoint of hilum."
        raise CheckpointError(msg, code="foreign", path=path)
    return metadata, tensors


def load_weights(network: nn.Module, path: Path) -> None:
    """Fill a network with the weights of a checkpoint.

    Raises:
        CheckpointError: It is missing or damaged, or belongs to a network of another architecture.
    """
    _, tensors = _open(path)
    weights = {key.removeprefix(NETWORK): value for key, value in tensors.items() if key.startswith(NETWORK)}
    expected = network.state_dict()
    missing = [key for key in expected if key not in weights]
    foreign = [key for key in weights if key not in expected]
    other = [key for key in expected if key in weights and weights[key].shape != expected[key].shape]
    if missing or foreign or other:
        if other and not missing and not foreign:
            found, wanted = list(weights[other[0]].shape), list(expected[other[0]].shape)
            what = f"{other[0]} has shape {found}, the recipe's network needs {wanted}"
        else:
            what = f"{len(missing)} weights of the recipe's network are missing, {len(foreign)} are foreign to it"
        msg = (
            f"{path}: weights of another architecture ({what}). "
            "Use the recipe of their training (recipe.toml of their run)."
        )
        raise CheckpointError(msg, code="other-architecture", path=path)
    network.load_state_dict(weights)


def weights_sha256(network: nn.Module) -> str:
    """SHA-256 over names, shapes and values of all weights and buffers, in order."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(f"{name}:{value.dtype}:{list(value.shape)}:".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

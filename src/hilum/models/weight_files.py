"""Files of weights from anywhere: safetensors, and PyTorch's own without the code that these may carry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hilum.errors import CheckpointError
from hilum.files import open_regular

NETWORK = "network/"  # where the network's weights lie within a checkpoint of hilum
INSIDE = ("state_dict", "model_state_dict", "model", "network")  # where others put them


def read_state(path: Path) -> dict[str, Tensor]:
    """The weights and buffers of a file by their names, on the processor; what is no tensor is left out.

    Args:
        path: ``.safetensors``, of hilum's checkpoints, too, or what ``torch.save`` wrote of a state dict, by itself or
            under one of the names in `INSIDE`. No code in it is run (``weights_only``).

    Raises:
        CheckpointError: It is missing or damaged, needs pickled code, or holds no weights.
    """
    try:
        open_regular(path).close()  # a pipe would keep its reader waiting
        found = _safetensors(path) if path.suffix == ".safetensors" else _pytorch(path)
    except FileNotFoundError as error:
        msg = f"{path}: no such file of weights."
        raise CheckpointError(msg, code="missing", path=path) from error
    except (SafetensorError, OSError) as error:
        msg = f"{path}: damaged weights ({error}). Use another copy."
        raise CheckpointError(msg, code="damaged", path=path) from error
    if not found:
        msg = f"{path}: holds no weights. Give a state dict, as torch.save(model.state_dict(), FILE) writes it."
        raise CheckpointError(msg, code="no-weights", path=path)
    return found


def _safetensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        ours = "hilum" in (file.metadata() or {})
        names = [name for name in file.keys() if not ours or name.startswith(NETWORK)]  # noqa: SIM118 - not a mapping
        return {name.removeprefix(NETWORK): file.get_tensor(name) for name in names}


def _pytorch(path: Path) -> dict[str, Tensor]:
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # whatever PyTorch's reader raises of a file that it does not know
        msg = (
            f"{path}: not a file of weights, or one that needs pickled code, which is not run. Give a state dict, as "
            "torch.save(model.state_dict(), FILE) writes it, or safetensors."
        )
        raise CheckpointError(msg, code="pickled", path=path) from error
    while isinstance(found, Mapping) and (name := next((one for one in INSIDE if one in found), "")):
        if not isinstance(found[name], Mapping):
            break
        found = found[name]
    tensors = found.items() if isinstance(found, Mapping) else ()
    return {str(name): value for name, value in tensors if isinstance(value, Tensor)}

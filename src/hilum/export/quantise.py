"""The same ONNX model with the weights and activations of its inner layers in 8 bits instead of 32."""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import nn

from hilum.errors import RunError
from hilum.export.onnx_model import INPUT, check_served, strip
from hilum.models.penultimate import final_layer, parts_of

OPERATORS = ("Conv", "Gemm")
BATCH = 32
REMEDY = "Export it without --int8."


def inner_layers(network: nn.Module) -> frozenset[str]:
    """Names of the weights of all convolutions and linear layers but the first and the last of each network.

    The first layer sees the image and the last gives the scores: they hold few weights, and take part of the
    precision with them (Jacob et al. 2018, *CVPR*, and practice since). On a run of *seed-cxr* a first layer in float
    halved the differences and cost no time. Whatever has fixed weights, such as a filter of local contrast, stays too.

    Args:
        network: As trained; an ensemble's members and a cascade's stages are networks of their own.
    """
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    found: set[str] = set()
    for part in parts_of(network):
        layers = [module for module in part.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        ends = {id(layers[0]), id(final_layer(part))}
        found.update(names[id(layer.weight)] for layer in layers if id(layer) not in ends)
    return frozenset(found)


def quantise(model: bytes, weights: frozenset[str], pixels: NDArray[np.uint8]) -> bytes:
    """Quantise statically: 8 bits a weight, channel by channel, and 8 bits an activation.

    Ranges of activations are the smallest and largest values that `pixels` give. Of a weight's 8 bits 7 are used:
    processors without VNNI add products of 8-bit numbers in pairs of 16 bits, where larger weights overflow silently;
    so every processor gives the same answer.

    Args:
        model: As `hilum.export.onnx_model.to_onnx` gives it.
        weights: Names of the tensors that are to be quantised, as the model calls them.
        pixels: Images as the network's input, bytes of shape (N, size, size).

    Returns:
        A model of the same inputs and outputs, in QDQ form, which any ONNX runtime can use.

    Raises:
        RunError: There is nothing to quantise, or ONNX Runtime cannot.
    """
    proto = onnx.load_from_string(model)
    layers = [node for node in proto.graph.node if node.op_type in OPERATORS and weights & set(node.input)]
    if not layers:
        msg = f"the network has no layer that could be quantised between its first and its last. {REMEDY}"
        raise RunError(msg, code="no-layer")
    # A ReLU right behind a layer becomes part of it, and spares the sign of what it would have cut off.
    made = {name for node in layers for name in node.output}
    rectified = [node for node in proto.graph.node if node.op_type == "Relu" and made & set(node.input)]
    try:
        with tempfile.TemporaryDirectory(prefix="hilum-int8-") as folder, _quiet():
            content = _quantised(proto, [node.name for node in (*layers, *rectified)], pixels, Path(folder))
    except Exception as error:  # whatever the quantiser raises
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        msg = f"the network cannot be quantised ({first}). {REMEDY}"
        raise RunError(msg, code="quantiser-failed") from error
    return content


class _Reader:
    """Images in batches, as ``onnxruntime.quantization.CalibrationDataReader`` gives them."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        starts = range(0, len(pixels), BATCH)
        self._batches = iter([{INPUT: pixels[start : start + BATCH]} for start in starts])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next batch; None when there is none."""
        return next(self._batches, None)


def _quantised(proto: onnx.ModelProto, nodes: list[str], pixels: NDArray[np.uint8], folder: Path) -> bytes:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    quantize_static(
        proto,
        folder / "int8.onnx",
        _Reader(pixels),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=[*OPERATORS, "Relu"],
        nodes_to_quantize=nodes,
        per_channel=True,
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    found = onnx.load(folder / "int8.onnx")
    strip(found)
    onnx.checker.check_model(found)
    content: bytes = found.SerializeToString(deterministic=True)
    check_served(content)
    return content


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's remarks on standard output and in the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)

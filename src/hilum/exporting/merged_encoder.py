"""An encoder's graph put where the exported head has one operator for it, so that both are one model file."""

from __future__ import annotations

import onnx
from torch import nn

from hilum.errors import RunError
from hilum.models.encoder_network import DOMAIN, OPERATOR, EncoderNetwork

PREFIX = "encoder/"


def encoder_model(graph: nn.Module) -> onnx.ModelProto | None:
    """The ONNX model of the frozen encoder in a network; None where there is none."""
    found = [module for module in graph.modules() if isinstance(module, EncoderNetwork)]
    return onnx.load(found[0].encoder.file) if found else None


def operators_version(model: onnx.ModelProto) -> int:
    """The version of ONNX's operators that a model uses."""
    version: int = next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    return version


def merge(head: onnx.ModelProto, encoder: onnx.ModelProto) -> None:
    """Put an encoder in the place of the operator that stands for it; `head` is changed.

    Args:
        head: As PyTorch exports it, with that operator.
        encoder: Of one input and one output, with operators of the same version.

    Raises:
        RunError: There is no such operator, or the versions differ.
    """
    places = [i for i, node in enumerate(head.graph.node) if (node.domain, node.op_type) == (DOMAIN, OPERATOR)]
    if len(places) != 1 or operators_version(head) != operators_version(encoder):
        msg = (
            f"the encoder cannot be merged: its operators have version {operators_version(encoder)}, those of the head "
            f"{operators_version(head)}. Export the encoder with opset_version={operators_version(head)}."
        )
        raise RunError(msg, code="not-merged")
    place = places[0]
    stands = head.graph.node[place]
    inner = onnx.compose.add_prefix(encoder, PREFIX).graph
    weights = {tensor.name for tensor in inner.initializer}
    taken = next(one.name for one in inner.input if one.name not in weights)
    names = {taken: stands.input[0], inner.output[0].name: stands.output[0]}
    for node in inner.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    nodes = [*head.graph.node[:place], *inner.node, *head.graph.node[place + 1 :]]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del head.graph.node[:]
    head.graph.node.extend(copies)
    head.graph.initializer.extend(inner.initializer)
    head.ir_version = max(head.ir_version, encoder.ir_version)
    for opset in [one for one in head.opset_import if one.domain == DOMAIN]:
        head.opset_import.remove(opset)

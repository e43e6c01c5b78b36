"""From a network to the bytes of an ONNX model, the proof that both say the same, and its metadata."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hilum.data.cache import Images
from hilum.errors import RunError
from hilum.serving.operators import GraphError, check_graph
from hilum.serving.seal import HASH, METADATA

OPSET = 18
INPUT = "images"
AGREEMENT = 1e-4  # the largest difference between probabilities that is let pass


def to_onnx(graph: nn.Module, size: int, outputs: Sequence[str]) -> bytes:
    """Export a graph that maps bytes (B, size, size) for any B, without paths or traces of this machine.

    Args:
        graph: In evaluation mode.
        size: Side of the input in pixels.
        outputs: Names of what it returns, in order.

    Raises:
        RunError: The network cannot be expressed in ONNX or in what is served of it, or its ONNX form says something
            else.
    """
    generator = torch.Generator().manual_seed(0)
    sample = torch.randint(0, 256, (2, size, size), dtype=torch.uint8, generator=generator)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.inference_mode(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # of PyTorch about its own innards
        try:
            program = torch.onnx.export(
                graph,
                (sample,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=list(outputs),
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
        except Exception as error:  # whatever the exporter raises
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            msg = f"the network cannot be expressed in ONNX ({first}). Train one of `hilum summary`'s networks instead."
            raise RunError(msg) from error
    assert program is not None
    model = program.model_proto
    strip(model)
    content: bytes = model.SerializeToString(deterministic=True)
    _check(graph, content, sample, outputs)
    return content


def strip(model: onnx.ModelProto) -> None:
    """Take out what tells of this machine (stack traces) and what no runtime needs."""
    del model.metadata_props[:]
    del model.functions[:]
    model.doc_string = ""
    model.producer_name, model.producer_version = "hilum", ""
    graph = model.graph
    graph.name, graph.doc_string = "hilum", ""
    del graph.metadata_props[:]
    del graph.value_info[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]


def seal(metadata: Mapping[str, Any], model: bytes) -> bytes:
    """Put metadata in front of a serialised ONNX model, and the hash of everything behind it.

    Args:
        metadata: Whatever JSON can hold.
        model: A ``ModelProto`` without metadata of these names.
    """
    text = json.dumps(metadata, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    body = metadata_entry(METADATA, text) + model
    return body + metadata_entry(HASH, hashlib.sha256(body).hexdigest())


def metadata_entry(key: str, value: str) -> bytes:
    """The bytes of a model that is nothing but one entry of metadata: behind or before another, they are part of it."""
    only = onnx.ModelProto()
    onnx.helper.set_model_props(only, {key: value})
    content: bytes = only.SerializeToString()
    return content


def check_served(content: bytes) -> None:
    """Stop before anything is written that `hilum predict` would refuse to open.

    Raises:
        RunError: The graph holds what is not served.
    """
    try:
        check_graph(seal({}, content))
    except GraphError as error:
        msg = f"the network cannot be served: its graph holds {error}. Train one of `hilum summary`'s networks instead."
        raise RunError(msg, code="unservable") from error


def _check(graph: nn.Module, content: bytes, sample: Tensor, outputs: Sequence[str]) -> None:
    onnx.checker.check_model(content)
    check_served(content)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    for images in (sample, sample[:1]):
        with torch.inference_mode():
            expected = graph(images)
        found = session.run(list(outputs), {INPUT: images.numpy()})
        apart = float(np.abs(found[0] - expected[0].numpy()).max())
        if not apart <= AGREEMENT:
            msg = f"the exported network's probabilities are {apart:.2g} apart from the trained one's. Report this."
            raise RunError(msg)


BATCH = 64


class OnnxSession:
    """Runs a model whose input is bytes (B, size, size).

    Args:
        model: Serialised.
    """

    def __init__(self, model: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def outputs(self, images: Images, names: Sequence[str]) -> list[NDArray[np.float32]]:
        """The outputs of these names for N images, each of shape (N, ...)."""
        parts: list[list[NDArray[np.float32]]] = [[] for _ in names]
        for start in range(0, len(images.positions), BATCH):
            pixels = np.ascontiguousarray(images.pixels[images.positions[start : start + BATCH]])
            for part, found in zip(parts, self._session.run(list(names), {INPUT: pixels}), strict=True):
                part.append(found)
        return [np.concatenate(part) for part in parts]

    def probabilities(self, images: Images) -> NDArray[np.float64]:
        """Calibrated probabilities of N images, of shape (N, K)."""
        return self.outputs(images, ["probabilities"])[0].astype(np.float64)

    def features(self, images: Images) -> NDArray[np.float32]:
        """Last features of N images, of shape (N, F)."""
        return self.outputs(images, ["features"])[0]

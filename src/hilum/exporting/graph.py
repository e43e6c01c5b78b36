"""The graph of a model file: from a network to ONNX bytes, and the proof that both say the same."""

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
from hilum.data.labels import branches
from hilum.data.preprocessing import Preprocessing
from hilum.errors import RunError
from hilum.exporting.merged_encoder import encoder_model, merge, operators_version
from hilum.models.compact import Compact
from hilum.models.mixed import MixedEnsemble, to_network_range
from hilum.models.registry import FINDINGS, PerFinding
from hilum.models.stages import Cascade, Ensemble, FeatureExtractor, parts_of, side_by_side
from hilum.serving.onnx_file import HASH, METADATA, GraphError, check_graph
from hilum.stats.calibration import decisions_of
from hilum.training.batches import with_channel


class Activations(FeatureExtractor):
    """What the last pass of one network left behind.

    Attributes:
        exact: Whether `features` are `last_maps` averaged over all places, and the network answers with the softmax of
            what `linear` makes of them, so that class activation maps are exact.
    """

    exact = False

    @property
    def last_maps(self) -> Tensor:
        """What was averaged to become the features, of shape (B, F, h, w)."""
        return self.kept["maps"]


def watch(network: nn.Module, sample: Tensor) -> Activations:
    """Find by one pass where the features are, and keep them in every later pass.

    Args:
        network: Maps images (B, 1, S, S) to log-probabilities (B, K), and is in evaluation mode.
        sample: Images, at least one.

    Raises:
        RunError: The network has no linear layer.
    """
    try:
        found = Activations(network)
    except ValueError as error:
        msg = f"{type(network).__name__}: has no linear layer, and therefore no features. It cannot be exported."
        raise RunError(msg) from error

    def keep_stages(module: nn.Module, inputs: Any, output: Tensor) -> None:
        del module, inputs
        found.kept["maps"] = output

    inner = network.network if isinstance(network, PerFinding) else network
    pools = [module for module in network.modules() if isinstance(module, nn.AdaptiveAvgPool2d)]
    if isinstance(inner, Compact):
        inner.stages.register_forward_hook(keep_stages)
    elif pools:
        pools[-1].register_forward_pre_hook(found.keep_input("maps"))
    with torch.inference_mode():
        answer = network(sample)
        if "maps" in found.kept and found.last_maps.dim() == 4:
            averaged = found.last_maps.mean(dim=(2, 3))
            scores = found.linear(averaged)
            scores = torch.log_softmax(
                scores.reshape(-1, scores.shape[1] // 2, 2) if answer.dim() == 3 else scores, dim=-1
            )
            same = averaged.shape == found.features.shape and torch.allclose(averaged, found.features, atol=1e-5)
            found.exact = same and scores.shape == answer.shape and torch.allclose(scores, answer, atol=1e-4)
    return found


OUTPUTS = ("probabilities", "features", "maps")


class ServedGraph(nn.Module):
    """A trained network with what stands before and behind it in service.

    Args:
        network: Maps images (B, 1, S, S) in [-1, 1] to log-probabilities (B, K), of findings (B, F, 2).
        labels: K names.
        hierarchy: ``flat``, ``cascade`` or ``findings``.
        temperatures: By decision, as `hilum.stats.calibration.fit_temperatures` gives them, or by finding; None for
            none.
        preprocessing: The recipe's; its size is S.
        log_factors: Logarithms of the factors of a prior step, of shape (K,); None for none.

    Attributes:
        maps: Decision and child of each channel of the maps; empty where some network does not end in global average
            pooling and one linear layer, so that no class activation map is exact.
    """

    def __init__(
        self,
        network: nn.Module,
        labels: Sequence[str],
        hierarchy: str,
        temperatures: Mapping[str, float] | None,
        preprocessing: Preprocessing,
        log_factors: NDArray[np.float64] | None = None,
    ) -> None:
        super().__init__()
        self.network = network.eval()
        self.adjusts = log_factors is not None
        if log_factors is not None:
            self.register_buffer("log_factors", torch.from_numpy(log_factors).float())
        self.preprocessing = preprocessing
        self.decisions = decisions_of(labels, hierarchy)
        self.temperatures = temperatures
        self.findings = tuple(labels) if hierarchy == FINDINGS else ()
        self.watched = (
            [_features_alone(network)] if isinstance(network, MixedEnsemble) else _watched(network, preprocessing)
        )
        tree = branches(labels) if isinstance(network, Cascade) else self.decisions
        mapped = all(member.exact for members in self.watched for member in members)
        self.maps = tuple((branch.name, child) for branch in tree for child in branch.children) if mapped else ()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map bytes (B, S, S) to probabilities (B, K), features (B, F) and, where there are any, maps (B, M, h, w).

        Bytes of V preprocessings are (B, V, S, S).

        Features are what the last linear layers see, each of length 1, those of all stages and members behind each
        other, and of length 1 again (as `hilum.models.stages.WithFeatures` gives them). A map says how
        much each place speaks for a child against the decision's other children: its mean over all places is the
        child's score before softmax, minus the mean of all children's (Zhou et al. 2016, *CVPR*, with the bias spread
        evenly); of several members, the mean. A finding's map has its log-odds as its mean.
        """
        seen = to_network_range(with_channel(images).float() / 255, self.preprocessing)
        logs = self.network(seen)
        features = side_by_side([member for members in self.watched for member in members])
        stated = self._calibrated_findings(logs) if self.findings else self._calibrated(logs).exp()
        found = [stated, features]
        if self.maps:
            one = _finding_map if self.findings else _map
            stages = [torch.stack([one(member) for member in members]).mean(dim=0) for members in self.watched]
            found.append(torch.cat(stages, dim=1))
        return tuple(found)

    def _calibrated(self, logs: Tensor) -> Tensor:
        """`Calibration.applied_to` in the graph, in logarithms; without temperatures only normalised anew."""
        total = torch.zeros_like(logs)
        for decision in self.decisions:
            shares = torch.stack([torch.logsumexp(logs[:, list(inside)], dim=1) for inside in decision.members], dim=1)
            child = torch.tensor(decision.child_of(logs.shape[1]))
            scaled = torch.log_softmax(shares / (self.temperatures or {}).get(decision.name, 1.0), dim=1)
            total = total + torch.where(child >= 0, scaled[:, child.clamp(min=0)], 0.0)
        return torch.log_softmax(total + self.get_buffer("log_factors"), dim=1) if self.adjusts else total

    def _calibrated_findings(self, logs: Tensor) -> Tensor:
        """`Calibration.applied_to` of findings in the graph: sigmoids of scaled log-odds, (B, F) of (B, F, 2)."""
        by = torch.tensor([(self.temperatures or {}).get(name, 1.0) for name in self.findings])
        odds = (logs[..., 1] - logs[..., 0]) / by
        return torch.sigmoid(odds + self.get_buffer("log_factors") if self.adjusts else odds)


def _watched(network: nn.Module, preprocessing: Preprocessing) -> list[list[Activations]]:
    """By decision, what each of its networks leaves behind."""
    stages = list(network.stages) if isinstance(network, Cascade) else [network]
    size = preprocessing.size
    sample = torch.zeros(2, 1, size, size).uniform_(-1, 1, generator=torch.Generator().manual_seed(0))
    return [
        [watch(member, sample) for member in (stage.members if isinstance(stage, Ensemble) else [stage])]
        for stage in stages
    ]


def _features_alone(network: MixedEnsemble) -> list[Activations]:
    """What networks of different inputs leave behind, whose maps have no common places.

    Raises:
        RunError: One has no linear layer.
    """
    try:
        return [Activations(part) for part in parts_of(network)]
    except ValueError as error:
        msg = f"{error}. It cannot be exported."
        raise RunError(msg) from error


def _finding_map(member: Activations) -> Tensor:
    weight, bias = member.linear.weight, member.linear.bias
    odds = torch.einsum("kc,bchw->bkhw", weight[1::2] - weight[::2], member.last_maps)
    return odds if bias is None else odds + (bias[1::2] - bias[::2])[:, None, None]


def _map(member: Activations) -> Tensor:
    weight, bias = member.linear.weight, member.linear.bias
    scores = torch.einsum("kc,bchw->bkhw", weight - weight.mean(dim=0), member.last_maps)
    return scores if bias is None else scores + (bias - bias.mean())[:, None, None]


INSTEAD = "Train another network instead: hilum can export those of its recipes."
OPSET = 18
INPUT = "images"
AGREEMENT = 1e-4  # the largest difference between probabilities that is let pass


def to_onnx(graph: nn.Module, size: int | tuple[int, ...], outputs: Sequence[str]) -> bytes:
    """Export a graph that maps bytes (B, size, size) for any B, without paths or traces of this machine.

    Args:
        graph: In evaluation mode.
        size: Side of the input in pixels, or its shape where that is no square.
        outputs: Names of what it returns, in order.

    Raises:
        RunError: The network cannot be expressed in ONNX or in what is served of it, or its ONNX form says something
            else.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (size, size) if isinstance(size, int) else size
    sample = torch.randint(0, 256, (2, *shape), dtype=torch.uint8, generator=generator)
    encoder = encoder_model(graph)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.inference_mode(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # of PyTorch about its own innards
        try:
            program = torch.onnx.export(
                graph,
                (sample,),
                dynamo=True,
                opset_version=operators_version(encoder) if encoder else OPSET,
                input_names=[INPUT],
                output_names=list(outputs),
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
        except Exception as error:  # whatever the exporter raises
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            msg = f"the network cannot be expressed in ONNX ({first}). {INSTEAD}"
            raise RunError(msg) from error
    assert program is not None
    model = program.model_proto
    if encoder:
        merge(model, encoder)
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


def with_metadata(metadata: Mapping[str, object], model: bytes) -> bytes:
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
        check_graph(with_metadata({}, content))
    except GraphError as error:
        msg = f"the network cannot be served: its graph holds {error}. {INSTEAD}"
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

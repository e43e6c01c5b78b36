"""A model file of 8 bits: how it is quantised, what it loses, and what of the float network still holds for it."""

from __future__ import annotations

import hashlib
import io
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import nn

from hilum.data.cache import Images
from hilum.errors import RunError
from hilum.evaluation.certification_patients import certify_form
from hilum.evaluation.ood_reference import Abstention, compare_by, spread_over_labels
from hilum.evaluation.triage_schema import Certificate
from hilum.exporting.graph import INPUT, OnnxSession, ServedGraph, check_served, strip
from hilum.models.stages import final_layer, parts_of
from hilum.report.model_card import Quantisation, QuantisationLoss, RangesFrom, Sizes, TwoForms
from hilum.stats.calibration import for_temperature
from hilum.stats.metrics import log_loss
from hilum.training.run import Run

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
        model: As `hilum.exporting.graph.to_onnx` gives it.
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


MOST = 256  # training images that ranges are taken from; with a quarter or four times as many the loss was alike
METHOD = "static QDQ; weights per channel in 7 of 8 bits, activations in 8; first and last layers in float"


@dataclass(frozen=True)
class Int8:
    """The quantised form of a run's network.

    Attributes:
        model: Serialised.
        facts: What the metadata say of it.
        certificate: By its own scores; None where there is none.
        known: By its own features.
    """

    model: bytes
    facts: Quantisation
    certificate: Certificate | None
    known: Abstention


def to_int8(run: Run, graph: ServedGraph, model: bytes, images: Images, certificate: Certificate | None) -> Int8:
    """Quantise, and measure what it costs on images that neither the weights nor the ranges were fitted to.

    Args:
        run: A finished run.
        graph: Its network as served.
        model: The same in ONNX.
        images: The run's own data with its splits.
        certificate: Of the float network, in force.

    Raises:
        RunError: The network cannot be quantised, or no image is held back to measure the loss on.
    """
    training = images.select(spread_over_labels(images, MOST))
    split, held_back = _held_back(run, images)
    weights = frozenset(f"network.{name}" for name in inner_layers(graph.network))
    content = quantise(model, weights, np.ascontiguousarray(training.pixels[training.positions]))
    before, after = OnnxSession(model), OnnxSession(content)
    truth = np.array([run.labels.index(row.label) for row in held_back.table.rows], dtype=np.int64)
    certified, of_certificate = None, "none: the float network has none"
    if certificate:
        form = {"form": "int8", "graph_sha256": hashlib.sha256(content).hexdigest()}
        certified, of_certificate = certify_form(run, certificate, images, after.probabilities, form)
    known = compare_by(run, images, after.features)
    facts = Quantisation(
        method=METHOD,
        ranges_from=RangesFrom(split="train", n_images=len(training.table)),
        loss=loss(split, held_back, truth, before.probabilities(held_back), after.probabilities(held_back)),
        bytes=Sizes(float=len(model), int8=len(content), ratio=round(len(content) / len(model), 4)),
        certificate=of_certificate,
        abstention="by its own features" if known.reference else known.note,
    )
    return Int8(content, facts, certified, known)


def loss(
    split: str, images: Images, truth: NDArray[np.int64], before: NDArray[np.float64], after: NDArray[np.float64]
) -> QuantisationLoss:
    """How far two forms of a network are apart.

    Args:
        split: Of the images.
        images: N of them.
        truth: Index of each image's label, shape (N,).
        before: Probabilities in float, shape (N, K).
        after: Those of the quantised form.
    """
    apart, changed = np.abs(after - before), before.argmax(axis=1) != after.argmax(axis=1)

    def both(measure: Callable[[NDArray[np.float64]], float]) -> TwoForms:
        return TwoForms(float=round(measure(before), 6), int8=round(measure(after), 6))

    return QuantisationLoss(
        split=split,
        n_images=len(images.table),
        n_patients=len(set(images.table.patients())) if images.table.patients_known else None,
        mean_difference=round(float(apart.mean()), 6),
        largest_difference=round(float(apart.max()), 6),
        changed=round(float(changed.mean()), 6),
        accuracy=both(lambda p: float((p.argmax(axis=1) == truth).mean())),
        log_loss=both(lambda p: log_loss(truth, p)),
    )


def _held_back(run: Run, images: Images) -> tuple[str, Images]:
    """Validation images; where there are none, the calibration images of the temperature, not of the certificate."""
    rows = images.table.rows
    for split in ("val", "calibration"):
        chosen = images.select(i for i, row in enumerate(rows) if row.split == split)
        if split == "calibration":
            chosen = chosen.select(np.flatnonzero(for_temperature(chosen.table.patients())).tolist())
        if len(chosen.table):
            return split, chosen
    msg = f"{run.path}: has no validation or calibration image to compare 8 bits with float. Export without --int8."
    raise RunError(msg)

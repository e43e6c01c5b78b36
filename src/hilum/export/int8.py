"""A bundle of 8 bits: what it is calibrated with, what it loses, and what of the float network still holds for it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.data.cache import Images
from hilum.errors import RunError
from hilum.evaluation.calibration import for_temperature
from hilum.evaluation.certify_form import certify_form
from hilum.evaluation.metrics import log_loss
from hilum.evaluation.ood import Abstention, compare_by, spread_over_labels
from hilum.export.graph import ServedGraph
from hilum.export.onnx_session import OnnxSession
from hilum.export.quantise import inner_layers, quantise
from hilum.training.run import Run

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
    facts: dict[str, Any]
    certificate: dict[str, Any] | None
    known: Abstention


def to_int8(run: Run, graph: ServedGraph, model: bytes, images: Images, certificate: Mapping[str, Any] | None) -> Int8:
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
    facts: dict[str, Any] = {
        "method": METHOD,
        "ranges_from": {"split": "train", "n_images": len(training.table)},
        "loss": {
            "split": split,
            "n_images": len(held_back.table),
            "n_patients": len(set(held_back.table.patients())) if held_back.table.patients_known else None,
            **loss(truth, before.probabilities(held_back), after.probabilities(held_back)),
        },
        "bytes": {"float": len(model), "int8": len(content), "ratio": round(len(content) / len(model), 4)},
        "certificate": "none: the float network has none",
    }
    certified = None
    if certificate:
        form = {"form": "int8", "graph_sha256": hashlib.sha256(content).hexdigest()}
        certified, facts["certificate"] = certify_form(run, certificate, images, after.probabilities, form)
    known = compare_by(run, images, after.features)
    facts["abstention"] = "by its own features" if known.reference else known.note
    return Int8(content, facts, certified, known)


def loss(truth: NDArray[np.int64], before: NDArray[np.float64], after: NDArray[np.float64]) -> dict[str, Any]:
    """How far two forms of a network are apart.

    Args:
        truth: Index of each image's label, shape (N,).
        before: Probabilities in float, shape (N, K).
        after: Those of the quantised form.

    Returns:
        ``mean_difference`` and ``largest_difference`` of a probability, ``changed`` (share of images with another most
        probable label), and ``accuracy`` and ``log_loss`` of both.
    """
    apart, changed = np.abs(after - before), before.argmax(axis=1) != after.argmax(axis=1)
    forms = {"float": before, "int8": after}
    return {
        "mean_difference": round(float(apart.mean()), 6),
        "largest_difference": round(float(apart.max()), 6),
        "changed": round(float(changed.mean()), 6),
        "accuracy": {name: round(float((p.argmax(axis=1) == truth).mean()), 6) for name, p in forms.items()},
        "log_loss": {name: round(log_loss(truth, p), 6) for name, p in forms.items()},
    }


def _held_back(run: Run, images: Images) -> tuple[str, Images]:
    """Validation images; where there are none, the calibration images of the temperature, not of the certificate."""
    rows = images.table.rows
    for split in ("val", "calibration"):
        chosen = images.select(i for i, row in enumerate(rows) if row.split == split)
        if split == "calibration":
            chosen = chosen.select(np.flatnonzero(for_temperature(chosen.table.patients())).tolist())
        if len(chosen.table):
            return split, chosen
    msg = f"{run.path}: has no validation or calibration image to measure the loss of 8 bits on. Export without --int8."
    raise RunError(msg)

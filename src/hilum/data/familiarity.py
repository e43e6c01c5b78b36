"""Is this a picture of the kind that was learnt from? Needs NumPy only, so that service asks what evaluation asks.

Two questions, because a network's features answer only one of them. *Layout*: does the picture, reduced to 15 x 15 grey
values, correlate with some training picture? Noise, photographs, other body parts, inverted or turned radiographs do
not. *Features*: how far is the picture from its nearest training pictures in the network's last features (Sun et al.
2022, "Out-of-Distribution Detection with Deep Nearest Neighbors", *ICML*)? Other scanners, ages or diseases are.
Both distances are compared with those of calibration patients: the p-value `(1 + #{calibration >= s}) / (n + 1)` is
below `a` for at most a share `a` of patients like them, whatever the distances mean (conformal: Bates et al. 2023,
*Ann. Statist.*).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
SIDE = 15
AT_ONCE = 512  # images compared at a time
FAR = "not a chest radiograph as the model knows them"
UNFAMILIAR = "unfamiliar: another scanner, age group or disease than the model has learnt from"
ARRAYS = ("features", "layouts", "feature_distances", "layout_distances")


@dataclass(frozen=True)
class Familiarity:
    """What images are compared with.

    Attributes:
        features: Of M training images, each row of length 1, shape (M, D).
        layouts: Grey values of L training images, bytes of shape (L, 15 * 15).
        feature_distances: Of the n calibration patients, ascending, shape (n,).
        layout_distances: Of the same.
        neighbours: The distance is that to the nearest but so many.
        level: Share of patients like those of the calibration that may be called unfamiliar, 0 to 1.
        boundary: Layout distance beyond which a picture is no chest radiograph.
    """

    features: Floats
    layouts: NDArray[np.uint8]
    feature_distances: Floats
    layout_distances: Floats
    neighbours: int
    level: float
    boundary: float

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> Familiarity:
        """Out of what ``abstention.safetensors`` and ``abstention.json`` hold."""
        features, layouts, *distances = (arrays[name] for name in ARRAYS)
        settings = int(facts["neighbours"]), float(facts["level"]), float(facts["boundary"])
        return cls(features, layouts, distances[0], distances[1], *settings)

    def judge(self, features: Floats, pixels: NDArray[np.uint8]) -> Judgement:
        """Compare images with those that were learnt from.

        Args:
            features: As the network gives them (see `unit_rows`), of shape (N, D).
            pixels: The network's input as bytes, of shape (N, S, S).
        """
        layout = layout_distances(layouts(pixels), self.layouts, self.neighbours)
        distance = feature_distances(features, self.features, self.neighbours)
        p_layout = conformal_p(layout, self.layout_distances)
        p_features = conformal_p(distance, self.feature_distances)
        # Each may be wrong for half of the level, so that both together keep it (Bonferroni).
        p_value = np.minimum(1.0, 2 * np.minimum(p_layout, p_features))
        return Judgement(p_value, layout, distance, far=layout > self.boundary, unfamiliar=p_value <= self.level)


@dataclass(frozen=True)
class Judgement:
    """What was found about N images.

    Attributes:
        p_value: Small where an image is unlike the calibration patients', shape (N,).
        layout: Distances, shape (N,).
        features: Distances, shape (N,).
        far: No chest radiograph, shape (N,).
        unfamiliar: To be abstained on, shape (N,); whatever is far is not told apart here.
    """

    p_value: Floats
    layout: Floats
    features: Floats
    far: NDArray[np.bool_]
    unfamiliar: NDArray[np.bool_]

    @property
    def reasons(self) -> list[str]:
        """Why to abstain, image by image; empty where there is no reason to."""
        pairs = zip(self.far, self.unfamiliar, strict=True)
        return [FAR if far else UNFAMILIAR if unfamiliar else "" for far, unfamiliar in pairs]


def decisions(flagged: NDArray[np.bool_], reasons: list[str]) -> list[str]:
    """``abstain`` where there is a reason to, else ``flag`` or ``clear``."""
    return ["abstain" if reason else "flag" if flag else "clear" for flag, reason in zip(flagged, reasons, strict=True)]


def unit_rows(features: Floats) -> Floats:
    """Features with every row of length 1; a row of zeros stays."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    scaled: Floats = features / np.maximum(length, 1e-12)
    return scaled


def layouts(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Means over 15 x 15 blocks of images (N, S, S), as bytes of shape (N, 225)."""
    edges = np.linspace(0, pixels.shape[1], SIDE + 1).astype(np.intp)
    sums = np.add.reduceat(pixels.astype(np.float32), edges[:-1], axis=1)
    sums = np.add.reduceat(sums, edges[:-1], axis=2)
    sizes = np.diff(edges).astype(np.float32)
    means: NDArray[np.uint8] = np.rint(sums / (sizes[:, None] * sizes)).astype(np.uint8).reshape(len(pixels), -1)
    return means


def layout_distances(asked: NDArray[np.uint8], known: NDArray[np.uint8], neighbours: int) -> Floats:
    """One minus the correlation with the nearest layout but `neighbours` - 1: 0 alike, 1 unlike, 2 inverted."""
    return _distances(_standard(asked), _standard(known), neighbours)


def feature_distances(asked: Floats, known: Floats, neighbours: int) -> Floats:
    """One minus the cosine to the nearest training image but `neighbours` - 1; orders as Euclid's distance does."""
    return _distances(unit_rows(asked.astype(np.float32)), unit_rows(known.astype(np.float32)), neighbours)


def conformal_p(distances: Floats, calibration: Floats) -> NDArray[np.float64]:
    """The share of calibration patients, and of the asked one, who are at least as far.

    Args:
        distances: Of shape (N,).
        calibration: Ascending, of shape (n,).

    Returns:
        Of shape (N,), from 1 / (n + 1) to 1.
    """
    as_far = len(calibration) - np.searchsorted(calibration, distances, side="left")
    p: NDArray[np.float64] = (1 + as_far) / (len(calibration) + 1)
    return p


def _distances(asked: Floats, known: Floats, neighbours: int) -> Floats:
    found = np.empty(len(asked), np.float32)
    place = min(neighbours, len(known)) - 1
    for begin in range(0, len(asked), AT_ONCE):
        apart = 1 - asked[begin : begin + AT_ONCE] @ known.T
        found[begin : begin + AT_ONCE] = np.partition(apart, place, axis=1)[:, place]
    return found


def _standard(grey: NDArray[np.uint8]) -> Floats:
    centred = grey.astype(np.float32)
    centred -= centred.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    standard: Floats = np.where(length > SIDE * 0.5, centred / np.maximum(length, 1e-6), 0)  # a blank picture has none
    return standard

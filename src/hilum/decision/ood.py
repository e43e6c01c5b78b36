"""Is this a picture of the kind that was learnt from? Needs NumPy only, so that service asks what evaluation asks.

Two questions, because a network's features answer only one of them. *Layout*: does the picture, reduced to 15 x 15 grey
values, correlate with some training picture, and better as it stands than turned, upside down or inverted? Noise,
photographs, other body parts, inverted or turned radiographs do not. *Features*: how far is the picture from its
nearest training pictures in the network's last features (Sun et al. 2022, "Out-of-Distribution Detection with Deep
Nearest Neighbors", *ICML*)? Other scanners, ages or diseases are.
Both distances are compared with those of calibration patients: the p-value `(1 + #{calibration >= s}) / (n + 1)` is
below `a` for at most a share `a` of patients like them, whatever the distances mean (conformal: Bates et al. 2023,
*Ann. Statist.*).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
SIDE = 15
AT_ONCE = 512  # images compared at a time
FAR = "not a chest X-ray"
UNFAMILIAR = "out of distribution: too unlike the training images (perhaps another scanner, age group or disease)"
ARRAYS = ("features", "layouts", "feature_distances", "layout_distances")


@dataclass(frozen=True)
class Reference:
    """What images are compared with.

    Attributes:
        features: Of M training images, each row of length 1, shape (M, D).
        layouts: Grey values of L training images, bytes of shape (L, 15 * 15).
        feature_distances: Of the n calibration patients, ascending, shape (n,).
        layout_distances: Of the same (`nonconformity`).
        neighbours: The distance is that to the nearest but so many.
        level: Share of patients like those of the calibration that may be called out-of-distribution, 0 to 1.
        boundary: Layout distance beyond which what is abstained on is no chest radiograph.
        wrong: Poses (`Poses.apart`) in which no chest is taken: what fits best in one of them is none, either.
    """

    features: Floats
    layouts: NDArray[np.uint8]
    feature_distances: Floats
    layout_distances: Floats
    neighbours: int
    level: float
    boundary: float
    wrong: tuple[int, ...]

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> Reference:
        """Out of what ``abstention.safetensors`` and ``abstention.json`` hold."""
        features, layouts, *distances = (arrays[name] for name in ARRAYS)
        settings = int(facts["neighbours"]), float(facts["level"]), float(facts["boundary"])
        return cls(features, layouts, distances[0], distances[1], *settings, wrong=tuple(facts["wrong"]))

    def judge(self, features: Floats, pixels: NDArray[np.uint8]) -> OODScores:
        """Compare images with those that were learnt from.

        Args:
            features: As the network gives them (see `unit_rows`), of shape (N, D).
            pixels: The network's input as bytes, of shape (N, S, S).
        """
        return self.score_thumbnails(features, layouts(pixels))

    def score_thumbnails(self, features: Floats, grey: NDArray[np.uint8]) -> OODScores:
        """The same for images whose `layouts` (N, 225) were made before: of many, the pixels need not be held."""
        poses = Poses.of(grey, self.layouts, self.neighbours)
        layout = poses.nonconformity(self.wrong)
        distance = feature_distances(features, self.features, self.neighbours)
        p_layout = conformal_p(layout, self.layout_distances)
        p_features = conformal_p(distance, self.feature_distances)
        # Each may be wrong for half of the level, so that both together keep it (Bonferroni).
        p_value = np.minimum(1.0, 2 * np.minimum(p_layout, p_features))
        strange = p_value <= self.level
        far = strange & ((poses.distance > self.boundary) | poses.fit_best_in(self.wrong))
        return OODScores(p_value, layout, distance, far=far, unfamiliar=strange)


@dataclass(frozen=True)
class OODScores:
    """What was found about N images.

    Attributes:
        p_value: Small where an image is unlike the calibration patients', shape (N,).
        layout: Nonconformity score, shape (N,).
        features: Distances, shape (N,).
        far: Of those, the ones that are no chest radiograph, shape (N,).
        unfamiliar: To be abstained on, for whatever reason, shape (N,).
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

    def take(self, numbers: NDArray[np.int64]) -> OODScores:
        """Only some of the images, by number."""
        return OODScores(**{name: values[numbers] for name, values in vars(self).items()})


def unit_rows(features: Floats) -> Floats:
    """Features with every row of length 1; a row of zeros stays."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    scaled: Floats = features / np.maximum(length, 1e-12)
    return scaled


def layouts(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Means over 15 x 15 blocks of images (N, S, S) or (N, V, S, S), as bytes of shape (N, 225)."""
    pixels = pixels if pixels.ndim == 3 else pixels[:, 0]  # of several preprocessings, the first
    edges = np.linspace(0, pixels.shape[1], SIDE + 1).astype(np.intp)
    sums = np.add.reduceat(pixels.astype(np.float32), edges[:-1], axis=1)
    sums = np.add.reduceat(sums, edges[:-1], axis=2)
    sizes = np.diff(edges).astype(np.float32)
    means: NDArray[np.uint8] = np.rint(sums / (sizes[:, None] * sizes)).astype(np.uint8).reshape(len(pixels), -1)
    return means


@dataclass(frozen=True)
class Poses:
    """How well pictures fit known layouts as they stand, and in fifteen other ways.

    Attributes:
        apart: One minus the correlation with the nearest layout but `neighbours` - 1 (0 alike, 1 unlike, 2 inverted),
            of shape (16, N): pose 4 q + 2 m + i is q quarter turns of the picture, after mirroring it if m, and
            inverted if i. The first is as it stands.
    """

    apart: Floats

    UPRIGHT = (0, 2)
    TURNED = (1, 3, 4, 5, 6, 7, 9, 11, 12, 13, 14, 15)  # by a quarter, inverted, or both: not merely upside down
    OTHERS = (1, *range(3, 16))

    @classmethod
    def of(cls, asked: NDArray[np.uint8], known: NDArray[np.uint8], neighbours: int) -> Poses:
        """Compare layouts (N, 225) with known ones (L, 225)."""
        against, place = _standard(known), min(neighbours, len(known)) - 1
        found = np.empty((16, len(asked)), np.float32)
        for begin in range(0, len(asked), AT_ONCE):
            here = slice(begin, begin + AT_ONCE)
            grey = _standard(asked[here]).reshape(-1, SIDE, SIDE)
            for number in range(0, 16, 2):
                turns, mirrored = divmod(number // 2, 2)
                pose = np.rot90(grey[:, :, ::-1] if mirrored else grey, turns, (1, 2)).reshape(len(grey), -1)
                # What is inverted correlates the other way round, so that the farthest is its nearest.
                apart = np.partition(1 - pose @ against.T, (place, len(known) - 1 - place), axis=1)
                found[number, here], found[number + 1, here] = apart[:, place], 2 - apart[:, len(known) - 1 - place]
        return cls(found)

    @property
    def distance(self) -> Floats:
        """As the pictures stand, shape (N,)."""
        distance: Floats = self.apart[0]
        return distance

    def fit_best_in(self, wrong: Sequence[int]) -> NDArray[np.bool_]:
        """Which pictures fit no better as they stand, or mirrored, than in one of some poses, shape (N,)."""
        upright = self.apart[list(self.UPRIGHT)].min(axis=0)
        best: NDArray[np.bool_] = (self.apart[list(wrong)] <= upright).any(axis=0)
        return best

    def nonconformity(self, wrong: Sequence[int]) -> Floats:
        """The distance; of what fits best in a wrong pose that and 2, which is more than any other has."""
        return self.distance + 2 * self.fit_best_in(wrong).astype(np.float32)


def feature_distances(asked: Floats, known: Floats, neighbours: int) -> Floats:
    """One minus the cosine to the nearest training image but `neighbours` - 1; orders as Euclid's distance does."""
    against = unit_rows(known.astype(np.float32)).T
    found, place = np.empty(len(asked), np.float32), min(neighbours, len(known)) - 1
    for begin in range(0, len(asked), AT_ONCE):
        here = slice(begin, begin + AT_ONCE)
        apart = 1 - unit_rows(asked[here].astype(np.float32)) @ against
        found[here] = np.partition(apart, place, axis=1)[:, place]
    return found


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


def _standard(grey: NDArray[np.uint8]) -> Floats:
    centred = grey.astype(np.float32)
    centred -= centred.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    standard: Floats = np.where(length > SIDE * 0.5, centred / np.maximum(length, 1e-6), 0)  # a blank picture has none
    return standard

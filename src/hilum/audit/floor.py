"""The floor: what 8x8 pixels achieve. A model that does not beat them has learnt nothing that they do not show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hilum.audit.chance import deal_folds, merge_groups
from hilum.audit.features import THUMBNAIL, thumbnail_features
from hilum.audit.probing import fit_predict, out_of_fold_probabilities
from hilum.audit.shortcuts import FOLDS
from hilum.audit.survey import Survey
from hilum.data.splits import independent_groups
from hilum.errors import SplitError
from hilum.intervals.shares import Patients, proportion


@dataclass(frozen=True)
class Floor:
    """How often 8x8 pixels name the right label.

    Attributes:
        probe: Its name.
        labels: K names, in the table's order.
        probabilities: Of shape (N, K), in the order of the images asked.
        predicted: Each image's most likely label, N of them.
        accuracy: Share of right ones, between 0 and 1.
        low: Of its 95 % interval, which counts patients.
        high: Of its 95 % interval.
    """

    probe: str
    labels: tuple[str, ...]
    probabilities: NDArray[np.float64]
    predicted: tuple[str, ...]
    accuracy: float
    low: float
    high: float


def floor(survey: Survey, groups: Sequence[int] | None = None, *, seed: int = 0) -> Floor:
    """Every image's label by 8x8 pixels, fitted on other patients (five folds, the dataset's splits put together).

    Args:
        survey: Of N images.
        groups: A number an image, equal for near-duplicates, if that is known.
        seed: Of folds and landmarks.

    Raises:
        SplitError: All images are one patient's, so that nothing can be fitted on others.
    """
    together = merge_groups(independent_groups(survey.table), range(len(survey)) if groups is None else groups)
    names, truth = _truth(survey)
    if len(np.unique(together)) < 2:
        msg = f"{survey.table.root}: all {len(survey)} images belong to one patient; add images of other patients."
        raise SplitError(msg)
    folds = deal_folds(truth, together, FOLDS, seed)
    probabilities = out_of_fold_probabilities(thumbnail_features(survey), truth, folds, len(names), seed)
    return _measure(names, truth, probabilities, together)


def floor_between(survey: Survey, train: Sequence[int], test: Sequence[int], *, seed: int = 0) -> Floor:
    """The labels of some images by 8x8 pixels, fitted on others, as a model would be.

    Args:
        survey: Of all images.
        train: Positions of the images to fit on.
        test: Positions of the M images to predict; the order is kept.
        seed: Of landmarks.

    Returns:
        With probabilities of shape (M, K); a label that `train` lacks is never predicted.
    """
    names, truth = _truth(survey)
    features = thumbnail_features(survey)
    known, asked = np.asarray(train, np.int64), np.asarray(test, np.int64)
    probabilities = fit_predict(features[known], truth[known], features[asked], len(names), seed)
    together = np.asarray(independent_groups(survey.table))[asked]
    return _measure(names, truth[asked], probabilities, together)


def _truth(survey: Survey) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    names = survey.table.labels
    return names, np.array([names.index(row.label) for row in survey.table.rows])


def _measure(
    names: tuple[str, ...],
    truth: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    groups: NDArray[np.int64],
) -> Floor:
    predicted = probabilities.argmax(axis=1)
    right = proportion(predicted == truth, np.full(len(truth), True), Patients(groups))
    return Floor(
        probe=THUMBNAIL,
        labels=names,
        probabilities=probabilities,
        predicted=tuple(names[k] for k in predicted),
        accuracy=right.value,
        low=right.low,
        high=right.high,
    )

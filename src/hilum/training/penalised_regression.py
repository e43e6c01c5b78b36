"""Penalised logistic regression, multinomial or one a finding, its penalty chosen by folds of patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hilum.data.labels import fair_shares
from hilum.progress import Progress
from hilum.training.environment import TriedPenalty
from hilum.training.findings_loss import presence_weights
from hilum.training.loss import decision_weights
from hilum.training.plan import EncoderChoice, TrainingPlan

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

Floats = NDArray[np.float64]
PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
SPREAD = 1e-6  # of the largest standard deviation: a feature with less is constant
PATIENCE = 2  # penalties in a row, ever smaller, none of which is as good as one before
MOST_ITERATIONS = 2000
ROUGH, EXACT = 1e-4, 1e-6  # of scikit-learn's stopping rule, where penalties are compared, and in the end


@dataclass(frozen=True)
class Regression:
    """A fitted head.

    Attributes:
        weight: Of the features as they are, shape (K, D), of findings (F, D).
        bias: Shape (K,) or (F,).
        penalty: Weight of half the squared coefficients of standardised features against the sum of losses.
        tried: The penalties that were compared, each with its loss on images that were left out.
        left_out: Scores of the training images, each by a regression without its patient: shape (N, K), or log-odds
            (N, F); NaN where no fold could say.
    """

    weight: Floats
    bias: Floats
    penalty: float
    tried: list[TriedPenalty]
    left_out: Floats


def fit_regression(
    features: NDArray[np.float32],
    targets: NDArray[np.int64] | NDArray[np.float32],
    groups: NDArray[np.int64],
    labels: Sequence[str],
    plan: TrainingPlan,
    choice: EncoderChoice,
    progress: Progress,
) -> Regression:
    """Standardise, choose the penalty, and fit.

    Args:
        features: Shape (N, D).
        targets: Index of each image's label, shape (N,), or the targets of its findings, shape (N, F), NaN where
            unknown.
        groups: One number an image, equal for a patient's.
        labels: K labels or F findings.
        plan: Weights of labels and findings, and the seed of the folds.
        choice: The penalty, and how it is chosen.
        progress: Told about fits.
    """
    mean, spread = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    alive = spread > SPREAD * max(spread.max(), 1e-30)
    scale = np.where(alive, 1 / np.where(alive, spread, 1), 0)
    rotated, back = _rotated((features - mean) * scale)
    if targets.ndim == 1:
        answers = targets.astype(np.int64)
        weights = decision_weights(plan, answers, len(labels), fair_shares(labels)).double().numpy()
        decisions = [_Decision(np.arange(len(answers)), answers, weights[answers])]
    else:
        presence = presence_weights(plan, targets.astype(np.float32)).double().numpy()
        decisions = [_Decision.of_finding(column, float(w)) for column, w in zip(targets.T, presence, strict=True)]
    penalties = (choice.penalty,) if choice.penalty else PENALTIES
    tried, scores = _tried(decisions, rotated, groups, penalties, choice.penalty_folds, plan.seed, progress)
    penalty = min(tried, key=lambda one: (one.loss, -one.penalty)).penalty if tried else penalties[0]
    coefficients, intercepts = zip(*(one.fit(rotated, penalty) for one in decisions), strict=True)
    weight = np.concatenate(coefficients) @ back * scale
    left_out = scores[penalty]
    return Regression(weight, np.concatenate(intercepts) - weight @ mean, penalty, tried, left_out)


def _rotated(features: Floats) -> tuple[Floats, Floats]:
    """Features in as many dimensions as there are images, and the way back: a ridge penalty does not see the others."""
    count, width = features.shape
    if count >= width:
        return features, np.eye(width)
    values, vectors = np.linalg.eigh(features @ features.T)
    kept = values > values.max() * 1e-12
    length = np.sqrt(values[kept])
    return vectors[:, kept] * length, (vectors[:, kept] / length).T @ features


class _Decision:
    """One logistic regression: of exclusive labels, or of one finding.

    Args:
        rows: Images whose answer is known; one may come twice, with shares of its weight.
        answers: Theirs, from 0.
        weights: Theirs.
    """

    def __init__(self, rows: NDArray[np.int64], answers: NDArray[np.int64], weights: NDArray[np.floating]) -> None:
        self.rows, self.answers, self.weights = rows, answers, weights
        self.count = int(answers.max()) + 1
        self.single = False

    @classmethod
    def of_finding(cls, targets: NDArray[np.floating], presence: float) -> _Decision:
        """Of a finding with targets (N,) from 0 to 1, NaN where unknown; images with it weigh `presence`."""
        known = np.flatnonzero(~np.isnan(targets))
        stated = targets[known]
        rows = np.concatenate([known, known])
        answers = np.repeat(np.array([1, 0]), len(known))
        weights = np.concatenate([stated * presence, 1 - stated])
        used = weights > 0
        found = cls(rows[used], answers[used], weights[used])
        found.single = True
        return found

    def fit(
        self,
        features: Floats,
        penalty: float,
        within: NDArray[np.bool_] | None = None,
        *,
        model: LogisticRegression | None = None,
    ) -> tuple[Floats, Floats]:
        """Coefficients (K, D) and intercepts (K,); of a finding (1, D) and (1,).

        Args:
            features: Of all images.
            penalty: Weight of half the squared coefficients.
            within: Which images are used; by default all.
            model: Goes on from where it is; by default one is fitted from the beginning, to the end.
        """
        model = model or _model(EXACT)
        used = slice(None) if within is None else within[self.rows]
        model.set_params(C=1 / penalty)
        model.fit(features[self.rows[used]], self.answers[used], sample_weight=self.weights[used])
        weight, bias = model.coef_, model.intercept_
        if len(weight) == 1 and not self.single:
            return np.concatenate([-weight / 2, weight / 2]), np.concatenate([-bias / 2, bias / 2])
        return weight, bias

    def loss(self, scores: Floats, within: NDArray[np.bool_]) -> tuple[float, float]:
        """The weighted log loss of some images, as a sum, and the sum of their weights.

        Args:
            scores: Of all images, shape (N, K), or log-odds (N, 1).
            within: Which are counted.
        """
        from scipy.special import log_softmax

        used = within[self.rows]
        stated = scores[self.rows[used]]
        stated = np.concatenate([np.zeros_like(stated), stated], axis=1) if self.single else stated
        logs = log_softmax(stated, axis=1)[np.arange(len(stated)), self.answers[used]]
        return float(-(logs * self.weights[used]).sum()), float(self.weights[used].sum())


def _folds(
    decisions: Sequence[_Decision], count: int, groups: NDArray[np.int64], folds: int, seed: int
) -> list[NDArray[np.bool_]]:
    """Which of N images each fold leaves out; no folds where a label has a single group."""
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    first = decisions[0]
    if first.single:
        strata, there, kind = np.zeros(count, np.int64), len(np.unique(groups)), GroupKFold
    else:
        strata, kind = first.answers, StratifiedGroupKFold
        there = min(len(np.unique(groups[strata == label])) for label in range(first.count))
    if min(folds, there) < 2:
        return []
    left_out = []
    for _, held in kind(min(folds, there), shuffle=True, random_state=seed).split(strata, strata, groups):
        outside = np.zeros(count, bool)
        outside[held] = True
        left_out.append(outside)
    return left_out


def _model(tolerance: float) -> LogisticRegression:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=MOST_ITERATIONS, tol=tolerance, warm_start=True)


def _tried(
    decisions: Sequence[_Decision],
    features: Floats,
    groups: NDArray[np.int64],
    penalties: Sequence[float],
    folds: int,
    seed: int,
    progress: Progress,
) -> tuple[list[TriedPenalty], dict[float, Floats]]:
    """The log loss of penalties on images that were left out, by group, and their scores.

    From the largest penalty down, each fit goes on from the one before. The smallest, which take longest, are left out
    once `PATIENCE` in a row were not as good as one before.
    """
    width = sum(1 if decision.single else decision.count for decision in decisions)
    scores: dict[float, Floats] = {}
    tried: list[TriedPenalty] = []
    left_out = _folds(decisions, len(features), groups, folds, seed)
    fits = [
        (outside, decision, [number] if decision.single else list(range(width)), _model(ROUGH))
        for outside in left_out
        for number, decision in enumerate(decisions)
        # A fold that holds all of a label teaches nothing about the penalty.
        if len(np.unique(decision.answers[~outside[decision.rows]])) == decision.count
    ]
    with progress.task("Choosing the penalty", len(penalties) * len(fits)) as advance:
        for penalty in sorted(penalties, reverse=True):
            scores[penalty] = np.full((len(features), width), np.nan)
            losses = []
            for outside, decision, columns, model in fits:
                weight, bias = decision.fit(features, penalty, ~outside, model=model)
                stated = features[outside] @ weight.T + bias
                scores[penalty][np.ix_(np.flatnonzero(outside), np.array(columns))] = stated
                losses.append(decision.loss(scores[penalty][:, columns], outside))
                advance(1)
            if total := sum(weight for _, weight in losses):
                tried.append(TriedPenalty(penalty=penalty, loss=round(sum(loss for loss, _ in losses) / total, 6)))
            found = [one.loss for one in tried]
            if len(found) > PATIENCE and min(found[:-PATIENCE]) < min(found[-PATIENCE:]):
                advance((len(penalties) - len(found)) * len(fits))
                break
    return tried[::-1], scores

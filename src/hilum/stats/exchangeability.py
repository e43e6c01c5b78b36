"""Do two groups of patients look as if they came from the same place? What a certificate silently takes for granted.

Three tests look at scores, and a fourth at features (`hilum.evaluation.ood_reference`), where it can: Cramér and von
Mises' of patients with the disease and of the others, and a one-sided test of the lower tail of patients with it, where
false negatives are. A new subgroup of 10 % with low scores is a tenth of all patients to the former and nearly all of
the lower tail to the latter. The smallest p-value is multiplied by the number of tests (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hilum.stats.records import Exchangeability

Floats = NDArray[np.float64]
PERMUTATIONS = 4999
AT_ONCE = 2**22
TAIL = 0.15  # of all patients, the lowest scores, that the one-sided test looks at
DIFFER = 0.05
POWER = 0.80
SIMULATED = 400
MOST = 2000  # patients of each group in that simulation: more see no less
SCORE_TESTS = ("p_group", "p_tail", "p_others")
FEATURES = "p_features"


def exchangeable_p(first: Floats, second: Floats, *, permutations: int = PERMUTATIONS, seed: int = 0) -> float:
    """A permutation test of whether two groups of scores come from one distribution.

    The statistic is Cramér and von Mises' (Anderson 1962, *Ann. Math. Statist.*), the mean squared distance between
    both distribution functions. By permuting who belongs to which group the p-value is exact, with ties and in small
    groups as well, up to its steps of 1 / (permutations + 1).

    Args:
        first: One score a patient, of shape (n,).
        second: Those of the others, of shape (m,).
        permutations: How many.
        seed: Of the permutations.

    Returns:
        The p-value: small where they differ, in whatever way; 1 where one group is empty.
    """
    if not len(first) or not len(second):
        return 1.0
    pooled = np.concatenate([first, second])
    order = np.argsort(pooled, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(pooled[order])), len(pooled) - 1)  # the last of each group of ties
    repeats = np.diff(np.append(-1, ends))
    below = (ends + 1) / len(pooled)
    mine = (order < len(first)).astype(np.float64)
    generator = np.random.default_rng(seed)
    step = max(1, AT_ONCE // len(pooled))
    observed = _distance(mine[None], ends, repeats, below)[0]
    as_far = 1
    for begin in range(0, permutations, step):
        drawn = generator.permuted(np.tile(mine, (min(step, permutations - begin), 1)), axis=1)
        as_far += int((_distance(drawn, ends, repeats, below) >= observed - 1e-12).sum())
    return as_far / (permutations + 1)


def _distance(mine: Floats, ends: NDArray[np.intp], repeats: NDArray[np.intp], below: Floats) -> Floats:
    """Of one group's distribution function from the pooled one, of shape (B,): the other's differs in proportion."""
    share = np.cumsum(mine, axis=1)[:, ends] / mine[0].sum()
    distance: Floats = ((share - below) ** 2 * repeats).sum(axis=1)
    return distance


def lower_tail_p(first: Floats, second: Floats, *, permutations: int = PERMUTATIONS, seed: int = 0) -> float:
    """A one-sided permutation test of whether the second group has more of the lowest scores.

    Of all scores the lowest 15 % count, the lower the more: by how many ranks they lie below the limit. It has the
    level whatever the distribution, with ties as well.

    Args:
        first: One score a patient, of shape (n,).
        second: Those of the others, of shape (m,).
        permutations: Number of permutations.
        seed: Seed of the permutations.

    Returns:
        The p-value; 1 where one group is empty.
    """
    if not len(first) or not len(second):
        return 1.0
    weights = _tail_weights(np.concatenate([first, second]))
    observed = weights[len(first) :].sum()
    null = _drawn_sums(weights, len(second), permutations, seed)
    return float((1 + (null >= observed - 1e-9).sum()) / (permutations + 1))


def _tail_weights(pooled: Floats) -> Floats:
    """By how many ranks each score lies below the limit of the lower tail; ties share their ranks' mean."""
    _, inverse, counts = np.unique(pooled, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    limit = np.ceil(TAIL * len(pooled))
    each = np.maximum(0.0, limit - np.arange(len(pooled)))  # by rank, from the lowest
    sums = np.add.reduceat(each, np.r_[0, ends[:-1]])
    weights: Floats = (sums / counts)[inverse]
    return weights


def _drawn_sums(weights: Floats, size: int, permutations: int, seed: int) -> Floats:
    """Sums over `size` of the weights, drawn without replacement, of shape (permutations,)."""
    generator = np.random.default_rng(seed)
    drawn = np.empty(permutations)
    step = max(1, AT_ONCE // len(weights))
    for begin in range(0, permutations, step):
        stop = min(begin + step, permutations)
        drawn[begin:stop] = generator.permuted(np.tile(weights, (stop - begin, 1)), axis=1)[:, :size].sum(axis=1)
    return drawn


def compare_scores(
    group: tuple[Floats, Floats], others: tuple[Floats, Floats], *, permutations: int = PERMUTATIONS
) -> Exchangeability:
    """Whether the scores of other patients are those of a certificate's reference.

    Args:
        group: Of patients with the disease: those of the reference, and the others'; one score a patient.
        others: The same of patients without it.
        permutations: Number of permutations of each test.

    Returns:
        ``p_group``, ``p_tail`` and ``p_others``; ``p_value``, the smallest times their number; ``tests``, that number;
        ``n_reference`` and ``n_here``, patients with the disease; and ``visible``, see `visible_share`.
    """
    found = Exchangeability(
        p_group=exchangeable_p(*group, permutations=permutations),
        p_tail=lower_tail_p(*group, permutations=permutations),
        p_others=exchangeable_p(*others, permutations=permutations),
        n_reference=len(group[0]),
        n_here=len(group[1]),
        p_value=1.0,
    )
    return _joined(found)


def with_features(found: Exchangeability, features: Mapping[str, float | list[int]] | None) -> Exchangeability:
    """The same with the test on features as one more.

    Args:
        found: As `compare_scores` has it.
        features: As `hilum.evaluation.certificate_check.feature_shift` has it; None where it could not be made.
    """
    return _joined(found.model_copy(update=features)) if features else found


def _joined(found: Exchangeability) -> Exchangeability:
    named = [p for name in (*SCORE_TESTS, FEATURES) if (p := getattr(found, name)) is not None]
    visible = visible_share(found.n_reference, found.n_here, DIFFER / len(named))
    joint = {"p_value": min(1.0, len(named) * min(named)), "tests": len(named), "visible": visible}
    return found.model_copy(update=joint)


def visible_share(first: int, second: int, level: float, *, runs: int = SIMULATED, seed: int = 0) -> float | None:
    """The smallest share of a new subgroup that the test of the lower tail would find in four of five samples.

    The subgroup's scores lie among the lowest 2 % of the reference, so that it is missed by a threshold that misses
    these; all other scores are as in the reference.

    Args:
        first: Patients of the reference.
        second: The others.
        level: Level of the test, in (0, 1).
        runs: Number of simulated samples.
        seed: Seed of the simulation.

    Returns:
        In steps of one in a hundred; None where not even a subgroup of all would be found.
    """
    if not first or not second:
        return None
    first, second = min(first, MOST), min(second, MOST)
    generator = np.random.default_rng(seed)
    weights = _tail_weights(np.arange(first + second, dtype=np.float64))
    limit = float(np.quantile(_drawn_sums(weights, second, PERMUTATIONS, seed), 1 - level, method="higher"))
    reference, here, low = (generator.random((runs, size)) for size in (first, second, second))
    joins = generator.random((runs, second))

    def found(share: float) -> float:
        scores = np.concatenate([reference, np.where(joins < share, 0.02 * low, here)], axis=1)
        ranks = scores.argsort(axis=1).argsort(axis=1)
        return float((weights[ranks[:, first:]].sum(axis=1) > limit).mean())

    if found(1.0) < POWER:
        return None
    below, enough = 0, 100
    while enough - below > 1:
        middle = (below + enough) // 2
        below, enough = (below, middle) if found(middle / 100) >= POWER else (middle, enough)
    return enough / 100


def shift_sentence(found: Exchangeability) -> str:
    """Whether other patients look like those of the reference certificate, and what could have been seen.

    Args:
        found: As `compare_scores` or `with_features` has it, or an evaluation of an older version.
    """
    names = {
        "p_group": "scores with the disease",
        "p_tail": "their lower tail",
        "p_others": "scores without it",
        FEATURES: "features",
    }
    parts = ", ".join(
        f"{words} p = {p:.2g}" for name, words in names.items() if (p := getattr(found, name)) is not None
    )
    corrected = f"{parts}; {found.tests} tests, corrected p = {found.p_value:.2g}" if found.tests else parts
    if found.p_value < DIFFER:
        return (
            f"SHIFT: the scores of these patients differ from those of the run's certificate ({corrected}). The counts "
            f"here are valid, but the run's certificate is void for these patients"
        )
    told = f"no shift against the run's certificate was found ({corrected}); this does not prove its absence"
    if "visible" not in found.model_fields_set:
        return told
    numbers = f"with {found.n_reference} and {found.n_here} patients with the disease"
    if found.visible is None:
        return f"{told}: {numbers} even a change of all of them would not be detected reliably"
    return (
        f"{told}: {numbers} a new subgroup of mostly false negatives would be detected in four of five samples "
        "if it were at "
        f"least {100 * found.visible:.0f} % of them"
    )

"""Intervals by bootstrap over patients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
CHUNK = 2**22  # weights held at a time


def cluster_weights(
    clusters: Sequence[str], resamples: int, seed: int, *, chunk: int = CHUNK
) -> Iterator[NDArray[np.float64]]:
    """Weights of the images when whole patients are drawn with replacement.

    Images of one patient are not independent: resampling images would give intervals that are too narrow
    (Field and Welsh 2007, *J. R. Statist. Soc. B*).

    Args:
        clusters: The patient of each image, N of them.
        resamples: Number of resamples in all.
        seed: Of the draws.
        chunk: How many weights to make at a time.

    Yields:
        Arrays of shape (r, N): how often each image counts in each of r resamples.
    """
    _, member = np.unique(np.asarray(clusters), return_inverse=True)
    patients = int(member.max()) + 1
    generator = np.random.default_rng(seed)
    step = max(1, chunk // max(1, len(member)))
    for begin in range(0, resamples, step):
        rows = min(step, resamples - begin)
        drawn = generator.multinomial(patients, np.full(patients, 1 / patients), size=rows)
        yield drawn[:, member].astype(np.float64)


def bootstrap(
    measure: Callable[[Floats], dict[str, Any]],
    clusters: Sequence[str],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """A measure with its percentile interval (Efron 1979).

    Args:
        measure: Takes weights (R, N); gives arrays (R,), or dictionaries of them.
        clusters: The patient of each image, N of them.
        resamples: How many.
        confidence: Of the interval, between 0 and 1.
        seed: Of the draws.

    Returns:
        The same structure with ``{"value", "low", "high"}`` in place of each array; None where undefined.
    """
    plain = measure(np.ones((1, len(clusters))))
    drawn = [measure(weights) for weights in cluster_weights(clusters, resamples, seed)]
    tail = (1 - confidence) / 2

    def interval(value: Any, samples: list[Any]) -> Any:
        if isinstance(value, dict):
            return {key: interval(value[key], [sample[key] for sample in samples]) for key in value}
        finite = np.concatenate(samples)
        finite = finite[np.isfinite(finite)]
        low, high = np.quantile(finite, [tail, 1 - tail]) if len(finite) else (np.nan, np.nan)
        return {"value": _number(value[0]), "low": _number(low), "high": _number(high)}

    return {key: interval(plain[key], [sample[key] for sample in drawn]) for key in plain}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

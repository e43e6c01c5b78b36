"""How often abstention is wrong: its stated rate, how far that varies, and whom it concerns."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from hilum.data.familiarity import Judgement
from hilum.data.rows import one_image_each
from hilum.evaluation.outcomes import share

FACTOR, SURE = 2.0, 0.95  # the rate of false abstentions is at most FACTOR times the level, so surely


def stated_rate(patients: int, level: float) -> dict[str, float]:
    """The rate of false abstentions on an image of a patient like those of the calibration, as calibration sets vary.

    A conformal p-value is at most the level on average over calibration sets. Given one of n patients, the share of
    images to come whose p-value is at most a is a beta variable with l = floor(a (n + 1)) and n + 1 - l (Vovk 2012,
    *ACML*). There are two p-values, each held to half of the level; where no image is strange in both ways, which is
    the worst case on average, the shares add up to a beta variable with 2 l.

    Args:
        patients: n, with one image each.
        level: Stated rate, in (0, 1).

    Returns:
        ``mean``; ``low`` and ``high``, between which the rate lies in 90 % of calibration sets; ``beyond``, the
        probability that it is more than twice the level.
    """
    least = 2 * int(level / 2 * (patients + 1) + 1e-9)
    if not least:
        return {"mean": 0.0, "low": 0.0, "high": 0.0, "beyond": 1.0}  # nothing can be abstained on
    rate = beta(least, patients + 1 - least)
    low, high = map(float, rate.ppf([0.05, 0.95]))
    return {"mean": float(rate.mean()), "low": low, "high": high, "beyond": float(rate.sf(FACTOR * level))}


@cache
def fewest_patients(level: float) -> int:
    """Number of calibration patients that keep the rate of false abstentions at most at twice the level.

    Args:
        level: Stated rate, in (0, 1).

    Returns:
        The smallest with which it does so in at least 95 % of calibration sets.
    """
    return next(n for n in count(1) if stated_rate(n, level)["beyond"] <= 1 - SURE)


def left_out(judgement: Judgement, one: NDArray[np.int64], clusters: Sequence[str], level: float) -> NDArray[np.bool_]:
    """Which images of calibration patients would be abstained on if their own patient were not among these.

    Args:
        judgement: Of N images of n calibration patients.
        one: The image of each patient that the reference holds, shape (n,).
        clusters: The patient of each image, N names.
        level: Stated rate, in (0, 1).

    Returns:
        Of shape (N,).
    """
    place = {clusters[i]: number for number, i in enumerate(one)}
    own = np.array([place[name] for name in clusters])
    p = []
    for values in (judgement.layout, judgement.features):
        kept = values[one]
        as_far = len(one) - np.searchsorted(np.sort(kept), values, side="left") - (kept[own] >= values)
        p.append((1 + as_far) / len(one))
    found: NDArray[np.bool_] = 2 * np.minimum(*p) <= level
    return found


def by_patient(clusters: Sequence[str], paths: Sequence[str], abstained: NDArray[np.bool_]) -> dict[str, Any]:
    """Whom abstention concerns: a rate of 5 % of images is more of the patients, and most of those with many images.

    Args:
        clusters: The patient of each of N images.
        paths: Of the N images.
        abstained: Which are abstained on, shape (N,).

    Returns:
        ``one_image``, the share of one image of each patient, told by a hash of its path, as the level is stated;
        ``any_image``, that of patients with at least one such image; ``by_images``, the latter by number of images. All
        with exact intervals.
    """
    names, member = np.unique(np.array(clusters, dtype=object), return_inverse=True)
    images, hits = np.bincount(member), np.bincount(member, abstained, minlength=len(names)).astype(int)
    groups = {"1": images == 1, "2 to 3": (images >= 2) & (images <= 3), "4 or more": images >= 4}
    return {
        "one_image": _among(abstained[one_image_each(paths, clusters)]),
        "any_image": _among(hits > 0),
        "by_images": {name: _among(hits[chosen] > 0) for name, chosen in groups.items() if chosen.any()},
    }


def _among(hits: NDArray[np.bool_]) -> dict[str, Any]:
    return {"patients": len(hits), "count": int(hits.sum()), **share(int(hits.sum()), len(hits))}

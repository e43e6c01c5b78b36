"""The out-of-distribution reference: what a run compares images with before it decides, and how often that is wrong.

It is found once on the run's own data, and kept in the run.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save
from scipy.stats import beta

from hilum.data.cache import Images, release
from hilum.data.dataset import one_image_each, owner
from hilum.decision.ood import ARRAYS as NAMES
from hilum.decision.ood import AT_ONCE, OODScores, Poses, Reference, feature_distances, layouts
from hilum.evaluation.cohort import run_images
from hilum.evaluation.triage_schema import AbstainedPatients, AbstainedShare, FalseAbstentions, OODFacts
from hilum.files import read_whole, save_bytes, save_json
from hilum.progress import Progress
from hilum.stats.auc import aurocs
from hilum.stats.intervals import share
from hilum.training.lock import only_process
from hilum.training.run import Run, read_json

ARRAYS, FACTS = "abstention.safetensors", "abstention.json"
FORMAT = 2
NEIGHBOURS = 5
LEVEL = 0.05
MOST, MOST_BYTES = 1000, 2**22  # training images kept, and bytes of their features: a model file carries them
HELD = 2**24  # bytes of pixels that are looked at together
PASSING = 0.01  # share of calibration patients by which a limit between chest radiographs and others may err
NONE = "no abstention"
FACTOR, MIN_PATIENTS = 2.0, 0.95  # the rate of false abstentions is at most FACTOR times the level, so surely


@dataclass(frozen=True)
class Abstention:
    """The reference, or None and why there is none."""

    reference: Reference | None
    facts: OODFacts | None = None
    note: str = ""


def fit_reference(
    run: Run, root: Path | None = None, *, images: Images | None = None, progress: Progress | None = None
) -> Abstention:
    """What the run knows: from ``abstention.safetensors``, or found now on its training and calibration images.

    Args:
        run: A finished run.
        root: Where the run's own data lie now, if they have moved.
        images: The run's own data with the run's splits, where they are open already.
        progress: Told about long work.
    """
    progress = progress or Progress()
    with only_process(run.path, "evaluate", wait=True, progress=progress):
        return _read(run) or _find(run, root, images, progress)


def _find(run: Run, root: Path | None, images: Images | None, progress: Progress) -> Abstention:
    from hilum.evaluation.inference import predict_with_features  # PyTorch, which predictions of others do without

    images, why = run_images(run, progress, root=root, images=images)
    if images is None:
        return Abstention(None, note=f"{NONE}: {why}")
    found = compare_by(run, images, lambda chosen: predict_with_features(run, chosen, run.labels, progress=progress)[1])
    if found.reference is None or found.facts is None:
        return found
    arrays = {name: np.asarray(getattr(found.reference, name)) for name in NAMES}
    content = save(arrays)
    facts = found.facts.model_copy(update={"sha256": hashlib.sha256(content).hexdigest()})
    try:
        save_bytes(run.path / ARRAYS, content)
        save_json(run.path / FACTS, facts.as_json())
    except OSError as error:
        progress.line(f"{run.path / ARRAYS}: cannot be written ({error}); it will be computed again next time")
    return Abstention(found.reference, facts)


def compare_by(run: Run, images: Images, describe: Callable[[Images], NDArray[np.float32]]) -> Abstention:
    """A reference found now, by whatever form of the run's network gives the features; nothing is kept.

    Args:
        run: A finished run.
        images: Its own data with its splits.
        describe: Gives the last features of N images, of shape (N, D), each row of length 1.
    """
    held_back = images.select(one_image_a_patient(images))
    if len(held_back.table) < (needed := fewest_patients(LEVEL)):
        there = len(held_back.table)
        why = (
            f"{there} calibration patients; the OOD detector needs {needed}. With fewer, the rate of false abstentions "
            f"may be more than twice the stated {100 * LEVEL:g} %. {needed - there} "
            f"{'is' if needed - there == 1 else 'are'} missing"
        )
        return Abstention(None, note=f"{NONE}: {why}")
    everyone = [i for i, row in enumerate(images.table.rows) if row.split == "calibration"]
    of_everyone = images.select(everyone)
    features, grey = describe(of_everyone), thumbnails_of_images(of_everyone)
    most = max(NEIGHBOURS, min(MOST, MOST_BYTES // (np.dtype(np.float16).itemsize * features.shape[1])))
    known = images.select(spread_over_labels(images, most))
    arrays: dict[str, NDArray[Any]] = {
        "features": describe(known).astype(np.float16),
        "layouts": thumbnails_of_images(known),
    }
    one = np.searchsorted(everyone, one_image_a_patient(images))
    poses = Poses.of(grey[one], arrays["layouts"], NEIGHBOURS)
    limits = boundaries(poses, Poses.of(shuffled(grey[one]), arrays["layouts"], NEIGHBOURS))
    arrays["feature_distances"] = np.sort(feature_distances(features[one], arrays["features"], NEIGHBOURS))
    arrays["layout_distances"] = np.sort(poses.nonconformity(limits.wrong))
    facts = OODFacts(
        format=FORMAT,
        neighbours=NEIGHBOURS,
        level=LEVEL,
        boundary=limits.boundary,
        wrong=list(limits.wrong),
        n_reference=len(known.table),
        n_calibration=len(held_back.table),
        rate=stated_rate(len(held_back.table), LEVEL),
        resampling_unit="patients" if images.table.patients_known else "images",
        weights_sha256=run.environment.weights_sha256,
        preprocessing_sha256=run.preprocessing.digest(),
    )
    reference = _reference(arrays, facts)
    ood_scores = reference.score_thumbnails(features, grey)
    names = [owner(row.patient_id, row.path) for row in of_everyone.table.rows]
    abstained = left_out(ood_scores, one, names, LEVEL)
    paths = [row.path for row in of_everyone.table.rows]
    of_calibration = abstained_by_patient(names, paths, abstained)
    return Abstention(reference, facts.model_copy(update={"of_calibration": of_calibration}))


def _reference(arrays: Mapping[str, NDArray[Any]], facts: OODFacts) -> Reference:
    features, grey, feature_apart, layout_apart = (arrays[name] for name in NAMES)
    settings = facts.neighbours, facts.level, facts.boundary, tuple(facts.wrong)
    return Reference(features, grey, feature_apart, layout_apart, *settings)


def thumbnails_of_images(images: Images) -> NDArray[np.uint8]:
    """Layouts of N decoded images, of shape (N, 225), block by block: many images' pixels do not fit into memory."""
    blocks = []
    step = max(1, min(AT_ONCE, HELD // images.pixels[0].nbytes))
    for begin in range(0, len(images.positions), step):
        blocks.append(layouts(images.pixels[images.positions[begin : begin + step]]))
        release(images.pixels)
    return np.concatenate(blocks)


@dataclass(frozen=True)
class Boundaries:
    """Where chest radiographs end.

    Attributes:
        boundary: The distance that all but 1 % of calibration patients' pictures exceed when turned by a quarter,
            inverted, or shuffled, each by itself; but at least that of every upright one.
        wrong: The poses in which at most 1 % of them fit as well as upright, which leaves out upside down where that
            looks the same.
    """

    boundary: float
    wrong: tuple[int, ...]


def boundaries(poses: Poses, without: Poses) -> Boundaries:
    """Where chest radiographs end, found on calibration patients alone: upright they are some, turned or inverted none.

    Args:
        poses: Of one image of each.
        without: Of the same images `shuffled`.
    """
    none = np.concatenate([poses.apart[list(Poses.TURNED)], without.distance[None]])
    return Boundaries(
        boundary=float(max(np.quantile(none, PASSING, axis=1).min(), poses.distance.max())),
        wrong=tuple(pose for pose in Poses.OTHERS if poses.fit_best_in([pose]).mean() <= PASSING),
    )


def shuffled(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Layouts whose grey values have lost their places."""
    mixed: NDArray[np.uint8] = np.random.default_rng(0).permuted(grey, axis=1)
    return mixed


def one_image_a_patient(images: Images) -> list[int]:
    """Rows of calibration images, one of each patient, chosen by a hash of its name: p-values take independent ones."""
    rows = images.table.rows
    held = [i for i, row in enumerate(rows) if row.split == "calibration"]
    names = (owner(rows[i].patient_id, rows[i].path) for i in held)
    return [held[i] for i in one_image_each((rows[i].path for i in held), names)]


def spread_over_labels(images: Images, most: int) -> list[int]:
    """Rows of at most `most` training images, each label with the same number as far as it has them."""
    by_label: dict[str, list[tuple[bytes, int]]] = {}
    counts: Counter[str] = Counter()
    for i, row in enumerate(images.table.rows):
        if row.split == "train":
            name = hashlib.sha256(row.path.encode(errors="surrogateescape")).digest()
            counts[row.label] += 1
            mine = by_label.setdefault(row.label, [])
            mine.append((name, i))
            if len(mine) >= 2 * most:  # no label gives more than that, so that no more need be remembered
                mine[:] = sorted(mine)[:most]
    left, chosen = most, []
    for number, label in enumerate(sorted(by_label, key=lambda label: (counts[label], label))):
        mine = sorted(by_label[label])[: left // (len(by_label) - number)]
        chosen += [i for _, i in mine]
        left -= len(mine)
    return sorted(chosen)


def _read(run: Run) -> Abstention | None:
    try:
        facts = OODFacts.model_validate(read_json(run.path / FACTS))
        if facts.format != FORMAT or facts.weights_sha256 != run.environment.weights_sha256:
            return None
        content = read_whole(run.path / ARRAYS)
        if hashlib.sha256(content).hexdigest() != facts.sha256:
            return None
        if not facts.rate:  # versions before kept none
            facts = facts.model_copy(update={"rate": stated_rate(facts.n_calibration, facts.level)})
        return Abstention(_reference(load(content), facts), facts)
    except (OSError, ValueError, KeyError, SafetensorError):
        return None


def stated_rate(patients: int, level: float) -> FalseAbstentions:
    """The rate of false abstentions on an image of a patient like those of the calibration, as calibration sets vary.

    A conformal p-value is at most the level on average over calibration sets. Given one of n patients, the share of
    images to come whose p-value is at most a is a beta variable with l = floor(a (n + 1)) and n + 1 - l (Vovk 2012,
    *ACML*). There are two p-values, each held to half of the level; where no image is strange in both ways, which is
    the worst case on average, the shares add up to a beta variable with 2 l.

    Args:
        patients: n, with one image each.
        level: Stated rate, in (0, 1).

    Returns:
        The mean, the limits between which the rate lies in 90 % of calibration sets, and the probability that it is
        more than twice the level.
    """
    least = 2 * int(level / 2 * (patients + 1) + 1e-9)
    if not least:
        return FalseAbstentions(mean=0.0, low=0.0, high=0.0, beyond=1.0)  # nothing can be abstained on
    rate = beta(least, patients + 1 - least)
    low, high = map(float, rate.ppf([0.05, 0.95]))
    return FalseAbstentions(mean=float(rate.mean()), low=low, high=high, beyond=float(rate.sf(FACTOR * level)))


@cache
def fewest_patients(level: float) -> int:
    """Number of calibration patients that keep the rate of false abstentions at most at twice the level.

    Args:
        level: Stated rate, in (0, 1).

    Returns:
        The smallest with which it does so in at least 95 % of calibration sets.
    """
    return next(n for n in count(1) if stated_rate(n, level).beyond <= 1 - MIN_PATIENTS)


def left_out(ood_scores: OODScores, one: NDArray[np.int64], clusters: Sequence[str], level: float) -> NDArray[np.bool_]:
    """Which images of calibration patients would be abstained on if their own patient were not among these.

    Args:
        ood_scores: Of N images of n calibration patients.
        one: The image of each patient that the reference holds, shape (n,).
        clusters: The patient of each image, N names.
        level: Stated rate, in (0, 1).

    Returns:
        Of shape (N,).
    """
    place = {clusters[i]: number for number, i in enumerate(one)}
    own = np.array([place[name] for name in clusters])
    p = []
    for values in (ood_scores.layout, ood_scores.features):
        kept = values[one]
        as_far = len(one) - np.searchsorted(np.sort(kept), values, side="left") - (kept[own] >= values)
        p.append((1 + as_far) / len(one))
    found: NDArray[np.bool_] = 2 * np.minimum(*p) <= level
    return found


def abstained_by_patient(
    clusters: Sequence[str], paths: Sequence[str], abstained: NDArray[np.bool_]
) -> AbstainedPatients:
    """Whom abstention concerns: a rate of 5 % of images is more of the patients, and most of those with many images.

    Args:
        clusters: The patient of each of N images.
        paths: Of the N images.
        abstained: Which are abstained on, shape (N,).

    Returns:
        ``one_image``, the share of one image of each patient, selected by a hash of its path, as the level is stated;
        ``any_image``, that of patients with at least one such image; ``by_images``, the latter by number of images. All
        with exact intervals.
    """
    names, member = np.unique(np.array(clusters, dtype=object), return_inverse=True)
    images, hits = np.bincount(member), np.bincount(member, abstained, minlength=len(names)).astype(int)
    groups = {"1": images == 1, "2 to 3": (images >= 2) & (images <= 3), "4 or more": images >= 4}
    return AbstainedPatients(
        one_image=_among(abstained[one_image_each(paths, clusters)]),
        any_image=_among(hits > 0),
        by_images={name: _among(hits[chosen] > 0) for name, chosen in groups.items() if chosen.any()},
    )


def _among(hits: NDArray[np.bool_]) -> AbstainedShare:
    count = int(hits.sum())
    return AbstainedShare(patients=len(hits), count=count, **share(count, len(hits)).given())


Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
PERMUTATIONS = 999
FOLDS = 5
FEWEST = 5  # patients of a label in each sample
RIDGE = 10.0  # of 0.1, 1 and 10 the one that sees a subgroup of 10 % most often (studies/shift_power.py)


def two_sample(
    features: Floats, second: NDArray[np.bool_], strata: Ints, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> tuple[float, float] | None:
    """A permutation test of whether two samples can be distinguished by their features, within strata.

    The classifier is a ridge regression whose scores are taken out of fold; samples are permuted within strata, so
    that the p-value is exact.

    Args:
        features: Of shape (N, D), one row a patient.
        second: Which of the samples each belongs to, of shape (N,).
        strata: Label of each, of shape (N,).
        permutations: Number of permutations.
        seed: Seed of folds and permutations.

    Returns:
        The p-value, and the mean AUROC within strata; None without a stratum of five patients in each sample.
    """
    counts = {k: (int(second[strata == k].sum()), int((strata == k).sum())) for k in np.unique(strata)}
    used = [k for k, (mine, size) in counts.items() if mine >= FEWEST and size - mine >= FEWEST]
    if not used:
        return None
    kept = np.isin(strata, used)
    features, second, strata = features[kept], second[kept], strata[kept]
    generator = np.random.default_rng(seed)
    centred, fold = features.astype(np.float64), np.empty(len(second), np.int64)
    targets = np.empty((permutations + 1, len(second)))
    for k in used:
        here = np.flatnonzero(strata == k)
        centred[here] -= centred[here].mean(axis=0)
        fold[here] = generator.permutation(np.arange(len(here)) % FOLDS)
        mine = second[here] - second[here].mean()
        targets[0, here] = mine
        targets[1:, here] = generator.permuted(np.tile(mine, (permutations, 1)), axis=1)
    spread = centred.std(axis=0)
    varied = spread > 1e-12
    if not varied.any():
        return 1.0, 0.5
    centred = centred[:, varied] / spread[varied]
    inner = centred @ centred.T / centred.shape[1]
    scores = np.empty_like(targets)
    for held_out in range(FOLDS):
        test, train = np.flatnonzero(fold == held_out), np.flatnonzero(fold != held_out)
        ridge = inner[np.ix_(train, train)] + RIDGE * np.eye(len(train))
        scores[:, test] = (inner[np.ix_(test, train)] @ np.linalg.solve(ridge, targets[:, train].T)).T
    length = np.sqrt((scores**2).sum(axis=1))
    statistic = (scores * targets).sum(axis=1) / np.where(length > 0, length, 1)
    p_value = float((statistic >= statistic[0] - 1e-12).sum() / (permutations + 1))
    areas = [float(aurocs(scores[:1, strata == k], second[None, strata == k])[0]) for k in used]
    return p_value, float(np.average(areas, weights=[(strata == k).sum() for k in used]))

"""Set the prior step of a run: from stated prevalences, from images without labels, or from patients with labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hilum import __version__
from hilum.data.cache import Images, open_images
from hilum.data.dataset import Dataset, Row, owner, pack
from hilum.data.multilabel import binary_labels, dataset_of_two, known_rows
from hilum.data.options import ReadOptions
from hilum.decision.operating_point import members_of
from hilum.errors import RunError, UsageError
from hilum.evaluation.cohort import select_images
from hilum.evaluation.inference import predict
from hilum.evaluation.prior_step import FILE, KeptPriorStep, implied_by_loss, implied_of_findings, implied_shares
from hilum.evaluation.temperature import Calibration, calibrate
from hilum.files import save_json
from hilum.progress import Progress
from hilum.serving.inputs import find_files
from hilum.stats.calibration import for_temperature, of_two
from hilum.stats.label_shift import (
    MEASURES,
    Measure,
    choose_offsets,
    estimate_shares,
    held_out_gain,
    log_ratio,
    share_intervals,
)
from hilum.training.lock import only_process
from hilum.training.run import Run

Floats = NDArray[np.float64]
TOLERANCE = 1e-6
LEAST = 1e-4  # the smallest share that is taken from an estimate: of a label that nobody seems to have, some may come
NO_HELP = "no factor improves the measure on held-out patients by more than its standard error; all factors are 1"


@dataclass(frozen=True)
class Implied:
    """Shares to which a run's probabilities belong, of shape (K,), those of the patients, and whom they are from."""

    shares: Floats
    patients: Floats
    source: str


def parse_prevalences(text: str) -> dict[str, float]:
    """Read ``LABEL=SHARE,...``.

    Raises:
        UsageError: A share is missing, or not between 0 and 1, or a label stands twice.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        label, _, share = part.rpartition("=")
        try:
            value = float(share)
        except ValueError:
            value = -1.0
        if not label.strip() or not 0 < value < 1 or label.strip() in found:
            raise _no_share(part)
        found[label.strip()] = value
    return found


def _no_share(given: str) -> UsageError:
    msg = f"--prevalence {given}: write LABEL=SHARE once a label, a share above 0 and below 1, such as normal=0.9."
    return UsageError(msg, code="not-a-share")


def set_prior(
    run: Run,
    data: Path | Dataset | None = None,
    *,
    prevalences: Mapping[str, float] | None = None,
    unlabelled: Path | None = None,
    measure: str | None = None,
    implied: str = "loss",
    split: str = "val",
    mapping: Mapping[str, str] | None = None,
    read: ReadOptions | None = None,
    progress: Progress | None = None,
) -> KeptPriorStep:
    """Set the prior step of a run by one of three ways, and keep it in ``prior.json``.

    A step replaces the one before it; it is no change of that one. It comes after the temperatures.

    Args:
        run: A finished run.
        data: With `measure`, other data with labels; by default the run's own.
        prevalences: Shares of labels, or of groups such as ``infected/*``, where the model will be used. Labels
            without one share what is left, and keep their frequencies among themselves. Of findings, each its own.
        unlabelled: Images whose labels are not looked at, on which the shares are estimated.
        measure: ``accuracy`` or ``balanced-accuracy``: factors are chosen by it.
        implied: By what the shares are known to which the probabilities belong so far: ``loss``, its weights and the
            training images; or ``calibration``, patients who show it (offsets of `hilum.stats.prior_shift.fit_prior`),
            which takes many of them near the boundaries. Of findings the loss alone.
        split: With `measure`, which part of the data.
        mapping: The run's label for labels of `data`.
        read: How to read `data`.
        progress: Told about long work.

    Raises:
        UsageError: Not exactly one way is given, a label is unknown, or shares are none or do not sum to one.
        RunError: The training is not finished, test images are given, no image is left, or nothing can be written.
    """
    progress = progress or Progress()
    if not run.finished:
        msg = f"{run.path}: the training is not finished. Continue with hilum train DATA --out {run.path} --resume"
        raise RunError(msg)
    if sum(way is not None for way in (prevalences, unlabelled, measure)) != 1:
        msg = "give one of --prevalence LABEL=SHARE,..., --prevalence-from DIR and --choose MEASURE, or --remove."
        raise UsageError(msg, code="one-way")
    if implied not in ("loss", "calibration"):
        msg = f"--implied {implied}: loss or calibration."
        raise UsageError(msg, code="no-such-way")
    if run.findings and implied != "loss":
        msg = "--implied calibration: of several findings the loss alone implies the shares. Omit it."
        raise UsageError(msg, code="ignored-option")
    for label, share in (prevalences or {}).items():
        if not 0 < share < 1:
            given = f"{label}={share:g}"
            raise _no_share(given)
    with only_process(run.path, "evaluate", wait=True, progress=progress):
        calibration = calibrate(run, prior_step=False, progress=progress)
        if prevalences is not None:
            found = _stated(run, _implied(run, calibration, implied), prevalences)
        elif unlabelled is not None:
            images = _unlabelled(run, unlabelled, progress)
            found = _estimated(run, calibration, _implied(run, calibration, implied), images, unlabelled, progress)
        else:
            assert measure
            chosen = _labelled(run, data, split, calibration, mapping, read, progress)
            found = _chosen(run, calibration, chosen, measure, progress)
        kept = KeptPriorStep.model_validate(
            {
                **found,
                "hilum": __version__,
                "made": datetime.now(UTC).isoformat(timespec="seconds"),
                "weights_sha256": run.environment.weights_sha256,
                "temperatures": calibration.temperatures,
            }
        )
        try:
            save_json(run.path / FILE, kept.as_json())
        except OSError as error:
            msg = f"{run.path / FILE}: cannot be written ({error.strerror}). Make the run's folder writable."
            raise RunError(msg, path=run.path / FILE) from error
    return kept


def remove_prior(run: Run) -> bool:
    """Take the prior step out of a run; whether there was one."""
    with only_process(run.path, "evaluate", wait=True):
        there = (run.path / FILE).exists()
        (run.path / FILE).unlink(missing_ok=True)
    return there


def _implied(run: Run, calibration: Calibration, by: str) -> Implied:
    """The shares that the loss made the network answer with, or those that calibration patients show."""
    if run.findings:
        shares = implied_of_findings(run)
        return Implied(shares, shares, "training images and their weights in the loss")
    prior = calibration.prior if by == "calibration" else implied_by_loss(run)
    if prior is None:
        msg = f"{run.path}: a label has too few calibration patients to show it. Use --implied loss."
        raise RunError(msg, code="too-few-patients")
    return Implied(implied_shares(prior), prior.shares, prior.source)


def _named(run: Run, shares: Floats) -> dict[str, float]:
    return {label: float(share) for label, share in zip(run.labels, shares, strict=True)}


def _factors(run: Run, implied: Floats, shares: Floats) -> dict[str, float]:
    """By label; of findings those of the odds. Of exclusive labels the largest is 1."""
    offsets = log_ratio(shares, implied)
    offsets = offsets - log_ratio(1 - shares, 1 - implied) if run.findings else offsets - offsets.max()
    return _named(run, np.exp(offsets))


def _stated(run: Run, implied: Implied, prevalences: Mapping[str, float]) -> dict[str, object]:
    target = _findings_target if run.findings else _target
    shares = target(run, implied, prevalences)
    return {
        "method": "stated",
        "factors": _factors(run, implied.shares, shares),
        "implied": _named(run, implied.shares),
        "implied_by": implied.source,
        "prevalences": _named(run, shares),
    }


def _findings_target(run: Run, implied: Implied, prevalences: Mapping[str, float]) -> Floats:
    """The stated share of each finding; findings without one stay as they are."""
    if unknown := sorted(set(prevalences) - set(run.findings)):
        raise _unknown(run, unknown[0])
    return np.array([prevalences.get(name, share) for name, share in zip(run.findings, implied.shares, strict=True)])


def _target(run: Run, implied: Implied, prevalences: Mapping[str, float]) -> Floats:
    """Shares of all labels from stated ones of labels or groups."""
    shares = np.full(len(run.labels), np.nan)
    for name, share in prevalences.items():
        members = [run.labels.index(label) for label in members_of(name, run.labels)]
        if not members:
            raise _unknown(run, name)
        if not np.isnan(shares[members]).all():
            msg = f"--prevalence {name}: a label of it has a share already. State each label once."
            raise UsageError(msg, code="stated-twice")
        shares[members] = share * implied.patients[members] / implied.patients[members].sum()
    rest = np.isnan(shares)
    left = 1 - float(np.nansum(shares))
    if (rest.any() and left <= TOLERANCE) or (not rest.any() and abs(left) > TOLERANCE):
        asked = "less than 1, so that something is left for the others" if rest.any() else "1"
        msg = f"--prevalence: the shares sum to {1 - left:g}; they have to sum to {asked}."
        raise UsageError(msg, code="shares-do-not-sum")
    if rest.any():
        shares[rest] = left * implied.patients[rest] / implied.patients[rest].sum()
    result: Floats = shares / shares.sum()
    return result


def _unknown(run: Run, name: str) -> UsageError:
    msg = f"--prevalence {name}: not a label of {run.path}. Its labels: {', '.join(run.labels)}."
    return UsageError(msg, code="no-such-label")


def _unlabelled(run: Run, place: Path, progress: Progress) -> Images:
    """Images of a folder, a file or several, without their labels; those that the run knows are refused or left out."""
    if not place.exists():
        msg = f"--prevalence-from {place}: no such file or folder. Name a folder of images."
        raise UsageError(msg, code="no-images", path=place)
    root = place if place.is_dir() else place.parent
    rows = [Row(file.relative_to(root).as_posix(), "") for file in find_files([place], say=progress.line)]
    images = open_images(Dataset(root, pack(rows)), run.preprocessing, progress=progress)
    for item in images.unreadable[:10]:
        progress.line(f"left out: {item.message}")
    splits = {row.sha256: row.split for row in run.rows if row.sha256}
    served = [splits.get(row.sha256, "") for row in images.table.rows]
    if "test" in served:
        msg = (
            f"{place}: holds {served.count('test'):,} of the run's test images, and test images select nothing. "
            "Estimate the prevalence on other images."
        )
        raise RunError(msg, code="test-images", path=place)
    kept = [i for i, split in enumerate(served) if not split]
    if len(kept) < len(served):
        progress.line(
            f"{len(served) - len(kept):,} images of the run's training, validation or calibration are left out"
        )
    if not kept:
        msg = f"{place}: no image is left that the run does not know. Give images of the place where it will be used."
        raise RunError(msg, code="no-images", path=place)
    return images.select(kept)


def _estimated(
    run: Run, calibration: Calibration, implied: Implied, images: Images, place: Path, progress: Progress
) -> dict[str, object]:
    stated = calibration.applied_to(predict(run, images, run.labels, progress=progress), run)
    clusters = images.table.patients()
    if run.findings:
        pairs = [(of_two(stated[:, k]), np.array([1 - share, share])) for k, share in enumerate(implied.shares)]
        found = [estimate_shares(*pair, clusters) for pair in pairs]
        limits = [share_intervals(*pair, of, clusters)[1] for pair, of in zip(pairs, found, strict=True)]
        shares = np.clip([of[1] for of in found], LEAST, 1 - LEAST)
    else:
        estimate = estimate_shares(stated, implied.shares, clusters)
        limits = [*share_intervals(stated, implied.shares, estimate, clusters)]
        shares = np.maximum(estimate, LEAST)
        shares /= shares.sum()
    return {
        "method": "estimated",
        "factors": _factors(run, implied.shares, shares),
        "implied": _named(run, implied.shares),
        "implied_by": implied.source,
        "prevalences": _named(run, shares),
        "prevalence_intervals": {label: pair.tolist() for label, pair in zip(run.labels, limits, strict=True)},
        "data": place.resolve().name,
        **_served(images.table),
    }


def _served(table: Dataset) -> dict[str, object]:
    """Who cannot serve any more, and how many."""
    return {
        "n_images": len(table),
        "n_patients": len(set(table.patients())) if table.patients_known else None,
        "images": sorted({row.sha256 for row in table.rows if row.sha256}),
        "patients": sorted({row.patient_id for row in table.rows if row.patient_id}),
    }


@dataclass(frozen=True)
class _Labelled:
    """Images with labels on which factors are chosen, the name of their dataset, and their split."""

    images: Images
    name: str
    split: str


def _labelled(
    run: Run,
    data: Path | Dataset | None,
    split: str,
    calibration: Calibration,
    mapping: Mapping[str, str] | None,
    read: ReadOptions | None,
    progress: Progress,
) -> _Labelled:
    evaluated = select_images(run, data, split, progress, mapping=mapping, read=read)
    images = evaluated.images
    if evaluated.own and evaluated.split in ("test", "train"):
        remedy = "Choose on --split val or calibration, or on other data"
        why = "test images select nothing" if evaluated.split == "test" else "the network was fitted to these"
        msg = f"{run.path}: --split {evaluated.split}: {why}. {remedy}."
        raise RunError(msg, code=f"{evaluated.split}-images")
    own = {row.sha256: row.split for row in run.rows if row.sha256 and row.split == "test"}
    if not evaluated.own and any(row.sha256 in own for row in images.table.rows):
        msg = f"{evaluated.root}: holds test images of the run, and test images select nothing. Leave them out."
        raise RunError(msg, code="test-images")
    if evaluated.own and evaluated.split == "calibration":
        if not calibration.temperatures:
            msg = (
                f"{run.path}: no temperature was fitted, and all calibration patients are kept for certificates. "
                "Choose on --split val."
            )
            raise RunError(msg, code="no-images")
        images = images.select(np.flatnonzero(for_temperature(images.table.patients())).tolist())
    return _Labelled(images, evaluated.root.resolve().name, evaluated.split)


def _chosen(
    run: Run, calibration: Calibration, given: _Labelled, measure: str, progress: Progress
) -> dict[str, object]:
    by = next((name for name in MEASURES if name == measure), None)
    if by is None:
        msg = f"--choose {measure}: choose by {' or '.join(MEASURES)}."
        raise UsageError(msg, code="no-such-measure")
    table = given.images.table
    stated = calibration.applied_to(predict(run, given.images, run.labels, progress=progress), run)
    gains: dict[str, dict[str, float]] = {}
    if run.findings:
        offsets = np.zeros(len(run.findings))
        for number, name in enumerate(run.findings):
            places = known_rows(table, name)
            view = dataset_of_two(table, name, places)
            found = _helpful(view, binary_labels(name), of_two(stated[places, number]), by, gains, name)
            offsets[number] = found[1] - found[0]
    else:
        offsets = _helpful(table, run.labels, stated, by, gains, "")
    if not offsets.any():
        progress.line(NO_HELP)
    return {
        "method": "chosen",
        "factors": _named(run, np.exp(offsets)),
        "measure": by,
        "data": given.name,
        "split": given.split,
        "held_out": gains,
        **_served(table),
    }


def _helpful(
    table: Dataset, labels: Sequence[str], stated: Floats, by: Measure, gains: dict[str, dict[str, float]], name: str
) -> Floats:
    """Offsets that help held-out patients by more than a standard error, as for a temperature; else zeros."""
    truth = np.array([labels.index(row.label) for row in table.rows], np.int64)
    if not len(truth):
        return np.zeros(len(labels))
    clusters = [owner(row.patient_id, row.path) for row in table.rows]
    gains[name] = gain = held_out_gain(truth, stated, clusters, by)
    helps = gain["after"] - gain["error"] > gain["before"]
    return choose_offsets(truth, stated, by) if helps else np.zeros(len(labels))

"""Does the model outperform the shortcut baselines, on every label and not on the easiest one alone?

The claim is that the model's AUROC leads that of every baseline for every label. It is shown where the lower limit of
each single lead lies above zero, so that no correction for their number is needed (intersection-union test: Berger
1982, *Technometrics*). It is refuted where one lead of many lies below zero, which does need one (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hilum.auditing.checks.shortcuts import FEWEST
from hilum.auditing.probe_classifier import fit_boosting, fit_linear, fit_scores, fit_trees
from hilum.auditing.probe_features import THUMBNAIL, Probe, probes
from hilum.auditing.scan import scan
from hilum.data.dataset import Dataset, Row, owner, pack
from hilum.data.splits import PatientSample
from hilum.errors import HilumError
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.schema import LabelLeads, Lead, Shortcuts
from hilum.progress import Progress
from hilum.stats.auc import auroc_estimate
from hilum.stats.intervals import CONFIDENCE, Estimate, Patients, combined
from hilum.stats.records import Verdict
from hilum.stats.verdicts import NOT_SHOWN, REFUTED, SHOWN, at_least, weakest
from hilum.text import fraction, interval_text

STACKED = "all probes together"
LEAD = 1e-9  # smallest lead that counts: two equal classifiers differ by an interval of zero length at zero
NAMED = 3  # baselines that a sentence names beside the nearest; tables have them all


@dataclass(frozen=True)
class Baseline:
    """A classifier that sees shortcuts only.

    Attributes:
        name: Name of the probe, or `STACKED`.
        kind: ``container``, ``pixels``, or ``stacked``.
        learner: What was fitted to its features, such as ``extra trees``.
        scores: Score of each label on the test images, shape (N, K).
    """

    name: str
    kind: str
    learner: str
    scores: NDArray[np.floating]


def compare_with_baselines(predictions: Predictions, baselines: Sequence[Baseline]) -> Shortcuts:
    """Compare the AUROC of every label against the rest with that of every baseline, paired by patient.

    Args:
        predictions: Predictions of N images, K labels.
        baselines: Baselines; several learners may share a name.

    Returns:
        ``verdict`` on the claim that the model outperforms every baseline on every label (None, with ``note``, where
        nothing can be judged); ``labels``: for each label with enough patients on both sides its ``verdict``,
        ``model``, and ``baselines`` (``name``, ``kind``, ``learner``, ``auroc``, ``difference``: model minus baseline,
        ``verdict``), the highest AUROC first, each by the learner that leaves the model the smallest lead;
        ``not_judged``: labels with too few patients.
    """
    patients = Patients(predictions.clusters)
    found: dict[str, LabelLeads] = {}
    sides = {k: predictions.truth == k for k in range(len(predictions.labels))}
    judged = [k for k, has in sides.items() if min((patients.sums(side) > 0).sum() for side in (has, ~has)) >= FEWEST]
    not_scored = [label for k, label in enumerate(predictions.labels) if k not in judged]
    strict = 1 - (1 - CONFIDENCE) / max(1, len(judged) * len(baselines))
    for k in judged:
        label, positive = predictions.labels[k], sides[k]
        model = auroc_estimate(predictions.probabilities[:, k], positive, patients)
        hardest: dict[str, Lead] = {}
        for baseline in baselines:
            area = auroc_estimate(baseline.scores[:, k], positive, patients)
            lead = combined([(1.0, model), (-1.0, area)])
            verdict = at_least(lead.low, lead.high, LEAD)
            if verdict == REFUTED:  # one of many looks lower by chance, and an equal one is not lower
                scores = predictions.probabilities[:, k], baseline.scores[:, k]
                verdict = REFUTED if _lead(*scores, positive, patients, strict).high < 0 else NOT_SHOWN
            entry = Lead(
                name=baseline.name,
                kind=baseline.kind,
                learner=baseline.learner,
                auroc=area.known(),
                difference=lead.known(),
                verdict=verdict,
            )
            if before := hardest.get(baseline.name):
                verdict = weakest([verdict, before.verdict])
                nearer = entry if lead.low < before.difference.low else before
                entry = nearer.model_copy(update={"verdict": verdict})
            hardest[baseline.name] = entry
        beside = sorted(hardest.values(), key=lambda entry: -entry.auroc.value)
        verdict = weakest([entry.verdict for entry in beside])
        found[label] = LabelLeads(verdict=verdict, model=model.known(), baselines=beside)
    if not found or not baselines:
        return not_compared(f"fewer than {FEWEST} patients with, or without, each label", not_scored)
    verdict = weakest([entry.verdict for entry in found.values()])
    return Shortcuts(verdict=verdict, labels=found, not_scored=not_scored, note="")


def _lead(
    model: NDArray[np.floating],
    baseline: NDArray[np.floating],
    positive: NDArray[np.bool_],
    patients: Patients,
    confidence: float,
) -> Estimate:
    areas = (auroc_estimate(scores, positive, patients, confidence=confidence) for scores in (model, baseline))
    return combined(list(zip((1.0, -1.0), areas, strict=True)))


def not_compared(note: str, not_scored: Sequence[str] = ()) -> Shortcuts:
    """A comparison that could not be made, and why."""
    return Shortcuts(verdict=None, labels={}, not_scored=list(not_scored), note=note)


def gate_sentence(gate: Shortcuts) -> str:
    """Whether the model outperforms the shortcut baselines, and if not, for which labels and which baselines."""
    verdict: Verdict | None = gate.verdict
    if verdict is None:
        return f"shortcut baselines: no verdict: {gate.note}"
    nearest = {label: min(found.baselines, key=_low) for label, found in gate.labels.items()}
    rest = _rest(gate)
    if verdict == SHOWN:
        label = min(nearest, key=lambda label: _low(nearest[label]))
        every = "every label that was scored" if rest else "every label"
        lead = _beside(gate, label, nearest[label])
        return f"outperforms every shortcut baseline on {every}; the smallest lead: {lead}{rest}"
    heading = "WORSE THAN A SHORTCUT" if verdict == REFUTED else "NOT SHOWN TO OUTPERFORM A SHORTCUT"
    told = []
    for label, found in gate.labels.items():
        if found.verdict == SHOWN:
            continue
        rivals = [entry for entry in sorted(found.baselines, key=_low) if entry.verdict != SHOWN]
        others = [_quoted(entry.name) for entry in rivals[1:]]
        more = f" and {len(others) - NAMED} others" if len(others) > NAMED else ""
        also = f"; not shown to outperform {', '.join(others[:NAMED])}{more}" if others else ""
        told.append(_beside(gate, label, rivals[0]) + also)
    shown = [label for label, found in gate.labels.items() if found.verdict == SHOWN]
    only = f". Shown for {', '.join(shown)} only" if shown else ""
    return f"{heading}: {'. '.join(told)}{only}{rest}"


def lead_rows(gate: Shortcuts) -> Iterator[tuple[str, LabelLeads, Lead, Verdict]]:
    """Rows of the table of leads: label, what was found for it, a baseline, and the verdict against that baseline.

    For each label the baseline that leaves the smallest lead among single probes, then all probes together.
    """
    for label, found in gate.labels.items():
        single = [entry for entry in found.baselines if entry.kind != "stacked"]
        together = [entry for entry in found.baselines if entry.kind == "stacked"]
        for entry in [*sorted(single, key=_low)[:1], *together]:
            yield label, found, entry, entry.verdict


def _beside(gate: Shortcuts, label: str, entry: Lead) -> str:
    model, area = gate.labels[label].model, entry.auroc
    return (
        f"AUROC of {label} {fraction(model.value)}, against {fraction(area.value)} by {_quoted(entry.name)} "
        f"({entry.learner}): difference {interval_text(entry.difference, as_percent=False, sign=True)}"
    )


def _rest(gate: Shortcuts) -> str:
    few = f"; not scored, with fewer than {FEWEST} patients on a side: {', '.join(gate.not_scored)}"
    told = few if gate.not_scored else ""
    if gate.n_scored < gate.n_images:
        told += f"; on {gate.n_scored:,} of {gate.n_images:,} images, a random sample of patients"
    return told


def _low(entry: Lead) -> float:
    return entry.difference.low


def _quoted(name: str) -> str:
    return name if name == STACKED else f"'{name}'"


Floats = NDArray[np.float64]
Scores = NDArray[np.floating]
MOST = 5000  # images, about, to fit baselines to, and as many to score: each is opened, and its thumbnail held
SMALL = 1e-4  # added to probabilities before their logarithm is taken
TREES, SHARE = 150, 0.1  # on seed-cxr as strong as 400 trees with twice the share, in a quarter of the time


@dataclass(frozen=True)
class Evidence:
    """What baselines are fitted to, and what they score.

    Attributes:
        predictions: The model's, of the images to score, M of them.
        probes: The probes, with features of shape (N, F) of all images.
        train: Rows of the training images among the N.
        scored: Rows of the images to score, shape (M,).
        truth: Index of each training image's label.
    """

    predictions: Predictions
    probes: tuple[Probe, ...]
    train: NDArray[np.int64]
    scored: NDArray[np.int64]
    truth: NDArray[np.int64]


def shortcut_baselines(
    predictions: Predictions, tested: Dataset, trained: Dataset, *, progress: Progress | None = None
) -> tuple[Shortcuts, Scores | None]:
    """Compare a run's predictions with shortcut baselines that were fitted to its training images.

    Args:
        predictions: Of images of `tested`.
        tested: Images of the run's own data, or other people's under the run's labels, with their further columns.
        trained: The run's own data with its splits; probes see only columns that both tables have.
        progress: Told about long work.

    Returns:
        As `compare_with_baselines` has it, and ``n_fitted`` and ``n_scored``, the numbers of images that baselines were
        fitted to and scored, and ``n_images``, of which the latter were drawn; with ``note`` and without a verdict
        where nothing could be compared. And the scores of the 8x8 thumbnail, of shape (N, K), for the decision curve;
        None where not every image was scored.
    """
    found = gather_evidence(predictions, tested, trained, progress=progress)
    if isinstance(found, str):
        return not_compared(found), None
    numbers = {"n_fitted": len(found.train), "n_scored": len(found.scored), "n_images": len(predictions.paths)}
    fitted = list(baselines(found))
    small = next((one.scores for one in fitted if one.name == THUMBNAIL), None)
    everything = len(found.scored) == len(predictions.paths)
    return compare_with_baselines(found.predictions, fitted).model_copy(update=numbers), small if everything else None


def gather_evidence(
    predictions: Predictions, tested: Dataset, trained: Dataset, *, progress: Progress | None = None
) -> Evidence | str:
    """Look at training and test images with every probe; arguments as of `shortcut_baselines`.

    Returns:
        The features, or why there are none.
    """
    whose = [(predictions.labels[k], c) for k, c in zip(predictions.truth, predictions.clusters, strict=True)]
    lot = PatientSample.of(whose, MOST)
    predictions = predictions.take(np.flatnonzero([lot.holds(*image) for image in whose]))
    try:
        seen = scan(_fitted_and_asked(predictions, tested, trained), progress=progress)
    except HilumError as error:
        return str(error)
    place = {row.path: i for i, row in enumerate(seen.table.rows) if row.split == "asked"}
    train = np.array([i for i, row in enumerate(seen.table.rows) if row.split == "train"], np.int64)
    paths = [_whole(tested.root, path) for path in predictions.paths]
    if not len(train):
        return f"the run's training images are no longer in {trained.root}, so no probe can be fitted"
    if not all(path in place for path in paths):
        return "files were removed or changed since the prediction"
    scored = np.array([place[path] for path in paths], np.int64)
    truth = np.array([predictions.labels.index(seen.table.rows[int(i)].label) for i in train], np.int64)
    return Evidence(predictions, probes(seen)[0], train, scored, truth)


def _fitted_and_asked(predictions: Predictions, tested: Dataset, trained: Dataset) -> Dataset:
    """Training images of a run, and those of the predictions, in one table, under whole paths."""
    lot = PatientSample.of(
        ((row.label, owner(row.patient_id, row.path)) for row in trained.rows if row.split == "train"),
        MOST,
    )
    drawn = (
        row for row in trained.rows if row.split == "train" and lot.holds(row.label, owner(row.patient_id, row.path))
    )
    columns = [{name for row in table.rows for name in row.extra} for table in (trained, tested)]
    both = columns[0] & columns[1]

    def placed(root: Path, split: str, row: Row) -> Row:
        extra = {name: value for name, value in row.extra.items() if name in both}
        return replace(row, path=_whole(root, row.path), split=split, extra=extra)

    wanted = set(predictions.paths)
    fitted = (placed(trained.root, "train", row) for row in drawn)
    asked = (placed(tested.root, "asked", row) for row in tested.rows if row.path in wanted)
    return Dataset(tested.root, pack(chain(fitted, asked)))


def baselines(evidence: Evidence) -> Iterator[Baseline]:
    """Fit every baseline to the training images and score the test images.

    Args:
        evidence: What to fit to, and what to score.

    Yields:
        For each probe two learners, whose AUROC either may be the higher; for all probes together four, and the mean of
        three of them, since a classifier that averages them sees no more.
    """
    truth, n_labels = evidence.truth, len(evidence.predictions.labels)
    targets = np.eye(n_labels)[truth]

    def ridge(train: Floats, scored: Floats) -> NDArray[np.float32]:
        return fit_scores(train, targets, scored)

    def trees(train: Floats, scored: Floats) -> Floats:
        return fit_trees(train, truth, scored, n_labels, trees=TREES, share=SHARE)

    for probe in evidence.probes:
        parts = probe.features[evidence.train], probe.features[evidence.scored]
        yield Baseline(probe.name, probe.kind, "kernel ridge", ridge(*parts))
        yield Baseline(probe.name, probe.kind, "extra trees", trees(*parts))
    if len(evidence.probes) > 1:
        train, scored = (
            np.hstack([probe.features[rows] for probe in evidence.probes]) for rows in (evidence.train, evidence.scored)
        )
        fitted: dict[str, NDArray[np.floating]] = {
            "kernel ridge": ridge(train, scored),
            "extra trees": trees(train, scored),
            "linear ridge": fit_linear(train, targets, scored),
            "gradient boosting": np.log(fit_boosting(train, truth, scored, n_labels) + SMALL),
        }
        strongest = [_standard(fitted[name]) for name in ("extra trees", "linear ridge", "gradient boosting")]
        fitted["mean of three learners"] = np.sum(strongest, axis=0)
        for learner, scores in fitted.items():
            yield Baseline(STACKED, "stacked", learner, scores)


def _standard(scores: NDArray[np.floating]) -> Floats:
    spread = scores.std(axis=0)
    return np.asarray((scores - scores.mean(axis=0)) / np.where(spread > 0, spread, 1), np.float64)


def _whole(root: Path, path: str) -> str:
    return str((root / path).absolute())  # two roots become one, which a relative path would be joined to

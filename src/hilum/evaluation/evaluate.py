"""From a run and a split to ``metrics.json`` and ``predictions.csv``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.data.operating_point import OperatingPoint
from hilum.data.options import ReadOptions
from hilum.data.table import Table
from hilum.errors import RunError
from hilum.evaluation.abstaining import decisions_csv, measure_abstention
from hilum.evaluation.abstention import familiarise, layouts_of
from hilum.evaluation.accesses import FILE as ACCESS_FILE
from hilum.evaluation.accesses import record_access
from hilum.evaluation.calibrate import calibrate
from hilum.evaluation.calibration import calibration_errors
from hilum.evaluation.curves import curve_bands
from hilum.evaluation.decision_curve import decision_curve
from hilum.evaluation.exchangeability import with_features
from hilum.evaluation.external import drop, internal_predictions
from hilum.evaluation.feature_shift import feature_shift
from hilum.evaluation.holding import certificate_in_force, holding, no_witness
from hilum.evaluation.metrics import brier, confusion_counts, decision_auroc, log_loss, measures
from hilum.evaluation.outcomes import decide, to_read
from hilum.evaluation.own_table import own_table, table_facts
from hilum.evaluation.parts import select_part
from hilum.evaluation.predictions import FILE, Predictions, predict_with_features
from hilum.evaluation.prevalence import training_prior, with_stated
from hilum.evaluation.proportions import (
    DISCORDANCE,
    POWER,
    PREVALENCES,
    detectable_difference,
    predictive_values,
    wilson_of,
)
from hilum.evaluation.reliability import brier_parts, reliability
from hilum.evaluation.reliance import measure_reliance
from hilum.evaluation.shortcut_gate import shortcut_gate
from hilum.evaluation.slopes import calibration_by_label
from hilum.evaluation.subgroups import columns_of, measure_subgroups
from hilum.evaluation.temperature import scale
from hilum.file_sets import as_bytes, saving_together, stated
from hilum.intervals.shares import CONFIDENCE, Patients, as_json
from hilum.progress import Progress
from hilum.targets import ACCESS, DECISIONS, METRICS, PREDICTIONS, check_folder
from hilum.training.findings import known_of
from hilum.training.lock import alone
from hilum.training.run import Run

DECIDED = "decisions.csv"
OUTPUTS = {"metrics.json": METRICS, FILE: PREDICTIONS, DECIDED: DECISIONS, ACCESS_FILE: ACCESS}
UNDECIDED = "nothing is flagged or cleared: there is no certificate, no positive label, and no healthy label is known"


@dataclass(frozen=True)
class Evaluation:
    """Where an evaluation was written, what it says, and how often its images were accessed (``access_log.json``)."""

    folder: Path
    metrics: dict[str, Any]
    predictions: Predictions
    access: dict[str, Any]


@alone("evaluate")
def evaluate(
    run: Run,
    data: Path | Table | None = None,
    *,
    split: str = "test",
    out: Path | None = None,
    mapping: Mapping[str, str] | None = None,
    read: ReadOptions | None = None,
    ledger: Path | None = None,
    prevalences: Sequence[float] = (),
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate a run.

    Args:
        run: A finished run.
        data: Another dataset with the same labels, or the run's own at a new place; by default the run's own.
        split: Which part. A dataset without splits is evaluated whole.
        out: Where to write; by default ``evaluation/<name>`` in the run, where the name is the split, or that of the
            other dataset with the start of its hash.
        mapping: The run's label for labels of other data; empty to leave their images out.
        read: How to read `data`.
        ledger: Where the access to these images is recorded, if not in the default ledger.
        prevalences: Further prevalences for predictive values and net benefit, each in (0, 1).
        progress: Told about long work.

    Raises:
        UsageError: A prevalence is not between 0 and 1, or `out` holds files of other kinds.
        RunError: The training is not finished, or its images are gone.
        CheckpointError: The kept weights are not those with which the training ended.
        SplitError: The split is empty, or holds labels that the run does not know.
    """
    progress = progress or Progress()
    labels, prevalences = run.labels, with_stated(prevalences)
    if out:
        check_folder(out, OUTPUTS)
    if not run.finished:
        where = run.environment["data"].get("given", "DATA")
        msg = f"{run.path}: the training is not finished. Go on with: hilum train {where} --out {run.path} --resume"
        raise RunError(msg)
    part = select_part(run, data, split, progress, mapping=mapping, read=read)
    for item in part.unreadable[:10]:
        progress.line(f"left out: {item.message}")
    rows = part.images.table.rows
    calibration = calibrate(run, part.root if part.own else None, images=part.whole, progress=progress)
    # Before the images themselves: with many, the features of both would not fit into memory side by side.
    abstention = familiarise(run, part.root if part.own else None, images=part.whole, progress=progress)
    plain, features = predict_with_features(run, part.images, labels, progress=progress)
    probabilities = plain
    if calibration.temperatures:
        probabilities = scale(plain, calibration.temperatures, labels, run.recipe.architecture)
    predictions = Predictions.of(part.images.table, labels, probabilities)
    folder = out or run.path / "evaluation" / part.name
    notes: list[str] = []  # of deciding, which a comparison of probabilities does not do
    if part.own and part.split in ("train", "val"):  # a comparison says so in its own words
        made = "trained on" if part.split == "train" else "chosen by"
        notes.append(f"WARNING: the run was {made} these images, which show nothing of its worth on others")
    columns = columns_of(run, rows)
    certificate = certificate_in_force(run, calibration.temperatures, notes)
    if certificate and (why := no_witness(certificate, part)):
        notes.append(f"WARNING: {why}")
    judgement = None
    if abstention.reference:
        judgement = abstention.reference.judge_layouts(features, layouts_of(part.images))
    else:
        notes.append(abstention.note)
    reasons = judgement.reasons if judgement else [""] * len(rows)
    held = holding(certificate, predictions, reasons) if certificate and not why else None
    if held and held["exchangeability"]:
        own_root = part.root if part.own else None
        shift = feature_shift(run, predictions, features, own_root, images=part.whole, progress=progress)
        held["exchangeability"] = with_features(held["exchangeability"], shift)
    del features
    for note in (*part.notes, *notes):
        progress.line(note)
    members, flagged = flags(predictions, certificate, run.protected, run.healthy)
    if not members:
        notes.append(f"{UNDECIDED} ({', '.join(labels)})")
        progress.line(notes[-1])
    decisions = decide(predictions, certificate, reasons)
    shortcuts, thumbnail = shortcut_gate(run, predictions, part.images.table, own=part.own, progress=progress)
    metrics = {
        "name": part.name,
        "split": part.split,
        **measure(predictions, protected=run.protected, prevalences=prevalences),
        **details(predictions),
        "calibration": {
            "temperatures": calibration.temperatures,
            "note": calibration.note,
            "before": probability_scores(predictions.truth, plain, predictions.clusters),
        },
        "data": {"root": str(part.root.resolve()), "digest": part.images.digest, "notes": list(part.notes)},
        "notes": notes,
        "audit": known_of(run),
        "healthy": list(run.healthy),
        "subgroups": measure_subgroups(predictions, columns, run.protected),
        "operating_point": held,
        "decision_curve": decision_curve(
            predictions,
            members,
            calibration.prior or training_prior(run),
            flagged=flagged if certificate else None,
            thumbnail=thumbnail,
            prevalences=prevalences,
        ),
        "certificate": certificate,
        "table": table_facts(own_table(run, part.root)) if part.own else None,
        "drop": drop(inside, predictions) if not part.own and (inside := internal_predictions(run)) else None,
        "shortcuts": shortcuts,
        "reliance": measure_reliance(run, part.images.table, labels, positive_label=run.protected, progress=progress),
        "abstention": {
            **abstention.facts,
            "decisions": dict(Counter(decisions.images)),
            **measure_abstention(predictions, flagged, members, judgement, to_read(decisions.images)),
        }
        if judgement
        else None,
        "abstention_note": abstention.note,
        "unreadable": [{"path": item.path, "message": item.message} for item in part.unreadable],
        "weights_sha256": run.environment["weights_sha256"],
    }
    tables = {FILE: predictions.to_csv(), DECIDED: decisions_csv(predictions, decisions, judgement)}
    metrics["files"] = {name: stated(content, len(rows)) for name, content in tables.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        access = record_access(run, part, folder, certificate=certificate, file=ledger)
        with saving_together(folder) as save:
            for name, content in tables.items():
                save(name, content)
            save("metrics.json", as_bytes(metrics))
    except OSError as error:
        msg = f"{folder}: cannot be written ({error.strerror}). Choose another folder with --out."
        raise RunError(msg) from error
    return Evaluation(folder, metrics, predictions, access)


def flags(
    predictions: Predictions, certificate: Mapping[str, Any] | None, protected: str | None, healthy: Sequence[str]
) -> tuple[tuple[str, ...], NDArray[np.bool_]]:
    """What must not be missed, and which images are called so.

    By the certificate; without one the positive label, or whatever is not healthy where there is none, and the images
    of which it is the most probable label. The latter is no triage decision: that takes an operating point. Where no
    label is known to be healthy either, there are no members.
    """
    labels = predictions.labels
    if certificate:
        point = OperatingPoint.of(certificate).for_images()
        return point.members, point.scores(predictions.probabilities, labels) >= point.flag_from
    members = tuple(
        label for label in labels if (label == protected if protected else healthy and label not in healthy)
    )
    return members, np.isin(predictions.predicted, [labels.index(label) for label in members])


def measure(
    predictions: Predictions,
    *,
    protected: str | None = None,
    folds: NDArray[np.int64] | None = None,
    prevalences: Sequence[float] = PREVALENCES,
) -> dict[str, Any]:
    """All measures of some predictions, with intervals that count patients.

    Args:
        predictions: Of N images, K labels.
        protected: The label that must not be missed.
        folds: Fold of each image, shape (N,), of a cross-validation: areas then compare scores within folds.
        prevalences: Of the predictive values.

    Returns:
        What ``metrics.json`` holds, without the parts that say where it comes from.
    """
    truth, probabilities = predictions.truth, predictions.probabilities
    labels, patients = predictions.labels, Patients(predictions.clusters)
    confusion = confusion_counts(truth, predictions.predicted, len(labels)).tolist()
    known = all(predictions.patients)
    decisions = decision_auroc(truth, probabilities, labels, patients, folds=folds)
    return {
        "labels": list(labels),
        "protected": protected,
        "n_images": len(truth),
        "n_patients": len(set(predictions.patients)) if known else None,
        "with_patient": sum(map(bool, predictions.patients)),
        "unit": "patients" if known else "images",
        "confusion": confusion,
        **as_json(measures(truth, probabilities, labels, patients, folds=folds)),
        **({"decisions": as_json(decisions)} if decisions else {}),
        "wilson": wilson_of(confusion, labels, CONFIDENCE),
        "predictive_values": _predictive_values(predictions, protected, patients, prevalences),
        "detectable": _detectable(predictions),
        **probability_scores(truth, probabilities, predictions.clusters),
        "calibration_by_label": calibration_by_label(truth, probabilities, labels, patients),
        "intervals": {"confidence": CONFIDENCE},
    }


def probability_scores(truth: Any, probabilities: Any, clusters: Sequence[str]) -> dict[str, Any]:
    """Scores of the probabilities themselves: ``log_loss``, ``brier`` and both calibration errors.

    Args:
        truth: Index of each image's label, shape (N,).
        probabilities: Of shape (N, K).
        clusters: The patient of each image.

    Returns:
        ``ece_class_wise`` and ``ece_top_label`` as `calibration_errors` has them; ``ece`` is the former, under its
        earlier name.
    """
    errors = calibration_errors(truth, probabilities, clusters)
    return {
        "log_loss": log_loss(truth, probabilities),
        "brier": brier(truth, probabilities),
        **errors,
        "ece": errors["ece_class_wise"],
    }


def _predictive_values(
    predictions: Predictions, protected: str | None, patients: Patients, prevalences: Sequence[float]
) -> dict[str, Any] | None:
    """Of the protected label, called where it is the most probable one; None without patients on both sides."""
    if protected not in predictions.labels:
        return None
    k = predictions.labels.index(protected)
    positive = predictions.truth == k
    if not positive.any() or positive.all():
        return None
    found = predictive_values(positive, predictions.predicted == k, patients, prevalences=prevalences)
    return {"label": protected, **found}


def _detectable(predictions: Predictions) -> dict[str, Any]:
    """The difference of accuracy that so many patients would show in four of five samples; images where unknown."""
    known = all(predictions.patients)
    count = len(set(predictions.clusters))
    return {
        "discordance": DISCORDANCE,
        "power": POWER,
        "unit": "patients" if known else "images",
        "count": count,
        "value": detectable_difference(count),
    }


def details(predictions: Predictions) -> dict[str, Any]:
    """What a page draws: curves with bands, reliability diagrams, and the Brier score's parts."""
    truth, probabilities, labels = predictions.truth, predictions.probabilities, predictions.labels
    patients = Patients(predictions.clusters)
    return {
        "curves": curve_bands(probabilities, truth, labels, patients),
        "reliability": reliability(truth, probabilities, labels, patients),
        "brier_parts": brier_parts(truth, probabilities, labels, predictions.clusters),
    }

"""From a run and a split to ``metrics.json`` and ``predictions.csv``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hilum.data.dataset import Dataset
from hilum.data.options import ReadOptions
from hilum.decision.ood import OODScores
from hilum.decision.operating_point import OperatingPoint
from hilum.errors import RunError
from hilum.evaluation.accesses import FILE as ACCESS_FILE
from hilum.evaluation.accesses import AccessLog, record_access
from hilum.evaluation.certificate_check import certificate_in_force, check_certificate, overlap_reason
from hilum.evaluation.cohort import EvaluationSet, seen_before, select_images, with_columns
from hilum.evaluation.decision_curve import decision_curve
from hilum.evaluation.differences import drop, internal_predictions
from hilum.evaluation.evaluate_findings import DECIDED, FindingsEvaluated, evaluate_findings
from hilum.evaluation.inference import predict_with_features
from hilum.evaluation.ood_reference import Abstention, fit_reference, thumbnails_of_images
from hilum.evaluation.performance import details, measure, probability_scores
from hilum.evaluation.predictions import FILE, Predictions
from hilum.evaluation.prior_step import served_prior_step
from hilum.evaluation.reliance import measure_reliance
from hilum.evaluation.schema import FileFacts, Metrics
from hilum.evaluation.shortcut_baselines import shortcut_baselines
from hilum.evaluation.subgroups import columns_of, measure_subgroups, table_facts
from hilum.evaluation.temperature import Calibration, calibrate, training_prior, with_temperature_note
from hilum.evaluation.triage import Decisions, decide, decisions_csv, flags, measure_abstention
from hilum.evaluation.triage_schema import Certificate, CertificateCheck
from hilum.files import as_bytes, saving_together
from hilum.outputs import ACCESS, DECISIONS, METRICS, PREDICTIONS, check_folder
from hilum.progress import Progress
from hilum.stats.prior_shift import Prior, with_stated
from hilum.training.lock import only_process
from hilum.training.prepare import known_of
from hilum.training.run import Run

OUTPUTS = {"metrics.json": METRICS, FILE: PREDICTIONS, DECIDED: DECISIONS, ACCESS_FILE: ACCESS}
UNDECIDED = "no triage: the run has no certificate, no positive label and no healthy label"


@dataclass(frozen=True)
class Evaluation:
    """Where an evaluation was written, what it says, and the access to its images (None for train and val)."""

    folder: Path
    metrics: Metrics
    predictions: Predictions
    access: AccessLog | None


@dataclass(frozen=True)
class _Fitted:
    """What is fitted to the run's own images once, and kept in the run.

    Attributes:
        calibration: Temperatures.
        prior: The label frequencies to which the scaled probabilities belong.
        abstention: The reference by which images are abstained on.
        certificate: In force; None where there is none.
    """

    calibration: Calibration
    prior: Prior
    abstention: Abstention
    certificate: Certificate | None

    @property
    def point(self) -> OperatingPoint | None:
        """The certificate's thresholds."""
        return self.certificate.operating_point if self.certificate else None


@dataclass(frozen=True)
class _Decided:
    """What is decided about the images that are evaluated.

    Attributes:
        ood_scores: How familiar they are; None without a reference.
        check: How the certificate holds on their patients; None where these cannot say so.
        members: Labels that are to be flagged.
        flagged: Which images are flagged, shape (N,).
        decisions: Of each image, and of each patient.
    """

    ood_scores: OODScores | None
    check: CertificateCheck | None
    members: tuple[str, ...]
    flagged: NDArray[np.bool_]
    decisions: Decisions


def evaluate(
    run: Run,
    data: Path | Dataset | None = None,
    *,
    split: str = "test",
    out: Path | None = None,
    mapping: Mapping[str, str] | None = None,
    read: ReadOptions | None = None,
    ledger: Path | None = None,
    prevalences: Sequence[float] = (),
    progress: Progress | None = None,
) -> Evaluation | FindingsEvaluated:
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

    Returns:
        Of several findings an image what `hilum.evaluation.evaluate_findings.evaluate_findings` gives.
    """
    progress = progress or Progress()
    prevalences = with_stated(prevalences)
    if out:
        check_folder(out, OUTPUTS)
    if not run.finished:
        where = run.environment.data.arguments
        msg = f"{run.path}: the training is not finished. Continue with: hilum train {where} --out {run.path} --resume"
        raise RunError(msg)
    if run.findings:
        return evaluate_findings(
            run,
            data,
            split=split,
            out=out,
            mapping=mapping,
            read=read,
            ledger=ledger,
            prevalences=prevalences,
            progress=progress,
        )
    with only_process(run.path, "evaluate", wait=True, progress=progress):
        evaluated = select_images(run, data, split, progress, mapping=mapping, read=read)
        for item in evaluated.unreadable[:10]:
            progress.line(f"left out: {item.message}")
        evaluated, notes = with_columns(run, evaluated)
        notes += seen_before(evaluated)
        # Before the images themselves: with many, the features of both would not fit into memory side by side.
        fitted = _fit(run, evaluated, notes, progress)
        evaluated = with_temperature_note(evaluated, fitted.calibration)
        plain, features = predict_with_features(run, evaluated.images, run.labels, progress=progress)
        scaled = fitted.calibration.applied_to(plain, run)
        predictions = Predictions.of(evaluated.images.table, run.labels, scaled)
        decided = _decide(run, evaluated, fitted, predictions, features, notes, progress)
        del features
        metrics = _measure(run, evaluated, fitted, predictions, plain, decided, notes, prevalences, progress)
        folder = out or run.path / "evaluation" / evaluated.name
        metrics, access = _write(run, evaluated, fitted, predictions, decided, metrics, folder, ledger)
    return Evaluation(folder, metrics, predictions, access)


def _fit(run: Run, evaluated: EvaluationSet, notes: list[str], progress: Progress) -> _Fitted:
    """Temperature, reference of abstention, and certificate; `notes` say why there is none, or what it is worth."""
    root = evaluated.root if evaluated.own else None
    calibration = calibrate(run, root, images=evaluated.whole, progress=progress)
    prior = calibration.prior or calibration.after_step(training_prior(run))
    abstention = fit_reference(run, root, images=evaluated.whole, progress=progress)
    notes += served_prior_step(run, evaluated.images.table)
    return _Fitted(calibration, prior, abstention, certificate_in_force(run, calibration, notes))


def _decide(
    run: Run,
    evaluated: EvaluationSet,
    fitted: _Fitted,
    predictions: Predictions,
    features: NDArray[np.float32],
    notes: list[str],
    progress: Progress,
) -> _Decided:
    """Flag, clear or abstain, image by image and patient by patient, and check the certificate on these patients."""
    certificate, abstention = fitted.certificate, fitted.abstention
    why = overlap_reason(certificate, evaluated) if certificate else ""
    notes += [f"WARNING: {why}"] if why else []
    ood_scores = None
    if abstention.reference:
        ood_scores = abstention.reference.score_thumbnails(features, thumbnails_of_images(evaluated.images))
    else:
        notes.append(abstention.note)
    reasons = ood_scores.reasons if ood_scores else [""] * len(predictions.paths)
    check = None
    if certificate and not why:
        check = check_certificate(run, certificate, evaluated, predictions, features, reasons, progress)
    for note in (*evaluated.notes, *notes):
        progress.line(note)
    members, flagged = flags(predictions, fitted.point, run.positive_label, run.healthy)
    if not members:
        notes.append(f"{UNDECIDED} ({', '.join(run.labels)})")
        progress.line(notes[-1])
    return _Decided(ood_scores, check, members, flagged, decide(predictions, fitted.point, reasons))


def _measure(
    run: Run,
    evaluated: EvaluationSet,
    fitted: _Fitted,
    predictions: Predictions,
    plain: NDArray[np.float64],
    decided: _Decided,
    notes: list[str],
    prevalences: Sequence[float],
    progress: Progress,
) -> Metrics:
    """What ``metrics.json`` holds, but for the files beside it; `plain` are the network's own probabilities."""
    calibration, abstention, certificate = fitted.calibration, fitted.abstention, fitted.certificate
    ood_scores, flagged, members = decided.ood_scores, decided.flagged, decided.members
    table, dataset = evaluated.table, evaluated.dataset
    facts = table_facts(dataset) if evaluated.own else None
    subgroups = measure_subgroups(predictions, columns_of(table.rows), run.positive_label)
    shortcuts, thumbnail = shortcut_baselines(predictions, table, dataset, progress=progress)
    inside = None if evaluated.own else internal_predictions(run, calibration.step)
    found = {
        "name": evaluated.name,
        "split": evaluated.split,
        **measure(predictions, positive_label=run.positive_label, prevalences=prevalences).given(),
        **vars(details(predictions)),
        "calibration": {
            **calibration.in_results(),
            "before": probability_scores(predictions.truth, plain, predictions.clusters),
        },
        "data": {
            "root": str(evaluated.root.resolve()),
            "digest": evaluated.images.digest,
            "notes": list(evaluated.notes),
        },
        "notes": notes,
        "audit": known_of(run).as_json(),
        "healthy": list(run.healthy),
        "subgroups": subgroups,
        "operating_point": decided.check,
        "decision_curve": decision_curve(
            predictions,
            members,
            fitted.prior,
            flagged=flagged if certificate else None,
            thumbnail=thumbnail,
            prevalences=prevalences,
        ),
        "certificate": certificate,
        "table": facts,
        "performance_drop": drop(inside, predictions) if inside else None,
        "shortcuts": shortcuts,
        "reliance": measure_reliance(
            run, evaluated.images.table, run.labels, positive_label=run.positive_label, progress=progress
        ),
        "abstention": {
            **abstention.facts.given(),
            "decisions": dict(Counter(decided.decisions.images)),
            **vars(measure_abstention(predictions, flagged, members, ood_scores, decided.decisions.to_read)),
        }
        if ood_scores and abstention.facts
        else None,
        "abstention_note": abstention.note,
        "unreadable": [{"path": item.path, "message": item.message} for item in evaluated.unreadable],
        "weights_sha256": run.environment.weights_sha256,
    }
    return Metrics.model_validate(found)


def _write(
    run: Run,
    evaluated: EvaluationSet,
    fitted: _Fitted,
    predictions: Predictions,
    decided: _Decided,
    metrics: Metrics,
    folder: Path,
    ledger: Path | None,
) -> tuple[Metrics, AccessLog | None]:
    """Write the tables and the measures together, and record the access to these images."""
    decisions = decisions_csv(predictions, decided.decisions, decided.ood_scores)
    tables = {FILE: predictions.to_csv(), DECIDED: decisions}
    files = {name: FileFacts.of(content, len(predictions.paths)) for name, content in tables.items()}
    metrics = metrics.model_copy(update={"files": files})
    written = as_bytes(metrics.to_json())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        access = record_access(run, evaluated, folder, certificate=fitted.certificate, file=ledger)
        with saving_together(folder) as save:
            for name, content in tables.items():
                save(name, content)
            save("metrics.json", written)
    except OSError as error:
        msg = f"{folder}: cannot be written ({error.strerror}). Choose another folder with --out."
        raise RunError(msg) from error
    return metrics, access

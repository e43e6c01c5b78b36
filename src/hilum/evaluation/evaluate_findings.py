"""Evaluate a run of several findings an image: each finding as a problem of two labels, then their means."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hilum.data.dataset import Dataset, owner
from hilum.data.multilabel import binary_labels, binary_view, dataset_of_two, known_rows
from hilum.data.options import ReadOptions
from hilum.decision.ood import OODScores
from hilum.decision.operating_point import OperatingPoint
from hilum.errors import CertificateError, RunError
from hilum.evaluation.accesses import AccessLog, record_access
from hilum.evaluation.certificate_check import (
    measure_certificate,
    overlap_reason,
    read_findings_certificate,
    same_probabilities,
)
from hilum.evaluation.cohort import EvaluationSet, seen_before, select_images, with_columns
from hilum.evaluation.decision_curve import decision_curve
from hilum.evaluation.differences import INTERNAL, drop
from hilum.evaluation.findings_performance import measure_findings, why_not_measured
from hilum.evaluation.findings_predictions import FindingsPredictions, read_findings_predictions
from hilum.evaluation.findings_schema import FindingsCertificate, FindingsMetrics
from hilum.evaluation.inference import predict_with_features
from hilum.evaluation.ood_reference import Abstention, fit_reference, thumbnails_of_images
from hilum.evaluation.performance import details, measure, probability_scores
from hilum.evaluation.predictions import FILE, Predictions
from hilum.evaluation.prior_step import implied_of_findings, served_prior_step
from hilum.evaluation.reliance import measure_findings_reliance
from hilum.evaluation.schema import DataFacts, FileFacts, Metrics, Reliance, Unreadable
from hilum.evaluation.shortcut_baselines import shortcut_baselines
from hilum.evaluation.subgroups import columns_of, measure_subgroups, table_facts
from hilum.evaluation.temperature import Calibration, calibrate, same_steps, with_temperature_note
from hilum.evaluation.triage import Decisions, decide, flags, measure_abstention
from hilum.evaluation.triage_schema import Certificate
from hilum.files import as_bytes, saving_together
from hilum.outputs import cell
from hilum.progress import Progress
from hilum.stats.prior_shift import Prior
from hilum.training.lock import only_process
from hilum.training.prepare import known_of
from hilum.training.run import Run, read_json

DECIDED = "decisions.csv"
NOT_MEASURED = (
    "of several findings an image, the features are not tested against those of the certificate's patients: these are "
    "other patients for each finding"
)
NO_CERTIFICATE = "nothing is flagged or cleared: no finding is certified"


@dataclass(frozen=True)
class FindingsEvaluated:
    """Where an evaluation was written, what it says, and the access to its images (None for train and val)."""

    folder: Path
    metrics: FindingsMetrics
    predictions: FindingsPredictions
    access: AccessLog | None


@dataclass(frozen=True)
class _Fitted:
    """What is fitted to the run's own images once, and kept in the run."""

    calibration: Calibration
    abstention: Abstention
    certificates: Mapping[str, Certificate]


def evaluate_findings(
    run: Run,
    data: Path | Dataset | None = None,
    *,
    split: str = "test",
    out: Path | None = None,
    mapping: Mapping[str, str] | None = None,
    read: ReadOptions | None = None,
    ledger: Path | None = None,
    prevalences: Sequence[float] = (),
    progress: Progress,
) -> FindingsEvaluated:
    """Evaluate a run of several findings an image; arguments and errors as of `hilum.evaluation.evaluate.evaluate`.

    Each finding is measured over the images where it is known, as exclusive labels are. Findings that only the run or
    only other data know are named and left out.
    """
    with only_process(run.path, "evaluate", wait=True, progress=progress):
        evaluated = select_images(run, data, split, progress, mapping=mapping, read=read)
        for item in evaluated.unreadable[:10]:
            progress.line(f"left out: {item.message}")
        evaluated, notes = with_columns(run, evaluated)
        notes += seen_before(evaluated)
        root = evaluated.root if evaluated.own else None
        calibration = calibrate(run, root, images=evaluated.whole, progress=progress)
        evaluated = with_temperature_note(evaluated, calibration)
        abstention = fit_reference(run, root, images=evaluated.whole, progress=progress)
        notes += served_prior_step(run, evaluated.images.table)
        together = findings_in_force(run, calibration, notes)
        fitted = _Fitted(calibration, abstention, together.findings if together else {})
        plain, features = predict_with_features(run, evaluated.images, run.findings, progress=progress)
        table = evaluated.images.table
        predictions = FindingsPredictions.of(table, calibration.applied_to(plain, run))
        ood_scores = None
        if abstention.reference:
            ood_scores = abstention.reference.score_thumbnails(features, thumbnails_of_images(evaluated.images))
        else:
            notes.append(abstention.note)
        overlaps = (overlap_reason(certificate, evaluated) for certificate in fitted.certificates.values())
        notes += dict.fromkeys(f"WARNING: {why}" for why in overlaps if why)
        if not fitted.certificates:
            notes.append(NO_CERTIFICATE)
        del features
        notes.append(NOT_MEASURED)
        for note in (*evaluated.notes, *notes):
            progress.line(note)
        decisions = {
            name: decide(predictions.about_all(name), _point(fitted, name), _reasons(ood_scores, len(table)))
            for name in predictions.findings
        }
        metrics = _measure(
            run, evaluated, fitted, predictions, plain, ood_scores, decisions, notes, prevalences, together, progress
        )
        folder = out or run.path / "evaluation" / evaluated.name
        tables = {FILE: predictions.to_csv(), DECIDED: decisions_csv(predictions, decisions, ood_scores)}
        metrics, access = _write(run, evaluated, tables, metrics, folder, together, ledger)
    return FindingsEvaluated(folder, metrics, predictions, access)


def _point(fitted: _Fitted, finding: str) -> OperatingPoint | None:
    certificate = fitted.certificates.get(finding)
    return certificate.operating_point if certificate else None


def _reasons(ood_scores: OODScores | None, images: int) -> Sequence[str]:
    return ood_scores.reasons if ood_scores else [""] * images


def _measure(
    run: Run,
    evaluated: EvaluationSet,
    fitted: _Fitted,
    predictions: FindingsPredictions,
    plain: NDArray[np.float64],
    ood_scores: OODScores | None,
    decisions: Mapping[str, Decisions],
    notes: list[str],
    prevalences: Sequence[float],
    together: FindingsCertificate | None,
    progress: Progress,
) -> FindingsMetrics:
    """What ``metrics.json`` holds, but for the files beside it; `plain` are the network's own probabilities."""
    left_out = why_not_measured(predictions)
    kept = [name for name in predictions.findings if name not in left_out]
    if not kept:
        msg = (
            f"{evaluated.root}: no finding is known to be present in some images and absent in others. Add such images."
        )
        raise RunError(msg, code="one-sided-findings")
    inside = None if evaluated.own else _internal(run, fitted.calibration)
    before = FindingsPredictions.of(evaluated.images.table, plain)
    reliance = measure_findings_reliance(run, evaluated.images.table, progress=progress)
    implied = dict(zip(run.findings, implied_of_findings(run).tolist(), strict=True))
    found = {}
    for name in kept:
        progress.line(f"measuring {name}")
        found[name] = _one(
            run,
            evaluated,
            fitted,
            name,
            (predictions.of_finding(name), before.of_finding(name)),
            inside.of_finding(name) if inside and name in inside.findings else None,
            ood_scores.take(predictions.rows_of(name)) if ood_scores else None,
            decisions[name],
            reliance[name],
            implied[name],
            prevalences,
            progress,
        )
    return measure_findings(
        predictions.of_findings(kept),
        found,
        {name: certificate.operating_point.for_images().threshold for name, certificate in fitted.certificates.items()},
        name=evaluated.name,
        split=evaluated.split,
        certificate=together,
        not_measured=left_out,
        data=DataFacts(root=str(evaluated.root.resolve()), digest=evaluated.images.digest, notes=list(evaluated.notes)),
        notes=notes,
        audit=known_of(run),
        unreadable=[Unreadable(path=item.path, message=item.message) for item in evaluated.unreadable],
        weights_sha256=run.environment.weights_sha256,
    )


def _one(
    run: Run,
    evaluated: EvaluationSet,
    fitted: _Fitted,
    name: str,
    predicted: tuple[Predictions, Predictions],
    inside: Predictions | None,
    ood_scores: OODScores | None,
    decisions: Decisions,
    reliance: Reliance,
    implied: float,
    prevalences: Sequence[float],
    progress: Progress,
) -> Metrics:
    """One finding against its absence, by what measures labels; `predicted` after and before calibration."""
    predictions, before = predicted
    absent, _ = binary_labels(name)
    certificate = fitted.certificates.get(name)
    rows = known_rows(evaluated.images.table, name)
    table = dataset_of_two(evaluated.table, name, rows)
    dataset = binary_view(evaluated.dataset, name)
    members, flagged = flags(predictions, certificate.operating_point if certificate else None, name, [absent])
    check = None
    if certificate and not overlap_reason(certificate, evaluated):
        reasons = ood_scores.reasons if ood_scores else None
        check = measure_certificate(certificate, predictions, reasons)
        check = check.model_copy(update={"checksum": certificate.checksum})
    shortcuts, thumbnail = shortcut_baselines(predictions, table, dataset, progress=progress)
    shortcuts = shortcuts.model_copy(update={"labels": {k: v for k, v in shortcuts.labels.items() if k == name}})
    calibration = fitted.calibration.of_finding(name)
    abstained = fitted.abstention.facts if ood_scores else None
    here = [decisions.images[i] for i in rows]
    between = np.array([decision == "read" for decision in here], dtype=bool)
    found = {
        "name": name,
        "split": evaluated.split,
        **measure(predictions, positive_label=name, prevalences=prevalences).given(),
        **vars(details(predictions)),
        "calibration": {
            **calibration.in_results(),
            "before": probability_scores(before.truth, before.probabilities, before.clusters),
        },
        "healthy": [absent],
        "subgroups": measure_subgroups(predictions, columns_of(table.rows), name),
        "operating_point": check,
        "decision_curve": decision_curve(
            predictions,
            members,
            calibration.after_step(prior_of_finding(dataset, name, implied)),
            flagged=flagged if certificate else None,
            thumbnail=thumbnail,
            prevalences=prevalences,
        ),
        "certificate": certificate,
        "table": table_facts(dataset) if evaluated.own else None,
        "performance_drop": drop(inside, predictions) if inside else None,
        "shortcuts": shortcuts,
        "reliance": reliance,
        "abstention": {
            **abstained.given(),
            "decisions": dict(Counter(here)),
            **vars(measure_abstention(predictions, flagged, members, ood_scores, between)),
        }
        if ood_scores and abstained
        else None,
        "abstention_note": fitted.abstention.note,
        "weights_sha256": run.environment.weights_sha256,
    }
    return Metrics.model_validate(found)


def prior_of_finding(trained: Dataset, name: str, implied: float) -> Prior:
    """The frequency of a finding among training patients of whom it is known, and how far the network is from it.

    Args:
        trained: The run's data, with and without the finding.
        name: Of the finding.
        implied: The share to which the network's probabilities belong, which weights in the loss move
            (`hilum.evaluation.prior_step.implied_of_findings`), in (0, 1).
    """
    seen = {(row.label, owner(row.patient_id, row.path)) for row in trained.rows if row.split == "train"}
    counts = Counter(label for label, _ in seen)
    shares = np.array([max(counts[label], 1) for label in binary_labels(name)], np.float64)
    shares /= shares.sum()
    return Prior(shares, np.log(shares / [1 - implied, implied]), "training patients")


def _internal(run: Run, calibration: Calibration) -> FindingsPredictions | None:
    """What the run said of its own test images; None where not with these weights and this prior step."""
    folder = run.path / "evaluation" / INTERNAL
    measured = read_json(folder / "metrics.json")
    if measured.get("weights_sha256") != run.environment.weights_sha256:
        return None
    if not same_steps(measured, calibration):
        return None
    try:
        return read_findings_predictions(folder / FILE)
    except RunError:
        return None


def decisions_csv(
    predictions: FindingsPredictions, decisions: Mapping[str, Decisions], ood_scores: OODScores | None
) -> bytes:
    """What ``decisions.csv`` holds: why to abstain, and the decision about image and patient for each finding."""
    reasons = _reasons(ood_scores, len(predictions.paths))
    familiar = [f"{p:.6f}" for p in ood_scores.p_value] if ood_scores else [""] * len(predictions.paths)
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    names = [f"{kind}:{name}" for name in decisions for kind in ("decision", "patient_decision")]
    writer.writerow(["path", "patient_id", "reason", "p_in_distribution", *names])
    for i, path in enumerate(predictions.paths):
        words = [word for of in decisions.values() for word in (of.images[i], of.patients[i])]
        writer.writerow([cell(text) for text in (path, predictions.patients[i], reasons[i], familiar[i], *words)])
    return file.getvalue().encode("utf-8", "surrogateescape")


def _write(
    run: Run,
    evaluated: EvaluationSet,
    tables: Mapping[str, bytes],
    metrics: FindingsMetrics,
    folder: Path,
    together: FindingsCertificate | None,
    ledger: Path | None,
) -> tuple[FindingsMetrics, AccessLog | None]:
    """Write the tables and the measures together, and record the access to these images once."""
    files = {name: FileFacts.of(content, metrics.n_images) for name, content in tables.items()}
    metrics = metrics.model_copy(update={"files": files})
    certificate = next(iter(together.findings.values())) if together else None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        access = record_access(run, evaluated, folder, certificate=certificate, file=ledger)
        with saving_together(folder) as save:
            for name, content in tables.items():
                save(name, content)
            save("metrics.json", as_bytes(metrics.to_json()))
    except OSError as error:
        msg = f"{folder}: cannot be written ({error.strerror}). Choose another folder with --out."
        raise RunError(msg) from error
    return metrics, access


def findings_in_force(run: Run, calibration: Calibration, notes: list[str]) -> FindingsCertificate | None:
    """The certificates of a run's findings, unless they are void; `notes` then says why."""
    try:
        found = read_findings_certificate(run)
    except CertificateError as error:
        notes.append(f"WARNING: {error}")
        return None
    each = list(found.findings.values()) if found else []
    return found if each and same_probabilities(run, each[0], calibration, notes) else None

"""Temperatures fitted to calibration patients, and probabilities at another prevalence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from hilum.data.cache import Images
from hilum.data.dataset import owner
from hilum.data.multilabel import binary_labels, dataset_of_two, known_rows
from hilum.errors import CertificateError
from hilum.evaluation.certificate_check import read_certificate
from hilum.evaluation.cohort import EvaluationSet, run_images
from hilum.evaluation.inference import predict
from hilum.evaluation.prior_step import adjusted, log_factors, prior_step_after, same_step
from hilum.files import save_json
from hilum.progress import Progress
from hilum.stats.calibration import (
    applied,
    fit_temperatures,
    for_temperature,
    held_out_log_loss,
    helpful,
    of_two,
    scale,
    scale_findings,
)
from hilum.stats.metrics import log_loss
from hilum.stats.prior_shift import Prior, fit_prior
from hilum.stats.records import PriorStep, Record
from hilum.training.lock import only_process
from hilum.training.run import Run, read_json

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FILE = "calibration.json"
CERTIFIED = 1  # the scheme before, which applied every temperature; a certificate may have been made with it
SCHEME = 2  # raise it when the same images would give other temperatures
AS_IS = "Probabilities are not calibrated"
NO_HELP = "no temperature lowers the log-loss of held-out calibration patients by more than its standard error"
RELIED_ON = "the temperature is that of an earlier version of hilum: the run's certificate was made with it"


class KeptPrior(Record):
    """Label frequencies, and the offsets of log-odds by which they are reached."""

    shares: list[float]
    offsets: list[float]


class KeptCalibration(Record):
    """What ``calibration.json`` holds."""

    scheme: int
    temperatures: dict[str, float] | None
    fitted: dict[str, float] | None = None
    note: str = ""
    held_out_log_loss: dict[str, dict[str, float]] = {}
    n_images: int = 0
    n_patients: int | None = None
    log_loss_before: float | None = None
    log_loss_after: float | None = None
    prior: KeptPrior | None = None
    weights_sha256: str

    @property
    def calibration(self) -> Calibration:
        """As it is applied."""
        prior = self.prior
        if prior is None:
            return Calibration(self.temperatures, self.note)
        found = Prior(np.array(prior.shares), np.array(prior.offsets), "calibration patients")
        return Calibration(self.temperatures, self.note, found)


@dataclass(frozen=True)
class Calibration:
    """What was fitted to a run's calibration patients.

    Attributes:
        temperatures: By decision, or by finding; 1 where none helped; None where none could be fitted.
        note: Why none is applied, or one that would not be fitted now.
        prior: The label frequencies to which the probabilities belong after all; None where patients are too few.
        step: The prior step, which comes after the temperatures; None where none was set.
    """

    temperatures: dict[str, float] | None
    note: str = ""
    prior: Prior | None = None
    step: PriorStep | None = None

    def applied_to(self, probabilities: NDArray[np.float64], run: Run) -> NDArray[np.float64]:
        """Probabilities of the run's network after temperatures and prior step, of shape (N, K)."""
        if self.temperatures and run.findings:
            probabilities = scale_findings(probabilities, self.temperatures, run.findings)
        elif self.temperatures:
            probabilities = scale(probabilities, self.temperatures, run.labels, run.recipe.hierarchy)
        if not self.step:
            return probabilities
        return adjusted(probabilities, self.step, run.labels, findings=bool(run.findings))

    def in_results(self) -> dict[str, object]:
        """What results and model files say of it."""
        return {
            "temperatures": self.temperatures,
            "note": self.note,
            **({"prior_step": self.step.as_json()} if self.step else {}),
        }

    def of_finding(self, name: str) -> Calibration:
        """What was fitted for one finding, as a problem of two labels: absent and present."""
        temperatures, step = self.temperatures, self.step
        return Calibration(
            {"": temperatures[name]} if temperatures else None,
            "" if temperatures and temperatures[name] != 1 else self.note,
            step=step.about(name) if step else None,
        )

    def after_step(self, prior: Prior) -> Prior:
        """The label frequencies to which probabilities belong after the prior step, of those before it."""
        if not self.step:
            return prior
        return replace(prior, offsets=prior.offsets - log_factors(self.step, list(self.step.factors)))


def calibrate(
    run: Run,
    root: Path | None = None,
    *,
    images: Images | None = None,
    prior_step: bool = True,
    progress: Progress | None = None,
) -> Calibration:
    """The temperatures of a run, from ``calibration.json`` or fitted now, and its prior step.

    Args:
        run: A finished run.
        root: Where the run's own data lie now, if they have moved.
        images: The run's own data with the run's splits, where they are open already.
        prior_step: Whether the prior step is wanted, too.
        progress: Told about long work.

    Raises:
        RunError: The prior step belongs to other probabilities than these.
    """
    progress = progress or Progress()
    with only_process(run.path, "evaluate", wait=True, progress=progress):
        found = _read(run) or _fit(run, root, images, progress)
        kept = prior_step_after(run, found.temperatures) if prior_step else None
    if not kept:
        return found
    found = replace(found, step=kept.facts)
    return replace(found, prior=found.after_step(found.prior)) if found.prior else found


def _read(run: Run) -> Calibration | None:
    """What ``calibration.json`` holds; None where it was not fitted yet to these weights, or by another scheme."""
    kept = _kept(run)
    return kept.calibration if kept and kept.scheme == SCHEME else None


def _kept(run: Run) -> KeptCalibration | None:
    """What was fitted to these weights, by whichever scheme."""
    try:
        kept = KeptCalibration.model_validate(read_json(run.path / FILE))
    except ValidationError:
        return None
    return kept if kept.weights_sha256 == run.environment.weights_sha256 else None


def _fit(run: Run, root: Path | None, images: Images | None, progress: Progress) -> Calibration:
    if not any(row.split == "calibration" for row in run.rows):
        return Calibration(None, f"{AS_IS}: the run has no calibration images")
    relied_on = _relied_on(run)
    images, why = run_images(run, progress, root=root, images=images)
    if images is None:
        return Calibration(relied_on, RELIED_ON) if relied_on else Calibration(None, f"{AS_IS}: {why}")
    images = images.select([i for i, row in enumerate(images.table.rows) if row.split == "calibration"])
    n_calibration = len(images.table)
    images = images.select(np.flatnonzero(for_temperature(images.table.patients())).tolist())
    if not len(images.table):
        return Calibration(None, f"{AS_IS}: no calibration image is left for the temperature")
    if run.findings:
        return _kept_in(run, _fit_findings(run, images, progress), progress)
    labels, hierarchy = run.labels, run.recipe.hierarchy
    truth = np.array([labels.index(row.label) for row in images.table.rows], dtype=np.int64)
    plain = predict(run, images, labels, progress=progress)
    clusters = images.table.patients()
    fitted = fit_temperatures(truth, plain, labels, hierarchy)
    losses = held_out_log_loss(truth, plain, labels, hierarchy, clusters) if fitted else {}
    helped = relied_on or helpful(fitted, losses)
    note = ""
    if relied_on:
        note = RELIED_ON if relied_on != helpful(fitted, losses) else ""
    elif not fitted:
        note = (
            f"{AS_IS}: {len(truth)} of {n_calibration} calibration images are for the temperature (half of the "
            "patients; the others are for certificates), too few or with too few errors to fit it"
        )
    elif not applied(helped):
        note = f"{AS_IS}: {NO_HELP}"
    scaled = scale(plain, helped, labels, hierarchy) if helped else plain
    prior = fit_prior(truth, scaled, clusters, "calibration patients")
    kept = KeptCalibration(
        scheme=SCHEME,
        temperatures=helped or None,
        fitted=fitted or None,
        note=note,
        held_out_log_loss=losses,
        n_images=len(truth),
        n_patients=len(set(clusters)) if images.table.patients_known else None,
        log_loss_before=log_loss(truth, plain),
        log_loss_after=log_loss(truth, scaled),
        prior=KeptPrior(shares=prior.shares.tolist(), offsets=prior.offsets.tolist()) if prior else None,
        weights_sha256=run.environment.weights_sha256,
    )
    return _kept_in(run, kept, progress)


def _kept_in(run: Run, kept: KeptCalibration, progress: Progress) -> Calibration:
    try:
        save_json(run.path / FILE, kept.as_json())
    except OSError as error:
        progress.line(f"{run.path / FILE}: cannot be written ({error.strerror}); it will be fitted again next time")
    return kept.calibration


def _fit_findings(run: Run, images: Images, progress: Progress) -> KeptCalibration:
    """A temperature for each finding, on the calibration images where it is known."""
    plain = predict(run, images, run.findings, progress=progress)
    fitted: dict[str, float] = {}
    helped: dict[str, float] = {}
    losses: dict[str, dict[str, float]] = {}
    for number, name in enumerate(run.findings):
        places = known_rows(images.table, name)
        view = dataset_of_two(images.table, name, places)
        labels = binary_labels(name)
        truth = np.array([labels.index(row.label) for row in view.rows], dtype=np.int64)
        pair = of_two(plain[places, number])
        found = fit_temperatures(truth, pair, labels, "flat")
        loss = held_out_log_loss(truth, pair, labels, "flat", view.patients()) if found else {}
        fitted[name] = found.get("", 1.0)
        helped[name] = helpful(found, loss).get("", 1.0)
        losses[name] = loss.get("", {})
    note = "" if applied(helped) else f"{AS_IS}: {NO_HELP}"
    return KeptCalibration(
        scheme=SCHEME,
        temperatures=helped,
        fitted=fitted,
        note=note,
        held_out_log_loss=losses,
        n_images=len(images.table),
        n_patients=len(set(images.table.patients())) if images.table.patients_known else None,
        weights_sha256=run.environment.weights_sha256,
    )


def same_steps(measured: Mapping[str, object], calibration: Calibration) -> bool:
    """Whether a ``metrics.json`` of either kind was measured after the run's present prior step."""
    findings = measured.get("findings")
    if not isinstance(findings, Mapping):
        return same_step(measured.get("calibration"), calibration.step)
    return all(
        same_step(found["metrics"].get("calibration"), calibration.of_finding(name).step)
        for name, found in findings.items()
    )


def with_temperature_note(evaluated: EvaluationSet, calibration: Calibration) -> EvaluationSet:
    """The same images, with a warning if temperatures were fitted to half of them."""
    if not evaluated.own or evaluated.split != "calibration" or not calibration.temperatures:
        return evaluated
    return replace(evaluated, notes=(*evaluated.notes, "WARNING: the temperature was fitted to half of these images"))


def training_prior(run: Run) -> Prior:
    """The frequencies of the labels among training patients, with probabilities taken as they are."""
    seen = {(row.label, owner(row.patient_id, row.path)) for row in run.rows if row.split == "train"}
    counts = Counter(label for label, _ in seen)
    shares = np.array([max(counts[label], 1) for label in run.labels], np.float64)
    return Prior(shares / shares.sum(), np.zeros(len(shares)), "training patients")


def _relied_on(run: Run) -> dict[str, float] | None:
    """The temperatures of the version before, where the run's certificate was made with them.

    Others would void it, and its patients have no error probability left for another one.
    """
    kept = _kept(run)
    if not kept or kept.scheme != CERTIFIED:
        return None
    try:
        certificate = read_certificate(run)
    except CertificateError:
        return None
    temperatures = kept.temperatures
    return temperatures if certificate and certificate.model.temperatures == temperatures else None

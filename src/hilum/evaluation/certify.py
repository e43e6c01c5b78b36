"""From a run and patients that it never saw to ``certificate.json``, or to a refusal that says what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hilum import __version__
from hilum.data.cache import Images
from hilum.data.dataset import Dataset
from hilum.data.options import ReadOptions
from hilum.data.patients import in_words
from hilum.decision.operating_point import members_of
from hilum.errors import CertificateError, RunError, UsageError
from hilum.evaluation.attempts import Reserved, record_result, reserve
from hilum.evaluation.certificate import UpperSide, allowed_rank, check_upper, split_confidence
from hilum.evaluation.certificate_check import FILE, certificate_in_force, compare_with, with_checksum
from hilum.evaluation.certification_patients import certify_at, too_few
from hilum.evaluation.claim import Claim
from hilum.evaluation.cohort import EvaluationSet, digest_of, select_images
from hilum.evaluation.findings_schema import FindingsCertificate
from hilum.evaluation.inference import predict
from hilum.evaluation.leakage import SHOWN, find_leaks, find_seen
from hilum.evaluation.ledger import ledger_file
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.temperature import Calibration, calibrate
from hilum.evaluation.triage import by_patient
from hilum.evaluation.triage_schema import Certificate, CertifiedData, CertifiedModel, Guarantee
from hilum.files import save_json
from hilum.outputs import CERTIFICATE, check_target
from hilum.progress import Progress
from hilum.stats.calibration import for_temperature
from hilum.stats.records import Exchangeability
from hilum.training.lock import only_process
from hilum.training.run import Run

FORMAT = 2  # of 1, which had one threshold, decisions are the same
CONDITIONS = (
    "It holds for patients like these: same hospital, scanners, ages and selection.",
    "It is void under distribution shift. At another site, certify again with local patients.",
    "It bounds the share of diseased patients who are cleared. It makes no statement about a single patient.",
    "The labels are assumed to be correct.",
)
OF_PPV = (
    "The PPV assumes the same mixture of labels among patients without the disease as here, and no more abstentions "
    "among patients with it."
)
NOT_PATIENTS = (
    "{told}, so every image without one counted as a separate patient. If several show one patient, the certificate is "
    "too optimistic: with similar images of a patient (correlation 0.7) such a bound failed twice as often as stated"
)
NO_REFERENCE = (
    "the run has no certificate of its own patients to compare these with: hilum certify {run} first, then this again"
)


@dataclass(frozen=True)
class Certified:
    """Where a certificate was written, and what it says."""

    file: Path
    certificate: Certificate


def certify(
    run: Run,
    data: Path | Dataset | None = None,
    *,
    false_negative_rate: float,
    confidence: float = 0.95,
    upper: UpperSide | None = None,
    group: str | None = None,
    split: str = "calibration",
    mapping: Mapping[str, str] | None = None,
    read: ReadOptions | None = None,
    out: Path | None = None,
    attempts: int | None = None,
    ledger: Path | None = None,
    progress: Progress | None = None,
) -> Certified:
    """Certify that at most so many of those who have the disease are missed, and find the threshold for that.

    Args:
        run: A finished run.
        data: Other data, to certify the run at another site; by default the run's own.
        false_negative_rate: The bound, between 0 and 1.
        confidence: How sure the bound has to be, between 0 and 1.
        upper: What is to be guaranteed of those who are flagged, by a second threshold; by default nothing.
        group: What must not be missed: a label, or ``infected/*``; by default the run's positive label.
        split: Which part of the data; of the run's own calibration patients, those that fitted no temperature.
        mapping: The run's label for labels of other data.
        read: How to read `data`.
        out: The file to write; by default ``certificate.json`` in the run, or ``certificates/<name>.json`` for other
            data.
        attempts: How many attempts are planned on these patients, each of which then has its share of one minus the
            confidence (`hilum.evaluation.spending`); by default one, or what the plan in force says.
        ledger: Where attempts are recorded, if not in the default ledger (`hilum.evaluation.ledger.ledger_file`).
        progress: Told about long work.

    Raises:
        UsageError: A rate outside of 0 to 1, a group that stands for no label, or for all of them, or `out` is a file
            of another kind.
        CertificateError: Too few patients, none with the disease, patients whom the run has seen, patients whose error
            probability is spent, or scores that are no numbers.
        LedgerError: The ledger is damaged, or cannot be written.
        RunError: The training is not finished.
    """
    progress = progress or Progress()
    check_start(run, out)
    with only_process(run.path, "certify", wait=True, progress=progress):
        group, members = _group(run, group, false_negative_rate, confidence, attempts)
        evaluated = select_images(run, data, split, progress, mapping=mapping, read=read, keep_known=True)
        calibration = calibrate(
            run, evaluated.root if evaluated.own else None, images=evaluated.whole, progress=progress
        )
        images, unchecked = unseen_images(run, evaluated, progress, temperature=bool(calibration.temperatures))
        book = ledger_file(ledger)
        file = file_for(run, evaluated, out)
        model = certified_model(run, calibration)
        claim = Claim(group, members, false_negative_rate, confidence, model, upper)
        place = reserve(
            book,
            images.table,
            claim,
            run=run.path,
            attempts=attempts,
            certificates=certificates_of(run, file),
            check=lambda level: check_enough(images.table, run.labels, claim, level, evaluated),
        )
        for note in place.notes:
            progress.line(note)
        plain = predict(run, images, run.labels, progress=progress)
        predictions = Predictions.of(images.table, run.labels, calibration.applied_to(plain, run))
        found = certify_at(book, place, predictions, claim)
        notes = [*certificate_notes(evaluated, predictions), *filter(None, [unchecked])]
        own = None if evaluated.own else certificate_in_force(run, calibration, notes)
        exchangeability = None if evaluated.own else beside_own(run, own, predictions, notes)
        certificate = certificate_from(
            found, place, claim, evaluated, images.table, exchangeability=exchangeability, notes=notes
        )
        write_certificate(file, certificate)
        record_result(book, certificate)
        return Certified(file, certificate)


def check_start(run: Run, out: Path | None) -> None:
    """Refuse a run that is not finished, and a file that is of another kind, before anything is read.

    Raises:
        RunError: The training is not finished.
        UsageError: `out` is a file of another kind.
    """
    if not run.finished:
        msg = f"{run.path}: the training is not finished. Continue with: hilum train DATA --out {run.path} --resume"
        raise RunError(msg)
    if out:
        check_target(out, CERTIFICATE, option="--out", inputs=[run.best, run.path / "split.csv"])


def file_for(run: Run, evaluated: EvaluationSet, out: Path | None) -> Path:
    """Where a certificate is written; by default in the run, that of another site under the site's name."""
    return out or (run.path / FILE if evaluated.own else run.path / "certificates" / f"{evaluated.name}.json")


def certificates_of(run: Run, file: Path) -> list[Path]:
    """All files that may hold earlier certificates of a run."""
    return [file, run.path / FILE, *(run.path / "certificates").glob("*.json")]


def certificate_from(
    found: Guarantee,
    place: Reserved,
    claim: Claim,
    evaluated: EvaluationSet,
    table: Dataset,
    *,
    exchangeability: Exchangeability | None,
    notes: Sequence[str],
    conditions: Sequence[str] = CONDITIONS,
    version: int = FORMAT,
) -> Certificate:
    """What is guaranteed, with all that decides where it holds."""
    of_ppv = [OF_PPV] if claim.upper and claim.upper.kind == "ppv" else []
    return with_checksum(
        Certificate(
            format=version,
            hilum=__version__,
            made=place.time,
            **{**found.given(), "confidence": place.confidence},
            ledger=place.ledger,
            model=claim.model,
            data=CertifiedData(
                name=evaluated.name,
                split=evaluated.split,
                own=evaluated.own,
                digest=digest_of(table),
                n_images=len(table),
            ),
            conditions=[*conditions, *of_ppv],
            exchangeability=exchangeability,
            notes=list(notes),
        )
    )


def write_certificate(file: Path, certificate: Certificate | FindingsCertificate) -> None:
    """Write ``certificate.json``.

    Raises:
        CertificateError: It cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_json(file, certificate.as_json())
    except OSError as error:
        msg = f"{file}: cannot be written ({error.strerror}). Choose another file with --out."
        raise CertificateError(msg, code="unwritable", path=file) from error


def beside_own(run: Run, own: Certificate | None, predictions: Predictions, notes: list[str]) -> Exchangeability | None:
    """Whether patients of another site look like those of the run's own certificate; `notes` say why it is unknown."""
    if own and own.reference:
        return compare_with(own.reference, predictions, own.members)
    notes.append(NO_REFERENCE.format(run=run.path))
    return None


def _group(
    run: Run, group: str | None, false_negative_rate: float, confidence: float, attempts: int | None
) -> tuple[str, tuple[str, ...]]:
    check_asked(false_negative_rate, confidence, attempts)
    chosen = group or run.positive_label
    if chosen is None:
        msg = f"{run.path}: has no positive label. Name the group to rule out: --group LABEL, or --group 'folder/*'."
        raise UsageError(msg)
    members = members_of(chosen, run.labels)
    if not members or len(members) == len(run.labels):
        why = "stands for no label" if not members else "stands for all labels"
        msg = f"--group {chosen}: {why} of the run ({', '.join(run.labels)})."
        raise UsageError(msg, code="unknown-group")
    return chosen, members


def check_asked(false_negative_rate: float, confidence: float, attempts: int | None) -> None:
    """Refuse a bound or a confidence that is no share, and a plan of no attempt.

    Raises:
        UsageError: One of them is out of range.
    """
    for name, value in (("sensitivity", 1 - false_negative_rate), ("confidence", confidence)):
        if not 0 < value < 1:
            msg = f"--{name} {value:g}: give a share between 0 and 1, such as 0.95."
            raise UsageError(msg, code="not-a-share")
    if attempts is not None and attempts < 1:
        msg = f"--attempts {attempts}: plan at least one."
        raise UsageError(msg)


def unseen_images(run: Run, evaluated: EvaluationSet, progress: Progress, *, temperature: bool) -> tuple[Images, str]:
    """The images that may serve, of the run's own calibration patients those that fitted no temperature; and a note.

    Raises:
        CertificateError: The run has seen some of the patients.
    """
    images = evaluated.images
    if evaluated.own and evaluated.split == "calibration" and temperature:
        images = images.select(np.flatnonzero(~for_temperature(images.table.patients())).tolist())
    seen, unchecked = find_seen(run, images.table, temperature=temperature), ""
    if not evaluated.own:
        pictures, unchecked = find_leaks(run, images, progress)
        known = {item.path for item in seen}
        seen += [item for item in pictures.values() if item.path not in known]
    if seen:
        shown = "; ".join(item.sentence() for item in seen[:SHOWN])
        more = f"; and {len(seen) - SHOWN} more" if len(seen) > SHOWN else ""
        people = any(item.same == "patient" for item in seen)
        hint = " If equal patient_ids belong to different people, prefix them with the site's name." if people else ""
        msg = (
            f"{evaluated.root}: {len(seen)} of {len(images.table)} images are of patients known to the run, and a "
            f"certificate needs others: {shown}{more}. Exclude these images, or give other data.{hint}"
        )
        raise CertificateError(msg, code="seen-patients")
    return images, unchecked


def check_enough(
    table: Dataset,
    labels: Sequence[str],
    claim: Claim,
    confidence: float,
    evaluated: EvaluationSet,
) -> None:
    """Refuse, before anything is spent, what these patients are too few for whatever their scores are.

    Raises:
        CertificateError: They are too few.
    """
    upper = claim.upper
    unseen = Predictions.of(table, labels, np.zeros((len(table), len(labels))))
    ill, others = by_patient(np.zeros(len(table)), unseen, claim.members)
    where = f"{evaluated.root}, {evaluated.split}"
    sure = split_confidence(confidence, two_sided=upper is not None)
    if allowed_rank(len(ill), claim.false_negative_rate, sure):
        if upper:
            check_upper(len(ill), {label: len(found) for label, found in others.items()}, upper, sure)
        return
    msg = too_few(len(ill), claim.group, claim.false_negative_rate, sure, where, two_sided=upper is not None)
    if evaluated.own and evaluated.split == "calibration":
        msg += " Give data unseen by the run, or hold out more in the training (splits.fraction, at most 0.3)."
    raise CertificateError(msg, code="too-few-patients")


def certified_model(run: Run, calibration: Calibration) -> CertifiedModel:
    """For which network and probabilities a certificate is made."""
    made_for: dict[str, object] = {
        "weights_sha256": run.environment.weights_sha256,
        "labels": list(run.labels),
        "hierarchy": run.recipe.hierarchy,
        "temperatures": calibration.temperatures or None,
        "preprocessing_sha256": run.preprocessing.digest(),
    }
    if calibration.step:
        made_for["prior_factors"] = calibration.step.factors
    return CertifiedModel.model_validate(made_for)


def certificate_notes(evaluated: EvaluationSet, predictions: Predictions) -> list[str]:
    """What has to be known about the patients of a certificate."""
    notes = [note for note in evaluated.notes if "temperature was fitted" not in note]
    notes += [] if all(predictions.patients) else [f"WARNING: {NOT_PATIENTS.format(told=_told(predictions))}"]
    if evaluated.own and evaluated.split == "test":
        notes.append("WARNING: made on the test images: none are left to validate it")
    return notes


def _told(predictions: Predictions) -> str:
    return in_words(sum(map(bool, predictions.patients)), len(predictions.patients))

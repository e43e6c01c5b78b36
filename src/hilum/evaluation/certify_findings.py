"""Guaranteed sensitivities of several findings that hold together, each with a threshold of its own.

With F findings each threshold is found at confidence 1 - delta / F (`hilum.stats.verdicts.each_confidence`): by
Bonferroni's inequality all guarantees hold together with confidence 1 - delta, however findings go together. In the
ledger they are F places of one plan (`hilum.evaluation.spending`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hilum import __version__
from hilum.data.dataset import Dataset, owner
from hilum.data.multilabel import binary_labels, binary_view
from hilum.data.options import ReadOptions
from hilum.errors import CertificateError, UsageError
from hilum.evaluation.attempts import level_of_each, record_result, reserve_together
from hilum.evaluation.certificate import UpperSide
from hilum.evaluation.certificate_check import with_checksum
from hilum.evaluation.certification_patients import certify_at
from hilum.evaluation.certify import (
    CONDITIONS,
    beside_own,
    certificate_from,
    certificate_notes,
    certificates_of,
    certified_model,
    check_asked,
    check_enough,
    check_start,
    file_for,
    unseen_images,
    write_certificate,
)
from hilum.evaluation.claim import Claim
from hilum.evaluation.cohort import select_images
from hilum.evaluation.evaluate_findings import findings_in_force
from hilum.evaluation.findings_predictions import FindingsPredictions
from hilum.evaluation.findings_schema import FindingsCertificate
from hilum.evaluation.inference import predict
from hilum.evaluation.ledger import ledger_file
from hilum.evaluation.temperature import calibrate
from hilum.evaluation.triage_schema import Certificate
from hilum.progress import Progress
from hilum.training.lock import only_process
from hilum.training.run import Run

FORMAT = 3  # of 2, which has one group
TOGETHER = (
    "The guarantees of all findings hold together with the stated confidence, by Bonferroni's inequality, however "
    "findings are associated."
)


@dataclass(frozen=True)
class CertifiedFindings:
    """Where certificates were written, and what they say."""

    file: Path
    certificate: FindingsCertificate


def certify_findings(
    run: Run,
    data: Path | Dataset | None = None,
    *,
    false_negative_rate: float,
    confidence: float = 0.95,
    upper: UpperSide | None = None,
    findings: Sequence[str] = (),
    split: str = "calibration",
    mapping: Mapping[str, str] | None = None,
    read: ReadOptions | None = None,
    out: Path | None = None,
    attempts: int | None = None,
    ledger: Path | None = None,
    progress: Progress | None = None,
) -> CertifiedFindings:
    """Certify for each finding that at most so many of those who have it are missed, all findings together.

    Args:
        run: A finished run of several findings an image.
        data: Other data, to certify the run at another site; by default the run's own.
        false_negative_rate: The bound of each finding, in (0, 1).
        confidence: Family-wise confidence, in (0, 1).
        upper: What is to be guaranteed of those who are flagged for each finding; by default nothing.
        findings: Which are certified; by default all of which there are enough patients.
        split: Which part of the data; of the run's own calibration patients, those that fitted no temperature.
        mapping: The run's finding for findings of other data.
        read: How to read `data`.
        out: The file to write; by default ``certificate.json`` in the run, or ``certificates/<name>.json``.
        attempts: How many attempts are planned on these patients, each with all findings.
        ledger: Where attempts are recorded, if not in the default ledger.
        progress: Told about long work.

    Raises:
        UsageError: A rate outside of 0 to 1, or a finding that the run does not know.
        CertificateError: Of no finding are there enough patients, or as `hilum.evaluation.certify.certify` raises it.
        RunError: The training is not finished.
    """
    progress = progress or Progress()
    check_start(run, out)
    check_asked(false_negative_rate, confidence, attempts)
    _check_names(run, findings)
    with only_process(run.path, "certify", wait=True, progress=progress):
        evaluated = select_images(run, data, split, progress, mapping=mapping, read=read, keep_known=True)
        root = evaluated.root if evaluated.own else None
        calibration = calibrate(run, root, images=evaluated.whole, progress=progress)
        images, unchecked = unseen_images(run, evaluated, progress, temperature=bool(calibration.temperatures))
        book = ledger_file(ledger)
        file = file_for(run, evaluated, out)
        model = certified_model(run, calibration)
        claims = {
            name: Claim(name, (name,), false_negative_rate, confidence, model, _upper_of(upper, name))
            for name in findings or run.findings
        }
        views = {name: binary_view(images.table, name) for name in claims}

        def check(name: str, level: float) -> None:
            check_enough(views[name], binary_labels(name), claims[name], level, evaluated)

        left, not_certified = claims, dict[str, str]()
        if not findings:
            left, not_certified = _with_enough(
                claims, views, check, partial(level_of_each, book, images.table, attempts=attempts)
            )
        places = reserve_together(
            book,
            images.table,
            left,
            run=run.path,
            attempts=attempts,
            certificates=certificates_of(run, file),
            check=check,
        )
        for note in dict.fromkeys(note for place in places.values() for note in place.notes):
            progress.line(note)
        plain = predict(run, images, run.findings, progress=progress)
        predictions = FindingsPredictions.of(images.table, calibration.applied_to(plain, run))
        made: dict[str, Certificate] = {}
        about_own: list[str] = []
        own = None if evaluated.own else findings_in_force(run, calibration, about_own)
        for name, claim in left.items():
            alone = predictions.of_finding(name)
            notes = [*certificate_notes(evaluated, alone), *filter(None, [unchecked]), *about_own]
            beside = own.findings.get(name) if own else None
            try:
                found = certify_at(book, places[name], alone, claim)
            except CertificateError as error:
                not_certified[name], last = str(error), error
                continue
            made[name] = certificate_from(
                found,
                places[name],
                claim,
                evaluated,
                images.table,
                exchangeability=None if evaluated.own else beside_own(run, beside, alone, notes),
                notes=notes,
                conditions=[*CONDITIONS, TOGETHER],
                version=FORMAT,
            )
        for name, why in not_certified.items():
            progress.line(f"not certified: {name}: {why}")
        if not made:
            raise last
        first = next(iter(places.values()))
        together = with_checksum(
            FindingsCertificate(
                format=FORMAT,
                task="findings",
                hilum=__version__,
                made=first.time,
                false_negative_rate=false_negative_rate,
                confidence=confidence,
                each_confidence=first.level,
                correction="bonferroni",
                findings=made,
                not_certified=not_certified,
            )
        )
        write_certificate(file, together)
        for certificate in made.values():
            record_result(book, certificate)
        return CertifiedFindings(file, together)


def _check_names(run: Run, findings: Sequence[str]) -> None:
    unknown = [name for name in findings if name not in run.findings]
    if unknown:
        msg = f"--group {unknown[0]}: no finding of the run ({', '.join(run.findings)}). Name one of them."
        raise UsageError(msg, code="unknown-group")


def _upper_of(upper: UpperSide | None, finding: str) -> UpperSide | None:
    """The same guarantee of those who do not have one finding."""
    return replace(upper, healthy=binary_labels(finding)[:1]) if upper else None


def _with_enough(
    claims: Mapping[str, Claim],
    views: Mapping[str, Dataset],
    check: Callable[[str, float], None],
    level: Callable[[Mapping[str, Claim]], float],
) -> tuple[dict[str, Claim], dict[str, str]]:
    """The most findings of which patients are enough when they share the error probability; and why not the others.

    Who is counted has the finding; no score is seen. Fewer findings leave each a larger share: the one with the fewest
    patients is left out until there are enough of all. The last one is left, whether or not there are enough of it.

    Args:
        claims: By finding.
        views: The patients of each, with or without it.
        check: Raises where patients are too few for a finding at a confidence.
        level: The confidence of each finding by itself, of those that are certified together.
    """
    counts = {
        name: len({owner(row.patient_id, row.path) for row in view.rows if row.label == name})
        for name, view in views.items()
    }
    left, reasons = dict(claims), dict[str, str]()
    while len(left) > 1:
        shared = level(left)
        failed: dict[str, str] = {}
        for name in left:
            try:
                check(name, shared)
            except CertificateError as error:
                failed[name] = str(error)
        if not failed:
            break
        fewest = min(failed, key=lambda name: counts[name])
        reasons[fewest] = failed[fewest]
        del left[fewest]
    return left, reasons

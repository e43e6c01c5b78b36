"""Guaranteed sensitivities of several findings that hold together, each with a threshold of its own.

With F findings each threshold is found at confidence 1 - delta / F (`hilum.stats.verdicts.each_confidence`): by
Bonferroni's inequality all guarantees hold together with confidence 1 - delta, however findings go together. In the
ledger they are F places of one plan (`hilum.evaluation.spending`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hilum import __version__
from hilum.data.dataset import Dataset, owner
from hilum.data.multilabel import binary_labels, binary_view
from hilum.data.options import ReadOptions
from hilum.errors import CertificateError, RunError, UsageError
from hilum.evaluation.attempts import Claim, Reserved, record_result, reserve
from hilum.evaluation.certificate import UpperSide
from hilum.evaluation.certificate_check import FILE, with_checksum
from hilum.evaluation.certification_patients import certify_at
from hilum.evaluation.certify import (
    CONDITIONS,
    OF_PPV,
    certificate_notes,
    certified_model,
    check_asked,
    check_enough,
    unseen_images,
)
from hilum.evaluation.cohort import EvaluationSet, digest_of, select_images
from hilum.evaluation.findings_predictions import FindingsPredictions
from hilum.evaluation.findings_schema import FindingsCertificate
from hilum.evaluation.inference import predict
from hilum.evaluation.ledger import ledger_file
from hilum.evaluation.temperature import calibrate
from hilum.evaluation.triage_schema import Certificate, CertifiedData
from hilum.files import save_json
from hilum.outputs import CERTIFICATE, check_target
from hilum.progress import Progress
from hilum.stats.verdicts import each_confidence
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
    if not run.finished:
        msg = f"{run.path}: the training is not finished. Continue with: hilum train DATA --out {run.path} --resume"
        raise RunError(msg)
    if out:
        check_target(out, CERTIFICATE, option="--out", inputs=[run.best, run.path / "split.csv"])
    check_asked(false_negative_rate, confidence, attempts)
    _check_names(run, findings)
    with only_process(run.path, "certify", wait=True, progress=progress):
        evaluated = select_images(run, data, split, progress, mapping=mapping, read=read, keep_known=True)
        root = evaluated.root if evaluated.own else None
        calibration = calibrate(run, root, images=evaluated.whole, progress=progress)
        images, unchecked = unseen_images(run, evaluated, progress, temperature=bool(calibration.temperatures))
        book = ledger_file(ledger)
        file = out or (run.path / FILE if evaluated.own else run.path / "certificates" / f"{evaluated.name}.json")
        model = certified_model(run, calibration)
        claims = {
            name: Claim(name, (name,), false_negative_rate, confidence, model, _upper_of(upper, name))
            for name in findings or run.findings
        }
        claims, too_few = _with_enough(images.table, claims, confidence, evaluated, wanted=bool(findings))
        for name, why in too_few.items():
            progress.line(f"not certified: {name}: {why}")
        certificates = [file, run.path / FILE, *(run.path / "certificates").glob("*.json")]
        places = _places(book, images.table, claims, run.path, attempts, certificates)
        for note in dict.fromkeys(note for place in places.values() for note in place.notes):
            progress.line(note)
        plain = predict(run, images, run.findings, progress=progress)
        predictions = FindingsPredictions.of(images.table, calibration.applied_to(plain, run))
        made: dict[str, Certificate] = {}
        for name, claim in claims.items():
            alone, place = predictions.of_finding(name), places[name]
            found = certify_at(book, place, alone, claim)
            made[name] = with_checksum(
                Certificate(
                    format=FORMAT,
                    hilum=__version__,
                    made=place.time,
                    **{**found.given(), "confidence": place.confidence},
                    ledger=place.ledger,
                    model=model,
                    data=CertifiedData(
                        name=evaluated.name,
                        split=evaluated.split,
                        own=evaluated.own,
                        digest=digest_of(images.table),
                        n_images=len(images.table),
                    ),
                    conditions=[*CONDITIONS, TOGETHER, *([OF_PPV] if upper and upper.kind == "ppv" else [])],
                    notes=[*certificate_notes(evaluated, alone), *filter(None, [unchecked])],
                )
            )
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
                not_certified=too_few,
            )
        )
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            save_json(file, together.as_json())
        except OSError as error:
            msg = f"{file}: cannot be written ({error.strerror}). Choose another file with --out."
            raise CertificateError(msg, code="unwritable", path=file) from error
        for certificate in made.values():
            record_result(book, certificate)
        return CertifiedFindings(file, together)


def _places(
    book: Path,
    table: Dataset,
    claims: Mapping[str, Claim],
    run: Path,
    attempts: int | None,
    certificates: Sequence[Path],
) -> dict[str, Reserved]:
    """A place of one plan for each finding; of the plan in force, where there is one and no number was asked for."""

    def taken(planned: int | None) -> dict[str, Reserved]:
        return {
            name: reserve(book, table, claim, run=run, attempts=planned, certificates=certificates)
            for name, claim in claims.items()
        }

    if len(claims) == 1:
        return taken(attempts)
    try:
        return taken(len(claims) * (attempts or 1))
    except CertificateError as error:
        if attempts is not None or error.code != "other-plan":
            raise
        return taken(None)


def _check_names(run: Run, findings: Sequence[str]) -> None:
    unknown = [name for name in findings if name not in run.findings]
    if unknown:
        msg = f"--group {unknown[0]}: no finding of the run ({', '.join(run.findings)}). Name one of them."
        raise UsageError(msg, code="unknown-group")


def _upper_of(upper: UpperSide | None, finding: str) -> UpperSide | None:
    """The same guarantee of those who do not have one finding."""
    return replace(upper, healthy=binary_labels(finding)[:1]) if upper else None


def _with_enough(
    table: Dataset, claims: Mapping[str, Claim], confidence: float, evaluated: EvaluationSet, *, wanted: bool
) -> tuple[dict[str, Claim], dict[str, str]]:
    """The most findings of which patients are enough when they share the error probability; and why not the others.

    Who is counted has the finding; no score is seen. Fewer findings leave each a larger share: the one with the fewest
    patients is left out until there are enough of all.

    Raises:
        CertificateError: Of none are there enough, or of one that the user named.
    """
    views = {name: binary_view(table, name) for name in claims}
    counts = {
        name: len({owner(row.patient_id, row.path) for row in view.rows if row.label == name})
        for name, view in views.items()
    }
    left, reasons = dict(claims), dict[str, str]()
    while left:
        level = each_confidence(confidence, len(left))
        failed: dict[str, CertificateError] = {}
        for name, claim in left.items():
            try:
                check_enough(views[name], binary_labels(name), claim, level, evaluated)
            except CertificateError as error:
                failed[name] = error
        if not failed:
            return left, reasons
        fewest = min(failed, key=lambda name: counts[name])
        if wanted or len(left) == 1:
            raise failed[fewest]
        reasons[fewest] = str(failed[fewest])
        del left[fewest]
    msg = f"{evaluated.root}: nothing to certify."
    raise CertificateError(msg)  # pragma: no cover - the last one raises above

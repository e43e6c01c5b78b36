"""Attempts to certify in the ledger, recorded before a score is seen: of two processes one has the last place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from hilum.data.dataset import Dataset
from hilum.earlier import current
from hilum.errors import CertificateError
from hilum.evaluation.certificate_check import is_whole
from hilum.evaluation.claim import Claim
from hilum.evaluation.cohort import digest_of
from hilum.evaluation.findings_schema import FindingsCertificate
from hilum.evaluation.ledger import (
    Access,
    Attempted,
    Granted,
    ImageSet,
    Ledger,
    OnImages,
    Refusal,
    Result,
    Void,
    image_set,
    open_ledger,
    place_of,
)
from hilum.evaluation.spending import CLOSE, Asked, Attempt, Grant, grant, joint_confidence
from hilum.evaluation.triage_schema import Certificate, LedgerPlace
from hilum.stats.verdicts import each_confidence
from hilum.training.run import read_json

DIGITS = 9  # of a confidence that is found by subtraction
CARRIED = "the attempt of {file} was missing in the ledger {ledger} and was added"


@dataclass(frozen=True)
class Reserved:
    """A place in the ledger that an attempt has taken.

    Attributes:
        confidence: The confidence to be stated.
        level: The confidence at which the certificate is to be computed.
        time: When the attempt was first made.
        ledger: What the certificate says of the ledger.
        notes: What has to be known about it.
    """

    confidence: float
    level: float
    time: str
    ledger: LedgerPlace
    notes: tuple[str, ...]


def reserve(
    file: Path,
    table: Dataset,
    claim: Claim,
    *,
    run: Path,
    attempts: int | None = None,
    certificates: Iterable[Path] = (),
    check: Callable[[float], None] | None = None,
    lower_by: float = 0.0,
) -> Reserved:
    """Take a place for one claim: `reserve_together`."""
    found = reserve_together(
        file,
        table,
        {claim.group: claim},
        run=run,
        attempts=attempts,
        certificates=certificates,
        check=(lambda _, level: check(level)) if check else None,
        lower_by=lower_by,
    )
    return found[claim.group]


def reserve_together(
    file: Path,
    table: Dataset,
    claims: Mapping[str, Claim],
    *,
    run: Path,
    attempts: int | None = None,
    certificates: Iterable[Path] = (),
    check: Callable[[str, float], None] | None = None,
    lower_by: float = 0.0,
) -> dict[str, Reserved]:
    """Take a place for each claim of an attempt, or none at all, before anybody computes a score.

    Args:
        file: The ledger.
        table: The images of the patients that are to certify, with the column ``sha256``.
        claims: What is to be certified, by name: a group, or findings that are certified together.
        run: Where the run lies, as the user named it; for people who read the ledger.
        attempts: How many attempts are planned on these patients.
        certificates: Earlier certificates of the run, which count where the ledger lacks them.
        check: Is given each name and the confidence at which it is certified, and raises where these patients are too
            few for it; then nothing is spent.
        lower_by: What the attempt may spend of its own where nothing is left at the claim's confidence; the confidence
            that is stated is then lower by it. 0 to be refused instead.

    Raises:
        CertificateError: Nothing is left for it, or `check` raised it; the ledger records the refusal.
        LedgerError: The ledger is damaged, or cannot be written.
    """
    images, about = image_set(row.sha256 for row in table.rows), digest_of(table)
    with open_ledger(file) as ledger:
        digest = ledger.add_images(images)
        notes = _carry_over(ledger, certificates, about, digest, table.root.name)
        made, evaluated = attempts_of(ledger), evaluated_in(ledger)
        granted: dict[str, tuple[Attempted, Grant]] = {}
        for name, asked in _asked(claims, images, about, attempts).items():
            attempted = _attempted(claims[name], asked.identity, digest, str(run), table.root.name)
            try:
                given = _granted(made, evaluated, asked, lower_by)
                if check:
                    check(name, given.level)
            except CertificateError as error:
                _refuse(ledger, attempted, str(error))
                msg = f"{error} Ledger: {place_of(file)}."
                raise CertificateError(msg, code=error.code) from error
            granted[name] = attempted, given
            made = made if given.repeated else [*made, given.attempt]
        for attempted, given in granted.values():
            if not given.repeated:
                _grant(ledger, attempted, given.attempt, given.number)
        reserved = {}
        for name, (attempted, given) in granted.items():
            entry = _entry_of(ledger, attempted.attempt)
            place = _place(file, entry, attempts_of(ledger))
            reserved[name] = Reserved(given.attempt.confidence, given.level, entry.time, place, tuple(notes))
        return reserved


def level_of_each(file: Path, table: Dataset, claims: Mapping[str, Claim], attempts: int | None) -> float:
    """The confidence at which each claim would be certified by itself; nothing is recorded.

    Where nothing is left for them it is that of a new plan: `reserve_together` says so.
    """
    images, about = image_set(row.sha256 for row in table.rows), digest_of(table)
    with open_ledger(file) as ledger:
        made, evaluated = attempts_of(ledger), evaluated_in(ledger)
    levels = []
    for asked in _asked(claims, images, about, attempts).values():
        try:
            given = grant(made, evaluated, asked)
        except CertificateError:
            return each_confidence(asked.confidence, asked.planned or asked.places)
        levels.append(given.level)
        made = made if given.repeated else [*made, given.attempt]
    return max(levels)


def _asked(claims: Mapping[str, Claim], images: ImageSet, about: str, attempts: int | None) -> dict[str, Asked]:
    return {
        name: Asked(
            claim.identity(about), claim.model.weights_sha256, images, claim.confidence, attempts, places=len(claims)
        )
        for name, claim in claims.items()
    }


def record_result(file: Path, certificate: Certificate) -> None:
    """Note what an attempt came to.

    Args:
        file: The ledger.
        certificate: With its place in the ledger, and its checksum.

    Raises:
        LedgerError: The ledger is damaged, or cannot be written.
    """
    assert certificate.ledger is not None
    with open_ledger(file) as ledger:
        if any(entry.checksum == certificate.checksum for entry in ledger.of(Result)):
            return
        ledger.add(
            Result(
                attempt=certificate.ledger.attempt,
                checksum=certificate.checksum,
                threshold=certificate.threshold,
                n_patients=certificate.n_patients,
                false_negatives=certificate.false_negatives,
            )
        )


def record_failure(file: Path, place: Reserved, reason: str, scores: NDArray[np.float64]) -> None:
    """Note that an attempt which had its place came to no certificate.

    The place is given back where the scores were no numbers, which shows nothing of these patients. Otherwise the
    refusal itself came from their scores, and the place stays taken.

    Args:
        file: The ledger.
        place: What was reserved.
        reason: Why there is no certificate.
        scores: What the model said of these patients, of any shape.

    Raises:
        LedgerError: The ledger is damaged, or cannot be written.
    """
    with open_ledger(file) as ledger:
        entry = _entry_of(ledger, place.ledger.attempt)
        if np.isfinite(scores).all():
            _refuse(ledger, entry, reason)
        elif not any(result.attempt == entry.attempt for result in ledger.of(Result)):
            ledger.add(Void(attempt=entry.attempt, entry=entry.n, reason=reason))


def attempts_of(ledger: Ledger) -> list[Attempt]:
    """All attempts that a ledger holds, in order; without those whose place was given back."""
    void = {entry.entry for entry in ledger.of(Void)}
    return [
        Attempt(
            identity=entry.attempt,
            model=entry.model,
            images=ledger.images(entry.images),
            confidence=entry.confidence,
            delta=entry.delta,
            plan=entry.plan,
            planned=entry.planned,
            counted=tuple(entry.counted),
            carried=0 if entry.carried is None else entry.number,
        )
        for entry in ledger.of(Granted)
        if entry.n not in void
    ]


def evaluated_in(ledger: Ledger) -> list[tuple[str, ImageSet]]:
    """Each model that was evaluated, and on which images."""
    return [(entry.model, ledger.images(entry.images)) for entry in ledger.of(Access)]


def models_on(ledger: Ledger, images: ImageSet) -> list[str]:
    """The models that were evaluated or certified on images of a set, in the order of their first time."""
    entries = (entry for entry in ledger.of(OnImages) if isinstance(entry, Access | Granted))
    return list(dict.fromkeys(entry.model for entry in entries if ledger.images(entry.images) & images))


def _granted(
    made: Sequence[Attempt], evaluated: Sequence[tuple[str, ImageSet]], asked: Asked, lower_by: float
) -> Grant:
    try:
        return grant(made, evaluated, asked)
    except CertificateError:
        confidence = round(joint_confidence(made, asked.images) - lower_by, DIGITS)
        if not lower_by or confidence <= 0:
            raise
        return grant(made, evaluated, replace(asked, confidence=confidence))


def _lost_plans(made: list[Attempt], attempt: Attempt, spent: float) -> list[Attempt]:
    """What stands for plans that an attempt counted and the ledger lacks: their error probability, and no place."""
    known = {other.plan: other.delta * other.planned for other in made}
    lost = [plan for plan in attempt.counted if plan not in known]
    left = spent - sum(known.get(plan, 0.0) for plan in attempt.counted)
    if left <= CLOSE or not lost:
        return []
    share = left / len(lost)
    stand_in = replace(attempt, confidence=1 - share, delta=share, planned=1, counted=())
    return [replace(stand_in, identity=f"lost: {plan}", plan=plan) for plan in lost]


def _entry_of(ledger: Ledger, identity: str) -> Granted:
    """The last one: an attempt whose place was given back may have been made again."""
    return next(entry for entry in reversed(ledger.of(Granted)) if entry.attempt == identity)


def _place(file: Path, entry: Granted, made: list[Attempt]) -> LedgerPlace:
    """What a certificate says of the ledger; the same whenever the attempt is repeated."""
    plans = {other.plan: other for other in made if other.plan in entry.counted}
    return LedgerPlace(
        path=place_of(file),
        entry=entry.n,
        attempt=entry.attempt,
        plan=entry.plan,
        number=entry.number,
        planned=entry.planned,
        delta=entry.delta,
        spent_before=sum(other.delta * other.planned for other in plans.values()),
        counted=entry.counted,
    )


def _attempted(claim: Claim, identity: str, digest: str, run: str, data: str) -> Attempted:
    """What the ledger says of an attempt whether or not it is granted."""
    return Attempted(
        images=digest,
        model=claim.model.weights_sha256,
        run=run,
        data=data,
        attempt=identity,
        group=claim.group,
        false_negative_rate=claim.false_negative_rate,
        form=claim.model.form or "float",
    )


def _grant(ledger: Ledger, attempted: Attempted, attempt: Attempt, number: int, carried: Path | None = None) -> None:
    granted = {
        **attempted.given(),
        "attempt": attempt.identity,
        "confidence": attempt.confidence,
        "delta": attempt.delta,
        "plan": attempt.plan,
        "planned": attempt.planned,
        "number": number,
        "counted": list(attempt.counted),
    }
    ledger.add(Granted(**granted | ({"carried": str(carried)} if carried else {})))


def _refuse(ledger: Ledger, attempted: Attempted, reason: str) -> None:
    refusals = ledger.of(Refusal)
    if not any(entry.attempt == attempted.attempt and entry.reason == reason for entry in refusals):
        ledger.add(Refusal(**{**attempted.given(), "reason": reason}))


def _carry_over(ledger: Ledger, certificates: Iterable[Path], about: str, digest: str, data: str) -> list[str]:
    """Add the attempts of certificates at hand that the ledger lacks.

    They were made before there was one, or recorded in another one: this one was cut short, exchanged, or copied from
    elsewhere.
    """
    notes = []
    for file, certificate in ((name, one) for name in sorted(set(certificates)) for one in _whole(name)):
        if certificate.data.digest != about:
            continue
        place, claim = certificate.ledger, Claim.of(certificate)
        identity = place.attempt if place else claim.identity(about)
        made = attempts_of(ledger)
        if any(attempt.identity == identity for attempt in made):
            continue
        attempt = Attempt(
            identity=identity,
            model=claim.model.weights_sha256,
            images=ledger.images(digest),
            confidence=claim.confidence,
            delta=place.delta if place else 1 - claim.confidence,
            plan=place.plan if place else identity,
            planned=place.planned if place else 1,
            counted=tuple(place.counted) if place else (),
        )
        attempted = _attempted(claim, identity, digest, str(file.parent), data)
        for lost in _lost_plans(made, attempt, place.spent_before if place else 0.0):
            _grant(ledger, attempted, lost, 1, carried=file)
        _grant(ledger, attempted, attempt, place.number if place else 1, carried=file)
        if place:  # one of before there were ledgers is no surprise
            notes.append(f"WARNING: {CARRIED.format(ledger=place_of(ledger.file), file=file)}")
    return notes


def _whole(file: Path) -> list[Certificate]:
    """The certificates in a file, one of each finding; none where it does not exist or was changed."""
    written = read_json(file, as_written=True) if file.exists() else {}
    if not is_whole(written):
        return []
    try:
        if written.get("task") == "findings":
            return list(FindingsCertificate.model_validate(written).findings.values())
        return [Certificate.model_validate(current(written))]
    except ValidationError:
        return []

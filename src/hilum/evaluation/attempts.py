"""Attempts to certify in the ledger, recorded before a score is seen: of two processes one has the last place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.data.dataset import Table
from hilum.errors import CertificateError
from hilum.evaluation.certificate_check import is_sealed
from hilum.evaluation.cohort import digest_of
from hilum.evaluation.ledger import ImageSet, Ledger, image_set, open_ledger, place_of
from hilum.evaluation.spending import CLOSE, Asked, Attempt, Grant, grant, joint_confidence
from hilum.training.run import read_json

DIGITS = 9  # of a confidence that is found by subtraction
CARRIED = "the ledger {ledger} lacked the attempt of {file}, which was added to it"


@dataclass(frozen=True)
class Reserved:
    """A place in the ledger that an attempt has taken.

    Attributes:
        confidence: The confidence to be stated.
        level: The confidence at which the certificate is to be computed.
        time: When the attempt was first made.
        facts: What the certificate says of the ledger.
        notes: What has to be known about it.
    """

    confidence: float
    level: float
    time: str
    facts: dict[str, Any]
    notes: tuple[str, ...]


def reserve(
    file: Path,
    table: Table,
    claim: Mapping[str, Any],
    *,
    run: Path,
    attempts: int | None = None,
    certificates: Iterable[Path] = (),
    check: Callable[[float], None] | None = None,
    lower_by: float = 0.0,
) -> Reserved:
    """Take a place for an attempt, before anybody computes a score.

    Args:
        file: The ledger.
        table: The images of the patients that are to certify, with the column ``sha256``.
        claim: All that decides what the certificate says: ``model`` with its ``weights_sha256``, ``group``,
            ``members``, ``miss_rate``, ``confidence``, and whatever else is claimed.
        run: Where the run lies, as the user named it; for people who read the ledger.
        attempts: How many attempts are planned on these patients.
        certificates: Earlier certificates of the run, which count where the ledger lacks them.
        check: Is given the confidence of this attempt, and raises where these patients are too few for it; then nothing
            is spent.
        lower_by: What the attempt may spend of its own where nothing is left at the claim's confidence; the confidence
            that is stated is then lower by it. 0 to be refused instead.

    Raises:
        CertificateError: Nothing is left for it, or `check` raised it; the ledger records the refusal.
        LedgerError: The ledger is damaged, or cannot be written.
    """
    images, about = image_set(row.sha256 for row in table.rows), digest_of(table)
    identity = identity_of(claim, about)
    weights, stated = str(claim["model"]["weights_sha256"]), float(claim["confidence"])
    what = {
        "group": claim["group"],
        "miss_rate": claim["miss_rate"],
        "model": weights,
        "form": claim["model"].get("form", "float"),
        "run": str(run),
        "data": table.root.name,
    }
    with open_ledger(file) as ledger:
        digest = ledger.add_images(images)
        notes = _carry_over(ledger, certificates, about, digest, table.root.name)
        asked = Asked(identity, weights, images, stated, attempts)
        try:
            given = _granted(ledger, asked, lower_by)
            if check:
                check(given.level)
        except CertificateError as error:
            _refuse(ledger, identity, digest, what, str(error))
            msg = f"{error} Ledger: {place_of(file)}."
            raise CertificateError(msg, code=error.code) from error
        if not given.repeated:
            _add_attempt(ledger, given.attempt, given.number, digest, what)
        entry = _entry_of(ledger, identity)
        return Reserved(
            given.attempt.confidence, given.level, entry["time"], _facts(file, entry, attempts_of(ledger)), tuple(notes)
        )


def record_result(file: Path, facts: Mapping[str, Any]) -> None:
    """Note what an attempt came to.

    Args:
        file: The ledger.
        facts: The sealed certificate.

    Raises:
        LedgerError: The ledger is damaged, or cannot be written.
    """
    identity, seal = facts["ledger"]["attempt"], facts["seal"]
    with open_ledger(file) as ledger:
        if any(entry["seal"] == seal for entry in ledger.of("result")):
            return
        result = {key: facts[key] for key in ("threshold", "n_patients", "missed_here")}
        ledger.add("result", attempt=identity, seal=seal, **result)


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
        entry = _entry_of(ledger, place.facts["attempt"])
        if np.isfinite(scores).all():
            what = {key: entry[key] for key in ("group", "miss_rate", "model", "form", "run", "data")}
            _refuse(ledger, entry["attempt"], entry["images"], what, reason)
        elif not any(result["attempt"] == entry["attempt"] for result in ledger.of("result")):
            ledger.add("void", attempt=entry["attempt"], entry=entry["n"], reason=reason)


def attempts_of(ledger: Ledger) -> list[Attempt]:
    """All attempts that a ledger holds, in order; without those whose place was given back."""
    void = {entry["entry"] for entry in ledger.of("void")}
    return [
        Attempt(
            identity=entry["attempt"],
            model=entry["model"],
            images=ledger.images(entry["images"]),
            confidence=entry["confidence"],
            delta=entry["delta"],
            plan=entry["plan"],
            planned=entry["planned"],
            counted=tuple(entry["counted"]),
            carried=entry["number"] if "carried" in entry else 0,
        )
        for entry in ledger.of("attempt")
        if entry["n"] not in void
    ]


def evaluated_in(ledger: Ledger) -> list[tuple[str, ImageSet]]:
    """Each model that was evaluated, and on which images."""
    return [(entry["model"], ledger.images(entry["images"])) for entry in ledger.of("access")]


def identity_of(claim: Mapping[str, Any], about: str) -> str:
    """Hash of all that makes an attempt this one: the claim, and files, patients and labels of the data."""
    text = json.dumps({"claim": dict(claim), "data": about}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _granted(ledger: Ledger, asked: Asked, lower_by: float) -> Grant:
    made, evaluated = attempts_of(ledger), evaluated_in(ledger)
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


def _entry_of(ledger: Ledger, identity: str) -> dict[str, Any]:
    """The last one: an attempt whose place was given back may have been made again."""
    return next(entry for entry in reversed(ledger.of("attempt")) if entry["attempt"] == identity)


def _facts(file: Path, entry: Mapping[str, Any], made: list[Attempt]) -> dict[str, Any]:
    """What a certificate says of the ledger; the same whenever the attempt is repeated."""
    plans = {other.plan: other for other in made if other.plan in entry["counted"]}
    return {
        "path": place_of(file),
        "entry": entry["n"],
        "attempt": entry["attempt"],
        "plan": entry["plan"],
        "number": entry["number"],
        "planned": entry["planned"],
        "delta": entry["delta"],
        "spent_before": sum(other.delta * other.planned for other in plans.values()),
        "counted": list(entry["counted"]),
    }


def _add_attempt(
    ledger: Ledger, attempt: Attempt, number: int, digest: str, what: Mapping[str, Any], **more: Any
) -> None:
    ledger.add(
        "attempt",
        attempt=attempt.identity,
        images=digest,
        confidence=attempt.confidence,
        delta=attempt.delta,
        plan=attempt.plan,
        planned=attempt.planned,
        number=number,
        counted=list(attempt.counted),
        **what,
        **more,
    )


def _refuse(ledger: Ledger, identity: str, digest: str, what: Mapping[str, Any], reason: str) -> None:
    known = any(entry["attempt"] == identity and entry["reason"] == reason for entry in ledger.of("refusal"))
    if not known:
        ledger.add("refusal", attempt=identity, images=digest, reason=reason, **what)


def _carry_over(ledger: Ledger, certificates: Iterable[Path], about: str, digest: str, data: str) -> list[str]:
    """Add the attempts of certificates at hand that the ledger lacks.

    They were made before there was one, or recorded in another one: this one was cut short, exchanged, or copied from
    elsewhere.
    """
    notes = []
    for file in sorted(set(certificates)):
        facts = read_json(file) if file.exists() else {}
        if not is_sealed(facts) or facts.get("data", {}).get("digest") != about:
            continue
        recorded = facts.get("ledger") or {}
        claim = {key: facts[key] for key in ("group", "members", "miss_rate", "confidence", "model")}
        identity = recorded.get("attempt") or identity_of(claim, about)
        made = attempts_of(ledger)
        if any(attempt.identity == identity for attempt in made):
            continue
        stated = facts["confidence"]
        attempt = Attempt(
            identity=identity,
            model=facts["model"]["weights_sha256"],
            images=ledger.images(digest),
            confidence=stated,
            delta=recorded.get("delta", 1 - stated),
            plan=recorded.get("plan", identity),
            planned=recorded.get("planned", 1),
            counted=tuple(recorded.get("counted", ())),
        )
        what = {
            "group": facts["group"],
            "miss_rate": facts["miss_rate"],
            "model": attempt.model,
            "run": str(file.parent),
        }
        what |= {"form": facts["model"].get("form", "float"), "data": data}
        for lost in _lost_plans(made, attempt, recorded.get("spent_before", 0.0)):
            _add_attempt(ledger, lost, 1, digest, what, carried=str(file))
        _add_attempt(ledger, attempt, recorded.get("number", 1), digest, what, carried=str(file))
        if recorded:  # one of before there were ledgers is no surprise
            notes.append(f"WARNING: {CARRIED.format(ledger=place_of(ledger.file), file=file)}")
    return notes

"""Accesses to test images in the ledger: whether a result is confirmatory, or how many models came before."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import ValidationError

from hilum.errors import LedgerError
from hilum.evaluation.attempts import attempts_of, models_on
from hilum.evaluation.cohort import EvaluationSet
from hilum.evaluation.ledger import Access, ImageSet, Ledger, image_set, ledger_file, open_ledger, place_of
from hilum.evaluation.spending import CLOSE, joint_confidence
from hilum.evaluation.triage_schema import Certificate
from hilum.files import save_json
from hilum.stats.records import Record
from hilum.training.multirun import PLAN
from hilum.training.run import Run, read_json

FILE = "access_log.json"
LOOKS = "looks.json"  # of versions without a ledger: how often a run was evaluated in a folder
CROSSVAL = "cross-validation"
SERVED = ("train", "val")  # of a run's own data: what fitted or chose it is no test


class AccessLog(Record):
    """What is known of an evaluation's access to its images: ``access_log.json``.

    Attributes:
        ledger: Where it is recorded.
        access: Which model this is on these images, from 1; None where nothing could be recorded.
        models: How many there are so far.
        confirmatory: The first one, and nobody is known to have come before the ledger began.
        joint: Confidence of all certificates on the certificate's patients together, where it is lower than the
            certificate's own, since others were made after it.
        began: The day on which the ledger began.
        note: Why nothing could be recorded.
        unrecorded: Evaluations by this run from before the ledger began.
    """

    ledger: str = ""
    access: int | None = None
    models: int | None = None
    confirmatory: bool = False
    joint: float | None = None
    began: str = ""
    note: str = ""
    unrecorded: int = 0


def record_access(
    run: Run,
    evaluated: EvaluationSet,
    folder: Path,
    *,
    certificate: Certificate | None = None,
    file: Path | None = None,
) -> AccessLog | None:
    """Record that a model was evaluated on some images, and count the models before it.

    The same model on the same images again is no new access. The folds of a cross-validation are one model.

    Args:
        run: The model.
        evaluated: The images. Of the run's own data, train and val are no test, and are not recorded.
        folder: Of the evaluation; ``access_log.json`` is written there, beside the measures, which do not depend on it.
        certificate: In force, if there is one.
        file: The ledger, if not the default.

    Returns:
        What was recorded; None for train and val.
    """
    if evaluated.own and evaluated.split in SERVED:
        return None
    file, table = ledger_file(file), evaluated.images.table
    before = read_access(folder)
    unrecorded = max(before.unrecorded, _looks(folder))
    model, images = _model(run), image_set(row.sha256 for row in table.rows)
    known = AccessLog(ledger=place_of(file), access=None, models=None, confirmatory=False, joint=None)
    try:
        with open_ledger(file) as ledger:
            if not any(ledger.images(entry.images) == images for entry in _own(ledger, model, images)):
                ledger.add(
                    Access(
                        images=ledger.add_images(images),
                        model=model,
                        run=str(run.path),
                        data=table.root.name,
                        split=evaluated.split,
                        least=before.access or 0,
                        unrecorded=unrecorded,
                    )
                )
            order = models_on(ledger, images)
            own = _own(ledger, model, images)
            number = max(order.index(model) + 1, *(entry.least for entry in own))
            unrecorded = max(entry.unrecorded for entry in own)
            joint = _joint(ledger, certificate) if certificate else None
            known = known.model_copy(update={"joint": joint, "began": ledger.entries[0].time[:10]})
    except LedgerError as error:
        note = f"this access to the images was not recorded: {error}"
        found = {"access": before.access, "models": before.models, "note": note}
    else:
        models, first = max(len(order), number), number == 1 and not unrecorded
        found = {"access": number, "models": models, "confirmatory": first, "note": ""}
    log = known.model_copy(update={**found, "unrecorded": unrecorded})
    save_json(folder / FILE, log.as_json())
    return log


def read_access(folder: Path) -> AccessLog:
    """What ``access_log.json`` says of an evaluation; of one by an older version, what ``looks.json`` says."""
    if found := read_json(folder / FILE):
        try:
            return AccessLog.model_validate(found)
        except ValidationError:
            return AccessLog(note=f"{folder / FILE}: not in hilum's format; the number of accesses is unknown")
    return AccessLog(unrecorded=_looks(folder))


def _looks(folder: Path) -> int:
    """How often versions without a ledger recorded an evaluation in a folder."""
    looks = read_json(folder / LOOKS).get("looks", 0)
    return looks if isinstance(looks, int) else 0


def access_sentence(log: AccessLog | None) -> str:
    """Whether an evaluation is confirmatory, in words; empty where nothing is known.

    Args:
        log: As `record_access` gives it.
    """
    if log is None or log.note:
        return log.note if log else ""
    times = log.unrecorded
    counted = f"evaluated {times} time{'s' if times > 1 else ''} before the ledger began"
    if log.access is None:
        return f"accesses to these images: in no ledger ({counted if times else 'how often they were seen is unknown'})"
    number, models, where = log.access, log.models or log.access, f"ledger {log.ledger}"
    since = f"; {models - number} more since" if models > number else ""
    if log.confirmatory:
        began = f", which began on {log.began}" if log.began else ""
        return (
            f"confirmatory as far as is recorded: the first model evaluated on these images{since} ({where}{began}; "
            "earlier use of these images is unknown)"
        )
    if number == 1:
        return f"access 1, but this run was {counted}{since} ({where})"
    others = f"{number - 1} other model{'s were' if number > 2 else ' was'}"
    return f"access {number}: {others} evaluated on these images before{since} ({where})"


def joint_sentence(log: AccessLog | None) -> str:
    """What later certificates on its patients make of the one in force; empty where there are none."""
    if log is None or log.joint is None:
        return ""
    return (
        "since the certificate, others were made on its patients, and the best may have been selected: all of them "
        f"hold jointly with {100 * log.joint:.4g} % confidence"
    )


def _joint(ledger: Ledger, certificate: Certificate) -> float | None:
    identity = certificate.ledger.attempt if certificate.ledger else ""
    made = attempts_of(ledger)
    images = next((attempt.images for attempt in made if attempt.identity == identity), frozenset())
    joint = joint_confidence(made, images)
    return joint if joint < certificate.confidence - CLOSE else None


def _own(ledger: Ledger, model: str, images: ImageSet) -> list[Access]:
    entries = (entry for entry in ledger.of(Access) if entry.model == model)
    return [entry for entry in entries if ledger.images(entry.images) & images]


def _model(run: Run) -> str:
    """The hash of the weights; the folds of a cross-validation have that of its plan."""
    plan = read_json(run.path.parent / PLAN)
    if plan.get("kind") == CROSSVAL:
        return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
    return str(run.environment.weights_sha256)

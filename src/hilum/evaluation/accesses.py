"""Accesses to test images in the ledger: whether a result is confirmatory, or how many models came before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hilum.errors import LedgerError
from hilum.evaluation.attempts import attempts_of
from hilum.evaluation.cohort import EvaluationSet
from hilum.evaluation.ledger import ImageSet, Ledger, image_set, ledger_file, open_ledger, place_of
from hilum.evaluation.spending import CLOSE, joint_confidence
from hilum.files import save_json
from hilum.training.multirun import PLAN
from hilum.training.run import Run, read_json

FILE = "access_log.json"
LOOKS = "looks.json"  # of versions without a ledger: how often a run was evaluated in a folder
CROSSVAL = "cross-validation"
SERVED = ("train", "val")  # of a run's own data: what fitted or chose it is no test


def record_access(
    run: Run,
    evaluated: EvaluationSet,
    folder: Path,
    *,
    certificate: Mapping[str, Any] | None = None,
    file: Path | None = None,
) -> dict[str, Any]:
    """Record that a model was evaluated on some images, and count the models before it.

    The same model on the same images again is no new access. The folds of a cross-validation are one model.

    Args:
        run: The model.
        evaluated: The images. Of the run's own data, train and val are no test, and are not recorded.
        folder: Of the evaluation; ``access_log.json`` is written there, beside the measures, which do not depend on it.
        certificate: In force, if there is one.
        file: The ledger, if not the default.

    Returns:
        ``ledger``, and the day it ``began``; ``access``: which model this is on these images, from 1 (None where
        nothing could be recorded); ``models``: how many there are so far; ``confirmatory``: the first one, and nobody
        is known to have come before there was a ledger; ``unrecorded``: evaluations by this run from before; ``joint``:
        the confidence of all certificates on the certificate's patients together, where it is lower than the
        certificate's own, since others were made after it; ``note``. Empty for train and val.
    """
    if evaluated.own and evaluated.split in SERVED:
        return {}
    file, table = ledger_file(file), evaluated.images.table
    before = read_json(folder / FILE)
    looks = read_json(folder / LOOKS).get("looks", 0)
    unrecorded = max(looks if isinstance(looks, int) else 0, before.get("unrecorded", 0))
    earlier = before.get("access") or 0
    model, images = _model(run), image_set(row.sha256 for row in table.rows)
    found: dict[str, Any] = {"ledger": place_of(file), "access": None, "models": None, "confirmatory": False}
    found["joint"] = None
    try:
        with open_ledger(file) as ledger:
            if not any(ledger.images(entry["images"]) == images for entry in _own(ledger, model, images)):
                what = {
                    "split": evaluated.split,
                    "run": str(run.path),
                    "data": table.root.name,
                    "unrecorded": unrecorded,
                }
                ledger.add("access", images=ledger.add_images(images), model=model, least=earlier, **what)
            order = models_on(ledger, images)
            own = _own(ledger, model, images)
            number = max(order.index(model) + 1, *(entry["least"] for entry in own))
            unrecorded = max(entry["unrecorded"] for entry in own)
            found["joint"] = _joint(ledger, certificate) if certificate else None
            found["began"] = ledger.entries[0]["time"][:10]
    except LedgerError as error:
        note = f"this access to the images was not recorded: {error}"
        found |= {"access": before.get("access"), "models": before.get("models"), "note": note}
    else:
        models, first = max(len(order), number), number == 1 and not unrecorded
        found |= {"access": number, "models": models, "confirmatory": first, "note": ""}
    found["unrecorded"] = unrecorded
    save_json(folder / FILE, found)
    return found


def read_access(folder: Path) -> dict[str, Any]:
    """What ``access_log.json`` says of an evaluation; of one by an older version, what ``looks.json`` says."""
    found = read_json(folder / FILE)
    if found:
        return found
    looks = read_json(folder / LOOKS).get("looks")
    known = looks if isinstance(looks, int) else 0
    return {
        "access": None,
        "models": None,
        "confirmatory": False,
        "unrecorded": known,
        "ledger": "",
        "joint": None,
        "note": "",
    }


def access_sentence(access: Mapping[str, Any]) -> str:
    """Whether an evaluation is confirmatory, in words; empty where nothing is known.

    Args:
        access: As `record_access` gives it.
    """
    if not access:
        return ""
    if access["note"]:
        return str(access["note"])
    times = access["unrecorded"]
    counted = f"evaluated {times} time{'s' if times > 1 else ''} before there was a ledger"
    if access["access"] is None:
        return f"accesses to these images: in no ledger ({counted if times else 'how often they were seen is unknown'})"
    number, models, where = access["access"], access["models"], f"ledger {access['ledger']}"
    since = f"; {models - number} more since" if models > number else ""
    if access["confirmatory"]:
        began = f", which began on {access['began']}" if access.get("began") else ""
        return (
            f"confirmatory as far as is recorded: the first model evaluated on these images{since} ({where}{began}; "
            "whether earlier ones chose anything by these images it cannot know)"
        )
    if number == 1:
        return f"access 1, but this run was {counted}{since} ({where})"
    others = f"{number - 1} other model{'s were' if number > 2 else ' was'}"
    return f"access {number}: {others} evaluated on these images before{since} ({where})"


def joint_sentence(access: Mapping[str, Any]) -> str:
    """What later certificates on its patients make of the one in force; empty where there are none."""
    if not access or access.get("joint") is None:
        return ""
    return (
        "since the certificate, others were made on its patients, and the best may have been kept: all of them hold "
        f"together with {100 * access['joint']:.4g} % confidence"
    )


def models_on(ledger: Ledger, images: ImageSet) -> list[str]:
    """The models that were evaluated or certified on images of a set, in the order of their first time."""
    entries = ledger.of("access", "attempt")
    return list(dict.fromkeys(entry["model"] for entry in entries if ledger.images(entry["images"]) & images))


def _joint(ledger: Ledger, certificate: Mapping[str, Any]) -> float | None:
    identity = certificate.get("ledger", {}).get("attempt")
    made = attempts_of(ledger)
    images = next((attempt.images for attempt in made if attempt.identity == identity), frozenset())
    joint = joint_confidence(made, images)
    return joint if joint < certificate["confidence"] - CLOSE else None


def _own(ledger: Ledger, model: str, images: ImageSet) -> list[dict[str, Any]]:
    entries = (entry for entry in ledger.of("access") if entry["model"] == model)
    return [entry for entry in entries if ledger.images(entry["images"]) & images]


def _model(run: Run) -> str:
    """The hash of the weights; the folds of a cross-validation have that of its plan."""
    plan = read_json(run.path.parent / PLAN)
    if plan.get("kind") == CROSSVAL:
        return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
    return str(run.environment.weights_sha256)

"""A certificate anew for another form of the same network, such as one of fewer bits: by its own scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.data.cache import Images
from hilum.errors import CertificateError, LedgerError
from hilum.evaluation.attempts import record_failure, record_result, reserve
from hilum.evaluation.calibration import for_temperature
from hilum.evaluation.certificate_check import FILE, seal
from hilum.evaluation.certified_patients import certificate_of
from hilum.evaluation.cohort import digest_of
from hilum.evaluation.ledger import ledger_file
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.upper_threshold import UpperSide
from hilum.training.run import Run

GONE = "the certificate speaks of the float network and is not in force for this one"


def certify_form(
    run: Run,
    certificate: Mapping[str, Any],
    images: Images,
    probabilities: Callable[[Images], NDArray[np.float64]],
    form: Mapping[str, Any],
) -> tuple[dict[str, Any] | None, str]:
    """Certify another form of a run's network by the same rule, group and bound, on the very same patients.

    It is one more attempt on these patients (`hilum.evaluation.spending`): it takes a place of the plan in force; where
    none is left, its confidence is lower by what it spends, and is that of both certificates together.

    Args:
        run: A finished run.
        certificate: Of the run's network, in force.
        images: The run's own data with its splits.
        probabilities: What the other form answers, calibrated, of shape (N, K).
        form: What tells the other form from the run's network; goes into the certificate's ``model``.

    Returns:
        A sealed certificate, or None; and one sentence about it.
    """
    split = certificate["data"]["split"]
    if not certificate["data"]["own"]:
        return None, f"{GONE}: it was made on other data than the run's own"
    chosen = images.select(i for i, row in enumerate(images.table.rows) if row.split == split)
    if split == "calibration" and certificate["model"]["temperatures"]:
        chosen = chosen.select(np.flatnonzero(~for_temperature(chosen.table.patients())).tolist())
    if digest_of(chosen.table) != certificate["data"]["digest"]:
        return None, f"{GONE}: its patients are not those that the run now has"
    predictions = Predictions.of(chosen.table, run.labels, probabilities(chosen))
    claim = {key: certificate[key] for key in ("group", "members", "miss_rate", "confidence")}
    upper = UpperSide.of(certificate.get("upper"))
    claim |= {"upper": asdict(upper)} if upper else {}
    claim["model"] = {**certificate["model"], **form}
    alone = certificate.get("ledger", {}).get("delta", 1 - certificate["confidence"])
    book = ledger_file(Path(of) if (of := certificate.get("ledger", {}).get("path")) else None)
    try:
        place = reserve(book, chosen.table, claim, run=run.path, certificates=[run.path / FILE], lower_by=alone)
        try:
            found = certificate_of(
                predictions,
                claim["group"],
                claim["members"],
                miss_rate=claim["miss_rate"],
                confidence=place.level,
                upper=upper,
            )
        except CertificateError as error:
            record_failure(book, place, str(error), predictions.probabilities)
            raise
    except (CertificateError, LedgerError) as error:
        return None, f"{GONE}: {error}"
    facts = {key: value for key, value in certificate.items() if key != "seal"}
    facts |= {**found, "confidence": place.confidence, "ledger": place.facts}
    facts |= {"model": claim["model"], "exchangeability": None}
    said = f"certified anew by its own scores on the same {found['n_patients']:,} {found['unit']}"
    if place.confidence < certificate["confidence"]:
        said += f", at {100 * place.confidence:.4g} % confidence for it and the float network's certificate together"
    sealed = seal({**facts, "notes": [*certificate["notes"], said]})
    record_result(book, sealed)
    return sealed, said

"""A certificate anew for another form of the same network, such as one of fewer bits: by its own scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.data.cache import Images
from hilum.errors import CertificateError
from hilum.evaluation.certified_patients import certificate_of
from hilum.evaluation.overlap import digest_of
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.sealed import seal
from hilum.evaluation.temperature import for_temperature
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

    Each of the two certificates holds by itself with its confidence; both at once hold with less.

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
    try:
        found = certificate_of(
            predictions,
            certificate["group"],
            certificate["members"],
            miss_rate=certificate["miss_rate"],
            confidence=certificate["confidence"],
            upper=UpperSide.of(certificate.get("upper")),
        )
    except CertificateError as error:
        return None, f"{GONE}: {error}"
    facts = {key: value for key, value in certificate.items() if key != "seal"}
    facts |= {**found, "model": {**certificate["model"], **form}, "exchangeability": None}
    said = f"certified anew by its own scores on the same {found['n_patients']:,} {found['unit']}"
    return seal({**facts, "notes": [*certificate["notes"], said]}), said

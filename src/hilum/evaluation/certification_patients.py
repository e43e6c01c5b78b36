"""What patients certify: the threshold, what it costs the others, and how it compares with other patients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hilum.data.cache import Images
from hilum.data.dataset import one_image_each
from hilum.decision.operating_point import OperatingPoint, triage_images
from hilum.errors import CertificateError, LedgerError
from hilum.evaluation.attempts import Reserved, record_failure, record_result, reserve
from hilum.evaluation.certificate import (
    UpperSide,
    allowed_rank,
    certified_threshold,
    certify_upper,
    missing_patients,
    round_down,
    split_confidence,
)
from hilum.evaluation.certificate_check import FILE, with_checksum
from hilum.evaluation.claim import Claim
from hilum.evaluation.cohort import digest_of
from hilum.evaluation.ledger import ledger_file
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.triage import count_outcomes, flagged_by_label, scores_by_patient, shares_to_read
from hilum.evaluation.triage_schema import (
    Certificate,
    CertifiedModel,
    GroupOutcomes,
    Guarantee,
    ImageNumbers,
    Scores,
)
from hilum.stats.calibration import for_temperature
from hilum.training.run import Run

Floats = NDArray[np.float64]


def certificate_of(
    predictions: Predictions,
    group: str,
    members: Sequence[str],
    *,
    false_negative_rate: float,
    confidence: float,
    upper: UpperSide | None = None,
) -> Guarantee:
    """The thresholds that certain patients certify, and what they cost the others.

    Args:
        predictions: Of images of patients that nothing was fitted to.
        group: What must not be missed.
        members: Its labels.
        false_negative_rate: The bound.
        confidence: How sure all that is guaranteed has to be, together.
        upper: What is to be guaranteed of those who are flagged; None for one threshold alone.

    Raises:
        CertificateError: Scores are no numbers, or patients are too few.
    """
    if not np.isfinite(predictions.probabilities).all():
        bad = predictions.paths[int(np.flatnonzero(~np.isfinite(predictions.probabilities).all(axis=1))[0])]
        msg = f"{bad}: the network's output is not a number. It cannot be certified: train again."
        raise CertificateError(msg, code="not-a-number")
    scores, others = scores_by_patient(predictions, members)
    sure = split_confidence(confidence, two_sided=upper is not None)
    rank = allowed_rank(len(scores), false_negative_rate, sure)
    exact = certified_threshold(scores, false_negative_rate, sure)
    if exact is None:
        msg = too_few(
            len(scores), group, false_negative_rate, sure, "calibration patients", two_sided=upper is not None
        )
        raise CertificateError(msg, code="too-few-patients")
    threshold = round_down(exact)
    above = certify_upper(scores, others, upper, sure, threshold) if upper else None
    single, images = image_scores(predictions, members)
    point = OperatingPoint(
        group,
        tuple(members),
        threshold,
        above.threshold if above else None,
        round_down(float(np.sort(single)[rank - 1])),
    )
    decisions = triage_images(point, predictions.probabilities, predictions.labels, together=True)
    outcomes, by_label = count_outcomes(decisions, predictions, members)
    return Guarantee(
        group=group,
        members=list(members),
        false_negative_rate=false_negative_rate,
        confidence=confidence,
        lower_confidence=sure,
        threshold=threshold,
        upper_threshold=point.upper_threshold,
        image_threshold=point.image_threshold,
        rank=rank,
        n_patients=len(scores),
        false_negatives=int((scores < threshold).sum()),
        resampling_unit="patients" if all(predictions.patients) else "images",
        images=images,
        one_image_below=int((single < threshold).sum()),
        upper=above,
        outcomes=GroupOutcomes(group=outcomes, others=by_label),
        read=shares_to_read({group: outcomes, **by_label}) if above else None,
        flagged=flagged_by_label(others, point.flag_from, confidence),
        reference=Scores(
            group=sorted(map(float, scores)),
            others=sorted(float(value) for values in others.values() for value in values),
        ),
    )


def image_scores(predictions: Predictions, members: Sequence[str]) -> tuple[Floats, ImageNumbers]:
    """The score of one image of each patient with the disease, and how many images they have that show it.

    A hash of its path selects the image, which no score can influence. For an image that is decided about by
    itself, these are what the scores of whole patients are for a patient.

    Args:
        predictions: Of N images.
        members: The labels of the group.

    Returns:
        Of shape (n,); and the numbers of images.
    """
    scores = OperatingPoint("", tuple(members), 0.0).scores(predictions.probabilities, predictions.labels)
    inside = np.isin(predictions.truth, [predictions.labels.index(label) for label in members])
    here = predictions.take(np.flatnonzero(inside))
    counts = Counter(here.clusters)
    sizes = Counter(counts.values())
    images = ImageNumbers(
        mean=sum(counts.values()) / len(counts) if counts else 0.0,
        max=max(sizes, default=0),
        distribution={str(size): sizes[size] for size in sorted(sizes)},
    )
    return scores[inside][one_image_each(here.paths, here.clusters)], images


def too_few(
    count: int, group: str, false_negative_rate: float, confidence: float, where: str, *, two_sided: bool = False
) -> str:
    """The refusal in words: how many there are, how many are missing, and what so few can certify."""
    have = f"{count} patient{'' if count == 1 else 's'}" if count else "not one patient"
    rest = " (the rest of the error is for the upper side)" if two_sided else ""
    return (
        f"{where}: {have} with {group} unseen by the run; to guarantee a sensitivity of "
        f"{100 - 100 * false_negative_rate:g} % with {100 * confidence:g} % confidence{rest} "
        f"{missing_patients(count, false_negative_rate, confidence)}"
    )


GONE = "the certificate is about the float network and is not in force for this one"


def certify_form(
    run: Run,
    certificate: Certificate,
    images: Images,
    probabilities: Callable[[Images], NDArray[np.float64]],
    form: Mapping[str, str],
) -> tuple[Certificate | None, str]:
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
        A certificate, or None; and one sentence about it.
    """
    split = certificate.data.split
    if not certificate.data.own:
        return None, f"{GONE}: it was not made on the run's own data"
    chosen = images.select(i for i, row in enumerate(images.table.rows) if row.split == split)
    if split == "calibration" and certificate.model.temperatures:
        chosen = chosen.select(np.flatnonzero(~for_temperature(chosen.table.patients())).tolist())
    if digest_of(chosen.table) != certificate.data.digest:
        return None, f"{GONE}: its patients differ from the run's present patients"
    predictions = Predictions.of(chosen.table, run.labels, probabilities(chosen))
    model = CertifiedModel.model_validate({**certificate.model.as_json(), **form})
    claim = Claim.of(certificate, model, UpperSide.of(certificate.upper))
    recorded = certificate.ledger
    book = ledger_file(Path(recorded.path) if recorded and recorded.path else None)
    alone = recorded.delta if recorded else 1 - certificate.confidence
    try:
        place = reserve(book, chosen.table, claim, run=run.path, certificates=[run.path / FILE], lower_by=alone)
        found = certify_at(book, place, predictions, claim)
    except (CertificateError, LedgerError) as error:
        return None, f"{GONE}: {error}"
    said = f"certified again by its own scores on the same {found.n_patients:,} {found.resampling_unit}"
    if place.confidence < certificate.confidence:
        said += f", at {100 * place.confidence:.4g} % confidence for it and the float network's certificate together"
    changed = {"ledger": place.ledger, "model": model, "exchangeability": None, "notes": [*certificate.notes, said]}
    made = certificate.model_copy(update={**found.given(), "confidence": place.confidence, **changed})
    made = with_checksum(made)
    record_result(book, made)
    return made, said


def certify_at(book: Path, place: Reserved, predictions: Predictions, claim: Claim) -> Guarantee:
    """What patients certify at the confidence of a reserved place; a failure is noted in the ledger.

    Args:
        book: The ledger.
        place: What was reserved.
        predictions: Of images of patients that nothing was fitted to.
        claim: What is to be certified.

    Raises:
        CertificateError: Scores are no numbers, or patients are too few.
        LedgerError: The ledger is damaged, or cannot be written.
    """
    try:
        return certificate_of(
            predictions,
            claim.group,
            claim.members,
            false_negative_rate=claim.false_negative_rate,
            confidence=place.level,
            upper=claim.upper,
        )
    except CertificateError as error:
        record_failure(book, place, str(error), predictions.probabilities)
        raise

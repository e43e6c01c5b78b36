"""A run's certificate: whether the file is whole and in force, and how it holds on patients that were evaluated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from hilum.data.cache import Images
from hilum.data.dataset import one_image_each, owner
from hilum.decision.operating_point import CLEAR, triage_images
from hilum.earlier import current
from hilum.errors import CertificateError
from hilum.evaluation.certificate import ANOTHER, upper_claim
from hilum.evaluation.cohort import EvaluationSet, digest_of, run_images
from hilum.evaluation.findings_schema import FindingsCertificate
from hilum.evaluation.leakage import SEEN_AS
from hilum.evaluation.ood_reference import two_sample
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.triage import (
    claim_at_most,
    count_outcomes,
    flagged_by_label,
    scores_by_patient,
    sensitivities,
    shares_to_read,
)
from hilum.evaluation.triage_schema import CHECKSUM, Certificate, CertificateCheck, Guarantee, Scores
from hilum.files import read_text, read_whole, save_bytes
from hilum.progress import Progress
from hilum.stats.exchangeability import compare_scores, with_features
from hilum.stats.intervals import CONFIDENCE
from hilum.stats.records import Exchangeability, PriorStep, Verdict
from hilum.stats.verdicts import REFUTED, at_most, weakest
from hilum.training.run import Run

FEATURES = "calibration_features.safetensors"
MOST = 1000  # patients of each sample whose features are compared
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class _Steps(Protocol):  # of `hilum.evaluation.temperature.Calibration`, which imports this module
    @property
    def temperatures(self) -> dict[str, float] | None: ...
    @property
    def step(self) -> PriorStep | None: ...


def overlap_reason(certificate: Certificate, evaluated: EvaluationSet) -> str:
    """Why patients cannot say how a certificate holds: they chose it, or the run has seen them; empty if they can.

    Args:
        certificate: In force.
        evaluated: The images that are evaluated.
    """
    made = certificate.data
    same = made.own and evaluated.own and made.split == evaluated.split
    if same or made.digest == digest_of(evaluated.images.table):
        return "the certificate's threshold was selected on these patients; validate it on others"
    if evaluated.own and evaluated.split in SEEN_AS:
        return f"the run was {SEEN_AS[evaluated.split]} these patients; validate its certificate on others"
    return ""


def check_certificate(
    run: Run,
    certificate: Certificate,
    evaluated: EvaluationSet,
    predictions: Predictions,
    features: NDArray[np.floating[Any]],
    reasons: Sequence[str],
    progress: Progress,
) -> CertificateCheck:
    """Measure how a certificate holds on other patients, with the test of features where it can be made.

    Args:
        run: A finished run.
        certificate: In force.
        evaluated: The images of these patients.
        predictions: Of these N images.
        features: The network's last features of them, of shape (N, D).
        reasons: Why each image is abstained on, empty where it is not.
        progress: Told about long work.
    """
    found = measure_certificate(certificate, predictions, reasons)
    found = found.model_copy(update={"checksum": certificate.checksum})
    if not found.exchangeability:
        return found
    root = evaluated.root if evaluated.own else None
    shift = feature_shift(run, predictions, features, root, images=evaluated.whole, progress=progress)
    return found.model_copy(update={"exchangeability": with_features(found.exchangeability, shift)})


def measure_certificate(
    guarantee: Guarantee, predictions: Predictions, reasons: Sequence[str] | None = None
) -> CertificateCheck:
    """Count by patient what becomes of those who did not choose the thresholds, and judge what is guaranteed.

    What is guaranteed is that at most so many of those who have the disease are *cleared*: below the threshold, and
    not abstained on. Abstention alone must not make a bad threshold look good: ``below`` judges the threshold as if
    nothing were abstained on.

    Args:
        guarantee: A certificate, or what patients certify.
        predictions: Of other patients, calibrated as the certificate's were.
        reasons: Why each image is abstained on, empty where it is not; by default nothing is.

    Returns:
        ``patients`` with the disease, their ``outcomes`` by decision, the share of them who are cleared with its exact
        95 % interval, ``bound``, ``verdict`` and ``patients_to_decide`` (see `claim_at_most`); ``below``, the same of
        the threshold alone; ``sensitivity`` with referrals counted as found, as missed and excluded; ``flagged``,
        ``others`` and ``read`` by label; ``upper``, the verdict on the upper side (None where there is none); and
        ``exchangeability`` with the certificate's patients.
    """
    point = guarantee.operating_point
    scores, others = scores_by_patient(predictions, point.members)
    bound = guarantee.false_negative_rate
    decisions = triage_images(point, predictions.probabilities, predictions.labels, reasons, together=True)
    outcomes, by_label = count_outcomes(decisions, predictions, point.members)
    claim = claim_at_most(outcomes[CLEAR], len(scores), bound)
    missed = int((scores < point.threshold).sum())
    return CertificateCheck(
        group=point.group,
        threshold=point.threshold,
        patients=len(scores),
        resampling_unit="patients" if all(predictions.patients) else "images",
        outcomes=outcomes,
        cleared=claim.count,
        value=claim.value,
        low=claim.low,
        high=claim.high,
        bound=claim.bound,
        verdict=claim.verdict,
        patients_to_decide=claim.patients_to_decide,
        missed=missed,
        below=claim_at_most(missed, len(scores), bound),
        sensitivity=sensitivities(outcomes),
        others=by_label,
        read=shares_to_read({point.group: outcomes, **by_label}),
        flagged=flagged_by_label(others, point.flag_from, CONFIDENCE),
        upper=upper_claim(guarantee.upper, scores, others) if guarantee.upper else None,
        exchangeability=compare_with(guarantee.reference, predictions, point.members)
        if guarantee.reference and (len(scores) or others)
        else None,
    )


def compare_with(reference: Scores, predictions: Predictions, members: Sequence[str]) -> Exchangeability:
    """Whether other patients look as if they came from where a certificate was made.

    Args:
        reference: Scores of the certificate's patients.
        predictions: Of other patients, by the same model.
        members: The labels of the certificate's group.

    Returns:
        As `hilum.stats.exchangeability.compare_scores` has it.
    """
    group, others = scores_by_patient(predictions, members)
    beside = np.concatenate(list(others.values())) if others else np.zeros(0)
    return compare_scores((np.array(reference.group), group), (np.array(reference.others), beside))


def feature_shift(
    run: Run,
    predictions: Predictions,
    features: NDArray[np.floating[Any]],
    root: Path | None = None,
    *,
    images: Images | None = None,
    progress: Progress | None = None,
) -> dict[str, float | list[int]] | None:
    """Compare other patients' features with those of the run's calibration patients.

    Args:
        run: A finished run.
        predictions: Of N images of other patients.
        features: The network's last features of them, of shape (N, D).
        root: Where the run's own data lie now, if they have moved.
        images: The run's own data with the run's splits, where they are open already.
        progress: Told about long work.

    Returns:
        ``p_features`` and ``auroc_features`` (how well the samples are distinguished, 0.5 if not at all), with the
        numbers of patients; None where the run has no calibration images, or too few patients are there.
    """
    reference = _reference(run, root, images, progress or Progress())
    if reference is None:
        return None
    known, truth = reference
    chosen = sample(predictions.paths, predictions.clusters)
    both = np.concatenate([known, features[chosen].astype(np.float16).astype(np.float64)])  # as those are kept
    strata = np.concatenate([truth, predictions.truth[chosen]])
    second = np.repeat([False, True], [len(known), len(chosen)])
    result = two_sample(both, second, strata)
    if result is None:
        return None
    p_value, area = result
    return {
        "p_features": p_value,
        "auroc_features": area,
        "n_features": [len(known), len(chosen)],
    }


def _reference(run: Run, root: Path | None, images: Images | None, progress: Progress) -> tuple[Floats, Ints] | None:
    """Features and labels of calibration patients: from the run, or made now and kept there."""
    weights = run.environment.weights_sha256
    file = run.path / FEATURES
    try:
        kept = load(read_whole(file))
        if bytes(kept["weights"]).decode() == weights:
            return kept["features"].astype(np.float64), kept["truth"].astype(np.int64)
    except (OSError, KeyError, ValueError, SafetensorError):
        pass
    images, _ = run_images(run, progress, root=root, images=images)
    if images is None:
        return None
    images = images.select([i for i, row in enumerate(images.table.rows) if row.split == "calibration"])
    rows = list(images.table.rows)
    if not rows:
        return None
    truth = np.array([run.labels.index(row.label) for row in rows], np.int64)
    paths = [row.path for row in rows]
    chosen = sample(paths, [owner(row.patient_id, row.path) for row in rows])
    from hilum.evaluation.inference import predict_with_features  # PyTorch

    features = predict_with_features(run, images.select(chosen.tolist()), run.labels, progress=progress)[1]
    short = features.astype(np.float16)
    arrays: dict[str, NDArray[Any]] = {
        "features": short,
        "truth": truth[chosen],
        "weights": np.frombuffer(weights.encode(), np.uint8),
    }
    try:
        save_bytes(file, save(arrays))
    except OSError as error:
        progress.line(f"{file}: cannot be written ({error}); it will be computed again next time")
    return short.astype(np.float64), truth[chosen]


def sample(paths: Sequence[str], clusters: Sequence[str]) -> Ints:
    """One image of each patient; of at most 1,000 patients, chosen by a hash of their names.

    Args:
        paths: Of the N images.
        clusters: The patient of each, N names.
    """
    chosen = sorted(one_image_each(paths, clusters), key=lambda i: _hash(clusters[i]))
    return np.array(sorted(chosen[:MOST]), np.int64)


def verdict_of(held: CertificateCheck) -> Verdict:
    """Whether the certificate is shown to hold, refuted, or neither.

    Refuted is also what abstention alone hides: a threshold below which significantly more lie than the bound allows.
    Of two sides the weaker verdict counts.

    Args:
        held: What `measure_certificate` returns.
    """
    found = [at_most(held.low, held.high, held.bound)]
    if held.below.verdict == REFUTED:
        found.append(REFUTED)
    if upper := held.upper:
        found.append(upper.verdict)
    return weakest(found)


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()


Checked = TypeVar("Checked", Certificate, FindingsCertificate)
FILE = "certificate.json"


def with_checksum(certificate: Checked) -> Checked:
    """The same certificate with the SHA-256 of all that it says: whoever changes a figure breaks it.

    It tells damage and careless edits, not forgery: whoever can compute a hash can compute it anew.
    """
    return certificate.model_copy(update={"checksum": _digest(certificate.as_json())})


def is_whole(written: Mapping[str, object]) -> bool:
    """Whether a certificate is as it was made: its checksum is that of all the rest.

    Args:
        written: What the file holds, under the keys of its version.
    """
    return CHECKSUM in written and written[CHECKSUM] == _digest(written)


def open_certificate(file: Path, run: Run) -> Certificate:
    """Read a certificate and check that it is whole and speaks of this run.

    Args:
        file: As ``hilum certify`` writes it.
        run: The run that is to be used.

    Raises:
        CertificateError: It is missing, damaged, changed, or was made for other weights.
    """
    return _opened(file, run, Certificate, lambda found: [found])


def open_findings_certificate(file: Path, run: Run) -> FindingsCertificate:
    """Read the certificates of several findings as `open_certificate` reads one.

    Raises:
        CertificateError: As of `open_certificate`, of any of them.
    """
    return _opened(file, run, FindingsCertificate, lambda found: list(found.findings.values()))


def _opened(file: Path, run: Run, kind: type[Checked], parts: Callable[[Checked], Sequence[Certificate]]) -> Checked:
    again = f"Run hilum certify {run.path} again."
    foreign = f"{file}: not a certificate in hilum's format ({{}}). {again}"
    try:
        written = json.loads(read_text(file))
        whole = written[CHECKSUM] == _digest(written)
    except FileNotFoundError as error:
        msg = f"{file}: no such certificate. {again}"
        raise CertificateError(msg) from error
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise CertificateError(foreign.format(type(error).__name__), code="malformed", path=file) from error
    if not whole:
        msg = f"{file}: was changed after it was made and is void. {again}"
        raise CertificateError(msg, code="changed", path=file)
    try:  # its checksum may have been computed anew by somebody
        certificate = kind.model_validate(current(written))
        each = parts(certificate)
        _ = [one.operating_point for one in each]
    except ValidationError as error:
        raise CertificateError(foreign.format(type(error).__name__), code="malformed", path=file) from error
    except ValueError as error:
        msg = f"{file}: invalid operating point ({error}). {again}"
        raise CertificateError(msg) from error
    if any(one.model.weights_sha256 != run.environment.weights_sha256 for one in each):
        msg = f"{file}: was made for other weights and is void for these. {again}"
        raise CertificateError(msg)
    if form := next((one.model.form for one in each if one.model.form), None):
        msg = f"{file}: was made for the network in another form ({form}), and is void for the run's network. {again}"
        raise CertificateError(msg, code="other-form", path=file)
    return certificate


def read_certificate(run: Run) -> Certificate | None:
    """The certificate in force of a run of exclusive labels; None where there is none.

    Raises:
        CertificateError: There is one, but it is void.
    """
    file = run.path / FILE
    return open_certificate(file, run) if file.exists() and not run.findings else None


def read_findings_certificate(run: Run) -> FindingsCertificate | None:
    """The certificates in force of a run of several findings an image; None where there are none.

    Raises:
        CertificateError: There are some, but they are void.
    """
    file = run.path / FILE
    return open_findings_certificate(file, run) if file.exists() and run.findings else None


def certificate_in_force(run: Run, calibration: _Steps, notes: list[str]) -> Certificate | None:
    """The run's certificate, unless it is void; `notes` then says why."""
    try:
        certificate = read_certificate(run)
    except CertificateError as error:
        notes.append(f"WARNING: {error}")
        return None
    return certificate if certificate and same_probabilities(run, certificate, calibration, notes) else None


def same_probabilities(run: Run, certificate: Certificate, calibration: _Steps, notes: list[str]) -> bool:
    """Whether a certificate was made with today's temperatures and prior step; else `notes` says that it is void."""
    factors = calibration.step.factors if calibration.step else None
    other = "another prior step" if certificate.model.prior_factors != factors else ""
    if other := "other temperatures" if certificate.model.temperatures != (calibration.temperatures or None) else other:
        again = f"hilum certify {run.path} makes another: {ANOTHER}"
        notes.append(f"WARNING: the certificate was made with {other}, and is void. {again}")
    return not other


def _digest(written: Mapping[str, object]) -> str:
    rest = {key: value for key, value in written.items() if key != CHECKSUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

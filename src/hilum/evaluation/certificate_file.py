"""The file of a run's certificate: whether it is whole, and in force for the run as it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import ValidationError

from hilum.earlier import current
from hilum.errors import CertificateError
from hilum.evaluation.findings_schema import FindingsCertificate
from hilum.evaluation.triage_schema import CHECKSUM, Certificate
from hilum.files import read_text
from hilum.stats.records import PriorStep
from hilum.training.run import Run

Checked = TypeVar("Checked", Certificate, FindingsCertificate)
FILE = "certificate.json"
ANOTHER = "it takes an attempt left in the plan, a lower confidence, or other patients"


class Steps(Protocol):
    """What turns the network's probabilities into a run's: `hilum.evaluation.temperature.Calibration`."""

    @property
    def temperatures(self) -> dict[str, float] | None:
        """By decision; None where none was fitted."""

    @property
    def step(self) -> PriorStep | None:
        """Of the run; None where it has none."""


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


def certificate_in_force(run: Run, calibration: Steps, notes: list[str]) -> Certificate | None:
    """The run's certificate, unless it is void; `notes` then says why."""
    try:
        certificate = read_certificate(run)
    except CertificateError as error:
        notes.append(f"WARNING: {error}")
        return None
    return certificate if certificate and same_probabilities(run, certificate, calibration, notes) else None


def findings_in_force(run: Run, calibration: Steps, notes: list[str]) -> FindingsCertificate | None:
    """The certificates of a run's findings, unless they are void; `notes` then says why."""
    try:
        found = read_findings_certificate(run)
    except CertificateError as error:
        notes.append(f"WARNING: {error}")
        return None
    each = list(found.findings.values()) if found else []
    return found if each and same_probabilities(run, each[0], calibration, notes) else None


def same_probabilities(run: Run, certificate: Certificate, calibration: Steps, notes: list[str]) -> bool:
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

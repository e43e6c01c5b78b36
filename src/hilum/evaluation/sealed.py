"""A certificate as a file: sealed by a hash, and void for any other model than its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hilum.data.operating_point import OperatingPoint
from hilum.errors import CertificateError
from hilum.opening import read_text
from hilum.training.run import Run

FILE = "certificate.json"


def seal(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The same facts with ``seal``, the SHA-256 of all of them: whoever changes a figure breaks it.

    It tells damage and careless edits, not forgery: whoever can compute a hash can seal anew.
    """
    return {**facts, "seal": _digest(facts)}


def is_sealed(facts: Mapping[str, Any]) -> bool:
    """Whether a certificate is whole: its seal is that of its facts."""
    return "seal" in facts and facts["seal"] == _digest({key: value for key, value in facts.items() if key != "seal"})


def open_certificate(file: Path, run: Run) -> dict[str, Any]:
    """Read a certificate and check that it is whole and speaks of this run.

    Args:
        file: As ``hilum certify`` writes it.
        run: The run that is to be used.

    Raises:
        CertificateError: It is missing, damaged, changed, or was made for other weights.
    """
    again = f"Run hilum certify {run.path} again."
    try:
        facts = json.loads(read_text(file))
        sealed = facts.pop("seal")
    except FileNotFoundError as error:
        msg = f"{file}: no such certificate. {again}"
        raise CertificateError(msg) from error
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        msg = f"{file}: this is no certificate as hilum writes it ({type(error).__name__}). {again}"
        raise CertificateError(msg, code="malformed", path=file) from error
    if not is_sealed({**facts, "seal": sealed}):
        msg = f"{file}: was changed after it was sealed, and is void. {again}"
        raise CertificateError(msg, code="changed", path=file)
    if facts["model"]["weights_sha256"] != run.environment.get("weights_sha256"):
        msg = f"{file}: was made for other weights, and is void for these. {again}"
        raise CertificateError(msg)
    if form := facts["model"].get("form"):
        msg = f"{file}: was made for the network in another form ({form}), and is void for the run's own. {again}"
        raise CertificateError(msg, code="other-form", path=file)
    try:
        OperatingPoint.of(facts)
    except (ValueError, KeyError, TypeError) as error:  # sealed anew by somebody
        msg = f"{file}: no operating point is like that ({error}). {again}"
        raise CertificateError(msg) from error
    return {**facts, "seal": sealed}


def read_certificate(run: Run) -> dict[str, Any] | None:
    """The certificate in force of a run; None where there is none.

    Raises:
        CertificateError: There is one, but it is void.
    """
    file = run.path / FILE
    return open_certificate(file, run) if file.exists() else None


def _digest(facts: Mapping[str, Any]) -> str:
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()

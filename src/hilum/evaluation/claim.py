"""What somebody wants to certify, and the hash by which the ledger knows it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from hilum.earlier import claim_of_before
from hilum.evaluation.certificate import UpperSide
from hilum.evaluation.triage_schema import Certificate, CertifiedModel


@dataclass(frozen=True)
class Claim:
    """What is to be certified: all that decides what a certificate says, beside the images.

    Attributes:
        group: What must not be missed, of the labels `members`.
        false_negative_rate: The bound, in (0, 1).
        confidence: Of all that is guaranteed together, in (0, 1).
        model: For which network.
        upper: What is guaranteed of those who are flagged; None where nothing is.
    """

    group: str
    members: tuple[str, ...]
    false_negative_rate: float
    confidence: float
    model: CertifiedModel
    upper: UpperSide | None = None

    @classmethod
    def of(cls, certificate: Certificate, model: CertifiedModel | None = None, upper: UpperSide | None = None) -> Claim:
        """The claim of a certificate, or the same claim about another model."""
        members, rate = tuple(certificate.members), certificate.false_negative_rate
        return cls(certificate.group, members, rate, certificate.confidence, model or certificate.model, upper)

    def identity(self, about: str) -> str:
        """Hash of all that makes an attempt this one.

        Args:
            about: Digest of files, patients and labels of the data.
        """
        claim = {
            "group": self.group,
            "members": list(self.members),
            "false_negative_rate": self.false_negative_rate,
            "confidence": self.confidence,
            "model": self.model.as_json(),
        }
        claim |= {"upper": asdict(self.upper)} if self.upper else {}
        text = json.dumps({"claim": claim_of_before(claim), "data": about}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

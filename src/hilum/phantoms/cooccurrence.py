"""Which findings a patient has, how severe each is, and which go together: a Gaussian copula.

Each finding has a standard normal variable. Together they have the correlations of `CORRELATIONS`, and a finding is
present where its variable is above the quantile that gives its prevalence. The variables of one patient's images
correlate by `WITHIN_PATIENT`, so that a finding mostly stays, and sometimes comes or goes. Every image by itself still
has the prevalences and correlations asked for.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.special
from numpy.typing import NDArray

from hilum.errors import UsageError

PREVALENCES: Mapping[str, float] = {
    "effusion": 0.30,
    "cardiomegaly": 0.25,
    "nodule": 0.20,
    "pneumothorax": 0.15,
    "consolidation": 0.25,
    "ground_glass": 0.25,
}
"""Share of the images with each finding. Effusion is the most frequent and pneumothorax the rarest of the six, but all
are more frequent than in a hospital, where most are below 0.12 (ChestX-ray14: Wang et al., CVPR 2017, 2097), so that a
few hundred patients suffice for a test.
"""

FINDINGS: tuple[str, ...] = tuple(PREVALENCES)
"""The findings, in the order of the columns of `metadata.csv`."""

CORRELATIONS: NDArray[np.float64] = np.array(
    [
        # effusion, cardiomegaly, nodule, pneumothorax, consolidation, ground glass
        [1.00, 0.45, 0.05, 0.20, 0.35, 0.20],  # effusion
        [0.45, 1.00, -0.10, -0.20, 0.10, 0.10],  # cardiomegaly
        [0.05, -0.10, 1.00, 0.00, 0.10, 0.05],  # nodule
        [0.20, -0.20, 0.00, 1.00, 0.00, -0.05],  # pneumothorax
        [0.35, 0.10, 0.10, 0.00, 1.00, 0.40],  # consolidation
        [0.20, 0.10, 0.05, -0.05, 0.40, 1.00],  # ground glass
    ]
)
"""Correlations of the copula, (6, 6): chosen, not estimated. Reasons: heart failure has effusion and a large heart;
pneumonia has effusion, consolidation and ground glass; a pneumothorax or its drain brings fluid; patients with a
pneumothorax are younger than those with a large heart. The remaining ones are small.
"""

WITHIN_PATIENT = 0.95
"""Correlation of one finding's variable between two images of one patient."""

_PATIENT, _IMAGE, _READING = 5, 6, 10


def parse_prevalence(text: str) -> tuple[str, float]:
    """Read a prevalence such as ``effusion=0.3``.

    Raises:
        UsageError: It is not written so.
    """
    name, _, share = text.partition("=")
    try:
        return name.strip(), float(share)
    except ValueError:
        msg = f"prevalence {text!r}: write FINDING=SHARE, such as effusion=0.3."
        raise UsageError(msg, code="not-a-share") from None


def check_prevalences(given: Mapping[str, float]) -> dict[str, float]:
    """The prevalences of all findings, those given in place of the usual ones.

    Raises:
        UsageError: A name is no finding, or a number no share.
    """
    for name, share in given.items():
        if name not in PREVALENCES:
            msg = f"prevalence of {name!r}: phantoms have no such finding. Choose among {', '.join(FINDINGS)}."
            raise UsageError(msg, code="unknown-finding")
        if not 0 <= share <= 1:
            msg = f"prevalence of {name}: {share} is not between 0 and 1. Give a share of the images, such as 0.3."
            raise UsageError(msg, code="not-a-share")
    return {**PREVALENCES, **given}


def sample_severities(seed: int, patient: int, image: int, prevalences: Mapping[str, float]) -> dict[str, float]:
    """Draw the findings of one image.

    Args:
        seed: Names the population.
        patient: Number of the patient.
        image: Number of the patient's image.
        prevalences: Share of the images with each of `FINDINGS`, from 0 to 1.

    Returns:
        Severity of each finding present, uniform between 0 and 1.
    """
    factor = np.linalg.cholesky(CORRELATIONS)
    lasting = factor @ np.random.default_rng([seed, patient, _PATIENT]).standard_normal(len(FINDINGS))
    passing = factor @ np.random.default_rng([seed, patient, _IMAGE, image]).standard_normal(len(FINDINGS))
    level = scipy.special.ndtr(np.sqrt(WITHIN_PATIENT) * lasting + np.sqrt(1 - WITHIN_PATIENT) * passing)
    return {
        name: float(1 - (1 - quantile) / prevalences[name])
        for name, quantile in zip(FINDINGS, level, strict=True)
        if 1 - quantile < prevalences[name]
    }


def read_findings(
    severities: Mapping[str, float], seed: int, patient: int, image: int, *, uncertain: float, missing: float
) -> dict[str, str]:
    """What the table says of one image: 1, 0, -1 where the reader was uncertain, empty where nobody looked.

    Args:
        severities: Of the findings present.
        seed: Names the population.
        patient: Number of the patient.
        image: Number of the patient's image.
        uncertain: Share of the values, whatever the truth, that are -1.
        missing: Share of the values, whatever the truth, that are empty.
    """
    drawn = np.random.default_rng([seed, patient, _READING, image]).uniform(size=len(FINDINGS))
    said = {name: "1" if name in severities else "0" for name in FINDINGS}
    for name, share in zip(FINDINGS, drawn, strict=True):
        if share < missing:
            said[name] = ""
        elif share < missing + uncertain:
            said[name] = "-1"
    return said

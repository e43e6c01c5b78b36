"""The prior step of a run: what ``prior.json`` holds, and how it changes probabilities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from scipy.special import expit, logit

from hilum.data.dataset import Dataset
from hilum.data.labels import fair_shares
from hilum.data.multilabel import finding_values
from hilum.errors import RunError
from hilum.stats.prior_shift import Prior, shifted, shifted_findings
from hilum.stats.records import PriorStep
from hilum.training.findings_loss import presence_weights, targets_of
from hilum.training.run import Run, read_json

Floats = NDArray[np.float64]
FILE = "prior.json"
VOID = "{file}: {why}. Set it again with hilum prior {run}, or remove it with hilum prior {run} --remove."


class KeptPriorStep(PriorStep):
    """What ``prior.json`` holds: the step, the probabilities for which it was made, and who cannot serve any more.

    Attributes:
        temperatures: Which were applied before it.
        images: SHA-256 of the images on which it was estimated or chosen.
        patients: Their patients, as far as they are known.
    """

    hilum: str = ""
    made: str = ""
    weights_sha256: str
    temperatures: dict[str, float] | None = None
    images: list[str] = Field(default_factory=list)
    patients: list[str] = Field(default_factory=list)

    @property
    def facts(self) -> PriorStep:
        """What results and model files say of it."""
        return PriorStep.model_validate({k: v for k, v in self.given().items() if k in PriorStep.model_fields})


@dataclass(frozen=True)
class Overlap:
    """Images and patients on whom a prior step was estimated or chosen."""

    images: frozenset[str]
    patients: frozenset[str]

    def holds(self, sha256: str, patient: str) -> bool:
        """Whether an image, or its patient, is among them."""
        return sha256 in self.images or (bool(patient) and patient in self.patients)


def read_prior_step(run: Run) -> KeptPriorStep | None:
    """The prior step of a run; None where none was set.

    Raises:
        RunError: ``prior.json`` cannot be read, or was made for other weights or labels.
    """
    file = run.path / FILE
    if not file.exists():
        return None
    try:
        kept = KeptPriorStep.model_validate(read_json(file, as_written=True))
    except ValidationError as error:
        raise RunError(VOID.format(file=file, why="not a prior step", run=run.path), code="prior", path=file) from error
    usable = all(np.isfinite(value) and value > 0 for value in kept.factors.values())
    if kept.weights_sha256 != run.environment.weights_sha256 or set(kept.factors) != set(run.labels) or not usable:
        why = "was made for other weights or labels" if usable else "holds a factor that is not above 0"
        raise RunError(VOID.format(file=file, why=why, run=run.path), code="prior", path=file)
    return kept


def prior_step_after(run: Run, temperatures: Mapping[str, float] | None) -> KeptPriorStep | None:
    """The prior step of a run, which belongs to probabilities at these temperatures.

    Raises:
        RunError: It was made after other temperatures, or as `read_prior_step` raises it.
    """
    kept = read_prior_step(run)
    if kept and (kept.temperatures or None) != (dict(temperatures) if temperatures else None):
        file = run.path / FILE
        why = "was made for probabilities at other temperatures"
        raise RunError(VOID.format(file=file, why=why, run=run.path), code="prior", path=file)
    return kept


def adjusted(probabilities: Floats, step: PriorStep, labels: Sequence[str], *, findings: bool) -> Floats:
    """Probabilities of shape (N, K) after a prior step: the one place where it is applied outside of a model file."""
    offsets = log_factors(step, labels)
    return shifted_findings(probabilities, offsets) if findings else shifted(probabilities, offsets)


def log_factors(step: PriorStep, labels: Sequence[str]) -> Floats:
    """Logarithms of the factors, of shape (K,)."""
    result: Floats = np.log(np.array([step.factors[label] for label in labels]))
    return result


def overlap_of(run: Run) -> Overlap | None:
    """On whom the prior step was estimated or chosen; None where on nobody."""
    kept = read_prior_step(run)
    return Overlap(frozenset(kept.images), frozenset(kept.patients)) if kept and kept.images else None


def served_prior_step(run: Run, table: Dataset) -> list[str]:
    """A warning where images served for the run's prior step; nothing where none did."""
    overlap = overlap_of(run)
    count = sum(overlap.holds(row.sha256, row.patient_id) for row in table.rows) if overlap else 0
    if not count:
        return []
    return [
        f"WARNING: the prior step was set with {count:,} of these {len(table):,} images or their patients "
        "(transductive); results are optimistic"
    ]


def same_step(calibration: object, step: PriorStep | None) -> bool:
    """Whether results were measured after the same prior step.

    Args:
        calibration: The entry ``calibration`` of a ``metrics.json``.
        step: That of the run now.
    """
    entry = calibration if isinstance(calibration, Mapping) else {}
    measured = (entry.get("prior_step") or {}).get("factors")
    return bool(measured == (step.factors if step else None))


def implied_by_loss(run: Run) -> Prior:
    """Shares of the training images, and the offsets that undo the weights which labels have in the loss.

    A network that minimises a weighted loss answers as if labels were as frequent as they weigh. Mixup and label
    smoothing, which pull all probabilities towards each other, are left out of account.
    """
    counts = Counter(row.label for row in run.rows if row.split == "train")
    shares = np.array([max(counts[label], 1) for label in run.labels], np.float64)
    shares /= shares.sum()
    offsets = []
    for recipe in run.recipe.members or (run.recipe,):  # whose log-probabilities are averaged
        weights, weighed = recipe.training.class_weights, shares
        if weights != "none":
            tree = weights == "hierarchical" or recipe.hierarchy == "cascade"
            weighed = np.array(fair_shares(run.labels)) if tree else np.full(len(shares), 1 / len(shares))
        offsets.append(np.log(shares / weighed))
    return Prior(shares, np.mean(offsets, axis=0), "training images and their weights in the loss")


def implied_of_findings(run: Run) -> Floats:
    """The share of images with each finding that the network's probabilities belong to, of shape (F,)."""
    table = run.table()
    train = [i for i, row in enumerate(run.rows) if row.split == "train"]
    odds = []
    for recipe in run.recipe.members or (run.recipe,):  # whose log-odds are averaged
        plan = recipe.training
        targets = targets_of(finding_values(table)[train], plan.uncertain)
        weight = presence_weights(plan, targets).numpy().astype(np.float64)
        known = ~np.isnan(targets)
        present = weight * np.nansum(targets, axis=0, dtype=np.float64)
        absent = np.where(known, 1 - targets, 0).sum(axis=0, dtype=np.float64)
        odds.append(logit((present + 0.5) / (present + absent + 1)))  # a finding that is always or never there too
    result: Floats = expit(np.mean(odds, axis=0))
    return result


def implied_shares(prior: Prior) -> Floats:
    """The shares to which probabilities belong as they are: those of the patients, without the offsets."""
    raised = prior.shares * np.exp(-prior.offsets)
    result: Floats = raised / raised.sum()
    return result

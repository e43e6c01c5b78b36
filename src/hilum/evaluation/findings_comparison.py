"""Two classifiers of several findings on the same patients: paired differences by finding, with Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hilum import __version__
from hilum.documents import Document
from hilum.errors import RunError
from hilum.evaluation.comparison import (
    BY_ROW,
    ComparedRun,
    about,
    check_contents,
    check_free,
    folder_of,
    names_of,
    notes_about,
    order_of,
    write_comparison,
)
from hilum.evaluation.differences import Gain, Pair, Paired, answer_pairs, area_pair, gain_of
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.evaluate_findings import FindingsEvaluated
from hilum.evaluation.external_findings import ExternalFindings
from hilum.evaluation.findings_performance import HALF, why_not_measured
from hilum.evaluation.findings_predictions import FindingsPredictions, read_findings_predictions
from hilum.evaluation.findings_schema import FindingsMetrics
from hilum.evaluation.predictions import FILE as PREDICTIONS
from hilum.evaluation.recipe_differences import RecipeDifference, check_methods, recipe_differences
from hilum.evaluation.schema import Confidence
from hilum.files import settle
from hilum.progress import Progress
from hilum.stats.hypothesis_tests import p_of_interval
from hilum.stats.intervals import CONFIDENCE, Estimate, Patients
from hilum.stats.metrics import mean_of
from hilum.stats.records import Record
from hilum.stats.verdicts import SIGNIFICANT, holm
from hilum.text import printable
from hilum.training.run import Run, read_json


class FindingDifference(Record):
    """One finding by two classifiers; differences are second minus first.

    Attributes:
        n_images: Number of images where it is known.
        n_positive: Number of images that have it.
        auroc: Area under the ROC curve.
        sensitivity: At a probability of 0.5.
        specificity: At a probability of 0.5.
        p: Two-sided p-value of the difference of AUROC, which counts patients.
        p_holm: The same after Holm's correction over all findings.
    """

    n_images: int
    n_positive: int
    auroc: Paired
    sensitivity: Paired
    specificity: Paired
    p: float
    p_holm: float

    @property
    def differs(self) -> bool:
        """Whether the AUROC is shown to differ, after the correction."""
        return self.p_holm < SIGNIFICANT


class MeanDifference(Record):
    """Means over findings by two classifiers."""

    auroc: Paired
    sensitivity: Paired
    specificity: Paired


class FindingGains(Record):
    """What one method gains over another in AUROC, from several pairs of networks.

    Attributes:
        seeds: Number of pairs.
        auroc: By finding.
        macro: Mean over the findings.
        runs: Folders of each pair.
    """

    seeds: int
    auroc: dict[str, Gain]
    macro: Gain
    runs: list[tuple[str, str]]


class FindingsComparison(Record, Document):
    """Two classifiers of several findings on the same patients: ``comparison.json``.

    Attributes:
        runs: Which are compared; differences are second minus first.
        recipe_differences: Recipe keys in which they differ; None of tables.
        findings: Differences by finding, over the images where both know it.
        macro: Means of the findings that are compared.
        not_compared: Findings that are not, and why.
        over_seeds: Gain of the second method from several pairs of runs; None of one pair.
    """

    hilum: str = ""
    runs: tuple[ComparedRun, ComparedRun]
    recipe_differences: list[RecipeDifference] | None = None
    notes: list[str] = Field(default_factory=list)
    n_images: int
    n_patients: int | None
    with_patient: int = 0
    resampling_unit: str
    intervals: Confidence
    findings: dict[str, FindingDifference]
    macro: MeanDifference
    not_compared: dict[str, str] = Field(default_factory=dict)
    over_seeds: FindingGains | None = None


@dataclass(frozen=True)
class ComparedFindings:
    """A comparison, and the folder it was written to."""

    folder: Path
    comparison: FindingsComparison


def compare_findings(
    first: Run,
    second: Run,
    *,
    split: str = "test",
    second_split: str | None = None,
    out: Path | None = None,
    more_seeds: Sequence[tuple[Run, Run]] = (),
    progress: Progress | None = None,
) -> ComparedFindings:
    """Compare two runs of several findings on the same patients; what is not evaluated yet is evaluated now.

    Args:
        first: A finished run.
        second: Another; differences are second minus first.
        split: On which of their splits.
        second_split: The second run's name for the same images, where it is another.
        out: Where to write; by default ``comparison/<first>`` in the second run.
        more_seeds: Further pairs, which differ from the first one in their seeds only: then the gain has an interval
            over seeds and patients.
        progress: Told about long work.

    Raises:
        RunError: One has exclusive labels, they were evaluated on different images, or share no finding; or
            `more_seeds` are other methods.
        UsageError: `out` holds files of other kinds.
    """
    progress = progress or Progress()
    if out:
        check_free(out)
    pairs = [(first, second), *more_seeds]
    for run, other in (both for one, two in pairs for both in ((one, two), (two, one))):
        if not run.findings:
            other = other if other.findings else next((run for pair in pairs for run in pair if run.findings), other)
            msg = f"{run.path} has exclusive labels, {other.path} several findings an image. Compare runs of one kind."
            raise RunError(msg, code="other-task")
    splits = split, second_split or split
    read = [_evaluated(run, name, progress) for run, name in zip((first, second), splits, strict=True)]
    names = names_of(first, second)
    notes = notes_about(names, splits, [metrics.data.notes for _, metrics in read])
    check_contents(first, second, read[0][0].paths)
    comparison = _compared(
        (read[0][0], read[1][0]),
        (str(first.path), str(second.path)),
        notes,
        runs=(
            about(first, names[0], splits[0], read[0][1].files),
            about(second, names[1], splits[1], read[1][1].files),
        ),
        recipes=recipe_differences(first, second),
    )
    if more_seeds:
        check_methods(first, second, more_seeds)
        further = [
            (_evaluated(one, splits[0], progress)[0], _evaluated(two, splits[1], progress)[0])
            for one, two in more_seeds
        ]
        gains = _over_seeds([(read[0][0], read[1][0]), *further], list(comparison.findings), pairs)
        comparison = comparison.model_copy(update={"over_seeds": gains})
    folder = out or folder_of(first, second, splits)
    write_comparison(comparison, folder)
    return ComparedFindings(folder, comparison)


def _over_seeds(
    predicted: Sequence[tuple[FindingsPredictions, FindingsPredictions]],
    findings: Sequence[str],
    runs: Sequence[tuple[Run, Run]],
) -> FindingGains:
    """The gain in AUROC of each finding and of their mean, over seeds and patients."""
    like = predicted[0][0]
    aligned = [
        [align_findings(like, one, (str(runs[0][0].path), str(run.path)))[1] for one, run in zip(*pair, strict=True)]
        for pair in zip(predicted, runs, strict=True)
    ]
    patients = Patients(like.clusters)
    by_finding: dict[str, list[Estimate]] = {}
    for name in findings:
        rows = np.flatnonzero(
            np.all([one.known[:, one.findings.index(name)] for pair in aligned for one in pair], axis=0)
        )
        has = like.truth[rows, like.findings.index(name)] == 1
        scores = [[one.probabilities[rows, one.findings.index(name)] for one in pair] for pair in aligned]
        by_finding[name] = [area_pair(has, first, second, patients.take(rows)).gain for first, second in scores]
    means = [mean_of(list(of), patients) for of in zip(*by_finding.values(), strict=True)]
    return FindingGains(
        seeds=len(runs),
        auroc={name: gain_of(gains) for name, gains in by_finding.items()},
        macro=gain_of(means),
        runs=[(str(one.path), str(two.path)) for one, two in runs],
    )


def compare_external_findings(first: ExternalFindings, second: ExternalFindings) -> FindingsComparison:
    """Compare two models of several findings by their predictions for the same images.

    Args:
        first: Of N images.
        second: Of the same images, in any order; differences are second minus first.

    Raises:
        RunError: They are about other images, share no finding, or know another truth or other patients.
    """
    names = first.name, second.name
    if names[0] == names[1]:
        names = f"{names[0]} (first)", f"{names[1]} (second)"
    given = first, second
    notes = [f"{name}: {note}" for name, one in zip(names, given, strict=True) for note in one.notes]
    notes += [] if first.named and second.named else [BY_ROW]
    runs = tuple(ComparedRun(name=name, path=str(one.root / one.name)) for name, one in zip(names, given, strict=True))
    return _compared((first.predictions, second.predictions), names, notes, runs=(runs[0], runs[1]))


def align_findings(
    first: FindingsPredictions, second: FindingsPredictions, names: tuple[str, str]
) -> tuple[FindingsPredictions, FindingsPredictions]:
    """Both with the findings that they share, the second in the order of the first.

    Raises:
        RunError: No finding in common, other images, other patients, or another truth.
    """
    shared = [name for name in first.findings if name in second.findings]
    if not shared:
        known = (", ".join(map(printable, one.findings)) for one in (first, second))
        whose = "; ".join(f"{name} knows {of}" for name, of in zip(names, known, strict=True))
        msg = f"{whose}: they share no finding. Compare classifiers of the same findings."
        raise RunError(msg, code="other-labels")
    order = np.array(order_of(first.paths, second.paths, names), dtype=np.int64)
    one, other = first.of_findings(shared), second.of_findings(shared)
    two = FindingsPredictions(
        other.findings,
        one.paths,
        tuple(other.patients[i] for i in order),
        other.truth[order],
        other.probabilities[order],
    )
    if one.patients != two.patients:
        msg = f"{names[0]} and {names[1]} know other patients of the same images: evaluate both again on the same data."
        raise RunError(msg, code="other-patients")
    changed = np.argwhere(one.known & two.known & (one.truth != two.truth))
    if len(changed):
        row, k = changed[0]
        msg = (
            f"{one.paths[row]}: '{printable(shared[k])}' is {one.truth[row, k]:g} in {names[0]} and "
            f"{two.truth[row, k]:g} in {names[1]}. The dataset has changed between them: evaluate both again."
        )
        raise RunError(msg, code="label-changed")
    return one, two


def _compared(
    both: tuple[FindingsPredictions, FindingsPredictions],
    names: tuple[str, str],
    notes: Sequence[str],
    *,
    runs: tuple[ComparedRun, ComparedRun],
    recipes: list[RecipeDifference] | None = None,
) -> FindingsComparison:
    one, two = align_findings(*both, names)
    left_out = {
        finding: f"not in {name}"
        for mine, name in zip(both, reversed(names), strict=True)
        for finding in mine.findings
        if finding not in one.findings
    }
    patients = Patients(one.clusters)
    pairs: dict[str, tuple[Pair, Pair, Pair]] = {}
    found: dict[str, FindingDifference] = {}
    one_sided = why_not_measured(one)
    for k, name in enumerate(one.findings):
        rows = np.flatnonzero(one.known[:, k] & two.known[:, k])
        has = one.truth[rows, k] == 1
        if name in one_sided or has.all() or not has.any():
            left_out[name] = one_sided.get(name, "no image where both know it to be present, or absent")
            continue
        scores = one.probabilities[rows, k], two.probabilities[rows, k]
        pairs[name] = _pairs_of(has, scores, patients.take(rows))
        area, sensitivity, specificity = pairs[name]
        found[name] = FindingDifference(
            n_images=len(rows),
            n_positive=int(has.sum()),
            auroc=area.paired(),
            sensitivity=sensitivity.paired(),
            specificity=specificity.paired(),
            p=_p_value(has, scores, patients.take(rows)),
            p_holm=1.0,
        )
    if not found:
        msg = (
            f"{names[0]} and {names[1]}: no finding is present in some images and absent in others. Compare on others."
        )
        raise RunError(msg, code="one-sided-findings")
    adjusted = zip(found.items(), holm([entry.p for entry in found.values()]), strict=True)
    found = {name: entry.model_copy(update={"p_holm": p}) for (name, entry), p in adjusted}
    named = all(one.patients)
    return FindingsComparison(
        hilum=__version__,
        runs=runs,
        recipe_differences=recipes,
        notes=list(notes),
        n_images=len(one.paths),
        n_patients=len(set(one.patients)) if named else None,
        with_patient=sum(map(bool, one.patients)),
        resampling_unit="patients" if named else "images",
        intervals=Confidence(confidence=CONFIDENCE),
        findings=found,
        macro=_means(list(pairs.values()), patients),
        not_compared=left_out,
    )


def _pairs_of(
    has: NDArray[np.bool_], scores: tuple[NDArray[np.float64], NDArray[np.float64]], patients: Patients
) -> tuple[Pair, Pair, Pair]:
    """AUROC, sensitivity and specificity of both."""
    first, second = ((score > HALF).astype(np.int64) for score in scores)
    answers = answer_pairs(has.astype(np.int64), first, second, ("absent", "present"), patients)
    by_label = answers.by_label
    return area_pair(has, *scores, patients), by_label["recall"]["present"], by_label["specificity"]["present"]


def _p_value(
    has: NDArray[np.bool_], scores: tuple[NDArray[np.float64], NDArray[np.float64]], patients: Patients
) -> float:
    if np.array_equal(*scores):
        return 1.0
    return p_of_interval(lambda confidence: area_pair(has, *scores, patients, confidence).gain)


def _means(pairs: Sequence[tuple[Pair, Pair, Pair]], patients: Patients) -> MeanDifference:
    auroc, sensitivity, specificity = (
        Pair(
            *(mean_of([getattr(pair, side) for pair in of], patients) for side in ("first", "second", "gain"))
        ).paired()
        for of in zip(*pairs, strict=True)
    )
    return MeanDifference(auroc=auroc, sensitivity=sensitivity, specificity=specificity)


def _evaluated(run: Run, split: str, progress: Progress) -> tuple[FindingsPredictions, FindingsMetrics]:
    """What the run says of a split, and its metrics; evaluated unless that was done with these weights and files."""
    folder = run.path / "evaluation" / split
    settle(folder)
    try:
        metrics: FindingsMetrics | None = FindingsMetrics.from_json(read_json(folder / "metrics.json"))
    except ValueError:
        metrics = None
    weights, digest = run.environment.weights_sha256, run.environment.data.digest
    if not metrics or metrics.weights_sha256 != weights or metrics.data.digest != digest:
        progress.line(f"{run.path}: evaluating on {split}")
        made = evaluate(run, split=split, progress=progress)
        assert isinstance(made, FindingsEvaluated)
        metrics = made.metrics
    return read_findings_predictions(folder / PREDICTIONS), metrics

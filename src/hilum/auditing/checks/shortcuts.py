"""Shortcuts: can labels be told without looking at the lungs?

If width and height alone tell a label from the rest, a network may learn them instead of the disease, and no measure
on the same data will show it (Roberts et al. 2021, Maguolo and Nanni 2021, DeGrave et al. 2021). A probe shows that a
shortcut is *available*, not that a model uses it: compare every model with the best probe.

Method. Each probe scores every image by a fit on other patients (five folds, whole patients, identical images
together; splits that the dataset brings are put together). The p-value comes from permuting labels between patients,
within folds, and *fitting anew* each time: scores that were fitted to the true labels would know too much about them.
As folds and the classifier treat patients alike, all permutations are equally likely under chance, and the p-value is
exact up to its steps of 1 / (B + 1). It is corrected for the number of probes and labels (Westfall and Young 1993).
Intervals count patients. The scores come from fits that share most of their patients, so that their AUROC varies more
than that of scores of one classifier: by as much as it does among the permutations, intervals are wider.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hilum.auditing.findings import Finding, FindingEvidence, Severity, ShortcutProbe
from hilum.auditing.probe_classifier import out_of_fold_scores
from hilum.auditing.probe_features import BYTES, COLUMN, LETTERS, Kind, probes
from hilum.auditing.scan import Scan
from hilum.data.multilabel import binary_view, known_rows
from hilum.data.splits import PatientSample, independent_groups
from hilum.progress import Progress
from hilum.stats.auc import auroc_estimate, aurocs
from hilum.stats.hypothesis_tests import corrected_p, grouped_folds, permute_labels
from hilum.stats.intervals import Patients
from hilum.text import printable

FOLDS = 5
FEWEST = 10  # patients of a label, and of the rest, below which nothing can be said
MOST_IMAGES = 20_000
AT_ONCE = 2**22  # scores ranked at a time
MEASURED = 20  # permutations whose own spread is looked at
Floats = NDArray[np.float64]
Judged = tuple[float, float | None, float | None, float]


@dataclass(frozen=True)
class Shortcut:
    """How well one probe tells one label from the rest.

    Attributes:
        probe: Its name.
        kind: ``container`` or ``pixels``.
        label: The label that is distinguished from the rest.
        auroc: Out of fold; 0.5 is chance.
        low: Of the 95 % interval; None where it cannot be had.
        high: Of the 95 % interval.
        p_value: Of chance, corrected for all probes and labels.
        words: What the probe sees, with its verb.
    """

    probe: str
    kind: Kind
    label: str
    auroc: float
    low: float | None
    high: float | None
    p_value: float
    words: str

    def reported(self) -> ShortcutProbe:
        """For ``audit.json``."""
        return ShortcutProbe(**{key: value for key, value in asdict(self).items() if key != "words"})


@dataclass(frozen=True)
class Shortcuts:
    """What all probes say, the labels that were left out, and how many images were asked."""

    found: tuple[Shortcut, ...]
    notes: tuple[str, ...]
    images: int


def probe_shortcuts(
    scan: Scan,
    groups: Sequence[int] | None = None,
    *,
    permutations: int = 499,
    seed: int = 0,
    progress: Progress | None = None,
) -> Shortcuts:
    """Try to tell each label from the rest by what is not the lungs.

    Args:
        scan: Of a dataset; all its splits together.
        groups: A number an image, equal where images are near-duplicates, if that is known; patients and identical
            files are kept together in any case.
        permutations: B; the smallest p-value is 1 / (B + 1).
        seed: Of folds and permutations.
        progress: Told about the probes.

    Returns:
        One entry a probe and label (of two labels only the second: the first is its mirror image); where images may
        have several findings, one a probe and finding, by the images on which it is known.
    """
    progress = progress or Progress()
    if scan.table.findings:
        return _by_finding(scan, groups, permutations, seed, progress)
    together = np.array(independent_groups(scan.table, groups))
    notes: list[str] = []
    if len(scan) > MOST_IMAGES:
        every = len(scan)
        scan, together = _draw(scan, together)
        notes.append(f"shortcuts were tested on {len(scan)} of {every} images, sampled by patient")
    if scan.table.splits:
        notes.append(f"shortcuts were tested on {', '.join(scan.table.splits)} combined")
    names = scan.table.labels
    truth = np.array([names.index(row.label) for row in scan.table.rows])
    asked = _asked(names, truth, together, notes)
    offered, remarks = probes(scan)
    if not asked:
        return Shortcuts((), (*notes, *remarks), len(scan))
    with progress.task("Testing shortcuts", len(offered)) as advance:
        judged = judge(
            [probe.features for probe in offered],
            truth,
            asked,
            together,
            permutations=permutations,
            seed=seed,
            advance=advance,
        )
    pairs = [(probe, names[label]) for probe in offered for label in asked]
    found = tuple(
        Shortcut(probe.name, probe.kind, label, *numbers, probe.words)
        for (probe, label), numbers in zip(pairs, judged, strict=True)
    )
    return Shortcuts(found, (*notes, *remarks), len(scan))


def _by_finding(
    scan: Scan, groups: Sequence[int] | None, permutations: int, seed: int, progress: Progress
) -> Shortcuts:
    """Each finding as a problem of two labels."""
    found: list[Shortcut] = []
    notes: dict[str, None] = {}
    for name in scan.table.findings:
        known = known_rows(scan.table, name)
        one = replace(scan.take(known), table=binary_view(scan.table, name))
        own = None if groups is None else [groups[i] for i in known]
        probed = probe_shortcuts(one, own, permutations=permutations, seed=seed, progress=progress)
        found += [replace(shortcut, label=name) for shortcut in probed.found]  # of two labels, either says the same
        notes |= dict.fromkeys(f"{name}: {note}" if f"'{name}'" in note else note for note in probed.notes)
    notes["p-values of shortcuts are corrected for the probes of a finding, not for the number of findings"] = None
    return Shortcuts(tuple(found), tuple(notes), len(scan))


def judge(
    features: Sequence[Floats],
    truth: NDArray[np.int64],
    asked: Sequence[int],
    groups: NDArray[np.int64],
    *,
    permutations: int,
    seed: int = 0,
    advance: Callable[[int], None] = lambda done: None,
) -> list[Judged]:
    """Measure how well several probes tell several labels from the rest.

    Args:
        features: One array a probe, each of shape (N, F).
        truth: Index of each image's label, shape (N,).
        asked: The labels to tell from the rest.
        groups: A number an image, equal where images must stay together, shape (N,).
        permutations: B.
        seed: Of folds and permutations.
        advance: Called with 1 after each probe.

    Returns:
        For each probe, and within it for each label: AUROC, the bounds of its 95 % interval, and the corrected p-value.
    """
    folds = grouped_folds(truth, groups, FOLDS, seed)
    permuted = permute_labels(truth, groups, folds, permutations, seed)
    positive = (permuted[None] == np.array(asked)[:, None, None]).reshape(-1, len(truth))
    patients = Patients(groups)
    areas, bounds = [], []
    for matrix in features:
        scores = out_of_fold_scores(matrix, positive.T, folds, seed).T
        area = _areas(scores, positive).reshape(len(asked), -1)
        areas.append(area.T)
        by_label = zip(area, scores.reshape(*area.shape, -1), positive.reshape(*area.shape, -1), strict=True)
        bounds += [_interval(*one, patients) for one in by_label]
        advance(1)
    table = np.hstack(areas)
    return [
        (float(area), low, high, float(p))
        for area, (low, high), p in zip(table[0], bounds, corrected_p(table), strict=True)
    ]


def _interval(
    areas: Floats, scores: NDArray[np.float32], positive: NDArray[np.bool_], patients: Patients
) -> tuple[float, float]:
    """The 95 % interval of the first AUROC, whose variance is to that of fixed scores as it is among the others."""
    permuted = zip(scores[1 : MEASURED + 1], positive[1 : MEASURED + 1], strict=True)
    chance = [auroc_estimate(*one, patients).influence for one in permuted]
    fixed = float(np.mean([(influence**2).sum() for influence in chance])) if chance else 0.0
    inflation = max(1.0, float(np.var(areas[1:])) / fixed) if fixed > 0 else 1.0
    found = auroc_estimate(scores[0], positive[0], patients, inflation=inflation)
    return found.low, found.high


def _asked(names: Sequence[str], truth: NDArray[np.int64], groups: NDArray[np.int64], notes: list[str]) -> list[int]:
    """The labels that have patients enough, as has the rest; `notes` receives the others."""
    asked, few = [], []
    for label, name in enumerate(names):
        own, rest = (len(np.unique(groups[chosen])) for chosen in (truth == label, truth != label))
        if min(own, rest) >= FEWEST:
            asked.append(label)
        else:
            few.append(f"'{printable(name)}' ({own} against {rest})")
    if few:
        which = f"{len(few)} labels were" if len(few) > 1 else "1 label was"
        notes.append(
            f"{which} not probed for shortcuts, with fewer than {FEWEST} patients in one group: {', '.join(few)}"
        )
    return asked[1:] if len(names) == 2 else asked


def _areas(scores: NDArray[np.float32], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    step = max(1, AT_ONCE // scores.shape[1])
    parts = range(0, len(scores), step)
    return np.concatenate([aurocs(scores[i : i + step], positive[i : i + step]) for i in parts])


def _draw(scan: Scan, groups: NDArray[np.int64]) -> tuple[Scan, NDArray[np.int64]]:
    """Whole groups at random, about `MOST_IMAGES` images (`hilum.data.splits`)."""
    whose = [(row.label, str(group)) for row, group in zip(scan.table.rows, groups.tolist(), strict=True)]
    lot = PatientSample.of(whose, MOST_IMAGES)
    kept = np.flatnonzero([lot.holds(*image) for image in whose])
    return scan.take(kept), groups[kept]


class ProbedLabels(FindingEvidence):
    """What a probe sees, and the labels that it tells from the rest, the one that it tells best first."""

    probe: str
    what: str
    labels: list[ShortcutProbe]


LEVEL = 0.01
SEVERITIES: dict[str, tuple[tuple[float, Severity], ...]] = {
    "container": ((0.95, "error"), (0.7, "warning"), (0.0, "info")),
    BYTES: ((0.95, "error"), (0.9, "warning"), (0.7, "info")),
    COLUMN: ((0.7, "warning"), (0.0, "info")),
    LETTERS: ((0.8, "warning"), (0.65, "info")),
    "pixels": ((0.9, "warning"), (0.7, "info")),
}
"""From which AUROC on a finding has which severity, where p is at most `LEVEL`. Settings and dimensions of a file
cannot show a disease. Its bytes can, a little: detail takes space. A column of the table may (age, view), and pixels
may hold some of the disease itself, so that neither is ever an error. Letters do not, but collars and shoulders may be
taken for them."""


def findings(shortcuts: Shortcuts) -> list[Finding]:
    """One finding a probe that tells some label from the rest, at the label that it tells best.

    Args:
        shortcuts: As `probe_shortcuts` gives them. Severities are those of `SEVERITIES`.
    """
    by_probe: defaultdict[str, list[tuple[int, Severity, Shortcut]]] = defaultdict(list)
    for shortcut in shortcuts.found:
        for rank, (least, severity) in enumerate(SEVERITIES[_rule(shortcut)]):
            if shortcut.p_value <= LEVEL and shortcut.auroc >= least:
                by_probe[shortcut.probe].append((rank, severity, shortcut))
                break
    made = []
    for entries in by_probe.values():
        _, severity, worst = min(entries, key=lambda entry: (entry[0], -entry[2].auroc))
        others = [shortcut for _, _, shortcut in entries if shortcut is not worst]
        found = Finding(
            check="shortcuts",
            severity=severity,
            message=_message(worst, [s for _, equal, s in entries if equal == severity and s is not worst]),
            remedy=_remedy(worst),
            evidence=ProbedLabels(
                probe=worst.probe,
                what=worst.words.rpartition(" predict")[0].removesuffix(",").removesuffix(" alone"),
                labels=[item.reported() for item in (worst, *others)],
            ),
            meaning=_meaning(worst),
        )
        made.append((_place(worst), found))
    return [found for _, found in sorted(made, key=lambda entry: entry[0])]


def _place(worst: Shortcut) -> int:
    """What the file tells first, then pixels, then columns of the table."""
    return 2 if worst.probe.startswith(COLUMN) else 1 if worst.kind == "pixels" else 0


def _rule(shortcut: Shortcut) -> str:
    if shortcut.probe.startswith(COLUMN):
        return COLUMN
    return shortcut.probe if shortcut.probe in SEVERITIES else shortcut.kind


def _message(worst: Shortcut, others: Sequence[Shortcut]) -> str:
    interval = "" if worst.low is None else f" (95 % CI {worst.low:.2f} to {worst.high:.2f})"
    listed = ", ".join(f"'{item.label}' {item.auroc:.2f}" for item in others)
    also = f"; also {listed}" if others else ""
    return f"{worst.words} '{worst.label}' (against the rest) with AUROC {worst.auroc:.2f}{interval}{also}."


def _meaning(worst: Shortcut) -> str:
    if worst.probe.startswith(COLUMN):
        return "A model may learn a confounder of it instead of the disease."
    if worst.kind == "pixels":
        return "A shortcut is available. This does not prove that a model uses it."
    if worst.probe == BYTES and worst.auroc < SEVERITIES[BYTES][0][0]:
        return "More detail takes more bytes: the cause may be the image content or the file format."
    if worst.auroc >= SEVERITIES["container"][1][0]:
        return "A model may learn file properties instead of the lungs."
    return "The effect is small but significant, and file properties should be independent of the label."


def _remedy(worst: Shortcut) -> str:
    if worst.probe.startswith(COLUMN):
        return (
            f"Compare the labels at equal '{worst.probe.removeprefix(COLUMN)}', or collect images of all labels with "
            "the same distribution of it."
        )
    if worst.kind == "container":
        return (
            "Files that differ by label mostly come from different sources. Writing all files in one format does not "
            "remove this "
            "confounding: collect images of all labels from each source first. Compare every model with this probe."
        )
    return (
        "Collect images of all labels from each source, remove borders and letters, and accept a model only where it "
        "outperforms this probe on the same patients."
    )

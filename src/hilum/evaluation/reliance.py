"""Does the model rely on shortcuts? Paired counterfactuals of the test images, patient by patient.

A baseline of shortcuts shows what is *available*; this shows what the model *uses*. A property of one radiograph (its
frame, corner marks, borders, histogram, compression, aspect) is given to another one, once from a patient with the
label and once from one without it, and the log-odds that the model gives the label are compared. Both versions are
edited alike, so that what the edit itself does to the model cancels out. And the margin, which is the difference of the
log-odds between patients with and without the label, is measured again with parts of every image blacked out.

Patients are drawn in blocks of four, two with the label and two without, of whom each belongs to one block only and
receives from the others. Blocks are independent: intervals are Student's over blocks, and without reliance the sign of
each block's change is that of a coin (sign-flip test).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hilum.data.cache import Images
from hilum.data.dataset import Dataset, Row
from hilum.data.multilabel import binary_view
from hilum.data.preprocessing import Preprocessing
from hilum.errors import ImageError
from hilum.evaluation.counterfactuals import BLACKOUTS, SWAPS, Pixels, Source, read_source
from hilum.evaluation.inference import predict
from hilum.evaluation.schema import LabelReliance, Property, Reliance
from hilum.progress import Progress
from hilum.stats.intervals import mean_estimate, ratio_of_means, sign_flip_of_mean
from hilum.stats.verdicts import holm
from hilum.training.run import Run

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
BLOCKS = 60  # of four patients, about, over all labels: about 2,400 images to predict
MOST, LEAST = 30, 6  # blocks a label; with fewer than six no sign-flip p-value reaches 5 %
IMAGES = 2  # of a patient, at most
HELD = 2**27  # bytes of edited images held at a time
MIN_PATIENTS = 1e-9  # probability up to which log-odds are told apart


@dataclass
class _Pile:
    """Images to predict, each once, and what was predicted of them."""

    run: Run
    labels: Sequence[str]
    progress: Progress
    exclusive: bool = True
    rows: dict[bytes, int] = field(default_factory=dict)
    waiting: list[Bytes] = field(default_factory=list)
    done: list[Floats] = field(default_factory=list)

    def add(self, pixels: Pixels, preprocessing: Preprocessing) -> int:
        """The number under which the probabilities of an image will be found."""
        made = preprocessing.apply(pixels)
        key = hashlib.sha256(made.tobytes()).digest()
        if key not in self.rows:
            self.rows[key] = len(self.rows)
            self.waiting.append(made)
            if len(self.waiting) * made.nbytes >= HELD:
                self.predict()
        return self.rows[key]

    def predict(self) -> None:
        """Predict what waits."""
        if not self.waiting:
            return
        pixels = np.stack(self.waiting)
        table = Dataset(self.run.path, [Row(f"counterfactual {n}", self.labels[0]) for n in range(len(pixels))])
        images = Images(table, pixels, np.arange(len(pixels)), (), "", np.zeros((0, 64, 64), np.uint8))
        self.done.append(predict(self.run, images, self.labels, progress=self.progress))
        self.waiting = []

    def log_odds(self, name: str) -> Floats:
        """Log-odds that the model gives a label, or a finding, for every image."""
        found, k = np.concatenate(self.done), self.labels.index(name)
        label, rest = found[:, k], np.delete(found, k, axis=1).sum(axis=1)
        if not self.exclusive:
            rest = 1 - label
        return np.asarray(np.log(np.maximum(label, MIN_PATIENTS)) - np.log(np.maximum(rest, MIN_PATIENTS)))


def measure_reliance(
    run: Run,
    table: Dataset,
    labels: Sequence[str],
    *,
    positive_label: str | None = None,
    progress: Progress | None = None,
) -> Reliance:
    """Measure on which properties of the test images a run's answers rest.

    Args:
        run: A finished run.
        table: Test images; their labels are among `labels`.
        labels: K names, in the run's order.
        positive_label: The label to measure where there are two, whose log-odds mirror each other.
        progress: Told about long work.

    Returns:
        ``labels``: for each that has enough patients on both sides ``n_patients``, ``margin`` (difference of the
        log-odds between patients with and without the label), and ``found``: for each property ``name``, ``kind``
        (``swap`` or ``blackout``), ``log_odds`` (change with the property, or margin that is left), ``share`` (that
        part of the margin), ``p_value``, and for swaps ``p_corrected`` (Holm 1979, over all labels and swaps);
        ``constant``: properties in which these images do not differ; ``not_judged``: labels with too few patients;
        ``note``: why nothing was measured, else empty.
    """
    blocks = {label: _blocks(table, label, _most(len(labels))) for label in labels}
    judged = [label for label, found in blocks.items() if len(found) >= LEAST]
    if len(labels) == 2 and len(judged) == 2:
        judged = [positive_label] if positive_label and positive_label in labels else judged[-1:]
    return _judge(_Pile(run, labels, progress or Progress()), table, blocks, judged)


def measure_findings_reliance(run: Run, table: Dataset, *, progress: Progress | None = None) -> dict[str, Reliance]:
    """`measure_reliance` for each of a run's findings, over the patients of whom it is known.

    Args:
        run: A finished run of several findings an image.
        table: Test images with its findings.
        progress: Told about long work.

    Returns:
        By finding; p-values are corrected over all findings and swaps.
    """
    names, most = run.findings, _most(len(run.findings))
    blocks = {name: _blocks(binary_view(table, name), name, most) for name in names}
    judged = [name for name, found in blocks.items() if len(found) >= LEAST]
    found = _judge(_Pile(run, names, progress or Progress(), exclusive=False), table, blocks, judged)
    few = f"fewer than {2 * LEAST} patients with, or without, it"
    return {
        name: found.model_copy(
            update={
                "labels": {name: found.labels[name]} if name in found.labels else {},
                "not_scored": [],
                "note": "" if name in found.labels else few if name in found.not_scored else found.note,
            }
        )
        for name in names
    }


def _judge(pile: _Pile, table: Dataset, blocks: Mapping[str, list[list[list[Row]]]], judged: Sequence[str]) -> Reliance:
    """What is found of the labels that are judged, by blocks of their patients."""
    too_few = [label for label, found in blocks.items() if len(found) < LEAST]

    def nothing(why: str) -> Reliance:
        return Reliance(labels={}, constant=[], not_scored=too_few, note=why)

    if not judged:
        return nothing(f"fewer than {2 * LEAST} patients with, or without, each label")
    preprocessing = pile.run.preprocessing
    sheets: dict[str, list[_Sheet]] = {}
    with pile.progress.task("Editing images", sum(len(blocks[label]) for label in judged)) as advance:
        for label in judged:
            sheets[label] = []
            for block in blocks[label]:
                try:
                    sources = [[read_source(table.root, row.path) for row in rows] for rows in block]
                except (ImageError, OSError):  # gone or changed since the prediction: the block is passed over
                    sources = []
                if sources:
                    sheets[label].append(_sheet(sources, pile, preprocessing))
                advance(1)
    pile.predict()
    found = {label: _label(sheets[label], pile.log_odds(label)) for label in judged if len(sheets[label]) >= LEAST}
    if not found:
        return nothing("files were removed or changed since the prediction")
    swaps = [(label, entry) for label, part in found.items() for entry in part.found if entry.kind == "swap"]
    corrected = dict(
        zip(((label, entry.name) for label, entry in swaps), holm([e.p_value for _, e in swaps]), strict=True)
    )
    constant = [name for name in SWAPS if not any(entry.name == name for _, entry in swaps)]
    labelled = {label: _corrected(label, part, corrected) for label, part in found.items()}
    return Reliance(labels=labelled, constant=constant, not_scored=too_few, note="")


def _corrected(label: str, part: LabelReliance, corrected: Mapping[tuple[str, str], float]) -> LabelReliance:
    """The same with p-values of swaps that are corrected for the number of all."""
    found = [
        entry.model_copy(update={"p_corrected": corrected[label, entry.name]}) if entry.kind == "swap" else entry
        for entry in part.found
    ]
    return part.model_copy(update={"found": found})


@dataclass(frozen=True)
class _Sheet:
    """Numbers of the images of one block of four patients, the first two with the label.

    Attributes:
        plain: By patient: images as they are.
        swapped: By property and patient: pairs of images, with the property of a patient with the label, and without.
        blacked: By part and patient: images without it; no entry where an image has no mask.
    """

    plain: list[list[int]]
    swapped: dict[str, list[list[tuple[int, int]]]]
    blacked: dict[str, list[list[int]]]


def _most(labels: int) -> int:
    return max(LEAST, min(MOST, BLOCKS // labels))


def _blocks(table: Dataset, label: str, most: int) -> list[list[list[Row]]]:
    """Blocks of four patients by lot, two with the label and two without, with at most two images each."""
    sides: tuple[dict[str, list[Row]], dict[str, list[Row]]] = (defaultdict(list), defaultdict(list))
    for row, patient in zip(table.rows, table.patients(), strict=True):
        sides[row.label != label][patient].append(row)
    both = sides[0].keys() & sides[1].keys()
    drawn = [sorted(side.keys() - both, key=_lot) for side in sides]
    count = min(most, *(len(side) // 2 for side in drawn))
    return [
        [
            sorted(side[patient], key=lambda row: _lot(row.path))[:IMAGES]
            for side, names in zip(sides, drawn, strict=True)
            for patient in names[2 * n : 2 * n + 2]
        ]
        for n in range(count)
    ]


def _lot(name: str) -> bytes:
    return hashlib.sha256(name.encode(errors="surrogateescape")).digest()


def _sheet(sources: list[list[Source]], pile: _Pile, preprocessing: Preprocessing) -> _Sheet:
    """Edit the images of a block."""

    def versions(name: str) -> list[list[tuple[int, int]]]:
        made = []
        for patient, own in enumerate(sources):
            # The first two have the label: of those, and of the others, whom does this patient receive from?
            first, second = ({0: 1, 1: 0, 2: 0, 3: 1}[patient], {0: 2, 1: 3, 2: 3, 3: 2}[patient])

            def swapped(image: Source, n: int, donor: int) -> int:
                return pile.add(SWAPS[name](image, sources[donor][n % len(sources[donor])]), preprocessing)

            made.append([(swapped(image, n, first), swapped(image, n, second)) for n, image in enumerate(own)])
        return made

    blacked: dict[str, list[list[int]]] = {}
    for name, blackout in BLACKOUTS.items():
        edited = [[blackout(image) for image in own] for own in sources]
        if all(image is not None for own in edited for image in own):
            blacked[name] = [[pile.add(image, preprocessing) for image in own if image is not None] for own in edited]
    plain = [[pile.add(image.pixels, preprocessing) for image in own] for own in sources]
    return _Sheet(plain, {name: versions(name) for name in SWAPS}, blacked)


def _label(sheets: Sequence[_Sheet], log_odds: Floats) -> LabelReliance:
    """What was found of one label."""
    margins = np.array([_margin(sheet.plain, log_odds) for sheet in sheets])
    found = []
    for name in SWAPS:
        pairs = [sheet.swapped[name] for sheet in sheets]
        if all(one == other for block in pairs for own in block for one, other in own):
            continue
        changes = np.array(
            [
                np.mean([np.mean([log_odds[one] - log_odds[other] for one, other in own]) for own in block])
                for block in pairs
            ]
        )
        found.append(_property(name, "swap", changes, margins))
    for name in BLACKOUTS:
        if all(name in sheet.blacked for sheet in sheets):
            left = np.array([_margin(sheet.blacked[name], log_odds) for sheet in sheets])
            found.append(_property(name, "blackout", left, margins))
    return LabelReliance(n_patients=4 * len(sheets), margin=mean_estimate(margins).interval(), found=found)


def _margin(images: list[list[int]], log_odds: Floats) -> float:
    """Log-odds of the two patients with the label less those of the two without."""
    first, second, third, fourth = (float(np.mean(log_odds[own])) for own in images)
    return (first + second - third - fourth) / 2


def _property(name: str, kind: str, changes: Floats, margins: Floats) -> Property:
    return Property(
        name=name,
        kind=kind,
        log_odds=mean_estimate(changes).interval(),
        share=ratio_of_means(changes, margins).interval(),
        p_value=sign_flip_of_mean(changes),
    )

"""Which well-known public sets a dataset's images come from, recognised by what they show."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from hilum.auditing.findings import Finding, FindingEvidence, RecognisedSet
from hilum.auditing.near_duplicates.codes import CROPS, Floats, basis, equalised, unpack
from hilum.auditing.scan import Scan
from hilum.data.catalogue.entries import CatalogueEntry, catalogue
from hilum.data.labels import is_covid, order_labels

COVID_YEAR = 2020  # the first COVID-19 radiographs were published in January 2020


@dataclass(frozen=True, slots=True)
class KnownSet:
    """A public set of radiographs whose images are recognised by what they show.

    Attributes:
        entry: What is known about it.
        fingerprints: Which of its images are known, in words.
        complete: Whether these are all: what is not recognised then comes from elsewhere.
    """

    entry: CatalogueEntry
    fingerprints: str
    complete: bool = False

    @property
    def key(self) -> str:
        """Its key in the catalogue, and the name of its file of fingerprints without the ending."""
        return self.entry.key

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return self.entry.name

    @property
    def year(self) -> int:
        """Year of publication: no later disease can be in it."""
        return self.entry.year

    @property
    def ages(self) -> str:
        """Whom it shows, for the most part: ``children``, ``adults`` or ``mixed``."""
        return self.entry.ages


KNOWN_SETS: tuple[KnownSet, ...] = (
    KnownSet(catalogue()["kermany"], "all 5,856 images", complete=True),
    KnownSet(catalogue()["nih"], "1,000 images: those of DarkCovidNet (Ozturk et al. 2020)"),
    KnownSet(catalogue()["ieee8023"], "124 images: those of DarkCovidNet (Ozturk et al. 2020)"),
)


MATCH = 0.90  # of the codes' correlation
WHITEN = 0.5
ROWS = 256
# A set is named from 5 matches on (2 to 5 of fewer than 100 images) if they are also 1 % of the images.
FEWEST, SHARE = 5, 0.01
# Copies are often cropped alike on all sides; 5 and 10 % are the furthest from the crops that candidates need.
_CROPS = np.concatenate([CROPS, np.full((1, 4), 8), np.full((1, 4), 16)])
NEARLY_ALL = 0.95  # of a label's images, before the label itself is said to be of a set


@dataclass(frozen=True)
class Match:
    """A known set that a dataset's images come from.

    Attributes:
        known: The set.
        positions: The scan's images that were recognised, ascending.
        labels: How many of each label were recognised; every label of the dataset is there.
        totals: How many images each label has.
    """

    known: KnownSet
    positions: tuple[int, ...]
    labels: Mapping[str, int]
    totals: Mapping[str, int]

    @property
    def matched(self) -> int:
        """How many images were recognised."""
        return len(self.positions)

    def holds(self, label: str) -> bool:
        """Whether enough images of a label were recognised to say that it comes from the set."""
        return enough(self.labels[label], self.totals[label])

    def reported(self) -> RecognisedSet:
        """For ``provenance`` in ``audit.json``."""
        return RecognisedSet(
            dataset=self.known.name,
            matched=self.matched,
            labels=dict(self.labels),
            message=f"{self.matched} of {sum(self.totals.values())} images are from {self.known.name} "
            f"({self.known.entry.population}): {self.known.entry.cannot_show}.",
        )


class SetRecognised(FindingEvidence):
    """How many images, all and of each label, match a public set."""

    dataset: str
    matched: int
    images: int
    labels: dict[str, int]


class ImpossibleLabel(FindingEvidence):
    """How many images of labels that name COVID-19 match a set that is older; `label` is the first of them."""

    dataset: str
    label: str
    labels: dict[str, int]
    matched: int
    year: int


def enough(matched: int, total: int) -> bool:
    """Whether so many matches name a set: more than false alarms could bring, even on look-alike images."""
    return matched >= max(min(FEWEST, max(2, round(0.05 * total))), SHARE * total)


def recognise(scan: Scan) -> list[Match]:
    """Find the known sets that images come from, those with most matches first.

    Copies are recognised that were resized, recompressed, brightened, equalised, or cropped. Measured on Kermany's:
    all when uncropped, 84 to 100 % when cropped alike by up to 10 % a side and 79 % when cropped at random; of 2,865
    images of children whose own fingerprints were left out 0.4 % matched, of 1,000 adults' 0.1 %, of phantoms none.
    Only images whose fingerprints come with hilum can be recognised (`KnownSet.fingerprints`).

    Args:
        scan: Of a dataset.
    """
    return recognise_thumbnails(scan.thumbnails, [row.label for row in scan.table.rows])


def recognise_thumbnails(thumbnails: NDArray[np.uint8], labels: Sequence[str]) -> list[Match]:
    """As `recognise`, of thumbnails (N, S, S), S at least 48, and the label of each."""
    score, member = _best(thumbnails)
    totals = Counter(labels)
    totals = Counter({label: totals[label] for label in order_labels(totals)})
    matches = []
    for number, known in enumerate(KNOWN_SETS):
        positions = np.flatnonzero((score >= MATCH) & (member == number))
        if enough(len(positions), len(labels)):
            counts = Counter(labels[int(i)] for i in positions)
            by_label = {label: counts[label] for label in totals}
            matches.append(Match(known, tuple(map(int, positions)), by_label, totals))
    return sorted(matches, key=lambda match: -match.matched)


def findings(matches: Sequence[Match]) -> list[Finding]:
    """Say what was recognised.

    A label that names COVID-19 but has images of a set published before 2020 is an error. That a public set was
    recognised is good to know. What follows where labels come from different sets is said by
    `hilum.auditing.checks.sources`.

    Args:
        matches: As recognised.
    """
    found = []
    for match in matches:
        known, total = match.known, sum(match.totals.values())
        early = [label for label in match.labels if is_covid(label) and match.holds(label)]
        if known.year < COVID_YEAR and early:
            message = "; ".join(_impossible(match, label) for label in early)
            message += f" from {known.name} ({known.entry.citation}), and COVID-19 appeared in December 2019."
            if known.key == "kermany":
                message += " Most such copies contain its paediatric viral pneumonia under that name."
            found.append(
                Finding(
                    "provenance",
                    "error",
                    message,
                    "Use the public set's own label, or replace its images. A model trained on them is not a COVID-19 "
                    "classifier.",
                    ImpossibleLabel(
                        dataset=known.name,
                        label=early[0],
                        labels={label: match.labels[label] for label in early},
                        matched=sum(match.labels[label] for label in early),
                        year=known.year,
                    ),
                )
            )
        shares = ", ".join(f"{n} of {match.totals[label]} '{label}'" for label, n in match.labels.items() if n)
        found.append(
            Finding(
                "provenance",
                "info",
                f"{match.matched} of {total} images match {known.name} ({shares}): {known.entry.cannot_show}.",
                f"Cite {known.entry.citation}, and state its population in reports: {known.entry.population}. "
                f"Licence: {known.entry.licence}.",
                SetRecognised(dataset=known.name, matched=match.matched, images=total, labels=dict(match.labels)),
            )
        )
    return found


def _impossible(match: Match, label: str) -> str:
    """The start of a sentence; all of a label is meant only where nearly all of it was recognised."""
    number, of = match.labels[label], match.totals[label]
    if number >= NEARLY_ALL * of:
        return f"'{label}' cannot be COVID-19: {number} of its {of} images are"
    return f"{number} of {of} images of '{label}' cannot be COVID-19: they are"


@cache
def _references() -> tuple[Floats, NDArray[np.intp]]:
    """Codes (C, M, L) of all fingerprints, uncropped and cropped, and which set each is of, (M,)."""
    known = basis()
    components = []
    for item in KNOWN_SETS:
        with (
            (files("hilum.auditing.fingerprints") / f"{item.key}.npz").open("rb") as file,
            np.load(file) as stored,
        ):
            components.append(unpack(stored["components"]))
    together = np.concatenate(components)
    member = np.repeat(np.arange(len(KNOWN_SETS)), [len(part) for part in components])
    shadows = known.rebuild(together)
    cropped = [known.codes(known.project(shadows, crop), WHITEN) for crop in _CROPS[1:, None]]
    return np.stack([known.codes(together, WHITEN), *cropped]), member


def _best(thumbnails: NDArray[np.uint8]) -> tuple[Floats, NDArray[np.intp]]:
    """The best correlation of each of N images with any fingerprint, and the set of that one, both (N,)."""
    known = basis()

    def search(start: int) -> tuple[Floats, NDArray[np.intp]]:
        images = equalised(thumbnails[start : start + ROWS])
        asked = [known.codes(known.project(images, crop), WHITEN) for crop in _CROPS[:, None]]
        best = asked[0] @ references[0].T
        for ask, reference in zip(asked[1:], references[1:], strict=True):
            np.maximum(best, ask @ references[0].T, out=best)  # a larger picture than the set's
            np.maximum(best, asked[0] @ reference.T, out=best)  # a part of the set's picture
        best[np.ptp(images.reshape(len(images), -1), axis=1) == 0] = 0  # blank images resemble nothing
        return best.max(axis=1), member[best.argmax(axis=1)]

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        references, member = _references()
        parts = list(pool.map(search, range(0, len(thumbnails), ROWS)))
    return np.concatenate([score for score, _ in parts]), np.concatenate([of for _, of in parts])

"""How often the intervals hold what is true, over everything that makes that hard: a grid of made-up test sets.

    python studies/interval_coverage.py OUT    # writes the grid's tables of simulations.md; half an hour

Sets differ in the number of patients and of those who are ill, in the number of images a patient has and in how well
they are ranked; images of one patient are alike. What is true is known in closed form. The intervals come out of the
functions that the commands use. The file OUT keeps what is done, so that it can go on.
``tests/intervals/test_coverage.py`` runs a part of it.
"""

from __future__ import annotations

import functools
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from hilum.evaluation.differences import paired_differences
from hilum.stats.auc import auprc_estimate, auroc_estimate
from hilum.stats.intervals import Patients, apart, combined, f1_of, proportion
from hilum.stats.metrics import answer_measures
from hilum.stats.verdicts import predictive_values

ALIKE = 0.6  # correlation of the scores of a patient's images
NOISE = 0.8  # standard deviation of what a second classifier adds
PREVALENCE = 0.05  # at which predictive values are asked for
RUNS, CLOSER = 300, 2000  # of a cell; of one that looks as if it fell short
KINDS = {
    "1": "one",
    "1 to 3": "one to three",
    "1 to 60": "a heavy tail: half have one, one in twenty more than eight",
    "40": "forty",
    "one has 40": "one, but for a single patient with forty",
}
Draw = Iterator[tuple[str, float, float, float]]  # measure, truth, low, high


@dataclass(frozen=True)
class Cell:
    """One kind of test set.

    Attributes:
        kind: How many images a patient has, a key of `KINDS`.
        patients: How many.
        ill: How many of them.
        misses: Ill patients who are expected to be missed; 0 where `area` is given.
        area: The true AUROC; 0 where `misses` is given.
        hidden: Whether a part of the ill look healthy, instead of all being a little hard.
    """

    kind: str
    patients: int
    ill: int
    misses: float = 0.0
    area: float = 0.0
    hidden: bool = False

    def __str__(self) -> str:
        what = f"{self.misses:g} misses" if self.misses else f"AUROC {self.area:g}{', hidden' if self.hidden else ''}"
        return f"{self.patients} patients, {self.ill} ill, {self.kind} images, {what}"


def cells(small: bool = False) -> list[Cell]:
    """The grid, or the part of it that the tests run."""
    found = []
    for kind in KINDS:
        for patients in (20, 100) if small else (20, 50, 100, 300, 1000):
            for share in (0.05, 0.5) if small else (0.01, 0.05, 0.1, 0.2, 0.5):
                ill = round(patients * share)
                if ill < 1:
                    continue
                wanted = (0.5, 2, 3.3, 10) if small else (0.5, 1, 2, 3.3, 5, 10)
                found += [Cell(kind, patients, ill, misses=misses) for misses in wanted if misses <= ill / 2]
                if patients == 50 or patients * {"1": 1, "1 to 3": 2}.get(kind, 10) > 3000:
                    continue
                areas = (0.8, 0.97) if small else (0.75, 0.97)
                found += [Cell(kind, patients, ill, area=area, hidden=h) for area in areas for h in (False, True)]
    return found


def sizes(generator: np.random.Generator, kind: str, patients: int) -> NDArray[np.int64]:
    """How many images each patient has."""
    if kind == "1 to 3":
        return generator.integers(1, 4, patients)
    if kind == "1 to 60":
        return np.clip(np.rint(np.exp(generator.normal(0, 1.3, patients))), 1, 60).astype(np.int64)
    drawn = np.full(patients, 40 if kind == "40" else 1)
    if kind == "one has 40":
        drawn[generator.integers(patients)] = 40
    return drawn


def shares(cell: Cell, generator: np.random.Generator) -> Draw:
    """One set of which only the recall is asked."""
    rate = cell.misses / cell.ill
    many = sizes(generator, cell.kind, cell.ill)
    member = np.repeat(np.arange(cell.ill), many)
    scores = np.sqrt(ALIKE) * generator.normal(size=cell.ill)[member] + np.sqrt(1 - ALIKE) * generator.normal(
        size=len(member)
    )
    found = proportion(scores > ndtri(rate), np.full(len(member), True), Patients(member))
    yield "recall", 1 - rate, found.low, found.high


@functools.cache
def effect(area: float, hidden: bool) -> tuple[float, float]:
    """By how much the scores of the ill are higher, and how many of them are not."""
    share = 1 - area if hidden else 0.0  # so that about half of what is lost is lost by them
    return float(np.sqrt(2) * ndtri((area - share / 2) / (1 - share))), share


@functools.cache
def truths(area: float, hidden: bool, share: float) -> dict[str, float]:
    """What is true of all such patients."""
    higher, lost = effect(area, hidden)
    cut = higher / 2

    def found(noise: float) -> float:
        spread = np.sqrt(1 + noise**2)
        return float((1 - lost) * ndtr((higher - cut) / spread) + lost * ndtr(-cut / spread))

    def ranked(noise: float) -> float:
        return float((1 - lost) * ndtr(higher / np.sqrt(2 * (1 + noise**2))) + lost / 2)

    recall, specificity, other = found(0), float(ndtr(cut)), float(ndtr(cut / np.sqrt(1 + NOISE**2)))
    level = np.linspace(14, -10, 200001)
    above, false = (1 - lost) * ndtr(higher - level) + lost * ndtr(-level), ndtr(-level)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.nan_to_num(share * above / (share * above + (1 - share) * false), nan=1.0)
    p = PREVALENCE
    return {
        "recall": recall,
        "accuracy": share * recall + (1 - share) * specificity,
        "balanced accuracy": (recall + specificity) / 2,
        "precision": share * recall / (share * recall + (1 - share) * (1 - specificity)),
        "F1": 2 * share * recall / (share * (1 + recall) + (1 - share) * (1 - specificity)),
        "PPV at 5 %": p * recall / (p * recall + (1 - p) * (1 - specificity)),
        "NPV at 5 %": (1 - p) * specificity / ((1 - p) * specificity + p * (1 - recall)),
        "AUROC": ranked(0),
        "AUPRC": float(np.sum((precision[1:] + precision[:-1]) / 2 * np.diff(above))),
        "paired difference of recall": found(NOISE) - recall,
        "paired difference of accuracy": share * (found(NOISE) - recall) + (1 - share) * (other - specificity),
        "paired difference of AUROC": ranked(NOISE) - ranked(0),
        "drop of recall": 0.0,
        "drop of AUROC": 0.0,
    }


def ranked_set(cell: Cell, generator: np.random.Generator) -> tuple[NDArray, NDArray, NDArray]:
    """Scores, truth and patient of each image."""
    higher, lost = effect(cell.area, cell.hidden)
    member = np.repeat(np.arange(cell.patients), sizes(generator, cell.kind, cell.patients))
    ill = np.arange(cell.patients) < cell.ill
    shows = ill & (generator.random(cell.patients) >= lost)
    own = higher * shows + np.sqrt(ALIKE) * generator.normal(size=cell.patients)
    return own[member] + np.sqrt(1 - ALIKE) * generator.normal(size=len(member)), ill[member], member


def rankings(cell: Cell, generator: np.random.Generator) -> Draw:
    """One set of which everything is asked."""
    known = truths(cell.area, cell.hidden, cell.ill / cell.patients)
    cut = effect(cell.area, cell.hidden)[0] / 2
    scores, ill, member = ranked_set(cell, generator)
    truth, patients, called, labels = ill.astype(np.int64), Patients(member), scores > cut, ("healthy", "ill")
    answers = answer_measures(truth, called.astype(np.int64), labels, patients)
    found = {
        "recall": answers["recall"]["ill"],
        "accuracy": answers["accuracy"],
        "balanced accuracy": answers["balanced_accuracy"],
        "precision": proportion(ill, called, patients),
        "F1": f1_of(proportion(ill & called, ill | called, patients)),
        "AUROC": auroc_estimate(scores, ill, patients),
        "AUPRC": auprc_estimate(scores, ill, patients),
    }
    again, ill_again, member_again = ranked_set(cell, generator)
    elsewhere = Patients(member_again)
    found["drop of recall"] = apart(found["recall"], proportion(again > cut, ill_again, elsewhere))
    found["drop of AUROC"] = apart(found["AUROC"], auroc_estimate(again, ill_again, elsewhere))
    for name, estimate in found.items():
        yield name, known[name], estimate.low, estimate.high
    values = predictive_values(ill, called, patients, prevalences=[PREVALENCE]).at[0]
    vague = scores + NOISE * generator.normal(size=len(scores))
    pairs = paired_differences(truth, called.astype(np.int64), (vague > cut).astype(np.int64), labels, member)
    for name, entry in {
        "PPV at 5 %": values.ppv.as_json(),
        "NPV at 5 %": values.npv.as_json(),
        "paired difference of recall": pairs.recall["ill"].difference.as_json(),
        "paired difference of accuracy": pairs.accuracy.difference.as_json(),
        "paired difference of AUROC": combined(
            [(1.0, auroc_estimate(vague, ill, patients)), (-1.0, found["AUROC"])]
        ).as_json(),
    }.items():
        if entry["value"] is not None:
            yield name, known[name], entry["low"], entry["high"]


Result = dict[str, NDArray[np.float64]]


def simulated(cell: Cell, runs: int, seed: int = 0) -> Result:
    """By measure, of how many intervals lie above the truth and below it, and how wide they are on average."""
    generator = np.random.default_rng([seed, cell.patients, cell.ill, round(1000 * (cell.misses + cell.area))])
    one: Callable[[Cell, np.random.Generator], Draw] = shares if cell.misses else rankings
    sums: defaultdict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(4))
    for _ in range(runs):
        for name, truth, low, high in one(cell, generator):
            if np.isfinite(low):
                sums[name] += (low > truth + 1e-12, high < truth - 1e-12, high - low, 1)
    return {name: total[:3] / total[3] for name, total in sums.items()}


def short(found: Result) -> bool:
    """Whether anything looks as if it fell short."""
    return any(max(above, below) > 0.04 or above + below > 0.065 for above, below, _ in found.values())


def grid(cells: Sequence[Cell], out: Path, runs: int = RUNS, closer: int = CLOSER) -> dict[Cell, Result]:
    """Every cell; what looks short is looked at again, with other and more draws, and then only those count."""
    lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    done = {line["cell"]: line["found"] for line in map(json.loads, lines)}
    found = {}
    for cell in cells:
        if str(cell) not in done:
            one = simulated(cell, runs)
            one = simulated(cell, closer, seed=1) if short(one) else one
            done[str(cell)] = {name: numbers.tolist() for name, numbers in one.items()}
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"cell": str(cell), "found": done[str(cell)]}) + "\n")
        found[cell] = {name: np.array(numbers) for name, numbers in done[str(cell)].items()}
    return found


def by_misses(found: dict[Cell, Result]) -> list[str]:
    """The recall by the number of misses that are expected."""
    lines = [f"| images of a patient | {' | '.join(KINDS)} |", f"|---|{'---|' * len(KINDS)}"]
    for misses in sorted({cell.misses for cell in found if cell.misses}):
        shown = []
        for kind in KINDS:
            here = [one["recall"] for cell, one in found.items() if (cell.misses, cell.kind) == (misses, kind)]
            shown.append(f"{_percent(min(1 - a - b for a, b, _ in here))}; {_percent(max(a for a, _, _ in here))}")
        lines.append(f"| {misses:g} false negatives expected | {' | '.join(shown)} |")
    return lines


def by_measure(found: dict[Cell, Result]) -> list[str]:
    """Each measure over all cells."""
    lines = [
        "| 95 % interval of | cells | mean | lowest | there | mostly above | mostly below |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(name for one in found.values() for name in one):
        here = [(1 - one[name][0] - one[name][1], *one[name][:2], cell) for cell, one in found.items() if name in one]
        lowest = min(here, key=lambda entry: entry[0])
        numbers = [np.mean([entry[0] for entry in here]), lowest[0]]
        tails = [max(entry[side] for entry in here) for side in (1, 2)]
        shown = [_percent(n) for n in numbers], [_percent(n) for n in tails]
        lines.append(f"| {name} | {len(here)} | {' | '.join(shown[0])} | {lowest[3]} | {' | '.join(shown[1])} |")
    return lines


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


if __name__ == "__main__":
    from document import fill

    if len(sys.argv) != 2:
        sys.exit(__doc__)
    made = grid(cells(), Path(sys.argv[1]))
    fill(
        "explanation/simulations.md",
        {"false_negatives": "\n".join(by_misses(made)), "grid": "\n".join(by_measure(made))},
    )

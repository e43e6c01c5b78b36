"""Does the reliance measure find a shortcut that a network was trained on, and nothing on clean sets?

``python studies/reliance_power.py OUT 0 1 2 ...`` trains and measures small networks of these seeds, a minute and a
half each, into OUT/<seed>.json; what is there is not repeated. ``--table`` writes the table of evaluation.md
from what is there.

A seed draws about 270 phantoms of 180 patients. In *injected* sets every image of ``infected/covid`` has a property
(95 % a corner letter; a black frame, a brighter display, strong JPEG compression, or another ratio of width to height)
that no other image has. In the *clean* set none has one. In the *mixed* set half of the patients have each property, by
lot and whatever their label, so that it varies and says nothing. A network of its own is trained on each set.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from document import fill
from hilum.evaluation.counterfactuals import SWAPS
from hilum.evaluation.reliance import measure_reliance
from hilum.phantoms import image as edits
from hilum.phantoms.defects import PlannedImage, plan_dataset
from hilum.phantoms.radiograph import LABELS, make_phantom
from hilum.stats.intervals import exact_interval
from hilum.training.recipe import load_recipe
from hilum.training.train import train

PATIENTS, SIDE, TEST = 180, 72, 0.5
PLANTED = "infected/covid"
# What is injected, and the property of which the interval has to lie above zero.
KINDS = {
    "marker": "corner marks",
    "frame": "borders",
    "brightness": "histogram",
    "compression": "compression",
    "aspect": "aspect",
}
CASES = ("clean", "mixed", *KINDS)
SHARE = {"marker": 0.95}
QUALITY, CUT = 8, 0.75  # of JPEG; of the width
RECIPE = [
    *(
        "network.options.width=12",
        "network.options.blocks=[1, 1, 1]",
        "preprocessing.size=72",
        "preprocessing.equalise=false",
    ),
    *("augmentation={}", "epochs=24", "batch_size=16", "splits.calibration=none", "splits.duplicates=identical"),
]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class File:
    """One image to write."""

    plan: PlannedImage
    pixels: Pixels
    suffix: str = ".png"

    @property
    def path(self) -> str:
        """Relative to the dataset."""
        return self.plan.path.removesuffix(".png") + self.suffix


def phantoms(seed: int) -> list[File]:
    """The images of a seed, without defects."""
    shares = dict.fromkeys(LABELS, 1.0)
    plan = plan_dataset(patients=PATIENTS, seed=seed, size=SIDE, test_fraction=TEST, shares=shares)
    return [File(p, make_phantom(p.truth, seed=seed, patient=p.patient, image=p.image, size=SIDE).image) for p in plan]


def altered(file: File, kinds: Iterable[str], rng: np.random.Generator) -> File:
    """An image with some properties, and written as they ask for."""
    pixels, suffix = file.pixels, ".png"
    for kind in kinds:
        if kind == "marker":
            pixels = edits.stamp(pixels, rng)
        elif kind == "frame":
            pixels = edits.frame(pixels, rng)
        elif kind == "brightness":
            pixels = edits.brighten(pixels)
        elif kind == "aspect":
            margin = round((1 - CUT) / 2 * pixels.shape[1])
            pixels = np.ascontiguousarray(pixels[:, margin:-margin])
        else:
            suffix = ".jpg"
    return File(file.plan, pixels, suffix)


def case_of(name: str, files: list[File], seed: int) -> list[File]:
    """The images of a seed with the defect of a case."""
    rng = np.random.default_rng([seed, CASES.index(name)])
    if name == "clean":
        return files
    if name == "mixed":
        drawn = {p: [kind for kind in KINDS if rng.random() < 0.5] for p in sorted({f.plan.patient for f in files})}
        return [altered(file, drawn[file.plan.patient], rng) for file in files]
    share = SHARE.get(name, 1.0)
    return [altered(f, [name], rng) if f.plan.label == PLANTED and rng.random() < share else f for f in files]


def write(files: list[File], root: Path) -> None:
    """Files and table."""
    for file in files:
        (root / file.path).parent.mkdir(parents=True, exist_ok=True)
        (root / file.path).write_bytes(edits.encode(file.pixels, file.suffix, quality=QUALITY))
    with (root / "metadata.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["path", "label", "split", "patient_id"])
        writer.writerows([f.path, f.plan.label, f.plan.split, f.plan.patient_id] for f in files)


def measured(name: str, seed: int, files: list[File], folder: Path) -> dict[str, Any]:
    """What is found of a network that was trained on a case."""
    write(case_of(name, files, seed), folder / "data")
    run = train(folder / "data", folder / "run", load_recipe("phantoms", [*RECIPE, f"training.seed={seed}"]))
    table = run.table(folder / "data")
    test = table.take([i for i, row in enumerate(table.rows) if row.split == "test"])
    return {"seed": seed, "case": name, **measure_reliance(run, test, run.labels).as_json()}


def table_of(results: list[dict[str, Any]]) -> str:
    """Two tables: how often what was injected was found; and how often intervals held zero where nothing was."""
    injected: dict[str, list[tuple[bool, float]]] = defaultdict(list)
    null: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for result in results:
        for label, part in result["labels"].items():
            for entry in part["found"]:
                change, case = entry["log_odds"], result["case"]
                if KINDS.get(case) == entry["name"] and label == PLANTED:
                    injected[case].append((change["low"] > 0, entry["share"]["value"] or np.nan))
                if case in ("clean", "mixed") and entry["kind"] == "swap":
                    null[case, entry["name"]].append((change["low"], change["high"]))
    rows = ["| trained on | property exchanged | interval above zero | share of the margin |", "|---|---|---|---|"]
    for case, found in injected.items():
        median = np.nanmedian([share for _, share in found])
        rows.append(f"| {case} | {KINDS[case]} | {_told([hit for hit, _ in found])} | {100 * median:.0f} % |")
    rows += ["", "| trained on | property exchanged | interval holds zero | above | below |", "|---|---|---|---|---|"]
    for case in ("clean", "mixed"):
        null[case, "all"] = [limits for (of, _), found in list(null.items()) if of == case for limits in found]
    for (case, name), found in sorted(null.items(), key=lambda item: item[0][0]):
        if found:
            holds = _told([low <= 0 <= high for low, high in found])
            above, below = sum(low > 0 for low, _ in found), sum(high < 0 for _, high in found)
            rows.append(f"| {case} | {name} | {holds} | {above} | {below} |")
    return "\n".join(rows)


def _told(hits: list[bool]) -> str:
    limits = exact_interval(float(np.mean(hits)), len(hits))
    low, high = (100 * limits[end] for end in ("low", "high"))
    return f"{sum(hits)} of {len(hits)}, {100 * np.mean(hits):.1f} % ({low:.1f} to {high:.1f})"


def main(out: Path, seeds: list[int], cases: list[str]) -> None:
    """All cases of some seeds."""
    out.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        files = phantoms(seed)
        for name in cases:
            file = out / f"{seed}-{name}.json"
            if file.exists():
                continue
            with tempfile.TemporaryDirectory() as folder:
                found = measured(name, seed, files, Path(folder))
            file.write_text(json.dumps(found) + "\n")
            told = [
                f"{e['name']} {e['log_odds']['low']:+.2f}" for e in found["labels"].get(PLANTED, {"found": []})["found"]
            ]
            sys.stderr.write(f"{seed} {name}: {', '.join(told)}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("seeds", type=int, nargs="*")
    parser.add_argument("--cases", default=",".join(CASES), metavar="CASE,CASE")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    main(given.out, given.seeds, given.cases.split(","))
    if given.table:
        order = {name: n for n, name in enumerate((*CASES, *SWAPS))}
        read = [json.loads(file.read_text()) for file in given.out.glob("*.json")]
        fill(
            "explanation/evaluation.md",
            {"reliance": table_of(sorted(read, key=lambda r: (order[r["case"]], r["seed"])))},
        )

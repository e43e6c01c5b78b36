"""How often the audit finds what was injected, and how often it cries wolf: the figures of docs/explanation/audit.md.

``.venv/bin/python studies/audit_power.py ../shared/data OUT 0 1 2 ...`` audits small datasets of these seeds, some
minutes each, into OUT/<seed>.json; what is there is not repeated. ``--only clean,copies`` measures these cases alone.
``studies/audit_table.py OUT`` makes the table; cases that were not measured stay as they were.

A dataset has about 240 images: *phantoms* of three labels; *children*, the healthy ones of seed-cxr; and *adults*, the
healthy ones of darkcovidnet. Real patients get one of two labels at random, so that nothing but what is injected can
tell the labels apart. Files are PNG, split by patient, and every defect has a dataset of its own.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import affine_transform, gaussian_filter

from hilum.auditing.audit import Audit, audit
from hilum.data.readers.read import read_table
from hilum.phantoms import image as edits
from hilum.phantoms.defects import plan_dataset
from hilum.phantoms.radiograph import LABELS, make_phantom

PATIENTS, IMAGES, SIDE, LONGEST, TEST = 170, 240, 128, 192, 0.3
COPIES = 4  # of each variant
SHARED = 4  # patients on both sides
Edit = Callable[[Any, np.random.Generator], Any]


def moved(degrees: float, shift: float = 0, zoom: float = 0, mode: str = "constant") -> Edit:
    """As augmentation does it, about the middle, either way; what comes in is black, or (``nearest``) repeats the edge.

    Args:
        degrees: Exactly these, or up to these where there is a shift or a zoom as well.
        shift: The farthest, as a share of the side.
        zoom: The most, as a share.
        mode: As `scipy.ndimage.affine_transform` has it.
    """

    def edit(pixels: Any, generator: np.random.Generator) -> Any:
        free = bool(shift or zoom)
        angle = np.deg2rad(generator.uniform(-degrees, degrees) if free else degrees * generator.choice([-1, 1]))
        turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        turned *= generator.uniform(1 - zoom, 1 + zoom)
        middle, size = (np.array(pixels.shape) - 1) / 2, np.array(pixels.shape)
        offset = middle - turned @ middle + generator.uniform(-shift, shift, 2) * size
        done = affine_transform(pixels.astype(np.float32), turned, offset, order=1, mode=mode)
        return np.rint(done).clip(0, 255).astype(np.uint8)

    return edit


def cropped(degrees: float) -> Edit:
    """Rotated, and what comes in cropped away."""

    def edit(pixels: Any, generator: np.random.Generator) -> Any:
        angle = np.deg2rad(degrees)
        margin = [int(np.ceil((1 - 1 / (np.cos(angle) + np.sin(angle))) / 2 * side)) for side in pixels.shape]
        done = moved(degrees)(pixels, generator)
        return done[margin[0] : -margin[0], margin[1] : -margin[1]]

    return edit


def levels(curve: Callable[[Any], Any]) -> Edit:
    """Other grey values: `curve` maps 0 to 1 to what is clipped to 0 and 1."""
    return lambda pixels, generator: np.rint(255 * np.clip(curve(pixels / 255), 0, 1)).astype(np.uint8)


def noisy(pixels: Any, generator: np.random.Generator) -> Any:
    """Noise of a standard deviation of 2 % of the range."""
    return np.clip(pixels + generator.normal(0, 5, pixels.shape), 0, 255).astype(np.uint8)


def blurred(pixels: Any, generator: np.random.Generator) -> Any:
    """Blurred by 0.5 % of the side."""
    return gaussian_filter(pixels, 0.005 * max(pixels.shape))


EDITS: dict[str, Edit] = {
    "turned by 90°": lambda pixels, generator: np.rot90(pixels),
    "turned by 180°": lambda pixels, generator: np.rot90(pixels, 2),
    "turned by 270°": lambda pixels, generator: np.rot90(pixels, 3),
    "flipped upside down": lambda pixels, generator: pixels[::-1],
    "transposed": lambda pixels, generator: pixels.T,
    "mirrored, turned by 90°": lambda pixels, generator: np.rot90(pixels[:, ::-1]),
    "rotated by 2°": moved(2),
    "rotated by 5°": moved(5),
    "rotated by 10°": moved(10),
    "rotated by 5°, edge repeated": moved(5, mode="nearest"),
    "rotated by 5°, corners cropped": cropped(5),
    "rotated by 5°, mirrored": lambda pixels, generator: moved(5)(pixels[:, ::-1], generator),
    "rotated by up to 10°, shifted and zoomed by up to 5 %": moved(10, 0.05, 0.05, "nearest"),
    "rotated by up to 10°, shifted and zoomed by up to 10 %": moved(10, 0.1, 0.1, "nearest"),
    "brighter by a factor of 1.5": levels(lambda x: 1.5 * x),
    "darker by a factor of 0.6": levels(lambda x: 0.6 * x),
    "contrast by a factor of 1.5": levels(lambda x: 0.5 + 1.5 * (x - 0.5)),
    "contrast by a factor of 0.6": levels(lambda x: 0.5 + 0.6 * (x - 0.5)),
    "gamma of 1.5": levels(lambda x: x**1.5),
    "noise": noisy,
    "blur": blurred,
}
VARIANTS = (*edits.VARIANTS, *EDITS)
# What has to be found, how bad it is, and by which probe.
EXPECTED = {
    "marker": ("shortcuts", "warning", "letters"),
    "frame": ("shortcuts", "warning", "frame"),
    "brightness": ("shortcuts", "warning", "histogram"),
    "format": ("shortcuts", "error", "container"),
    "size": ("shortcuts", "error", "dimensions"),
    "bytes": ("shortcuts", "error", "size on disk"),
    "patients": ("patients", "error", ""),
    "copies": ("duplicates", "error", ""),
}


@dataclass(frozen=True)
class Item:
    """One file to write: pixels, where it goes, and how."""

    name: str
    label: str
    split: str
    patient: str
    pixels: np.ndarray[Any, np.dtype[np.uint8]]
    suffix: str = ".png"
    stored: bool = False
    quality: int = 95

    @property
    def path(self) -> str:
        """Relative to the dataset."""
        return f"{self.split}/{self.label}/{self.name}{self.suffix}"


def phantoms(seed: int) -> list[Item]:
    """Three labels, drawn."""
    plan = plan_dataset(patients=PATIENTS, seed=seed, size=SIDE, test_fraction=TEST, shares=dict.fromkeys(LABELS, 1.0))
    return [
        Item(
            f"{p.patient_id}-{p.number}",
            p.label,
            p.split,
            p.patient_id,
            make_phantom(p.truth, seed=seed, patient=p.patient, image=p.image, size=SIDE).image,
        )
        for p in plan
    ]


def real(folder: Path, seed: int) -> list[Item]:
    """Healthy radiographs whose labels are drawn by lot, patient by patient; each picture once."""
    rows = [row for row in read_table(folder).rows if row.label == "normal"]
    generator = np.random.default_rng([seed, 17])
    members: dict[str, list[Any]] = {}
    for row in rows:
        members.setdefault(row.patient_id, []).append(row)
    items: list[Item] = []
    seen = set()
    for number, patient in enumerate(generator.permutation(sorted(members))):
        if len(items) >= IMAGES:
            break
        label, split = ("one", "two")[number % 2], "test" if number // 2 % 10 < 10 * TEST else "train"
        for k, row in enumerate(members[patient][:4]):
            image = Image.open(folder / row.path).convert("L")
            image.thumbnail((LONGEST, LONGEST))
            pixels = np.asarray(image)
            if pixels.tobytes() not in seen:
                seen.add(pixels.tobytes())
                items.append(Item(f"p{number}-{k}", label, split, f"p{number}", pixels))
    return items


def injected(items: list[Item], seed: int) -> Iterator[tuple[str, list[Item], dict[str, list[tuple[str, str]]]]]:
    """The clean set, and a set for each defect; of copies also which path is a copy of which, by variant."""
    generator = np.random.default_rng([seed, 18])
    last = items[-1].label
    mine = [i for i, item in enumerate(items) if item.label == last]

    def changed(change: Callable[[Item], Item], share: float = 1.0) -> list[Item]:
        chosen = set(generator.choice(mine, round(share * len(mine)), replace=False).tolist())
        return [change(item) if i in chosen else item for i, item in enumerate(items)]

    def pixels(change: Callable[[Any], Any]) -> Callable[[Item], Item]:
        return lambda item: replace(item, pixels=change(item.pixels))

    yield "clean", items, {}
    yield "marker", changed(pixels(lambda x: edits.stamp(x, generator)), 0.95), {}
    yield "frame", changed(pixels(lambda x: edits.frame(x, generator))), {}
    yield "brightness", changed(pixels(edits.brighten)), {}
    yield "format", changed(lambda item: replace(item, suffix=".jpg")), {}
    larger = [replace(item, pixels=enlarged(item.pixels)) if item.label == last else item for item in items]
    yield "size", larger, {}
    yield "bytes", changed(lambda item: replace(item, stored=True)), {}
    in_train = [i for i, item in enumerate(items) if item.split == "train"]
    several = [i for i in in_train if sum(item.patient == items[i].patient for item in items) > 1]
    moved = {items[i].patient: i for i in generator.permutation(several)}
    torn = set(list(moved.values())[:SHARED])
    yield "patients", [replace(item, split="test") if i in torn else item for i, item in enumerate(items)], {}
    drawn = generator.choice(in_train, COPIES * len(VARIANTS), replace=False)
    copies, truth = [], {variant: [] for variant in VARIANTS}
    for n, i in enumerate(drawn):
        variant = VARIANTS[n % len(VARIANTS)]
        suffix = ".jpg" if variant == "jpeg" else ".png"
        pixels = items[i].pixels
        image = EDITS[variant](pixels, generator) if variant in EDITS else edits.vary(pixels, variant)
        name = f"copy{n}"
        copy = replace(
            items[i],
            name=name,
            split="test",
            patient=name,
            pixels=np.ascontiguousarray(image),
            suffix=suffix,
            quality=60,
        )
        copies.append(copy)
        truth[variant].append((items[i].path, copy.path))
    yield "copies", [*items, *copies], truth


def enlarged(pixels: Any) -> Any:
    """A quarter more rows and columns."""
    height, width = (round(edits.ENLARGED * side) for side in pixels.shape)
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


def write(items: list[Item], root: Path) -> None:
    """Files and table."""
    for item in items:
        (root / item.path).parent.mkdir(parents=True, exist_ok=True)
        (root / item.path).write_bytes(edits.encode(item.pixels, item.suffix, stored=item.stored, quality=item.quality))
    with (root / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split", "patient_id", "source"])
        writer.writerows([x.path, x.label, x.split, x.patient, "one hospital"] for x in items)


def judge(case: str, found: Audit, truth: dict[str, list[tuple[str, str]]], label: str) -> dict[str, Any]:
    """Whether the right finding is there, and all that is worse than good to know."""
    bad = [[f.severity, f.check, getattr(f.evidence, "probe", "")] for f in found.findings if f.severity != "info"]
    areas = {s.probe: round(s.auroc, 4) for s in found.shortcuts.found if s.label == label}
    result: dict[str, Any] = {"case": case, "images": len(found.scan), "found": bad, "auroc": areas}
    if case in EXPECTED:
        check, severity, probe = EXPECTED[case]
        result["right"] = [severity, check, probe] in bad
    if truth:
        paths = [row.path for row in found.scan.table.rows]
        pairs = {frozenset((paths[p.first], paths[p.second])) for p in found.duplicates.pairs}
        group = {paths[i]: number for number, group in enumerate(found.duplicates.groups) for i in group}
        result["pairs"] = {
            variant: sum(one in group and group[one] == group.get(other) for one, other in these)
            for variant, these in truth.items()
        }
        patient = {row.path: row.patient_id for row in found.scan.table.rows}
        patient |= {copy: patient[original] for these in truth.values() for original, copy in these}
        result["false_pairs"] = sum(len({patient[path] for path in pair}) > 1 for pair in pairs)
    return result


def main(data: Path, out: Path, seeds: list[int], only: frozenset[str]) -> None:
    """All datasets of some seeds, or those of some cases."""
    out.mkdir(parents=True, exist_ok=True)
    bases: dict[str, Callable[[int], list[Item]]] = {
        "phantoms": phantoms,
        "children": lambda seed: real(data / "seed-cxr", seed),
        "adults": lambda seed: real(data / "darkcovidnet", seed),
    }
    for seed in seeds:
        file = out / f"{seed}.json"
        if file.exists():
            continue
        results = []
        for base, make in bases.items():
            items = make(seed)
            for case, these, truth in injected(items, seed):
                if only and case not in only:
                    continue
                with tempfile.TemporaryDirectory() as folder:
                    write(these, Path(folder))
                    found = audit(Path(folder))
                results.append({"seed": seed, "base": base, **judge(case, found, truth, items[-1].label)})
                sys.stderr.write(f"{seed} {base} {case}: {results[-1]['found']}\n")
        file.write_text(json.dumps(results) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("seeds", type=int, nargs="+")
    parser.add_argument("--only", default="", metavar="CASE,CASE")
    given = parser.parse_args()
    main(given.data, given.out, given.seeds, frozenset(filter(None, given.only.split(","))))

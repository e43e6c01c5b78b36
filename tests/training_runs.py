"""Small finished runs of every kind of network, trained once a session."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from hilum.data.dataset import Dataset, Row
from hilum.data.multilabel import with_findings
from hilum.training.recipe import load_recipe
from hilum.training.run import ENVIRONMENT
from hilum.training.train import train

COMPACT = ["network.options.width=4", "network.options.blocks=[1, 1]", "preprocessing.size=48"]
TINY = ["network.options.width=4", "network.options.blocks=[1, 1]", "preprocessing.size=32", "epochs=3"]
TINY += ["batch_size=8", "equalise=false", "local_contrast=0", "gamma=0"]  # brightness is to be learnt
KINDS = {
    "flat": COMPACT,
    "cascade": [*COMPACT, "architecture=cascade"],
    "ensemble": [*COMPACT, "network.ensemble_size=2"],
    "cascade of ensembles": [*COMPACT, "architecture=cascade", "network.ensemble_size=2"],
    "vgg": ["network.architecture=vgg16-bn", "network.options.width=0.05", "preprocessing.size=32", "early_size=0"],
    "padded": [*COMPACT, 'preprocessing.fit="pad"', "local_contrast=0.067"],
}
LABELS = ("normal", "infected/covid", "infected/non-covid")
TEMPERATURES = {"flat": {"": 1.7}, "cascade": {"": 0.6, "infected": 2.5}}


def write_squares(root: Path, *, patients: int = 12, seed: int = 0) -> Path:
    """Noise with a bright square, at the top for one label, at the bottom for another, none for normal."""
    generator = np.random.default_rng(seed)
    for split in ("train", "test"):
        for label in LABELS:
            (root / split / label).mkdir(parents=True)
            for number in range(2 * patients):
                pixels = generator.normal(90, 30, (64, 80))
                row, column = generator.integers(2, 12), generator.integers(2, 60)
                if label != "normal":
                    row += 0 if label == "infected/covid" else 36
                    pixels[row : row + 16, column : column + 16] += 110
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / split / label / f"{number}.png")
    return root


def copy_with_data(folder: Path, to: Path) -> None:
    """Copy ``data`` and the runs on them: a test may change both, and the copies of runs name the copied data."""
    shutil.copytree(folder, to, dirs_exist_ok=True)
    for file in to.rglob(ENVIRONMENT):
        kept = json.loads(file.read_text(encoding="utf-8"))
        kept["data"] |= {"root": str(to / "data"), "data_argument": str(to / "data")}
        file.write_text(json.dumps(kept), encoding="utf-8")


def make_run(kind: str, data: Path, out: Path):
    """Train one of `KINDS` for a few steps, or ``findings``, which brings its own data."""
    if kind == "findings":
        return make_findings_run(write_findings(out.with_name("findings-data")), out)
    few = ["epochs=12", "batch_size=8", "eval_batch_size=16", "early_size=0", "augmentation={}"]
    few += ["equalise=false", "local_contrast=0"]  # squares are told by their grey
    return train(data, out, load_recipe("compact", [*few, *KINDS[kind]]))


FINDINGS = ("above", "below", "left")
FEW = ["epochs=12", "batch_size=16", "early_size=0", "augmentation={}", "equalise=false", "local_contrast=0"]


def write_findings(root: Path, *, patients: int = 120, seed: int = 0) -> Dataset:
    """Noise with up to three bright squares, each a finding of its own; a tenth unknown, a few uncertain."""
    generator = np.random.default_rng(seed)
    root.mkdir(parents=True, exist_ok=True)
    places = ((4, 30), (44, 30), (24, 4))
    values = (generator.random((2 * patients, len(FINDINGS))) < (0.5, 0.4, 0.15)).astype(np.float32)
    rows = []
    for number, line in enumerate(values):
        pixels = generator.normal(90, 30, (64, 80))
        for present, (row, column) in zip(line, places, strict=True):
            pixels[row : row + 16, column : column + 16] += 110 * present
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / f"{number}.png")
        rows.append(Row(f"{number}.png", "", patient_id=f"p{number // 2}", extra={"age": str(30 + number % 50)}))
    draw = generator.random(values.shape)
    values[draw < 0.1] = np.nan
    values[draw > 0.97] = -1
    return with_findings(Dataset(root, rows), FINDINGS, values)


def make_findings_run(data: Dataset, out: Path, *settings: str):
    """Train on several findings an image for a few steps."""
    return train(data, out, load_recipe("compact", [*FEW, *COMPACT, *settings]), check=False)

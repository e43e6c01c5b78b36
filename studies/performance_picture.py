"""Draw docs/images/performance.svg from committed results: ``.venv/bin/python studies/performance_picture.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hilum.report.figures import INK, MUTED, STYLE

ROOT = Path(__file__).resolve().parents[1]
WHOLE = "2026-11-28-x86_64-2cores-whole.json"
# The tables of docs/explanation/performance.md; that of Zen 4 is of docs/results/reproduction.json.
IMAGES = 615
ZEN_1 = [right / IMAGES for right in (540, 547, 550, 548, 544)]
ACCURATE = [right / IMAGES for right in (544, 541, 552, 546, 545)]
OURS, THEIRS = "#0072b2", "#b9c3ce"
# What others' DenseNets reach on the same test images, chosen by looking at them (the original report's notes).
OTHERS = 0.851
AIM = 0.905
SPEEDS = (
    ("the original report's VGG, its own loop", "vgg", "training vgg16-bn at 150", "the original report's own loop"),
    ("the original report's VGG, hilum", "vgg", "training vgg16-bn at 150", "hilum"),
    ("DenseNet-121 at 224", "peers", "training", "monai/densenet121 at 224"),
    ("ResNet-18 at 224", "peers", "training", "monai/resnet18 at 224"),
    ("hilum's compact", "peers", "training", "hilum's compact"),
)


def measured(file: str, part: str, what: str) -> dict[str, Any]:
    """Contestants of a measurement, by name."""
    parts = json.loads((ROOT / "benchmarks" / "results" / file).read_text())["parts"]
    (found,) = (item for item in parts[part]["measurements"] if item["what"] == what)
    return {contestant["name"]: contestant for contestant in found["contestants"]}


def speeds(panel: Axes) -> None:
    for place, (name, part, what, contestant) in enumerate(SPEEDS[::-1]):
        rate = measured(WHOLE, part, what)[contestant]["median"]
        panel.barh(place, rate, color=OURS if "hilum" in name else THEIRS, height=0.6)
        panel.text(rate * 1.12, place, f"{rate:.3g}", va="center", color=INK)
    panel.set_yticks(range(len(SPEEDS)), [speed[0] for speed in SPEEDS[::-1]])
    panel.set_xscale("log")
    panel.set_xlim(1, 1500)
    panel.xaxis.set_major_formatter("{x:g}")
    panel.set_title("training images a second (two cores, Zen 4)", loc="left")


def accuracies(panel: Axes) -> None:
    study = json.loads((ROOT / "docs" / "results" / "reproduction.json").read_text())
    rows = {
        "accurate, bfloat16": ACCURATE,
        "compact, bfloat16": study["hierarchy"]["flat"]["seeds"],
        "compact, float32": ZEN_1,
    }
    for place, values in enumerate(rows.values()):
        panel.plot(values, [place] * len(values), "o", color=OURS, alpha=0.5, markersize=8)
        mean = sum(values) / len(values)
        panel.text(mean, place + 0.2, f"mean {mean:.1%}", ha="center", color=INK)
    for value, words in ((OTHERS, "others' DenseNets"), (AIM, "aim of compact")):
        panel.axvline(value, color=MUTED, linestyle="--", linewidth=1)
        panel.text(
            value + (0.0008 if value < AIM else -0.0008),
            2.62,
            words,
            color=MUTED,
            ha="left" if value < AIM else "right",
        )
    panel.set_yticks(range(len(rows)), list(rows))
    panel.set_ylim(-0.5, 2.95)
    panel.set_xlim(0.84, 0.92)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    panel.set_title("accuracy on the 615 test images, a dot a seed", loc="left")


if __name__ == "__main__":
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        speeds(left)
        accuracies(right)
        figure.savefig(ROOT / "docs" / "images" / "performance.svg", metadata={"Date": None})

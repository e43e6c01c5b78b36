"""Put what a study measured into reproduction.md: ``python studies/make.py OUT`` after ``studies/run.sh ... OUT``.

Every table between two markers ``<!-- name -->`` is written anew; figures go to ``docs/images/reproduction``, the
metrics to ``docs/results/reproduction.json``. Prose is written by people.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from document import DOCS, fill
from hilum.evaluation.differences import Paired
from hilum.report import figures
from hilum.report.comparison_page import paired_dots
from hilum.report.sweep_page import settings_figure, settings_text
from hilum.training.run import Run
from hilum.training.sweep import Sweep
from tables import PROTECTED, area, load, markdown, over_seeds, percent, trials

Facts = dict[str, Any]
REPORTED_RATE = 0.01


def main(out: Path) -> None:
    """Read the runs below `out` and write their tables, figures and metrics; those of absent runs stay as they are."""
    metrics = DOCS / "results" / "reproduction.json"
    facts: Facts = json.loads(metrics.read_text()) if metrics.exists() else {}
    parts: dict[str, tuple[str, Callable[[Path, Facts], str]]] = {
        "data": ("vgg", data_table),
        "matrix": ("vgg", partial(matrix, "test")),
        "validation": ("vgg", partial(matrix, "val")),
        "curve": ("vgg", curve),
        "harder": ("hierarchy", harder),
        "hierarchy": ("hierarchy", hierarchy),
        "rates": ("rates", rates),
        "false_negatives": ("false_negatives", misses),
        "augmentation": ("augmentation", augmentation),
        "darkcovidnet": ("darkcovidnet", crossval),
        "encoder": ("encoder", encoder),
    }
    tables = {name: write(out / folder, facts) for name, (folder, write) in parts.items() if (out / folder).exists()}
    fill("explanation/reproduction.md", tables)
    (DOCS / "results").mkdir(exist_ok=True)
    metrics.write_text(json.dumps(rounded(facts), indent=1) + "\n", encoding="utf-8")


def data_table(vgg: Path, facts: Facts) -> str:
    """Fig. 1: images by split (the dataset's own names) and label."""
    run = Run(vgg)
    own = {"train": "train", "val": "test", "test": "val"}  # the seed validated on "test" and tested on "val"
    counts = {name: dict.fromkeys(run.labels, 0) for name in own.values()}
    for row in run.rows:
        counts[own[row.split]][row.label] += 1
    facts["data"] = counts
    colours = figures.label_colours(run.labels)
    save("classes", figures.class_bars(counts, colours, "classes"))
    rows = [
        [name, *(f"{n:,} ({n / sum(found.values()):.0%})" for n in found.values()), f"{sum(found.values()):,}"]
        for name, found in counts.items()
    ]
    rows.append(["all", *(f"{sum(found[k] for found in counts.values()):,}" for k in run.labels), f"{len(run.rows):,}"])
    return markdown(["", *run.labels, "all"], rows)


def matrix(evaluation: str, run: Path, facts: Facts) -> str:
    """Fig. 6: rows predicted, columns truth."""
    metrics = json.loads((run / "evaluation" / evaluation / "metrics.json").read_text())
    labels, counts = metrics["labels"], np.array(metrics["confusion"]).T
    facts[f"vgg on {evaluation}"] = {
        k: metrics[k] for k in ("n_images", "n_patients", "confusion", "accuracy", "balanced_accuracy", "recall")
    }
    rows = [
        [f"predicted {label}", *(str(n) for n in counts[k]), str(counts[k].sum()), percent(metrics["precision"][label])]
        for k, label in enumerate(labels)
        if metrics["precision"][label]["value"] is not None
    ]
    rows.append(["truth", *(str(n) for n in counts.sum(axis=0)), str(counts.sum()), ""])
    rows.append(["recall %", *(percent(metrics["recall"][label]) for label in labels), "", ""])
    right = f"accuracy **{percent(metrics['accuracy'])} %**"
    return (
        markdown(["", *labels, "all", "precision %"], rows)
        + f"\n\n{np.trace(counts)} of {counts.sum()} right: {right}."
    )


def curve(vgg: Path, facts: Facts) -> str:
    """Fig. 4."""
    run = Run(vgg)
    history = run.history()
    facts["vgg history"] = history
    facts["vgg"] = {
        k: run.environment.as_json()[k] for k in ("seconds", "images_per_second", "best", "processor", "precision")
    }
    save("curves", figures.training_curves(history, run.environment.best.step, "curves"))
    rows = [
        [
            *(f"{r['step']:.0f}", f"{r['epoch']:.0f}", f"{r['train_loss']:.3f}", f"{r['val_loss']:.3f}"),
            *(f"{100 * r['val_accuracy']:.1f}", f"{r['val_false_negatives']:.0f} of 139"),
        ]
        for r in history
    ]
    return markdown(["step", "epoch", "train loss", "validation loss", "accuracy %", f"missed {PROTECTED}"], rows)


def harder(sweep: Path, facts: Facts) -> str:
    """Normal against infected, and covid against non-covid among infected."""
    vgg = "the original VGG, its validation images"
    run = sweep.parent / "vgg"
    found = {vgg: over_seeds([load(run, "val")]) if run.exists() else facts["harder"][vgg]}
    for settings, runs in trials(sweep).items():
        found[f"compact, {json.loads(settings)['hierarchy']}"] = over_seeds([load(run) for run in runs])
    facts["harder"] = found
    rows = [
        [
            *(name, str(len(f["seeds"])), area(f["mean"]["AUROC infected"])),
            *(area(f["mean"]["AUROC covid among infected"]), area(f["mean"]["AUROC gap"], sign="+")),
        ]
        for name, f in found.items()
    ]
    return markdown(["615 images", "seeds", "normal or infected", "covid or non-covid, among infected", "gap"], rows)


def hierarchy(sweep: Path, facts: Facts) -> str:
    """Flat against cascade: means over seeds, and each pair of runs."""
    flat, cascade = (runs for runs in trials(sweep).values())
    first, second = ([load(run) for run in runs] for runs in (flat, cascade))
    of_flat, of_cascade = over_seeds(first), over_seeds(second, first)
    pairs = [json.loads(next((run / "comparison").glob("*/comparison.json")).read_text()) for run in cascade]
    eces = [
        [json.loads((run / "evaluation" / "test" / "metrics.json").read_text()) for run in runs]
        for runs in (flat, cascade)
    ]
    facts["hierarchy"] = {
        "flat": of_flat,
        "cascade": of_cascade,
        "pairs": [
            {
                rule: {k: found[k] for k in ("accuracy", "recall", "mcnemar", "patients")}
                for rule, found in pair["rules"].items()
            }
            | {"rule_effect": [effect["accuracy"]["difference"] for effect in pair["rule_effect"]]}
            for pair in pairs
        ],
    }
    names = ["accuracy", "balanced_accuracy", "recall normal", f"recall {PROTECTED}", "recall infected/non-covid"]
    entries = [
        (
            name.replace("_", " "),
            {
                "first": of_flat["mean"][name],
                "second": of_cascade["mean"][name],
                "difference": of_cascade["difference"][name],
            },
        )
        for name in names
    ]
    save("hierarchy", paired_dots(drawn(entries), ("flat", "cascade"), "hierarchy"))
    rows = [
        [title, percent(e["first"]), percent(e["second"]), percent(e["difference"], sign="+")] for title, e in entries
    ]
    tree = [
        [np.mean([pair["rules"][rule]["accuracy"][which]["value"] for pair in pairs]) for which in ("first", "second")]
        for rule in ("argmax", "top_down")
    ]
    for title, pair in zip(("accuracy, argmax", "accuracy, top-down"), tree, strict=True):
        rows.append([title, *(f"{100 * value:.1f}" for value in pair), f"{100 * (pair[1] - pair[0]):+.1f}"])
    for title, key in (("calibration error, test", None), ("before the temperature", "before")):
        shown = []
        for metrics in eces:
            values = [(m["calibration"]["before"] if key else m)["ece"]["value"] for m in metrics]
            shown.append(f"{100 * np.mean(values):.1f}")
        rows.append([title, *shown, ""])
    floor = np.mean([m["ece"]["ece_null_mean"] for metrics in eces for m in metrics])
    by_seed = []
    for number, pair in enumerate(pairs):
        found = pair["rules"]["argmax"]
        smallest = found["patients"]["smallest_significant"]
        by_seed.append(
            [
                str(number),
                percent(found["accuracy"]["difference"], sign="+"),
                f"{found['patients']['p_value']:.3f}",
                f"{found['mcnemar']['p_value']:.3f}",
                f"{100 * smallest:.1f}" if smallest else "-",
            ]
        )
    facts["hierarchy"]["ece"] = [
        [m["ece"] | {"before": m["calibration"]["before"]["ece"]["value"]} for m in x] for x in eces
    ]
    return (
        markdown(["%", "flat", "cascade", "cascade - flat"], rows)
        + f"\n\nA perfectly calibrated model would show a calibration error of {100 * floor:.1f} %. Seed by seed:\n\n"
        + markdown(["seed", "accuracy, points", "p, patients", "p, McNemar", "smallest that could have shown"], by_seed)
    )


def rates(sweep: Path, facts: Facts) -> str:
    """Learning rates on the original report's validation images, which also kept the checkpoints."""
    result = json.loads((sweep / "sweep.json").read_text())
    save("rates", str(settings_figure(Sweep.from_json(result))))
    read = {
        json.loads(settings)["training.lr"]: [load(run, "val") for run in runs]
        for settings, runs in trials(sweep).items()
    }
    found = {rate: over_seeds(seeds, read[REPORTED_RATE]) for rate, seeds in read.items()}
    facts["rates"] = {
        "trials": result["trials"],
        "choice": result["choice"],
        "against": {str(k): v for k, v in found.items()},
    }
    rows = []
    for rate, got in found.items():
        best = next(trial["best"] for trial in result["trials"] if trial["settings"]["training.lr"] == rate)
        gain = percent(got["difference"]["accuracy"], sign="+") if rate != REPORTED_RATE else ""
        rows.append(
            [
                *(f"{rate:g}", f"{best['step']:.0f}", percent(got["mean"]["accuracy"]), gain),
                *(f"{best['val_loss']:.3f}", f"{best['val_false_negatives']:.0f}", area(got["mean"]["AUROC infected"])),
            ]
        )
    measured = ["accuracy %", f"against {REPORTED_RATE:g}, points", "loss", "missed of 139", "AUROC of infected"]
    return markdown(["learning rate", "kept step", *measured], rows)


def misses(sweep: Path, facts: Facts) -> str:
    """The same trainings, other checkpoints kept: on validation and on the 615 test images."""
    result = json.loads((sweep / "sweep.json").read_text())
    of = {trial["name"]: trial for trial in result["trials"]}
    rows, base, found = [], None, {}
    for settings, runs in trials(sweep).items():
        name = json.loads(settings)["training.monitor"]
        read = [load(run) for run in runs]
        base = base or read
        got = found[name] = over_seeds(read, base)
        best = [of[run.name]["best"] for run in runs]
        rows.append(
            [
                name,
                ", ".join(f"{b['step']:.0f}" for b in best),
                ", ".join(f"{100 * b['val_accuracy']:.1f}" for b in best),
                ", ".join(f"{b['val_false_negatives']:.0f}" for b in best),
                percent(got["mean"]["accuracy"]),
                percent(got["mean"][f"recall {PROTECTED}"]),
                percent(got["mean"]["recall normal"]),
                percent(got["mean"]["recall infected/non-covid"]),
            ]
        )
    facts["false_negatives"] = found
    held_out = sum(row.split == "val" and row.label == PROTECTED for row in Run(runs[0]).rows)
    header = ["kept by", "steps", "val. accuracy %", f"val. missed of {held_out}", "test accuracy %"]
    return markdown([*header, *(f"recall {label} %" for label in (PROTECTED, "normal", "infected/non-covid"))], rows)


def augmentation(sweep: Path, facts: Facts) -> str:
    """Each augmentation alone against none, on the 615 test images."""
    rows, base, found, entries = [], None, {}, []
    result = json.loads((sweep / "sweep.json").read_text())
    mean = {json.dumps(group["settings"]): group["mean"] for group in result["groups"]}
    for settings, runs in trials(sweep).items():
        plan = json.loads(settings)["augmentation"]
        name = settings_text(plan) if plan else "none"
        read = [load(run) for run in runs]
        base = base or read
        got = found[name] = over_seeds(read, base)
        rows.append(
            [
                name,
                f"{100 * mean[settings]['val_accuracy']:.1f}",
                ", ".join(f"{100 * value:.1f}" for value in got["seeds"]),
                percent(got["mean"]["accuracy"]),
                percent(got["mean"]["balanced_accuracy"]),
                percent(got["difference"]["accuracy"], sign="+") if plan else "",
            ]
        )
        none = found["none"]["mean"]["accuracy"]
        entries.append(
            (name, {"first": none, "second": got["mean"]["accuracy"], "difference": got["difference"]["accuracy"]})
        )
    facts["augmentation"] = found
    save("augmentation", paired_dots(drawn(entries[1:]), ("none", "with it"), "augmentation"))
    header = ["augmentation", "validation %", "test accuracy %, by seed", "mean", "balanced"]
    return markdown([*header, "against none, points"], rows)


def crossval(folder: Path, facts: Facts) -> str:
    """Five folds of darkcovidnet."""
    result = json.loads((folder / "crossval.json").read_text())
    keys = ("n_images", "n_patients", "confusion", "accuracy", "balanced_accuracy", "recall", "auroc")
    facts["darkcovidnet"] = {k: result["pooled"][k] for k in keys} | {
        "folds": [{k: fold[k] for k in keys} for fold in result["per_fold"]],
        "spread": result["spread"],
    }
    parts = [*((f"fold {i}", fold) for i, fold in enumerate(result["per_fold"], 1)), ("all", result["pooled"])]
    rows = [
        [name, str(m["n_images"]), *(percent(m[k]) for k in ("accuracy", "balanced_accuracy"))]
        + [percent(m["recall"][label]) for label in m["labels"]]
        for name, m in parts
    ]
    labels = result["pooled"]["labels"]
    spread = result["spread"]["accuracy"]
    text = f"Over folds {100 * spread['mean']:.1f} ± {100 * spread['sd']:.1f} % accuracy (mean ± standard deviation)."
    return (
        markdown(["", "images", "accuracy %", "balanced %", *(f"recall {k} %" for k in labels)], rows) + f"\n\n{text}"
    )


PROBES = {
    "all probes together": "all probes together",
    "8x8 thumbnail": "the thumbnail alone",
    "original dimensions": "width and height of the published file alone",
}


def encoder(folder: Path, facts: Facts) -> str:
    """The frozen encoder beside probes that see no lung: means over the folds, and the smallest and largest fold."""
    result = json.loads((folder / "crossval.json").read_text())
    folds = [json.loads(file.read_text()) for file in sorted(folder.glob("fold-*/evaluation/test/metrics.json"))]
    labels = result["pooled"]["labels"]
    areas: dict[str, dict[str, list[float]]] = {"the encoder": {}, **{shown: {} for shown in PROBES.values()}}
    better = 0
    for label in labels:
        found = [fold["shortcuts"]["labels"][label] for fold in folds]
        areas["the encoder"][label] = [one["model"]["value"] for one in found]
        for name, shown in PROBES.items():
            probes = [next(each for each in one["baselines"] if each["name"] == name) for one in found]
            areas[shown][label] = [probe["auroc"]["value"] for probe in probes]
            better += sum(probe["verdict"] == "shown" for probe in probes) if shown == "all probes together" else 0
    facts["encoder"] = {"accuracy": result["pooled"]["accuracy"], "auroc by fold": areas, "better than probes": better}
    rows = [
        [name, *(f"{np.mean(found[k]):.3f} ({min(found[k]):.3f} to {max(found[k]):.3f})" for k in labels)]
        for name, found in areas.items()
    ]
    return (
        markdown(["", *labels], rows)
        + f"\n\nIn {better} of {len(labels) * len(folds)} comparisons, label by label and fold by fold, the encoder is "
        "shown to be better than all probes together."
    )


def drawn(entries: list[tuple[str, Facts]]) -> list[tuple[str, Paired]]:
    """Measures as figures take them."""
    return [(title, Paired.model_validate(entry)) for title, entry in entries]


def save(name: str, drawing: str) -> None:
    """Write an SVG element as a file of its own, on white, so that dark pages show it, too."""
    head = '<svg xmlns="http://www.w3.org/2000/svg" font-family="DejaVu Sans, Verdana, sans-serif" '
    text = str(drawing).replace("<svg ", head, 1).replace('style="max-width', 'style="background: white; max-width', 1)
    (DOCS / "images" / "reproduction").mkdir(parents=True, exist_ok=True)
    (DOCS / "images" / "reproduction" / f"{name}.svg").write_text(text + "\n", encoding="utf-8")


def rounded(value: Any) -> Any:
    """Five digits are more than any of this is worth."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return round(value, 5) if isinstance(value, float) else value


if __name__ == "__main__":
    main(Path(sys.argv[1]))

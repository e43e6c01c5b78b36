"""A cross-validation on the console, and its page, ``crossval.html``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from hilum.report import figures, results
from hilum.report.comparison_page import FoldRow, fold_dots
from hilum.report.evaluation_console import data_errors, decision_sentences, result_table
from hilum.report.page import errors_of
from hilum.templating import write_page
from hilum.text import cell_text, escape, percent_range, result_matrix
from hilum.training.recipe import flatten


def crossval_table(result: dict[str, Any]) -> RenderableType:
    """All folds pooled, then each of them.

    Args:
        result: What ``crossval.json`` holds.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title="fold by fold", title_justify="left")
    table.add_column("fold", justify="right")
    labels = result["pooled"]["labels"]
    for name in ("images", "accuracy %", "balanced %"):
        table.add_column(name, justify="right", no_wrap=True)
    positive_label = result["pooled"]["positive_label"]
    if positive_label in labels:
        table.add_column(f"sensitivity (recall) {escape(positive_label)} %", justify="right")
    for number, fold in enumerate(result["per_fold"], 1):
        row = [str(number), str(fold["n_images"])]
        row += [cell_text(fold[name]) for name in ("accuracy", "balanced_accuracy")]
        if positive_label in labels:
            row.append(cell_text(fold["recall"][positive_label]))
        table.add_row(*row)
    lines = [f"over folds: {name.replace('_', ' ')} {spread_text(entry)}" for name, entry in result["spread"].items()]
    lines += [escape(result["pooled"]["shared"])] if "shared" in result["pooled"] else []
    notes = [f"[yellow]{escape(note)}[/]" for note in result["notes"]]
    return Group(*data_errors(result), result_table(result["pooled"]), table, *lines, *notes, "")


def spread_text(entry: dict[str, float]) -> str:
    """``69.6 % (SD 4.5; corrected 95 % CI 61.2 to 78.0)``.

    Args:
        entry: As `hilum.evaluation.crossval.spread_over_folds` has it; of earlier versions without an interval.
    """
    said = f"{100 * entry['mean']:.1f} % (SD {100 * entry['sd']:.1f}"
    if "low" not in entry:
        return f"{said})"
    limits = {"low": max(0.0, entry["low"]), "high": min(1.0, entry["high"])}
    return f"{said}; corrected 95 % CI {percent_range(limits).removesuffix(' %')})"


SPREAD = {"accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy"}


def write_crossval_page(folder: Path, result: dict[str, Any]) -> Path:
    """Write the page of a cross-validation.

    Args:
        folder: Exists; usually where ``crossval.json`` lies.
        result: What that file holds.

    Returns:
        The file that was written, ``crossval.html``. The same result gives the same bytes.
    """
    return write_page(folder / "crossval.html", "crossval.html.j2", page_content(folder, result))


def page_content(folder: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the template shows, by name."""
    data = result["pooled"]["data"]
    # In a sentence the pooled images are those of the dataset, not of something called "pooled".
    pooled = {**result["pooled"], "name": Path(data["root"] or folder).name}
    colours = figures.label_colours(pooled["labels"])
    return {
        "name": folder.resolve().name,
        "folder": folder,
        "result": result,
        "colours": colours,
        "notes": result["notes"],
        "audit": errors_of(result["audit"]),
        "evaluation": {
            "name": pooled["name"],
            "metrics": pooled,
            "verdict": results.verdict(pooled),
            "matrix": result_matrix(pooled["labels"], pooled["confusion"]),
            "confusions": results.confusions(pooled),
            "per_label": results.per_label(pooled),
            "heads": list(map(results.heading, results.COLUMNS)),
            "decisions": decision_sentences(pooled),
            "dots": figures.measure_dots(results.dots_of(pooled), colours, "pooled-dots"),
            "scores": results.probability_scores(pooled),
        },
        "folds": fold_dots(_rows(result, colours), "fold-dots"),
        "missed": _missed(result),
        "spread": [(SPREAD.get(key, key), spread_text(entry)) for key, entry in result["spread"].items()],
        "shared": pooled.get("shared", ""),
        "data": data,
        "recipe": flatten(result["recipe"]),
    }


def _rows(result: Mapping[str, Any], colours: Mapping[str, str]) -> list[FoldRow]:
    pooled, folds = result["pooled"], result["per_fold"]
    rows = [FoldRow(title, tuple(fold[key]["value"] for fold in folds), pooled[key]) for key, title in SPREAD.items()]
    rows += [
        FoldRow(
            f"Sensitivity (recall) of {label}",
            tuple(_recall(f, label).get("value") for f in folds),
            pooled["recall"][label],
            hue,
        )
        for label, hue in colours.items()
    ]
    return rows


def _recall(fold: Mapping[str, Any], label: str) -> Mapping[str, float | None]:
    entry: Mapping[str, float | None] = fold["recall"].get(label, {})
    return entry


def _missed(result: Mapping[str, Any]) -> dict[str, Any] | None:
    """How many positive images each fold missed, and all together; None where nothing is positive."""
    positive_label = result["pooled"]["positive_label"]
    if positive_label not in result["pooled"]["labels"]:
        return None

    def counted(metrics: Mapping[str, Any]) -> tuple[int, int]:
        k = metrics["labels"].index(positive_label)
        row = metrics["confusion"][k]
        return sum(row) - row[k], sum(row)

    return {
        "label": positive_label,
        "folds": [counted(fold) for fold in result["per_fold"]],
        "all": counted(result["pooled"]),
    }

"""A cross-validation on the console, and its page, ``crossval.html``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from hilum.audit.findings import KnownIssues
from hilum.evaluation.schema import Metrics
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
    pooled, folds = Metrics.from_json(result["pooled"]), [Metrics.from_json(fold) for fold in result["per_fold"]]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title="fold by fold", title_justify="left")
    table.add_column("fold", justify="right")
    labels = pooled.labels
    for name in ("images", "accuracy %", "balanced %"):
        table.add_column(name, justify="right", no_wrap=True)
    positive_label = pooled.positive_label
    if positive_label and positive_label in labels:
        table.add_column(f"sensitivity (recall) {escape(positive_label)} %", justify="right")
    for number, fold in enumerate(folds, 1):
        row = [str(number), str(fold.n_images)]
        row += [cell_text(entry) for entry in (fold.accuracy, fold.balanced_accuracy)]
        if positive_label and positive_label in labels:
            row.append(cell_text(fold.recall[positive_label]))
        table.add_row(*row)
    lines = [f"over folds: {name.replace('_', ' ')} {spread_text(entry)}" for name, entry in result["spread"].items()]
    lines += [escape(pooled.shared)] if pooled.shared else []
    notes = [f"[yellow]{escape(note)}[/]" for note in result["notes"]]
    known = KnownIssues.model_validate(result.get("audit") or {})
    return Group(
        *data_errors(known),
        result_table(pooled),
        table,
        *lines,
        *notes,
        "",
    )


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
    pooled, folds = Metrics.from_json(result["pooled"]), [Metrics.from_json(fold) for fold in result["per_fold"]]
    # In a sentence the pooled images are those of the dataset, not of something called "pooled".
    pooled = pooled.model_copy(update={"name": Path(pooled.data.root or folder).name})
    colours = figures.label_colours(pooled.labels)
    return {
        "name": folder.resolve().name,
        "folder": folder,
        "result": result,
        "colours": colours,
        "notes": result["notes"],
        "audit": errors_of(KnownIssues.model_validate(result["audit"])),
        "evaluation": {
            "name": pooled.name,
            "metrics": pooled,
            "verdict": results.verdict(pooled),
            "matrix": result_matrix(pooled.labels, pooled.confusion),
            "confusions": results.confusions(pooled),
            "per_label": results.per_label(pooled),
            "heads": list(map(results.heading, results.COLUMNS)),
            "decisions": decision_sentences(pooled),
            "dots": figures.measure_dots(results.dots_of(pooled), colours, "pooled-dots"),
            "scores": results.probability_scores(pooled),
        },
        "folds": fold_dots(_rows(pooled, folds, colours), "fold-dots"),
        "missed": _missed(pooled, folds),
        "spread": [(SPREAD.get(key, key), spread_text(entry)) for key, entry in result["spread"].items()],
        "shared": pooled.shared,
        "data": pooled.data,
        "per_fold": folds,
        "recipe": flatten(result["recipe"]),
    }


def _rows(pooled: Metrics, folds: Sequence[Metrics], colours: Mapping[str, str]) -> list[FoldRow]:
    rows = [
        FoldRow(title, tuple(getattr(fold, key).value for fold in folds), getattr(pooled, key))
        for key, title in SPREAD.items()
    ]
    rows += [
        FoldRow(
            f"Sensitivity (recall) of {label}",
            tuple(fold.recall[label].value if label in fold.recall else None for fold in folds),
            pooled.recall[label],
            hue,
        )
        for label, hue in colours.items()
    ]
    return rows


def _missed(pooled: Metrics, folds: Sequence[Metrics]) -> dict[str, Any] | None:
    """How many positive images each fold missed, and all together; None where nothing is positive."""
    positive_label = pooled.positive_label
    if positive_label not in pooled.labels:
        return None

    def counted(metrics: Metrics) -> tuple[int, int]:
        k = metrics.labels.index(positive_label)
        row = metrics.confusion[k]
        return sum(row) - row[k], sum(row)

    return {
        "label": positive_label,
        "folds": [counted(fold) for fold in folds],
        "all": counted(pooled),
    }

"""A cross-validation on the console, and its page, ``crossval.html``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from hilum.evaluation.crossval_schema import CrossValidation, Spread
from hilum.evaluation.schema import Metrics
from hilum.evaluation.source_comparison import SourceComparison
from hilum.report import figures, results
from hilum.report.comparison_page import FoldRow, fold_dots
from hilum.report.evaluation_console import data_errors, decision_sentences, result_table
from hilum.report.run_page import errors_of
from hilum.report.source_table import (
    COLUMNS,
    alarms_of_sources,
    is_shown,
    source_lines,
    source_rows,
    source_sentences,
    unseen_sentence,
)
from hilum.templating import write_page
from hilum.text import Matrix, cell_text, escape, percent_range, result_matrix
from hilum.training.recipe import flatten


def crossval_table(result: CrossValidation) -> RenderableType:
    """All folds pooled, then each of them."""
    pooled = result.pooled
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title="fold by fold", title_justify="left")
    table.add_column("fold", justify="right")
    labels = pooled.labels
    for name in ("images", "accuracy %", "balanced %"):
        table.add_column(name, justify="right", no_wrap=True)
    positive_label = pooled.positive_label
    if positive_label and positive_label in labels:
        table.add_column(f"sensitivity (recall) {escape(positive_label)} %", justify="right")
    for number, fold in enumerate(result.per_fold, 1):
        row = [str(number), str(fold.n_images)]
        row += [cell_text(entry) for entry in (fold.accuracy, fold.balanced_accuracy)]
        if positive_label and positive_label in labels:
            row.append(cell_text(fold.recall.get(positive_label)))
        table.add_row(*row)
    lines = [f"over folds: {name.replace('_', ' ')} {spread_text(entry)}" for name, entry in result.spread.items()]
    lines += [escape(pooled.shared)] if pooled.shared else []
    notes = [f"[yellow]{escape(note)}[/]" for note in result.notes]
    sources = source_lines(result.sources) if result.sources else []
    folds: list[RenderableType] = [] if result.sources else [table, *lines]
    return Group(*sources, *data_errors(result.audit), result_table(pooled), *folds, *notes, "")


def spread_text(spread: Spread) -> str:
    """``69.6 % (SD 4.5; corrected 95 % CI 61.2 to 78.0)``; of earlier versions without an interval."""
    said = f"{100 * spread.mean:.1f} % (SD {100 * spread.sd:.1f}"
    if spread.low is None or spread.high is None:
        return f"{said})"
    limits = {"low": max(0.0, spread.low), "high": min(1.0, spread.high)}
    return f"{said}; corrected 95 % CI {percent_range(limits).removesuffix(' %')})"


SPREAD = {"accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy"}


@dataclass(frozen=True)
class PooledShown:
    """The metrics of all folds together, ready to be shown."""

    name: str
    metrics: Metrics
    verdict: str
    matrix: Matrix
    confusions: str
    per_label: list[results.LabelRow]
    heads: list[str]
    decisions: list[str]
    dots: str
    scores: list[results.Score]


@dataclass(frozen=True, slots=True)
class Missed:
    """Missed positive images and positive images, of each fold and together."""

    label: str
    folds: list[tuple[int, int]]
    together: tuple[int, int]


@dataclass(frozen=True, slots=True)
class SourcesShown:
    """Sources that the model never saw, ready to be shown."""

    by: str
    alarms: list[str]
    verdict: str
    drops: bool
    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]
    sentences: list[str]

    @classmethod
    def of(cls, found: SourceComparison | None) -> SourcesShown | None:
        """None of ordinary folds."""
        if found is None:
            return None
        return cls(
            by=found.by,
            alarms=alarms_of_sources(found),
            verdict=unseen_sentence(found),
            drops=is_shown(found.auroc.drop),
            heads=COLUMNS,
            rows=list(source_rows(found)),
            sentences=source_sentences(found),
        )


def write_crossval_page(folder: Path, result: CrossValidation) -> Path:
    """Write the page of a cross-validation.

    Args:
        folder: Exists; usually where ``crossval.json`` lies.
        result: What that file holds.

    Returns:
        The file that was written, ``crossval.html``. The same result gives the same bytes.
    """
    # In a sentence the pooled images are those of the dataset, not of something called "pooled".
    pooled = result.pooled.model_copy(update={"name": Path(result.pooled.data.root or folder).name})
    colours = figures.label_colours(pooled.labels)
    return write_page(
        folder / "crossval.html",
        "crossval.html.j2",
        {
            "name": folder.resolve().name,
            "folder": folder,
            "result": result,
            "colours": colours,
            "audit": errors_of(result.audit),
            "evaluation": PooledShown(
                name=pooled.name,
                metrics=pooled,
                verdict=results.verdict(pooled),
                matrix=result_matrix(pooled.labels, pooled.confusion),
                confusions=results.confusions(pooled),
                per_label=results.per_label(pooled),
                heads=list(map(results.heading, results.COLUMNS)),
                decisions=decision_sentences(pooled),
                dots=figures.measure_dots(results.dots_of(pooled), colours, "pooled-dots"),
                scores=results.probability_scores(pooled),
            ),
            "folds": fold_dots(_rows(pooled, result.per_fold, colours), "fold-dots"),
            "missed": _missed(pooled, result.per_fold),
            "sources": SourcesShown.of(result.sources),
            "spread": [(SPREAD.get(key, key), spread_text(entry)) for key, entry in result.spread.items()],
            "recipe": flatten(result.recipe.model_dump(mode="json")),
        },
    )


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


def _missed(pooled: Metrics, folds: Sequence[Metrics]) -> Missed | None:
    """How many positive images each fold missed, and all together; None where nothing is positive."""
    label = pooled.positive_label
    if label not in pooled.labels:
        return None

    def counted(metrics: Metrics) -> tuple[int, int]:
        if label not in metrics.labels:
            return 0, 0
        k = metrics.labels.index(label)
        row = metrics.confusion[k]
        return sum(row) - row[k], sum(row)

    together = counted(pooled)
    return Missed(label, [counted(fold) for fold in folds], together) if together[1] else None

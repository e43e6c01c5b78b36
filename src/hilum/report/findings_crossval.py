"""A cross-validation of several findings an image on the console, and its page, ``crossval.html``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from hilum.evaluation.crossval_schema import CrossValidation, FindingsCrossValidation
from hilum.evaluation.findings_schema import FindingsMetrics
from hilum.evaluation.source_comparison import FindingsBySource
from hilum.report.comparison_page import FoldRow, fold_dots
from hilum.report.crossval_page import SourcesShown, crossval_table, spread_text, write_crossval_page
from hilum.report.evaluation_console import data_errors
from hilum.report.findings_console import (
    COLUMNS,
    FindingRow,
    finding_alarms,
    finding_rows,
    findings_table,
    left_out_sentences,
    mean_rows,
    threshold_sentence,
)
from hilum.report.findings_page import findings_verdict
from hilum.report.run_page import errors_of
from hilum.report.source_table import (
    FINDING_COLUMNS,
    alarms_of_sources,
    drop_rows,
    finding_source_lines,
    finding_source_sentences,
    is_shown,
    unseen_findings_sentence,
)
from hilum.templating import write_page
from hilum.text import cell_text, escape
from hilum.training.recipe import flatten

SPREAD = {"macro_auroc": "Macro AUROC", "macro_balanced_accuracy": "Macro balanced accuracy"}


@dataclass(frozen=True)
class PooledFindingsShown:
    """The measures of all folds together, ready to be shown."""

    name: str
    metrics: FindingsMetrics
    verdict: str
    alarms: list[str]
    heads: tuple[str, ...]
    rows: list[FindingRow]
    means: list[FindingRow]
    threshold: str
    left_out: list[str]


@dataclass(frozen=True, slots=True)
class FindingSourcesShown:
    """One finding at sources that the model never saw."""

    name: str
    shown: SourcesShown

    @property
    def verdict(self) -> str:
        """The drop in a sentence."""
        return self.shown.verdict

    @property
    def drops(self) -> bool:
        """Whether a drop is shown."""
        return self.shown.drops

    @property
    def heads(self) -> tuple[str, ...]:
        """Headings of the table of sources."""
        return self.shown.heads

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """One a source."""
        return self.shown.rows


@dataclass(frozen=True, slots=True)
class BySourceShown:
    """Several findings at sources that the model never saw, ready to be shown."""

    by: str
    alarms: list[str]
    verdict: str
    drops: bool
    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]
    sentences: list[str]
    findings: list[FindingSourcesShown]

    @classmethod
    def of(cls, found: FindingsBySource | None) -> BySourceShown | None:
        """None of ordinary folds."""
        if found is None:
            return None
        each = [(name, SourcesShown.of(one)) for name, one in found.findings.items()]
        return cls(
            by=found.by,
            alarms=alarms_of_sources(found),
            verdict=unseen_findings_sentence(found),
            drops=is_shown(found.macro.drop),
            heads=FINDING_COLUMNS,
            rows=list(drop_rows(found)),
            sentences=finding_source_sentences(found),
            findings=[FindingSourcesShown(name, one) for name, one in each if one],
        )


def shown_crossval(result: CrossValidation | FindingsCrossValidation) -> RenderableType:
    """What the console shows of a cross-validation, of exclusive labels or of several findings."""
    return crossval_table(result) if isinstance(result, CrossValidation) else findings_crossval_table(result)


def write_shown_crossval(folder: Path, result: CrossValidation | FindingsCrossValidation) -> Path:
    """Write its page; see `write_crossval_page` and `write_findings_crossval_page`."""
    if isinstance(result, CrossValidation):
        return write_crossval_page(folder, result)
    return write_findings_crossval_page(folder, result)


def findings_crossval_table(result: FindingsCrossValidation) -> RenderableType:
    """What is said of sources first, then all folds pooled, then each of them."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title="fold by fold", title_justify="left")
    table.add_column("fold", justify="right")
    for name in FOLD_COLUMNS:
        table.add_column(name, justify="right")
    for name, *cells in _fold_rows(result):
        table.add_row(name, *cells)
    lines = [f"over folds: {SPREAD[name]} {spread_text(entry)}" for name, entry in result.spread.items()]
    notes = [f"[yellow]{escape(note)}[/]" for note in result.notes]
    sources = finding_source_lines(result.sources) if result.sources else []
    folds: list[RenderableType] = [] if result.sources else [table, *lines, escape(result.shared)]
    pooled = result.pooled.model_copy(update={"data": result.pooled.data.model_copy(update={"notes": []})})
    return Group(*sources, *data_errors(result.audit), findings_table(pooled), *folds, *notes, "")


FOLD_COLUMNS = ("images", "findings", "macro AUROC", "macro sensitivity %", "macro specificity %")


def _fold_rows(result: FindingsCrossValidation) -> Iterator[tuple[str, ...]]:
    """The number of each fold, and a cell for each of `FOLD_COLUMNS`."""
    for number, fold in enumerate(result.per_fold, 1):
        shares = (cell_text(entry) for entry in (fold.macro.sensitivity, fold.macro.specificity))
        area = cell_text(fold.macro.auroc, as_percent=False)
        yield str(number), f"{fold.n_images:,}", str(len(fold.findings)), area, *shares


def write_findings_crossval_page(folder: Path, result: FindingsCrossValidation) -> Path:
    """Write the page of a cross-validation of several findings.

    Args:
        folder: Exists; usually where ``crossval.json`` lies.
        result: What that file holds.

    Returns:
        The file that was written, ``crossval.html``. The same result gives the same bytes.
    """
    pooled = result.pooled.model_copy(update={"name": Path(result.pooled.data.root or folder).name})
    return write_page(
        folder / "crossval.html",
        "findings_crossval.html.j2",
        {
            "name": folder.resolve().name,
            "folder": folder,
            "result": result,
            "colours": {},
            "audit": errors_of(result.audit),
            "evaluation": PooledFindingsShown(
                name=pooled.name,
                metrics=pooled,
                verdict=findings_verdict(pooled),
                alarms=finding_alarms(pooled),
                heads=COLUMNS,
                rows=finding_rows(pooled),
                means=mean_rows(pooled),
                threshold=threshold_sentence(pooled),
                left_out=left_out_sentences(pooled),
            ),
            "folds": fold_dots(_dots(result), "fold-dots"),
            "fold_heads": FOLD_COLUMNS,
            "fold_rows": list(_fold_rows(result)),
            "sources": BySourceShown.of(result.sources),
            "spread": [(SPREAD.get(key, key), spread_text(entry)) for key, entry in result.spread.items()],
            "recipe": flatten(result.recipe.model_dump(mode="json")),
        },
    )


def _dots(result: FindingsCrossValidation) -> list[FoldRow]:
    """The AUROC of each finding, and their mean."""
    folds, pooled = result.per_fold, result.pooled
    rows = [FoldRow("Macro", tuple(fold.macro.auroc.value for fold in folds), pooled.macro.auroc)]
    return rows + [
        FoldRow(
            name,
            tuple(one.auroc.value if (one := fold.findings.get(name)) else None for fold in folds),
            found.auroc,
        )
        for name, found in pooled.findings.items()
    ]

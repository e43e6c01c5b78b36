"""Results at sources that the model never saw: the sentence that comes first, and the table."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import compress

from rich import box
from rich.console import RenderableType
from rich.table import Table

from hilum.evaluation.source_comparison import FindingsBySource, SourceComparison, SourceDrop
from hilum.evaluation.source_folds import confounded_sentence
from hilum.stats.records import Interval
from hilum.text import cell_text, escape, interval_text, percent

UNMEASURED = "no AUROC: no source has images with and without it"


def alarms_of_sources(found: SourceComparison | FindingsBySource) -> list[str]:
    """Labels that come from one source only, to be said first."""
    return [f"{confounded_sentence(item)}." for item in found.confounded]


def unseen_sentence(found: SourceComparison) -> str:
    """``At a source that it never saw: AUROC of LABEL 0.55 (…); in ordinary folds 0.93 (…); drop 0.38 (…)``."""
    if found.auroc.unseen.value is None:
        recall = "; ".join(f"{one.name} {interval_text(one.sensitivity)}" for one in found.sources)
        return f"At a source that it never saw: sensitivity for {found.label}: {recall} ({UNMEASURED})."
    return f"At a source that it never saw: AUROC of {found.label} {_drop_of(found.auroc)}."


def unseen_findings_sentence(found: FindingsBySource) -> str:
    """The same of the mean over findings."""
    if found.macro.unseen.value is None:
        return f"At a source that it never saw: {UNMEASURED}."
    return f"At a source that it never saw: macro AUROC {_drop_of(found.macro)}."


def _drop_of(area: SourceDrop) -> str:
    parts = [_area(area.unseen)]
    if area.ordinary.value is not None:
        parts += [f"in ordinary folds {_area(area.ordinary)}", f"drop {_area(area.drop)}"]
    return "; ".join(parts)


def is_shown(drop: Interval) -> bool:
    """Whether a drop is larger than none: the interval lies above zero."""
    return drop.low is not None and drop.low > 0


def source_sentences(found: SourceComparison) -> list[str]:
    """What the table leaves open: the other measure, what was trained on, and what intervals count."""
    balanced = found.balanced_accuracy
    lines = []
    if balanced.unseen.value is not None:
        line = f"Balanced accuracy at a source that it never saw: {interval_text(balanced.unseen)}"
        if balanced.ordinary.value is not None:
            drop = interval_text(balanced.drop, sign=True)
            line += f"; in ordinary folds {interval_text(balanced.ordinary)}; drop {drop}"
        lines.append(f"{line}.")
    unseen, ordinary = found.n_train
    count = len([one for one in found.sources if one.auroc.value is not None])
    trained = f"Trained on {unseen:,} images on average"
    lines.append(f"{trained}, {ordinary:,} in ordinary folds." if ordinary else f"{trained}.")
    if count > 1:
        lines.append(f"Means count each of {count} sources once.")
    lines.append(_counted(found))
    lines += [f"{item.name} was not tested: {item.reason}." for item in found.not_tested]
    return lines


def _counted(found: SourceComparison | FindingsBySource) -> str:
    """What intervals count, and what they do not."""
    if found.repeats > 1:
        return (
            f"The interval of the drop counts patients and trainings: ordinary folds were divided and trained "
            f"{found.repeats} times, with other random seeds. Other intervals count patients alone. Another source may "
            "lie outside."
        )
    return (
        "Intervals count patients, not sources or trainings: another source, or another random seed, may lie outside."
    )


FINDING_COLUMNS = ("sources", "at a source never seen", "in ordinary folds", "drop")


def drop_rows(found: FindingsBySource) -> Iterator[tuple[str, ...]]:
    """The name of each finding, and a cell for each of `FINDING_COLUMNS`, all AUROC; then their mean."""
    each = [
        (name, str(len([row for row in one.sources if row.auroc.value is not None])), one.auroc)
        for name, one in found.findings.items()
    ]
    for name, count, one in (*each, ("macro", "", found.macro)):
        yield name, count, *(cell_text(entry, as_percent=False) for entry in (one.unseen, one.ordinary, one.drop))


def finding_source_sentences(found: FindingsBySource) -> list[str]:
    """What the table of drops leaves open."""
    unseen, ordinary = found.n_train
    trained = f"Trained on {unseen:,} images on average"
    lines = [f"{trained}, {ordinary:,} in ordinary folds." if ordinary else f"{trained}.", _counted(found)]
    lines += [f"{name} was not measured: {UNMEASURED}." for name in found.not_measured]
    return lines + [f"{item.name} was not tested: {item.reason}." for item in found.not_tested]


def finding_source_lines(found: FindingsBySource) -> list[RenderableType]:
    """The console's first lines of several findings: what is confounded, the mean drop, and each finding's."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title=f"AUROC by {escape(found.by)}", title_justify="left")
    table.add_column("finding", overflow="fold")
    for name in FINDING_COLUMNS:
        table.add_column(name, justify="right")
    for name, *cells in drop_rows(found):
        shown = name in found.findings and is_shown(found.findings[name].auroc.drop)
        table.add_row(f"[bold red]{escape(name)}[/]" if shown else escape(name), *map(escape, cells))
    style = "bold red" if is_shown(found.macro.drop) else "bold"
    return [
        *(f"[bold red]{escape(alarm)}[/]" for alarm in alarms_of_sources(found)),
        f"[{style}]{escape(unseen_findings_sentence(found))}[/]",
        table,
        *map(escape, finding_source_sentences(found)),
    ]


COLUMNS = (
    "images",
    "patients",
    "trained on",
    "prevalence %",
    "AUROC",
    "in ordinary folds",
    "best shortcut",
    "it sees",
    "balanced %",
    "sensitivity %",
    "specificity %",
)
PAGE_ONLY = ("patients", "trained on", "it sees")  # a terminal is narrow


def source_rows(found: SourceComparison) -> Iterator[tuple[str, ...]]:
    """The name of each source, and a cell for each of `COLUMNS`."""
    for one in found.sources:
        yield (
            one.name,
            f"{one.n_images:,}",
            "–" if one.n_patients is None else f"{one.n_patients:,}",
            f"{one.n_train:,}",
            percent(one.prevalence).removesuffix(" %"),
            cell_text(one.auroc, as_percent=False),
            cell_text(one.ordinary, as_percent=False),
            cell_text(one.shortcut, as_percent=False),
            one.shortcut_name or "–",
            cell_text(one.balanced_accuracy),
            cell_text(one.sensitivity),
            cell_text(one.specificity),
        )


def source_lines(found: SourceComparison) -> list[RenderableType]:
    """The console's first lines: what is confounded, the drop, and the table."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title=f"by {escape(found.by)}", title_justify="left")
    table.add_column(escape(found.by), overflow="fold")
    shown = [name not in PAGE_ONLY for name in COLUMNS]
    for name in compress(COLUMNS, shown):
        table.add_column(name, justify="right")
    for name, *cells in source_rows(found):
        table.add_row(escape(name), *map(escape, compress(cells, shown)))
    style = "bold red" if is_shown(found.auroc.drop) else "bold"
    return [
        *(f"[bold red]{escape(alarm)}[/]" for alarm in alarms_of_sources(found)),
        f"[{style}]{escape(unseen_sentence(found))}[/]",
        table,
        *map(escape, source_sentences(found)),
    ]


def _area(entry: Interval) -> str:
    return interval_text(entry, as_percent=False, digits=2)

"""The page of a comparison, ``comparison.html``, and its figures: measures as dots with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from hilum.evaluation.comparison import ComparedRun, Comparison
from hilum.evaluation.differences import Differences, Paired, RuleDifferences
from hilum.report.comparison_text import excludes_zero, outcome, p_values, power, seed_rows, verdict
from hilum.report.figures import INK, MUTED, PERCENT, ROUND, STYLE, label_colours, shown, svg
from hilum.stats.hypothesis_tests import McNemar
from hilum.stats.records import Interval
from hilum.templating import write_page
from hilum.text import measured

FIRST_COLOUR, SECOND_COLOUR = "#8394a8", "#0072b2"
POINTS = FuncFormatter(lambda value, _: f"{100 * value:+.4g}".replace("-", "−") if value else "0")
NUDGE = 0.17  # of a row, by which the two runs stand apart


def paired_dots(rows: Sequence[tuple[str, Paired]], names: tuple[str, str], name: str) -> Markup:
    """Each measure of both runs with its interval, and beside it the difference with its own.

    Args:
        rows: Title and measure, from 0 to 1.
        names: Of the first and of the second run.
        name: Unique on the page.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(10.6, 0.44 * len(rows) + 1.15))
        figure.set_layout_engine("constrained", wspace=0.05)
        values, differences = figure.subplots(1, 2, sharey=True, width_ratios=(1.1, 1))
        for position, (_, entry) in enumerate(rows):
            _dot(values, entry.first, position - NUDGE, FIRST_COLOUR)
            _dot(values, entry.second, position + NUDGE, SECOND_COLOUR)
            low, high = entry.difference.low, entry.difference.high
            clear = low is not None and high is not None and (low > 0 or high < 0)
            _dot(differences, entry.difference, position, INK, hollow=not clear)
        for colour, which in zip((FIRST_COLOUR, SECOND_COLOUR), names, strict=True):
            values.plot([], [], "o", color=colour, markersize=7, label=shown(which))
        handles, texts = values.get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside upper left", ncols=2, handletextpad=0.3, borderaxespad=0)
        values.set_title("Each run", weight="bold", size=9)
        values.xaxis.set_major_formatter(PERCENT)
        values.set_xlim(*_limits([one for _, entry in rows for one in (entry.first, entry.second)], (0.0, 1.0)))
        values.set_yticks(range(len(rows)), [shown(title, 38) for title, _ in rows], color=INK)
        values.set_ylim(len(rows) - 0.5, -0.5)
        differences.set_title("Difference in points: second minus first", weight="bold", size=9)
        differences.axvline(0, color=MUTED, linewidth=1, zorder=1)
        differences.xaxis.set_major_formatter(POINTS)
        low, high = _limits([entry.difference for _, entry in rows], (-1.0, 1.0))
        reach = max(-low, high)
        differences.set_xlim(-reach, reach)
        for panel in (values, differences):
            panel.xaxis.set_major_locator(MaxNLocator(7, steps=ROUND))
            panel.grid(axis="x")
            panel.spines["left"].set_visible(False)
        told = (
            f"Measures of {names[0]} and {names[1]} with intervals, and their difference; the numbers are in the table."
        )
        return svg(figure, name, told)


def _dot(panel: Axes, entry: Interval, at: float, colour: str, *, hollow: bool = False) -> None:
    value, low, high = entry.value, entry.low, entry.high
    if value is None:
        panel.text(0.5, at, "undefined", color=MUTED, ha="center", va="center", transform=panel.get_yaxis_transform())
        return
    if low is not None and high is not None:
        panel.plot((low, high), (at, at), color=colour, linewidth=2.4, alpha=0.55, solid_capstyle="round")
    edge, face = (colour, "white") if hollow else ("white", colour)
    panel.plot([value], [at], "o", color=face, markersize=7, markeredgecolor=edge, markeredgewidth=1.4 if hollow else 1)


def _limits(entries: Sequence[Interval], widest: tuple[float, float]) -> tuple[float, float]:
    """Where all intervals have room, within what is possible."""
    known = [number for entry in entries for number in (entry.value, entry.low, entry.high)]
    found = [number for number in known if number is not None] or [*widest]
    pad = max(0.08 * (max(found) - min(found)), 0.02)
    return max(widest[0] - 0.03, min(found) - pad), min(widest[1] + 0.03, max(found) + pad)


BAND = "#dbe7f1"
DOT = "#0072b2"


@dataclass(frozen=True, slots=True)
class FoldRow:
    """One measure: its title, each fold's value, and the interval of all folds together."""

    title: str
    folds: tuple[float | None, ...]
    pooled: Interval
    colour: str = DOT


def fold_dots(rows: Sequence[FoldRow], name: str) -> Markup:
    """Each fold's value as a dot (numbered where there is room), their mean as a line, the pooled interval as a band.

    Args:
        rows: Values from 0 to 1, or None where a fold has none.
        name: Unique on the page.
    """
    folds = max(len(row.folds) for row in rows)
    numbered = folds <= 12 and len(rows) <= 8
    with rc_context(STYLE):
        height = max(0.42, 0.14 * folds + 0.05) if numbered else 0.42
        figure = Figure(figsize=(10.6, height * len(rows) + 0.9), layout="constrained")
        panel = figure.subplots()
        for position, row in enumerate(rows):
            low, high = row.pooled.low, row.pooled.high
            if low is not None and high is not None:
                panel.barh(position, high - low, left=low, height=0.8, color=BAND, linewidth=0, zorder=1)
            known = [(number, value) for number, value in enumerate(row.folds) if value is not None]
            if not known:
                panel.text(0.5, position, "undefined", color=MUTED, ha="center", va="center")
                continue
            mean = sum(value for _, value in known) / len(known)
            panel.plot((mean, mean), (position - 0.4, position + 0.4), color=INK, linewidth=1.6, zorder=2)
            for number, value in known:
                # Folds stand below each other within a row, so that equal values do not hide each other.
                at = position + (0.68 * (number / (folds - 1) - 0.5) if folds > 1 else 0)
                size = 10.5 if numbered else 5
                panel.plot(
                    [value],
                    [at],
                    "o",
                    color=row.colour,
                    markersize=size,
                    markeredgecolor="white",
                    zorder=3,
                    clip_on=False,
                )
                if numbered:
                    panel.annotate(
                        str(number + 1),
                        (value, at),
                        ha="center",
                        va="center_baseline",
                        size=6.5,
                        color="white",
                        zorder=4,
                    )
        panel.set_yticks(range(len(rows)), [shown(row.title, 44) for row in rows], color=INK)
        panel.set_ylim(len(rows) - 0.45, -0.55)
        panel.xaxis.set_major_formatter(PERCENT)
        panel.xaxis.set_major_locator(MaxNLocator(8, steps=ROUND))
        low, high = panel.get_xlim()
        panel.set_xlim(max(low, -0.02), min(high, 1.02))
        panel.grid(axis="x")
        panel.spines["left"].set_visible(False)
        told = f"Measures of each of {folds} folds, their mean, and the interval of all together; numbers in the table."
        return svg(figure, name, told)


RULES = {
    "argmax": "Decoded by argmax (the most probable label)",
    "top_down": "Decoded top-down, along the label tree",
}
ABOUT = {
    "name": "Name",
    "network": "Network",
    "hierarchy": "Architecture",
    "recipe": "Recipe",
    "seeds_shown": "Seed",
    "split": "Images of its split",
    "path": "Folder",
    "weights_sha256": "SHA-256 of the weights",
}


@dataclass(frozen=True, slots=True)
class MeasureRow:
    """A measure of both runs and the difference, each with its interval, and whether that of the difference excludes 0.

    The label is None for a measure of all labels together.
    """

    measure: str
    label: str | None
    entry: Paired
    first: tuple[str, str]
    second: tuple[str, str]
    difference: tuple[str, str]
    certain: bool


@dataclass(frozen=True, slots=True)
class RuleShown:
    """One way of reading the probabilities, ready to be shown; `others` are specificity, PPV and NPV."""

    title: str
    outcome: str
    figure: Markup
    rows: list[MeasureRow]
    others: list[MeasureRow]
    alone: McNemar
    tests: str
    power: str


@dataclass(frozen=True, slots=True)
class RuleEffect:
    """What reading down the tree changes of one run, by measure; the accuracy comes first."""

    name: str
    measures: list[MeasureRow]


def write_comparison_page(file: Path, comparison: Comparison) -> Path:
    """Write the page of a comparison.

    Args:
        file: Is written, or written over; usually ``comparison.html`` beside ``comparison.json``.
        comparison: Two runs.

    Returns:
        The file. The same comparison gives the same bytes.
    """
    first, second = comparison.runs
    effects = zip(comparison.runs, comparison.rule_effect or (), strict=False)
    return write_page(
        file,
        "comparison.html.j2",
        {
            "comparison": comparison,
            "names": (first.name, second.name),
            "colours": label_colours(comparison.labels),
            "verdict": verdict(comparison),
            "same_weights": comparison.one_classifier,
            "about": about_runs(first, second),
            "rules": [_rule(comparison, rule, found) for rule, found in comparison.rules.items()],
            "areas": [_row("", label, entry, as_percent=False) for label, entry in comparison.auroc.items()],
            "seeds": seed_rows(comparison),
            "effects": [RuleEffect(run.name, measure_rows(comparison, effect)) for run, effect in effects],
        },
    )


def about_runs(first: ComparedRun, second: ComparedRun) -> list[tuple[str, str | int, str | int]]:
    """What distinguishes two runs, and what they have in common; empty of tables of predictions."""
    rows = [(title, getattr(first, key), getattr(second, key)) for key, title in ABOUT.items()]
    return [row for row in rows if any(value not in ("", None) for value in row[1:])]  # of predictions little is known


def _rule(comparison: Comparison, rule: str, found: RuleDifferences) -> RuleShown:
    rows, said = measure_rows(comparison, found), outcome(comparison, found)
    return RuleShown(
        title=RULES.get(rule, rule),
        outcome=f"{said[0].upper()}{said[1:]}.",
        figure=paired_dots(
            [(" ".join(filter(None, (row.measure, row.label))), row.entry) for row in rows],
            (comparison.runs[0].name, comparison.runs[1].name),
            f"paired-{rule.replace('_', '-')}",
        ),
        rows=rows,
        others=[
            _row(f"{title} of", label, entry)
            for title, of_labels in (("Specificity", found.specificity), ("PPV", found.ppv), ("NPV", found.npv))
            for label, entry in of_labels.items()
        ],
        alone=found.mcnemar,
        tests=p_values(comparison, found),
        power=power(comparison, found),
    )


def measure_rows(comparison: Comparison, found: Differences) -> list[MeasureRow]:
    """Accuracy, balanced accuracy and each sensitivity."""
    rows = [_row("Accuracy", None, found.accuracy), _row("Balanced accuracy", None, found.balanced_accuracy)]
    return rows + [_row("Sensitivity (recall) of", label, found.recall[label]) for label in comparison.labels]


def _row(measure: str, label: str | None, entry: Paired, *, as_percent: bool = True) -> MeasureRow:
    return MeasureRow(
        measure,
        label,
        entry,
        measured(entry.first, as_percent=as_percent),
        measured(entry.second, as_percent=as_percent),
        measured(entry.difference, as_percent=as_percent, sign=True),
        excludes_zero(entry.difference),
    )

"""A comparison in words, on the terminal and on the page. Differences are second minus first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from hilum.evaluation.comparison import ComparedRun, Comparison, one_classifier
from hilum.evaluation.differences import Gain, Paired, RuleDifferences
from hilum.report.evaluation_console import optimistic
from hilum.stats.hypothesis_tests import PatientTest
from hilum.stats.records import Interval
from hilum.text import cell_text, escape, fraction, interval_text, p_equals, plural, signed, signed_range

SIGNIFICANT = 0.05


def excludes_zero(difference: Interval) -> bool:
    """Whether an interval lies wholly on one side of zero; one without width says nothing."""
    low, high = difference.low, difference.high
    return low is not None and high is not None and low < high and (low > 0 or high < 0)


def verdict(comparison: Comparison) -> str:
    """The comparison in one sentence, read by the most probable label."""
    where = f"On the same {plural(comparison.n_images, 'image')}"
    if comparison.n_patients is not None:
        where += f" of {plural(comparison.n_patients, 'patient')}"
    first, second = (run.name for run in comparison.runs)
    if comparison.same_answers:
        return f"{where}, {first} and {second} give the same predictions."
    return f"{where}, {outcome(comparison, next(iter(comparison.rules.values())))}."


def outcome(comparison: Comparison, found: RuleDifferences) -> str:
    """What changed most, and which run is right more often, and whether that could be chance.

    Args:
        comparison: Two runs.
        found: One of its rules.
    """
    return f"{most_changed(comparison, found)}{_more_often(comparison, found)}"


def most_changed(comparison: Comparison, found: RuleDifferences) -> str:
    """The recalls that changed most, if by more than the overall accuracy; else empty.

    One label may be lost while the accuracy hardly moves, so the largest change leads, and before it the positive
    label's if that falls. Only changes whose interval excludes zero count.

    Args:
        comparison: Two runs.
        found: One of its rules.
    """
    changes = {
        label: _value(entry.difference) for label, entry in found.recall.items() if excludes_zero(entry.difference)
    }
    largest = max(changes, key=lambda label: abs(changes[label]), default="")
    if largest and abs(changes[largest]) <= abs(_value(found.accuracy.difference)):
        largest = ""
    positive = comparison.positive_label or ""
    falls = changes.get(positive, 0.0) < 0
    return "".join(
        _changed(comparison, found, label) for label in dict.fromkeys((positive if falls else "", largest)) if label
    )


def _value(entry: Interval) -> float:
    return entry.value or 0.0


def _changed(comparison: Comparison, found: RuleDifferences, label: str) -> str:
    entry = found.recall[label]
    change = _value(entry.difference)
    moved = "rises" if change > 0 else "falls"
    before, after = (f"{100 * _value(one):.1f}" for one in (entry.first, entry.second))
    points = f"{signed(change)} points, {_confidence(comparison)} {signed_range(entry.difference)}"
    return f"the sensitivity (recall) of {label} {moved} from {before} to {after} % ({points}); "


def _more_often(comparison: Comparison, found: RuleDifferences) -> str:
    first, second = (run.name for run in comparison.runs)
    difference, p_value = found.accuracy.difference, found.patients.p_value
    measured = f"{_confidence(comparison)} {signed_range(difference)}, {p_equals(p_value)}"
    gained = _value(difference)
    if not gained:
        alike = not (found.mcnemar.first_only or found.mcnemar.second_only)
        on = "on the same images" if alike else "not on the same images"
        return f"{first} and {second} are right equally often, {on} ({measured})"
    size = signed(gained).lstrip("+−")
    more = "more" if gained > 0 else "less"
    said = f"{second} is right {size} points {more} often than {first}"
    chance, outside = p_value >= SIGNIFICANT, not excludes_zero(difference)
    if chance and outside:
        return f"{said}; this is compatible with chance ({measured})"
    if chance or outside:
        return f"{said}; this is borderline: interval and p-value disagree ({measured})"
    return f"{said}, significantly ({measured})"


@dataclass(frozen=True, slots=True)
class GainRow:
    """What one method gains in one measure: by seed, the mean with its interval, and whether that excludes zero."""

    measure: str
    label: str | None
    values: str
    mean: str
    interval: str
    certain: bool


def seed_rows(comparison: Comparison) -> list[GainRow]:
    """What one method gains over the other, from several seeds: a row a measure; none without further seeds."""
    found = comparison.over_seeds
    if not found:
        return []
    rows = [
        gain_row("Accuracy", None, found.accuracy),
        gain_row("Balanced accuracy", None, found.balanced_accuracy),
    ]
    rows += [gain_row("Sensitivity (recall) of", label, entry) for label, entry in found.recall.items()]
    return rows + [gain_row("AUROC of", label, entry, 1, 3) for label, entry in found.auroc.items()]


def gain_row(measure: str, label: str | None, gain: Gain, factor: float = 100, digits: int = 1) -> GainRow:
    """A gain over seeds, as tables show it."""
    return GainRow(
        measure,
        label,
        ", ".join(signed(value, factor, digits) for value in gain.values),
        signed(gain.value, factor, digits),
        signed_range(gain, factor, digits),
        excludes_zero(gain),
    )


def _confidence(comparison: Comparison) -> str:
    return f"{100 * comparison.intervals.confidence:g} % CI"


def p_values(comparison: Comparison, found: RuleDifferences) -> str:
    """Both tests, each with what it counts and takes for granted.

    Args:
        comparison: Two runs.
        found: One of its rules.
    """
    patients = found.patients
    return (
        f"Counting {comparison.resampling_unit}, {p_equals(patients.p_value)} ({patients.test} test: it assumes that "
        f"{patients.assumes}). Counting images as if they were independent, {p_equals(found.mcnemar.p_value)} "
        "(McNemar's exact test)."
    )


def power(comparison: Comparison, found: RuleDifferences) -> str:
    """What this sample could have shown at all, by one rule."""
    patients = found.patients
    count = patients.discordant_patients
    unit = comparison.resampling_unit.removesuffix("s")
    told = f"{plural(count, unit)} {'distinguishes' if count == 1 else 'distinguish'} the two classifiers"
    if not count:
        return f"No {told.removeprefix('0 ').replace('s tell the', ' tells the')}."
    if patients.smallest_significant is None:
        return f"Only {told}: too few for any difference to be significant.{_floor(comparison, patients)}"
    return (
        f"{told[0].upper()}{told[1:]}. With them, the smallest difference of accuracy that could have been "
        f"significant (p < {SIGNIFICANT}) is {100 * patients.smallest_significant:.1f} points; a true difference "
        f"of {100 * (patients.detectable or 0.0):.1f} points would be detected in four of five such samples."
        f"{_floor(comparison, patients)}"
    )


def _floor(comparison: Comparison, patients: PatientTest) -> str:
    if patients.floor is None:
        return ""
    return f" No sample of {comparison.n_images:,} images shows less than {100 * patients.floor:.1f} points."


RULES = {"argmax": "argmax, the most probable label", "top_down": "top-down, level by level"}


def who_lines(runs: Iterable[ComparedRun]) -> list[str]:
    """Which run is the first and which the second, for the console; and whether they are one classifier."""
    first, second = runs
    lines = [
        f"{which}: [bold]{escape(run.name)}[/]" + (f" ({escape(_about(run))})" if run.network else "")
        for which, run in (("first", first), ("second", second))
    ]
    if one_classifier(first, second):
        lines.append("[yellow]both have the same weights: they are the same classifier[/]")
    return lines


def _about(run: ComparedRun) -> str:
    return f"{run.network} {run.hierarchy}, seed{'s' if run.seeds else ''} {run.seeds_shown}, on {run.split}"


def comparison_table(comparison: Comparison) -> RenderableType:
    """Two runs beside each other, then what may be concluded."""
    unit = (
        f"of {comparison.n_patients} patients"
        if comparison.n_patients
        else optimistic(comparison.with_patient, comparison.n_images)
    )
    parts: list[RenderableType] = [
        "",
        *who_lines(comparison.runs),
        f"{comparison.n_images} images {unit}, the same ones for both",
    ]
    parts += [f"[yellow]{escape(note)}[/]" for note in comparison.notes]
    for rule, found in comparison.rules.items():
        parts += ["", _measures(comparison, rule, found), *sentences(comparison, found), *_by_label(found)]
    parts += [_areas(comparison), *rule_sentences(comparison), *_seeds(comparison), ""]
    return Group(*parts)


def _measures(comparison: Comparison, rule: str, found: RuleDifferences) -> Table:
    title = f"decoding: {RULES[rule]}" if len(comparison.rules) > 1 else "with 95 % intervals"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left")
    table.add_column("%, recall by label", overflow="fold")
    for name in ("first", "second", "second - first"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = [("accuracy", found.accuracy), ("balanced accuracy", found.balanced_accuracy)]
    rows += [(label, found.recall[label]) for label in comparison.labels]
    for name, entry in rows:
        star = " [yellow]*[/]" if name == comparison.positive_label else ""
        table.add_row(escape(name) + star, *_three(entry))
    return table


def _by_label(found: RuleDifferences) -> list[RenderableType]:
    """Differences of specificity, PPV and NPV; nothing in comparisons of earlier versions, which lack them."""
    if not found.specificity:
        return []
    title = "second - first"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left")
    table.add_column("points", overflow="fold")
    for name in ("specificity", "PPV", "NPV"):
        table.add_column(name, justify="right", no_wrap=True)
    for label in found.specificity:
        entries = found.specificity[label], found.ppv[label], found.npv[label]
        table.add_row(escape(label), *(_three(entry)[2] for entry in entries))
    return [table]


def _seeds(comparison: Comparison) -> list[RenderableType]:
    if not comparison.over_seeds:
        return []
    return ["", seeds_table(comparison.over_seeds.seeds, seed_rows(comparison), "points; AUROC")]


def seeds_table(seeds: int, rows: Sequence[GainRow], first: str) -> Table:
    """The gains over several pairs of seeds on the console.

    Args:
        seeds: How many pairs.
        rows: One a measure.
        first: Heading of the first column.
    """
    title = f"gain over {seeds} pairs of seeds, 95 % CI over seeds and patients"
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left")
    table.add_column(first, overflow="fold")
    for name in ("by seed", "mean", "95 % CI"):
        table.add_column(name, justify="right", overflow="fold")
    for row in rows:
        bold = "[bold]{}[/]" if row.certain else "{}"
        name = f"{row.measure} {row.label or ''}".strip()
        table.add_row(escape(name), escape(row.values), escape(row.mean), bold.format(escape(row.interval)))
    return table


def _areas(comparison: Comparison) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("AUROC", overflow="fold")
    for name in ("first", "second", "second - first"):
        table.add_column(name, justify="right", no_wrap=True)
    for label in comparison.labels:
        entry = comparison.auroc[label]
        plain = [fraction(one.value) for one in (entry.first, entry.second)]
        table.add_row(escape(label), *plain, _three(entry, as_percent=False)[2])
    return table


def _three(entry: Paired, *, as_percent: bool = True) -> tuple[str, str, str]:
    first, second = (cell_text(one, as_percent=as_percent) for one in (entry.first, entry.second))
    shown = cell_text(entry.difference, as_percent=as_percent, sign=True)
    return first, second, f"[bold]{shown}[/]" if excludes_zero(entry.difference) else shown


def sentences(comparison: Comparison, found: RuleDifferences) -> list[str]:
    """What one reading says: what changed, how surely, and what could have been seen; as on the page."""
    table = found.mcnemar
    alone = f"only one correct: the first on {table.first_only} images, the second on {table.second_only}"
    said = outcome(comparison, found)
    said = f"{said[0].upper()}{said[1:]}."
    return [*map(escape, (said, p_values(comparison, found), power(comparison, found))), alone]


def rule_sentences(comparison: Comparison) -> list[str]:
    """What reading down the tree changes for each run, without any change of the network."""
    return [
        f"{which}: top-down instead of argmax, accuracy {interval_text(effect.accuracy.difference, sign=True)}"
        for which, effect in zip(("first", "second"), comparison.rule_effect or (), strict=False)
    ]

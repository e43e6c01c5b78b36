"""Two classifiers of several findings beside each other, on the console and as a page."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from hilum.evaluation.findings_comparison import FindingsComparison
from hilum.report.comparison_page import about_runs, paired_dots
from hilum.report.comparison_text import GainRow, excludes_zero, gain_row, seeds_table, who_lines
from hilum.report.evaluation_console import optimistic
from hilum.templating import write_page
from hilum.text import cell_text, escape, fraction, interval_text, measured, p_equals, p_text, plural


def findings_comparison_verdict(comparison: FindingsComparison) -> str:
    """Which findings the classifiers are shown to tell differently well, in one sentence."""
    first, second = (run.name for run in comparison.runs)
    found = {name: entry for name, entry in comparison.findings.items() if entry.differs}
    if not found:
        corrected = f"p < 0.05 after Holm's correction over {plural(len(comparison.findings), 'finding')}"
        return f"No finding's AUROC is shown to differ between {first} and {second} ({corrected})."
    told = (
        f"{name} {interval_text(entry.auroc.difference, as_percent=False, sign=True, more=p_equals(entry.p_holm))}"
        for name, entry in found.items()
    )
    return f"AUROC of {second} minus {first}, where shown to differ after Holm's correction: {'; '.join(told)}."


def findings_comparison_table(comparison: FindingsComparison) -> RenderableType:
    """What the console shows: one row a finding, the macro means, and the verdict.

    Args:
        comparison: Of two classifiers.
    """
    gains = comparison.over_seeds
    known, images = comparison.with_patient, comparison.n_images
    unit = f"of {comparison.n_patients:,} patients" if comparison.n_patients else optimistic(known, images)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("AUROC", overflow="fold", min_width=12)
    for name in ("first", "second", "second - first", "p (Holm)"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, entry in comparison.findings.items():
        shown = cell_text(entry.auroc.difference, as_percent=False, sign=True)
        table.add_row(
            escape(name),
            fraction(entry.auroc.first.value),
            fraction(entry.auroc.second.value),
            f"[bold]{shown}[/]" if entry.differs else shown,
            p_text(entry.p_holm),
        )
    mean = comparison.macro.auroc
    shown = cell_text(mean.difference, as_percent=False, sign=True)
    table.add_section()
    bold = f"[bold]{shown}[/]" if excludes_zero(mean.difference) else shown
    table.add_row("macro", fraction(mean.first.value), fraction(mean.second.value), bold, "")
    return Group(
        "",
        *who_lines(comparison.runs),
        f"{images:,} images {escape(unit)}, the same ones for both",
        *(f"[yellow]{escape(note)}[/]" for note in comparison.notes),
        table,
        escape(findings_comparison_verdict(comparison)),
        *([seeds_table(gains.seeds, finding_gain_rows(comparison), "AUROC")] if gains else []),
        *(escape(sentence) for sentence in means_of(comparison)),
        *(escape(f"not compared: {name}: {why}") for name, why in comparison.not_compared.items()),
        "",
    )


def finding_gain_rows(comparison: FindingsComparison) -> list[GainRow]:
    """What one method gains over the other in AUROC, from several seeds: a row a finding, then their mean."""
    found = comparison.over_seeds
    if not found:
        return []
    return [gain_row(name, None, gain, 1, 3) for name, gain in [*found.auroc.items(), ("macro", found.macro)]]


def means_of(comparison: FindingsComparison) -> list[str]:
    """The differences of the macro means of sensitivity and specificity at 0.5."""
    pairs = (("sensitivity", comparison.macro.sensitivity), ("specificity", comparison.macro.specificity))
    told = (f"{name} {interval_text(pair.difference, sign=True)}" for name, pair in pairs)
    return [f"macro, at a probability of 0.5: {', '.join(told)}"]


def write_findings_comparison_page(file: Path, comparison: FindingsComparison) -> Path:
    """Write the page of a comparison.

    Args:
        file: Is written, or written over; usually ``comparison.html`` beside ``comparison.json``.
        comparison: Of two classifiers.

    Returns:
        The file. The same comparison gives the same bytes.
    """
    first, second = (run.name for run in comparison.runs)
    dots = [(name, entry.auroc) for name, entry in comparison.findings.items()]
    rows = [
        (
            name,
            f"{entry.n_positive:,} of {entry.n_images:,}",
            [measured(one, as_percent=False) for one in (entry.auroc.first, entry.auroc.second)],
            measured(entry.auroc.difference, as_percent=False, sign=True),
            p_text(entry.p_holm),
            entry.differs,
            [measured(pair.difference, sign=True) for pair in (entry.sensitivity, entry.specificity)],
        )
        for name, entry in comparison.findings.items()
    ]
    content = {
        "comparison": comparison,
        "names": (first, second),
        "about": about_runs(*comparison.runs),
        "verdict": findings_comparison_verdict(comparison),
        "rows": rows,
        "macro": comparison.macro,
        "macro_difference": measured(comparison.macro.auroc.difference, as_percent=False, sign=True),
        "dots": paired_dots([*dots, ("macro", comparison.macro.auroc)], (first, second), "paired-auroc"),
        "means": means_of(comparison),
        "seeds": finding_gain_rows(comparison),
    }
    return write_page(file, "compared_findings.html.j2", content)

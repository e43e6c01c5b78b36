"""Several findings an image on the console: what is useless first, then one row a finding, then the means."""

from __future__ import annotations

from dataclasses import dataclass

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from hilum.evaluation.findings_schema import FindingMeans, FindingMeasures, FindingsCertificate, FindingsMetrics
from hilum.report.certificate_text import (
    exchangeability_sentence,
    holding_sentence,
    ledger_sentence,
    unit_sentences,
)
from hilum.report.evaluation_console import abstention_sentences, alarms_of, data_errors, optimistic
from hilum.stats.records import Interval
from hilum.stats.verdicts import SHOWN
from hilum.text import escape, fraction, interval_text, measured, plural

MEANS = {
    "macro": "mean of the findings",
    "micro": "all pairs of image and finding",
}
WIDE = 14  # letters that most names of findings have at most
COLUMNS = ("AUROC", "sensitivity", "specificity", "ECE (calibrated)")


@dataclass(frozen=True)
class FindingRow:
    """A finding, or a mean, as tables show it.

    Attributes:
        name: Of the finding; ``macro`` or ``micro``.
        images: Images that have it, of those where it is known; empty of a mean.
        threshold: From which on it is called; empty of a mean.
        cells: Value and interval of each of `COLUMNS`.
        useless: Whether its AUROC is not shown to be above 0.5.
    """

    name: str
    images: str
    threshold: str
    cells: list[tuple[str, str]]
    useless: bool = False


def finding_rows(metrics: FindingsMetrics) -> list[FindingRow]:
    """One row a finding, in the order of the table."""
    return [
        FindingRow(name, _images(one), _threshold(one), [*_cells(one), _calibration(one)], one.useless)
        for name, one in metrics.findings.items()
    ]


def mean_rows(metrics: FindingsMetrics) -> list[FindingRow]:
    """The macro and the micro mean."""
    return [
        FindingRow(name, "", "", [*_cells(mean), ("", "")])
        for name, mean in (("macro", metrics.macro), ("micro", metrics.micro))
    ]


def _cells(one: FindingMeasures | FindingMeans) -> list[tuple[str, str]]:
    auroc = measured(one.auroc, as_percent=False)
    return [auroc, *(_percent(entry) for entry in (one.sensitivity, one.specificity))]


def _percent(entry: Interval) -> tuple[str, str]:
    value, limits = measured(entry)
    return value, limits.removesuffix(" %")


def _images(one: FindingMeasures) -> str:
    counts = one.counts
    return f"{counts.present:,} of {counts.present + counts.absent:,}"


def _threshold(one: FindingMeasures) -> str:
    return f"{one.threshold:.3g}{' certified' if one.certified else ''}"


def _calibration(one: FindingMeasures) -> tuple[str, str]:
    """The calibration error, and below it what a calibrated model would show."""
    return fraction(one.ece.value), f"({fraction(one.ece.ece_null_mean)})"


def useless_sentence(metrics: FindingsMetrics) -> str:
    """Which findings the model does not tell from their absence; empty where there is none."""
    told = [
        f"{name} (AUROC {interval_text(metrics.findings[name].auroc, as_percent=False)})" for name in metrics.useless
    ]
    return f"not shown to be better than guessing (AUROC 0.5): {'; '.join(told)}" if told else ""


def finding_alarms(metrics: FindingsMetrics) -> list[str]:
    """Sentences that forbid to take figures at their word, the useless findings first; none where nothing does."""
    useless = useless_sentence(metrics)
    gates = {name: gate for name, one in metrics.findings.items() if (gate := one.metrics.shortcuts)}
    short = [name for name, gate in gates.items() if gate.verdict not in (SHOWN, None)]
    told = [f"not shown to outperform a shortcut baseline: {', '.join(short)}"] if short else []
    for name, one in metrics.findings.items():
        alarms = alarms_of(one.metrics.model_copy(update={"shortcuts": None}))
        told += [f"{name}: {alarm}" for alarm in alarms]
    return [*([useless] if useless else []), *told]


def means_sentences(metrics: FindingsMetrics) -> list[str]:
    """What macro and micro mean, and the measures that the table leaves out."""
    told = []
    for name, mean in (("macro", metrics.macro), ("micro", metrics.micro)):
        auprc, f1 = interval_text(mean.auprc, as_percent=False), interval_text(mean.f1)
        told.append(f"{name}: {MEANS[name]}; AUPRC {auprc}, F1 {f1}")
    return told


def left_out_sentences(metrics: FindingsMetrics) -> list[str]:
    """Findings of which nothing is measured, and why."""
    return [f"not measured: {name}: {why}" for name, why in metrics.not_measured.items()]


def threshold_sentence(metrics: FindingsMetrics) -> str:
    """At which thresholds findings are called."""
    certified = sum(one.certified for one in metrics.findings.values())
    if not certified:
        return "sensitivity and specificity at a probability of 0.5; no threshold is certified"
    others = len(metrics.findings) - certified
    rest = f", of the other {others} at 0.5" if others else ""
    return f"sensitivity and specificity at the certified thresholds of {plural(certified, 'finding')}{rest}"


def findings_table(metrics: FindingsMetrics) -> RenderableType:
    """What the console shows of several findings an image.

    Args:
        metrics: What ``metrics.json`` holds.
    """
    known, images = metrics.with_patient, metrics.n_images
    unit = f"{metrics.n_patients:,} patients" if metrics.n_patients else optimistic(known, images)
    heading = (
        f"[bold]{escape(metrics.name)}[/]: {images:,} images, {escape(unit)}, "
        f"{plural(len(metrics.findings), 'finding')}"
    )
    alarms = finding_alarms(metrics)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title="with 95 % CI", title_justify="left")
    table.add_column("finding\n(present of known)", overflow="fold", min_width=WIDE)
    for name in COLUMNS:
        table.add_column(name.replace(" (", "\n("), justify="right", no_wrap=True)
    rows, means = finding_rows(metrics), mean_rows(metrics)
    for row in (*rows, *means):
        shown = f"[bold red]{escape(row.name)}[/]" if row.useless else escape(row.name)
        cells = (f"{value}\n[dim]{limits}[/]" if value else "" for value, limits in row.cells)
        counted = f"\n[dim]{escape(row.images)}[/]" if row.images else ""
        table.add_row(shown + counted, *cells, end_section=row is rows[-1])
    lines = [threshold_sentence(metrics), *means_sentences(metrics), *left_out_sentences(metrics)]
    for name, one in metrics.findings.items():
        if held := one.metrics.operating_point:
            lines.append(f"{name}: {holding_sentence(held)}")
    if abstained := next((one.metrics.abstention for one in metrics.findings.values() if one.metrics.abstention), None):
        lines.append(abstention_sentences(abstained, "")[0])
    notes = [] if metrics.weights_sha256 else metrics.data.notes  # of a run they were said while it was evaluated
    return Group(
        "",
        heading,
        *data_errors(metrics.audit),
        *(f"[bold red]{escape(alarm)}[/]" for alarm in alarms),
        table,
        *map(escape, lines),
        *(f"[dim]note: {escape(note)}[/]" for note in notes),
        "",
    )


def certificates_table(certificate: FindingsCertificate) -> RenderableType:
    """The certificates of several findings on the console: one row each, then what they say together.

    Args:
        certificate: What ``certificate.json`` holds.
    """
    made = list(certificate.findings.values())
    two = any(one.upper_threshold is not None for one in made)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("finding", overflow="fold", min_width=WIDE)
    unit = next((one.resampling_unit for one in made), "patients")
    for name in (f"{unit} with it", "threshold", *(["upper"] if two else []), "below it", "flagged of the others"):
        table.add_column(name, justify="right")
    for name, one in certificate.findings.items():
        others = " ".join(interval_text(found, digits=0) for found in one.flagged.values())
        upper = [_upper(one.upper_threshold)] if two else []
        below = f"{one.false_negatives:,}"
        table.add_row(escape(name), f"{one.n_patients:,}", f"{one.threshold:.4g}", *upper, below, others)
    missing = [f"not certified: {name}: {why}" for name, why in certificate.not_certified.items()]
    said = [sentence for one in made[:1] for sentence in (*unit_sentences(one)[:1], ledger_sentence(one)) if sentence]
    shifts = [
        f"{name}: {exchangeability_sentence(one.exchangeability)}"
        for name, one in certificate.findings.items()
        if one.exchangeability
    ]
    notes = dict.fromkeys(note for one in made for note in one.notes)
    conditions = dict.fromkeys(sentence for one in made for sentence in one.conditions)
    return Group(
        "",
        table,
        escape(family_sentence(certificate)),
        *map(escape, [*said, *missing, *shifts]),
        *(f"[yellow]{escape(note)}[/]" for note in notes),
        *(f"[dim]- {escape(sentence)}[/]" for sentence in conditions),
        "",
    )


def _upper(threshold: float | None) -> str:
    return "" if threshold is None else "nobody" if threshold > 1 else f"{threshold:.4g}"


def family_sentence(certificate: FindingsCertificate) -> str:
    """What the certificates of several findings guarantee together."""
    sure, each = (f"{100 * share:.4g} %" for share in (certificate.confidence, certificate.each_confidence))
    count = len(certificate.findings)
    told = f"a sensitivity of at least {100 * (1 - certificate.false_negative_rate):.4g} %"
    uppers = [one.upper for one in certificate.findings.values() if one.upper]
    if uppers and uppers[0].kind == "ppv":
        told += (
            f" and a PPV of at least {100 * uppers[0].bound:g} % where {100 * (uppers[0].prevalence or 0):g} % have it"
        )
    elif uppers:
        told += f" and a specificity of at least {100 * uppers[0].bound:g} %"
    if count == 1:
        return f"{told} with {sure} confidence"
    return f"{told} for each of {count} findings, all together with {sure} confidence (each with {each}: Bonferroni)"

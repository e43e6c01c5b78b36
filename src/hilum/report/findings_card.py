"""What a model card says of several findings an image: one row a finding, the means, and what is guaranteed."""

from __future__ import annotations

from collections.abc import Mapping

from hilum.evaluation.findings_schema import FindingsMetrics
from hilum.report.findings_console import (
    COLUMNS,
    FindingRow,
    family_sentence,
    finding_alarms,
    finding_rows,
    left_out_sentences,
    mean_rows,
    means_sentences,
    threshold_sentence,
)
from hilum.report.findings_page import findings_verdict
from hilum.text import code_span, markdown, plural


def findings_lines(metrics: FindingsMetrics) -> list[str]:
    """Paragraphs and a table in Markdown of what was measured on test images.

    Args:
        metrics: What ``metrics.json`` holds.
    """
    patients = f" of {metrics.n_patients:,} patients" if metrics.n_patients else ""
    said = (
        f"On {plural(metrics.n_images, 'image')}{patients} of {code_span(metrics.split)}. {findings_verdict(metrics)}"
    )
    heads = ["finding, with 95 % CI", "present of known", *COLUMNS, "threshold"]
    table = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    table += [_row(row) for row in (*finding_rows(metrics), *mean_rows(metrics))]
    told = [threshold_sentence(metrics), *means_sentences(metrics), *left_out_sentences(metrics)]
    told += [family_sentence(metrics.certificate)] if metrics.certificate else []
    alarms = [f"- **{markdown(alarm)}**" for alarm in finding_alarms(metrics)]
    listed = [*alarms, *(f"- {markdown(sentence)}" for sentence in told)]
    return [said, "\n".join(table), "\n".join(listed)]


def external_findings_lines(external: Mapping[str, FindingsMetrics]) -> list[str]:
    """One paragraph for each evaluation on other data."""
    return [f"**{markdown(name)}**: {markdown(findings_verdict(metrics))}" for name, metrics in external.items()]


def _row(row: FindingRow) -> str:
    cells = (f"{value} ({limits.strip('()')})" if value else "" for value, limits in row.cells)
    return f"| {code_span(row.name)} | {row.images} | {' | '.join(cells)} | {row.threshold} |"

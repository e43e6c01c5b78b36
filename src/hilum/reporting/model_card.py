"""A model card by the conventions of the Hugging Face hub, from the same facts as the report (Mitchell et al. 2019)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hilum.audit.findings import said_briefly
from hilum.data.labels import last_component
from hilum.evaluation.screen import decision_lines, interval
from hilum.evaluation.shortcut_verdict import lead_rows, not_compared, read_gate
from hilum.printable import code_span, markdown, printable
from hilum.reporting.checklist import INTENDED, NOT_INTENDED, Item, tally
from hilum.reporting.checklist_facts import Facts
from hilum.reporting.results import per_label, verdict
from hilum.saving import save_text
from hilum.training.findings import known_of

FILE = "model_card.md"
MARKS = {"PASS": "pass", "FAIL": "FAIL", "REPORTED": "reported", "UNKNOWN": "unknown"}


def write_model_card(file: Path, facts: Facts, items: Sequence[Item]) -> Path:
    """Write the card; the same facts give the same bytes."""
    save_text(file, model_card(facts, items))
    return file


def model_card(facts: Facts, items: Sequence[Item]) -> str:
    """The card as Markdown with a YAML header.

    Args:
        facts: As for the checklist.
        items: The checklist.
    """
    run, metrics = facts.run, facts.metrics
    environment, recipe = run.environment, run.recipe
    labels = ", ".join(map(code_span, run.labels))
    protected = f"; {code_span(run.protected)} must not be missed" if run.protected else ""
    sections = [
        f"# {markdown(run.name)}",
        "**Research and teaching only. Not for diagnosis.**",
        f"A `{recipe.network.name}` ({recipe.architecture}) that tells chest radiographs apart: {labels}{protected}. "
        f"Trained by hilum {environment.get('hilum', '')} from freshly drawn weights with the recipe "
        f"{code_span(recipe.name)}.",
        "## Uses",
        f"{INTENDED} {NOT_INTENDED} Whatever is peculiar to its training images may be what it recognises.",
        "## Training data",
        _training_data(facts),
        "## Results",
        *(_results(metrics) if metrics else ["Not evaluated yet: nothing is known about its worth on unseen images."]),
        "## External validation",
        *(_external(facts.external) or ["NONE."]),
        "## Checklist",
        f"{tally(items)}.",
        "\n".join(["| | item | | evidence |", "|---|---|---|---|", *(_row(item) for item in items)]),
        "## Provenance",
        f"Weights SHA-256 `{environment.get('weights_sha256', 'unknown')}`; data `"
        f"{environment.get('data', {}).get('digest', 'unknown')}`; code `{environment.get('code_sha256', 'unknown')}`.",
    ]
    return _header(facts) + "\n\n".join(sections) + "\n"


def _header(facts: Facts) -> str:
    names = [last_component(label) for label in facts.run.labels]
    lines = ["---", "library_name: hilum", "pipeline_tag: image-classification", "tags:"]
    lines += [f"- {tag}" for tag in ("chest-x-ray", "radiology", "not-for-diagnosis")]
    lines += ["id2label:"] + [f"  {k}: {_quoted(name)}" for k, name in enumerate(names)]
    if metrics := facts.metrics:
        lines += ["model-index:", f"- name: {_quoted(facts.run.name)}", "  results:", "  - task:"]
        lines += ["      type: image-classification", "    dataset:"]
        lines += [f"      name: {_quoted(Path(metrics['data']['root'] or 'unknown').name)}", "      type: private"]
        lines += [f"      split: {_quoted(metrics['split'])}", "    metrics:"]
        for name in ("accuracy", "balanced_accuracy"):
            if metrics[name]["value"] is not None:
                lines += [f"    - type: {name}", f"      value: {metrics[name]['value']:.4f}"]
    return "\n".join([*lines, "---", "", ""])


def _quoted(name: str) -> str:
    """A name as YAML takes it: JSON would write letters beyond the basic plane as two halves."""
    return json.dumps(printable(name), ensure_ascii=False)


def _training_data(facts: Facts) -> str:
    counts: dict[str, int] = {}
    for row in facts.split:
        if row.split == "train":
            counts[row.label] = counts.get(row.label, 0) + 1
    told = ", ".join(f"{n:,} {code_span(label)}" for label, n in counts.items())
    notes = facts.run.environment.get("data", {}).get("notes", [])
    errors = [f"- **{markdown(line)}**" for line in said_briefly(known_of(facts.run)["findings"])]
    return "\n".join([f"Trained on {told}.", *errors, *(f"- {markdown(note)}" for note in notes)])


def _results(metrics: Mapping[str, Any]) -> list[str]:
    rows = ["| label | recall | precision | F1 | AUROC | AUPRC |", "|---|---|---|---|---|---|"]
    for row in per_label(metrics):
        shown = (row[name] for name in ("recall", "precision", "f1", "auroc", "auprc"))
        rows.append(f"| {markdown(row['label'])} | {' | '.join(f'{value} ({limits})' for value, limits in shown)} |")
    return [markdown(verdict(metrics)), "\n".join(rows), *_leads(metrics), _decision_lines(metrics)]


def _leads(metrics: Mapping[str, Any]) -> list[str]:
    """The table of the model's leads over the shortcut baselines."""
    table = ["| label | AUROC | shortcut baseline | its AUROC | lead | lead above zero |", "|---|---|---|---|---|---|"]
    for label, found, entry, shown in lead_rows(read_gate(metrics) or not_compared("")):
        areas = f"{found['model']['value']:.3f} | {markdown(entry['name'])} | {entry['auroc']['value']:.3f}"
        table.append(f"| {markdown(label)} | {areas} | {interval(entry['difference'], 1, 3, sign='+')} | {shown} |")
    return ["\n".join(table)] if len(table) > 2 else []


def _decision_lines(metrics: Mapping[str, Any]) -> str:
    return "\n".join(f"- {markdown(line)}" for line in decision_lines(metrics))


def _external(external: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        f"**{markdown(name)}**: {markdown(verdict(metrics))}\n{_decision_lines(metrics)}"
        for name, metrics in external.items()
    ]


def _row(item: Item) -> str:
    evidence = markdown(item.evidence.replace("\n", " "))
    return f"| {item.number} | {item.name} | {MARKS[item.state]} | {evidence} |"

"""The front matter of a model card, by which hubs of models find it."""

from __future__ import annotations

import json
from pathlib import Path

from hilum.data.labels import last_component
from hilum.evaluation.findings_schema import FindingsMetrics
from hilum.report.checklist_data import Facts
from hilum.text import printable


def with_front_matter(card: str) -> str:
    """A model file's card with the front matter by which hubs find a model (Hugging Face's ``README.md``)."""
    head = {"library_name": "hilum", "pipeline_tag": "image-classification", "tags": ["chest-x-ray", "onnx", "hilum"]}
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in head.items()), "---", "", card])


def run_front_matter(facts: Facts) -> str:
    """The front matter of a run's card, with what was measured."""
    names = [last_component(label) for label in facts.run.labels]
    lines = ["---", "library_name: hilum", "pipeline_tag: image-classification", "tags:"]
    lines += [f"- {tag}" for tag in ("chest-x-ray", "radiology", "not-for-diagnosis")]
    lines += ["id2label:"] + [f"  {k}: {_quoted(name)}" for k, name in enumerate(names)]
    if metrics := facts.metrics or facts.findings:
        lines += ["model-index:", f"- name: {_quoted(facts.run.name)}", "  results:", "  - task:"]
        lines += ["      type: image-classification", "    dataset:"]
        lines += [f"      name: {_quoted(Path(metrics.data.root or 'unknown').name)}", "      type: private"]
        lines += [f"      split: {_quoted(metrics.split)}", "    metrics:"]
        means = metrics.macro if isinstance(metrics, FindingsMetrics) else metrics
        for name, entry in (("accuracy", means.accuracy), ("balanced_accuracy", means.balanced_accuracy)):
            if entry.value is not None:
                lines += [f"    - type: {name}", f"      value: {entry.value:.4f}"]
    return "\n".join([*lines, "---", "", ""])


def _quoted(name: str) -> str:
    """A name as YAML takes it: JSON would write letters beyond the basic plane as two halves."""
    return json.dumps(printable(name), ensure_ascii=False)

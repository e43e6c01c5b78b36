"""The page: reads a run folder and writes ``report.html``, one file that asks nothing of any network."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from hilum.data.dataset import Row
from hilum.data.labels import order_labels
from hilum.data.patients import in_words
from hilum.data.splits import UNUSED
from hilum.errors import HilumError
from hilum.evaluation.accesses import FILE as ACCESS
from hilum.evaluation.accesses import access_sentence, joint_sentence, read_access
from hilum.evaluation.predictions import read_predictions
from hilum.evaluation.schema import Metrics, Unreadable
from hilum.files import settle
from hilum.models.registry import Summary, build_classifier, summarise
from hilum.report import figures, results
from hilum.report.checklist import checklist, tally
from hilum.report.checklist_data import Facts
from hilum.report.evaluation_console import alarms_of, decision_sentences
from hilum.report.gallery import choose, picture_uri, rows_of
from hilum.report.model_card import FILE as CARD
from hilum.report.model_card import write_model_card
from hilum.report.performance_page import Worth, worth_of
from hilum.templating import write_page
from hilum.text import Matrix, result_matrix
from hilum.training.prepare import NOT_AUDITED, known_of
from hilum.training.recipe import Recipe, flatten
from hilum.training.run import UNREADABLE, Run, open_run, read_json

SPLIT_ORDER = {"train": 0, "val": 1, "calibration": 2, "test": 3, UNUSED: 9, UNREADABLE: 10}
NOT_USED = (UNUSED, UNREADABLE)
OWN = "certificate, on the run's own test patients"


def write_report(run: Path) -> Path:
    """Write the report of a training run, and its model card.

    Args:
        run: The folder of the run. What it does not hold yet (an evaluation, a history) is left out of the
            page, and the page says so.

    Returns:
        The file that was written, ``report.html`` inside the run. The same run gives the same bytes.

    Raises:
        RunError: The folder is missing or is not a run, or a file in it is damaged.
    """
    opened = open_run(run)
    content = page_content(opened)
    write_model_card(run / CARD, content["facts"], content["checklist"])
    return write_page(run / "report.html", "report.html.j2", content)


def page_content(run: Run) -> dict[str, Any]:
    """Everything the template shows, by name."""
    environment, split, history = run.environment, run.rows, run.history()
    folders = sorted(run.evaluations(), key=lambda folder: (folder.name != "test", folder.name))
    read = {folder: _metrics(folder) for folder in folders}
    in_split = {row.label for row in split}
    evaluated = list(dict.fromkeys(label for metrics in read.values() for label in metrics.labels))
    labels = [*run.labels, *(label for label in evaluated if label not in run.labels)]
    labels += order_labels(in_split - set(labels))
    colours = figures.label_colours(labels)
    evaluations = [_evaluation(folder, metrics, colours, environment) for folder, metrics in read.items()]
    best = environment.get("best") or {}
    facts = _facts(run, split, read, evaluations)
    items = checklist(facts)
    network, size = run.recipe.network, run.recipe.preprocessing.size
    n_labels = len(run.labels)
    return {
        "name": run.name,
        "recipe_name": run.recipe.name,
        "folder": run.path,
        "started": _date(environment.get("started")),
        "environment": environment,
        "data": _data_section(split, colours, environment),
        "audit": errors_of(known_of(run)),
        "notes": environment.get("data", {}).get("notes", []),
        "unreadable": environment.get("data", {}).get("unreadable", []),
        "network": {"name": network.architecture, "hierarchy": run.recipe.hierarchy, "size": size, "n_labels": n_labels}
        | _layers(run.recipe, run.labels),
        "history": history,
        "best": best,
        "curves": figures.training_curves(history, best.get("step"), "fig-4") if history else None,
        "recipe": flatten(run.recipe.model_dump()),
        "colours": colours,
        "evaluations": evaluations,
        "facts": facts,
        "checklist": items,
        "tally": tally(items),
        "alarms": _alarms(facts, bool(evaluations)),
        "provenance": _provenance(environment, evaluations),
        "commands": _commands(run.path, environment, evaluations),
    }


@dataclass(frozen=True)
class Evaluation:
    """One folder below ``evaluation/``, ready to be shown."""

    name: str
    metrics: Metrics
    verdict: str
    access: str
    matrix: Matrix
    confusions: str
    per_label: list[results.LabelRow]
    heads: list[str]
    decisions: list[str]
    dots: str
    scores: list[results.Score]
    gallery: list[dict[str, Any]]
    gallery_how: str
    notes: list[str]
    unreadable: list[Unreadable]
    worth: Worth
    errors_shown: int


def _metrics(folder: Path) -> Metrics:
    settle(folder)
    return Metrics.read(folder / "metrics.json", f"hilum evaluate {folder.parent.parent}")


def _evaluation(
    folder: Path, metrics: Metrics, colours: Mapping[str, str], environment: Mapping[str, Any]
) -> Evaluation:
    labels = metrics.labels
    root = Path(metrics.data.root or environment.get("data", {}).get("root") or ".")
    notes = [*metrics.data.notes, *metrics.notes]
    notes += [sentence] if (sentence := joint_sentence(access := read_access(folder))) else []
    if metrics.weights_sha256 != environment.get("weights_sha256"):
        notes.append("The run holds other weights than were evaluated here: run `hilum evaluate` again.")
    choice = choose(rows_of(read_predictions(folder / "predictions.csv")), labels)
    return Evaluation(
        name=folder.name,
        metrics=metrics,
        verdict=results.verdict(metrics),
        access=access_sentence(access) if (folder / ACCESS).exists() else "",
        matrix=result_matrix(metrics.labels, metrics.confusion),
        confusions=results.confusions(metrics),
        per_label=results.per_label(metrics),
        heads=list(map(results.heading, results.COLUMNS)),
        decisions=decision_sentences(metrics),
        dots=figures.measure_dots(
            results.dots_of(metrics), {k: colours[k] for k in labels}, f"dots-{slug(folder.name)}"
        ),
        scores=results.probability_scores(metrics),
        gallery=[{"of": entry, "uri": picture_uri(root / entry.path)} for entry in choice.predictions],
        gallery_how=choice.how,
        notes=notes,
        unreadable=metrics.unreadable,
        worth=worth_of(metrics, colours, slug(folder.name)),
        errors_shown=sum(not entry.right for entry in choice.predictions),
    )


def _facts(run: Run, split: Sequence[Row], read: Mapping[Path, Metrics], evaluations: Sequence[Evaluation]) -> Facts:
    """What the checklist is computed from; an audit counts if it is about the run's own data."""
    own = {
        folder.name: metrics
        for folder, metrics in read.items()
        if metrics.table or "table" not in metrics.model_fields_set
    }
    metrics = own.get("test")
    data = run.environment.get("data", {})
    audits = (read_json(place / "audit" / "audit.json") for place in (run.path, run.path.parent))
    about = {str(data[key]) for key in ("data_argument", "root") if data.get(key)}
    return Facts(
        run=run,
        split=split,
        metrics=metrics,
        external={folder.name: found for folder, found in read.items() if folder.name not in own},
        audit=next((found for found in audits if found and found.get("data") in about), {}),
        access=read_access(run.path / "evaluation" / "test"),
        errors_shown=next((of.errors_shown for of in evaluations if of.name == "test"), None),
    )


def errors_of(known: Mapping[str, Any]) -> dict[str, Any]:
    """How many errors and warnings there are about the data of a training, and the errors, by check and remedy.

    Args:
        known: As `hilum.training.prepare.look` gives it.
    """
    counts = Counter(finding["severity"] for finding in known["findings"])
    errors = [finding for finding in known["findings"] if finding["severity"] == "error"]
    kinds = [
        (*kind, [finding["message"] for finding in found])
        for kind, found in groupby(errors, key=lambda finding: (finding["check"], finding["remedy"]))
    ]
    return {
        "audited": known["audited"],
        "written": known["written"],
        "errors": counts["error"],
        "warnings": counts["warning"],
        "kinds": [(check, messages, remedy) for check, remedy, messages in kinds],
        "not_audited": f"{NOT_AUDITED[:1].upper()}{NOT_AUDITED[1:]}.",
    }


def _alarms(facts: Facts, evaluated: bool) -> list[str]:
    """What has to be read before any figure."""
    alarms = alarms_of(facts.metrics) if facts.metrics else []
    alarms += [f"{name}: {alarm}" for name, metrics in facts.external.items() for alarm in alarms_of(metrics)]
    return alarms + (["external validation: NONE"] if evaluated and not facts.external else [])


def _data_section(split: Sequence[Row], colours: Mapping[str, str], environment: Mapping[str, Any]) -> dict[str, Any]:
    names = sorted({row.split for row in split}, key=lambda name: (SPLIT_ORDER.get(name, 8), name))
    used = [name for name in names if name not in NOT_USED]
    labels = list(colours)
    images = Counter((row.split, row.label) for row in split)
    known = bool(split) and all(row.patient_id for row in split)
    known = known and environment.get("data", {}).get("patients_known", True)

    def cell(rows: list[Row]) -> dict[str, Any]:
        return {"images": len(rows), "patients": len({row.patient_id for row in rows}) if known else None}

    table = [
        {
            "split": name,
            "cells": [cell([r for r in split if r.split == name and r.label == label]) for label in labels],
            "total": cell([row for row in split if row.split == name]),
        }
        for name in names
    ]
    of_patient: dict[str, set[str]] = {}
    for row in split:
        if row.split not in NOT_USED and row.patient_id:
            of_patient.setdefault(row.patient_id, set()).add(row.split)
    crossing = Counter(
        " and ".join(sorted(found, key=lambda n: SPLIT_ORDER.get(n, 8)))
        for found in of_patient.values()
        if len(found) > 1
    )
    by_split = {name: {label: images[name, label] for label in labels} for name in used}
    by_label = [figures.Slice(label, sum(by_split[name][label] for name in used), colours[label]) for label in labels]
    by_name = [
        figures.Slice(name, sum(by_split[name].values()), figures.SPLIT_COLOURS.get(name, "#8a7a00")) for name in used
    ]
    return {
        "labels": labels,
        "many": len(labels) > figures.FEW,
        "table": table,
        "totals": [cell([row for row in split if row.label == label]) for label in labels],
        "total": cell(list(split)),
        "readable": sum(row.split != UNREADABLE for row in split),
        "patients_known": known,
        "patients_told": in_words(sum(bool(row.patient_id) for row in split), len(split)),
        "crossing": sorted(crossing.items()),
        "unused": sum(row.split == UNUSED for row in split),
        "bars": figures.class_bars(by_split, colours, "fig-1-1"),
        "labels_pie": figures.pie(by_label, "fig-1-2", "Pie chart of the images by label"),
        "splits_pie": figures.pie(by_name, "fig-1-3", "Pie chart of the images by split"),
    }


def _layers(recipe: Recipe, labels: Sequence[str]) -> dict[str, Any]:
    """The layer table; a page without it is better than none where the network cannot be built here."""
    size, chosen = recipe.preprocessing.size, recipe.network
    try:
        network = build_classifier(
            recipe.hierarchy, chosen.architecture, labels, size, members=chosen.ensemble_size, **chosen.options
        )
        summary: Summary = summarise(network, size)
    except (HilumError, RuntimeError, ImportError) as error:
        return {"summary": None, "reason": str(error)}
    return {"summary": summary, "reason": ""}


def _provenance(environment: Mapping[str, Any], evaluations: Sequence[Evaluation]) -> list[tuple[str, str]]:
    data, best = environment.get("data", {}), environment.get("best") or {}
    names = {
        "hilum": "hilum",
        "python": "Python",
        "torch": "PyTorch",
        "platform": "Platform",
        "processor": "Processor",
        "device": "Device",
        "precision": "Precision",
        "threads": "Threads",
        "started": "Started",
        "command": "Command",
    }
    rows = [(title, str(environment[key])) for key, title in names.items() if environment.get(key) is not None]
    if best:
        rows.append(("Kept checkpoint", f"epoch {best.get('epoch')}, step {best.get('step')}"))
    rows.append(("SHA-256 of the weights", str(environment.get("weights_sha256") or "–")))
    rows += [("Data", str(data.get("root", "–"))), ("Digest of the data", str(data.get("digest", "–")))]
    for evaluation in evaluations:
        metrics, what = evaluation.metrics, f"Evaluation “{evaluation.name}”"
        rows.append((f"{what}: weights", str(metrics.weights_sha256 or "–")))
        rows.append((f"{what}: data", str(metrics.data.digest or "–")))
    return rows


def _commands(run: Path, environment: Mapping[str, Any], evaluations: Sequence[Evaluation]) -> list[str]:
    facts = environment.get("data", {})
    root, data = facts.get("root", "DATA"), facts.get("data_argument") or facts.get("root", "DATA")
    commands = [f"hilum train {_quoted(data)} --out {_quoted(run)}-again --recipe {_quoted(run / 'recipe.toml')}"]
    for evaluation in evaluations:
        metrics = evaluation.metrics
        where = "" if metrics.data.root == root else f" {_quoted(metrics.data.root)}"
        which = "" if metrics.split in ("test", "all") else f" --split {_quoted(metrics.split)}"
        commands.append(f"hilum evaluate {_quoted(run)}-again{where}{which}")
    return [*commands, f"hilum report {_quoted(run)}-again"]


def _quoted(word: object) -> str:
    return shlex.quote(str(word))


def slug(name: str) -> str:
    """A name that may stand in an element's id."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)


def _date(started: str | None) -> str:
    try:
        moment = datetime.fromisoformat(started or "")
    except ValueError:
        return started or "date unknown"
    zone = f" {moment.tzname()}" if moment.tzinfo else ""
    return f"{moment.day} {moment:%B %Y}, {moment:%H:%M}{zone}"

"""The page: reads a run folder and writes ``report.html``, one file that asks nothing of any network."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from pathlib import Path

from markupsafe import Markup
from pydantic import ValidationError

from hilum.auditing.findings import AuditReport, KnownIssues, UnreadableFile
from hilum.data.labels import order_labels
from hilum.errors import HilumError
from hilum.evaluation.accesses import read_access
from hilum.evaluation.findings_schema import FindingsMetrics
from hilum.evaluation.schema import Metrics
from hilum.files import settle
from hilum.models.registry import Summary, build_classifier, summarise
from hilum.report import figures
from hilum.report.checklist import Item, checklist, tally
from hilum.report.checklist_data import Facts
from hilum.report.data_part import DataPart, data_part, label_each_finding
from hilum.report.evaluation_console import alarms_of
from hilum.report.evaluation_sections import Evaluation, evaluation_of
from hilum.report.findings_console import finding_alarms
from hilum.report.findings_page import FindingsEvaluation
from hilum.report.findings_run import (
    colours_of_data,
    colours_of_run,
    findings_evaluation_of,
    read_findings_metrics,
)
from hilum.report.member_text import input_of, made_by, structure_of
from hilum.report.model_card import FILE as CARD
from hilum.report.model_card import write_model_card
from hilum.report.results import not_learnt
from hilum.templating import write_page
from hilum.training.environment import BestCheckpoint, Environment
from hilum.training.prepare import NOT_AUDITED, known_of
from hilum.training.recipe import flatten
from hilum.training.run import Run, open_run, read_json

Evaluations = Sequence[Evaluation] | Sequence[FindingsEvaluation]


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
    facts, evaluations, colours = _read(opened)
    write_model_card(run / CARD, facts, checklist(facts))
    return write_page(run / "report.html", "report.html.j2", _content(opened, facts, evaluations, colours))


@dataclass(frozen=True)
class NetworkPart:
    """The network; the layer table is missing, for a reason, where it cannot be built here, and of an ensemble of runs.

    `input` is like ``1 × 150 × 150`` pixels.
    """

    name: str
    structure: str
    input: str
    n_labels: int
    summary: Summary | None
    reason: str


@dataclass(frozen=True)
class ReportPage:
    """Everything the template shows."""

    name: str
    recipe_name: str
    folder: Path
    started: str
    environment: Environment
    data: DataPart
    audit: DataErrors
    notes: list[str]
    unreadable: list[UnreadableFile]
    network: NetworkPart
    made_by: str
    history: list[dict[str, float]]
    best: BestCheckpoint | None
    curves: Markup | None
    recipe: list[tuple[str, str]]
    colours: Mapping[str, str]
    evaluations: Evaluations
    findings: bool
    checklist: list[Item]
    tally: str
    alarms: list[str]
    provenance: list[tuple[str, str]]
    commands: list[str]


def page_content(run: Run) -> ReportPage:
    """Everything the template shows."""
    return _content(run, *_read(run))


def _read(run: Run) -> tuple[Facts, Evaluations, dict[str, str]]:
    """What the checklist is computed from, the evaluations, and the colours of all labels."""
    folders = sorted(run.evaluations(), key=lambda folder: (folder.name != "test", folder.name))
    if run.findings:
        found = {folder: read_findings_metrics(folder) for folder in folders}
        several = [findings_evaluation_of(folder, metrics, run.environment) for folder, metrics in found.items()]
        return _findings_facts(run, found, several), several, colours_of_run(run.findings, several)
    read = {folder: _metrics(folder) for folder in folders}
    evaluated = list(dict.fromkeys(label for metrics in read.values() for label in metrics.labels))
    labels = [*run.labels, *(label for label in evaluated if label not in run.labels)]
    labels += order_labels({row.label for row in run.rows} - set(labels))
    colours = figures.label_colours(labels)
    evaluations = [evaluation_of(folder, metrics, colours, run.environment) for folder, metrics in read.items()]
    return _facts(run, read, evaluations), evaluations, colours


def _content(run: Run, facts: Facts, evaluations: Evaluations, colours: dict[str, str]) -> ReportPage:
    environment, history = run.environment, run.history()
    best, items = environment.best, checklist(facts)
    return ReportPage(
        name=run.name,
        recipe_name=run.recipe.name,
        folder=run.path,
        started=_date(environment.started),
        environment=environment,
        data=data_part(
            run.rows,
            colours_of_data(run.findings) if run.findings else colours,
            patients_known=environment.data.patients_known,
            findings=bool(run.findings),
        ),
        audit=errors_of(known_of(run)),
        notes=environment.data.notes,
        unreadable=environment.data.unreadable,
        network=_network(run),
        history=history,
        best=best,
        curves=figures.training_curves(history, best.step if best else None, "fig-4") if history else None,
        made_by=made_by(environment),
        recipe=_recipe(run),
        colours=colours,
        evaluations=evaluations,
        findings=bool(run.findings),
        checklist=items,
        tally=tally(items),
        alarms=_alarms(facts, bool(evaluations)),
        provenance=_provenance(environment, evaluations),
        commands=_commands(run.path, environment, evaluations),
    )


def _metrics(folder: Path) -> Metrics:
    settle(folder)
    return Metrics.read(folder / "metrics.json", f"hilum evaluate {folder.parent.parent}")


def _facts(run: Run, read: Mapping[Path, Metrics], evaluations: Sequence[Evaluation]) -> Facts:
    """What the checklist is computed from; an audit counts if it is about the run's own data."""
    own = {
        folder.name: metrics
        for folder, metrics in read.items()
        if metrics.table or "table" not in metrics.model_fields_set
    }
    external = {folder.name: found for folder, found in read.items() if folder.name not in own}
    return replace(_known(run, evaluations), metrics=own.get("test"), external=external)


def _findings_facts(run: Run, read: Mapping[Path, FindingsMetrics], evaluations: Sequence[FindingsEvaluation]) -> Facts:
    """The same of several findings."""
    digest = run.environment.data.digest
    own = {
        folder.name: metrics
        for folder, metrics in read.items()
        if metrics.data.digest == digest or any(one.metrics.table for one in metrics.findings.values())
    }
    external = {folder.name: found for folder, found in read.items() if folder.name not in own}
    return replace(_known(run, evaluations), findings=own.get("test"), external_findings=external)


def _known(run: Run, evaluations: Evaluations) -> Facts:
    """What is known of a run but for its measures."""
    data = run.environment.data
    audits = (_audit(place / "audit" / "audit.json") for place in (run.path, run.path.parent))
    about = {data.data_argument, data.root} - {""}
    return Facts(
        run=run,
        split=label_each_finding(run.rows) if run.findings else run.rows,
        metrics=None,
        external={},
        audit=next((found for found in audits if found and found.data in about), None),
        access=read_access(run.path / "evaluation" / "test"),
        errors_shown=next((of.errors_shown for of in evaluations if of.name == "test"), None),
    )


def _audit(file: Path) -> AuditReport | None:
    """An audit beside a run; None where there is none, or one of another form."""
    try:
        return AuditReport.from_json(read_json(file))
    except ValidationError:
        return None


@dataclass(frozen=True)
class DataErrors:
    """What is known to be wrong with the data of a training.

    Attributes:
        audited: Whether the data were audited.
        written: The audit's folder.
        errors: Number of errors.
        warnings: Number of warnings.
        kinds: Errors by check and remedy: the check, the messages, and the remedy.
        not_audited: What is said where there was no audit.
    """

    audited: bool
    written: str
    errors: int
    warnings: int
    kinds: list[tuple[str, list[str], str]]
    not_audited: str = f"{NOT_AUDITED[:1].upper()}{NOT_AUDITED[1:]}."


def errors_of(known: KnownIssues) -> DataErrors:
    """How many errors and warnings there are about the data of a training, and the errors, by check and remedy.

    Args:
        known: As `hilum.training.prepare.look` gives it.
    """
    errors, warnings = known.of("error"), known.of("warning")
    kinds = [
        (check, [finding.message for finding in found], remedy)
        for (check, remedy), found in groupby(errors, key=lambda finding: (finding.check, finding.remedy))
    ]
    return DataErrors(known.audited, known.written, len(errors), len(warnings), kinds)


def _alarms(facts: Facts, evaluated: bool) -> list[str]:
    """What has to be read before any figure."""
    warning = not_learnt(facts.run)
    alarms = [warning] if warning else []
    alarms += alarms_of(facts.metrics) if facts.metrics else finding_alarms(facts.findings) if facts.findings else []
    alarms += [f"{name}: {alarm}" for name, metrics in facts.external.items() for alarm in alarms_of(metrics)]
    for name, several in facts.external_findings.items():
        alarms += [f"{name}: {alarm}" for alarm in finding_alarms(several)]
    outside = facts.external or facts.external_findings
    return alarms + (["external validation: NONE"] if evaluated and not outside else [])


def _recipe(run: Run) -> list[tuple[str, str]]:
    """Every choice; of an ensemble those of its members, as it has none of its own."""
    recipe = run.recipe
    return flatten(recipe.model_dump(include={"name", "members"} if recipe.members else None))


def _network(run: Run) -> NetworkPart:
    """A page without the layer table is better than none where the network cannot be built here."""
    recipe, labels = run.recipe, run.labels
    size, chosen = recipe.preprocessing.size, recipe.network
    summary, reason = None, ""
    try:
        if not recipe.members:
            network = build_classifier(
                run.structure, chosen.architecture, labels, size, members=chosen.ensemble_size, **chosen.options
            )
            summary = summarise(network, size)
    except (HilumError, RuntimeError, ImportError) as error:
        reason = str(error)
    return NetworkPart(
        chosen.architecture, structure_of(recipe), input_of(run.preprocessing), len(labels), summary, reason
    )


NAMES = {
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


def _provenance(environment: Environment, evaluations: Evaluations) -> list[tuple[str, str]]:
    data, best = environment.data, environment.best
    rows = [(title, str(found)) for key, title in NAMES.items() if (found := getattr(environment, key))]
    if best:
        rows.append(("Kept checkpoint", f"epoch {best.epoch}, step {best.step}"))
    rows.append(("SHA-256 of the weights", environment.weights_sha256 or "–"))
    rows += [("Data", data.root or "–"), ("Digest of the data", data.digest or "–")]
    for evaluation in evaluations:
        metrics, what = evaluation.metrics, f"Evaluation “{evaluation.name}”"
        rows.append((f"{what}: weights", str(metrics.weights_sha256 or "–")))
        rows.append((f"{what}: data", str(metrics.data.digest or "–")))
    return rows


def _commands(run: Path, environment: Environment, evaluations: Evaluations) -> list[str]:
    data, members = environment.data, environment.members
    root = data.root or "DATA"
    commands = [f"hilum train {data.arguments} --out {_quoted(run)}-again --recipe {_quoted(run / 'recipe.toml')}"]
    if members:  # which are known by name alone
        commands = [f"hilum ensemble {' '.join(_quoted(one.name) for one in members)} --out {_quoted(run)}-again"]
    for evaluation in evaluations:
        metrics = evaluation.metrics
        where = "" if metrics.data.root == root else f" {_quoted(metrics.data.root)}"
        which = "" if metrics.split in ("test", "all") else f" --split {_quoted(metrics.split)}"
        commands.append(f"hilum evaluate {_quoted(run)}-again{where}{which}")
    return [*commands, f"hilum report {_quoted(run)}-again"]


def _quoted(word: object) -> str:
    return shlex.quote(str(word))


def _date(started: str) -> str:
    try:
        moment = datetime.fromisoformat(started)
    except ValueError:
        return started or "date unknown"
    zone = f" {moment.tzname()}" if moment.tzinfo else ""
    return f"{moment.day} {moment:%B %Y}, {moment:%H:%M}{zone}"

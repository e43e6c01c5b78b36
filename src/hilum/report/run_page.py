"""The page: reads a run folder and writes ``report.html``, one file that asks nothing of any network."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path

from markupsafe import Markup
from pydantic import ValidationError

from hilum.auditing.findings import AuditReport, KnownIssues, UnreadableFile
from hilum.data.dataset import Row
from hilum.data.labels import order_labels
from hilum.data.patients import in_words
from hilum.data.splits import UNUSED
from hilum.errors import HilumError
from hilum.evaluation.accesses import read_access
from hilum.evaluation.schema import Metrics
from hilum.files import settle
from hilum.models.registry import Summary, build_classifier, summarise
from hilum.report import figures
from hilum.report.checklist import Item, checklist, tally
from hilum.report.checklist_data import Facts
from hilum.report.evaluation_console import alarms_of
from hilum.report.evaluation_sections import Evaluation, evaluation_of
from hilum.report.model_card import FILE as CARD
from hilum.report.model_card import write_model_card
from hilum.report.results import not_learnt
from hilum.templating import write_page
from hilum.training.environment import BestCheckpoint, Environment, TrainingData
from hilum.training.prepare import NOT_AUDITED, known_of
from hilum.training.recipe import Recipe, flatten
from hilum.training.run import UNREADABLE, Run, open_run, read_json

SPLIT_ORDER = {"train": 0, "val": 1, "calibration": 2, "test": 3, UNUSED: 9, UNREADABLE: 10}
NOT_USED = (UNUSED, UNREADABLE)


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
class ImageCount:
    """How many images, and of how many patients; None where these are not all known."""

    images: int
    patients: int | None


@dataclass(frozen=True)
class SplitRow:
    """Counts of a split: of each label, and of all together."""

    split: str
    cells: list[ImageCount]
    total: ImageCount


@dataclass(frozen=True)
class DataPart:
    """The run's images by split and label, in a table and in figures."""

    labels: list[str]
    many: bool
    table: list[SplitRow]
    totals: list[ImageCount]
    total: ImageCount
    readable: int
    patients_known: bool
    patients_told: str
    crossing: list[tuple[str, int]]
    unused: int
    bars: Markup
    labels_pie: Markup
    splits_pie: Markup


def data_part(split: Sequence[Row], colours: Mapping[str, str], *, patients_known: bool) -> DataPart:
    """What the page shows of a run's images.

    Args:
        split: All rows of its ``split.csv``.
        colours: Colour by label.
        patients_known: Whether the patients that the rows name are known ones.
    """
    names = sorted({row.split for row in split}, key=lambda name: (SPLIT_ORDER.get(name, 8), name))
    used = [name for name in names if name not in NOT_USED]
    labels = list(colours)
    images = Counter((row.split, row.label) for row in split)
    known = bool(split) and all(row.patient_id for row in split) and patients_known

    def cell(rows: Sequence[Row]) -> ImageCount:
        return ImageCount(len(rows), len({row.patient_id for row in rows}) if known else None)

    table = [
        SplitRow(
            name,
            cells=[cell([r for r in split if r.split == name and r.label == label]) for label in labels],
            total=cell([row for row in split if row.split == name]),
        )
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
    return DataPart(
        labels=labels,
        many=len(labels) > figures.FEW,
        table=table,
        totals=[cell([row for row in split if row.label == label]) for label in labels],
        total=cell(split),
        readable=sum(row.split != UNREADABLE for row in split),
        patients_known=known,
        patients_told=in_words(sum(bool(row.patient_id) for row in split), len(split)),
        crossing=sorted(crossing.items()),
        unused=sum(row.split == UNUSED for row in split),
        bars=figures.class_bars(by_split, colours, "fig-1-1"),
        labels_pie=figures.pie(by_label, "fig-1-2", "Pie chart of the images by label"),
        splits_pie=figures.pie(by_name, "fig-1-3", "Pie chart of the images by split"),
    )


@dataclass(frozen=True)
class NetworkPart:
    """The network; the layer table is missing, for a reason, where the network cannot be built here."""

    name: str
    hierarchy: str
    size: int
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
    history: list[dict[str, float]]
    best: BestCheckpoint | None
    curves: Markup | None
    recipe: list[tuple[str, str]]
    colours: Mapping[str, str]
    evaluations: list[Evaluation]
    checklist: list[Item]
    tally: str
    alarms: list[str]
    provenance: list[tuple[str, str]]
    commands: list[str]


def page_content(run: Run) -> ReportPage:
    """Everything the template shows."""
    return _content(run, *_read(run))


def _read(run: Run) -> tuple[Facts, list[Evaluation], dict[str, str]]:
    """What the checklist is computed from, the evaluations, and the colours of all labels."""
    folders = sorted(run.evaluations(), key=lambda folder: (folder.name != "test", folder.name))
    read = {folder: _metrics(folder) for folder in folders}
    evaluated = list(dict.fromkeys(label for metrics in read.values() for label in metrics.labels))
    labels = [*run.labels, *(label for label in evaluated if label not in run.labels)]
    labels += order_labels({row.label for row in run.rows} - set(labels))
    colours = figures.label_colours(labels)
    evaluations = [evaluation_of(folder, metrics, colours, run.environment) for folder, metrics in read.items()]
    return _facts(run, read, evaluations), evaluations, colours


def _content(run: Run, facts: Facts, evaluations: list[Evaluation], colours: dict[str, str]) -> ReportPage:
    environment, history = run.environment, run.history()
    best, items = environment.best, checklist(facts)
    return ReportPage(
        name=run.name,
        recipe_name=run.recipe.name,
        folder=run.path,
        started=_date(environment.started),
        environment=environment,
        data=data_part(run.rows, colours, patients_known=environment.data.patients_known),
        audit=errors_of(known_of(run)),
        notes=environment.data.notes,
        unreadable=environment.data.unreadable,
        network=_network(run.recipe, run.labels, run.structure),
        history=history,
        best=best,
        curves=figures.training_curves(history, best.step if best else None, "fig-4") if history else None,
        recipe=flatten(run.recipe.model_dump()),
        colours=colours,
        evaluations=evaluations,
        checklist=items,
        tally=tally(items),
        alarms=_alarms(facts, bool(evaluations)),
        provenance=_provenance(environment, evaluations),
        commands=_commands(run.path, environment.data, evaluations),
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
    data = run.environment.data
    audits = (_audit(place / "audit" / "audit.json") for place in (run.path, run.path.parent))
    about = {data.data_argument, data.root} - {""}
    return Facts(
        run=run,
        split=run.rows,
        metrics=own.get("test"),
        external={folder.name: found for folder, found in read.items() if folder.name not in own},
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
    alarms: list[str] = []
    if best := facts.run.environment.best:
        alarms += filter(None, [not_learnt(best, Counter(row.label for row in facts.split if row.split == "val"))])
    alarms += alarms_of(facts.metrics) if facts.metrics else []
    alarms += [f"{name}: {alarm}" for name, metrics in facts.external.items() for alarm in alarms_of(metrics)]
    return alarms + (["external validation: NONE"] if evaluated and not facts.external else [])


def _network(recipe: Recipe, labels: Sequence[str], structure: str) -> NetworkPart:
    """A page without the layer table is better than none where the network cannot be built here."""
    size, chosen = recipe.preprocessing.size, recipe.network
    summary, reason = None, ""
    try:
        network = build_classifier(
            structure, chosen.architecture, labels, size, members=chosen.ensemble_size, **chosen.options
        )
        summary = summarise(network, size)
    except (HilumError, RuntimeError, ImportError) as error:
        reason = str(error)
    return NetworkPart(chosen.architecture, recipe.hierarchy, size, len(labels), summary, reason)


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


def _provenance(environment: Environment, evaluations: Sequence[Evaluation]) -> list[tuple[str, str]]:
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


def _commands(run: Path, data: TrainingData, evaluations: Sequence[Evaluation]) -> list[str]:
    root = data.root or "DATA"
    commands = [f"hilum train {data.arguments} --out {_quoted(run)}-again --recipe {_quoted(run / 'recipe.toml')}"]
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

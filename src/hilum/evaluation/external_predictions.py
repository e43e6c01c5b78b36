"""Predictions of a model that hilum did not train: read from a table, measured as hilum's own are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hilum.data.frames import Frame, is_frame, write_frame
from hilum.data.labels import default_positive, is_healthy, order_labels
from hilum.data.multilabel import binary_labels
from hilum.decision.operating_point import are_probabilities
from hilum.errors import RunError, TableError, UsageError
from hilum.evaluation.external_columns import (
    Lines,
    PredictionTable,
    find_places,
    number_of,
    read_cells,
    tolerance_of,
)
from hilum.evaluation.external_findings import ExternalFindings, has_findings, read_findings
from hilum.evaluation.external_rows import (
    each_image_once,
    further_columns,
    image_names,
    no_probability,
    rows_like,
)
from hilum.evaluation.findings_performance import measure_findings, why_not_measured
from hilum.evaluation.findings_schema import FindingsMetrics
from hilum.evaluation.performance import details, measure
from hilum.evaluation.predictions import FILE as PREDICTIONS_FILE
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.schema import DataFacts, FileFacts, Metrics
from hilum.evaluation.subgroups import measure_subgroups
from hilum.files import as_bytes, saving_together
from hilum.outputs import METRICS, PAGE, PREDICTIONS, check_folder
from hilum.stats.prior_shift import with_stated

AnyMetrics = TypeVar("AnyMetrics", Metrics, FindingsMetrics)
METRICS_FILE = "metrics.json"
FRAME = "data frame"


@dataclass(frozen=True)
class ExternalPredictions:
    """Predictions from a table, and what the table says besides.

    Attributes:
        predictions: Of N images, K labels.
        columns: Further columns, N values each, for subgroups.
        name: What messages and reports call the table.
        notes: How it was read.
        root: The folder that the paths of the images are relative to.
        named: Whether a column names the images; otherwise they are known by their rows only.
        split: Which part of a dataset a model predicted; of a table ``all``.
    """

    predictions: Predictions
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    name: str = ""
    notes: tuple[str, ...] = ()
    root: Path = Path()
    named: bool = True
    split: str = "all"


def read_external(source: Path | Frame) -> ExternalPredictions | ExternalFindings:
    """Read predictions of any model.

    Several findings an image are recognised by their columns: see `hilum.evaluation.external_findings.read_findings`.
    Of labels that exclude each other the columns are: ``label``, the true label of each image; for each label a column
    of its probabilities, named by the label or ``p:`` and the label; optionally ``path`` and ``patient_id``, under
    these or the usual other names. Other columns are subgroups. An image that is listed again with the same cells
    counts once.

    Args:
        source: A text table (UTF-8, UTF-16, UTF-32 or Windows-1252; any usual separator; decimal points or commas), or
            a data frame of pandas or polars.

    Raises:
        TableError: A column is missing, a label has no column, an image is listed twice with different cells, or a row
            holds numbers that are no probabilities or do not sum to one.
    """
    if not isinstance(source, Path) and not is_frame(source):
        msg = f"a {type(source).__name__} holds no predictions. Give a CSV table, or a data frame of pandas or polars."
        raise UsageError(msg, code="no-predictions")
    if isinstance(source, Path):
        return _read(source, source.name, str(source), source.parent)
    with TemporaryDirectory(prefix="hilum-") as folder:
        file = Path(folder) / "predictions.csv"
        write_frame(source, file)
        try:
            return _read(file, FRAME, FRAME, Path())
        except TableError as error:
            raise TableError(str(error).replace(str(file), FRAME), code=error.code) from error


def _read(file: Path, name: str, shown: str, root: Path) -> ExternalPredictions | ExternalFindings:
    table = read_cells(file, shown, of_frame=shown == FRAME)
    if has_findings(table):
        return read_findings(table, name, root)
    places, found = find_places(table)
    lines, repeated = each_image_once(table, places.path)
    labels = order_labels(places.probabilities)
    index = {label: k for k, label in enumerate(labels)}
    columns = [places.probabilities[label] for label in labels]
    stated = np.array([[number_of(cells[at]) for at in columns] for _, cells in lines])
    _check_rows(stated, table, lines, labels)
    commas = any("," in cells[at] for _, cells in lines for at in columns)
    paths = image_names(lines, places.path)
    patients = [cells[places.patient] if places.patient is not None else "" for _, cells in lines]
    truth = [index[cells[places.label]] for _, cells in lines]
    predictions = Predictions(
        labels, paths, tuple(patients), np.array(truth, np.int64), stated / stated.sum(axis=1, keepdims=True)
    )
    notes = (*table.notes, *found, *(["decimal commas were read as points"] if commas else []), *repeated)
    columns_of_rows = further_columns(lines, paths, places.others)
    return ExternalPredictions(predictions, columns_of_rows, name, notes, root, places.path is not None)


def two_kinds(table: str, run: Path) -> UsageError:
    """What to say where predictions are to be compared with a run.

    Args:
        table: Name of the predictions.
        run: Folder of the run.
    """
    written = run / "evaluation" / "test" / PREDICTIONS_FILE
    theirs = (
        f"those of the run are {written}" if written.is_file() else f"make those of the run with: hilum evaluate {run}"
    )
    msg = f"{table} holds predictions, and {run} does not. Compare two runs, or two tables of predictions; {theirs}"
    return UsageError(msg, code="two-kinds")


def _check_rows(stated: NDArray[np.float64], table: PredictionTable, lines: Lines, labels: Sequence[str]) -> None:
    wrong = np.flatnonzero(~are_probabilities(stated, tolerance_of(len(labels)))).tolist()
    if not wrong:
        return
    values = stated[wrong[0]]
    outside = next((k for k, value in enumerate(values) if not 0 <= value <= 1), None)
    if outside is not None:
        raise no_probability(table, lines, wrong, labels[outside], values[outside])
    msg = (
        f"{table.where(lines[wrong[0]][0])}: the probabilities sum to {values.sum():.4g}, not 1"
        f"{rows_like(table, lines, wrong)}. Labels are mutually exclusive: give the softmax over labels. Of several "
        "findings per image, give the true ones in columns true:NAME."
    )
    raise TableError(msg, code="sum-not-one")


def roles_in(labels: Sequence[str], positive_label: str | None) -> tuple[str | None, tuple[str, ...]]:
    """The positive label and the healthy ones.

    Args:
        labels: Of the predictions.
        positive_label: As the user states it; None to recognise it by its name, ``none`` for none.

    Raises:
        UsageError: There is no such label.
    """
    if positive_label not in (None, "none", *labels):
        msg = f"positive label '{positive_label}': not among the labels ({', '.join(labels)}). Name one of them."
        raise UsageError(msg, code="no-such-label")
    positive = (
        default_positive(labels) if positive_label is None else None if positive_label == "none" else positive_label
    )
    return positive, tuple(label for label in labels if is_healthy(label) and label != positive)


def measure_external(
    given: ExternalPredictions, *, positive_label: str | None = None, prevalences: Sequence[float] = ()
) -> Metrics:
    """The measures of `hilum evaluate` that need nothing but predictions.

    Args:
        given: As `read_external` gives them.
        positive_label: Label that must not be missed; None to recognise it by its name, ``none`` for none.
        prevalences: Further prevalences for predictive values, each in (0, 1).

    Returns:
        With intervals, calibration, curves and subgroups; without operating point, abstention and shortcut baselines,
        which need the model or the images.

    Raises:
        UsageError: There is no such label, or a prevalence is not between 0 and 1.
    """
    predictions = given.predictions
    positive, healthy = roles_in(predictions.labels, positive_label)
    notes = [*given.notes, *unnamed_patients(predictions.patients)]
    found = {
        "name": given.name,
        "split": given.split,
        **measure(predictions, positive_label=positive, prevalences=with_stated(prevalences)).given(),
        **vars(details(predictions)),
        "data": {"root": str(given.root.resolve()), "digest": None, "notes": notes},
        "healthy": list(healthy),
        "subgroups": measure_subgroups(predictions, given.columns, positive),
    }
    return Metrics.model_validate(found)


def measure_external_findings(
    given: ExternalFindings, *, positive_label: str | None = None, prevalences: Sequence[float] = ()
) -> FindingsMetrics:
    """The measures of `measure_external` for each finding against its absence, and their macro and micro means.

    Args:
        given: As `read_external` gives them.
        positive_label: Refused, since each finding is the positive label of its own problem.
        prevalences: Further prevalences for predictive values, each in (0, 1).

    Raises:
        UsageError: A positive label is given, or a prevalence is not between 0 and 1.
        TableError: No finding has images on both sides.
    """
    if positive_label not in (None, "none"):
        msg = (
            f"positive label '{positive_label}': each finding is the positive label of its own measures. Leave it out."
        )
        raise UsageError(msg, code="findings-positive-label")
    predictions = given.predictions
    left_out = why_not_measured(predictions)
    measured = predictions.of_findings([name for name in predictions.findings if name not in left_out])
    if not measured.findings:
        msg = f"{given.name}: no finding is known to be present in some images and absent in others. Add such images."
        raise TableError(msg, code="one-sided-findings")
    metrics = {}
    for name in measured.findings:
        rows = measured.rows_of(name)
        columns = {column: [values[i] for i in rows] for column, values in given.columns.items()}
        own = ExternalPredictions(measured.of_finding(name), columns, name, root=given.root, split=given.split)
        alone = measure_external(own, positive_label=name, prevalences=prevalences)
        metrics[name] = alone.model_copy(
            update={"healthy": [binary_labels(name)[0]], "data": DataFacts(root=None, digest=None)}
        )
    root = str(given.root.resolve())
    return measure_findings(
        measured,
        metrics,
        given.thresholds,
        name=given.name,
        split=given.split,
        not_measured=left_out,
        only_true=list(given.only_true),
        only_predicted=list(given.only_predicted),
        data=DataFacts(root=root, digest=None, notes=[*given.notes, *unnamed_patients(predictions.patients)]),
    )


def of_one_kind(
    first: ExternalPredictions | ExternalFindings, second: ExternalPredictions | ExternalFindings
) -> tuple[ExternalPredictions, ExternalPredictions] | tuple[ExternalFindings, ExternalFindings]:
    """Both, where they are of labels, or both of several findings.

    Raises:
        TableError: One is of labels, the other of findings.
    """
    if isinstance(first, ExternalFindings) and isinstance(second, ExternalFindings):
        return first, second
    if isinstance(first, ExternalPredictions) and isinstance(second, ExternalPredictions):
        return first, second
    kinds = ("several findings an image", "labels that exclude each other")
    one, two = kinds if isinstance(first, ExternalFindings) else kinds[::-1]
    msg = f"{first.name} has {one}, {second.name} {two}. Compare tables of one kind."
    raise TableError(msg, code="two-kinds")


def unnamed_patients(patients: Sequence[str]) -> list[str]:
    """What is to be said where not every image's patient is known; nothing else."""
    known = sum(map(bool, patients))
    if known == len(patients):
        return []
    whose = "no column names patients" if not known else f"{len(patients) - known:,} rows name no patient"
    return [f"{whose}: each such image counts as a separate patient; intervals may be too narrow"]


OUTPUTS = {METRICS_FILE: METRICS, PREDICTIONS_FILE: PREDICTIONS, "report.html": PAGE}


def check_asked(folder: Path | None, prevalences: Sequence[float]) -> None:
    """Refuse, before a model predicts anything, a folder with other files, and shares that are none.

    Raises:
        UsageError: The folder holds files of other kinds, or a prevalence is not between 0 and 1.
    """
    with_stated(prevalences)
    if folder:
        check_folder(folder, OUTPUTS)


def write_external(given: ExternalPredictions | ExternalFindings, metrics: AnyMetrics, folder: Path) -> AnyMetrics:
    """Write ``metrics.json`` and ``predictions.csv``.

    Args:
        given: The predictions.
        metrics: What was measured of them.
        folder: Is made, or holds files of an earlier evaluation, which are written over.

    Returns:
        The metrics, with the hash of the table beside them.

    Raises:
        RunError: It cannot be written.
        UsageError: The folder holds other files of these names.
    """
    check_folder(folder, OUTPUTS)
    table = given.predictions.to_csv()
    files = {PREDICTIONS_FILE: FileFacts.of(table, len(given.predictions.paths))}
    metrics = metrics.model_copy(update={"files": files})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with saving_together(folder) as save:
            save(PREDICTIONS_FILE, table)
            save(METRICS_FILE, as_bytes(metrics.to_json()))
    except OSError as error:
        msg = f"{folder}: cannot be written ({error.strerror}). Choose another folder with --out."
        raise RunError(msg) from error
    return metrics

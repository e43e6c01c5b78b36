"""Predictions of a model that hilum did not train: read from a table, measured as hilum's own are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from hilum.data.dataset import Row
from hilum.data.frames import Frame, is_frame, write_frame
from hilum.data.labels import default_positive, is_healthy, order_labels
from hilum.decision.operating_point import are_probabilities
from hilum.errors import RunError, TableError, UsageError
from hilum.evaluation.external_columns import (
    Lines,
    Places,
    PredictionTable,
    find_places,
    number_of,
    read_cells,
    tolerance_of,
)
from hilum.evaluation.performance import details, measure
from hilum.evaluation.predictions import FILE as PREDICTIONS_FILE
from hilum.evaluation.predictions import Predictions
from hilum.evaluation.schema import FileFacts, Metrics
from hilum.evaluation.subgroups import columns_of, measure_subgroups
from hilum.files import as_bytes, saving_together
from hilum.outputs import METRICS, PAGE, PREDICTIONS, check_folder
from hilum.stats.prior_shift import with_stated
from hilum.text import plural, printable

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
    """

    predictions: Predictions
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    name: str = ""
    notes: tuple[str, ...] = ()
    root: Path = Path()
    named: bool = True


def read_external(source: Path | Frame) -> ExternalPredictions:
    """Read predictions of any model.

    The columns: ``label``, the true label of each image; for each label a column of its probabilities, named by the
    label or ``p:`` and the label; optionally ``path`` and ``patient_id``, under these or the usual other names. Other
    columns are subgroups. An image that is listed again with
    the same cells counts once.

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


def _read(file: Path, name: str, shown: str, root: Path) -> ExternalPredictions:
    table = read_cells(file, shown, of_frame=shown == FRAME)
    places, found = find_places(table)
    lines, repeated = _each_once(table, places)
    labels = order_labels(places.probabilities)
    index = {label: k for k, label in enumerate(labels)}
    columns = [places.probabilities[label] for label in labels]
    stated = np.array([[number_of(cells[at]) for at in columns] for _, cells in lines])
    _check_rows(stated, table, lines, labels)
    commas = any("," in cells[at] for _, cells in lines for at in columns)
    paths = [
        cells[places.path] if places.path is not None else f"row {number}" for number, (_, cells) in enumerate(lines, 1)
    ]
    patients = [cells[places.patient] if places.patient is not None else "" for _, cells in lines]
    truth = [index[cells[places.label]] for _, cells in lines]
    predictions = Predictions(
        labels, tuple(paths), tuple(patients), np.array(truth, np.int64), stated / stated.sum(axis=1, keepdims=True)
    )
    rows = [Row(path, "", extra=_extra(cells, places)) for path, (_, cells) in zip(paths, lines, strict=True)]
    notes = (*table.notes, *found, *(["decimal commas were read as points"] if commas else []), *repeated)
    return ExternalPredictions(predictions, columns_of(rows), name, notes, root, places.path is not None)


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


def _each_once(table: PredictionTable, places: Places) -> tuple[Lines, list[str]]:
    """The lines without repetitions of an image, and what is to be said of those."""
    lines = table.lines
    if places.path is None:
        return lines, []
    first: dict[str, tuple[int, list[str]]] = {}
    kept = []
    for number, cells in lines:
        path = cells[places.path]
        if not path:
            msg = f"{table.where(number)}: no path. Fill the cell, or leave the column out."
            raise TableError(msg, code="no-path")
        before, same = first.setdefault(path, (number, cells))
        if before == number:
            kept.append((number, cells))
        elif same != cells:
            msg = f"{table.where(before, number)}: '{printable(path)}' is listed again with other values. Keep one."
            raise TableError(msg, code="contradicting-rows")
    again = len(lines) - len(kept)
    return kept, [f"{plural(again, 'row')} repeat an image; each image counts once"] if again else []


def _check_rows(stated: NDArray[np.float64], table: PredictionTable, lines: Lines, labels: Sequence[str]) -> None:
    tolerance = tolerance_of(len(labels))
    wrong = np.flatnonzero(~are_probabilities(stated, tolerance))
    if not len(wrong):
        return
    first = int(wrong[0])
    values, where = stated[first], table.where(lines[first][0])
    of_all = (
        f" ({plural(len(wrong), 'row' if table.of_frame else 'line')} of {len(lines):,} so)" if len(wrong) > 1 else ""
    )
    outside = next((k for k, value in enumerate(values) if not 0 <= value <= 1), None)
    if outside is None:
        msg = (
            f"{where}: the probabilities sum to {values.sum():.4g}, not 1{of_all}. Labels are mutually exclusive: give "
            "the softmax over labels, not scores of independent findings."
        )
        raise TableError(msg, code="sum-not-one")
    cell = "no number" if math.isnan(values[outside]) else f"{values[outside]:g}, outside 0 to 1"
    msg = f"{where}: the probability of '{printable(labels[outside])}' is {cell}{of_all}. Give probabilities."
    raise TableError(msg, code="no-probability")


def _extra(cells: Sequence[str], places: Places) -> dict[str, str]:
    return {name: cells[at] for name, at in places.others.items()}


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
    known = sum(map(bool, predictions.patients))
    notes = list(given.notes)
    if known < len(predictions.patients):
        whose = (
            "no column names patients" if not known else f"{len(predictions.patients) - known:,} rows name no patient"
        )
        notes.append(f"{whose}: each such image counts as a separate patient; intervals may be too narrow")
    found = {
        "name": given.name,
        "split": "all",
        **measure(predictions, positive_label=positive, prevalences=with_stated(prevalences)).given(),
        **vars(details(predictions)),
        "data": {"root": str(given.root.resolve()), "digest": None, "notes": notes},
        "healthy": list(healthy),
        "subgroups": measure_subgroups(predictions, given.columns, positive),
    }
    return Metrics.model_validate(found)


OUTPUTS = {METRICS_FILE: METRICS, PREDICTIONS_FILE: PREDICTIONS, "report.html": PAGE}


def write_external(given: ExternalPredictions, metrics: Metrics, folder: Path) -> Metrics:
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

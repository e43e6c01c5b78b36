"""Predictions: the probabilities that a model gives to the labels of each image, and their table."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hilum.data.dataset import Dataset, owner
from hilum.data.frames import to_pandas
from hilum.decision.operating_point import are_probabilities
from hilum.errors import RunError
from hilum.evaluation.schema import FileFacts
from hilum.files import LARGEST_TABLE, read_whole, save_bytes, settle
from hilum.outputs import cell, from_cell
from hilum.training.run import read_json

if TYPE_CHECKING:
    import pandas

T = TypeVar("T")
FILE = "predictions.csv"
COMPANIONS = ("metrics.json", "crossval.json")  # what lies beside it, and says how many rows it has and its hash


@dataclass(frozen=True)
class Predictions:
    """What was predicted, image by image.

    Attributes:
        labels: K names.
        paths: Of the N images.
        patients: Whose they are; empty where unknown.
        truth: Index of each image's label, shape (N,).
        probabilities: Of shape (N, K); each row sums to one.
    """

    labels: tuple[str, ...]
    paths: tuple[str, ...]
    patients: tuple[str, ...]
    truth: NDArray[np.int64]
    probabilities: NDArray[np.float64]

    @classmethod
    def of(cls, table: Dataset, labels: Sequence[str], probabilities: NDArray[np.float64]) -> Predictions:
        """What was predicted of a table's images.

        Args:
            table: Of N images, whose labels are among `labels`.
            labels: K names.
            probabilities: Of shape (N, K).
        """
        index = {label: number for number, label in enumerate(labels)}
        return cls(
            labels=tuple(labels),
            paths=tuple(row.path for row in table.rows),
            patients=tuple(row.patient_id for row in table.rows),
            truth=np.array([index[row.label] for row in table.rows], dtype=np.int64),
            probabilities=probabilities,
        )

    def take(self, numbers: NDArray[np.int64]) -> Predictions:
        """Only some of the images, by number."""
        return Predictions(
            self.labels,
            tuple(self.paths[i] for i in numbers),
            tuple(self.patients[i] for i in numbers),
            self.truth[numbers],
            self.probabilities[numbers],
        )

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """Index of the most probable label, shape (N,)."""
        index: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return index

    @cached_property
    def clusters(self) -> list[str]:
        """The patient of each image, or the image itself where the patient is unknown."""
        return [owner(patient, path) for patient, path in zip(self.patients, self.paths, strict=True)]

    def to_pandas(self) -> pandas.DataFrame:
        """One row an image: path, patient_id, label, predicted, and ``p:`` and the label for each probability.

        Raises:
            ExtraError: pandas is not installed.
        """
        names = np.array(self.labels)
        columns: dict[str, Sequence[Any]] = {
            "path": self.paths,
            "patient_id": self.patients,
            "label": names[self.truth].tolist(),
            "predicted": names[self.predicted].tolist(),
        }
        for k, label in enumerate(self.labels):
            columns[f"p:{label}"] = self.probabilities[:, k].tolist()
        return to_pandas(columns)

    def to_csv(self) -> bytes:
        """What ``predictions.csv`` holds; names that are not valid UTF-8 survive the round trip."""
        names, file = [*self.labels], io.StringIO(newline="")
        writer = csv.writer(file)
        writer.writerow(["path", "patient_id", "label", "predicted", *(f"p:{label}" for label in names)])
        predicted = self.predicted
        for i, image in enumerate(self.paths):
            row = [image, self.patients[i], names[self.truth[i]], names[predicted[i]]]
            writer.writerow([*map(cell, row), *(f"{p:.8f}" for p in self.probabilities[i])])
        return file.getvalue().encode("utf-8", "surrogateescape")

    def write(self, path: Path) -> None:
        """Write ``predictions.csv``."""
        save_bytes(path, self.to_csv())


def read_predictions(path: Path) -> Predictions:
    """Read ``predictions.csv``.

    Raises:
        RunError: The file is missing, is not what `Predictions.write` writes, or is not the one of which the results
            beside it speak (those of versions before say nothing of it).
    """
    return read_stated(path, _from_rows)


def _from_rows(header: Sequence[str], rows: Sequence[Mapping[str, str]]) -> Predictions:
    columns = [name for name in header if name.startswith("p:")]
    if not columns:
        msg = "no probabilities"
        raise ValueError(msg)
    labels = tuple(name.removeprefix("p:") for name in columns)
    index = {label: number for number, label in enumerate(labels)}
    stated = np.array([[float(row[name]) for name in columns] for row in rows]).reshape(len(rows), -1)
    wrong = ~are_probabilities(stated, 1e-4)  # eight decimals each
    if wrong.any():
        msg = f"what is said of {rows[int(wrong.argmax())]['path']} are not probabilities with sum 1"
        raise ValueError(msg)
    return Predictions(
        labels=labels,
        paths=tuple(from_cell(row["path"]) for row in rows),
        patients=tuple(from_cell(row["patient_id"]) for row in rows),
        truth=np.array([index[from_cell(row["label"])] for row in rows], dtype=np.int64),
        probabilities=stated,
    )


def read_stated(path: Path, read: Callable[[Sequence[str], Sequence[Mapping[str, str]]], T]) -> T:
    """Read a table of predictions that results beside it speak of.

    Args:
        path: ``predictions.csv``.
        read: Makes the predictions from the header and the rows; a `ValueError` or `KeyError` says what is wrong.

    Raises:
        RunError: The file is missing, `read` refuses it, or it is not the one of which the results speak.
    """
    settle(path.parent)
    try:
        beside, known = _stated(path)
        content = read_whole(path, LARGEST_TABLE)
        if known and hashlib.sha256(content).hexdigest() != known.sha256:
            msg = f"not the table of {known.rows} images that {beside} beside it describes: cut, edited, or another"
            raise ValueError(msg)
        reader = csv.DictReader(io.StringIO(content.decode("utf-8", "surrogateescape"), newline=""))
        return read(reader.fieldnames or (), list(reader))
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        msg = (
            f"{path}: not predictions in hilum's format ({type(error).__name__}: {error}). Run `hilum evaluate` again."
        )
        raise RunError(msg, code="damaged-predictions", path=path) from error


def _stated(path: Path) -> tuple[str, FileFacts | None]:
    """The file beside a table that says how many rows it has and its hash, and what it says; None where none does."""
    for name in COMPANIONS:
        files = read_json(path.with_name(name)).get("files")
        if isinstance(files, dict) and isinstance(files.get(path.name), dict):
            return name, FileFacts.model_validate(files[path.name])
    return "", None

"""Predictions of a run: what the network says of each image."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hilum.audit.checks.label_issues import OutOfSample
from hilum.data.cache import Images, open_images
from hilum.data.dataset import Table, owner
from hilum.decision.operating_point import are_probabilities
from hilum.errors import CheckpointError, RunError
from hilum.evaluation.schema import FileFacts
from hilum.files import LARGEST_TABLE, read_whole, save_bytes, settle
from hilum.models.stages import WithFeatures
from hilum.outputs import cell, from_cell
from hilum.progress import Progress
from hilum.training.batches import Batches
from hilum.training.checkpoints import load_weights, weights_sha256
from hilum.training.module import build_for, to_network_range
from hilum.training.run import Run, open_run, read_json

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
    def of(cls, table: Table, labels: Sequence[str], probabilities: NDArray[np.float64]) -> Predictions:
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

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Index of the most probable label, shape (N,)."""
        index: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return index

    @property
    def clusters(self) -> list[str]:
        """The patient of each image, or the image itself where the patient is unknown."""
        return [owner(patient, path) for patient, path in zip(self.patients, self.paths, strict=True)]

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
    settle(path.parent)
    try:
        beside, known = _stated(path)
        content = read_whole(path, LARGEST_TABLE)
        if known and hashlib.sha256(content).hexdigest() != known.sha256:
            msg = f"not the table of {known.rows} images that {beside} beside it is about: cut, edited, or another"
            raise ValueError(msg)
        reader = csv.DictReader(io.StringIO(content.decode("utf-8", "surrogateescape"), newline=""))
        columns = [name for name in reader.fieldnames or () if name.startswith("p:")]
        rows = list(reader)
        if not columns:
            msg = "no probabilities"
            raise ValueError(msg)
        labels = tuple(name.removeprefix("p:") for name in columns)
        index = {label: number for number, label in enumerate(labels)}
        stated = np.array([[float(row[name]) for name in columns] for row in rows]).reshape(len(rows), -1)
        wrong = ~are_probabilities(stated, 1e-4)  # eight decimals each
        if wrong.any():
            msg = f"what is said of {rows[int(wrong.argmax())]['path']} are no probabilities that sum to one"
            raise ValueError(msg)
        return Predictions(
            labels=labels,
            paths=tuple(from_cell(row["path"]) for row in rows),
            patients=tuple(from_cell(row["patient_id"]) for row in rows),
            truth=np.array([index[from_cell(row["label"])] for row in rows], dtype=np.int64),
            probabilities=stated,
        )
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        msg = (
            f"{path}: these are not predictions as hilum writes them ({type(error).__name__}: {error}). "
            f"Run `hilum evaluate` again."
        )
        raise RunError(msg, code="damaged-predictions", path=path) from error


def _stated(path: Path) -> tuple[str, FileFacts | None]:
    """The file beside a table that says how many rows it has and its hash, and what it says; None where none does."""
    for name in COMPANIONS:
        files = read_json(path.with_name(name)).get("files")
        if isinstance(files, dict) and isinstance(files.get(path.name), dict):
            return name, FileFacts.model_validate(files[path.name])
    return "", None


def predict(
    run: Run, images: Images, labels: Sequence[str], *, progress: Progress | None = None
) -> NDArray[np.float64]:
    """Probabilities of a run's chosen network, in float32.

    Args:
        run: A finished run.
        images: Decoded by the run's own preprocessing.
        labels: The run's.
        progress: Told as images are done.

    Returns:
        Of shape (N, K), in the order of `images`.

    Raises:
        CheckpointError: The weights are missing or belong to another architecture, or an answer is no number.
    """
    return _predict(run, images, labels, progress, describe=False)[0]


def predict_with_features(
    run: Run, images: Images, labels: Sequence[str], *, progress: Progress | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Probabilities as `predict` gives them, and the network's last features (`WithFeatures`), of shape (N, D)."""
    return _predict(run, images, labels, progress, describe=True)


def _predict(
    run: Run, images: Images, labels: Sequence[str], progress: Progress | None, *, describe: bool
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    progress = progress or Progress()
    network = build_for(run.recipe, labels)
    load_weights(network, run.best)
    if run.finished and weights_sha256(network) != run.environment.weights_sha256:
        msg = f"{run.best}: not the weights with which the training ended. Take another copy of the run."
        raise CheckpointError(msg)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = WithFeatures(network.eval().to(device)).eval()
    batches = Batches(images, np.zeros(len(images.table), np.int64), run.recipe.training.eval_batch_size)
    count, done = len(images.table), 0
    probabilities = np.empty((count, len(labels)))
    features = np.empty((0, 0), np.float32)
    with torch.inference_mode(), progress.task("Predicting", count) as advance:
        for pixels, _ in batches:
            floats = to_network_range(pixels.to(device).float() / 255, run.recipe.preprocessing)
            answers, described = network(floats.contiguous(memory_format=torch.channels_last))
            here = slice(done, done + len(pixels))
            probabilities[here] = answers.double().softmax(dim=1).cpu().numpy()
            if describe:
                if not done:
                    features = np.empty((count, described.shape[1]), np.float32)
                features[here] = described.cpu().numpy()
            done += len(pixels)
            advance(len(pixels))
    unfit = ~are_probabilities(probabilities)
    if unfit.any():
        msg = (
            f"{images.table.rows[int(unfit.argmax())].path}: the network of {run.path} answers with something that is "
            f"no number ({unfit.sum()} of {len(probabilities)} images). Nothing can be measured by it: train anew."
        )
        raise CheckpointError(msg, code="not-a-number")
    return probabilities, features


CROSSVAL = "crossval.json"
BETTER = (
    "A single run judges only what it was not trained on; after hilum crossval every image is judged: give its folder "
    "to --run."
)


def opinion_of(folder: Path, progress: Progress | None = None) -> Callable[[Table], OutOfSample]:
    """Open what is to judge a dataset; the work is done when the result is called.

    Args:
        folder: A run, or a cross-validation.
        progress: Told as images are judged.

    Returns:
        A function of a table whose rows have their SHA-256. It raises `RunError` where not one image can be judged.

    Raises:
        RunError: There is no finished run or cross-validation.
    """
    progress = progress or Progress()
    settle(folder)
    if (folder / CROSSVAL).is_file():
        return lambda table: _of_folds(folder, table)
    if (folder / "plan.json").is_file() and list(folder.glob("fold-*")):
        msg = f"{folder}: this cross-validation is not finished. Go on with hilum crossval --resume."
        raise RunError(msg)
    run = open_run(folder)
    if not run.finished:
        msg = f"{folder}: the training is not finished. Go on with: hilum train DATA --out {folder} --resume"
        raise RunError(msg)
    return lambda table: _of_run(run, table, progress)


def _of_run(run: Run, table: Table, progress: Progress) -> OutOfSample:
    """Judge whatever the run was not trained on, by content; patients that it was trained on are passed over, too."""
    trained = [row for row in run.rows if row.split == "train"]
    contents = {row.sha256 for row in trained}
    patients = {row.patient_id for row in trained if row.patient_id}
    unseen = [
        i
        for i, row in enumerate(table.rows)
        if row.sha256 not in contents and row.patient_id not in patients and row.label in run.labels
    ]
    if not unseen:
        msg = (
            f"{run.path}: was trained on every image of {table.root} whose label it knows, so that it cannot judge "
            "any. Give it the folder of a cross-validation (hilum crossval), or other data."
        )
        raise RunError(msg)
    images = open_images(replace(table, notes=()), run.recipe.preprocessing, progress=progress)
    place = {row.path: i for i, row in enumerate(images.table.rows)}
    unseen = [i for i in unseen if table.rows[i].path in place]
    chosen = images.select(place[table.rows[i].path] for i in unseen)
    probabilities = predict(run, chosen, run.labels, progress=progress)
    how = "which was not trained on them"
    return OutOfSample(run.labels, np.array(unseen, np.int64), probabilities, str(run.path), how, BETTER)


def _of_folds(folder: Path, table: Table) -> OutOfSample:
    """What the fold that had not seen an image said of it, by content: files may have moved or got other labels."""
    predictions = read_predictions(folder / "predictions.csv")
    content = {row.path: row.sha256 for row in open_run(folder / "fold-1").rows}
    row_of = {content.get(path, ""): number for number, path in enumerate(predictions.paths)}
    known = [
        (i, row_of[row.sha256])
        for i, row in enumerate(table.rows)
        if row.sha256 and row.sha256 in row_of and row.label in predictions.labels
    ]
    if not known:
        msg = f"{folder}: not one image of {table.root} is in this cross-validation. Give --run one of these data."
        raise RunError(msg)
    positions, rows = np.array(known, np.int64).T
    how = "each by the fold that had not seen it"
    return OutOfSample(predictions.labels, positions, predictions.probabilities[rows], str(folder), how)

"""What a run's network says of images, and what it says of images that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hilum.auditing.checks.label_issues import OutOfSample
from hilum.data.cache import Images, open_images
from hilum.data.dataset import Dataset
from hilum.decision.operating_point import are_probabilities
from hilum.errors import CheckpointError, RunError
from hilum.evaluation.findings_predictions import FindingsPredictions, read_findings_predictions
from hilum.evaluation.predictions import Predictions, read_predictions
from hilum.files import settle
from hilum.models.encoder_network import kept_features
from hilum.models.mixed import to_network_range
from hilum.models.stages import WithFeatures
from hilum.progress import Progress
from hilum.training.batches import Batches
from hilum.training.checkpoints import load_weights, weights_sha256
from hilum.training.encoder_head import encoder_of
from hilum.training.initialisation import build_for
from hilum.training.run import Run, open_run, read_json


def trained_network(run: Run, labels: Sequence[str] | None = None) -> nn.Module:
    """The network that validation chose, in evaluation mode, on the processor.

    Args:
        run: A run.
        labels: Its labels, if they are known already.

    Raises:
        CheckpointError: The weights are missing, belong to another network, or are not those of the training's end.
    """
    network = build_for(run.recipe, labels or run.labels, findings=bool(run.findings), encoder=encoder_of(run))
    load_weights(network, run.best)
    if run.finished and weights_sha256(network) != run.environment.weights_sha256:
        msg = f"{run.best}: not the weights of the finished training. Use another copy of the run."
        raise CheckpointError(msg, code="other-weights", path=run.best)
    return network.eval()


class TrainedNetwork(nn.Module):
    """A run's network as a plain module, for those who take it elsewhere.

    Args:
        run: A finished run.

    Attributes:
        labels: K names, in the order of the outputs.
        size: Side of the input, in pixels.

    Raises:
        CheckpointError: The weights are missing, belong to another network, or are not those of the training's end.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.labels = run.labels
        self.size = run.preprocessing.size
        self._preprocessing = run.preprocessing
        self.network = WithFeatures(trained_network(run)).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Log-probabilities of shape (B, K), of images of shape (B, 1, size, size) between 0 and 1.

        Those of an ensemble of several preprocessings are (B, V, size, size), as its `Run.preprocessing` makes them.
        Of findings, (B, F, 2): absent and present.
        """
        answer: Tensor = self.network(to_network_range(images, self._preprocessing))[0]
        return answer.log_softmax(dim=-1)

    def features(self, images: Tensor) -> Tensor:
        """The last features, of shape (B, D), of images of shape (B, 1, size, size) between 0 and 1."""
        found: Tensor = self.network(to_network_range(images, self._preprocessing))[1]
        return found


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
        Of shape (N, K), in the order of `images`; of findings, that each is present.

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
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = WithFeatures(trained_network(run, labels).to(device)).eval()
    batches = Batches(images, np.zeros(len(images.table), np.int64), run.recipe.training.eval_batch_size)
    count, done = len(images.table), 0
    probabilities = np.empty((count, len(labels)))
    features = np.empty((0, 0), np.float32)
    with torch.inference_mode(), kept_features(network), progress.task("Predicting", count) as advance:
        for pixels, _ in batches:
            floats = to_network_range(pixels.to(device).float() / 255, run.preprocessing)
            answers, described = network(floats.contiguous(memory_format=torch.channels_last))
            here = slice(done, done + len(pixels))
            stated = answers.double().softmax(dim=-1)
            probabilities[here] = (stated[..., 1] if run.findings else stated).cpu().numpy()
            if describe:
                if not done:
                    features = np.empty((count, described.shape[1]), np.float32)
                features[here] = described.cpu().numpy()
            done += len(pixels)
            advance(len(pixels))
    unfit = ~are_probabilities(probabilities, exclusive=not run.findings)
    if unfit.any():
        msg = (
            f"{images.table.rows[int(unfit.argmax())].path}: the network of {run.path} outputs values that are not "
            f"numbers ({unfit.sum()} of {len(probabilities)} images). It cannot be evaluated: train again."
        )
        raise CheckpointError(msg, code="not-a-number")
    return probabilities, features


CROSSVAL = "crossval.json"
BETTER = (
    "A single run scores only images outside its training. A cross-validation (hilum crossval) scores every image: "
    "give its folder to --run."
)


def opinion_of(folder: Path, progress: Progress | None = None) -> Callable[[Dataset], OutOfSample]:
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
        msg = f"{folder}: this cross-validation is not finished. Continue with hilum crossval --resume."
        raise RunError(msg)
    run = open_run(folder)
    if not run.finished:
        msg = f"{folder}: the training is not finished. Continue with: hilum train DATA --out {folder} --resume"
        raise RunError(msg)
    return lambda table: _of_run(run, table, progress)


def _of_run(run: Run, table: Dataset, progress: Progress) -> OutOfSample:
    """Judge whatever the run was not trained on, by content; patients that it was trained on are passed over, too."""
    trained = [row for row in run.rows if row.split == "train"]
    contents = {row.sha256 for row in trained}
    patients = {row.patient_id for row in trained if row.patient_id}
    unseen = [
        i
        for i, row in enumerate(table.rows)
        if row.sha256 not in contents and row.patient_id not in patients and (run.findings or row.label in run.labels)
    ]
    if not unseen:
        msg = (
            f"{run.path}: was trained on every image of {table.root} with one of its labels, so it has no unseen "
            "image. Give the folder of a cross-validation (hilum crossval), or other data."
        )
        raise RunError(msg)
    images = open_images(replace(table, notes=()), run.preprocessing, progress=progress)
    place = {row.path: i for i, row in enumerate(images.table.rows)}
    unseen = [i for i in unseen if table.rows[i].path in place]
    chosen = images.select(place[table.rows[i].path] for i in unseen)
    probabilities = predict(run, chosen, run.labels, progress=progress)
    how = "which was not trained on them"
    return OutOfSample(run.labels, np.array(unseen, np.int64), probabilities, str(run.path), how, BETTER)


def _of_folds(folder: Path, table: Dataset) -> OutOfSample:
    """What the fold that had not seen an image said of it, by content: files may have moved or got other labels."""
    several = read_json(folder / CROSSVAL).get("task") == "findings"
    labels, stated = _of_all_folds(folder) if several else _of_labels(folder)
    content = {row.path: row.sha256 for row in open_run(folder / "fold-1").rows}
    row_of = {content.get(path, ""): number for number, path in enumerate(stated.paths)}
    known = [
        (i, row_of[row.sha256])
        for i, row in enumerate(table.rows)
        if row.sha256 and row.sha256 in row_of and (several or row.label in labels)
    ]
    if not known:
        msg = (
            f"{folder}: no image of {table.root} is in this cross-validation. Give --run a cross-validation of "
            "these data."
        )
        raise RunError(msg)
    positions, rows = np.array(known, np.int64).T
    how = "each by the fold that was not trained on it"
    return OutOfSample(labels, positions, stated.probabilities[rows], str(folder), how)


def _of_labels(folder: Path) -> tuple[tuple[str, ...], Predictions]:
    predictions = read_predictions(folder / "predictions.csv")
    return predictions.labels, predictions


def _of_all_folds(folder: Path) -> tuple[tuple[str, ...], FindingsPredictions]:
    """The findings that every fold learnt; of others, some images have no probability."""
    predictions = read_findings_predictions(folder / "predictions.csv")
    learnt = [set(open_run(fold).findings) for fold in sorted(folder.glob("fold-*"))]
    names = [name for name in predictions.findings if all(name in of for of in learnt)]
    return tuple(names), predictions.of_findings(names)

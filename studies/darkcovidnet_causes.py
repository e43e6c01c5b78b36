"""What a result on darkcovidnet owes to pretraining, image size, layers, folds by patient, and file format.

    python studies/darkcovidnet_causes.py DATA

One change at a time to ``hilum crossval DATA --encoder efficientnet-lite0``: the same regression on frozen features,
its penalty chosen within each training part, and but for the second row the same five folds; every image is tested
once. What chose is the loss within training: the log loss of images that were left out there. In the last row, format,
mode and size of the published file decide by themselves which images are of COVID-19.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from hilum.auditing.near_duplicates.groups import find_groups
from hilum.data.cache import Images, open_images
from hilum.data.dataset import Dataset
from hilum.data.preprocessing import Preprocessing
from hilum.data.readers.read import read_table
from hilum.data.splits import independent_groups
from hilum.evaluation.folds import assign_folds
from hilum.models.efficientnet_lite import NECK, EfficientNetLite0, imagenet_weights
from hilum.progress import Progress
from hilum.stats.intervals import Patients, proportion
from hilum.training.penalised_regression import fit_regression
from hilum.training.plan import EncoderChoice, TrainingPlan

FOLDS, AT_ONCE, NAMES = 5, 16, ("normal", "covid", "non-covid")
PLAN = TrainingPlan(class_weights="balanced", precision="float32")


def features(images: Images, *, pretrained: bool) -> NDArray[np.float32]:
    """Mean and maximum behind every block, shape (N, 6176)."""
    torch.manual_seed(0)
    network = EfficientNetLite0(1000).eval()
    if pretrained:
        network.load_state_dict(imagenet_weights())
    found = []
    with torch.inference_mode():
        for first in range(0, len(images.table), AT_ONCE):
            pixels = images.pixels[images.positions[first : first + AT_ONCE]]
            found.append(network.pooled_blocks(torch.from_numpy(pixels[:, None] / np.float32(127.5) - 1)).numpy())
    return np.concatenate(found)


def of_files(table: Dataset) -> NDArray[np.float32]:
    """What the published file tells without its pixels: format, mode, and the logarithms of width and height."""
    told = [[row.extra[f"original_{name}"] for name in ("format", "mode", "width", "height")] for row in table.rows]
    words = np.array([[one[0] == "PNG", one[1] == "L", one[1] == "RGB"] for one in told])
    return np.hstack([words, np.log([[float(one[2]), float(one[3])] for one in told])]).astype(np.float32)


def tested(
    given: NDArray[np.float32], truth: NDArray[np.int64], groups: NDArray[np.int64], fold: NDArray[np.int64]
) -> tuple[NDArray[np.float32], float]:
    """Scores of the regression that has not seen an image's fold, shape (N, 3), and the loss within training."""
    scores, losses = np.zeros((len(truth), len(NAMES)), np.float32), []
    for number in range(FOLDS):
        train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        head = fit_regression(given[train], truth[train], groups[train], NAMES, PLAN, EncoderChoice(), Progress())
        scores[test] = given[test] @ head.weight.T + head.bias
        losses.append(min(one.loss for one in head.tried))
    return scores, float(np.mean(losses))


def main(data: Path) -> None:
    table = read_table(data)
    found: dict[int, NDArray[np.float32]] = {}
    images = {size: open_images(table, Preprocessing(size=size)) for size in (96, 224, 320)}
    table = images[320].table
    truth = np.array([NAMES.index(row.label) for row in table.rows])
    patients = Patients(table.patients())
    copies = find_groups(images[320], "near").numbers
    groups = np.array(independent_groups(table, copies))
    apart = assign_folds(table, FOLDS, duplicates=copies)
    mixed = np.empty(len(table), np.int64)
    for number, (_, test) in enumerate(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(truth, truth)):
        mixed[test] = number
    alone = np.arange(len(table))
    for size in images:
        found[size] = features(images[size], pretrained=True)
    untrained = features(images[320], pretrained=False)
    first = np.empty((0, len(NAMES)), np.float32)  # scores of the recipe
    for what, given, group, fold in (
        ("the recipe: ImageNet, 320 pixels, every block", found[320], groups, apart),
        ("folds by image", found[320], alone, mixed),
        ("224 pixels", found[224], groups, apart),
        ("96 pixels", found[96], groups, apart),
        ("the last layer alone", found[320][:, -2 * NECK :], groups, apart),
        ("weights at random", untrained, groups, apart),
    ):
        scores, loss = tested(given, truth, group, fold)
        first = scores if given is found[320] and group is groups else first
        say(what, scores.argmax(axis=1), truth, patients, loss)
    by_file, loss = tested(of_files(table), truth, groups, apart)
    covid = NAMES.index("covid")
    said = np.where(by_file.argmax(axis=1) == covid, covid, np.delete(first, covid, axis=1).argmax(axis=1) * 2)
    say("covid by the published file alone", said, truth, patients, loss)


def say(what: str, said: NDArray[np.int64], truth: NDArray[np.int64], patients: Patients, loss: float) -> None:
    share = proportion(said == truth, np.ones(len(truth), bool), patients)
    stated = f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%}); loss within training {loss:.3f}"
    print(f"{what}: {stated}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""A model file abstains on what the evaluation of its run abstained on."""

import csv

import numpy as np
import pytest

from hilum.data.readers.read import read_table
from hilum.evaluation.cohort import run_images
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.ood_reference import MOST_BYTES, compare_by
from hilum.exporting.export import export
from hilum.progress import Progress
from hilum.serving.predictor import Predictor
from hilum.training.recipe import load_recipe
from hilum.training.train import train

pytestmark = pytest.mark.usefixtures("small_evaluation")


@pytest.mark.slow
@pytest.mark.parametrize("hierarchy", ["flat", "cascade"])
def test_it_judges_images_as_the_evaluation_of_the_run_does(write_dataset, tiny, tmp_path, hierarchy):
    data = write_dataset(patients=160, images=1, side=32)
    recipe = load_recipe("compact", [*tiny, f"architecture={hierarchy}", "epochs=2", "early_size=0"])
    run = train(read_table(data), tmp_path / "run", recipe)
    evaluate(run, out=tmp_path / "test")
    with (tmp_path / "test" / "decisions.csv").open() as file:
        rows = list(csv.DictReader(file))
    predictor = Predictor(export(run, tmp_path / "model.onnx"))
    answers = list(predictor.predict_many(data / row["path"] for row in rows))
    step = 2 / (len(predictor.in_distribution.layout_distances) + 1)  # by which one distance's rounding moves a p-value
    told = np.array([float(row["p_in_distribution"]) for row in rows])
    carried = np.array([answer.p_in_distribution for answer in answers])
    assert np.ptp(told) > 0.3
    assert np.abs(carried - told).max() <= step + 1e-6
    assert (np.abs(carried - told) < 1e-6).mean() > 0.9
    same = [answer.decision == row["decision"] for answer, row in zip(answers, rows, strict=True)]
    assert np.mean(same) > 0.95


@pytest.mark.slow
def test_the_reference_of_many_features_has_fewer_images(write_dataset, tiny, tmp_path):
    """Every image gets a feature vector of its own, of a million numbers or of a hundred."""
    data = read_table(write_dataset(patients=160, images=1, side=32))
    run = train(data, tmp_path / "run", load_recipe("compact", [*tiny, "epochs=1"]))
    images, _ = run_images(run, Progress())
    number = {row.path: i for i, row in enumerate(images.table.rows)}

    def described(width):
        def describe(chosen):
            found = np.zeros((len(chosen.table), width), np.float32)
            found[range(len(found)), [number[row.path] % width for row in chosen.table.rows]] = 1
            return found

        return describe

    few, many = (compare_by(run, images, described(width)).reference.features for width in (100, 2**17))
    assert len(few) == sum(row.split == "train" for row in images.table.rows)
    assert many.shape == (16, 2**17)
    assert many.nbytes == MOST_BYTES == 4 * 2**20

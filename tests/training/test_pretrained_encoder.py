"""The planted gain: an encoder that has seen other phantoms helps 50 patients, and its weights shuffled do not."""

import warnings
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from hilum.data.readers.read import read_table
from hilum.evaluation.cohort import run_images
from hilum.evaluation.inference import predict, trained_network
from hilum.phantoms.generate import write_phantoms
from hilum.progress import Progress
from hilum.training.recipe import load_recipe
from hilum.training.train import train
from sizes import sized

SIZE, PATIENTS = 64, 50
SEEDS, HELPED = sized((3, 3), (20, 18))
OURS = [f"size={SIZE}", "equalise=true", "positive_label=none"]


class Maps(torch.nn.Module):
    """The last feature maps of a trained network."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network.features(images)


def write_encoder(run, file):
    sample = torch.zeros(2, 1, SIZE, SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch about its own innards
        program = torch.onnx.export(
            Maps(trained_network(run)).eval(),
            (sample,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    program.save(file)
    file.with_suffix(".toml").write_text('licence = "made up"\n[input]\nrange = [-1.0, 1.0]\nequalise = true\n')
    return file


def shuffled(file, to):
    """The same numbers in each tensor of weights, in another order."""
    model, generator = onnx.load(file), np.random.default_rng(0)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size > 1:
            tensor.CopyFrom(
                numpy_helper.from_array(generator.permutation(values.ravel()).reshape(values.shape), tensor.name)
            )
    onnx.save(model, to)
    to.with_suffix(".toml").write_text(file.with_suffix(".toml").read_text())
    return to


def accuracies(run):
    images, _ = run_images(run, Progress())
    tested = images.select(i for i, row in enumerate(images.table.rows) if row.split == "test")
    said = predict(run, tested, run.labels).argmax(axis=1)
    truth = [run.labels.index(row.label) for row in tested.table.rows]
    return float(np.mean([np.mean(said[np.array(truth) == one] == one) for one in set(truth)]))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_encoder_of_other_phantoms_helps_fifty_patients(tmp_path, record_property):
    write_phantoms(tmp_path / "others", patients=sized(350, 700), seed=101, size=96, masks=False)
    write_phantoms(tmp_path / "ours", patients=sized(300, 600), seed=202, size=96, masks=False, test_fraction=0.5)
    before = train(tmp_path / "others", tmp_path / "before", load_recipe("phantoms", OURS), check=False)
    encoder = write_encoder(before, tmp_path / "encoder.onnx")
    scrambled = shuffled(encoder, tmp_path / "shuffled.onnx")
    table = read_table(tmp_path / "ours")
    pool = sorted({row.patient_id for row in table.rows if row.split == "train"})
    head = ["positive_label=none", 'splits.calibration="none"']  # `val` is left unused: both learn from 50 patients
    recipes = {
        "fresh": load_recipe("phantoms", [*OURS, 'splits.calibration="none"', "batch_size=16"]),
        "pretrained": load_recipe("encoder", [f"encoder={encoder}", *head]),
        "shuffled": load_recipe("encoder", [f"encoder={scrambled}", *head]),
    }
    found = {name: [] for name in recipes}
    for seed in range(SEEDS):
        drawn = list(np.random.default_rng(seed).permutation(pool))
        split = dict.fromkeys(drawn[:PATIENTS], "train") | dict.fromkeys(drawn[PATIENTS : PATIENTS + 20], "val")
        kept = [
            replace(row, split=split.get(row.patient_id, row.split))
            for row in table.rows
            if row.split == "test" or row.patient_id in split
        ]
        few = replace(table, rows=kept)
        for name, recipe in recipes.items():
            out = tmp_path / f"{name}-{seed}"
            found[name].append(accuracies(train(few, out, recipe, check=False)))
    means = {name: float(np.mean(values)) for name, values in found.items()}
    better = sum(bool(a > b) for a, b in zip(found["pretrained"], found["fresh"], strict=True))
    by_chance = sum(bool(a > b) for a, b in zip(found["shuffled"], found["fresh"], strict=True))
    record_property("seeds in which it is better than random weights", better)
    record_property("the same of the shuffled one", by_chance)
    record_property("mean balanced accuracy", means)
    assert better >= HELPED, (means, better, by_chance)
    assert by_chance <= SEEDS // 4, (means, better, by_chance)
    assert means["pretrained"] > means["shuffled"] + 0.05

"""Encoder and head in one model file: the same as the two steps, an ordinary file, and its conventions."""

import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from hilum.errors import UsageError
from hilum.evaluation.cohort import run_images
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.inference import predict, trained_network
from hilum.evaluation.temperature import KeptCalibration
from hilum.exporting.export import Words, export
from hilum.files import save_json
from hilum.models.stages import final_layer
from hilum.progress import Progress
from hilum.serving.explain import explain
from hilum.serving.predictor import Predictor
from hilum.training.recipe import load_recipe
from hilum.training.train import train
from made_architectures import DaViT, DenseMaps, ViT, stated
from made_encoders import STATED, grey_of, write_maps
from training_runs import FINDINGS, write_findings, write_squares

pytestmark = [
    pytest.mark.usefixtures("small_evaluation"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of MONAI
]


def export_torch(made, file, channels, size, heading):
    """Export it as the page does, with the description that the page shows."""
    torch.manual_seed(0)
    module = made()
    file.parent.mkdir(parents=True, exist_ok=True)
    batch = torch.export.Dim("batch")
    sample = torch.zeros(2, channels, size, size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch about its own innards
        program = torch.onnx.export(
            module.eval(), (sample,), dynamo=True, dynamic_shapes=({0: batch},), input_names=["images"],
            output_names=["features"], verbose=False,
        )  # fmt: skip
    program.save(file)
    file.with_suffix(".toml").write_text(stated(heading))
    return file


KINDS = {
    "maps": lambda file: write_maps(file, width=12),
    "mean of maps": lambda file: write_maps(file, width=12, text=STATED + '[output]\npooling = ["mean"]\n'),
    "channels last": lambda file: write_maps(file, width=12, layout="NHWC", channels=1),
    "RAD-DINO": lambda file: export_torch(lambda: ViT(42, 14, eva=False), file, 3, 42, "RAD-DINO"),
    "EVA-X": lambda file: export_torch(lambda: ViT(48, 16, eva=True), file, 3, 48, "EVA-X"),
    "MedImageInsight": lambda file: export_torch(DaViT, file, 3, 48, "MedImageInsight"),
    "torchxrayvision": lambda file: export_torch(DenseMaps, file, 1, 64, "DenseNet of torchxrayvision"),
}


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    return write_squares(tmp_path_factory.mktemp("squares") / "data", patients=20)


@pytest.fixture(scope="module")
def exported(squares, tmp_path_factory):
    made = {}

    def once(kind):
        if kind not in made:
            folder = tmp_path_factory.mktemp("kind")
            encoder = KINDS[kind](folder / "secret-place" / "encoder.onnx")
            recipe = load_recipe("encoder", [f"encoder={encoder}", "min_val_patients=5", "penalty=10"])
            run = train(squares, folder / "run", recipe, check=False)
            made[kind] = run, encoder, export(run, folder / "model.onnx", Words("made up"))
        return made[kind]

    return once


def two_steps(run, encoder, pixels):
    """The encoder by itself in ONNX Runtime on what its description says, pooled here, and the head in NumPy."""
    choice = run.recipe.encoder
    session = onnxruntime.InferenceSession(encoder, providers=["CPUExecutionProvider"])
    found = session.run([choice.output], {session.get_inputs()[0].name: grey_of(pixels, choice.input)})[0]
    if choice.input.layout == "NHWC":
        found = found.transpose(0, 3, 1, 2)
    if found.ndim == 4:
        parts = {"mean": found.mean(axis=(2, 3)), "max": found.max(axis=(2, 3))}
    elif found.ndim == 3:
        parts = {"cls": found[:, 0], "mean": found[:, 1:].mean(axis=1)}
    else:
        parts = {"embedding": found}
    head = final_layer(trained_network(run))
    scores = np.concatenate([parts[how] for how in choice.pooling], axis=1) @ head.weight.detach().numpy().T
    scores = np.exp(scores + head.bias.detach().numpy())
    return scores / scores.sum(axis=1, keepdims=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_one_file_equals_the_two_steps(exported, kind):
    run, encoder, model_file = exported(kind)
    size = run.recipe.preprocessing.size
    pixels = np.random.default_rng(5).integers(0, 256, (9, size, size), np.uint8)
    session = onnxruntime.InferenceSession(model_file.model, providers=["CPUExecutionProvider"])
    together = session.run(["probabilities"], {"images": pixels})[0]
    assert model_file.facts["calibration"]["temperatures"] is None or len(run.labels) == 3
    heat = (model_file.facts["calibration"]["temperatures"] or {"": 1.0})[""]
    apart = two_steps(run, encoder, pixels) ** (1 / heat)
    assert np.abs(together - apart / apart.sum(axis=1, keepdims=True)).max() < 1e-5


@pytest.mark.ci
def test_the_file_says_whose_the_encoder_is_and_not_where_it_lay(exported):
    run, _, model_file = exported("torchxrayvision")
    told = model_file.facts["provenance"]["recipe"]["encoder"]
    assert (told["file"], told["licence"], told["sha256"]) == (
        "encoder.onnx",
        "Apache-2.0",
        run.recipe.encoder.sha256,
    )
    assert "Apache-2.0" in model_file.facts["card"]
    assert told["sha256"] in model_file.facts["card"]
    assert b"secret-place" not in model_file.model


@pytest.mark.ci
def test_the_graph_is_one_of_onnx_alone(exported):
    _, _, model_file = exported("EVA-X")
    model = onnx.load_from_string(model_file.model)
    onnx.checker.check_model(model, full_check=True)
    assert {one.domain for one in model.opset_import} <= {"", "ai.onnx"}


@pytest.mark.ci
def test_maps_explain_exactly_where_the_mean_is_the_only_pooling(exported, squares):
    image = next((squares / "test" / "infected" / "covid").iterdir())
    _, _, averaged = exported("mean of maps")
    assert explain(Predictor(averaged.model), image).method == "activation"
    _, _, tokens = exported("EVA-X")
    found = explain(Predictor(tokens.model), image)
    assert found.method == "occlusion"
    assert np.isfinite(found.heatmaps[0].values).all()


@pytest.mark.ci
def test_evaluation_and_model_file_agree(exported, squares):
    run, _, model_file = exported("maps")
    predictions = evaluate(run).predictions
    answers = Predictor(model_file.model).predict_many(squares / path for path in predictions.paths)
    stated = np.array([[answer.probabilities[label] for label in run.labels] for answer in answers])
    raw = predictions.probabilities
    assert (stated.argmax(axis=1) == raw.argmax(axis=1)).all()


@pytest.mark.slow
def test_a_head_of_several_findings_in_one_file(tmp_path):
    data = write_findings(tmp_path / "data", patients=60)
    encoder = write_maps(tmp_path / "encoder.onnx", width=24)
    run = train(
        data, tmp_path / "run", load_recipe("encoder", [f"encoder={encoder}", "min_val_patients=5"]), check=False
    )
    kept = KeptCalibration(
        scheme=2, temperatures=dict.fromkeys(FINDINGS, 1.0), weights_sha256=run.environment.weights_sha256
    )
    save_json(run.path / "calibration.json", kept.as_json())
    model_file = export(run, tmp_path / "model.onnx", Words("made up"))
    images, _ = run_images(run, Progress())
    files = [tmp_path / "data" / row.path for row in images.table.rows]
    answers = Predictor(model_file.model).predict_many(files)
    stated = np.array([[answer.probabilities[name] for name in FINDINGS] for answer in answers])
    assert np.abs(stated - predict(run, images, run.findings)).max() < 1e-5


def test_eight_bits_are_refused(exported, tmp_path, refuses):
    run, _, _ = exported("maps")
    with refuses(UsageError, "int8-of-encoder"):
        export(run, tmp_path / "model.onnx", int8=True)

"""An ONNX file of one's own, described by a TOML file: asked as its description says, and refused where it is wrong."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from hilum.data.readers.read import read_table
from hilum.errors import ModelFileError, SplitError
from hilum.evaluation.external_description import read_model
from hilum.evaluation.external_model import predict_by, predict_external

pytestmark = pytest.mark.usefixtures("small_evaluation")

WEIGHTS = np.array([[-3.0], [0.5], [2.0]], np.float32)  # of the mean grey, for each label
BIAS = np.array([1.0, 0.2, -0.6], np.float32)
TEXT = """
model = "net.onnx"
labels = ["normal", "infected/covid", "infected/non-covid"]
[input]
size = 32
channels = {channels}
range = [-1.0, 1.0]
mean = [0.1]
std = [0.5]
layout = "{layout}"
[output]
values = "{values}"
"""


def write_network(
    folder, *, channels=1, layout="NCHW", batch="N", last=None, kind=TensorProto.FLOAT, outputs=(0, 1, 2)
):
    """The mean over all pixels, through one linear layer, and what `last` names; of some of the outputs."""
    shape = [batch, channels, 32, 32] if layout == "NCHW" else [batch, 32, 32, channels]
    nodes = [
        helper.make_node("Cast", ["x"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["m"], keepdims=0),
        helper.make_node("Unsqueeze", ["m", "one"], ["column"]),
        helper.make_node("Gemm", ["column", "w", "b"], ["scores"], transB=1),
        helper.make_node(last or "Identity", ["scores"], ["y"]),
    ]
    constants = {"axes": np.array([1, 2, 3]), "one": np.array([1]), "w": WEIGHTS[[*outputs]], "b": BIAS[[*outputs]]}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, len(outputs)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / "net.onnx")


def describe(folder, *, channels=1, layout="NCHW", values="logits", change=None):
    text = TEXT.format(channels=channels, layout=layout, values=values)
    (folder / "net.toml").write_text(change(text) if change else text)
    return folder / "net.toml"


@pytest.fixture
def data(write_dataset):
    return write_dataset(splits=("train", "test"), patients=7)  # 42 of a split: more than one batch


def expected(table):
    """What the network has to say of each test image, computed from its pixels."""
    rows = []
    for row in table.rows:
        if row.split == "test":
            pixels = np.asarray(Image.open(table.file(row)).resize((32, 32), Image.Resampling.BOX), float)
            scores = WEIGHTS[:, 0] * ((pixels.mean() / 127.5 - 1 - 0.1) / 0.5) + BIAS
            rows.append(np.exp(scores) / np.exp(scores).sum())
    return np.array(rows)


@pytest.mark.parametrize(
    ("network", "described"),
    [
        ({}, {}),
        ({"channels": 3}, {"channels": 3}),
        ({"channels": 3, "layout": "NHWC"}, {"channels": 3, "layout": "NHWC"}),
        ({"batch": 4}, {}),
        ({"last": "LogSoftmax"}, {"values": "log-probabilities"}),
        ({"last": "Softmax"}, {"values": "probabilities"}),
        ({"kind": TensorProto.FLOAT16}, {}),
        ({"kind": TensorProto.DOUBLE}, {}),
    ],
)
def test_a_network_is_asked_as_its_description_says(tmp_path, data, network, described):
    write_network(tmp_path, **network)
    table = read_table(data)
    found = predict_external(read_model(describe(tmp_path, **described)), table)
    assert found.predictions.labels == ("normal", "infected/covid", "infected/non-covid")
    assert found.predictions.paths == tuple(row.path for row in table.rows if row.split == "test")
    np.testing.assert_allclose(found.predictions.probabilities, expected(table), atol=0.01)  # how images are reduced


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda text: text.replace('"net.onnx"', '"other.onnx"'), "no-network"),
        (lambda text: text.replace("size = 32", ""), "malformed-description"),
        (lambda text: text.replace("size", "side"), "malformed-description"),
        (lambda text: text.replace("[0.1]", "[0.1, 0.2]"), "malformed-description"),
        (lambda text: text.replace("[0.5]", "[0]"), "malformed-description"),
        (lambda text: text.replace("[-1.0, 1.0]", "[1, 1]"), "malformed-description"),
        (lambda text: text.replace("net.onnx", ""), "malformed-description"),
        (lambda text: text.replace('"logits"', '"sigmoid"'), "malformed-description"),
        (lambda text: text + "\n[", "malformed-description"),
        (lambda text: text.replace("size = 32", "size = 64"), "cannot-run"),
        (lambda text: text.replace(', "infected/non-covid"', ""), "wrong-outputs"),
        (lambda text: text.replace("[output]", '[output]\nname = "z"'), "no-output"),
        (lambda text: text.replace('"logits"', '"probabilities"'), "no-probabilities"),
    ],
)
def test_what_is_described_wrongly_is_refused(tmp_path, data, change, code):
    write_network(tmp_path)
    with pytest.raises((ModelFileError, SplitError)) as caught:
        predict_external(
            read_model(describe(tmp_path, change=change)), read_table(data), mapping={"infected/non-covid": ""}
        )
    assert caught.value.code == code


BYTES = """
model = "net.onnx"
labels = ["normal", "infected/covid", "infected/non-covid"]
input = {size = 32, range = [0, 255]}
"""


@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.INT64, TensorProto.FLOAT16])
def test_an_input_of_whole_numbers_takes_bytes(tmp_path, data, kind):
    table = read_table(data)
    answers = []
    for taken in (TensorProto.FLOAT, kind):
        write_network(tmp_path, kind=taken)
        (tmp_path / "net.toml").write_text(BYTES)
        answers.append(predict_external(read_model(tmp_path / "net.toml"), table).predictions.probabilities)
    np.testing.assert_allclose(*answers, atol=1e-6)


@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.STRING, TensorProto.BOOL])
def test_an_input_that_cannot_hold_the_values_is_refused(tmp_path, data, refuses, kind):
    write_network(tmp_path, kind=kind)
    with refuses(ModelFileError, "wrong-input", tmp_path / "net.onnx"):
        predict_external(read_model(describe(tmp_path)), read_table(data))


TWO = ["normal", "infected/covid"]
OF_TWO = """
model = "net.onnx"
labels = ["normal", "infected/covid"]
{output}
[input]
size = 32
"""


@pytest.mark.parametrize(
    ("last", "output"),
    [("Sigmoid", 'output = "sigmoid"'), ("Sigmoid", 'output.values = "probabilities"'), (None, 'output = "logits"')],
)
def test_a_network_may_give_one_value_of_two_labels(tmp_path, data, last, output):
    write_network(tmp_path, outputs=[1], last=last)
    (tmp_path / "net.toml").write_text(OF_TWO.format(output=output))
    table = read_table(data)
    found = predict_external(read_model(tmp_path / "net.toml"), table, mapping={"infected/non-covid": ""}).predictions
    rows = [row for row in table.rows if row.split == "test" and row.label in TWO]
    means = [np.asarray(Image.open(table.file(row)), float).mean() / 255 for row in rows]
    expected = 1 / (1 + np.exp(-(WEIGHTS[1, 0] * np.array(means) + BIAS[1])))
    assert found.labels == ("normal", "infected/covid")
    np.testing.assert_allclose(found.probabilities[:, 1], expected, atol=0.01)


@pytest.mark.parametrize(
    ("network", "output", "code"),
    [
        ({"outputs": [1], "last": "Sigmoid"}, "", "unclear-output"),
        ({"outputs": [1]}, 'output = "sigmoid"', "no-probabilities"),
        ({"outputs": [0, 1]}, 'output = "sigmoid"', "wrong-outputs"),
        ({"outputs": [0, 1], "last": "Softmax"}, "", "no-logits"),
    ],
)
def test_values_that_are_something_else_are_refused(tmp_path, data, refuses, network, output, code):
    write_network(tmp_path, **network)
    (tmp_path / "net.toml").write_text(OF_TWO.format(output=output).replace("size = 32", "size = 32\nrange = [0, 40]"))
    with refuses(ModelFileError, code, tmp_path / "net.onnx"):
        predict_external(read_model(tmp_path / "net.toml"), read_table(data), mapping={"infected/non-covid": ""})


def test_a_file_that_is_no_network_is_refused(tmp_path, data):
    (tmp_path / "net.onnx").write_bytes(b"no network")
    with pytest.raises(ModelFileError) as caught:
        predict_external(read_model(describe(tmp_path)), read_table(data))
    assert caught.value.code == "cannot-run"
    assert caught.value.path == tmp_path / "net.onnx"


@pytest.mark.parametrize(("name", "code"), [("adults", "missing"), ("adults.toml", "malformed-description")])
def test_a_model_that_is_not_there_is_refused_as_what_it_is_called(tmp_path, data, monkeypatch, refuses, name, code):
    monkeypatch.chdir(tmp_path)
    with refuses(ModelFileError, code):
        predict_by(Path(name), read_table(data))


@pytest.mark.slow
def test_a_model_file_is_evaluated_on_other_data(run_of, squares, tmp_path, hilum):
    from hilum.evaluation.evaluate import evaluate
    from hilum.exporting.export import export

    run, folder = run_of("flat"), tmp_path / "folder"
    folder.mkdir()
    file = folder / "model.onnx"
    export(run, file)
    found = predict_by(file, read_table(squares))
    np.testing.assert_array_equal(
        predict_by(folder, read_table(squares)).predictions.probabilities, found.predictions.probabilities
    )
    same = evaluate(run).predictions
    assert found.predictions.paths == same.paths
    assert found.split == "test"
    np.testing.assert_allclose(found.predictions.probabilities, same.probabilities, atol=1e-4)
    hilum("evaluate", squares, "--model", file, "--out", tmp_path / "out", check=0)
    assert (tmp_path / "out" / "report.html").is_file()

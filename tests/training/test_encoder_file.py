"""What a frozen encoder's graph and description say of it, and encoders that cannot be used."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hilum.errors import ModelFileError, RecipeError
from hilum.training import encoder_file
from hilum.training.encoder_file import open_encoder
from hilum.training.encoder_head import settle_encoder
from hilum.training.plan import EncoderChoice
from hilum.training.recipe import load_recipe
from made_encoders import SIZE, STATED, write_maps, write_onnx


def opened(file, **choice):
    return open_encoder(EncoderChoice(file=str(file), **choice))


def write_flat(path, outputs, *, tokens=0, text=STATED, **changed):
    """An embedding of 5 numbers, the mean of each channel and two sums; or the same for each of some tokens."""
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["m"], keepdims=0),
        helper.make_node("MatMul", ["m", "w"], ["e"]),
    ]
    constants = {"axes": np.array([2, 3]), "w": np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)}
    if tokens:
        nodes += [
            helper.make_node("Unsqueeze", ["e", "one"], ["u"]),
            helper.make_node("Mul", ["u", "scales"], ["tokens"]),
        ]
        constants |= {"one": np.array([1]), "scales": np.arange(1, tokens + 1, dtype=np.float32).reshape(1, -1, 1)}
    shapes = {"e": ["batch", 5], "tokens": ["batch", tokens, 5], "m": ["batch", 3]}
    shown = {name: shapes[name] for name in outputs}
    return write_onnx(path, nodes, ["batch", 3, SIZE, SIZE], shown, constants, text=text, **changed)


def test_graph_and_description_together_say_what_it_takes(tmp_path):
    encoder, choice = opened(write_maps(tmp_path / "e.onnx"))
    assert choice.input.model_dump(exclude_unset=True) == {
        "size": SIZE,
        "channels": 3,
        "range": (0.0, 1.0),
        "mean": (0.5,),
        "std": (0.25,),
        "layout": "NCHW",
    }
    assert (encoder.shape.kind, encoder.shape.width, choice.pooling) == ("maps", 6, ["mean", "max"])
    assert (choice.licence, choice.output) == ("MIT", "maps")


def test_an_encoder_with_channels_last(tmp_path):
    encoder, choice = opened(write_maps(tmp_path / "e.onnx", layout="NHWC", channels=1))
    assert (choice.input.layout, choice.input.channels, choice.input.size) == ("NHWC", 1, SIZE)
    assert (encoder.shape.kind, encoder.shape.width, encoder.shape.height) == ("maps", 6, 4)


@pytest.mark.parametrize(
    ("tokens", "prefix", "pooling"),
    [(16, 0, ["mean", "max"]), (17, 1, ["cls", "mean"]), (21, 5, ["cls", "mean"])],
)
def test_tokens_are_told_from_class_token_and_registers(tmp_path, tokens, prefix, pooling):
    encoder, choice = opened(write_flat(tmp_path / "e.onnx", ["tokens"], tokens=tokens))
    assert (encoder.shape.kind, encoder.shape.prefix, choice.pooling) == ("tokens", prefix, pooling)


def test_a_folder_with_one_file_and_a_licence_by_option(tmp_path):
    write_maps(tmp_path / "e.onnx", text=STATED.replace('licence = "MIT"\n', ""))
    assert opened(tmp_path, licence="CC-BY-4.0")[1].licence == "CC-BY-4.0"


def test_weights_beside_the_file_make_another_encoder(tmp_path):
    found = []
    for seed in (0, 1):
        file = write_maps(tmp_path / str(seed) / "e.onnx", width=40, seed=seed)
        model = onnx.load(file)
        onnx.save(model, file, save_as_external_data=True, location="e.data", size_threshold=0)
        found.append(opened(file)[0])
    first, second = (one.run(np.ones((1, 3, SIZE, SIZE), np.float32)) for one in found)
    assert found[0].sha256 != found[1].sha256
    assert not np.allclose(first, second)


def test_old_operators_are_raised(tmp_path):
    old, new = (
        opened(write_maps(tmp_path / str(opset) / "e.onnx", opset=opset))[0].run(np.ones((2, 3, 32, 32), np.float32))
        for opset in (13, 18)
    )
    assert np.array_equal(old, new)


FREE = 'licence = "MIT"\n'
BAD = {
    "licence": ({"text": "[input]\nrange = [0.0, 1.0]\n"}, "no-licence"),
    "range": ({"text": FREE}, "unstated-input"),
    "dynamic-axes": ({"shape": ["batch", 3, "h", "w"]}, "unstated-input"),
    "dynamic-layout": ({"shape": ["batch", "a", "b", "c"]}, "unstated-input"),
    "contradiction": ({"text": STATED + "size = 64\n"}, "contradicting-input"),
    "other-layout": ({"text": STATED + 'layout = "NHWC"\n'}, "contradicting-input"),
    "not-square": ({"shape": ["batch", 3, 32, 48]}, "contradicting-input"),
    "unknown-key": ({"text": STATED + "colour = 1\n"}, "malformed-description"),
    "same-black-and-white": ({"text": FREE + "[input]\nrange = [1.0, 1.0]\n"}, "malformed-description"),
    "no-such-output": ({"text": STATED + '[output]\nname = "pooled"\n'}, "no-output"),
    "pooling": ({"text": STATED + '[output]\npooling = ["cls"]\n'}, "impossible-pooling"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_encoders(tmp_path, refuses, case):
    changed, code = BAD[case]
    with refuses(ModelFileError, code):
        opened(write_maps(tmp_path / "e.onnx", **changed))


def test_dynamic_axes_are_stated(tmp_path):
    file = write_maps(tmp_path / "e.onnx", shape=["batch", "a", "b", "c"], text=STATED + "size = 32\nchannels = 3\n")
    file.with_suffix(".toml").write_text(STATED + 'size = 32\nchannels = 3\nlayout = "NCHW"\n')
    assert opened(file)[1].input.size == SIZE


def test_several_outputs(tmp_path, refuses):
    file = write_flat(tmp_path / "e.onnx", ["e", "tokens"], tokens=17)
    with refuses(ModelFileError, "several-outputs"):
        opened(file)
    assert opened(file, output="e")[1].pooling == ["embedding"]


def test_a_text_encoder(tmp_path, refuses):
    nodes = [helper.make_node("Cast", ["input_ids"], ["y"], to=TensorProto.FLOAT)]
    file = write_onnx(
        tmp_path / "e.onnx", nodes, ["batch", 77], {"y": ["batch", 77]}, {}, kind=TensorProto.INT64, name="input_ids",
        text=STATED,
    )  # fmt: skip
    with refuses(ModelFileError, "text-encoder"):
        opened(file)


def test_an_encoder_larger_than_memory_or_than_a_model_file(tmp_path, refuses, monkeypatch):
    file = write_maps(tmp_path / "e.onnx")
    monkeypatch.setattr(encoder_file, "available_memory", lambda: 3 * file.stat().st_size - 1)
    with refuses(ModelFileError, "too-large"):
        opened(file)
    with file.open("r+b") as opened_file:  # no byte of it is read
        opened_file.truncate(5 * 2**30)
    with refuses(ModelFileError, "too-large"):
        opened(file)


def test_a_fixed_number_of_images(tmp_path, refuses):
    file = write_maps(tmp_path / "e.onnx")
    model = onnx.load(file)
    model.graph.node.append(helper.make_node("Reshape", ["maps", "shape"], ["fixed"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 6, 4, 4]), "shape"))
    model.graph.output[0].name = "fixed"
    onnx.save(model, file)
    with refuses(ModelFileError, "fixed-batch"):
        opened(file)


def test_a_graph_that_is_not_served(tmp_path, refuses):
    file = write_maps(tmp_path / "e.onnx")
    model = onnx.load(file)
    model.graph.node.append(helper.make_node("NonZero", ["maps"], ["where"]))
    onnx.save(model, file)
    with refuses(ModelFileError, "unservable"):
        opened(file)


@pytest.mark.parametrize("content", [b"", b"\x08\x09nothing", b"text\n"])
def test_files_that_are_no_model(tmp_path, content):
    (tmp_path / "e.onnx").write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        opened(tmp_path / "e.onnx", licence="MIT")
    assert caught.value.path == tmp_path / "e.onnx"


def test_no_encoder_of_that_name(tmp_path, refuses):
    with refuses(ModelFileError, "no-encoder"):
        opened(tmp_path / "resnet")
    with refuses(ModelFileError, "no-encoder"):
        opened(tmp_path)


def test_a_repository_of_the_hub_brings_its_description(tmp_path, monkeypatch):
    write_maps(tmp_path / "model.onnx")
    asked = []

    def fetch(name, file="model.onnx"):
        asked.append((name, file))
        return tmp_path / file

    monkeypatch.setattr(encoder_file, "fetch", fetch)
    assert opened("hf://owner/name")[1].licence == "MIT"
    assert asked == [("hf://owner/name", "model.onnx"), ("hf://owner/name", "model.toml")]


def test_another_file_than_the_recipe_says(tmp_path, refuses):
    with refuses(ModelFileError, "other-encoder"):
        opened(write_maps(tmp_path / "e.onnx"), sha256="0" * 64)


def test_the_recipe_takes_size_and_hash_of_the_encoder(tmp_path):
    recipe = settle_encoder(load_recipe("encoder", [f"encoder={write_maps(tmp_path / 'e.onnx')}"]))
    assert recipe.preprocessing.size == SIZE
    assert len(recipe.encoder.sha256) == 64
    assert settle_encoder(recipe) == recipe


IGNORED = {
    "augmentation": ["rotate=10"],
    "steps": ["lr=0.1", "epochs=3"],
    "cascade": ["hierarchy=cascade"],
    "members": ["ensemble_size=3"],
    "contrast": ["local_contrast=0.1"],
}


@pytest.mark.parametrize("case", IGNORED)
def test_what_an_encoder_would_ignore(tmp_path, refuses, case):
    file = write_maps(tmp_path / "e.onnx")
    with refuses(RecipeError, "not-of-an-encoder"):
        settle_encoder(load_recipe("encoder", [f"encoder={file}", *IGNORED[case]]))


def test_recipe_and_encoder_belong_together(tmp_path, refuses):
    with refuses(RecipeError, "no-encoder"):
        settle_encoder(load_recipe("encoder"))
    with refuses(RecipeError, "ignored-encoder"):
        settle_encoder(load_recipe("compact", [f"encoder={write_maps(tmp_path / 'e.onnx')}"]))
    with refuses(RecipeError, "fixed-size"):
        settle_encoder(load_recipe("encoder", [f"encoder={tmp_path / 'e.onnx'}", "size=96"]))

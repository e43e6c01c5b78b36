"""Small ONNX encoders with made-up weights, of the kinds of output and conventions of input that are published."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 32


def write_onnx(path, nodes, shape, outputs, constants, *, kind=TensorProto.FLOAT, opset=18, name="x", text=""):
    """An ONNX file of some nodes; `text` is the description beside it."""
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info(name, kind, shape)],
        [helper.make_tensor_value_info(key, TensorProto.FLOAT, value) for key, value in outputs.items()],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    if text:
        path.with_suffix(".toml").write_text(text)
    return path


STATED = 'licence = "MIT"\n[input]\nrange = [0.0, 1.0]\nmean = [0.5]\nstd = [0.25]\n'


def write_maps(path, *, channels=3, width=6, layout="NCHW", shape=None, seed=0, text=STATED, **changed):
    """One convolution of stride 8 and a ReLU: maps (B, width, 4, 4), or with the channels last."""
    weights = np.random.default_rng(seed).normal(0, 0.3, (width, channels, 8, 8)).astype(np.float32)
    usual = ["batch", channels, SIZE, SIZE] if layout == "NCHW" else ["batch", SIZE, SIZE, channels]
    last = layout == "NHWC"
    nodes = [helper.make_node("Transpose", ["x"], ["first"], perm=[0, 3, 1, 2])] if last else []
    nodes += [
        helper.make_node("Conv", ["first" if last else "x", "w"], ["c"], strides=[8, 8]),
        helper.make_node("Relu", ["c"], ["r" if last else "maps"]),
    ]
    nodes += [helper.make_node("Transpose", ["r"], ["maps"], perm=[0, 2, 3, 1])] if last else []
    given = ["batch", 4, 4, width] if last else ["batch", width, 4, 4]
    return write_onnx(path, nodes, shape or usual, {"maps": given}, {"w": weights}, text=text, **changed)


def grey_of(pixels, taken):
    """What an encoder is shown of bytes (B, S, S), by the words of its description alone."""
    values = taken.range[0] + (taken.range[1] - taken.range[0]) * (pixels[:, None] / 255.0)
    values = (np.repeat(values, taken.channels, 1) - np.reshape(taken.mean, (1, -1, 1, 1))) / np.reshape(
        taken.std, (1, -1, 1, 1)
    )
    return (values if taken.layout == "NCHW" else values.transpose(0, 2, 3, 1)).astype(np.float32)

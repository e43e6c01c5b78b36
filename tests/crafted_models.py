"""Model files whose checksum is right, made to do harm; from the review's ``craft.py``."""

from __future__ import annotations

import copy
import hashlib
import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from hilum.data.images import SCHEME
from hilum.serving.model_file import FORMAT
from hilum.serving.onnx_file import HASH, METADATA

SIDE = 32
FACTS = {
    "format": FORMAT,
    "hilum": "0",
    "name": "crafted",
    "labels": ["normal", "bad"],
    "label_name": {},
    "positive_label": "bad",
    "healthy": ["normal"],
    "hierarchy": "flat",
    "tree": [],
    "preprocessing": {"scheme": SCHEME, "size": SIDE, "fit": "stretch", "equalise": False},
    "input": {"name": "images", "type": "uint8", "shape": ["batch", SIDE, SIDE]},
    "maps": [],
    "certificate": None,
    "operating_point": None,
    "abstention": None,
}
POINT = {"group": "bad", "members": ["bad"], "threshold": 0.1}


def facts(**changes):
    return {**copy.deepcopy(FACTS), **changes}


def metadata_entry(key, value):
    """One entry of ``metadata_props`` as protobuf writes it; its value may be bytes that are no text."""

    def field(number, content):
        length, left = b"", len(content)
        while left >= 128:
            length, left = length + bytes([left % 128 + 128]), left // 128
        return bytes([number << 3 | 2]) + length + bytes([left]) + content

    return field(14, field(1, key.encode()) + field(2, value))


def assembled(about, model):
    """A file with a right checksum, whatever is in it; metadata as a mapping or as bytes."""
    text = about if isinstance(about, bytes) else json.dumps(about).encode()
    body = metadata_entry(METADATA, text) + (model if isinstance(model, bytes) else model.SerializeToString())
    return body + metadata_entry(HASH, hashlib.sha256(body).hexdigest().encode())


def constant(name, values):
    return numpy_helper.from_array(np.asarray(values), name)


def network(nodes=(), tensors=(), row=(0.3, 0.7), outputs=None):
    """A graph whose probabilities are `row` for every image, or what `nodes` make of ``p``."""
    nodes = list(nodes) or [helper.make_node("Identity", ["p"], ["probabilities"])]
    before = [
        helper.make_node("Cast", ["images"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f", "axes"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["column"]),
        helper.make_node("Mul", ["column", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "row"], ["p"]),
    ]
    given = [
        constant("axes", np.array([1, 2])),
        constant("last", np.array([1])),
        constant("zero", np.zeros((1, 1), np.float32)),
        constant("row", np.array([row], np.float32)),
    ]
    kinds = outputs or [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["b", "k"])]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIDE, SIDE])
    graph = helper.make_graph([*before, *nodes], "g", [images], kinds, [*given, *tensors])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def loop():
    """2^62 steps."""
    of_loop = [("i", TensorProto.INT64, []), ("c", TensorProto.BOOL, []), ("v", TensorProto.FLOAT, ["b", 2])]
    made = [("d", TensorProto.BOOL, []), ("w", TensorProto.FLOAT, ["b", 2])]
    steps = [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Identity", ["v"], ["w"])]
    kinds = [[helper.make_tensor_value_info(*item) for item in items] for items in (of_loop, made)]
    node = helper.make_node("Loop", ["n", "go", "p"], ["probabilities"], body=helper.make_graph(steps, "b", *kinds))
    return network([node], [constant("n", np.int64(2**62)), constant("go", np.bool_(True))])


def by_batch():
    """``s``: ``n`` times the number of images."""
    return [helper.make_node("Shape", ["f"], ["s0"], end=1), helper.make_node("Mul", ["s0", "n"], ["s"])]


def enormous(count, *, folded):
    """A tensor of `count` numbers, made while the graph is opened or for each image."""
    shape = (
        [] if folded else [helper.make_node("Shape", ["f"], ["s0"], end=1), helper.make_node("Mul", ["s0", "n"], ["s"])]
    )
    nodes = [
        *shape,
        helper.make_node("ConstantOfShape", ["n" if folded else "s"], ["z"]),
        helper.make_node("ReduceMax", ["z"], ["most"], keepdims=0),
        helper.make_node("Add", ["p", "most"], ["probabilities"]),
    ]
    return network(nodes, [constant("n", np.array([count]))])


def slow(*, folded):
    """Matrices whose products take hours, in little memory."""
    nodes = [
        *([] if folded else by_batch()),
        helper.make_node("ConstantOfShape", ["n" if folded else "s"], ["m0"]),
        *(helper.make_node("MatMul", [f"m{k}", f"m{k}"], [f"m{k + 1}"]) for k in range(200)),
        helper.make_node("ReduceMax", ["m200"], ["most"], keepdims=0),
        helper.make_node("Add", ["p", "most"], ["probabilities"]),
    ]
    return network(nodes, [constant("n", np.array([4000, 4000]))])


def by_pixels():
    """A tensor whose size is what the pixels say: small for noise, enormous for one image."""
    nodes = [
        helper.make_node("Cast", ["column"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["whole", "flat"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["z"]),
        helper.make_node("ReduceMax", ["z"], ["most"], keepdims=0),
        helper.make_node("Add", ["p", "most"], ["probabilities"]),
    ]
    return network(nodes, [constant("flat", np.array([-1]))])


def elsewhere(place):
    """A tensor that is said to lie in another file."""
    model = network()
    (row,) = (tensor for tensor in model.graph.initializer if tensor.name == "row")
    row.ClearField("raw_data")
    row.data_location = TensorProto.EXTERNAL
    for key, value in (("location", place), ("offset", "0"), ("length", "8")):
        entry = row.external_data.add()
        entry.key, entry.value = key, value
    return model


def again():
    """Metadata of hilum in the model, too: which would be read?"""
    model = network()
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA, "{}"
    return model


def another_domain():
    model = network([helper.make_node("Gelu", ["p"], ["probabilities"], domain="com.microsoft")])
    model.opset_import.add().CopyFrom(onnx.helper.make_opsetid("com.microsoft", 1))
    return model


def with_function():
    model = network([helper.make_node("mine", ["p"], ["probabilities"], domain="own")])
    model.opset_import.add().CopyFrom(helper.make_opsetid("own", 1))
    body = [helper.make_node("Identity", ["x"], ["y"])]
    model.functions.append(helper.make_function("own", "mine", ["x"], ["y"], body, [helper.make_opsetid("", 18)]))
    return model


def renamed(old, new):
    """The graph with a name that protobuf's writers would refuse."""
    return network().SerializeToString().replace(old, new)


def rows(values, name="probabilities"):
    """An output of a fixed number of rows, whatever was asked."""
    return network([helper.make_node("Identity", ["r"], [name])], [constant("r", np.array(values, np.float32))])


GRAPHS = {
    "loop": loop,
    "terabyte when opened": lambda: enormous(10**12, folded=True),
    "terabyte for an image": lambda: enormous(10**12, folded=False),
    "eight gigabytes when opened": lambda: enormous(2 * 10**9, folded=True),
    "eight gigabytes for an image": lambda: enormous(2 * 10**9, folded=False),
    "size by pixels": by_pixels,
    "another file": lambda: elsewhere("/etc/passwd"),
    "a memory address": lambda: elsewhere("*/_ORT_MEM_ADDR_/*"),
    "a second entry": again,
    "another domain": another_domain,
    "a function": with_function,
    "random": lambda: network([helper.make_node("RandomNormalLike", ["p"], ["probabilities"])]),
    "fails at run time": lambda: network(
        [helper.make_node("Reshape", ["p", "s"], ["probabilities"])], [constant("s", np.array([7, 2]))]
    ),
    "more rows than images": lambda: rows([[0.3, 0.7]] * 5),
    "more columns than labels": lambda: network([helper.make_node("Concat", ["p", "p"], ["probabilities"], axis=1)]),
    "no rows": lambda: rows(np.zeros((0, 2))),
    "another type": lambda: network(
        [helper.make_node("Cast", ["p"], ["probabilities"], to=TensorProto.DOUBLE)],
        outputs=[helper.make_tensor_value_info("probabilities", TensorProto.DOUBLE, ["b", 2])],
    ),
    "a name that is no text": lambda: renamed(b"probabilities", b"probabilitie\xa3"),
    "no operators": lambda: b"",
    "garbage": lambda: b"\x08\x09garbage" * 100,
    "two graphs": lambda: network().SerializeToString() + network().SerializeToString(),
    "cut within": lambda: network().SerializeToString()[:-20],
}

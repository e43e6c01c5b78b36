"""The bytes of a model file: checksum, metadata, and what its graph may hold, checked before ONNX Runtime sees them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from hilum.errors import ModelFileError

METADATA, HASH = "hilum", "hilum_sha256"
# As protobuf writes them: fields of a length have their number, times 8, plus 2, then the length. metadata_props is
# field 14 of ModelProto (onnx.proto3); of each entry the key is field 1, and the value field 2.
ENTRY = b"\x72"
KEY = b"\x0a\x05hilum\x12"  # of the first entry; the length of its value follows
TRAILER = b"\x72\x50\x0a\x0chilum_sha256\x12\x40"  # before the 64 digits of the hash
LARGEST_METADATA = 64 * 2**20  # nearly all of it arrays as text
MOST_ITEMS = 10**6  # each takes a hundred bytes when read


def read_metadata(content: bytes, name: str) -> dict[str, Any]:
    """Check the hash and return the metadata.

    Args:
        content: The whole file.
        name: What messages call it.

    Raises:
        ModelFileError: It is no model file, was cut short, or was altered.
    """
    text = _first_entry(content)
    if text is None:
        msg = f"{name}: {_what_it_is(content)}. Create a model file with: hilum export RUN model.onnx"
        raise ModelFileError(msg, code="no-bundle")
    body, end = content[: -len(TRAILER) - 64], content[-len(TRAILER) - 64 :]
    if end[:-64] != TRAILER or len(text) > len(body):
        msg = f"{name}: a truncated model file (its end is missing). Copy it again, or export it again."
        raise ModelFileError(msg, code="cut")
    if hashlib.sha256(body).hexdigest().encode() != end[-64:]:
        msg = f"{name}: altered since export (its hash differs). Copy it again, or export it again."
        raise ModelFileError(msg, code="altered")
    try:
        if text.count(b",") > MOST_ITEMS:
            raise MemoryError
        found = json.loads(text.decode(), object_pairs_hook=_unique, parse_constant=_no_number)
    except (
        ValueError,
        RecursionError,
        MemoryError,
    ):  # written by something else than `hilum.exporting.graph.with_metadata`
        found = None
    if not isinstance(found, dict):
        msg = f"{name}: a model file whose metadata are not a JSON object. Export it again."
        raise ModelFileError(msg, code="malformed")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object none of whose keys comes twice: one reader would take the first value, another one the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        msg = "a key occurs twice"
        raise ValueError(msg)
    return found


def _no_number(constant: str) -> float:
    msg = f"{constant} is not JSON"
    raise ValueError(msg)


def _what_it_is(content: bytes) -> str:
    if not content:
        return "an empty file, not a model file"
    start = content[:512]
    if all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in start):
        return "a text file, not a model file"
    if content[:1] == b"\x08" or b"\x12\x07pytorch" in start or b"ir_version" in start:
        return "an ONNX model, but not a hilum model file (no metadata on labels and preprocessing)"
    return "not a hilum model file"


def _first_entry(content: bytes) -> bytes | None:
    """The value of the entry with which a model file begins, as far as it is there; None where none does."""
    if not content.startswith(ENTRY):
        return None
    _, at = _read_length(content, 1)
    if not content.startswith(KEY, at):
        return None
    length, at = _read_length(content, at + len(KEY))
    if length > LARGEST_METADATA:
        return None
    return bytes(content[at : at + length]).ljust(length)


def _read_length(content: bytes, at: int) -> tuple[int, int]:
    """A length of at most five bytes, and where it ends."""
    length = 0
    for shift, byte in enumerate(content[at : at + 5]):
        length |= (byte & 127) << 7 * shift
        if byte < 128:
            return length, at + shift + 1
    return LARGEST_METADATA + 1, at


MOST_FIELDS = 10**6  # of all messages: some seconds; networks have about ten thousand
NUMBER, BYTES = 0, 2  # wire types; 1 and 5 are 8 and 4 bytes
FIXED = {1: 8, 5: 4}
CONSTANT, SIZE, DATA = range(3)  # where a tensor comes from: the file, the batch's size, the images

# Fields that may occur. What is left out: functions (25), training (20), sparse tensors, graphs in attributes, external
# data and types of sequences. Unknown fields would be skipped by one reader and read by a newer one.
MODEL = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14})
GRAPH = frozenset({1, 2, 5, 10, 11, 12, 13, 14, 16})
NODE = frozenset({1, 2, 3, 4, 5, 6, 7, 9})
ATTRIBUTE = frozenset({1, 2, 3, 4, 5, 7, 8, 13, 20})
TENSOR = frozenset({1, 2, 4, 5, 7, 8, 9, 10, 11, 12, 14, 16})
DOMAINS = (b"", b"ai.onnx")

# Operators of networks, whose outputs have the shapes that those of their inputs and attributes give.
PLAIN = """
Abs Acos Add And ArgMax ArgMin Asin Atan AveragePool BatchNormalization Cast CastLike Ceil Celu Clip Concat Constant
Conv ConvInteger ConvTranspose Cos CumSum DepthToSpace DequantizeLinear Div DynamicQuantizeLinear Einsum Elu Equal Erf
Exp Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater
GreaterOrEqual GroupNormalization HardSigmoid HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN LRN
LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul MatMulInteger Max MaxPool
Mean MeanVarianceNormalization Min Mish Mod Mul Neg Not Or PRelu Pow QLinearConv QLinearMatMul QuantizeLinear
Reciprocal Relu Round ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Size Softmax Softplus Softsign
SpaceToDepth Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu Transpose Trilu Where Xor
""".split()  # noqa: SIM905 - a list would take a hundred lines
# Of these the values of some inputs, by position, decide the shape: they may not come from the images.
REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
SHAPED: Mapping[str, Sequence[int]] = {
    **dict.fromkeys(PLAIN, ()),
    **dict.fromkeys((f"Reduce{name}" for name in REDUCTIONS), (1,)),
    **dict.fromkeys(("ConstantOfShape",), (0,)),
    **dict.fromkeys(("Expand", "OneHot", "Reshape", "Split", "Squeeze", "Tile", "TopK", "Unsqueeze"), (1,)),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
}

# ONNX Runtime divides the lowest integer by -1 as the processor does, which ends the process (SIGFPE): integers that
# come from the images are not divided. What an operator makes has the type of its first input, but for these.
FLOATS = frozenset({1, 10, 11, 16})  # of TensorProto.DataType
TYPED_BY = {"CastLike": 1, "DequantizeLinear": 1, "Where": 1, "OneHot": 2}
NO_FLOATS = frozenset(
    {"And", "ArgMax", "ArgMin", "ConvInteger", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less"}
    | {"LessOrEqual", "MatMulInteger", "Not", "Or", "QLinearConv", "QLinearMatMul", "QuantizeLinear", "Shape", "Size"}
    | {"Xor"}
)


class GraphError(ValueError):
    """What a graph holds that no network needs, in words."""


class _Node(NamedTuple):
    operator: str
    inputs: list[bytes]
    outputs: list[bytes]
    types: list[int]  # that its attributes name

    def floating(self, known: set[bytes]) -> list[bytes]:
        """Which of its outputs are floating point for sure, where that is known of others."""
        if self.operator == "DynamicQuantizeLinear":
            return self.outputs[1:2]
        if self.operator in ("Cast", "Constant", "ConstantOfShape"):
            sure = FLOATS.issuperset(self.types) and bool(self.types or self.operator == "ConstantOfShape")
        else:
            at = TYPED_BY.get(self.operator, 0)
            sure = self.operator not in NO_FLOATS and not known.isdisjoint(self.inputs[at : at + 1])
        outputs = self.outputs if self.operator == "Split" else self.outputs[:1]  # others are indices
        return outputs if sure else []


def check_graph(content: bytes) -> str:
    """Check that a model file holds a network and nothing else.

    Args:
        content: The whole file.

    Returns:
        The SHA-256 of all in it that ONNX Runtime runs: all but the metadata.

    Raises:
        GraphError: It holds something else, or is no ONNX model.
    """
    ours: list[bytes] = []
    budget = iter(range(MOST_FIELDS))
    graphs: list[memoryview] = []
    digest = hashlib.sha256()
    for number, value in _fields(memoryview(content), MODEL, "the model", budget):
        if number == 14:
            ours += [key for key in _texts(value, 1, budget) if key in (METADATA.encode(), HASH.encode())]
            continue
        digest.update(b"%d:" % number)
        digest.update(b"%d" % value if isinstance(value, int) else value)
        if number == 7:
            graphs.append(_message(value))
        elif number == 8 and not all(domain in DOMAINS for domain in _texts(value, 1, budget)):
            _refuse("operators that ONNX does not define")
    if sorted(ours) != sorted((METADATA.encode(), HASH.encode())):
        _refuse("metadata of hilum more than once")
    if len(graphs) != 1:
        _refuse(f"{len(graphs)} graphs")
    _check_flow(graphs[0], budget)
    return digest.hexdigest()


def _check_flow(graph: memoryview, budget: Iterator[int]) -> None:
    """Follow the tensors: each is made before it is used, and none that comes from the images decides a shape."""
    nodes: list[_Node] = []
    origin: dict[bytes, int] = {b"": CONSTANT}  # an input that was left out
    floats: set[bytes] = set()
    given: dict[bytes, bool] = {}  # the graph's inputs, and whether they are floating point for sure
    for number, value in _fields(graph, GRAPH, "the graph", budget):
        if number == 1:
            nodes.append(_node(_message(value), budget))
        elif number == 5:
            name, types = _tensor(_message(value), budget)
            if name in origin:
                _refuse("a tensor that occurs twice")
            origin[name] = CONSTANT
            floats.update([name] if types and FLOATS.issuperset(types) else [])
        elif number == 11:
            types = _element_types(_message(value), budget)
            for name in _texts(value, 1, budget):
                given[name] = given.get(name, True) and bool(types) and FLOATS.issuperset(types)
    origin.update(dict.fromkeys(given, DATA))
    floats.difference_update(given)
    floats.update(name for name, sure in given.items() if sure)
    for node in nodes:
        if node.operator not in SHAPED:
            _refuse(f"the operator {node.operator[:40]}, which no hilum network needs")
        unknown = [name for name in node.inputs if name not in origin]
        if unknown or any(name in origin for name in node.outputs if name):
            _refuse("a tensor that is used before it is made, or made twice")
        kinds = [origin[name] for name in node.inputs]
        shaping = [kinds[at] for at in SHAPED[node.operator] if at < len(kinds)]
        if DATA in shaping:
            _refuse(f"a tensor whose size depends on the pixels of an image ({node.operator})")
        kind = max(kinds, default=CONSTANT)
        if node.operator == "Div" and kind == DATA and floats.isdisjoint(node.inputs):
            _refuse("a division of integers that depend on the pixels of an image")
        floats.update(node.floating(floats))
        kind = min(kind, SIZE) if node.operator in ("Shape", "Size") else kind
        origin.update((name, kind) for name in node.outputs if name)


def _node(node: memoryview, budget: Iterator[int]) -> _Node:
    operator: list[str] = []
    inputs: list[bytes] = []
    outputs: list[bytes] = []
    types: list[int] = []
    for number, value in _fields(node, NODE, "an operator", budget):
        if number in (1, 2):
            (inputs if number == 1 else outputs).append(bytes(_message(value)))
        elif number == 4:
            operator.append(bytes(_message(value)).decode("ascii", "replace"))
        elif number == 5:
            parts = list(_fields(_message(value), ATTRIBUTE, "an attribute", budget))
            name, *more = [bytes(_message(part)) for field, part in parts if field == 1] or [b""]
            if more:
                _refuse("an attribute of two names")
            for field, part in parts:
                if field == 5:
                    types += _tensor(_message(part), budget)[1]
                elif field == 3 and name == b"to":
                    types.append(part if isinstance(part, int) else 0)
                elif field in (3, 8) and name.startswith(b"value"):  # of Constant: integers
                    types.append(0)
        elif number == 7 and bytes(_message(value)) not in DOMAINS:
            _refuse("operators that ONNX does not define")
    return _Node(operator[-1] if operator else "", inputs, outputs, types)


def _element_types(given: memoryview, budget: Iterator[int]) -> list[int]:
    """The types of numbers that an input of the graph claims; ONNX Runtime takes no others. 0 if it is no tensor."""
    types: list[int] = []
    for number, kind in _fields(given, None, "", budget):
        for sort, tensor in _fields(_message(kind), None, "", budget) if number == 2 else ():
            if sort == 6:  # what it denotes, in words
                continue
            inner = _fields(_message(tensor), None, "", budget) if sort == 1 else iter([(1, 0)])
            types += [value if isinstance(value, int) else 0 for field, value in inner if field == 1]
    return types


def _tensor(tensor: memoryview, budget: Iterator[int]) -> tuple[bytes, list[int]]:
    """The name of a tensor that lies in the file, all of it, and the types that it claims."""
    name = b""
    types: list[int] = []
    for number, value in _fields(tensor, TENSOR, "a tensor", budget):
        if number == 14 and value != 0:
            _refuse("a tensor in another file")
        elif number == 8:
            name = bytes(_message(value))
        elif number == 2:
            types.append(value if isinstance(value, int) else 0)
    return name, types


def _texts(value: int | memoryview, wanted: int, budget: Iterator[int]) -> list[bytes]:
    """All values of one field of a message whose other fields do not matter."""
    fields = _fields(_message(value), None, "", budget)
    return [bytes(_message(part)) for number, part in fields if number == wanted]


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        _refuse("a number where a message belongs")
    return value


def _fields(
    data: memoryview, allowed: frozenset[int] | None, what: str, budget: Iterator[int]
) -> Iterator[tuple[int, int | memoryview]]:
    """Numbers and values of the fields of a message: a number, or its bytes; each takes one out of the budget.

    Raises:
        GraphError: It is none, or has a field that is not allowed.
    """
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        value: int | memoryview
        if kind == NUMBER:
            value, at = _varint(data, at)
        else:
            length, at = _varint(data, at) if kind == BYTES else (FIXED.get(kind, len(data) + 1), at)
            value, at = data[at : at + length], at + length
        if at > len(data) or not 0 < number < 2**29:  # other readers would cut such a number
            _refuse("bytes that are not an ONNX model")
        if next(budget, None) is None:
            _refuse(f"more than {MOST_FIELDS:,} parts")
        if allowed is not None and number not in allowed:
            _refuse(f"a part of {what} that no hilum network needs (field {number})")
        yield number, value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    found = 0
    for shift, byte in enumerate(data[at : at + 10]):
        found |= (byte & 127) << 7 * shift
        if byte < 128:
            return found, at + shift + 1
    msg = "bytes that are not an ONNX model"
    raise GraphError(msg)


def _refuse(what: str) -> NoReturn:
    raise GraphError(what)

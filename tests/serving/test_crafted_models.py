"""Model files whose checksum is right and whose content is made to do harm: one error, soon, and never an answer."""

import os
import signal
import subprocess
import sys
import time
from math import prod

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from crafted_models import FACTS, GRAPHS, POINT, assembled, constant, facts, network, slow
from hilum.errors import ImageError, ModelFileError
from hilum.serving import session as trial
from hilum.serving.explain import explain
from hilum.serving.model_file import open_model_file
from hilum.serving.onnx_file import GraphError, check_graph
from hilum.serving.predictor import Predictor

PIXELS = np.add.outer(np.arange(90), np.arange(70)).astype(np.uint8)
NAN, INF = float("nan"), float("inf")
pytestmark = pytest.mark.timeout(120)


def test_the_model_that_the_others_are_made_from_answers():
    answer = Predictor(assembled(facts(operating_point=POINT), network())).predict(PIXELS)
    assert answer.probabilities == pytest.approx({"normal": 0.3, "bad": 0.7})
    assert answer.decision == "flag"


@pytest.mark.parametrize("kind", GRAPHS)
def test_a_crafted_graph_is_one_error_within_ten_seconds(kind, tmp_path):
    file = tmp_path / "m.onnx"
    file.write_bytes(assembled(facts(), GRAPHS[kind]()))
    begin = time.monotonic()
    with pytest.raises(ModelFileError) as raised:
        Predictor(file).predict(PIXELS)
    assert time.monotonic() - begin < 10
    assert str(raised.value).startswith(f"{file}: ")
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("folded", [True, False], ids=["when opened", "for an image"])
def test_a_network_that_takes_too_long_is_stopped(folded, monkeypatch, refuses):
    monkeypatch.setenv("HILUM_MODEL_SECONDS", "1")
    before = os.times()
    with refuses(ModelFileError, "unusable"):
        Predictor(assembled(facts(), slow(folded=folded)))
    after = os.times()  # of processor time, which other work on this machine does not change
    assert after.children_user + after.children_system - before.children_user - before.children_system < 5


def test_limits_can_be_raised_by_whoever_trusts_the_file(monkeypatch):
    content = assembled(facts(), GRAPHS["eight gigabytes for an image"]())
    monkeypatch.setattr(trial, "_ask", lambda content, request: request["seconds"] + request["mib"])
    monkeypatch.setenv("HILUM_MODEL_SECONDS", "100")
    monkeypatch.setenv("HILUM_MODEL_MIB", "-3")
    assert trial.try_out(content, "a graph of which nobody has heard", 1) == 100 + trial.MIB


def test_a_graph_is_tried_once_whatever_its_metadata(monkeypatch):
    first = Predictor(assembled(facts(), network(row=(0.25, 0.75))))
    monkeypatch.setattr(subprocess, "Popen", None)
    second = Predictor(assembled(facts(name="other"), network(row=(0.25, 0.75))))
    assert first.model_file.sha256 != second.model_file.sha256
    assert first.model_file.graph == second.model_file.graph


def test_the_model_that_comes_with_hilum_is_not_tried(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    assert Predictor().predict(PIXELS).probabilities


def test_images_are_given_in_the_numbers_that_were_tried(monkeypatch):
    predictor = Predictor(assembled(facts(), network()))
    given, run = [], predictor._session._run
    monkeypatch.setattr(
        predictor._session, "_run", lambda pixels, *rest: given.append(len(pixels)) or run(pixels, *rest)
    )
    assert len(predictor.run(np.zeros((37, 32, 32), np.uint8))) == 37
    assert given == [16, 16, 1, 1, 1, 1, 1]


BAD_ROWS = {
    "no number": (NAN, NAN),
    "one no number": (0.9, NAN),
    "infinite": (INF, -5),
    "above one": (3, 4),
    "below zero": (5, -4),
    "sum too small": (0.3, 0.69),
    "sum too large": (0.31, 0.7),
    "nothing": (0, 0),
}


@pytest.mark.parametrize("kind", BAD_ROWS)
@pytest.mark.parametrize("point", [None, POINT])
def test_what_is_no_probability_is_an_error_and_no_decision(kind, point, snapshot):
    predictor = Predictor(assembled(facts(operating_point=point), network(row=BAD_ROWS[kind])))
    answers = list(predictor.predict_many([PIXELS, PIXELS.T]))
    assert [(answer.decision, answer.label, dict(answer.probabilities)) for answer in answers] == [("", "", {})] * 2
    snapshot("\n".join(answer.error for answer in answers))
    with pytest.raises(ImageError):
        predictor.predict(PIXELS)
    with pytest.raises(ImageError):
        explain(predictor, PIXELS)


@pytest.mark.parametrize("row", [(0.3, 0.7), (1, 0), (0.3003, 0.7003), (1.0000005, 0)])
def test_rounding_is_no_error(row):
    answer = Predictor(assembled(facts(), network(row=row))).predict(PIXELS)
    assert all(0 <= p <= 1 for p in answer.probabilities.values())


def of_maps(value):
    """A network with maps of one value for both labels."""
    kinds = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("probabilities", ["b", 2]), ("maps", ["b", 2, "h", "w"]))
    ]
    nodes = [
        helper.make_node("Identity", ["p"], ["probabilities"]),
        helper.make_node("Reshape", ["p", "four"], ["q"]),
        helper.make_node("Expand", ["q", "square"], ["wide"]),
        helper.make_node("Mul", ["wide", "value"], ["maps"]),
    ]
    tensors = [
        constant("four", np.array([0, 2, 1, 1])),
        constant("square", np.array([1, 1, 4, 4])),
        constant("value", np.float32(value)),
    ]
    maps = [{"decision": "", "child": label} for label in FACTS["labels"]]
    return assembled(facts(maps=maps), network(nodes, tensors, outputs=kinds))


def test_maps_that_are_no_numbers_explain_nothing():
    found = explain(Predictor(of_maps(1.0)), PIXELS)
    assert found.heatmaps[0].values.shape == PIXELS.shape
    for value in (NAN, INF, 1e38):
        with pytest.raises(ImageError):
            explain(Predictor(of_maps(value)), PIXELS)


def test_occlusion_needs_probabilities_too(monkeypatch):
    predictor = Predictor(assembled(facts(), network()))
    assert explain(predictor, PIXELS, method="occlusion").heatmaps
    run = predictor.run
    monkeypatch.setattr(predictor, "run", lambda pixels, *rest: run(pixels, *rest) * np.float32(np.nan))
    with pytest.raises(ImageError):
        explain(predictor, PIXELS, method="occlusion")


def of_views(*sizes):
    """The preprocessing of an ensemble whose members take images of these sizes."""
    views = [{"size": size, "fit": "stretch", "equalise": False} for size in sizes]
    return FACTS["preprocessing"] | {"size": sizes[0], "views": views}


LABELS = {"labels": ["normal", "b\ud800"], "positive_label": None}
WRONG_FACTS = {
    "threshold of 10^400": {"operating_point": POINT | {"threshold": 10**400}},
    "threshold above one": {"operating_point": POINT | {"threshold": 2.0}},
    "threshold below zero": {"operating_point": POINT | {"threshold": -1}},
    "upper below lower": {"operating_point": POINT | {"upper_threshold": 0.05}},
    "upper of two": {"operating_point": POINT | {"upper_threshold": 2}},
    "image above lower": {"operating_point": POINT | {"image_threshold": 0.2}},
    "image below zero": {"operating_point": POINT | {"image_threshold": -0.2}},
    "group of another": {"operating_point": POINT | {"members": ["normal"]}},
    "group of more": {"operating_point": POINT | {"members": ["normal", "bad"]}},
    "group unknown": {"operating_point": POINT | {"group": "worse/*"}},
    "surrogate in a label": LABELS,
    "surrogate in a name": {"name": "\udcff"},
    "surrogate in a display name": {"label_name": {"bad": "\ud800"}},
    "name of 5 MB": {"name": "A" * 5_000_000},
    "100,000 labels": {"labels": [f"l{k}" for k in range(100_000)], "positive_label": None, "healthy": []},
    "side of 8192": {"preprocessing": FACTS["preprocessing"] | {"size": 8192}},
    "views of 16 MiB": {"format": 4, "preprocessing": of_views(2048, 2048)},
    "views of a few pixels too many": {"format": 4, "preprocessing": of_views(*5 * [916])},
    "count of 10^400": {
        "certificate": {
            "false_negative_rate": 0.05, "confidence": 0.95,
            "images": {"mean": 1, "max": 1, "distribution": {"1": 10**400}},
        }
    },
}  # fmt: skip


@pytest.mark.parametrize("sizes", [(2048,), (1024, 1024, 1024, 32)])
def test_as_many_pixels_as_one_view_of_the_largest_size_may_be_asked_for(sizes):
    entries = facts(format=4, preprocessing=of_views(*sizes))
    assert prod(open_model_file(assembled(entries, network())).shape) == 2048**2


@pytest.mark.parametrize("kind", WRONG_FACTS)
def test_metadata_of_impossible_values_are_one_short_error(kind):
    with pytest.raises(ModelFileError) as raised:
        open_model_file(assembled(facts(**WRONG_FACTS[kind]), network()))
    assert len(str(raised.value)) < 2000
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 1_000_000 + b"]" * 1_000_000,
        b'{"a":' * 100_000,
        b'{"format":1,"format":2}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":"\xff"}',
        '{"a":1}'.encode("utf-16"),
        b'{"format":' + b"9" * 100_000 + b"}",
        b'{"format":NaN}',
        b'{"format":-Infinity}',
        b'{"a":[' + b"1," * 2_000_000 + b"1]}",
    ],
    ids=lambda text: f"{text[:12]!r}",
)
def test_json_that_can_be_read_in_two_ways_or_never_is_refused(text, refuses):
    with refuses(ModelFileError, "malformed"):
        open_model_file(assembled(text, network()))


def test_every_cut_of_a_graph_is_refused_or_read_as_it_is():
    """The reader of bytes never fails in another way than by its own error."""
    content = assembled(facts(), network())
    begin, end = content.index(b"Cast") - 40, content.index(b"hilum_sha256") - 4
    generator = np.random.default_rng(0)
    refused = 0
    for at in range(begin, end):
        changed = bytearray(content)
        changed[at] = generator.integers(256)
        for mutated in (bytes(changed), content[:at] + content[end:]):
            try:
                assert len(check_graph(mutated)) == 64
            except GraphError:
                refused += 1
    assert refused > (end - begin) // 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_what_is_no_file_is_no_model(tmp_path):
    os.mkfifo(tmp_path / "model.onnx")
    (tmp_path / "zero").symlink_to("/dev/zero")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(40 * 2**30)
    for path in (tmp_path / "model.onnx", tmp_path, tmp_path / "zero", tmp_path / "sparse", tmp_path / "a\0b"):
        with pytest.raises(ModelFileError):
            Predictor(path)


def _interrupted(code, *arguments):
    """Seconds from Ctrl-C to the end of a Python that has said that it is busy, and its exit status."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "busy\n"
    time.sleep(1)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    return time.monotonic() - begin, said


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_ends_the_opening_of_a_graph_that_never_ends(tmp_path):
    (tmp_path / "m.onnx").write_bytes(assembled(facts(), slow(folded=True)))
    code = (
        "import sys\nfrom hilum.serving.predictor import Predictor\nprint('busy', flush=True)\nPredictor(sys.argv[1])"
    )
    seconds, said = _interrupted(code, tmp_path / "m.onnx")
    assert "KeyboardInterrupt" in said
    assert seconds < 3


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_ends_a_network_at_its_next_operator(tmp_path):
    """As if the trial had let it pass: a network that takes minutes for an image."""
    (tmp_path / "m.onnx").write_bytes(assembled(facts(), slow(folded=False)))
    code = (
        "import sys, numpy as np\n"
        "from hilum.serving import session\n"
        "session.try_out = lambda *_: 1\n"
        "from hilum.serving.predictor import Predictor\n"
        "predictor = Predictor(sys.argv[1])\n"
        "image = np.add.outer(np.arange(90), np.arange(70)).astype(np.uint8)\n"
        "print('busy', flush=True)\n"
        "list(predictor.predict_many([image]))"
    )
    seconds, said = _interrupted(code, tmp_path / "m.onnx")
    assert "KeyboardInterrupt" in said
    assert seconds < 15  # one product of the two hundred, on a machine that others use


def test_the_command_says_it_in_one_line(hilum, tmp_path, one_message):
    from PIL import Image

    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    (tmp_path / "m.onnx").write_bytes(assembled(facts(), GRAPHS["loop"]()))
    result = hilum("predict", tmp_path / "a.png", "--model", tmp_path / "m.onnx", "--json", "-", timeout=60)
    one_message(result, 1)
    assert result.stdout == ""


def graph_with_tensor(fields):
    """A model of one graph of one tensor of such fields, as bytes of Protocol Buffers."""
    content = b"\x42\x01t" + fields
    for tag in (b"\x2a", b"\x3a"):  # GraphProto.initializer, ModelProto.graph
        length = bytes([len(content) >> 7 * k & 127 | 128 * (k < 3) for k in range(4)])
        content = tag + length + content
    return assembled(facts(), content)


def test_millions_of_tiny_parts_are_refused_soon():
    """They are read in Python, at two microseconds each."""
    assert check_graph(graph_with_tensor(b"\x08\x01" * 9))
    begin = time.process_time()
    with pytest.raises(GraphError, match="parts"):
        check_graph(graph_with_tensor(b"\x08\x01" * 4_000_000))
    assert time.process_time() - begin < 60


def test_a_field_whose_number_other_readers_cut_is_refused():
    """They keep 32 bits of a tag: this one is field 1, and 2**29 more."""
    with pytest.raises(GraphError):
        check_graph(graph_with_tensor(b"\x88\x80\x80\x80\x10\x01"))


@pytest.mark.parametrize("kind", ["int64", "int32", "int8"])
@pytest.mark.parametrize("way", ["Cast", "CastLike", "ArgMax", "Where", "TopK", "float twice"])
def test_integers_from_the_images_are_not_divided(kind, way):
    """The lowest integer by -1, which a dark image would bring and noise does not, ends the process by SIGFPE."""
    made = getattr(TensorProto, kind.upper())
    lowest = constant("lowest", np.array([np.iinfo(kind).min], kind))
    bright = helper.make_node("Greater", ["mean", "hundred"], ["bright"])
    below = {
        "Cast": [helper.make_node("Cast", ["bright"], ["d"], to=made)],
        "CastLike": [helper.make_node("CastLike", ["bright", "lowest"], ["d"])],
        "ArgMax": [helper.make_node("ArgMax", ["p"], ["d"], axis=1, keepdims=0)],
        "Where": [helper.make_node("Where", ["bright", "lowest", "lowest"], ["d"])],
        "TopK": [helper.make_node("TopK", ["mean", "one"], ["v", "d"], axis=0)],
        "float twice": [helper.make_node("Cast", ["bright"], ["d"], to=made)],
    }[way]
    if way == "float twice":  # two values of one attribute: readers may differ in which they take
        below[0].attribute.add(name="to", i=TensorProto.FLOAT, type=2)
    divided = helper.make_node("Div", ["lowest", "d"], ["q"])
    last = helper.make_node("Identity", ["p"], ["probabilities"])
    tensors = [lowest, constant("hundred", np.array(100, np.float32)), constant("one", np.array([1]))]
    with pytest.raises(GraphError, match="division"):
        check_graph(assembled(facts(), network([bright, *below, divided, last], tensors)))


def test_floats_and_sizes_are_divided():
    nodes = [
        helper.make_node("ReduceSum", ["p", "last"], ["sum"], keepdims=1),
        helper.make_node("Div", ["p", "sum"], ["probabilities"]),
        helper.make_node("Shape", ["images"], ["shape"]),
        helper.make_node("Div", ["shape", "last"], ["half"]),
    ]
    answer = Predictor(assembled(facts(), network(nodes))).predict(PIXELS)
    assert answer.probabilities == pytest.approx({"normal": 0.3, "bad": 0.7})


@pytest.mark.parametrize(
    ("types", "divides"),
    [(["FLOAT"], True), (["FLOAT16"], True), (["INT64"], False), (["INT64", "FLOAT"], False), ([], False)],
)
def test_what_an_input_claims_to_be_decides_whether_it_is_divided(types, divides):
    """Of an encoder; two claims are merged by one reader, and taken in turn by another."""
    model = network([helper.make_node("Identity", ["p"], ["probabilities"])])
    model.graph.node.append(helper.make_node("Div", ["given", "given"], ["one"]))
    claims = [helper.make_tensor_value_info("given", getattr(TensorProto, one), [2]) for one in types]
    told = onnx.ValueInfoProto(name="given").SerializeToString() + b"".join(
        onnx.ValueInfoProto(type=one.type).SerializeToString() for one in claims
    )
    graph = model.graph.SerializeToString() + b"\x5a" + bytes([len(told)]) + told  # field 11
    model.ClearField("graph")
    length = bytes([len(graph) % 128 + 128, len(graph) // 128])
    content = assembled(facts(), model.SerializeToString() + b"\x3a" + length + graph)
    if divides:
        check_graph(content)
    else:
        with pytest.raises(GraphError, match="division"):
            check_graph(content)

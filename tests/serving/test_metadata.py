"""Model files whose checksum is right and whose metadata are not: one message, or an answer, and never a traceback."""

import base64
import copy
import json

import numpy as np
import onnx
import pytest

from crafted_models import metadata_entry
from hilum.decision.ood import Reference
from hilum.errors import ModelFileError
from hilum.exporting.graph import with_metadata
from hilum.serving.explain import explain
from hilum.serving.legend import legend
from hilum.serving.metadata import PackedReference, pack
from hilum.serving.model_file import open_model_file
from hilum.serving.onnx_file import METADATA
from hilum.serving.predictor import Predictor
from hilum.serving.studies import decide_study

PIXELS = np.add.outer(np.arange(90), np.arange(70)).astype(np.uint8)
WRONG = (None, "x", "", -1, 0, 1.5, 10**30, [], {}, True, [None], [[]], {"x": None}, ["normal", "normal"])
GONE = object()
SETTINGS = {"neighbours": 5, "level": 0.05, "boundary": 1.2, "wrong": [1, 3]}


def parts_of(path):
    """The facts of a model file, and the ONNX model beside them."""
    model = onnx.load(path)
    del model.metadata_props[:]
    return dict(open_model_file(path).facts), model.SerializeToString()


def reference(width):
    """Such as `fit_reference` finds, for features of so many columns."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(20, width))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    distances = [np.sort(generator.random(50)).astype(np.float32) for _ in range(2)]
    layouts = generator.integers(0, 256, (20, 225), dtype=np.uint8)
    return Reference(features.astype(np.float16), layouts, *distances, 5, 0.05, 1.2, (1, 3))


@pytest.fixture
def whole(bundle_of):
    facts, model = parts_of(bundle_of("cascade"))
    width = Predictor(with_metadata(facts, model)).run(np.zeros((1, 48, 48), np.uint8), ["features"]).shape[1]
    facts["abstention"] = pack(reference(width), SETTINGS)
    members = ["infected/covid", "infected/non-covid"]
    point = {"group": "infected/*", "members": members, "threshold": 0.5}
    facts["operating_point"] = point | {"upper_threshold": 0.7, "image_threshold": 0.4}
    facts["certificate"] = {
        "false_negative_rate": 0.05,
        "confidence": 0.95,
        "upper": {"kind": "ppv", "bound": 0.5, "prevalence": 0.1},
        "images": {"mean": 1.5, "max": 2, "distribution": {"1": 5, "2": 5}},
        "image_threshold": 0.4,
    }
    return facts, model


def outcome(facts, model):
    """What asking such a model file ends in: a message, or an answer that is whole."""
    try:
        predictor = Predictor(with_metadata(facts, model))
        answer = predictor.predict(PIXELS)
        explain(predictor, PIXELS)
        legend(predictor.model_file, of_study=True)
        decide_study(predictor.model_file, "s", [answer])
        (
            legend(predictor.model_file),
            predictor.model_file.short,
            predictor.model_file.healthy,
        )  # the screen looks at them
    except ModelFileError as error:
        text = str(error)
        assert "\n" not in text
        assert "Export it again" in text or "Create a model file" in text
        return text
    assert all(np.isfinite(p) for p in answer.probabilities.values())
    return answer


def places(value, path=()):
    """Every key below a JSON value; of lists the first item."""
    if isinstance(value, dict):
        for key in value:
            yield (*path, key)
            yield from places(value[key], (*path, key))
    elif isinstance(value, list) and value:
        yield (*path, 0)
        yield from places(value[0], (*path, 0))


def changed(facts, path, value):
    copied = copy.deepcopy(facts)
    inner = copied
    for key in path[:-1]:
        inner = inner[key]
    if value is GONE:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return copied


READ = ("format", "name", "labels", "label_name", "positive_label", "healthy", "hierarchy", "tree", "preprocessing",
        "input", "maps", "operating_point", "certificate", "abstention")  # fmt: skip


@pytest.mark.ci
def test_no_key_that_is_missing_or_of_another_type_ends_in_a_traceback(whole):
    facts, model = whole
    refused = 0
    for path in places({key: facts[key] for key in READ}):
        for wrong in (GONE, *WRONG):
            refused += isinstance(outcome(changed(facts, path, wrong), model), str)
    assert refused > 400
    for key in facts.keys() - {*READ}:  # what only people read
        assert not isinstance(outcome(changed(facts, (key,), GONE), model), str), key
    assert not isinstance(outcome(facts, model), str)
    for key in (key for key in READ if key != "certificate"):  # without which nothing is promised
        assert isinstance(outcome(changed(facts, (key,), GONE), model), str), key


ARRAYS = {
    "not base64": ("features", "data", "@@@@", "abstention"),
    "cut": ("feature_distances", "data", "AAAA", "abstention"),
    "another type": ("layouts", "type", "float64", "layouts"),
    "objects": ("features", "type", "O", "features"),
    "another shape": ("features", "shape", [3, 3], "abstention"),
    "another dimension": ("layouts", "shape", [4500], "layouts"),
    "NaN": ("layout_distances", "data", base64.b64encode(np.full(50, np.nan, "<f4")).decode(), "layout_distances"),
    "falling": ("layout_distances", "data", base64.b64encode(np.arange(50, 0, -1, "<f4")).decode(), "distances"),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_malformed_arrays_are_named(kind, whole, snapshot):
    facts, model = whole
    name, key, value, expected = ARRAYS[kind]
    said = outcome(changed(facts, ("abstention", "arrays", name, key), value), model)
    assert isinstance(said, str)
    assert expected in said
    snapshot(said)


def test_what_was_packed_comes_back():
    given = reference(7)
    found = PackedReference.model_validate(json.loads(json.dumps(pack(given, SETTINGS)))).unpack("x")
    np.testing.assert_array_equal(found.features, given.features)
    np.testing.assert_array_equal(found.layout_distances, given.layout_distances)


def test_metadata_about_another_graph_are_refused(whole, bundle_of, snapshot):
    facts, model = whole
    _, vgg = parts_of(bundle_of("vgg"))
    for other in (
        (facts, vgg),
        (changed(facts, ("preprocessing", "size"), 32), model),
        (changed(facts, ("input", "name"), "pictures"), model),
        (facts | {"abstention": pack(reference(3), SETTINGS)}, model),
    ):
        snapshot(outcome(*other))


def test_metadata_that_are_no_json_object_are_refused(hilum, tmp_path, refuses, one_message):
    import hashlib

    for content in (b"[1, 2]", b"{", b"\xff\xfe", b"[" * 100_000, b"1" * 5000):
        body = metadata_entry(METADATA, content)
        file = tmp_path / "m.onnx"
        file.write_bytes(body + metadata_entry("hilum_sha256", hashlib.sha256(body).hexdigest().encode()))
        with refuses(ModelFileError, "malformed"):
            open_model_file(file)
    one_message(hilum("predict", tmp_path / "m.onnx", "--model", file), 1)

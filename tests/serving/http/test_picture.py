"""What the page gets of a radiograph: its grey values, and heatmaps that are those of `explain`."""

import io
import json

import numpy as np
from PIL import Image

from hilum.serving.explain import explain, full_colour
from hilum.serving.http.picture import HEAT, LARGEST
from hilum.serving.predictor import Predictor


def unpack(content):
    length = int.from_bytes(content[:4], "little")
    assert (4 + length) % 4 == 0
    facts = json.loads(content[4 : 4 + length])
    at = 4 + length
    shape = facts["height"], facts["width"]
    pixels = np.frombuffer(content, "<u2", count=shape[0] * shape[1], offset=at).reshape(shape)
    at += pixels.nbytes
    maps = []
    for one in facts["heatmaps"]:
        shape = one["height"], one["width"]
        maps.append(np.frombuffer(content, np.uint8, count=shape[0] * shape[1], offset=at).reshape(shape))
        at += maps[-1].nbytes
    assert at == len(content)
    return facts, pixels, maps


def test_grey_values_are_those_of_the_file(client, radiographs):
    answer = client.post("/v1/view", content=radiographs[0])
    facts, pixels, maps = unpack(answer.content)
    wanted = np.asarray(Image.open(io.BytesIO(radiographs[0])))
    assert not maps
    assert np.array_equal(pixels, wanted.astype(np.uint16) * 257)
    assert facts["prediction"] == client.post("/v1/predict", content=radiographs[0]).json()["predictions"][0]


def test_heatmaps_are_those_of_explain(client, radiographs):
    facts, _, (found,) = unpack(client.post("/v1/view?heatmaps=true", content=radiographs[1]).content)
    (heatmap,) = explain(Predictor(), radiographs[1]).heatmaps
    small = np.asarray(Image.fromarray(heatmap.values).resize((HEAT, HEAT), Image.Resampling.BILINEAR))
    wanted = 255 * (small / full_colour(heatmap)).clip(0, 1)
    assert np.abs(found - wanted).max() <= 1
    assert (facts["heatmaps"][0]["child"], facts["method"]) == (heatmap.child, "activation")


def test_a_large_picture_is_reduced_for_the_screen(client):
    large = np.random.default_rng(0).integers(0, 65536, (2500, 2000)).astype(np.uint16)
    target = io.BytesIO()
    Image.fromarray(large).save(target, "PNG")
    facts, pixels, _ = unpack(client.post("/v1/view", content=target.getvalue()).content)
    assert (facts["height"], facts["width"]) == (LARGEST, LARGEST * 2000 // 2500)
    assert abs(int(pixels.mean()) - int(large.mean())) < 600


def test_what_cannot_be_read_has_a_message(client):
    answer = client.post("/v1/view", content=b"no image")
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "no-image")

"""The page without a server, in a real browser, from disk and without a network: its answers are hilum's."""

import base64
import json
import re
import tarfile

import numpy as np
import onnx
import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright import sync_api

from hilum.exporting import page as exported
from hilum.exporting.export import export
from hilum.exporting.graph import with_metadata
from hilum.serving.explain import explain
from hilum.serving.http.picture import pack_picture
from hilum.serving.model_file import open_model_file, shipped_model
from hilum.serving.predictor import Predictor
from offline_page import MARKS, RUNTIME
from places import DARKCOVIDNET, ROOT, with_darkcovidnet

pytestmark = MARKS
expect = sync_api.expect
MINUTES = 4 * 60_000
HOOK = 'import * as service from "./service.js";\nwindow.service = service;'
VIEW = """async (content) => {
  const file = new File([Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0))], "x.png");
  const { prediction, pixels, heatmaps, ...size } = await window.service.view(file, "", true);
  const maps = heatmaps.map((map) => ({ ...map, values: [...map.values] }));
  return { prediction, pixels: [...pixels], heatmaps: maps, ...size };
}"""


@pytest.fixture(scope="module")
def runtime():
    return exported.read_runtime(RUNTIME)


@pytest.fixture
def opened(browser, runtime, tmp_path):
    """Open the page of a model from disk, without a network; at the end it has asked for nothing but itself."""
    contexts, asked, faults = [], [], []

    def open_page(model):
        file = tmp_path / f"page-{len(contexts)}.html"
        exported.write_page(file, open_model_file(model), runtime)
        context = browser.new_context(offline=True, viewport={"width": 1280, "height": 860})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not faults
    assert {address for address in asked if not address.startswith("blob:")} == {
        (tmp_path / f"page-{number}.html").as_uri() for number in range(len(contexts))
    }


@pytest.fixture
def hooked(opened, monkeypatch):
    """Open a page that shows nothing and answers scripts instead."""
    whole = exported.page_modules
    monkeypatch.setattr(exported, "page_modules", lambda runtime: {**whole(runtime), "app": HOOK})
    return opened


def answers(page, files):
    """What the page says of files, by name, as it lets them be downloaded."""
    page.set_input_files("#files", [str(file) for file in files])
    expect(page.locator("#progress")).to_have_text(re.compile(rf"^{len(files)} images? answered"), timeout=MINUTES)
    with page.expect_download() as found:
        page.click("#json")
    lines = [json.loads(line) for line in found.value.path().read_text(encoding="utf-8").splitlines()]
    return {line["path"]: line for line in lines}


SHARE = re.compile(r"\d+(?:\.\d+)?(?= %)")


def assert_same(said, expected, within=1e-4):
    assert "error" not in said, said
    assert (said["label"], said["decision"]) == (expected.label, expected.decision)
    # Percentages are shown with more digits where the threshold is small.
    (words, shares), (own_words, own_shares) = (
        (SHARE.sub("#", reason), [float(share) for share in SHARE.findall(reason)])
        for reason in (said["reason"], expected.reason)
    )
    assert words == own_words
    assert shares == pytest.approx(own_shares, abs=100 * within)
    assert said["label_name"] == expected.label_name
    assert said["probabilities"] == pytest.approx(dict(expected.probabilities), abs=within)
    assert said["p_in_distribution"] == (
        None if expected.p_in_distribution is None else pytest.approx(expected.p_in_distribution, abs=0.01)
    )


def test_decisions_are_those_of_the_library(phantoms, opened):
    model = shipped_model()
    said = answers(opened(model), phantoms)
    decisions = []
    for file, expected in zip(phantoms, Predictor(model).predict_many(phantoms), strict=True):
        assert_same(said[file.name], expected)
        decisions.append(expected.decision)
    assert min(decisions.count(kind) for kind in ("flag", "clear", "abstain")) >= len(phantoms) / 25


@with_darkcovidnet
def test_decisions_about_real_radiographs_are_those_of_the_library(opened):
    """P-values may differ by one rank where an image is a calibration patient's own: it ties with itself."""
    files = sorted(path for path in DARKCOVIDNET.rglob("*") if path.suffix in (".png", ".jpg", ".jpeg"))
    some = [files[i] for i in np.random.default_rng(3).permutation(len(files))[:120]]
    model = shipped_model()
    said = answers(opened(model), some)
    for file, expected in zip(some, Predictor(model).predict_many(some), strict=True):
        assert_same(said[file.name], expected)


def variant(**changes):
    """The model that comes with hilum, with other metadata."""
    found = open_model_file(shipped_model())
    model = onnx.load_from_string(found.model)
    del model.metadata_props[:]
    return with_metadata({**found.facts, **changes}, model.SerializeToString())


POINT = {"group": "infected/*", "members": ["infected/covid", "infected/non-covid"], "threshold": 0.05}
PLAIN = {"certificate": None, "abstention": None}
VARIANTS = {
    "two thresholds": {**PLAIN, "operating_point": {**POINT, "upper_threshold": 0.6, "image_threshold": 0.04}},
    "no operating point": {**PLAIN, "operating_point": None},
    "padded": {**PLAIN, "preprocessing": {"scheme": 1, "size": 75, "fit": "pad", "equalise": False}},
    "without maps": {"maps": [], "preprocessing": {"scheme": 1, "size": 75, "fit": "crop", "equalise": True}},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_kind_of_rule_is_the_same(name, phantoms, opened):
    model, some = variant(**VARIANTS[name]), phantoms[:40]
    said = answers(opened(model), some)
    for file, expected in zip(some, Predictor(model).predict_many(some), strict=True):
        assert_same(said[file.name], expected)


def test_a_model_file_of_version_0_1_answers_as_before(opened, phantoms, tmp_path):
    with tarfile.open(ROOT / "tests" / "formats" / "0.1.0.tar.xz") as archive:
        archive.extract("./model.onnx", tmp_path, filter="data")
    model, some = tmp_path / "model.onnx", phantoms[:20]
    said = answers(opened(model), some)
    for file, expected in zip(some, Predictor(model).predict_many(some), strict=True):
        assert_same(said[file.name], expected)


def assert_same_view(page, model, file):
    """Answer, picture and heatmaps, as the service gives them to the page."""
    found = page.evaluate(VIEW, base64.b64encode(file.read_bytes()).decode("ascii"))
    predictor = Predictor(model)
    explanation = explain(predictor, file)
    assert_same(found["prediction"], explanation.answer)
    line = explanation.answer.to_json(predictor.model)
    packed = pack_picture(line, explanation.pixels, explanation, predictor.model_file)
    length = int.from_bytes(packed[:4], "little")
    facts, at = json.loads(packed[4 : 4 + length]), 4 + length
    assert (found["width"], found["height"]) == (facts["width"], facts["height"])
    grey = np.frombuffer(packed, "<u2", facts["width"] * facts["height"], at)
    assert np.array_equal(found["pixels"], grey)
    at += grey.nbytes
    assert len(found["heatmaps"]) == len(facts["heatmaps"]) > 0
    for said, expected in zip(found["heatmaps"], facts["heatmaps"], strict=True):
        values = np.frombuffer(packed, np.uint8, expected["width"] * expected["height"], at)
        at += values.nbytes
        assert np.abs(np.array(said.pop("values"), int) - values).max() <= 2
        assert said == {**expected, "share": pytest.approx(expected["share"], abs=1e-4)}


@pytest.mark.parametrize("name", ["as it is", "padded", "without maps"])
def test_heatmaps_are_those_of_the_library(name, phantoms, hooked):
    model = variant(**VARIANTS.get(name, {}))
    page = hooked(model)
    for file in phantoms[7:9]:
        assert_same_view(page, model, file)


@pytest.mark.parametrize("kind", ["flat", "cascade"])
def test_every_hierarchy_is_explained(kind, bundle_of, phantoms, hooked):
    page = hooked(bundle_of(kind))
    for file in phantoms[6:9]:
        assert_same_view(page, bundle_of(kind), file)


def test_a_network_of_8_bits_answers_the_same(run_of, phantoms, opened, tmp_path):
    export(run_of("flat"), tmp_path / "small.onnx", int8=True)
    some = phantoms[:40]
    said = answers(opened(tmp_path / "small.onnx"), some)
    for file, expected in zip(some, Predictor(tmp_path / "small.onnx").predict_many(some), strict=True):
        assert_same(said[file.name], expected, within=1e-3)  # sums of 8 bits saturate on processors without VNNI


def test_it_may_ask_nobody_and_run_nothing_else(opened):
    page = opened(shipped_model())
    expect(page.locator("#model-line")).to_contain_text("version")
    refused = page.evaluate("""async () => {
      const found = [];
      document.addEventListener("securitypolicyviolation", (event) => found.push(event.effectiveDirective));
      await fetch("data:text/plain,x").catch(() => {});
      const script = document.createElement("script");
      script.textContent = "window.ran = true";
      document.body.append(script);
      await new Promise((resolve) => setTimeout(resolve, 100));
      return [found.join(" "), window.ran === undefined];
    }""")
    assert "connect-src" in refused[0]
    assert "script-src" in refused[0]
    assert refused[1]


def test_it_works_as_the_served_page_does(opened):
    page = opened(shipped_model())
    expect(page.locator("#drop")).not_to_contain_text("DICOM")
    page.click("#examples")
    expect(page.locator("#progress")).to_have_text(re.compile(r"^4 images answered"), timeout=MINUTES)
    expect(page.locator("#window-shown")).to_contain_text("window")
    page.click("#heat")
    expect(page.locator("#heat-note")).to_contain_text("Colour", timeout=MINUTES)

"""The page without a server, in a real browser, from disk and without a network: its answers are hilum's."""

import base64
import io
import json
import os
import re
import shutil
import tarfile
import zlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image, ImageCms

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright import sync_api

from hilum.data.images import read_picture, reduce
from hilum.errors import HilumError
from hilum.exporting import page as exported
from hilum.exporting.export import export
from hilum.exporting.graph import with_metadata
from hilum.exporting.javascript import bundle
from hilum.phantoms import LABELS, make_phantom
from hilum.serving.explain import explain
from hilum.serving.http.picture import pack_picture
from hilum.serving.model_file import open_model_file, shipped_model
from hilum.serving.predictor import Predictor
from places import DARKCOVIDNET, ROOT, with_darkcovidnet

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PLACES = [
    Path(os.environ.get("HILUM_ONNXRUNTIME_WEB", "nowhere")),
    ROOT / "node_modules" / "onnxruntime-web",
    ROOT.parent / "shared" / "onnxruntime-web-1.30.0.tgz",
]
RUNTIME = next((place for place in PLACES if place.exists()), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt install chromium)"),
    pytest.mark.skipif(RUNTIME is None, reason="no onnxruntime-web here: npm pack it, HILUM_ONNXRUNTIME_WEB names it"),
    pytest.mark.slow,
]
expect = sync_api.expect
COUNT = 500
MINUTES = 4 * 60_000
REDUCTIONS = [
    {"size": 75, "fit": "stretch", "equalise": True},
    {"size": 150, "fit": "stretch", "equalise": False},
    {"size": 64, "fit": "pad", "equalise": True},
    {"size": 96, "fit": "crop", "equalise": False},
]
REDUCE = """
import { decode } from "./decoding.js";
import { reduce } from "./reduction.js";
window.reduceAll = async (reductions) => Promise.all([...document.querySelector("input").files].map(async (file) => {
  try {
    const picture = await decode(file);
    const texts = reductions.map((how) => btoa(String.fromCharCode(...reduce(picture, how))));
    return [picture.width, picture.height, picture.chroma, ...texts];
  } catch (error) {
    return error.message;
  }
}));
"""
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


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


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


@pytest.fixture
def reducing(browser):
    """Decode and reduce files in the browser: sizes, chroma and bytes of each, or why it is refused."""
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.set_content("<input type=file multiple>")
    sources = files_of("decoding", "reduction") | {"test": REDUCE}
    page.add_script_tag(content=bundle(sources, "test"), type="module")

    def run(files):
        page.set_input_files("input", [str(file) for file in files])
        return page.evaluate("(reductions) => window.reduceAll(reductions)", REDUCTIONS)

    yield run
    context.close()


def files_of(*names):
    return {name: exported._read(f"{name}.js") for name in names}


def disguised(pixels, number, generator):
    """One radiograph in one of the ways that PNG and JPEG have for it: the file's kind, and what to save."""
    grey = Image.fromarray(pixels)
    kind = number % 10
    if kind == 0:
        return "jpg", grey
    if kind == 1:
        return "jpg", grey.convert("RGB")
    if kind == 2:
        return "png", grey.convert("RGB")
    if kind == 3:
        return "png", grey.quantize(200)
    if kind == 4:
        alpha = generator.integers(0, 256, pixels.shape, np.uint8)
        return "png", Image.merge("LA", [grey, Image.fromarray(np.where(pixels > 40, 255, alpha).astype(np.uint8))])
    if kind == 5 and number % 50 == 5:
        tint = np.stack([pixels, pixels // 2, 255 - pixels], axis=2)
        return "png", Image.fromarray(tint)
    return "png", grey


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """Phantoms of 75 to 600 pixels a side, many not square."""
    folder = tmp_path_factory.mktemp("phantoms")
    generator = np.random.default_rng(8)
    files = []
    for number in range(COUNT):
        size = round(75 + 525 * generator.random() ** 3)
        pixels = make_phantom(LABELS[number % 3], seed=11, patient=number, size=size).image
        cut = generator.integers(0, size // 5, 2) if number % 2 else (0, 0)
        kind, image = disguised(np.ascontiguousarray(pixels[cut[0] :, cut[1] :]), number, generator)
        files.append(folder / f"{number:03}.{kind}")
        image.save(files[-1], **({"quality": 92} if kind == "jpg" else {}))
    return files


def answers(page, files):
    """What the page says of files, by name, as it lets them be downloaded."""
    page.set_input_files("#files", [str(file) for file in files])
    expect(page.locator("#progress")).to_have_text(re.compile(rf"^{len(files)} images? answered"), timeout=MINUTES)
    with page.expect_download() as found:
        page.click("#json")
    lines = [json.loads(line) for line in found.value.path().read_text(encoding="utf-8").splitlines()]
    return {line["path"]: line for line in lines}


def assert_same(said, expected):
    assert "error" not in said, said
    assert (said["label"], said["decision"], said["reason"]) == (expected.label, expected.decision, expected.reason)
    assert said["label_name"] == expected.label_name
    assert said["probabilities"] == pytest.approx(dict(expected.probabilities), abs=1e-4)
    assert said["p_in_distribution"] == (
        None if expected.p_in_distribution is None else pytest.approx(expected.p_in_distribution, abs=0.01)
    )


def test_bytes_are_those_of_the_library(phantoms, reducing):
    equal = {".png": 0, ".jpg": 0}
    for file, found in zip(phantoms, reducing(phantoms), strict=True):
        picture = read_picture(file)
        assert found[:2] == list(picture.pixels.shape[::-1]), file.name
        assert found[2] == pytest.approx(picture.chroma, abs=1e-6)
        apart = [
            np.abs(np.frombuffer(base64.b64decode(text), np.uint8).astype(int) - reduce(picture.pixels, **how).ravel())
            for text, how in zip(found[3:], REDUCTIONS, strict=True)
        ]
        equal[file.suffix] += not np.concatenate(apart).any()
        assert np.concatenate(apart).mean() < 0.5, file.name
    counts = {suffix: sum(file.suffix == suffix for file in phantoms) for suffix in equal}
    assert equal[".png"] == counts[".png"] == 400
    assert equal[".jpg"] >= 90  # all 100 with Chromium 156: both decode by libjpeg-turbo


def test_decisions_are_those_of_the_library(phantoms, opened):
    model = shipped_model()
    said = answers(opened(model), phantoms)
    decisions = []
    for file, expected in zip(phantoms, Predictor(model).predict_many(phantoms), strict=True):
        assert_same(said[file.name], expected)
        decisions.append(expected.decision)
    assert min(decisions.count(kind) for kind in ("flag", "clear", "abstain")) >= 20


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
        assert_same(said[file.name], expected)


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


def chunk(kind, content):
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def saved(image, kind="PNG", **options):
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


@pytest.fixture(scope="module")
def grey():
    return Image.fromarray(make_phantom(LABELS[0], seed=2, patient=1, size=128).image[:, :100])


def test_what_a_browser_would_read_otherwise_is_refused_or_the_same(grey, reducing, tmp_path):
    """Never a silently different picture: what hilum refuses is refused, what it reads gives the same bytes."""
    png, jpeg = saved(grey), saved(grey, "JPEG")
    sixteen = Image.fromarray(np.asarray(grey).astype(np.uint16) * 16)
    turned = Image.Exif()
    turned[0x0112] = 6
    damaged = bytearray(png)
    damaged[len(png) // 2] ^= 1
    files = {
        "gamma.png": png[:33] + chunk(b"gAMA", (100_000).to_bytes(4, "big")) + png[33:],
        "profile.png": saved(grey.convert("RGB"), icc_profile=swapped_profile()),
        "profile.jpg": saved(grey.convert("RGB"), "JPEG", icc_profile=swapped_profile(), quality=95),
        "turned.jpg": saved(grey, "JPEG", exif=turned),
        "turned.png": saved(grey, exif=turned),
        "trailing.jpg": jpeg + b"\xd9trailing",
        "1 bit.png": saved(grey.convert("1")),
        "progressive.jpg": saved(grey, "JPEG", progressive=True),
        "16.png": saved(sixteen),
        "xmp.jpg": saved(grey, "JPEG", xmp=b'<x tiff:Orientation="6"/>'),
        "grey.tif": saved(grey, "TIFF"),
        "text.png": b"no image",
        "empty.png": b"",
        "short.png": png[: len(png) // 2],
        "short.jpg": jpeg[: len(jpeg) // 2],
        "damaged.png": bytes(damaged),
        "small.png": saved(grey.crop((0, 0, 31, 90))),
        "constant.png": saved(Image.new("L", (64, 64), 7)),
        "cmyk.jpg": saved(grey.convert("CMYK"), "JPEG"),
        "frames.png": saved(grey, save_all=True, append_images=[grey.rotate(3)]),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    readable = (
        "gamma.png",
        "profile.png",
        "profile.jpg",
        "turned.jpg",
        "turned.png",
        "trailing.jpg",
        "1 bit.png",
        "progressive.jpg",
    )
    for name, found in zip(files, reducing([tmp_path / name for name in files]), strict=True):
        if name not in readable:
            assert isinstance(found, str), name
            if name not in (
                "16.png",
                "xmp.jpg",
                "grey.tif",
                "cmyk.jpg",
                "constant.png",
            ):  # which hilum reads, or refuses later
                with pytest.raises(HilumError):
                    read_picture(tmp_path / name)
            continue
        assert isinstance(found, list), (name, found)
        picture = read_picture(tmp_path / name)
        for text, how in zip(found[3:], REDUCTIONS, strict=True):
            assert np.array_equal(
                np.frombuffer(base64.b64decode(text), np.uint8), reduce(picture.pixels, **how).ravel()
            ), name


def swapped_profile():
    """A colour profile that changes every grey value: sRGB to a space of another gamma."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    at = profile.find(b"para")
    assert at > 0
    return profile[: at + 12] + (65536).to_bytes(4, "big") + profile[at + 16 :]

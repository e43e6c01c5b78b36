"""What the page without a server makes of files: the bytes that hilum makes of them, or a refusal."""

import base64
import io
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from hilum.data.images import read_picture, reduce
from hilum.errors import HilumError
from hilum.exporting import page as exported
from hilum.exporting.javascript import bundle
from hilum.phantoms import LABELS, make_phantom
from offline_page import MARKS

pytestmark = MARKS
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
    assert equal[".png"] == counts[".png"] >= 160
    assert equal[".jpg"] >= 0.9 * counts[".jpg"] >= 36  # all of 100 with Chromium 156: both decode by libjpeg-turbo


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

"""The page in a real browser: what a person does with it, with a mouse, by keyboard, on a telephone."""

import csv
import io
import json
import re
import shutil
from importlib.resources import files

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt install chromium)"),
    pytest.mark.slow,
]
expect = sync_api.expect
PICTURE = "#picture"
GREY = """() => {
  const canvas = document.getElementById("picture");
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let grey = 0, colour = 0;
  for (let i = 0; i < data.length; i += 4) {
    const three = [data[i], data[i + 1], data[i + 2]];
    grey += three[1];
    colour += Math.max(...three) - Math.min(...three);
  }
  return [grey / data.length * 4, colour / data.length * 4];
}"""


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def address(once_running):
    return once_running.address


@pytest.fixture
def page(browser, address, request):
    options = getattr(request, "param", {"viewport": {"width": 1280, "height": 860}})
    context = browser.new_context(**options)
    found = context.new_page()
    found.faults = []
    found.on("pageerror", lambda error: found.faults.append(str(error)))
    found.on("console", lambda message: "Content Security Policy" in message.text and found.faults.append(message.text))
    found.on("request", lambda asked: asked.url.startswith((address, "blob:")) or found.faults.append(asked.url))
    found.goto(address)
    expect(found.locator("#model-line")).to_contain_text("version")
    yield found
    context.close()
    assert not found.faults


def give(page, *named):
    """Choose files, as (name, bytes)."""
    page.set_input_files("#files", [{"name": name, "mimeType": "", "buffer": content} for name, content in named])


def drop(page, *named):
    """Drop files onto the page."""
    data = page.evaluate_handle(
        """(files) => {
          const data = new DataTransfer();
          for (const [name, bytes] of files) data.items.add(new File([new Uint8Array(bytes)], name));
          return data;
        }""",
        [[name, list(content)] for name, content in named],
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": data})


def answered(page, count):
    expect(
        page.locator("#worklist .badge.flag, #worklist .badge.clear, #worklist .badge.abstain, #worklist .badge.error")
    ).to_have_count(count)


def shown(page):
    """How bright and how colourful the canvas is, once a picture is on it."""
    expect(page.locator("#window-shown")).to_contain_text("window")
    return page.evaluate(GREY)


def test_files_are_dropped_and_answered(page, radiographs, dicom_file):
    drop(page, ("first.png", radiographs[0]), ("second.dcm", dicom_file), ("third.txt", b"no image"))
    answered(page, 3)
    expect(page.locator("#worklist .badge.error")).to_have_count(1)
    expect(page.locator("#said .bars td.number")).to_have_count(3)
    shown = page.locator("#said .bars td.number").all_inner_texts()
    assert sum(float(text.removesuffix(" %")) for text in shown) == pytest.approx(100, abs=0.2)


def test_window_and_heatmap_change_the_picture(page, radiographs):
    give(page, ("first.png", radiographs[0]))
    answered(page, 1)
    before, colour = shown(page)
    assert colour < 1
    box = page.locator(PICTURE).bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0], middle[1] - 80, steps=4)
    page.mouse.up()
    darker, _ = page.evaluate(GREY)
    assert abs(darker - before) > 5
    assert page.locator("#preset").input_value() == "own"
    page.click("#reset")
    assert page.evaluate(GREY)[0] == pytest.approx(before, abs=0.5)
    page.click("#invert")
    assert abs(page.evaluate(GREY)[0] - before) > 5
    page.click("#reset")
    page.click("#heat")
    expect(page.locator("#heat-note")).to_contain_text("Colour")
    assert page.evaluate(GREY)[1] > 3
    page.locator("#opacity").fill("0")
    assert page.evaluate(GREY)[1] < 1


def test_zoom_stays_under_the_pointer_and_fit_goes_back(page, radiographs):
    give(page, ("first.png", radiographs[0]))
    answered(page, 1)
    before = shown(page)
    box = page.locator(PICTURE).bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -400)
    assert page.evaluate(GREY) != before
    page.dblclick(PICTURE)
    assert page.evaluate(GREY) == before


def test_the_keyboard_alone_is_enough(page, radiographs):
    page.keyboard.press("Tab")  # skip link
    for _ in range(8):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.id") == "examples":
            break
    page.keyboard.press("Enter")
    answered(page, 4)
    names = page.locator("#worklist .name").all_inner_texts()
    current = page.locator("#worklist [aria-current=true] .name")
    for _ in names:
        page.keyboard.press("k")
    expect(current).to_have_text(names[0])
    page.keyboard.press("j")
    expect(current).to_have_text(names[1])
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.id") == "picture":
            break
    before = shown(page)
    page.keyboard.press("i")
    assert page.evaluate(GREY) != before
    page.keyboard.press("r")
    page.keyboard.press("]")
    page.keyboard.press(".")
    page.keyboard.press("+")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(GREY) != before
    page.keyboard.press("h")
    expect(page.locator("#heat-note")).to_contain_text("Colour")


def test_answers_are_downloaded_under_the_names_of_the_files(page, radiographs):
    give(
        page,
        ("=cmd|first.png", radiographs[0]),
        ('<img src=x onerror=alert(1)>,"second".png', radiographs[1]),
        ("bad", b"x"),
    )
    answered(page, 3)
    with page.expect_download() as found:
        page.click("#csv")
    rows = list(csv.DictReader(io.StringIO(found.value.path().read_bytes().decode(), newline="")))
    assert {row["path"] for row in rows} == {"'=cmd|first.png", '<img src=x onerror=alert(1)>,"second".png', "bad"}
    with page.expect_download() as found:
        page.click("#json")
    lines = [json.loads(line) for line in found.value.path().read_text(encoding="utf-8").splitlines()]
    by_name = {line["path"]: line for line in lines}
    assert "error" in by_name["bad"]
    for row in rows:
        line = by_name[row["path"].removeprefix("'")]
        if "error" not in line:
            assert float(row["p:normal"]) == pytest.approx(line["probabilities"]["normal"], abs=1e-7)
            assert row["decision"] == line["decision"]


def test_two_hundred_files_at_once(page, radiographs):
    give(page, *((f"{number}.png", radiographs[number % 6]) for number in range(200)))
    expect(page.locator("#progress")).to_have_text(re.compile("^200 images answered"), timeout=60_000)


SIZES = [
    pytest.param({"viewport": {"width": width, "height": 800}, "color_scheme": scheme}, id=f"{width}-{scheme}")
    for width in (360, 1280)
    for scheme in ("light", "dark")
]


@pytest.mark.parametrize("page", SIZES, indirect=True)
def test_it_fits_the_screen_and_axe_finds_nothing(page, radiographs):
    axe = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")

    def violations():
        page.evaluate(f"() => {{ {axe} }}")
        found = page.evaluate("() => axe.run(document).then((found) => found.violations)")
        return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]

    assert not violations()
    give(page, ("first.png", radiographs[0]), ("bad", b"x"))
    answered(page, 2)
    page.click("#about summary")
    page.click("#view summary")
    page.click("#heat")
    expect(page.locator("#heat-note")).to_contain_text("Colour")
    assert not violations()
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    expect(page.locator("header .purpose")).to_be_in_viewport()


@pytest.mark.parametrize("page", [{"viewport": {"width": 700, "height": 800}}], indirect=True)
def test_a_token_is_asked_for(browser, running, page):
    guarded = running(HILUM_TOKEN="a token that is long enough")
    context = browser.new_context()
    asked = context.new_page()
    asked.goto(guarded.address)
    expect(asked.locator("#token-dialog")).to_be_visible()
    asked.fill("#token", "a wrong one")
    asked.keyboard.press("Enter")
    expect(asked.locator("#token-dialog")).to_be_visible()
    asked.fill("#token", "a token that is long enough")
    asked.keyboard.press("Enter")
    expect(asked.locator("#model-line")).to_contain_text("version")
    context.close()

"""The pages of --explain: what comes first, what is said, and that many images stay usable."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hilum.data.readers.folders import read_folders
from hilum.errors import UsageError
from hilum.serving import explanation_gallery as album_page
from hilum.serving.explain import draw, explain
from hilum.serving.explanation_gallery import Gallery, Map, Shown, write_pages
from hilum.serving.model_file import open_model_file
from hilum.serving.prediction import Prediction
from hilum.serving.predictor import Predictor

LABELS = ("normal", "infected/covid", "infected/non-covid")


def shown(number, truth, label, probability, name="", decision="flag", notes=("A lateral view.",)):
    rest = (1 - probability) / 2
    probabilities = {one: probability if one == label else rest for one in LABELS}
    answer = Prediction(f"{number}.png", label, label, probabilities, decision, "because <of> this", notes)
    maps = (Map(label, "", probability, 3.25, label == "normal", "activation"),)
    return Shown(f"{number}.png.jpg", (648, 364), name or f"{number}.png", answer, truth, maps)


class Reader(HTMLParser):
    """Names in the order of figures, headings, alternative texts, and whether every tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.names, self.headings, self.open, self.values, self.alts, self.tags = [], [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "img":
            self.alts.append(dict(attributes)["alt"])
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "figcaption" in self.open and self.open[-1] == "b":
            self.names.append(data)
        elif self.open[-1:] == ["h2"] and data.strip():
            self.headings.append(data.strip())
        elif "figcaption" in self.open and self.open[-1:] == ["dd"]:
            self.values.append(data)


@pytest.fixture
def model_file(bundle_of):
    return open_model_file(bundle_of("flat"))


def test_wrong_answers_come_first_and_then_what_has_to_be_looked_at(model_file, tmp_path):
    given = [
        shown(1, "normal", "normal", 0.9, decision="clear"),
        shown(2, "normal", "infected/covid", 0.6),
        shown(3, "", "normal", 0.5, decision="abstain"),
        shown(4, "infected/covid", "normal", 0.8),
        shown(5, "infected/covid", "infected/covid", 0.5),
        shown(6, "infected/covid", "normal", 0.6, decision="clear"),  # missed: before all others
        shown(7, "infected/covid", "normal", 0.9, decision="abstain"),  # got no answer
        shown(8, "", "infected/covid", 0.7),
    ]
    failed = [Prediction("bad.png", error="an empty file. Remove it.")]
    text = write_pages(tmp_path, given, failed, model_file).read_text()
    page = Reader(text)
    assert page.names == ["6.png", "4.png", "2.png", "8.png", "5.png", "3.png", "7.png", "1.png"]
    assert page.headings == ["How to read this page", "Wrong", "Flag", "Abstain", "Clear", "Could not be read"]
    at = page.names.index("4.png") * 5
    assert page.values[at : at + 5] == [
        "infected/covid",
        "normal, 80.0\N{NO-BREAK SPACE}%",
        "infected/covid 10.0\N{NO-BREAK SPACE}%; infected/non-covid 10.0\N{NO-BREAK SPACE}%",
        "because <of> this",
        "A lateral view.",
    ]  # fmt: skip
    # In the folder covid: predicted normal, covid and non-covid.
    row = re.search(r'<th scope="row">(?:infected/<wbr>)?covid</th>(.*?)</tr>', text, re.DOTALL)[1]
    assert re.findall(r'class="cell[^>]*>(\d+)', row) == ["3", "1", "0"]
    assert not (tmp_path / "page-2.html").exists()


def test_the_page_begins_with_counts_of_decisions_and_explains_what_is_on_it(model_file, tmp_path):
    given = [shown(k, "", "normal", 0.9, decision="undecided") for k in range(3)] + [
        shown(9, "", "normal", 0.9, decision="abstain")
    ]
    text = write_pages(tmp_path, given, [], model_file).read_text()
    top = text[: text.index("How to read")]
    assert re.findall(r'class="badge (\w+)">(\d+) ', top) == [("abstain", "1"), ("undecided", "3")]
    page = Reader(text)
    assert page.tags.count("main") == 1
    assert all("9.png" in alt or "undecided" in alt for alt in page.alts)
    assert page.alts[0].startswith("9.png: radiograph and heatmap. Most probable: normal, 90.0")
    assert text.count("log-odds") > len(given)
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    for number in range(3):  # caption once, decision once
        figure = next(part for part in re.split("<figure[^>]*>", text) if f'src="{number}.png.jpg"' in part)
        assert re.sub('alt="[^"]*"', "", figure).count(f">{number}.png<") == 1
        assert len(re.findall(r">undecided<", figure)) == 1


def test_many_images_are_paged_and_loaded_as_they_come_into_sight(model_file, tmp_path, monkeypatch):
    monkeypatch.setattr(album_page, "PER_PAGE", 10)
    given = [shown(k, "normal", "normal" if k % 3 else "infected/covid", 0.5 + k / 100) for k in range(34)]
    write_pages(tmp_path, given, [], model_file)
    pages = [tmp_path / "index.html", *(tmp_path / f"page-{k}.html" for k in (2, 3, 4))]
    read = [Reader(page.read_text()) for page in pages]
    assert [len(page.names) for page in read] == [10, 10, 10, 4]
    names = [name for page in read for name in page.names]
    assert sorted(names) == sorted(one.name for one in given)
    assert names[0] == "33.png"  # the surest of the wrong ones
    assert [text for text in read[1].headings if text in ("Wrong", "Flag")] == ["Wrong", "Flag"]
    for page in pages:
        text = page.read_text()
        pictures = re.findall("<img [^>]*>", text)
        assert all('loading="lazy"' in picture and 'width="648" height="364"' in picture for picture in pictures)
        links = re.findall(r'href="((?:index|page)[^"]*)"', text)
        assert {tmp_path / link for link in links if "#" not in link} == {*pages} - {page}
        for link in links:  # to where a section begins
            file, _, place = link.partition("#")
            assert not place or f'id="{place}"' in (tmp_path / file).read_text()


def test_names_of_files_are_not_taken_for_html(model_file, tmp_path):
    name = '<b>"a" & b?#.png'
    one = shown(1, "normal", "normal", 0.9, name)
    text = write_pages(tmp_path, [one], [Prediction(name, error="x")], model_file).read_text()
    page = Reader(text)
    assert "".join(page.names) == name
    assert page.alts[0].startswith(f"{name}: ")
    assert "<of>" not in text


def test_what_is_healthy_is_not_drawn_in_alarming_red(bundle_of, squares):
    predictor = Predictor(bundle_of("flat"))
    found = explain(predictor, next((squares / "test" / "normal").iterdir()))
    (heatmap,) = found.heatmaps
    heatmap = replace(heatmap, values=np.full_like(heatmap.values, 9.0))
    for label, red in (("normal", False), ("infected/covid", True)):
        sheet = draw(replace(found, heatmaps=(replace(heatmap, child=label),)), predictor.model_file)
        pixels = np.asarray(sheet).astype(int)[:, sheet.width // 2 + 8 :]
        assert ((pixels[..., 0] > pixels[..., 2]).mean() > 0.9) == red


def test_pictures_lie_where_the_page_looks_for_them(bundle_of, tmp_path):
    predictor = Predictor(bundle_of("cascade"))
    files = []
    for number, folder in enumerate(("normal", "infected/covid", "a b#c?")):
        file = tmp_path / "in" / folder / "x y.png"
        file.parent.mkdir(parents=True)
        Image.fromarray(np.add.outer(np.arange(80 + number), np.arange(60)).astype(np.uint8)).save(file)
        files.append(file)
    gallery = Gallery(tmp_path / "out", files, predictor.model_file)
    for file in files:
        drawn = gallery.add(file, explain(predictor, file))
        with Image.open(drawn) as picture:
            assert picture.format == "JPEG"
    text = gallery.close().read_text()
    from urllib.parse import unquote

    sources = [unquote(source) for source in re.findall(r'src="([^"]*)"', text)]
    assert len(sources) == 3
    assert all((tmp_path / "out" / source).is_file() for source in sources)
    assert [gallery.truth_of(file) for file in files] == ["normal", "infected/covid", ""]


def test_what_was_drawn_among_the_data_is_no_label_of_theirs(model_file, tmp_path):
    for name in ("covid/1.png", "normal/2.png", "explained/covid/1.png.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    write_pages(tmp_path / "explained", [shown(1, "normal", "normal", 0.9)], [], model_file)
    assert read_folders(tmp_path).labels == ("normal", "covid")


def test_a_folder_that_cannot_be_made_is_said_so(model_file, tmp_path, refuses):
    (tmp_path / "file").write_text("")
    with refuses(UsageError, "unusable"):
        Gallery(tmp_path / "file" / "out", [Path("x.png")], model_file)


def test_what_an_earlier_call_has_drawn_is_no_radiograph(tmp_path):
    from hilum.serving.inputs import find_files

    for name in ("a.png", "out/b.jpg", "out/c/d.jpg", "other/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = [file.relative_to(tmp_path).as_posix() for file in find_files([tmp_path], without=[tmp_path / "out"])]
    assert found == ["a.png", "other/e.png"]
    assert len(list(find_files([tmp_path], without=[tmp_path]))) == 4  # drawn beside the images themselves
    assert len(list(find_files([tmp_path / "out"], without=[tmp_path]))) == 2


@pytest.fixture(scope="module")
def shipped():
    return Predictor(threads=1)


def radiograph(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(file.name)).normal(120, 40, (80, 80)).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file


def draw_all(shipped, folder, files):
    gallery = Gallery(folder, files, shipped.model_file)
    drawn = [gallery.add(file, explain(shipped, file)) for file in files]
    return drawn, Reader(gallery.close().read_text())


def test_names_that_are_too_long_or_taken_cost_nothing(shipped, tmp_path):
    names = ["x.png", "x.png.jpg/y.png", "b.png.jpg/y.png", "b.png", f"{'a' * 251}.png", f"{'é' * 125}.dcm"]
    files = [radiograph(tmp_path / "in" / name) for name in names]
    drawn, page = draw_all(shipped, tmp_path / "out", files)
    assert len(set(drawn)) == len(files)
    for file in drawn:
        with Image.open(file) as picture:
            picture.load()
    assert sorted(page.names) == sorted(names)
    again, _ = draw_all(shipped, tmp_path / "out", files)
    assert again == drawn


def test_pictures_and_pages_of_others_are_not_replaced(shipped, tmp_path):
    file = radiograph(tmp_path / "in" / "x.png")
    (tmp_path / "out").mkdir()
    mine = tmp_path / "out" / "x.png.jpg"
    Image.new("L", (8, 8)).save(mine)
    before = mine.read_bytes()
    (drawn,), _ = draw_all(shipped, tmp_path / "out", [file])
    assert mine.read_bytes() == before
    assert drawn != mine
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.html").write_text("<p>mine")
    with pytest.raises(UsageError):
        Gallery(tmp_path / "other", [file], shipped.model_file)
    assert (tmp_path / "other" / "index.html").read_text() == "<p>mine"


def test_a_folder_of_images_to_explain_is_refused_however_it_is_reached(shipped, tmp_path):
    file = radiograph(tmp_path / "in" / "deep" / "x.png")
    (tmp_path / "link").symlink_to(tmp_path / "in", target_is_directory=True)
    for folder in (tmp_path / "in", tmp_path / "in" / "deep", tmp_path / "link", tmp_path / "link" / "deep"):
        with pytest.raises(UsageError):
            Gallery(folder, [file], shipped.model_file)
    (tmp_path / "one.png").symlink_to(file)
    with pytest.raises(UsageError):
        Gallery(tmp_path / "in", [tmp_path / "one.png"], shipped.model_file)
    inside = radiograph(tmp_path / "in" / "deep" / "sub" / "y.png.jpg")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(inside.parent, target_is_directory=True)
    before = inside.read_bytes()
    other = radiograph(tmp_path / "set" / "sub" / "y.png")
    drawn, _ = draw_all(shipped, tmp_path / "out", [other, radiograph(tmp_path / "set" / "z.png")])
    assert inside.read_bytes() == before
    assert [one.parent for one in drawn] == [tmp_path / "out"] * 2
    Gallery(tmp_path / "in" / "deep" / "new", [file], shipped.model_file)  # beside them it may be


def test_the_class_of_a_whole_page_is_no_class_of_a_part_of_one():
    """It once was that of a grid of pictures, which squeezed the page into columns of 150 pixels."""
    folder = files("hilum.templates")
    pages = [page.read_text() for page in folder.iterdir() if page.name.endswith(".j2")]
    of_pages = {name for page in pages for name in re.findall(r'block body %} class="([^"]+)"', page)}
    of_parts = set(re.findall(r"\.([a-z][\w-]*)", folder.joinpath("report.css").read_text()))
    assert of_pages
    assert "gallery" in of_parts
    assert not of_pages & of_parts

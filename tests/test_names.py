"""Names are data, not markup: one set of nasty names through everything that shows names."""

import csv
import io
import json
import os
import re
import sys
import unicodedata
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from hilum.text import HIDDEN, code_span, encodable, escape, is_text, markdown, on_page, printable

LABELS = (
    "normal",
    "[bold]covid[/x]",
    "<img src=x onerror=y>&amp;",
    "$\\alpha$|`b`*_",
    "red\x1b[31m",
    "te\u202etx",
)
FILES = (b"[red].png", b"a\nb.png", b"caf\xe9.png", b"=1+1,\"'.png", b"<script>.png", b"\x1b]0;title\x07.png")
TINY = ["network.options.width=4", "network.options.blocks=[1, 1]", "preprocessing.size=32", "max_steps=2"]


class Page(HTMLParser):
    """Tags and text of a page; a name taken for markup would be a tag."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]

    def handle_data(self, data):
        self.text += data


def hidden(text):
    return [letter for letter in text if unicodedata.category(letter) in HIDDEN and letter not in "\n\t"]


def check_page(path, *, names=()):
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert not hidden(text)
    assert not [entry for entry in page.attributes if entry[1].startswith("on") or entry[2] == "x"]
    assert "script" not in page.tags
    shown = re.sub(r"\s+", " ", page.text) + " ".join(str(value) for _, _, value in page.attributes)
    for name in names:
        assert re.sub(r"\s+", " ", on_page(name)) in shown, name
    return page


@pytest.fixture
def call(capsys, monkeypatch):
    """Run the command line in this process."""
    from hilum.cli.app import main

    def run(*arguments, code=0):
        monkeypatch.setattr(sys, "argv", ["hilum", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        found = stop.value.code or 0
        assert code in (found, None), out + err
        assert not hidden(err), err
        return SimpleNamespace(out=out, err=err, code=found)

    return run


@pytest.fixture
def nasty(tmp_path):
    """A folder of classes with such names, and such files in each."""
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for k, label in enumerate(LABELS):
            folder = tmp_path / "data [i]\x1b[0m" / split / label
            folder.mkdir(parents=True)
            for number in range(12):
                name = FILES[number] if number < len(FILES) else f"{number}.png".encode()
                pixels = generator.normal(50 + 30 * k, 25, (40, 40)).clip(0, 255).astype(np.uint8)
                with open(os.fsencode(folder) + b"/" + split.encode() + name, "wb") as file:  # noqa: PTH123 - bytes
                    Image.fromarray(pixels).save(file, "PNG")
    return tmp_path / "data [i]\x1b[0m"


@pytest.mark.slow  # every command once
def test_no_output_takes_a_name_for_anything_else(nasty, call, tmp_path):
    run = tmp_path / "run [bold]\x1b[31m</title>"
    settings = [part for setting in (*TINY, "name=[/x]<b>`|") for part in ("--set", setting)]
    outputs = [call("audit", nasty, "--out", tmp_path / "audit"), call("train", nasty, "--out", run, *settings)]
    outputs += [call("evaluate", run), call("report", run)]
    model = tmp_path / "m.onnx"
    outputs.append(call("export", run, model, "--hub-folder", tmp_path / "hub", "--name", "[/x]<i>\x1b[31m"))
    outputs.append(call("predict", nasty / "test", "--model", model, "--explain", tmp_path / "maps"))
    outputs.append(call("predict", nasty / "test" / "no\x1b[31m[/x].png", "--model", model, code=1))
    outputs.append(call("train", nasty, "--out", run, *settings, code=1))  # the run is in the way
    for output in outputs:
        assert not hidden(output.out), output.out
    assert "[bold]covid[/x]" in outputs[2].out
    check_page(tmp_path / "audit" / "audit.html", names=LABELS)
    check_page(run / "report.html", names=LABELS)
    page = check_page(tmp_path / "maps" / "index.html", names=LABELS)
    pictures = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    from urllib.parse import unquote_to_bytes

    drawn = {os.fsencode(file.relative_to(tmp_path / "maps")) for file in (tmp_path / "maps").rglob("*.jpg")}
    assert {unquote_to_bytes(picture) for picture in pictures} == drawn
    for card in (tmp_path / "hub" / "README.md", run / "model_card.md"):
        text = card.read_text(encoding="utf-8")
        assert not hidden(text)
        assert not re.search(r"(?<![`\\])<img", re.sub(r"`+[^`\n]+`+", "", text.split("---\n", 2)[2]))

    lines = call("predict", nasty / "test", "--model", model, "--json", "-").out.splitlines()
    table = call("predict", nasty / "test", "--model", model, "--csv", "-").out
    found = [json.loads(line) for line in lines]
    rows = list(csv.reader(io.StringIO(table, newline="")))
    assert len(found) == len(rows) - 1 == 72
    assert {len(row) for row in rows} == {len(rows[0])}
    assert [row[0] for row in rows[1:]] == [one["path"] for one in found]
    assert {f"p:{label}" for label in LABELS} <= set(rows[0])
    files = {encodable(str(file)) for file in (nasty / "test").rglob("*.png")}
    assert {one["path"] for one in found} == files
    assert sum("caf\\xe9" in path for path in files) == len(LABELS)


# What names hold that somebody means to be obeyed; no file of a dataset has to have any of it, and any may.
HOSTILE = (
    "\x1b[31mred\x1b[2J",
    "\x1b]0;owned\x07",
    "a\nb\r\nc",
    "# a\n\n# heading\n<script>",
    "t\tab",
    "\u202egnp.exe",
    "zero\u200bwidth\u2060\ufeff",
    "\u2028line\u2029",
    "\x7fdel\x9bcsi\x85",
    "[red]x[final]",
    "[/bold]",
    ":100:bomb:",
    "<script>alert(1)<",
    '"onload=alert(1) x="',
    "'><img src=x onerror=y>",
    "![i](http:x)[l](javascript:y)",
    "|pipe|",
    "`tick``",
    "=cmd|calc!A1",
    "{{7*7}}%s{0}$x$&amp;",
    "***b***~~s~~",
)
HOSTILE_LABELS = (
    "normal",
    "\x1b]0;t\x1b\\[red]a[/bold]|`b`:100:",
    "<script>x</script>\u202e![](http://x)\x7f",
    '#\n# h\t"onload=x =\x9b\u200b\u2028',
)


def check_markdown(path):
    """What a reader of CommonMark makes of a card: no element but those of the card itself."""
    from markdown_it import MarkdownIt

    text = path.read_text(encoding="utf-8")
    assert not hidden(text)
    front, body = text.split("---\n", 2)[1:] if text.startswith("---\n") else ("", text)
    assert "\x1b" not in front
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(body)
    inside = [child for token in tokens for child in token.children or []]
    found = {token.type for token in (*tokens, *inside)}
    assert not found & {
        "html_block",
        "html_inline",
        "image",
        "link_open",
        "s_open",
        "em_open",
        "hr",
        "fence",
        "code_block",
    }
    headings = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    assert len([line for line in body.splitlines() if line.startswith("#")]) == len(headings)
    return headings


@pytest.fixture
def hostile(tmp_path):
    """A table whose labels, patients, sources and files have such names, in a folder that has one as well.

    Bells, and line ends in paths, are left to the names of other files: a table that holds them is refused.
    """
    root = tmp_path / "d\x1b[31m[/x]\u202e\n<b>\x7f"
    root.mkdir(parents=True)
    generator, rows = np.random.default_rng(0), []
    for k, label in enumerate(HOSTILE_LABELS):
        for number, name in enumerate(text.replace("\x07", "\x1b\\") for text in HOSTILE):
            split = "test" if number % 4 == 0 else "train"
            file = os.fsencode(re.sub(r"[/\r\n]", "", f"{k}{name}.png"))
            pixels = generator.normal(50 + 30 * k, 25, (40, 40)).clip(0, 255).astype(np.uint8)
            with open(os.fsencode(root) + b"/" + file, "wb") as opened:  # noqa: PTH123 - bytes
                Image.fromarray(pixels).save(opened, "PNG")
            rows.append(
                (os.fsdecode(file), label, split, f"{k}{name}", f"site {name}" if k % 2 else HOSTILE[9 + number % 2])
            )
    with (root / "metadata.csv").open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        csv.writer(file).writerows([("path", "label", "split", "patient_id", "source"), *rows])
    return root


@pytest.mark.slow  # every command once
@pytest.mark.timeout(900)
def test_nothing_that_is_written_or_printed_obeys_a_name(hostile, call, tmp_path, monkeypatch):
    from hilum.training.run import open_run

    monkeypatch.setenv("COLUMNS", "3000")  # a name on one line, so that it can be found
    run, name, model = (
        tmp_path / "run\x1b]0;x\x07[red]\n<i>:100:",
        "r\x1b[31m[/x]<b>`|\n# h",
        tmp_path / "m\x1b[0m[x].onnx",
    )
    recipe = tmp_path / "re\x07cipe[/].toml"
    recipe.parent.mkdir()
    recipe.write_text("name = " + json.dumps(name) + "\n")
    settings = ["--recipe", recipe, *(part for setting in TINY for part in ("--set", setting))]
    shown = [
        call("audit", hostile, "--out", tmp_path / "audit", "--fix", tmp_path / "fixed\x1b[0m.csv"),
        call("train", hostile, "--out", run, *settings),
        call("evaluate", run),
        call("evaluate", run, hostile, "--split", "train", "--out", tmp_path / "out\x1b[/x]"),
        call("report", run),
        call("compare", run, run, "--out", tmp_path / "com\x9bpare"),
        call("ledger"),
        call("export", run, model, "--hub-folder", tmp_path / "hub", "--name", name, "--licence", HOSTILE[3]),
        call("predict", hostile, "--model", model),
        call("predict", hostile, "--model", model, "--explain", tmp_path / "maps\x1b[0m"),
        call("predict", "--model", model, "--study", f"{hostile / 'metadata.csv'}:patient_id"),
        call("predict", hostile, "--model", model, "--json", "-"),
        call("sweep", hostile, "--out", tmp_path / "sweep[/]\x07", *settings, "--set", "lr=0.01,0.02"),
        call("summary", "--labels", ",".join(label.replace(",", "") for label in HOSTILE_LABELS[1:3])),
    ]
    # Refusals of every stage name what they refuse.
    for arguments in (
        ("train", tmp_path / HOSTILE[0], "--out", tmp_path / "x"),
        ("train", hostile, "--out", run),
        ("train", hostile, "--out", tmp_path / "x", "--set", f"protected={HOSTILE[9]}\x1b"),
        ("train", hostile, "--out", tmp_path / "x", "--set", f"{HOSTILE[5]}=1"),
        ("evaluate", run, hostile, "--split", f"{HOSTILE[1]}[/]"),
        ("evaluate", tmp_path / "\x1b[/]"),
        ("certify", run, "--group", HOSTILE_LABELS[1]),
        ("export", run, tmp_path / "y.onnx", "--display", f"{HOSTILE[0]}=x"),
        ("predict", tmp_path / "\x1b[/]:100:.png", "--model", model),
        ("predict", hostile, "--model", tmp_path / "\x07[/].onnx"),
        ("predict", hostile, "--\x1b[31m[/]"),
        (HOSTILE[0],),
        ("compare", run, tmp_path / "\u202e"),
    ):
        refused = call(*arguments, code=None)
        assert refused.code
        shown.append(refused)
    for output in shown:
        assert not hidden(output.out), output.out
    assert printable(HOSTILE_LABELS[1]) in shown[2].out  # brackets and colons as they are
    assert printable(str(run)) in shown[2].out

    kinds = set()
    for file in (path for path in tmp_path.rglob("*") if path.is_file() and hostile not in path.parents):
        kinds.add(file.suffix)
        if file.suffix == ".html":
            check_page(file)
        elif file.suffix == ".md":
            check_markdown(file)
        elif file.suffix in (".json", ".jsonl", ".log", ".svg"):
            assert not hidden(file.read_text(encoding="utf-8")), file
    assert {".html", ".md", ".json", ".log"} <= kinds
    labels = open_run(run).labels
    assert set(HOSTILE_LABELS[:2]) <= set(labels)
    check_page(run / "report.html", names=labels)
    check_page(tmp_path / "audit" / "audit.html", names=labels)


def test_a_strict_standard_output_of_another_encoding_takes_every_name(hilum, bundle_of, squares, tmp_path):
    source = next((squares / "test" / "normal").iterdir())
    folder = tmp_path / "in"
    folder.mkdir()
    for name in (b"caf\xe9.png", "肺.png".encode()):
        with open(os.fsencode(folder) + b"/" + name, "wb") as file:  # noqa: PTH123 - a name that is not UTF-8
            file.write(source.read_bytes())
    for option in ("--csv", "--json"):
        result = hilum("predict", folder, "--model", bundle_of("flat"), option, "-", PYTHONIOENCODING="ascii:strict")
        assert result.returncode == 0
        assert len(result.stdout.splitlines()) == 2 + (option == "--csv")
    assert hilum("predict", folder, "--model", bundle_of("flat"), PYTHONIOENCODING="ascii:strict").returncode == 0


def test_bars_and_lines_show_titles_as_they_are(capsys):
    from hilum.progress import PlainProgress, TerminalProgress

    name = "[red]x[/y]\x1b[31m\u202e"
    bars = TerminalProgress()
    bars.console.file, bars.console._force_terminal = io.StringIO(), True
    for progress in (PlainProgress(), bars):
        progress.line(name)
        with progress.task(name, 2) as advance:
            progress.status(name)
            advance(2)
    bars = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", bars.console.file.getvalue()).replace("\r", "")
    for text in (bars, capsys.readouterr().err):
        assert not hidden(text)
        assert text.count(printable(name)) >= 2


def test_rich_shows_escaped_text_as_it_is():
    from rich.text import Text

    for name in ("[bold]", "[/x]", "a\\[b]", "end\\", "\x1b[31m", "[link=x]y[/link]"):
        assert Text.from_markup(f"[bold]{escape(name)}[/]").plain == printable(name)


def test_only_what_utf8_cannot_hold_is_changed_for_programs():
    assert encodable("a\nb\x1b\u202e肺") == "a\nb\x1b\u202e肺"
    assert encodable("caf\udce9") == "caf\\xe9"
    assert is_text(encodable("\ud800\udce9"))


def test_markdown_shows_names_as_they_are():
    assert markdown("# [a](b) <i> *c* |_`~&") == "\\# \\[a\\](b) \\<i\\> \\*c\\* \\|\\_\\`\\~\\&"
    assert code_span("a") == "`a`"
    assert code_span("a`b") == "`` a`b ``"
    assert code_span("a|b") == "`a\\|b`"

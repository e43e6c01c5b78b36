"""The commands and the Python of the tutorials work, one after the other, as the pages show them."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from places import REAL
from sizes import FULL, sized

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = ROOT / "docs" / "tutorials"
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md"))]
sys.path.insert(0, str(ROOT / "docs"))  # not part of the package

BLOCK = re.compile(r"(?:<!-- (?P<note>[^>]*) -->\n)?^```(?P<language>sh|python)\n(?P<code>.*?)^```$", re.M | re.S)


def blocks(page):
    """Language, code and expected exit code of every block that is to be run, in their order."""
    for found in BLOCK.finditer((TUTORIALS / page).read_text(encoding="utf-8")):
        note = found["note"] or "exit code 0"
        if note != "not run":
            yield found["language"], found["code"], int(note.removeprefix("exit code "))


def follow(page, folder):
    """Do what a page says, in an empty folder; in CI trainings end after a few steps, and there are fewer phantoms."""
    places = os.environ | {"HILUM_CACHE": str(folder / ".cache"), "HILUM_LEDGER": str(folder / ".ledger.jsonl")}
    ran = 0
    for language, code, expected in blocks(page):
        if language == "sh":
            command = ["bash", "-ec", f'hilum() {{ "{sys.executable}" -m hilum "$@"; }}\n{code}']
            if not FULL:
                command[-1] = command[-1].replace("\nhilum train ", "\nhilum train --set max_steps=8 ")
                command[-1] = command[-1].replace("--patients 800", "--patients 680")  # enough to certify 80 %
        else:
            command = [sys.executable, "-W", "error", "-c", code]
        done = subprocess.run(command, cwd=folder, env=places, capture_output=True, text=True, timeout=600)
        assert done.returncode == expected, f"{page}:\n{code}\n{done.stdout}\n{done.stderr}"
        ran += 1
    return ran


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_your_first_model_in_ten_minutes(tmp_path):
    assert follow("first-model.md", tmp_path) == 9
    assert (tmp_path / "runs" / "first" / "report.html").is_file()
    assert (tmp_path / "answers.csv").is_file()


def write_part(whole, part, every):
    """Links to every so-manieth image of a dataset, and their rows of its table."""
    with (whole / "metadata.csv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        some = [row for number, row in enumerate(rows) if number % every == 0]
    part.mkdir()
    for row in some:
        (part / row["path"]).parent.mkdir(exist_ok=True)
        (part / row["path"]).symlink_to(whole / row["path"])
    with (part / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows.fieldnames)
        writer.writeheader()
        writer.writerows(some)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_from_a_downloaded_dataset_to_a_report(tmp_path):
    if not (REAL / "darkcovidnet").is_dir():
        pytest.skip("the real radiographs (../shared/data/darkcovidnet) are not on this machine")
    write_part(REAL / "darkcovidnet", tmp_path / "darkcovidnet", sized(3, 1))
    assert follow("downloaded-dataset.md", tmp_path) == 5
    assert (tmp_path / "runs" / "dark" / "report.html").is_file()


@pytest.mark.slow
def test_the_notebook_has_the_outputs_of_today():
    import nbformat

    from execute_notebook import NOTEBOOK, executed

    def texts(notebook):
        for cell in notebook.cells:
            for output in cell.get("outputs", ()):
                yield cell.source, output.get("text") or output.get("data", {}).get("text/plain")

    assert list(texts(executed())) == list(texts(nbformat.read(NOTEBOOK, as_version=4)))


def test_commands_of_every_page_exist():
    import typer

    from hilum.cli.app import app

    commands = typer.main.get_command(app).commands
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for code in re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S) + re.findall(r"`(hilum [^`]+)`", text):
            for line in code.splitlines():
                words = line.partition("#")[0].split()
                if words[:1] != ["hilum"] or words[1].startswith("-"):
                    continue
                for name in words[1].split("|"):
                    command = commands[name]
                    command = getattr(command, "commands", {}).get("".join(words[2:3]), command)
                    known = {option for one in command.params for option in [*one.opts, *one.secondary_opts, "--help"]}
                    asked = {word.partition("=")[0] for word in words if word.startswith("--")}
                    assert asked <= known, f"{page.name}: {line}"


def test_options_of_every_message_exist():
    """Of all messages that tests have seen."""
    import typer

    from hilum.cli.app import app

    def options(command):
        own = {option for one in command.params for option in [*one.opts, *one.secondary_opts]}
        return own.union(*map(options, getattr(command, "commands", {}).values()))

    known = options(typer.main.get_command(app)) | {"--help"}
    for file in (ROOT / "tests" / "snapshots").glob("*.txt"):
        for line in file.read_text(encoding="utf-8").splitlines():
            if not line.startswith("## ") and not re.search(r"(?i)no (such )?option:? --", line):
                assert {*re.findall(r"(?<![\w-])--[a-z][\w-]+", line)} <= known, f"{file.name}: {line}"


def test_readme_names_every_page():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [page.name for page in PAGES[1:] if f"]({page.relative_to(ROOT).as_posix()})" not in text]


def test_python_of_the_pages_compiles_and_uses_public_names():
    import hilum

    for page in PAGES:
        for code in re.findall(r"^```python\n(?!#)(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S):
            compile(code, str(page), "exec")
            assert {*re.findall(r"\bhilum\.([a-z_]+)\(", code)} <= {*hilum.__all__}, page

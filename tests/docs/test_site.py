"""The documentation builds without a warning, links lead somewhere, and pages made from the code say what it says."""

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from functools import reduce
from pathlib import Path

import pytest

from hilum.training.recipe import Recipe, load_recipe

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))  # not part of the package

import generated_pages  # noqa: E402


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as ``make docs`` does: a link or an anchor that leads nowhere is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.ci
def test_every_page_is_built(site):
    pages = {path.relative_to(DOCS).with_suffix(".html").as_posix() for path in DOCS.rglob("*.md")}
    made = {"index.html", "reference/command-line.html", "tutorials/notebook.html", "project/contributing.html"}
    built = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    assert pages | made <= built
    assert not list(site.rglob("*.py"))
    assert "https://keepachangelog.com/" in (site / "external-links.txt").read_text()


@pytest.mark.ci
def test_a_page_loads_nothing_from_another_host(site):
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|iframe|link)[^>]*\s(?:src|href)="(https?:[^"]*)"', page.read_text())
        assert not loaded, page


@pytest.mark.ci
def test_every_public_name_is_documented(site):
    import hilum

    page = (site / "reference" / "python.html").read_text()
    headings = set(re.findall(r'<h[34] id="[\w.]*?(\w+)"', page))
    assert headings >= set(hilum.__all__) - {"Dataset", "Recipe"}  # types of arguments


def test_the_reference_lists_every_command_and_option():
    import typer

    from hilum.cli.app import app

    page = generated_pages.command_line()
    commands = dict(typer.main.get_command(app).commands)
    commands |= {f"node {name}": command for name, command in commands["node"].commands.items()}
    assert "node check" in commands
    for name, command in commands.items():
        assert command.hidden or f"## hilum {name}\n" in page
        for parameter in command.params:
            assert (
                command.hidden
                or parameter.name == "help"
                or f"`{parameter.opts[0]}`" in page
                or (f"`{parameter.opts[0].upper()}`" in page)
            )


def test_the_reference_lists_every_key_with_its_default_and_what_training_uses():
    listed = re.findall(
        r"^\| `([a-z_.]+)` \| `(.+?)` \| `(.+?)` \| .* \| (.+) \|$", generated_pages.recipe_keys(), re.M
    )

    def flatten(values, prefix=""):
        for key, value in values.items():
            if isinstance(value, dict) and value:
                yield from flatten(value, f"{prefix}{key}.")
            else:
                yield prefix + key, value

    used, defaults = (dict(flatten(recipe.model_dump())) for recipe in (load_recipe("compact"), Recipe()))
    assert {key for key, *_ in listed} >= defaults.keys()  # which lack what is written only where it is used
    for key, *shown, meaning in listed:
        values = [reduce(getattr, key.split("."), recipe) for recipe in (load_recipe("compact"), Recipe())]
        assert [json.loads(text) for text in shown] == values, key
        assert [known.get(key, value) for known, value in zip((used, defaults), values, strict=True)] == values, key
        assert len(meaning) > 10, key


def test_the_reference_lists_every_key_of_the_schemas():
    page = generated_pages.files()
    for path in (DOCS / "schemas").glob("*.json"):
        for one in json.loads(path.read_text()).get("$defs", {}).values():
            assert all(f"| `{key}` |" in page for key in one.get("properties", ()))


def test_links_of_the_repository_become_links_of_the_site():
    import hooks

    linked = hooks.with_site_links("[a](docs/explanation/audit.md#x) [b](https://x.org) [c](CHANGELOG.md)", "index.md")
    assert linked == "[a](explanation/audit.md#x) [b](https://x.org) [c](project/changelog.md)"
    back = hooks.with_site_links("[a](../../CONTRIBUTING.md#y) [b](../images/z.svg)", "explanation/audit.md")
    assert back == "[a](../project/contributing.md#y) [b](../images/z.svg)"


def test_every_study_fills_a_place_that_a_page_has():
    places = {name for page in DOCS.rglob("*.md") for name in re.findall(r"<!-- ([a-z_-]+) -->", page.read_text())}
    studies = "\n".join(path.read_text() for path in (ROOT / "studies").glob("*.py"))
    for name in sorted(places - {"end", "recipe-keys", "schemas"}):
        assert f'"{name}"' in studies, name
    for page in re.findall(r'fill\("([^"]+)"', studies):
        assert (DOCS / page).is_file(), page


@pytest.mark.parametrize("folder", ["studies", "benchmarks", "docs"])
def test_what_scripts_import_of_hilum_exists(folder):
    """They are run by hand, months apart; their names go out of date unseen."""
    for script in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(script.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "hilum":
                module = importlib.import_module(node.module)
                for name in (alias.name for alias in node.names):
                    below = importlib.util.find_spec(f"{node.module}.{name}") if hasattr(module, "__path__") else None
                    assert hasattr(module, name) or below, f"{script.name}: {node.module} has no {name}"

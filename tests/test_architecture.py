"""The house: which room may import which, and how large a file may become."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "hilum"
FILES = sorted(SOURCE.rglob("*.py"))
# A room may import itself and every room of a smaller number; rooms of one number do not know each other.
LEVEL = {
    "__init__": 0,
    "cells": 0,
    "errors": 0,
    "opening": 0,
    "printable": 0,
    "saving": 0,
    "progress": 1,
    "text": 0,
    "templating": 1,
    "intervals": 1,
    "file_sets": 1,
    "targets": 1,
    "data": 2,
    "recipes": 2,
    "audit": 3,
    "models": 3,
    "training": 4,
    "evaluation": 5,
    "reporting": 6,
    "serving": 7,
    "demo": 7,
    "cli_data": 8,
    "cli_messages": 5,
    "cli_evaluation": 9,
    "export": 8,
    "cli_serving": 9,
    "cli": 10,
    "__main__": 11,
}
# What answers in a hospital has to be small: of all rooms below it, serving may reach this much.
SERVING = {
    "errors",
    "opening",
    "printable",
    "saving",
    "cells",
    "targets",
    "progress",
    "templating",
    "text",
    *(f"data.{name}" for name in ("crew", "familiarity", "grey_values", "images", "operating_point")),
    *(f"data.{name}" for name in ("reading", "reduction")),
    *(f"data.readers.{name}" for name in ("companions", "listing")),  # what lies in a folder, and is no radiograph
}


def room(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports(path):
    """Modules of hilum that a file imports, wherever the statement stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "hilum")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module.split(".")[0] == "hilum":
                yield node.module


def offences(path, imported):
    here = room("hilum." + path.relative_to(SOURCE).with_suffix("").as_posix().replace("/", "."))
    for module in imported:
        there = room(module)
        if there != here and LEVEL[there] >= LEVEL[here]:
            yield f"{path.relative_to(SOURCE)} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_rooms_import_downwards_only(path):
    assert not list(offences(path, imports(path)))


def test_an_import_upwards_would_be_found():
    assert list(offences(SOURCE / "data" / "cache.py", ["hilum.training.fit"]))
    assert list(offences(SOURCE / "models" / "vgg.py", ["hilum.audit.shortcuts"]))


def test_serving_reaches_little_of_the_house():
    for path in FILES:
        if room("hilum." + path.relative_to(SOURCE).as_posix().replace("/", ".")) == "serving":
            reached = {module.removeprefix("hilum.") for module in imports(path)}
            assert {name for name in reached if not name.startswith("serving")} <= SERVING, path


def test_no_file_has_more_than_400_lines():
    lengths = [len(path.read_text().splitlines()) for path in FILES]
    assert max(lengths) <= 400


def test_no_room_is_called_by_what_it_is_not():
    forbidden = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
    assert not [path for path in SOURCE.rglob("*") if path.stem in forbidden]


def test_the_command_line_starts_without_heavy_imports(hilum):
    code = (
        "import sys, runpy; sys.argv = ['hilum', '--help']\n"
        "try: runpy.run_module('hilum', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'lightning', 'monai', 'matplotlib', 'sklearn', 'scipy', 'pydantic', 'PIL'}\n"
        "print('HEAVY:', sorted(heavy & set(sys.modules)))"
    )
    import subprocess
    import sys

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY: []" in result.stdout


def test_errors_form_the_tree_that_their_docstring_draws():
    import hilum.errors

    drawn = [line.lstrip("│├└─ ").split()[0] for line in hilum.errors.__doc__.splitlines() if "Error " in line]
    defined = [name for name in vars(hilum.errors) if name.endswith("Error")]
    assert sorted(drawn) == sorted(defined)

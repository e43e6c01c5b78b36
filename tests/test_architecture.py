"""Which package may import which, how large a file may become, and what visitors may rely on."""

import ast
import importlib
import importlib.util
import re
import runpy
import shutil
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "hilum"
FILES = sorted(SOURCE.rglob("*.py"))
# A package may import itself and every package of a smaller number; packages of one number do not know each other.
LEVEL = {
    "__init__": 0,
    "earlier": 0,
    "errors": 0,
    "extras": 1,
    "signatures": 1,
    "files": 0,
    "text": 0,
    "recipes": 0,
    "documents": 1,
    "progress": 1,
    "outputs": 1,
    "templating": 1,
    "ray_engine": 2,
    "data": 3,
    "stats": 4,
    "decision": 4,
    "phantoms": 4,
    "models": 4,
    "auditing": 5,
    "serving": 5,
    "archives": 6,
    "training": 6,
    "evaluation": 7,
    "report": 8,
    "exporting": 9,
    "api": 10,
    "cli": 10,
    "sklearn": 11,
    "__main__": 11,
}
# What answers in a hospital has to be small: of all packages below it, serving may reach this much.
SERVING = {
    *("earlier", "errors", "extras", "files", "outputs", "progress", "templating", "text"),
    *("decision.ood", "decision.operating_point"),
    *(f"data.{name}" for name in ("dicom_header", "grey_values", "images", "process_pool")),
    *(f"data.readers.{name}" for name in ("folder_kinds", "listing")),  # what lies in a folder, and is no radiograph
}
# What the HTTP service needs besides: what is costly to decode, and examples for whoever has no radiograph.
SERVICE = SERVING | {"data.file_kinds", "phantoms.radiograph"}
# What the DICOM node needs besides: what rules ask of a header, and whether an object can be opened at all.
NODE = SERVING | {"data.dicom_header", "data.dicom_pixels"}
# The tree that nested labels form, and numbers in words; statistics know no run and no file.
STATS = {"data.labels", "errors", "text"}


def package(module):
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
    here = package("hilum." + path.relative_to(SOURCE).with_suffix("").as_posix().replace("/", "."))
    for module in imported:
        there = package(module)
        if there != here and LEVEL[there] >= LEVEL[here]:
            yield f"{path.relative_to(SOURCE)} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_packages_import_downwards_only(path):
    if path != SOURCE / "__init__.py":  # the public names, which are loaded when they are used
        assert not list(offences(path, imports(path)))


def test_an_import_upwards_would_be_found():
    assert list(offences(SOURCE / "data" / "cache.py", ["hilum.training.loop"]))
    assert list(offences(SOURCE / "models" / "vgg.py", ["hilum.auditing.checks.shortcuts"]))


def test_serving_reaches_little():
    for path in FILES:
        if package("hilum." + path.relative_to(SOURCE).as_posix().replace("/", ".")) == "serving":
            reached = {module.removeprefix("hilum.") for module in imports(path)}
            allowed = {"http": SERVICE, "node": NODE}.get(path.parent.name, SERVING)
            assert {
                name for name in reached if name not in ("", "hilum") and not name.startswith("serving")
            } <= allowed, path


def test_no_file_has_more_than_400_lines():
    assert max(len(path.read_text().splitlines()) for path in FILES) <= 400


def test_no_two_modules_have_one_name():
    names = Counter(path.stem for path in FILES if path.stem != "__init__")
    assert not [name for name, count in names.items() if count > 1]


def test_no_two_files_of_tests_have_one_name():
    """Pytest refuses the second one, with an error, after all others have run."""
    names = Counter(path.name for path in Path(__file__).parent.rglob("test_*.py"))
    assert not [name for name, count in names.items() if count > 1]


def test_statistics_know_no_run_and_no_file():
    for path in FILES:
        if path.parent.name == "stats":
            reached = {module.removeprefix("hilum.") for module in imports(path)}
            assert {name for name in reached if not name.startswith("stats")} <= STATS, path


def test_evaluation_and_serving_decide_by_one_rule():
    for name in ("evaluation", "serving"):
        assert any("hilum.decision.operating_point" in set(imports(path)) for path in (SOURCE / name).glob("*.py"))


def test_no_package_is_called_by_what_it_is_not():
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


def test_the_picture_shows_what_the_imports_say(tmp_path):
    script, picture = ROOT / "studies" / "architecture_picture.py", ROOT / "docs/images/architecture.svg"
    assert runpy.run_path(str(script))["draw"]() == picture.read_text(), f"renew it: python studies/{script.name}"
    for path in FILES:
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    (tmp_path / "studies").mkdir()
    draw = runpy.run_path(shutil.copy(script, tmp_path / "studies"))["draw"]
    assert draw() == picture.read_text()
    module = tmp_path / "src" / "hilum" / "stats" / "auc.py"
    module.write_text(f"{module.read_text()}\n\ndef another():\n    from hilum.decision import ood\n    return ood\n")
    assert draw() != picture.read_text()


def test_the_picture_orders_packages_as_the_levels_do():
    graph, _ = runpy.run_path(str(ROOT / "studies" / "architecture_picture.py"))["imports"]()
    above = [(here, there) for here, reached in graph.items() for there in reached if there in LEVEL]
    assert len(above) > 20
    assert all(LEVEL[there] < LEVEL[here] for here, there in above)


@pytest.mark.parametrize("page", ["docs/explanation/architecture.md", "CONTRIBUTING.md"])
def test_every_module_that_a_page_names_exists(page):
    names = set(re.findall(r"`(hilum(?:\.\w+)+)`", (ROOT / page).read_text()))
    assert names
    for name in sorted(names):
        try:
            known = importlib.util.find_spec(name) is not None
        except ModuleNotFoundError:  # of what stands before the last dot: a function in a module
            known = False
        if not known:
            module, _, attribute = name.rpartition(".")
            assert hasattr(importlib.import_module(module), attribute), f"{page}: {name}"


def test_the_page_has_a_paragraph_for_each_package():
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
    packages = {path.parent.name for path in SOURCE.glob("*/*.py") if path.stem != "__init__"}
    assert set(re.findall(r"^\*\*([a-z]+)\.\*\*", page, re.MULTILINE)) == packages
    for path in SOURCE.glob("[!_]*.py"):
        assert f"`hilum.{path.stem}`" in page

"""What Rich prints: no name gets into its markup unescaped, as far as the source itself can tell.

What is read from results, answers or model files (``facts["name"]``, ``model_file.group``) may stand in a cell, a
heading, a title, or between tags only within `escape` or `Text`, or as a number with a format.
"""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "hilum"
SAFE = {
    "escape",
    "_shown",
    "Text",
    "_Name",
    "_heading",
    "str",
    "len",
    "sum",
    "interval",
    "_three",
    "_image",
    "_read",
    "summary",
    "fraction",
    "plural",
    "cell_text",
    "p_text",
}
CELLS = {"add_row", "add_column"}


def of_rich():
    return sorted(path for path in SOURCE.rglob("*.py") if "from rich" in path.read_text())


def named(call):
    return getattr(call.func, "id", getattr(call.func, "attr", ""))


def reads(node):
    """What of an expression is read from somewhere, and reaches its value as it is."""
    if isinstance(node, ast.Call):
        if named(node) in SAFE or (named(node) == "map" and getattr(node.args[0], "id", "") in SAFE):
            return
        if named(node) == "printable":  # what Rich would still parse
            yield node
        for inner in [*node.args, *(word.value for word in node.keywords)]:
            yield from reads(inner)
    elif isinstance(node, ast.FormattedValue) and node.format_spec:
        return
    elif isinstance(node, ast.Attribute) or (
        isinstance(node, ast.Subscript) and isinstance(getattr(node.slice, "value", None), str)
    ):
        yield node
    elif isinstance(node, ast.IfExp):  # what is asked is not shown
        yield from (*reads(node.body), *reads(node.orelse))
    elif isinstance(node, ast.Subscript):
        yield from reads(node.value) if not isinstance(node.value, ast.Name) else ()
    else:
        for inner in ast.iter_child_nodes(node):
            yield from reads(inner)


def unescaped(source):
    """Line and expression of all that is shown unescaped."""
    for node in ast.walk(ast.parse(source)):
        shown = []
        if isinstance(node, ast.Call) and named(node) in CELLS:
            shown = node.args
        elif isinstance(node, ast.Call) and named(node) == "Table":
            shown = [word.value for word in node.keywords if word.arg in ("title", "caption")]
        elif isinstance(node, ast.JoinedStr) and "[/]" in "".join(
            part.value for part in node.values if isinstance(part, ast.Constant)
        ):
            shown = node.values
        for part in shown:
            yield from ((found.lineno, ast.unparse(found)) for found in reads(part))


@pytest.mark.parametrize("path", of_rich(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_what_is_read_from_elsewhere_is_escaped(path):
    assert not list(unescaped(path.read_text()))


@pytest.mark.parametrize(
    "source",
    [
        "table.add_row(facts['name'])",
        "table.add_row('a', f'x {answer.path}')",
        "table.add_column(printable(model_file.group) or 'score')",
        "Table(title=run.name)",
        "lines = [f'[bold]{metrics[\"name\"]}[/]: {n}']",
    ],
)
def test_a_name_that_is_not_escaped_would_be_found(source):
    assert list(unescaped(source))


@pytest.mark.parametrize("path", of_rich(), ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_consoles_know_no_codes_of_emoji(path):
    """Of ``patient:100:`` Rich would make a picture."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and named(node) == "Console":
            assert {word.arg: ast.unparse(word.value) for word in node.keywords}.get("emoji") == "False"

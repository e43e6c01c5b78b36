"""Reference pages made from the code: the command line, the keys of a recipe, the files, and an executed notebook."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hilum.training.recipe import Recipe, load_recipe

DOCS = Path(__file__).parent


def modules() -> str:
    """The page of all modules, from the first lines of their docstrings."""
    source = DOCS.parent / "src" / "hilum"
    page = [
        "# Modules",
        "What each module of `src/hilum` holds. [Architecture](../explanation/architecture.md) says how they fit.",
    ]
    folders = sorted({path.parent for path in source.rglob("*.py")})
    for folder in folders:
        rows = []
        for path in sorted(folder.glob("*.py")):
            said = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n\n")[0]
            if path.stem not in ("__init__", "__main__"):
                rows.append(f"| `{path.stem}` | {_cell(_plain(said).replace('``', '`'))} |")
        if rows:
            name = ".".join(("hilum", *folder.relative_to(source).parts))
            page += [f"## {name}", "\n".join(["| module | holds |", "|---|---|", *rows])]
    return "\n\n".join(page) + "\n"


def datasets() -> str:
    """The page of public datasets, from the catalogue and the docstrings of the readers of their layouts."""
    from hilum.data.catalogue.entries import FORMATS, catalogue
    from hilum.data.readers import public
    from hilum.data.readers.public.assembling import Layout

    forms: dict[str, str] = {}
    for found in pkgutil.iter_modules(public.__path__):
        module = importlib.import_module(f"{public.__name__}.{found.name}")
        if found.name != "known_layouts":
            for layout in vars(module).values():
                if isinstance(layout, Layout):
                    forms[layout.name] = (inspect.getdoc(module) or "").partition("\n\n")[2]
    page = [
        "# Public datasets",
        "What is known about them, and the layouts that hilum reads. This page is made from `hilum datasets`. "
        "[Open a downloaded dataset](../how-to/open-a-public-dataset.md) shows how to use it.",
    ]
    rows = ["| name | dataset | images | ages | licence |", "|---|---|---|---|---|"]
    for key, entry in catalogue().items():
        images = f"{entry.images:,}" if entry.images else ""
        rows.append(f"| [`{key}`](#{key}) | {_cell(entry.name)} | {images} | {entry.ages} | {_cell(entry.licence)} |")
    page.append("\n".join(rows))
    for key, entry in catalogue().items():
        facts = {
            "Dataset": f"{entry.name}; {entry.citation}",
            "Shows": entry.population,
            "Labels": f"{entry.labels}. Made by: {entry.label_origin}",
            "Splits": entry.splits,
            "Licence": entry.licence,
            "Get it": f"{entry.access} <{entry.url}>{f' ({entry.size})' if entry.size else ''}",
            "Limits": entry.cannot_show,
        }
        lines = [f"- {name}: {value.strip()}" for name, value in facts.items() if value]
        lines += [f"- Known problem ({item.severity}): {item.text} ({item.source})" for item in entry.problems]
        page += [f"## {key}", "\n".join(lines), _code(forms[key])]
    page.append("## Formats")
    for key, title in FORMATS.items():
        page.append(f"`--layout {key}`: {title}. {_code(forms[key])}")
    return "\n\n".join(page) + "\n"


def _code(text: str) -> str:
    return _plain(text).replace("``", "`")


def command_line() -> str:
    """The page of the command line, from what ``hilum --help`` and ``hilum COMMAND --help`` are made of."""
    import typer

    from hilum.cli.app import app

    group: Any = typer.main.get_command(app)
    page = [
        "# Command line",
        "This page is made from `hilum --help`.",
        f"{_plain(group.help)} {_plain(group.epilog or '')}",
        "Exit codes: 0 done; 1 the input cannot be used; 2 wrong usage; 3 the gate of an audit failed.",
    ]
    for name, command in _all_commands(group):
        if command.hidden:
            continue
        page += [f"## hilum {name}", "\n\n".join(_plain(part) for part in command.help.split("\n\n"))]
        arguments = [one for one in command.params if not one.opts[0].startswith("-")]
        shown = [one for one in command.params if one.opts[0].startswith("-") and one.name != "help" and not one.hidden]
        words = " ".join(_usage(one) for one in arguments)
        page.append(f"```text\nhilum {name} {words + ' ' if words else ''}{'[OPTIONS]' if shown else ''}\n```")
        common = [one for one in shown if one.rich_help_panel]
        own = [_parameter(one) for one in [*arguments, *(one for one in shown if one not in common)]]
        if own:
            page.append("\n".join(["| name | value | default | meaning |", "|---|---|---|---|", *own]))
        if common:
            names = ", ".join(f"`{one.opts[0]}`" for one in common)
            page.append(f"Options for reading the dataset: {names} ([below](#options-for-reading-a-dataset)).")
            reading = [_parameter(one) for one in common]
    page += [
        "## Options for reading a dataset",
        "\n".join(["| name | value | default | meaning |", "|---|---|---|---|", *reading]),
    ]
    return "\n\n".join(page) + "\n"


def _all_commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Commands by name, and behind each its own (``node check``)."""
    for name, command in group.commands.items():
        yield f"{before}{name}", command
        if hasattr(command, "commands"):
            yield from _all_commands(command, f"{before}{name} ")


def _plain(text: str) -> str:
    return " ".join(text.split())


def _usage(argument: Any) -> str:
    name = argument.opts[0].upper() + ("..." if argument.nargs != 1 else "")
    return name if argument.required else f"[{name}]"


def _parameter(one: Any) -> str:
    option = one.opts[0].startswith("-")
    annotation = one.type_descriptor.annotation
    kind = "" if annotation is bool else one.metavar or getattr(annotation, "__name__", str(annotation)).lower()
    if not option:
        kind = kind if kind != "list" else "path"
    flag = annotation is bool
    default = one.default
    if one.required:
        said = "required"
    elif flag or default in (None, "", ()) or callable(default):
        said = ""
    else:
        said = f"`{default}`"
    name = one.opts[0] if option else one.opts[0].upper()
    return f"| `{name}` | {_cell(f'`{kind}`') if kind else ''} | {said} | {_cell(_plain(one.help or ''))} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def recipe_keys() -> str:
    """The table of a recipe's keys, from the pydantic model: value in `compact`, default, allowed values, meaning."""
    used = dict(_flat(load_recipe("compact").model_dump()))
    rows = ["| key | `compact` | default | allowed | meaning |", "|---|---|---|---|---|"]
    for key, default, allowed, meaning in _fields(Recipe):
        here = json.dumps(used.get(key, default))
        rows.append(f"| `{key}` | `{here}` | `{json.dumps(default)}` | {allowed} | {_cell(meaning)} |")
    return "\n".join(rows)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any, str, str]]:
    meanings = attributes_of(model)
    schema = model.model_json_schema()
    properties = (schema if "properties" in schema else schema["$defs"][model.__name__])["properties"]
    for name, field in model.model_fields.items():
        if name == "members":  # nobody writes them by hand
            continue
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _fields(annotation, f"{prefix}{name}.")
            continue
        default = field.get_default(call_default_factory=True)
        yield prefix + name, default, _allowed(properties[name]), meanings[name]


def attributes_of(model: type) -> dict[str, str]:
    """The section ``Attributes`` of a class's docstring (Google style), by name."""
    _, _, section = (inspect.getdoc(model) or "").partition("Attributes:\n")
    section = re.split(r"\n(?=\S)", section, maxsplit=1)[0]
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section, flags=re.M)
    return {name: _plain(text).replace("``", "`") for name, text in found}


def _allowed(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    bounds = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}
    said = [words.format(schema[key]) for key, words in bounds.items() if key in schema]
    return ", ".join(said)


def files() -> str:
    """Tables of the files for programs, from the JSON Schemas in ``docs/schemas``."""
    page = []
    for path in sorted((DOCS / "schemas").glob("*.json")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        page.append(f"## {path.stem}\n\n[JSON Schema](../schemas/{path.name}), `hilum schema {path.stem}`.")
        if "properties" in schema:
            page.append(_properties(schema))
        for name, one in schema.get("$defs", {}).items():
            if "properties" in one:
                said = _plain(one.get("description", "").partition("\n\n")[0]).replace("``", "`")
                page.append(f"**{name}.** {said}\n\n{_properties(one)}")
    return "\n\n".join(page)


def _properties(schema: Mapping[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = [
        f"| `{name}` | {_cell(_kind(one))} | {'yes' if name in required else ''} |"
        for name, one in schema["properties"].items()
    ]
    return "\n".join(["| key | type | always there |", "|---|---|---|", *rows])


def _kind(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}" if "items" in schema else "list"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_kind(schema['additionalProperties'])}"
    return str(schema.get("type", "any"))


def notebook(path: Path) -> str:
    """A page from an executed notebook: its text, code and outputs; pictures and tables of HTML stay as they are."""
    page = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            page.append(source)
            continue
        page.append(f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                page.append(
                    f'<img alt="Output of the cell above" src="data:image/png;base64,{_joined(data["image/png"])}">'
                )
            elif "text/html" in data:
                page.append(f'<div class="output">{_joined(data["text/html"])}</div>')
            else:
                text = _joined(output.get("text") or data.get("text/plain", ""))
                page.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(page) + "\n"


def _joined(text: str | list[str]) -> str:
    return "".join(text).strip("\n")

"""Templates: what turns the content of a page into one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hilum.data.labels import last_component
from hilum.printable import on_page, printable
from hilum.reporting import results
from hilum.saving import save_text


def write_page(file: Path, template: str, content: Mapping[str, Any]) -> Path:
    """Render a template into a file.

    Args:
        file: Is written, or written over.
        template: Name of a file in ``templates``.
        content: What it shows, by name.

    Returns:
        `file`. The same content gives the same bytes.
    """
    save_text(file, render(template, content))
    return file


def render(template: str, content: Mapping[str, Any]) -> str:
    """A template with its content; everything that comes from outside is escaped, nothing may be missing."""
    return _templates().get_template(template).render(content)


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("hilum.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=on_page,  # names are data
    )
    templates.filters |= {
        "percent": results.percent,
        "percent_range": results.percent_range,
        "fraction": results.fraction,
        "fraction_range": results.fraction_range,
        "duration": duration,
        "plural": results.plural,
        "innermost": last_component,
        "breakable": breakable,
    }
    return templates


def duration(seconds: float | None) -> str:
    """``4 min 32 s``; a dash where it is unknown."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def breakable(label: str) -> Markup:
    """A label that may wrap after its slashes."""
    return Markup("/<wbr>").join(printable(label).split("/"))

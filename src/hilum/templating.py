"""Templates: what turns the content of a page into one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hilum.files import save_text
from hilum.text import duration, fraction, fraction_range, on_page, percent, percent_range, plural, printable

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def write_page(file: Path, template: str, content: DataclassInstance | Mapping[str, object]) -> Path:
    """Render a template into a file.

    Args:
        file: Is written, or written over.
        template: Name of a file in ``templates``.
        content: What it shows; templates call it by the names of its fields.

    Returns:
        `file`. The same content gives the same bytes.
    """
    save_text(file, render(template, content))
    return file


def render(template: str, content: DataclassInstance | Mapping[str, object]) -> str:
    """A template with its content; everything that comes from outside is escaped, nothing may be missing."""
    named = content if isinstance(content, Mapping) else vars(content)
    return _templates().get_template(template).render(named)


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("hilum"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_on_page,
    )
    templates.filters |= {
        "percent": percent,
        "percent_range": percent_range,
        "fraction": fraction,
        "fraction_range": fraction_range,
        "duration": duration,
        "plural": plural,
        "innermost": lambda label: label.rsplit("/", 1)[-1],
        "breakable": breakable,
        "sentence": lambda text: text[:1].upper() + text[1:],  # Jinja's `capitalize` makes small letters of others
    }
    return templates


def _on_page(value: object) -> object:
    """Names are data, and a number stays beside its unit."""
    shown = on_page(value)
    return shown.replace(" %", "\N{NO-BREAK SPACE}%") if type(shown) is str else shown


def breakable(label: str) -> Markup:
    """A label that may wrap after its slashes."""
    return Markup("/<wbr>").join(printable(label).split("/"))

"""Where the studies' scripts put their tables: between the marks of a page of the documentation."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def fill(name: str, tables: Mapping[str, str]) -> None:
    """Write tables anew between ``<!-- key -->`` and the next ``<!-- end -->``; stop where a page has no such place.

    Args:
        name: Of the page, such as ``explanation/audit.md``.
        tables: Markdown by key.
    """
    page = (DOCS / name).read_text(encoding="utf-8")
    for key, table in tables.items():
        made = f"<!-- {key} -->\n\n{table}\n\n<!-- end -->"
        page, count = re.subn(rf"<!-- {key} -->.*?<!-- end -->", lambda _, made=made: made, page, flags=re.S)
        if count != 1:
            sys.exit(f"docs/{name}: no place for {key}")
    (DOCS / name).write_text(page, encoding="utf-8")

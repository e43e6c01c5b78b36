"""Cells of CSV that a spreadsheet would take for a formula: written with an apostrophe before them.

Excel, LibreOffice and Google Sheets run what begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return (OWASP,
"CSV Injection"). File names, labels and patients may begin so. An apostrophe before them makes them text; a cell that
has apostrophes before such a beginning gets one more, so that every cell can be read back as it was.
"""

from __future__ import annotations

import re

FORMULA = re.compile(r"'*[=+\-@\t\r]")


def cell(text: str) -> str:
    """A text as a cell that no spreadsheet runs."""
    return f"'{text}" if FORMULA.match(text) else text


def from_cell(text: str) -> str:
    """The text of a cell that `cell` made."""
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text

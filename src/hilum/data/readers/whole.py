"""Whether a table that hilum wrote is all there: half a table reads like a whole one, with fewer patients.

What lies beside it says how many rows it has, which is the last one, and its hash: the log of ``hilum audit --fix``,
and ``truth.json`` of phantoms. Such a table is its user's, who may edit it: rows may be changed, sorted, added and
taken out. But where rows are missing and the last one is among them, or the end of the last one is missing, it was cut.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from hilum.cells import from_cell
from hilum.data.readers.text_table import TextTable
from hilum.data.table import Table
from hilum.errors import TableError
from hilum.opening import LARGEST_TABLE, open_regular, read_text, read_whole
from hilum.printable import printable

LOG = "table: "  # with which the log of `hilum.audit.fix` begins
TRUTH = "truth.json"
PHANTOMS = "metadata.csv"
LONGEST = 2**20  # bytes of the log's first line


def statement(content: bytes, path: str, rows: int) -> dict[str, Any]:
    """What is written down of a table.

    Args:
        content: In UTF-8, a header and a line a row.
        path: The cell of the last row's image.
        rows: How many there are.
    """
    last = content.rstrip(b"\r\n").rpartition(b"\n")[2]
    return {
        "rows": rows,
        "sha256": hashlib.sha256(content).hexdigest(),
        "path": path,
        "last": last.decode("utf-8", "surrogateescape"),
    }


def check_whole(text: TextTable, column: int) -> bool:
    """Find a table that was cut.

    Args:
        text: The table.
        column: Of the paths.

    Returns:
        Whether hilum wrote it, so that apostrophes before formulas are hilum's (`hilum.cells`).

    Raises:
        TableError: It was cut.
    """
    beside, known = _stated(text.path)
    if not known:
        return False
    content = read_whole(text.path, LARGEST_TABLE)
    if hashlib.sha256(content).hexdigest() == known["sha256"]:
        return True
    paths = [cells[column] for _, cells in text.lines() if len(cells) > column]
    last, stated = content.rpartition(b"\n")[2], known["last"].encode("utf-8", "surrogateescape")
    what = ""
    if len(paths) < known["rows"] and known["path"].strip() not in paths:
        what = f"has {len(paths):,} rows"
    elif last and last != stated and stated.startswith(last):
        what = f"ends within its last row ('{printable(last.decode('utf-8', 'replace'))[-60:]}')"
    if what:
        msg = (
            f"{text.path}: was cut: it {what}, and had {known['rows']:,} down to '{printable(known['path'])}' when it "
            f"was written ({beside}). Take a whole copy, or make it anew. If rows were taken out on purpose, give the "
            "table another name."
        )
        raise TableError(msg, code="cut", path=text.path)
    return True


def as_meant(table: Table) -> Table:
    """The table without the apostrophes that were written before formulas."""
    for column in ("label", "patient_id", "source"):
        changed = {value: from_cell(value) for value in table.values(column)}
        table = table.renamed(column, {value: meant for value, meant in changed.items() if value != meant})
    return table


def is_log(file: Path) -> bool:
    """Whether a file is the log of ``hilum audit --fix``."""
    return bool(_said(_first_line(file)))


def _stated(path: Path) -> tuple[str, dict[str, Any]]:
    """What lies beside a table, and what it says of it; empty where nothing does."""
    log, truth = path.with_suffix(".log"), path.with_name(TRUTH)
    if known := _said(_first_line(log)):
        return log.name, known
    if path.name != PHANTOMS:
        return "", {}
    try:
        found = json.loads(read_text(truth))
    except (OSError, ValueError, RecursionError):
        return "", {}
    return truth.name, _checked(found.get("table") if isinstance(found, dict) else None)


def _first_line(log: Path) -> bytes:
    try:
        with open_regular(log) as file:
            return file.readline(LONGEST)
    except (OSError, ValueError):
        return b""


def _said(line: bytes) -> dict[str, Any]:
    try:
        return _checked(json.loads(line.removeprefix(LOG.encode()))) if line.startswith(LOG.encode()) else {}
    except (ValueError, RecursionError):
        return {}


def _checked(found: Any) -> dict[str, Any]:
    kinds = {"rows": int, "sha256": str, "path": str, "last": str}
    right = isinstance(found, dict) and all(isinstance(found.get(key), kind) for key, kind in kinds.items())
    return dict(found) if right else {}

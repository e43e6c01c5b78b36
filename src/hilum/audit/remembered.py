"""Audits that were made, kept in the cache by what they are about, so that a training of the same data repeats them."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hilum import __version__
from hilum.data.cache import cache_folder
from hilum.data.cache_files import PRIVATE, make_private
from hilum.data.rows import Row
from hilum.opening import read_text
from hilum.saving import save_json


def dataset_key(rows: Iterable[Row]) -> str:
    """What an audit is about: the same wherever the files lie, whatever they are called and however they are split.

    Args:
        rows: Of the readable files, in any order; files, labels, patients and sources count.
    """
    lines = sorted(json.dumps([row.sha256, row.label, row.patient_id, row.source]) for row in rows)
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:32]


def remember(facts: Mapping[str, Any], key: str, written: Path) -> None:
    """Keep an audit in the cache; where that cannot be written, nothing is kept.

    Args:
        facts: What ``audit.json`` holds.
        key: The dataset's (`dataset_key`).
        written: The folder in which the audit lies.
    """
    file = _file(key)
    with contextlib.suppress(OSError):
        make_private(file.parent.parent)
        file.parent.mkdir(mode=PRIVATE, exist_ok=True)
        save_json(file, {**facts, "written": str(written.resolve())}, indent=None)


def recall(key: str) -> dict[str, Any]:
    """What ``audit.json`` held, and ``written``, the folder in which it lay; empty if this version made none."""
    try:
        found = json.loads(read_text(_file(key)))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("findings"), list) else {}


def _file(key: str) -> Path:
    return cache_folder() / "audits" / f"{key}-{__version__}.json"

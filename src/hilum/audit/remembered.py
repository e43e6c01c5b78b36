"""Audits that were made, kept in the cache by what they are about, so that a training of the same data repeats them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hilum.data.cache import cache_folder


def dataset_key(files: Iterable[tuple[str, str]]) -> str:
    """The identity of a dataset: the same wherever its files lie and whatever they are called.

    Args:
        files: SHA-256 and label of each readable file, in any order.
    """
    lines = sorted(f"{sha256} {label}" for sha256, label in files)
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:32]


def remember(facts: Mapping[str, Any], key: str, written: Path) -> None:
    """Keep an audit in the cache; where that cannot be written, nothing is kept.

    Args:
        facts: What ``audit.json`` holds.
        key: The dataset's.
        written: The folder in which the audit lies.
    """
    file = _file(key)
    part = file.with_suffix(".part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps({**facts, "written": str(written.resolve())}) + "\n", encoding="utf-8")
        part.replace(file)
    except OSError:
        part.unlink(missing_ok=True)


def recall(key: str) -> dict[str, Any]:
    """What ``audit.json`` held, and ``written``, the folder in which it lay; empty if there was no such audit."""
    try:
        found = json.loads(_file(key).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("findings"), list) else {}


def _file(key: str) -> Path:
    return cache_folder() / "audits" / f"{key}.json"

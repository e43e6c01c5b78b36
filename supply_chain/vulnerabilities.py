"""Ask for known vulnerabilities of what ``constraints.txt`` pins, and say so where nobody could be asked.

``python -m supply_chain.vulnerabilities PIP-AUDIT``; exit code 0: none is known; 1: some are; 2: not all could be asked
about. pip-audit itself ends with 0 where it has found none of the distributions in its database.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from supply_chain.pinned import CONSTRAINTS

NONE, SOME, UNKNOWN = 0, 1, 2


def verdict(parts: Sequence[Mapping[str, Any]]) -> tuple[int, list[str]]:
    """The exit code, and lines for people.

    Args:
        parts: ``dependencies`` of pip-audit's JSON: each with ``vulns``, or with a ``skip_reason``.
    """
    unknown = [part["name"] for part in parts if "skip_reason" in part]
    known = [(part, item) for part in parts for item in part.get("vulns", ())]
    lines = [
        f"{part['name']} {part['version']}: {item['id']}, mended in {', '.join(item['fix_versions']) or 'no version'}"
        for part, item in known
    ]
    if unknown or not parts:
        lines.append(
            f"UNKNOWN: {len(unknown):,} of {len(parts):,} distributions could not be asked about; the database was not "
            "reached. Nothing can be said of their vulnerabilities."
        )
    elif not known:
        lines.append(f"no vulnerability is known of {len(parts):,} distributions")
    return SOME if known else UNKNOWN if unknown or not parts else NONE, lines


def main(program: str) -> int:
    """Run pip-audit, and say what it has found."""
    options = ["--requirement", str(CONSTRAINTS), "--no-deps", "--disable-pip", "--progress-spinner", "off"]
    result = subprocess.run([program, *options, "--format", "json"], capture_output=True, text=True, check=False)
    try:
        parts = json.loads(result.stdout)["dependencies"]
    except (ValueError, KeyError):
        parts = []
        sys.stderr.write(result.stderr[-2000:])
    code, lines = verdict(parts)
    sys.stdout.write("\n".join(lines) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

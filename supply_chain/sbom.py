"""Write a bill of materials in CycloneDX 1.6 (ECMA-424): ``python -m supply_chain.sbom FILE``.

It lists what ``constraints.txt`` pins, with the licences that the installed distributions state. The same environment
gives the same bytes.
"""

from __future__ import annotations

import json
import re
import sys
import uuid
from importlib.metadata import version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from supply_chain.pinned import accepted, installed, licence, pinned


def bill() -> dict[str, Any]:
    """The bill of materials, as JSON holds it."""
    versions = pinned()
    names = {_normal(name): name for name in versions}
    hilum = f"pkg:pypi/hilum@{version('hilum')}"
    urls = {key: f"pkg:pypi/{key}@{versions[name]}" for key, name in names.items()}
    needs = {hilum: sorted(urls[key] for key in _required("hilum") if key in urls)}
    needs |= {
        urls[key]: sorted(urls[other] for other in _required(name) if other in urls) for key, name in names.items()
    }
    found: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": hilum,
                "name": "hilum",
                "version": version("hilum"),
                "purl": hilum,
                "licenses": [{"expression": "Apache-2.0"}],
            }
        },
        "components": [_component(name, versions[name], urls[key]) for key, name in sorted(names.items())],
        "dependencies": [{"ref": ref, "dependsOn": others} for ref, others in sorted(needs.items())],
    }
    content = json.dumps(found, sort_keys=True)
    return {**found, "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}"}


def _component(name: str, pinned_version: str, url: str) -> dict[str, Any]:
    found = installed(name)
    stated = licence(found) if found else ""
    kinds = [{"expression": stated}] if accepted(stated) else [{"license": {"name": stated}}] if stated else []
    part = {"type": "library", "bom-ref": url, "name": name, "version": pinned_version, "purl": url}
    return {**part, "licenses": kinds} if kinds else part


def _required(name: str) -> set[str]:
    found = installed(name)
    wanted = map(Requirement, found.requires or []) if found else ()
    whole = name == "hilum"  # with its extras
    return {_normal(item.name) for item in wanted if whole or not item.marker or item.marker.evaluate({"extra": ""})}


def _normal(name: str) -> str:
    """A name as PyPI compares them."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(bill(), indent=2) + "\n", encoding="utf-8")

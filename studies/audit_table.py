"""Put what ``audit_power.py`` measured into docs/explanation/audit.md: ``.venv/bin/python studies/audit_table.py OUT``.

The table between ``<!-- power -->`` and ``<!-- end -->`` is written anew; every result goes to docs/results/audit.json,
where results of the same seed and case are replaced and the others stay.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from document import DOCS, fill

BASES = ("phantoms", "children", "adults")
WORDS = {
    "marker": "a letter in an upper corner of 95 % of a label's images",
    "frame": "a black frame round a label's images",
    "brightness": "a label's images displayed brighter (exponent 0.7)",
    "format": "a label's files are JPEG, the others PNG",
    "size": "a label's images have 1.25 times the rows and columns",
    "bytes": "a label's PNG files are stored uncompressed",
    "patients": "4 patients on both sides of the split",
    "copies": "copies of 4 images, changed in 27 ways, on the other side of the split",
}
SEVERITY = {"marker": "warning", "frame": "warning", "brightness": "warning"}


def share(found: int, total: int) -> str:
    """``20/20 (83 to 100 %)``, the exact 95 % interval."""
    interval = binomtest(found, total).proportion_ci(0.95)
    return f"{found}/{total} ({interval.low:.0%} to {interval.high:.0%})".replace("%", " %")


def table(results: list[dict[str, Any]]) -> str:
    """Power, copies by kind, and false alarms."""
    lines = ["| injected | severity | phantoms | children | adults |", "|---|---|---|---|---|"]

    def of(base: str, case: str) -> list[dict[str, Any]]:
        return [entry for entry in results if (entry["base"], entry["case"]) == (base, case)]

    for case, words in WORDS.items():
        cells = [share(sum(e["right"] for e in of(base, case)), len(of(base, case))) for base in BASES]
        lines.append(f"| {words} | {SEVERITY.get(case, 'error')} | {' | '.join(cells)} |")
    cells = [share(sum(bool(e["found"]) for e in of(base, "clean")), len(of(base, "clean"))) for base in BASES]
    lines.append(f"| **nothing** | any warning or error | {' | '.join(cells)} |")
    lines += ["", "| copies found, by kind | phantoms | children | adults |", "|---|---|---|---|"]
    variants = list(of("phantoms", "copies")[0]["pairs"])
    for variant in variants:
        cells = []
        for base in BASES:
            entries = of(base, "copies")
            cells.append(share(sum(e["pairs"][variant] for e in entries), 4 * len(entries)))
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    cells = [str(sum(e["false_pairs"] for e in of(base, "copies"))) for base in BASES]
    lines.append(f"| pairs of two patients | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(out: Path) -> None:
    """Read the seeds below `out`, write the table and the results."""
    files = sorted(out.glob("[0-9]*.json"), key=lambda file: int(file.stem))
    kept = DOCS / "results" / "audit.json"
    entries = [*json.loads(kept.read_text()), *(entry for file in files for entry in json.loads(file.read_text()))]
    results = list({(entry["seed"], entry["base"], entry["case"]): entry for entry in entries}.values())
    seeds = sorted({entry["seed"] for entry in results})
    fill("explanation/audit.md", {"power": f"{len(seeds)} seeds ({', '.join(map(str, seeds))}).\n\n{table(results)}"})
    lines = ",\n ".join(json.dumps(entry) for entry in results)
    kept.write_text(f"[{lines}]\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))

"""How often two phantom patients are taken for one picture: ``.venv/bin/python studies/audit_alike.py FIRST LAST``.

Each seed is a clean set as `hilum demo` makes it: 800 patients, about 1,200 images. Half a minute each.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from hilum.auditing.near_duplicates.search import find_copies
from hilum.auditing.scan import scan
from hilum.cli.demo import PATIENTS
from hilum.data.readers.read import read_table
from hilum.phantoms import write_phantoms


def alike(seed: int) -> list[tuple[float, float]]:
    """Correlation of the whole and of the detail, of each pair of two patients that is called one picture."""
    with tempfile.TemporaryDirectory() as folder:
        write_phantoms(Path(folder) / "phantoms", patients=PATIENTS, seed=seed, masks=False)
        seen = scan(read_table(Path(folder) / "phantoms"))
    found = find_copies(seen.thumbnails)
    owner = [row.patient_id for row in seen.table.rows]
    pairs = zip(found.first, found.second, found.correlation, found.detail, strict=True)
    return [(float(whole), float(detail)) for i, j, whole, detail in pairs if owner[i] != owner[j]]


if __name__ == "__main__":
    first, last = map(int, sys.argv[1:])
    wrong = 0
    for seed in range(first, last + 1):
        pairs = alike(seed)
        wrong += bool(pairs)
        print(seed, len(pairs), ", ".join(f"{whole:.4f}/{detail:.3f}" for whole, detail in pairs), flush=True)
    print(f"{wrong} of {last - first + 1} clean sets have pairs of two patients that are called one picture")

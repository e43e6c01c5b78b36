"""How the fingerprints of public datasets were made: ``python studies/fingerprints.py ../shared/data``.

Needs ``seed-cxr`` (Kermany 2018) and ``darkcovidnet`` (parts of NIH ChestX-ray8 and of ieee8023) in that folder.
Writes ``basis.npz`` and one ``<set>.npz`` of bytes (N, 60) a set, in the order of the tables. From 60 numbers
comes back no more than a blurred shadow: no image is part of hilum.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import numpy as np

from hilum.auditing.near_duplicates.codes import (
    BASIS_FILE,
    LENGTH,
    NO_CROP,
    SIDE,
    Basis,
    Floats,
    equalised,
    pack,
    unit,
    view,
)
from hilum.auditing.scan import scan
from hilum.data.readers.read import read_table
from hilum.errors import TableError

SOURCES = {"NIH ChestX-ray8": "nih", "ieee8023/covid-chestxray-dataset": "ieee8023"}


def read_sets(data: Path) -> dict[str, Floats]:
    """Equalised thumbnails (N, 64, 64) of each known set.

    Raises:
        TableError: A dataset is not there.
    """
    sets = {"kermany": equalised(scan(read_table(data / "seed-cxr")).thumbnails).astype(np.float32)}
    mixed = scan(read_table(data / "darkcovidnet"))
    if unknown := {row.source for row in mixed.table.rows} - set(SOURCES):
        msg = f"{data / 'darkcovidnet'}: unknown sources {', '.join(sorted(unknown))}. Add them to SOURCES."
        raise TableError(msg)
    thumbnails = equalised(mixed.thumbnails).astype(np.float32)
    for source, name in SOURCES.items():
        sets[name] = thumbnails[[row.source == source for row in mixed.table.rows]]
    return sets


def learn(sets: Mapping[str, Floats]) -> Basis:
    """Principal axes of the sets; children and adults count alike, however many there are of either.

    Args:
        sets: ``kermany`` (children) and others (adults): thumbnails (N, S, S).
    """
    children = unit(view(sets["kermany"], NO_CROP, SIDE)).astype(np.float64)
    adults = np.concatenate([unit(view(x, NO_CROP, SIDE)) for name, x in sets.items() if name != "kermany"])
    mean = (children.mean(axis=0) + adults.mean(axis=0)) / 2
    scatter = sum((x - mean).T @ (x - mean) / len(x) / 2 for x in (children, adults.astype(np.float64)))
    values, axes = np.linalg.eigh(scatter)
    values, axes = values[::-1][:LENGTH], axes[:, ::-1][:, :LENGTH]
    axes = np.rint(axes / np.abs(axes).max(axis=0) * 127)
    return Basis(
        mean=mean.astype(np.float16).astype(np.float32),
        axes=(axes / np.linalg.norm(axes, axis=0)).astype(np.float32),
        spread=np.sqrt(values).astype(np.float32),
    )


def main(data: Path, out: Path) -> None:
    """Write the basis and the fingerprints of every set into `out`."""
    sets = read_sets(data)
    learnt = learn(sets)
    scale = 127 / np.abs(learnt.axes).max(axis=0)
    np.savez_compressed(
        out / BASIS_FILE,
        mean=learnt.mean.astype(np.float16),
        axes=np.rint(learnt.axes * scale).astype(np.int8),
        spread=learnt.spread,
    )
    for name, thumbnails in sets.items():
        np.savez_compressed(out / f"{name}.npz", components=pack(learnt.project(thumbnails, NO_CROP)))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python studies/fingerprints.py FOLDER (which holds seed-cxr and darkcovidnet)")
    main(Path(sys.argv[1]), Path(str(files("hilum.auditing.fingerprints"))))

"""A dataset many times over: one table, folders linked once a copy, patients of each copy its own."""

from __future__ import annotations

import csv
from pathlib import Path

from hilum.data.readers.read import read_table


def write_tiles(data: Path, folder: Path, times: int, most: int | None = None) -> Path:
    """Write a table that lists a dataset's images several times, under other paths and patients.

    Args:
        data: A dataset.
        folder: To be made.
        times: How often each image is listed.
        most: Only about so many of its images, evenly chosen, in their order.

    Returns:
        The CSV file.
    """
    table = read_table(data)
    rows = table.rows[:: max(1, len(table) // most)] if most else table.rows
    folder.mkdir(parents=True)
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split", "patient_id"])
        for number in range(times):
            (folder / f"{number:03d}").symlink_to(table.root.resolve(), target_is_directory=True)
            writer.writerows(
                (f"{number:03d}/{row.path}", row.label, row.split, f"{number}-{row.patient_id or row.path}")
                for row in rows
            )
    return folder / "metadata.csv"

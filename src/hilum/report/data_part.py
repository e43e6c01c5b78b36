"""What the report of a run shows of its images: by split and label, in a table and in figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from hilum.data.dataset import Row
from hilum.data.multilabel import SEPARATOR
from hilum.data.patients import in_words
from hilum.data.splits import UNUSED
from hilum.report import figures
from hilum.training.run import UNREADABLE

SPLIT_ORDER = {"train": 0, "val": 1, "calibration": 2, "test": 3, UNUSED: 9, UNREADABLE: 10}
NOT_USED = (UNUSED, UNREADABLE)


@dataclass(frozen=True)
class ImageCount:
    """How many images, and of how many patients; None where these are not all known."""

    images: int
    patients: int | None


@dataclass(frozen=True)
class SplitRow:
    """Counts of a split: of each label, and of all together."""

    split: str
    cells: list[ImageCount]
    total: ImageCount


@dataclass(frozen=True)
class DataPart:
    """The run's images by split and label, in a table and in figures."""

    labels: list[str]
    many: bool
    table: list[SplitRow]
    totals: list[ImageCount]
    total: ImageCount
    readable: int
    patients_known: bool
    patients_told: str
    crossing: list[tuple[str, int]]
    unused: int
    bars: Markup
    labels_pie: Markup | None
    splits_pie: Markup


def data_part(
    split: Sequence[Row], colours: Mapping[str, str], *, patients_known: bool, findings: bool = False
) -> DataPart:
    """What the page shows of a run's images.

    Args:
        split: All rows of its ``split.csv``.
        colours: Colour by label.
        patients_known: Whether the patients that the rows name are known ones.
        findings: Whether labels are findings, of which an image may have several: it counts once for each.
    """
    has = label_each_finding(split) if findings else split
    names = sorted({row.split for row in split}, key=lambda name: (SPLIT_ORDER.get(name, 8), name))
    used = [name for name in names if name not in NOT_USED]
    labels = list(colours)
    images = Counter((row.split, row.label) for row in has)
    of_split = Counter(row.split for row in split)
    known = bool(split) and all(row.patient_id for row in split) and patients_known

    def cell(rows: Sequence[Row]) -> ImageCount:
        return ImageCount(len(rows), len({row.patient_id for row in rows}) if known else None)

    table = [
        SplitRow(
            name,
            cells=[cell([r for r in has if r.split == name and r.label == label]) for label in labels],
            total=cell([row for row in split if row.split == name]),
        )
        for name in names
    ]
    of_patient: dict[str, set[str]] = {}
    for row in split:
        if row.split not in NOT_USED and row.patient_id:
            of_patient.setdefault(row.patient_id, set()).add(row.split)
    crossing = Counter(
        " and ".join(sorted(found, key=lambda n: SPLIT_ORDER.get(n, 8)))
        for found in of_patient.values()
        if len(found) > 1
    )
    by_split = {name: {label: images[name, label] for label in labels} for name in used}
    by_label = [figures.Slice(label, sum(by_split[name][label] for name in used), colours[label]) for label in labels]
    by_name = [figures.Slice(name, of_split[name], figures.SPLIT_COLOURS.get(name, "#8a7a00")) for name in used]
    return DataPart(
        labels=labels,
        many=len(labels) > figures.FEW,
        table=table,
        totals=[cell([row for row in has if row.label == label]) for label in labels],
        total=cell(split),
        readable=sum(row.split != UNREADABLE for row in split),
        patients_known=known,
        patients_told=in_words(sum(bool(row.patient_id) for row in split), len(split)),
        crossing=sorted(crossing.items()),
        unused=sum(row.split == UNUSED for row in split),
        bars=figures.class_bars(by_split, colours, "fig-1-1", of_split),
        labels_pie=None if findings else figures.pie(by_label, "fig-1-2", "Pie chart of the images by label"),
        splits_pie=figures.pie(by_name, "fig-1-3", "Pie chart of the images by split"),
    )


def label_each_finding(rows: Sequence[Row]) -> list[Row]:
    """A row for each finding that an image has, so that images are counted by finding."""
    return [replace(row, label=label) for row in rows for label in row.label.split(SEPARATOR)]

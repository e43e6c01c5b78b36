"""How a dataset is to be read where its own words do not say it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal

from hilum.errors import UsageError

LabelMap = tuple[tuple[str, str], ...]
PLAIN = "plain"  # the layout of a folder or table that is read as any other


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What a user says about a dataset; kept with the table and the run, so that it is read the same way again.

    Attributes:
        path_column: The table's column of image paths; empty to recognise it by its name.
        label_column: The column of labels; empty to recognise it.
        patient_column: The column of patients; empty to recognise it.
        split_column: The column of splits; empty to recognise it; ``none`` if neither a column nor a path holds any.
        patients: ``auto`` to recognise patients by DICOM headers and by file names of well-known public sets where no
            column or folder says whose an image is; ``none`` to leave them unknown.
        layout: Layout of a public dataset (`hilum datasets` lists them); empty to recognise it; ``plain`` to read the
            folder or table as any other.
        label_map: Pairs of a label and its new name; an empty new name leaves the label's images out.
        finding_columns: The table's columns of findings, of which an image may have several; empty to recognise them.
    """

    path_column: str = ""
    label_column: str = ""
    patient_column: str = ""
    split_column: str = ""
    patients: Literal["auto", "none"] = "auto"
    layout: str = ""
    label_map: LabelMap = ()
    finding_columns: tuple[str, ...] = ()

    def stated(self) -> dict[str, str]:
        """What is not left to be recognised, by the option that says it."""
        return {
            f"--{field.name.replace('_', '-')}": _as_text(value)
            for field in fields(self)
            if (value := getattr(self, field.name)) != field.default
        }


def _as_text(value: str | LabelMap | tuple[str, ...]) -> str:
    """A value as the command line takes it."""
    if isinstance(value, str):
        return value
    return ",".join(part if isinstance(part, str) else "=".join(part) for part in value)


def mapped(options: ReadOptions, mapping: Mapping[str, str] | None) -> ReadOptions:
    """The options of a dataset whose labels are mapped after it was read, too, as an evaluation does."""
    return replace(options, label_map=(*options.label_map, *(mapping or {}).items()))


def parse_label_map(settings: Iterable[str]) -> LabelMap:
    """Read settings such as ``virus=pneumonia/viral``; ``unclear=`` leaves the images of that label out.

    Raises:
        UsageError: One is in another form, or a label is mapped twice.
    """
    found: dict[str, str] = {}
    for setting in settings:
        source, equals, target = (part.strip() for part in setting.rpartition("="))
        if not equals or not source:
            msg = f"--map-label {setting}: write SRC=DST, such as --map-label virus=pneumonia; SRC= leaves it out."
            raise UsageError(msg, code="label-map")
        if source in found:
            msg = f"--map-label {setting}: '{source}' is mapped twice. Keep one of them."
            raise UsageError(msg, code="label-map")
        found[source] = target
    return tuple(found.items())

"""How a dataset is to be read where its own words do not say it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal


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
        finding_columns: The table's columns of findings, of which an image may have several; empty to recognise them.
    """

    path_column: str = ""
    label_column: str = ""
    patient_column: str = ""
    split_column: str = ""
    patients: Literal["auto", "none"] = "auto"
    finding_columns: tuple[str, ...] = ()

    def stated(self) -> dict[str, str]:
        """What is not left to be recognised, by the option that says it."""
        return {
            f"--{field.name.replace('_', '-')}": ",".join(value) if isinstance(value, tuple) else value
            for field in fields(self)
            if (value := getattr(self, field.name)) != field.default
        }

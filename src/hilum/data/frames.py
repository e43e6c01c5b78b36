"""Data frames of pandas and polars, which hilum takes and gives without needing either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hilum.errors import TableError
from hilum.extras import require
from hilum.text import printable

if TYPE_CHECKING:
    import pandas


class Frame(Protocol):
    """A pandas or polars data frame."""

    @property
    def columns(self) -> Any:
        """Names of the columns."""

    def __len__(self) -> int: ...


def is_frame(value: object) -> bool:
    """Whether a value is a data frame of pandas or polars."""
    return hasattr(value, "columns") and (hasattr(value, "write_csv") or hasattr(value, "to_csv"))


def write_frame(frame: Frame, file: Path) -> None:
    """Write a data frame as CSV; an index that has a name is a column.

    Raises:
        TableError: Columns of polars hold lists, structures or objects.
    """
    written: Any = frame
    if hasattr(written, "write_csv"):  # polars
        nested = [
            name for name, kind in written.schema.items() if kind.is_nested() or str(kind) in ("Object", "Binary")
        ]
        if nested:
            msg = (
                f"data frame: cells of the column '{printable(nested[0])}' are of type {written.schema[nested[0]]}, "
                f"not text or numbers. Leave it out: frame.drop({nested!r})."
            )
            raise TableError(msg, code="nested-cells")
        written.write_csv(file)
    else:
        named = getattr(getattr(written, "index", None), "name", None)  # the paths, perhaps
        written.to_csv(file, index=named is not None and named not in written.columns)


def to_pandas(columns: Mapping[str, Sequence[Any]]) -> pandas.DataFrame:
    """A pandas data frame of columns by name.

    Raises:
        ExtraError: pandas is not installed.
    """
    require("frames", "a data frame", "pandas")
    import pandas

    return pandas.DataFrame(dict(columns))

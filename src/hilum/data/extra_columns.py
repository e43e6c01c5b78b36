"""Further columns of many rows, as codes: a row's are looked up when somebody asks for them."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ABSENT = -1  # code of a column that a row does not have


@dataclass(frozen=True, slots=True)
class ExtraColumns:
    """The further columns of N rows.

    Attributes:
        values: By column, its different cells.
        codes: By column, which of them each of the N rows has; `ABSENT` where it has none.
    """

    values: Mapping[str, tuple[str, ...]]
    codes: Mapping[str, array[int]]

    def row(self, number: int) -> Mapping[str, str]:
        """The further columns of one row, by their names."""
        return _Row(self, number)

    def mapped(self, name: str, meaning: Mapping[str, float], absent: float) -> NDArray[np.float32]:
        """A column as numbers, shape (N,).

        Args:
            name: Of a column that some row has.
            meaning: The number of each of its cells.
            absent: That of a row without the column.
        """
        numbers = np.array([*(meaning[value] for value in self.values[name]), absent], np.float32)
        return numbers[np.frombuffer(self.codes[name], np.int32)]  # -1 is the last


class ExtraBuilder:
    """Takes in the further columns of one row after the other."""

    def __init__(self) -> None:
        self._count = 0
        self._known: dict[str, dict[str, int]] = {}
        self._codes: dict[str, array[int]] = {}

    def add(self, extra: Mapping[str, str]) -> None:
        """Take in those of the next row."""
        for name, value in extra.items():
            if name not in self._known:
                self._known[name] = {}
                self._codes[name] = array("i", [ABSENT]) * self._count
            known = self._known[name]
            self._codes[name].append(known.setdefault(value, len(known)))
        self._count += 1
        if len(extra) < len(self._codes):
            for codes in self._codes.values():
                if len(codes) < self._count:
                    codes.append(ABSENT)

    def columns(self) -> ExtraColumns | None:
        """All that was taken in; None where no row has any."""
        if not self._codes:
            return None
        values = {name: tuple(known) for name, known in self._known.items()}
        return ExtraColumns(values, dict(self._codes))


class _Row(Mapping[str, str]):
    """One row of the columns."""

    __slots__ = ("_columns", "_number")

    def __init__(self, columns: ExtraColumns, number: int) -> None:
        self._columns, self._number = columns, number

    def __getitem__(self, name: str) -> str:
        code = self._columns.codes[name][self._number]
        if code == ABSENT:
            raise KeyError(name)
        return self._columns.values[name][code]

    def __iter__(self) -> Iterator[str]:
        return (name for name, codes in self._columns.codes.items() if codes[self._number] != ABSENT)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))

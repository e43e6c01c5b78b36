"""Answers to files, one by one as they come.

JSON and CSV are valid UTF-8 whatever files are called: bytes of a name that are not UTF-8 become backslash escapes. All
else stays as it is, line ends and control characters too: JSON escapes and CSV quotes them. A terminal sees escapes.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from hilum.data.images import SUFFIXES
from hilum.errors import UsageError
from hilum.printable import encodable, printable
from hilum.serving.answer import Answer, columns
from hilum.serving.predictor import Predictor
from hilum.serving.studies import Study

STDOUT = "-"


class Writer:
    """Writes answers as JSON lines, as CSV, or as both.

    Args:
        predictor: Whose answers they are.
        lines: Where JSON lines go, if anywhere.
        table: Where CSV goes, if anywhere.
        of_studies: Whether studies are written, each followed by its images.
    """

    def __init__(
        self, predictor: Predictor, lines: IO[str] | None, table: IO[str] | None, *, of_studies: bool = False
    ) -> None:
        self.predictor, self.lines = predictor, lines
        self.rows = csv.writer(table) if table else None
        self._cell = printable if table and table.isatty() else encodable
        if self.rows:
            head = columns(predictor.bundle.labels)
            self._row(["study", "row", *head] if of_studies else head)

    def write(self, answer: Answer) -> None:
        """Write one answer."""
        if self.lines:
            self.lines.write(json.dumps(_encodable(answer.to_json(self.predictor.model))) + "\n")
        if self.rows:
            self._row(answer.to_row(self.predictor.bundle.labels, self.predictor.model))

    def write_study(self, study: Study) -> None:
        """Write one study: a JSON object that holds its images, or a row of CSV and one for each of them."""
        if self.lines:
            self.lines.write(json.dumps(_encodable(study.to_json(self.predictor.model))) + "\n")
        if self.rows:
            labels, model = self.predictor.bundle.labels, self.predictor.model
            self._row([study.name, "study", *study.as_answer().to_row(labels, model)])
            for answer in study.images:
                self._row([study.name, "image", *answer.to_row(labels, model)])

    def _row(self, cells: list[str]) -> None:
        assert self.rows is not None
        self.rows.writerow([self._cell(cell) for cell in cells])


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    return {encodable(key): _encodable(item) for key, item in value.items()} if isinstance(value, dict) else value


@contextmanager
def writing(
    predictor: Predictor, lines: str | None, table: str | None, *, of_studies: bool = False
) -> Iterator[Writer]:
    """Open what was asked for; ``-`` is standard output.

    Raises:
        UsageError: Both want standard output, a file is an image by its name, or cannot be opened.
    """
    for option, file in (("--json", lines), ("--csv", table)):
        if file is not None and Path(file).suffix.lower() in SUFFIXES:
            msg = f"{option} {file}: the name of an image, and a file to write is meant. Write: {option} FILE, or - ."
            raise UsageError(msg)
    if lines == table == STDOUT:
        msg = "--json - and --csv - both want standard output. Give one of them a file."
        raise UsageError(msg)
    with ExitStack() as stack:

        def opened(name: str | None) -> IO[str] | None:
            if name is None:
                return None
            if name == STDOUT:
                return sys.stdout
            try:
                return stack.enter_context(Path(name).open("w", newline="", encoding="utf-8"))
            except OSError as error:
                msg = f"{name}: cannot be written ({error.strerror}). Choose another place."
                raise UsageError(msg) from error

        yield Writer(predictor, opened(lines), opened(table), of_studies=of_studies)

"""Answers to files, one by one as they come."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from hilum.errors import UsageError
from hilum.serving.answer import Answer, columns
from hilum.serving.predictor import Predictor

STDOUT = "-"


class Writer:
    """Writes answers as JSON lines, as CSV, or as both.

    Args:
        predictor: Whose answers they are.
        lines: Where JSON lines go, if anywhere.
        table: Where CSV goes, if anywhere.
    """

    def __init__(self, predictor: Predictor, lines: IO[str] | None, table: IO[str] | None) -> None:
        self.predictor, self.lines = predictor, lines
        self.rows = csv.writer(table) if table else None
        if self.rows:
            self.rows.writerow(columns(predictor.bundle.labels))

    def write(self, answer: Answer) -> None:
        """Write one answer."""
        if self.lines:
            self.lines.write(json.dumps(answer.to_json(self.predictor.model)) + "\n")
        if self.rows:
            self.rows.writerow(answer.to_row(self.predictor.bundle.labels, self.predictor.model))


@contextmanager
def writing(predictor: Predictor, lines: str | None, table: str | None) -> Iterator[Writer]:
    """Open what was asked for; ``-`` is standard output.

    Raises:
        UsageError: Both want standard output, or a file cannot be opened.
    """
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
                return stack.enter_context(Path(name).open("w", newline="", encoding="utf-8", errors="surrogateescape"))
            except OSError as error:
                msg = f"{name}: cannot be written ({error.strerror}). Choose another place."
                raise UsageError(msg) from error

        yield Writer(predictor, opened(lines), opened(table))

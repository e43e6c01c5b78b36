"""Answers to files, one by one as they come.

JSON and CSV are valid UTF-8 whatever files are called: bytes of a name that are not UTF-8 become backslash escapes. All
else stays as it is, line ends and control characters too: JSON escapes and CSV quotes them, and a formula gets an
apostrophe before it (`hilum.outputs`). A terminal sees escapes.

A file is called ``NAME.unfinished`` until all answers are in it: what was there before stays until then, and whatever
ends the process, full lines of what was answered are kept.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from hilum.data.images import SUFFIXES
from hilum.errors import UsageError
from hilum.files import json_text, to_disk, write_whole
from hilum.outputs import LINES, ROWS, cell, check_target, descriptor_of, is_stream, open_stream
from hilum.serving.prediction import Prediction, columns
from hilum.serving.predictor import Predictor
from hilum.serving.studies import StudyPrediction
from hilum.text import encodable, printable

STDOUT = "-"
UNFINISHED = ".unfinished"
LONGEST = 240  # bytes of a name that is made longer; file systems take 255


class Sink(Protocol):
    """Where text goes."""

    def write(self, text: str, /) -> object:
        """Take one line, or one row."""

    def isatty(self) -> bool:
        """Whether people read it on a terminal."""


class Growing:
    """A file that grows line by line under the name of `unfinished`, and gets its own when it is finished.

    Args:
        path: Its own name.

    Attributes:
        part: Its name until then.
        size: Bytes of whole lines.
        lines: How many there are.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.part, self.size, self.lines = path, unfinished(path), 0, 0
        self._handle = _open_alone(self.part)

    def write(self, text: str) -> None:
        """Write a line whole, or not at all.

        Raises:
            OSError: There is no room.
        """
        content = text.encode()
        try:
            write_whole(self._handle, content, self.size)
        except OSError as error:
            error.filename = str(self.path)
            raise
        self.size += len(content)
        self.lines += 1

    def isatty(self) -> bool:
        """Never."""
        return False

    def finish(self) -> None:
        """Give it its name."""
        try:
            os.fsync(self._handle)
            self.part.replace(self.path)  # while no other process can claim it
        finally:
            self._close()
        to_disk(self.path.parent)

    def _close(self) -> None:
        """Close it once: another thread may get its number afterwards."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def keep(self, head: int) -> str:
        """Close it as it is; where answers are in it, what to say of them.

        Args:
            head: Lines that are no answers.
        """
        if self.lines <= head:
            with contextlib.suppress(OSError):
                self.part.unlink()
        with contextlib.suppress(OSError):
            self._close()
        if self.lines <= head:
            return ""
        return f"{self.part}: {self.lines - head:,} predictions are kept here; {self.path} is unchanged"


def _open_alone(part: Path) -> int:
    """Open an empty file to which no other process writes, as long as it is open.

    Raises:
        OSError: One does, or it cannot be opened.
    """
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    while True:
        handle = os.open(part, flags, 0o666)
        try:
            _lock(handle)
            if os.path.samestat(os.fstat(handle), part.lstat()):
                os.ftruncate(handle, 0)
                return handle
        except BlockingIOError as error:
            os.close(handle)
            raise OSError(errno.EBUSY, "another process is writing to it", str(part)) from error
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # it has got its own name meanwhile: what is in it stays


def _lock(handle: int) -> None:
    """Lock a file for as long as it is open; BlockingIOError where another process has."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except (ImportError, OSError):  # Windows, and file systems without locks
        return


def takes_stdout(*names: str | None) -> bool:
    """Whether one of these is standard output, so that nothing else may be printed there."""
    return any(name is not None and (name == STDOUT or descriptor_of(Path(name)) == 1) for name in names)


def unfinished(path: Path) -> Path:
    """What a file is called until all of it is there."""
    stem = os.fsdecode(os.fsencode(path.name)[:LONGEST])
    return path.with_name(f"{stem}{UNFINISHED}")


class Writer:
    """Writes answers as JSON lines, as CSV, or as both.

    Args:
        predictor: Whose answers they are.
        lines: Where JSON lines go, if anywhere.
        table: Where CSV goes, if anywhere.
        of_studies: Whether studies are written, each followed by its images.
    """

    def __init__(
        self, predictor: Predictor, lines: Sink | None, table: Sink | None, *, of_studies: bool = False
    ) -> None:
        self.predictor, self.lines = predictor, lines
        self.rows = csv.writer(table) if table else None
        self._cell = printable if table and table.isatty() else lambda text: cell(encodable(text))
        if self.rows:
            head = columns(predictor.model_file.labels, predictor.model_file.findings)
            self._row(["study", "row", *head] if of_studies else head)

    def write(self, answer: Prediction) -> None:
        """Write one answer."""
        if self.lines:
            self.lines.write(json_text(_encodable(answer.to_json(self.predictor.model))) + "\n")
        if self.rows:
            self._row(self._cells(answer))

    def write_study(self, study: StudyPrediction) -> None:
        """Write one study: a JSON object that holds its images, or a row of CSV and one for each of them."""
        if self.lines:
            self.lines.write(json_text(_encodable(study.to_json(self.predictor.model))) + "\n")
        if self.rows:
            self._row([study.name, "study", *self._cells(study.as_answer(self.predictor.model_file))])
            for answer in study.images:
                self._row([study.name, "image", *self._cells(answer)])

    def _cells(self, answer: Prediction) -> list[str]:
        model_file = self.predictor.model_file
        return answer.to_row(model_file.labels, self.predictor.model, model_file.findings)

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
    predictor: Predictor,
    lines: str | None,
    table: str | None,
    *,
    of_studies: bool = False,
    inputs: Sequence[Path] = (),
    pictures: Path | None = None,
    say: Callable[[str], object] | None = None,
) -> Iterator[Writer]:
    """Open what was asked for; ``-`` is standard output.

    Args:
        predictor: Whose answers they are.
        lines: Where JSON lines go, if anywhere.
        table: Where CSV goes, if anywhere.
        of_studies: Whether studies are written.
        inputs: What is read, and may not be written to.
        pictures: The folder of explanations, whose pages may not be written to either.
        say: Told where answers are kept if the block ends in an error.

    Raises:
        UsageError: As `check_outputs` raises it; also where a file would replace the model.
    """
    asked = {"--json": lines, "--csv": table}
    check_outputs(lines, table, inputs=[*inputs, *_files(predictor)], pictures=pictures)
    grown: list[Growing] = []
    with contextlib.ExitStack() as stack:

        def opened(option: str) -> Sink | None:
            name = asked[option]
            if name is None:
                return None
            if name == STDOUT:
                return sys.stdout
            try:
                if is_stream(Path(name)):
                    return stack.enter_context(open_stream(Path(name)))
                grown.append(Growing(Path(name)))
                return grown[-1]
            except OSError as error:
                msg = f"{option} {name}: cannot be written ({error.strerror}). Choose another path."
                raise UsageError(msg, code="unwritable") from error

        try:
            yield Writer(predictor, opened("--json"), opened("--csv"), of_studies=of_studies)
            if STDOUT in (lines, table):
                sys.stdout.flush()  # a full disk is found here, and not when Python ends
            while grown:
                grown[0].finish()
                grown.pop(0)
        except BaseException:
            for file in grown:
                kept = file.keep(head=int(file.path == Path(table or "")))
                if kept and say:
                    say(kept)
            raise


def check_outputs(
    lines: str | None, table: str | None, *, inputs: Sequence[Path] = (), pictures: Path | None = None
) -> None:
    """Find before anything is read or opened what may not be written to.

    Args:
        lines: As `writing` takes it, and so are the others.
        table: The same.
        inputs: The same.
        pictures: The same.

    Raises:
        UsageError: Both want standard output, or it is closed; or a file may not be written (`check_target`).
    """
    asked = {"--json": (lines, LINES), "--csv": (table, ROWS)}
    named = {option: Path(name) for option, (name, _) in asked.items() if name is not None and name != STDOUT}
    on_stdout = [option for option, (name, _) in asked.items() if name == STDOUT]
    on_stdout += [option for option, path in named.items() if descriptor_of(path) == 1]
    if len(on_stdout) > 1:
        msg = f"{' and '.join(on_stdout)} both use standard output. Give one of them a file."
        raise UsageError(msg, code="two-outputs")
    if on_stdout and sys.stdout is None:
        msg = f"{on_stdout[0]}: standard output is closed and predictions would be lost. Give a file: FILE."
        raise UsageError(msg)
    for option, path in named.items():
        if path.suffix.lower() in SUFFIXES and not is_stream(path):
            msg = f"{option} {path}: an image, but the option takes an output file. Write: {option} FILE, or - ."
            raise UsageError(msg, code="image-as-output", path=path)
        if pictures and path.suffix.lower() == ".html" and path.parent.resolve() == pictures.resolve():
            msg = f"{option} {path}: --explain writes its pages there. Write: {option} FILE, or - ."
            raise UsageError(msg)
        others = {other: file for other, file in named.items() if other != option}
        check_target(path, asked[option][1], option=option, inputs=inputs, outputs=others, streams=True)
        if not is_stream(path):
            check_target(unfinished(path), asked[option][1], option=option, inputs=inputs, outputs=others)


def _files(predictor: Predictor) -> list[Path]:
    """Where the model lies."""
    source = Path(predictor.model_file.source)
    return [source, source / "model.onnx"]

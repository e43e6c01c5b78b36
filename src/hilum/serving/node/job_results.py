"""Where the results of a job lie until every destination has them: files in one folder, by the job's number."""

from __future__ import annotations

from itertools import count, takewhile
from pathlib import Path


def result_file(folder: Path, job: int, number: int) -> Path:
    """The file of one object of a job."""
    return folder / f"{job}.{number}.dcm"


def result_files(folder: Path, job: int) -> list[Path]:
    """The objects of a job, in their order."""
    return list(takewhile(Path.is_file, (result_file(folder, job, number) for number in count())))


def remove_results(folder: Path, job: int) -> None:
    """Delete the objects of a job, the last one first: what is left after a kill is found again."""
    for file in reversed(result_files(folder, job)):
        file.unlink()

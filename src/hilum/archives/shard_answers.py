"""The answers about one slice of an archive's list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from hilum.archives.image_list import source_of
from hilum.archives.shards import as_parquet
from hilum.errors import ImageError
from hilum.serving.prediction import Prediction
from hilum.serving.predictor import Predictor


def answer(predictor: Predictor, entries: Sequence[str]) -> tuple[bytes, int]:
    """One shard as bytes of Parquet, and how many of its images could not be read.

    Args:
        predictor: Who answers.
        entries: Paths and addresses.

    Raises:
        DataError: A store cannot be used; that an object is missing is an answer.
    """
    found = answers(predictor, entries)
    return as_parquet(found, predictor.model_file), sum(bool(one.error) for one in found)


def answers(predictor: Predictor, entries: Sequence[str]) -> list[Prediction]:
    """The same, one by one."""
    failed: dict[int, Prediction] = {}

    def sources() -> Iterator[Path | bytes]:
        for place, entry in enumerate(entries):
            try:
                yield source_of(entry)
            except ImageError as error:
                failed[place] = unread(entry, str(error))

    read = iter(list(predictor.predict_many(sources())))  # after which it is known what failed
    return [
        failed[place] if place in failed else replace(next(read), path=entry) for place, entry in enumerate(entries)
    ]


def unread(entry: str, why: str) -> Prediction:
    """What is said of an image that cannot be read."""
    return Prediction(entry, error=why.removeprefix(f"{entry}: "))

"""Predictions as a folder of Parquet files, each of which is written once: a shard for each slice of a fixed list.

Row group k of ``_list.parquet`` holds the images of shard k, and ``_archive.json`` says whose answers these are. What
reads Parquet folders passes over names that begin with an underscore. A shard has its name only when all of it is on
the disk: whatever ends a process, the same command goes on where it was.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from hilum import __version__
from hilum.errors import DataError, UsageError
from hilum.files import PREFIX, locked, read_text, save_json, saving, sweep
from hilum.serving.model_file import ModelFile
from hilum.serving.prediction import Prediction, columns
from hilum.text import encodable

MANIFEST, LIST, LOCK = "_archive.json", "_list.parquet", "_archive.lock"
SHARD_SIZE = 1024  # images
OPTION = "--parquet"
NUMBERS = ("p:", "p_in_distribution")


@dataclass(frozen=True)
class Counted:
    """What a shard, or several, say.

    Attributes:
        images: Number of rows.
        errors: Number of images that could not be read.
    """

    images: int = 0
    errors: int = 0

    def __add__(self, other: Counted) -> Counted:
        return Counted(self.images + other.images, self.errors + other.errors)


class Shards:
    """A folder of answers, some of which may be there already.

    Args:
        folder: That holds a manifest and a list.

    Attributes:
        manifest: What `prepare` wrote.
        number: How many shards there are when all are there.
    """

    def __init__(self, folder: Path) -> None:
        from pyarrow import parquet

        self.folder = folder
        self.manifest: dict[str, object] = json.loads(read_text(folder / MANIFEST))
        self._list = parquet.ParquetFile(folder / LIST)
        self.number = int(self._list.num_row_groups)

    @property
    def images(self) -> int:
        """Number of images of all shards."""
        return int(self._list.metadata.num_rows)

    def file(self, shard: int) -> Path:
        """Where a shard is, or will be."""
        return self.folder / f"part-{shard:08d}.parquet"

    def entries(self, shard: int) -> list[str]:
        """The images of a shard."""
        return [os.fsdecode(name) for name in self._list.read_row_group(shard)["path"].to_pylist()]

    def size(self, shard: int) -> int:
        """Their number."""
        return int(self._list.metadata.row_group(shard).num_rows)

    def finished(self, shard: int) -> Counted | None:
        """What a shard says; None where it is not there, or was cut short or damaged, and has to be done again."""
        import pyarrow as pa
        from pyarrow import parquet

        try:
            table = parquet.read_table(self.file(shard), columns=["path", "error"], page_checksum_verification=True)
        except (OSError, pa.ArrowException, KeyError):
            return None
        if table["path"].to_pylist() != [encodable(entry) for entry in self.entries(shard)]:
            return None
        return Counted(len(table), sum(map(bool, table["error"].to_pylist())))

    def save(self, shard: int, content: bytes) -> None:
        """Write a shard, whole and once.

        Raises:
            DataError: It cannot be written.
        """
        try:
            with saving(self.file(shard)) as target:
                target.write(content)
        except OSError as error:
            msg = (
                f"{self.file(shard)}: cannot be written ({error.strerror}). Make room, and give the same command again."
            )
            raise DataError(msg, code="unwritable", path=self.file(shard)) from error


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder for this process.

    Raises:
        UsageError: Another one writes there, or the folder cannot be made.
    """

    def busy() -> None:
        msg = f"{OPTION} {folder}: another process writes there. Wait for it, or choose another folder."
        raise UsageError(msg, code="busy", path=folder)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        holding = locked(folder / LOCK, busy)
        holding.__enter__()
    except OSError as error:
        msg = f"{OPTION} {folder}: cannot be written ({error.strerror}). Choose another folder."
        raise UsageError(msg, code="unusable", path=folder) from error
    try:
        yield
    finally:
        holding.__exit__(None, None, None)


def kept(folder: Path, places: Sequence[str], model: Mapping[str, str], shard_size: int) -> bool:
    """Whether a folder holds the beginning of the same work.

    Raises:
        UsageError: It holds something else.
    """
    said = f"{OPTION} {folder}"
    if not (folder / MANIFEST).exists():
        own = (LIST, LOCK)
        others = [path.name for path in folder.iterdir() if path.name not in own and not path.name.startswith(PREFIX)]
        if others:
            msg = f"{said}: is not empty (it holds {sorted(others)[0]}). Choose a new folder."
            raise UsageError(msg, code="in-the-way", path=folder)
        return False
    try:
        found = json.loads(read_text(folder / MANIFEST))
        before = {name: found[name] for name in ("sources", "model", "shard_size")}
    except (OSError, ValueError, TypeError, KeyError) as error:
        msg = f"{said}: {MANIFEST} is damaged. Choose a new folder."
        raise UsageError(msg, code="in-the-way", path=folder) from error
    now = {"sources": list(places), "model": dict(model), "shard_size": shard_size}
    for name, value in now.items():
        if before[name] != value:
            msg = f"{said}: holds predictions with another {name} ({before[name]}). Choose a new folder."
            raise UsageError(msg, code="in-the-way", path=folder)
    return True


def prepare(
    folder: Path, entries: Iterable[str], places: Sequence[str], model: Mapping[str, str], shard_size: int
) -> None:
    """Write the list and the manifest of new work; memory holds one shard's entries.

    Raises:
        DataError: There is no image, or the folder cannot be written.
    """
    import pyarrow as pa
    from pyarrow import parquet

    schema, names, images = pa.schema([("path", pa.binary())]), iter(entries), 0
    first = list(islice(names, 1))
    if not first:
        msg = f"{' '.join(places)}: no image is listed there. Name images, folders or a list of paths."
        raise DataError(msg, code="no-images")
    names = chain(first, names)
    sweep(folder, ".part")
    try:
        with saving(folder / LIST) as file, parquet.ParquetWriter(file, schema, compression="zstd") as writer:
            while some := list(islice(names, shard_size)):
                images += len(some)
                writer.write_table(pa.table([[os.fsencode(name) for name in some]], schema=schema))
        manifest = {"hilum": __version__, "sources": list(places), "model": dict(model), "shard_size": shard_size}
        save_json(folder / MANIFEST, manifest | {"images": images})
    except OSError as error:
        msg = f"{folder}: cannot be written ({error.strerror}). Choose another folder with {OPTION}."
        raise DataError(msg, code="unwritable", path=folder) from error


def as_parquet(answers: Sequence[Prediction], model: ModelFile) -> bytes:
    """Answers as one Parquet file: the columns of ``hilum predict --csv``, numbers as numbers, empty cells null.

    The same answers give the same bytes.
    """
    import pyarrow as pa
    from pyarrow import parquet

    named = {"name": model.name, "sha256": model.sha256}
    heads = columns(model.labels, model.findings)
    rows = [_row(answer, named, model) for answer in answers]
    arrays = [
        pa.array([row[k] for row in rows], pa.float64() if head.startswith(NUMBERS) else pa.string())
        for k, head in enumerate(heads)
    ]
    target = io.BytesIO()
    parquet.write_table(pa.table(arrays, names=heads), target, compression="zstd", write_page_checksum=True)
    return target.getvalue()


def _row(answer: Prediction, named: Mapping[str, str], model: ModelFile) -> list[object]:
    """Cells as `Prediction.to_row` has them, with whole numbers in place of rounded ones."""
    cells = zip(columns(model.labels, model.findings), answer.to_row(model.labels, named, model.findings), strict=True)
    exact: dict[str, float | None] = {
        f"p:{label}": None if answer.error else answer.probabilities[label] for label in model.labels
    }
    exact["p_in_distribution"] = answer.p_in_distribution
    return [exact[head] if head in exact else encodable(text) or None for head, text in cells]

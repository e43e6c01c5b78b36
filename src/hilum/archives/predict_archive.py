"""Predicting an archive: shard by shard, by this process or by the actors of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

from hilum.archives.image_list import list_images
from hilum.archives.object_store import is_address
from hilum.archives.ray_actors import answer_by_actors
from hilum.archives.shard_answers import answer
from hilum.archives.shards import SHARD_SIZE, Counted, Shards, alone, kept, prepare
from hilum.data.process_pool import usable_cores
from hilum.data.ray_pool import Wanted, check_nodes, seen_here
from hilum.extras import require
from hilum.progress import Progress
from hilum.ray_engine import check_engine, connect
from hilum.serving.model_file import ModelFile
from hilum.serving.predictor import Predictor


def predict_archive(
    places: Sequence[str],
    folder: Path,
    model: ModelFile | Path | str | bytes | None = None,
    *,
    engine: str = "local",
    address: str = "",
    threads: int | None = None,
    shard_size: int = SHARD_SIZE,
    progress: Progress | None = None,
    unlisted: Callable[[str], object] | None = None,
) -> Counted:
    """Answer about all images, in a folder of Parquet files; what is there already is not done again.

    Memory does not grow with the number of images, but for the names in folders of this machine while they are listed.

    Args:
        places: Images, folders, lists and addresses, as `hilum.archives.image_list.list_images` takes them.
        folder: Where to write (see `hilum.archives.shards`); it may hold the beginning of the same work.
        model: As `Predictor` takes it.
        engine: ``local`` or ``ray``.
        address: Of a Ray cluster; by default one is started here.
        threads: Of this machine; by default one for each core.
        shard_size: Images of one file.
        progress: Told about long work.
        unlisted: Told in one line of each folder that cannot be listed.

    Returns:
        What all shards say.

    Raises:
        DataError: A list or a store cannot be read, or there is no room.
        EngineError: The cluster does not answer, a node does not see the files, or processes cannot do it.
        ExtraError: The extra ``[ray]`` is not installed.
        ModelFileError: The model file cannot be used.
        UsageError: The folder holds something else, or another process writes there.
    """
    check_engine(engine, address)
    require("ray", "--parquet", "pyarrow")
    progress = progress or Progress()
    predictor = Predictor(model, threads=threads if engine == "local" else 1)
    with ExitStack() as stack:
        # Before a list of millions is made: an address may not answer.
        cluster = stack.enter_context(connect(address, threads or usable_cores())) if engine == "ray" else None
        stack.enter_context(alone(folder))
        if not kept(folder, places, predictor.model, shard_size):
            entries = list_images(places, folder, progress.line, unlisted)
            prepare(folder, entries, places, predictor.model, shard_size)
        shards = Shards(folder)
        before = {shard: counted for shard in range(shards.number) if (counted := shards.finished(shard))}
        if before:
            progress.line(f"{folder}: {len(before):,} of {shards.number:,} files are finished; the others follow")
        missing = [shard for shard in range(shards.number) if shard not in before]
        total = sum(before.values(), Counted())
        if missing:
            done: Iterator[tuple[int, bytes, int]]
            if cluster:
                check_nodes(cluster, address, Wanted(_seen_here(shards, missing)))
                done = answer_by_actors(cluster, missing, shards.entries, predictor.model_file)
            else:
                done = ((shard, *answer(predictor, shards.entries(shard))) for shard in missing)
            with progress.task("Predicting", sum(map(shards.size, missing))) as advance:
                for shard, content, errors in done:
                    shards.save(shard, content)
                    total += Counted(shards.size(shard), errors)
                    advance(shards.size(shard))
    return total


def _seen_here(shards: Shards, numbers: Iterable[int]) -> str:
    """The first image of some shards that is a file of this machine; empty where there is none."""
    return seen_here(entry for entry in chain.from_iterable(map(shards.entries, numbers)) if not is_address(entry))

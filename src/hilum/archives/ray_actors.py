"""Shards answered by a pool of Ray actors, each a process with one predictor and one thread.

Ray's actors and not Ray Data: Ray Data names its files by attempts, and starts anew after its driver was killed. Here
the driver alone writes, so that nothing is repeated; and nodes have to reach the images, but not the output.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from hilum.archives.shard_answers import answer, answers, unread
from hilum.archives.shards import as_parquet
from hilum.errors import EngineError, HilumError
from hilum.ray_engine import Cluster
from hilum.serving.model_file import ModelFile
from hilum.serving.prediction import Prediction
from hilum.serving.predictor import Predictor

RETRIES = 2  # of a shard whose worker was killed
QUEUE = 2  # shards an actor has at a time: one that it answers, one that waits


class _Worker:
    """What an actor is; the model comes with each shard, so that one that was killed can be started again."""

    def __init__(self, folder: str) -> None:
        with suppress(OSError):  # a node of a cluster may not have it; relative paths lead nowhere there
            os.chdir(folder)
        self._predictor: Predictor | None = None

    def answer(self, model: bytes, entries: Sequence[str]) -> tuple[bytes, int]:
        """As `hilum.archives.shard_answers.answer`."""
        return answer(self._opened(model), entries)

    def answer_one(self, model: bytes, entry: str) -> Prediction:
        """About one image, of a shard that has killed its workers."""
        return answers(self._opened(model), [entry])[0]

    def _opened(self, model: bytes) -> Predictor:
        if self._predictor is None:
            self._predictor = Predictor(model, threads=1)
        return self._predictor


def answer_by_actors(
    cluster: Cluster, shards: Sequence[int], entries: Callable[[int], list[str]], model: ModelFile
) -> Iterator[tuple[int, bytes, int]]:
    """Shards as they are finished: their number, their Parquet bytes, and how many images could not be read.

    Args:
        cluster: That this process is connected to.
        shards: Their numbers.
        entries: The images of a shard; asked for when it is its turn.
        model: The model file that answers.

    Raises:
        HilumError: As a worker raised it, such as a store that cannot be used.
        EngineError: No worker can be started.
    """
    import ray

    kept = ray.put(model.model)
    remote: Any = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=RETRIES)(_Worker)
    workers = [remote.remote(os.getcwd()) for _ in range(min(max(cluster.cpus, 1), len(shards)))]  # noqa: PTH109
    waiting, running = iter(shards), {}

    def give(worker: Any) -> None:
        for shard in waiting:
            running[worker.answer.remote(kept, entries(shard))] = (worker, shard)
            return

    for worker in workers * QUEUE:
        give(worker)
    while running:
        (ready,), _ = ray.wait(list(running), num_returns=1)
        worker, shard = running.pop(ready)
        try:
            content, errors = ray.get(ready)
        except ray.exceptions.RayTaskError as error:
            raise _own(error.cause) from error
        except ray.exceptions.RayActorError as error:
            content, errors = _one_by_one(
                partial(worker.answer_one.options(max_task_retries=1).remote, kept), entries(shard), model, error
            )
        yield shard, content, errors
        give(worker)


def _one_by_one(
    ask: Callable[[str], Any], entries: Sequence[str], model: ModelFile, first: Exception
) -> tuple[bytes, int]:
    """A shard that has killed its workers again and again, image by image: one that kills them once more is bad.

    Raises:
        EngineError: Not one image is answered: the reason is not among them.
    """
    import ray

    found = []
    for entry in entries:
        try:
            found.append(ray.get(ask(entry)))
        except ray.exceptions.RayTaskError as error:
            raise _own(error.cause) from error
        except ray.exceptions.RayActorError:
            found.append(unread(entry, "the process that read it was ended each time. Review it separately."))
            if len(found) == RETRIES and all(one.error for one in found):
                raise _no_worker(first) from first
    return as_parquet(found, model), sum(bool(one.error) for one in found)


def _own(error: BaseException) -> HilumError:
    return error if isinstance(error, HilumError) else _no_worker(error)


def _no_worker(error: BaseException) -> EngineError:
    why = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    msg = (
        f"the workers of the cluster end without an answer ({why}). Check that each node has this version of hilum and "
        "enough memory; then give the same command again."
    )
    return EngineError(msg, code="no-worker")

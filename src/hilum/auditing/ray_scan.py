"""The scan of an audit by the processes of a Ray cluster, which have to reach the files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from hilum.auditing.scan import Seen, look
from hilum.data.cache import Unreadable
from hilum.data.dataset import Dataset, Row
from hilum.data.ray_pool import in_tasks
from hilum.ray_engine import Cluster


def look_by_ray(cluster: Cluster, table: Dataset, chunks: Sequence[Sequence[Row]]) -> Iterator[list[Seen | Unreadable]]:
    """What was seen of each chunk of a table's rows, in their order.

    Raises:
        HilumError: As a process raised it.
        EngineError: Processes end without an answer.
    """
    where = replace(table, rows=()).absolute()
    return in_tasks(cluster, partial(look, where), map(list, chunks))

"""How long images and results stay on this machine: by the configuration, and never shorter than they are needed."""

from __future__ import annotations

import time
from pathlib import Path

from hilum.serving.node.configuration import Retention
from hilum.serving.node.intake import Intake
from hilum.serving.node.job_results import remove_results
from hilum.serving.node.queue import Queue

DAY = 86_400.0


def tidy(queue: Queue, intake: Intake, results: Path, retention: Retention) -> int:
    """Delete the files of what is sent or refused, and older than the rule says; then old rows.

    A clock that jumps back makes files stay longer. Files go before their mark in the queue: after a kill between the
    two they are deleted again.

    Returns:
        Number of images that were deleted.
    """
    now, count = time.time(), 0
    before = now - retention.days * DAY if retention.days else float("inf")
    while jobs := queue.to_delete(before):
        for job in jobs:
            intake.path(job.instance, job.rule).unlink(missing_ok=True)
            remove_results(results, job.id)
        queue.deleted(jobs)
        count += len(jobs)
    queue.forget(now - retention.record_days * DAY)
    return count

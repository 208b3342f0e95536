"""Choose which waiting backups may start now.

A job is the backup of one database for one request. At most `parallel` jobs run at the same time, and never two for the
same set and database. A job with an interrupted attempt starts after all others and runs alone, because the cause may
have been a lack of memory.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from backup_agent.core.artifacts.names import DatabaseName, RequestId, SetName


@dataclass(frozen=True)
class Job:
    """The backup of one database for one request, waiting or running."""

    request: RequestId
    """Id of the request."""
    set: SetName
    database: DatabaseName
    attempts: int = 0
    """Number of attempts that ended without a verdict."""

    @property
    def again(self) -> bool:
        """Whether an earlier attempt ended without a verdict."""
        return self.attempts > 0


def may_start(waiting: Iterable[Job], running: Sequence[Job], parallel: int) -> tuple[Job, ...]:
    """Return the waiting jobs that may start now, in their order.

    `waiting` is in the order of the requests. Example: parallel=2, A/orders is running, and B/orders, B/stock and a
    second attempt of C/orders are waiting. B/stock starts, B/orders waits for A/orders, and C/orders waits until no
    other job runs.
    """
    started: list[Job] = []
    occupied = {(job.set, job.database) for job in running}
    alone = any(job.again for job in running)
    if alone or len(running) >= parallel:
        return ()  # before `waiting` is read, which may be long
    for job in sorted(waiting, key=lambda job: job.again):
        busy = len(running) + len(started)
        if alone or busy >= parallel or (job.again and busy):
            break
        if (job.set, job.database) in occupied:
            continue
        started.append(job)
        occupied.add((job.set, job.database))
        alone = job.again
    return tuple(started)

"""Which backups may start now, out of all that wait.

The unit is a job: one database of one request. `parallel` counts jobs over all requests; never two for one set and
database; a job tried again after an interruption comes after all others and runs alone, because what ended it may
have been its own appetite for memory.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """One database of one request, waiting or running."""

    request: str
    set: str
    database: str
    attempts: int = 0
    """Attempts that ended without a verdict."""

    @property
    def again(self) -> bool:
        """Whether an earlier attempt ended without a verdict."""
        return self.attempts > 0


def may_start(waiting: Iterable[Job], running: Sequence[Job], parallel: int) -> tuple[Job, ...]:
    """Return the waiting jobs that may start now, in the order they should.

    `waiting` is in the order of the requests. Example with parallel=2, running A/orders, waiting B/orders, B/stock,
    C/orders again: B/stock starts; B/orders waits for A; C's second attempt waits until nothing else runs.
    """
    started: list[Job] = []
    taken = {(job.set, job.database) for job in running}
    alone = any(job.again for job in running)
    for job in sorted(waiting, key=lambda job: job.again):
        busy = len(running) + len(started)
        if alone or busy >= parallel or (job.again and busy):
            break
        if (job.set, job.database) in taken:
            continue
        started.append(job)
        taken.add((job.set, job.database))
        alone = job.again
    return tuple(started)

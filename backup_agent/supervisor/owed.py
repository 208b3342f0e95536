"""Copies still owed to destinations, and when to try again.

A run copies its own artifact; what it could not copy is retried here, from the copy on the volume, one destination at
a time, in a slot that no backup wants.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from backup_agent.core.reasons import Failure
from backup_agent.core.summary import DatabaseSummary

FIRST_WAIT = 15.0
LONGEST_WAIT = 900.0


@dataclass
class Destination:
    """What is known of one destination since start. `up` is None before anything was tried."""

    name: str
    identity: str = ""
    """Which place it is: under the same name the settings may come to mean another."""
    uncounted_since: float | None = None
    """When it came in without a survey that counted what is owed to it (monotonic seconds)."""
    up: bool | None = None
    failure: Failure | None = None
    failures: int = 0
    _again: float = 0.0

    def succeeded(self) -> None:
        """Note that the destination took something."""
        self.up, self.failure, self.failures, self._again = True, None, 0, 0.0

    def failed(self, failure: Failure, monotonic: float) -> None:
        """Note that it did not, and wait twice as long as the last time before the next try."""
        self.up, self.failure = False, failure
        # Ten doublings pass the longest wait; a thousand, ten days of a store that is down, overflow a float.
        self._again = monotonic + min(FIRST_WAIT * 2 ** min(self.failures, 10), LONGEST_WAIT)
        self.failures += 1

    def hurry(self) -> None:
        """Let the next try be made at once."""
        self._again = 0.0

    def due(self, monotonic: float) -> bool:
        """Tell whether a retry may be made now."""
        return monotonic >= self._again

    def wait(self, monotonic: float) -> float:
        """Return the seconds until a retry may be made."""
        return max(0.0, self._again - monotonic)


def owing(summaries: Iterable[DatabaseSummary], destination: str) -> int:
    """Return how many artifacts have no copy at a destination."""
    return sum(summary.owed.get(destination, 0) for summary in summaries)

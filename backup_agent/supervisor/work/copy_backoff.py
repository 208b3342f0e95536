"""Copies still owed to destinations, and when to try again.

A run copies its own artifact; what it could not copy is retried here, from the copy on the volume, one destination at
a time, in a slot that no backup wants.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from backup_agent.core.artifacts.names import PlaceName
from backup_agent.core.artifacts.summary import DatabaseSummary
from backup_agent.core.reasons import ABOUT_ONE_ARTIFACT, Failure
from backup_agent.supervisor.backoff import Backoff


@dataclass
class CopyBackoff:
    """What is known of one destination since start. `up` is None before anything was tried."""

    name: PlaceName
    identity: str = ""
    """Which place it is: under the same name the settings may come to mean another."""
    uncounted_since: float | None = None
    """When it came in without a survey that counted what is owed to it (monotonic seconds)."""
    up: bool | None = None
    failure: Failure | None = None
    retry: Backoff = field(default_factory=Backoff)

    def succeeded(self) -> None:
        """Note that the destination took something."""
        self.up, self.failure = True, None
        self.retry.succeeded()

    def failed(self, failure: Failure, monotonic: float) -> None:
        """Note that the destination did not take something, and when it may be tried again."""
        self.up, self.failure = failure.reason in ABOUT_ONE_ARTIFACT, failure
        self.retry.failed(monotonic)


def owing(summaries: Iterable[DatabaseSummary], destination: PlaceName) -> int:
    """Return how many artifacts have no copy at a destination."""
    return sum(summary.owed.get(destination, 0) for summary in summaries)

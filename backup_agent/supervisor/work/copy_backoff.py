"""Copies that are missing at destinations, and when to try them again."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from backup_agent.core.artifacts.names import PlaceName
from backup_agent.core.artifacts.summary import DatabaseSummary
from backup_agent.core.reasons import ABOUT_ONE_ARTIFACT, Failure
from backup_agent.supervisor.backoff import Backoff

NEW_SECONDS = 30.0
"""Longest wait after a failure if another artifact has been recorded: its request waits for an answer."""


@dataclass
class CopyBackoff:
    """The state of one destination since the agent started. `up` is None before the first copy."""

    name: PlaceName
    identity: str = ""
    """The identity of the place: changed settings may give its name to another place."""
    uncounted_since: float | None = None
    """Since when the number of missing copies is unknown (monotonic seconds); None if it is known."""
    up: bool | None = None
    failure: Failure | None = None
    retry: Backoff = field(default_factory=Backoff)

    def try_soon(self) -> None:
        """Make the next try soon, because an artifact was recorded: at once if only certain artifacts have failed."""
        self.retry.within(0.0 if self.up else NEW_SECONDS)

    def succeeded(self) -> None:
        """Note that the destination accepted a copy."""
        self.up, self.failure = True, None
        self.retry.succeeded()

    def failed(self, failure: Failure, monotonic: float) -> None:
        """Note that a copy failed, and delay the next try."""
        self.up, self.failure = failure.reason in ABOUT_ONE_ARTIFACT, failure
        self.retry.failed(monotonic)


def missing_copies(summaries: Iterable[DatabaseSummary], destination: PlaceName) -> int:
    """Return how many copies are missing at a destination."""
    return sum(summary.owed.get(destination, 0) for summary in summaries)

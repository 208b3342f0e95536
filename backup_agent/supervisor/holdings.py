"""What stands on the volume, a summary a database, and what is owed to destinations."""

import time
from collections.abc import Iterable
from typing import Any

import structlog

from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.summary import DatabaseSummary
from backup_agent.supervisor.owed import Destination, owing

log = structlog.get_logger()


class Holdings:
    """The summaries, as the survey and each run told them, and the destinations in force."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._summaries: dict[tuple[str, str], DatabaseSummary] = {}
        self.destinations: dict[str, Destination] = {}

    @property
    def summaries(self) -> tuple[DatabaseSummary, ...]:
        """One summary a set and database."""
        return tuple(self._summaries.values())

    @property
    def databases(self) -> set[str]:
        """Databases that have records in any set."""
        return {database for _, database in self._summaries}

    @property
    def sets(self) -> set[str]:
        """Sets that have records."""
        return {name for name, _ in self._summaries}

    def use(self, destinations: Iterable[str]) -> None:
        """Take the destinations of the settings; what is known of one that stays is kept."""
        self.destinations = {name: self.destinations.get(name, Destination(name)) for name in destinations}
        for destination in self.destinations.values():
            destination.hurry()  # whoever mends a destination's settings wants to see it copy

    def take(self, event: dict[str, Any]) -> None:
        """Take a summary that a child told."""
        summary = DatabaseSummary.model_validate({key: value for key, value in event.items() if key != "event"})
        self._summaries[summary.set, summary.database] = summary

    def gone(self, set_name: str, database: str) -> None:
        """Note that nothing is recorded any more of a database in a set."""
        self._summaries.pop((set_name, database), None)

    def owes(self, event: dict[str, Any]) -> None:
        """Note how many copies a database still owes to a destination."""
        key = (event["set"], event["database"])
        if key in self._summaries:
            before = self._summaries[key]
            counts = {**before.owed, event["destination"]: event["owed"]}
            self._summaries[key] = before.model_copy(update={"owed": counts})

    def owed(self, destination: str) -> int:
        """Return how many artifacts have no copy at a destination."""
        return owing(self._summaries.values(), destination)

    def to_retry(self) -> str | None:
        """Return a destination to which copies are owed and may be tried again now, or None."""
        monotonic = time.monotonic()
        return next((name for name, one in self.destinations.items() if self.owed(name) and one.due(monotonic)), None)

    def stored(self, destination: str) -> None:
        """Note that a destination took what it was given."""
        if destination in self.destinations:
            self.destinations[destination].succeeded()

    def refused(self, destination: str, failure: Failure) -> bool:
        """Note that it did not, and tell whether that counts: a copy that was cancelled says nothing of it."""
        one = self.destinations.get(destination)
        if one is None or failure.reason is Reason.CANCELLED:
            return False
        monotonic = time.monotonic()
        one.failed(failure, monotonic)
        log.warning(
            "copy owed",
            destination=destination,
            reason=failure.reason.value,
            error=failure.error,
            retry_seconds=round(one.wait(monotonic)),
        )
        return True

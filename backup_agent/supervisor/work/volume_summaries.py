"""A summary of each database on the volume, and the copies that are missing at each destination."""

import time
from collections.abc import Collection, Iterable, Mapping

import structlog

from backup_agent.core.artifacts.names import DatabaseName, PlaceName, SetName
from backup_agent.core.artifacts.summary import DatabaseSummary
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.events import CopiesOwed
from backup_agent.supervisor.work.copy_backoff import CopyBackoff, owing

log = structlog.get_logger()


class VolumeSummaries:
    """The summaries, as the survey and each run told them, and the destinations in force."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self.known = False
        """Whether a survey has told what is on the volume."""
        self.doubted = False
        """Whether something may have changed that was not told: a survey sets it right."""
        self._summaries: dict[tuple[SetName, DatabaseName], DatabaseSummary] = {}
        self.destinations: dict[PlaceName, CopyBackoff] = {}

    @property
    def summaries(self) -> tuple[DatabaseSummary, ...]:
        """One summary a set and database."""
        return tuple(self._summaries.values())

    @property
    def databases(self) -> set[DatabaseName]:
        """Databases that have records in any set."""
        return {database for _, database in self._summaries}

    @property
    def sets(self) -> set[SetName]:
        """Sets that have records."""
        return {name for name, _ in self._summaries}

    def use(self, identities: Mapping[PlaceName, str], *, uncounted_since: float | None) -> None:
        """Take the destinations of the settings; what is known of one that stays is kept.

        `uncounted_since` is None before the survey, which counts missing copies; a later destination must be counted.
        """
        before = self.destinations
        self.destinations = {
            name: before[name]
            if name in before and before[name].identity == identity
            else CopyBackoff(name, identity, uncounted_since)
            for name, identity in identities.items()
        }
        for destination in self.destinations.values():
            destination.retry.hurry()  # corrected settings should take effect at once
        stay = {name for name, one in self.destinations.items() if one is before.get(name)}
        self._summaries = {
            key: one.model_copy(update={"owed": {name: count for name, count in one.owed.items() if name in stay}})
            for key, one in self._summaries.items()
        }

    def surveyed(
        self, summaries: Iterable[DatabaseSummary], uncounted: Collection[PlaceName], monotonic: float
    ) -> None:
        """Take all that a survey has found, in place of what was known.

        `uncounted` are the destinations whose missing copies it could not count: a pass has to count them.
        """
        self._summaries = {(summary.set, summary.database): summary for summary in summaries}
        self.known, self.doubted = True, False
        for name in uncounted:
            self.uncounted(name, monotonic)

    def uncounted(self, destination: PlaceName, monotonic: float) -> None:
        """Note that the number of copies missing at a destination is unknown: a pass has to count them."""
        if destination in self.destinations:
            self.destinations[destination].uncounted_since = monotonic

    def take(self, summary: DatabaseSummary) -> None:
        """Take a summary that a child told."""
        self._summaries[summary.set, summary.database] = summary

    def doubt(self) -> None:
        """Note that something may have changed on the volume without being told."""
        self.doubted = True

    def gone(self, set_name: SetName, database: DatabaseName) -> None:
        """Note that nothing is recorded any more of a database in a set."""
        self._summaries.pop((set_name, database), None)

    def owes(self, told: CopiesOwed) -> None:
        """Note how many copies of a database are missing at a destination."""
        key = (told.set, told.database)
        if key in self._summaries:
            before = self._summaries[key]
            counts = {**before.owed, told.destination: told.owed}
            self._summaries[key] = before.model_copy(update={"owed": counts})

    def counted(self, destination: PlaceName, started: float) -> None:
        """Note that a pass that started at `started` has counted the copies missing at a destination."""
        one = self.destinations.get(destination)
        if one is not None and one.uncounted_since is not None and one.uncounted_since <= started:
            one.uncounted_since = None

    def owed(self, destination: PlaceName) -> int | None:
        """Return how many artifacts have no copy at a destination; None if they have not been counted yet."""
        if not self.known or self.destinations[destination].uncounted_since is not None:
            return None
        return owing(self._summaries.values(), destination)

    def to_retry(self) -> PlaceName | None:
        """Return a destination where copies are or may be missing and may be tried now, else None."""
        monotonic = time.monotonic()
        return next(
            (name for name, one in self.destinations.items() if self.owed(name) != 0 and one.retry.due(monotonic)), None
        )

    def stored(self, destination: PlaceName) -> None:
        """Note that a destination took what it was given."""
        if destination in self.destinations:
            self.destinations[destination].succeeded()

    def refused(self, destination: PlaceName, failure: Failure) -> bool:
        """Note that a destination refused a copy. Return False if the failure says nothing about the destination."""
        one = self.destinations.get(destination)
        if one is None or failure.reason is Reason.CANCELLED:
            return False
        monotonic = time.monotonic()
        one.failed(failure, monotonic)
        log.warning(
            "copy missing",
            destination=destination,
            reason=failure.reason.value,
            error=failure.error,
            retry_seconds=round(one.retry.wait(monotonic)),
        )
        return True

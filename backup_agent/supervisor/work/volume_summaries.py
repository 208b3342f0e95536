"""The summaries of the databases on the volume, and the number of copies that are missing at each destination."""

import time
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

import structlog

from backup_agent.core.artifacts.keys import database_key
from backup_agent.core.artifacts.names import DatabaseName, PlaceName, SetName
from backup_agent.core.artifacts.summary import DatabaseSummary
from backup_agent.core.reasons import Failure, Reason
from backup_agent.supervisor.work.copy_backoff import CopyBackoff, missing_copies

log = structlog.get_logger()


class VolumeSummaries:
    """The summaries, as the survey and each run reported them, and the destinations of the settings in force."""

    def __init__(self) -> None:
        """Begin without summaries and destinations."""
        self.known = False
        """Whether a survey has succeeded."""
        self.doubted = False
        """Whether a change of the volume may not have been reported; until the next survey."""
        self._summaries: dict[tuple[SetName, DatabaseName], DatabaseSummary] = {}
        self._told: dict[tuple[SetName, DatabaseName], float] = {}
        """When a run last reported the summary of a database (monotonic seconds)."""
        self.destinations: dict[PlaceName, CopyBackoff] = {}

    @property
    def summaries(self) -> tuple[DatabaseSummary, ...]:
        """One summary for each database of each set."""
        return tuple(self._summaries.values())

    @property
    def databases(self) -> set[DatabaseName]:
        """The databases that have records in any set."""
        return {database for _, database in self._summaries}

    @property
    def sets(self) -> set[SetName]:
        """The sets that have records."""
        return {name for name, _ in self._summaries}

    def use(self, identities: Mapping[PlaceName, str], *, uncounted_since: float | None) -> None:
        """Use the destinations of the settings, given by their identities. Keep the state of those that stay.

        `uncounted_since` is None before the first survey, which counts the missing copies. Later it is the current
        time in monotonic seconds: a pass must count the missing copies of a new destination.
        """
        before = self.destinations
        self.destinations = {
            name: before[name]
            if name in before and before[name].identity == identity
            else CopyBackoff(name, identity, uncounted_since)
            for name, identity in identities.items()
        }
        for destination in self.destinations.values():
            destination.retry.try_at_once()  # corrected settings should take effect at once
        stay = {name for name, destination in self.destinations.items() if destination is before.get(name)}
        self._summaries = {
            key: summary.model_copy(
                update={
                    "owed": {name: count for name, count in summary.owed.items() if name in stay},
                    "owed_since": {name: since for name, since in summary.owed_since.items() if name in stay},
                }
            )
            for key, summary in self._summaries.items()
        }

    def surveyed(
        self, summaries: Iterable[DatabaseSummary], uncounted: Collection[PlaceName], monotonic: float
    ) -> None:
        """Replace all summaries by those of a survey.

        `uncounted` are the destinations whose missing copies the survey could not count; a pass must count them.
        """
        self._summaries = {(summary.set, summary.database): summary for summary in summaries}
        self.known, self.doubted = True, False
        for name in uncounted:
            self.note_uncounted(name, monotonic)

    def note_uncounted(self, destination: PlaceName, monotonic: float) -> None:
        """Note that the number of copies missing at a destination is unknown, so that a pass must count them."""
        if destination in self.destinations:
            self.destinations[destination].uncounted_since = monotonic

    def take(self, summary: DatabaseSummary) -> None:
        """Add or replace a summary, reported by a run that changes the volume."""
        self._summaries[summary.set, summary.database] = summary
        self._told[summary.set, summary.database] = time.monotonic()

    def doubt(self) -> None:
        """Note that a change of the volume may not have been reported."""
        self.doubted = True

    def remove(self, set_name: SetName, database: DatabaseName) -> None:
        """Remove the summary of a database in a set that has no records any more."""
        self._summaries.pop((set_name, database), None)
        self._told.pop((set_name, database), None)

    def set_owed(
        self,
        set_name: SetName,
        database: DatabaseName,
        owed: Mapping[PlaceName, int],
        since: Mapping[PlaceName, datetime],
        began: float,
    ) -> None:
        """Note how many copies of a database are missing at destinations, as a run there counted that `began` then.

        `since` is when the oldest artifact without a copy was finished, for each destination with missing copies.
        A backup of this database may have ended since the run counted. In this case a lower number than before is not
        used: another copy pass follows, and counts again.
        """
        key = (set_name, database)
        if key not in self._summaries:
            return
        before = self._summaries[key]
        if self._told.get(key, began) > began:
            owed = {name: max(count, before.owed.get(name, 0)) for name, count in owed.items()}
        owed = {**before.owed, **owed}
        since = {name: when for name, when in {**before.owed_since, **since}.items() if owed.get(name)}
        self._summaries[key] = before.model_copy(update={"owed": owed, "owed_since": since})

    def counted(self, destination: PlaceName, started: float) -> None:
        """Note that a pass has counted the copies missing at a destination.

        `started` is when the pass started, in monotonic seconds: if the number became unknown later, it stays unknown.
        """
        backoff = self.destinations.get(destination)
        if backoff is not None and backoff.uncounted_since is not None and backoff.uncounted_since <= started:
            backoff.uncounted_since = None

    def owed(self, destination: PlaceName) -> int | None:
        """Return how many copies are missing at a destination; None if they have not been counted yet."""
        if not self.known or self.destinations[destination].uncounted_since is not None:
            return None
        return missing_copies(self._summaries.values(), destination)

    def databases_owed(self, destination: PlaceName) -> tuple[str, ...] | None:
        """Return `SET/DATABASE` of the databases whose copies are missing there; None if they were not counted yet."""
        if self.owed(destination) is None:
            return None
        return tuple(database_key(*key) for key, summary in self._summaries.items() if summary.owed.get(destination))

    def may_try(self, destination: PlaceName, monotonic: float) -> bool:
        """Return whether a destination may be tried now: it works, or the wait after its last failure is over."""
        return self.destinations[destination].retry.due(monotonic)

    def stored(self, destination: PlaceName) -> None:
        """Note that a destination accepted a copy."""
        if destination in self.destinations:
            self.destinations[destination].succeeded()

    def refused(self, destination: PlaceName, failure: Failure) -> bool:
        """Note that a destination refused a copy. Return False if the failure says nothing about the destination."""
        backoff = self.destinations.get(destination)
        if backoff is None or failure.reason is Reason.CANCELLED:
            return False
        monotonic = time.monotonic()
        backoff.failed(failure, monotonic)
        log.warning(
            "copy missing",
            destination=destination,
            reason=failure.reason.value,
            error=failure.error,
            retry_seconds=round(backoff.retry.wait(monotonic)),
        )
        return True

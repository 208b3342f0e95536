"""The copies for which requests wait, until each is stored, fails, or makes no progress for `limits.copy_wait`.

The answers in the ledger say which copies are awaited, so a restart loses nothing. A copy that is no longer awaited is
made all the same: what is missing at a destination is its queue.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta

from backup_agent.core.artifacts.names import DatabaseName, PlaceName, RequestId
from backup_agent.core.durations import written_duration
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.answers import Answer, Outcome
from backup_agent.settings.reload import Reloader
from backup_agent.supervisor.status.counters import Counters
from backup_agent.supervisor.trusted_clock import utc_now
from backup_agent.supervisor.work.backup_queue import BackupQueue


@dataclass
class Wait:
    """The wait of a request for one copy."""

    request: RequestId
    database: DatabaseName
    moved: float
    """When the copying of this artifact last made progress, else when the wait began (monotonic seconds)."""


@dataclass
class AwaitedCopies:
    """The waits of all requests, by destination and by the key of the artifact."""

    reloader: Reloader
    backup_queue: BackupQueue
    counters: Counters
    _waits: dict[PlaceName, dict[str, Wait]] = field(default_factory=dict)

    def add(self, answer: Answer, monotonic: float) -> None:
        """Wait for the copies that an answer says are awaited, unless they are awaited already."""
        for database in answer.awaited:
            result = answer.databases[database]
            for place in result.awaited:
                wait = Wait(answer.id, database, monotonic)
                self._waits.setdefault(place, {}).setdefault(result.artifact or "", wait)

    def keys(self, place: PlaceName) -> tuple[str, ...]:
        """Return the keys of the artifacts whose copies at a destination are awaited, the longest wait first."""
        return tuple(self._waits.get(place, ()))

    def request(self, place: PlaceName, key: str) -> RequestId | None:
        """Return the request that waits for a copy, or None."""
        wait = self._waits.get(place, {}).get(key)
        return wait.request if wait is not None else None

    def progressed(self, place: PlaceName, key: str, monotonic: float) -> None:
        """Note that the copying of an artifact makes progress."""
        if (wait := self._waits.get(place, {}).get(key)) is not None:
            wait.moved = monotonic

    def show(self, place: PlaceName, key: str, sent: int, total: int | None) -> None:
        """Show in the answer of the request that waits for a copy how many bytes of it were sent."""
        wait = self._waits.get(place, {}).get(key)
        if wait is not None:
            self.backup_queue.copying(wait.request, wait.database, {"place": place, "bytes": sent, "total": total})

    def end(self, place: PlaceName, key: str, failure: Failure | None) -> None:
        """End the wait for a copy: it is stored, or `failure` says why it is missing."""
        wait = self._waits.get(place, {}).pop(key, None)
        if wait is None:
            return
        now = utc_now()
        answer, result = self.backup_queue.copied(wait.request, wait.database, place, failure, now)
        if result.outcome is not Outcome.RECORDED:
            self.counters.backup(answer, wait.database, result, self.reloader.settings.declared_sets, now)

    def end_all(self, place: PlaceName, failure: Failure) -> None:
        """End all waits for copies at a destination, which has failed as a whole."""
        for key in self.keys(place):
            self.end(place, key, failure)

    def end_overdue(self, monotonic: float) -> None:
        """End the waits without progress for `limits.copy_wait`."""
        longest = self.reloader.settings.limits.copy_wait
        late = monotonic - longest.total_seconds()
        for place, waits in self._waits.items():
            for key in [key for key, wait in waits.items() if wait.moved <= late]:
                self.end(place, key, _no_progress(longest))

    def use(self, destinations: Collection[PlaceName]) -> None:
        """End the waits for copies at destinations that the settings do not have any more."""
        for place in self._waits.keys() - set(destinations):
            text = f"the settings have no destination {place} any more"
            self.end_all(place, Failure(Reason.NOT_FOUND, text, "no copy is made there, unless it is configured again"))

    def forget(self, request: RequestId) -> None:
        """Remove the waits of a request that has ended otherwise."""
        for place, waits in self._waits.items():
            self._waits[place] = {key: wait for key, wait in waits.items() if wait.request != request}


def _no_progress(longest: timedelta) -> Failure:
    text = f"no progress for {written_duration(longest)} (limits.copy_wait)"
    hint = "`backup-agent status` shows what the destination does; the copy is made when its turn comes"
    return Failure(Reason.TIMEOUT, text, hint)

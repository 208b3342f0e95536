"""The counters of ended requests, backups and passes for the metrics, and the last attempt at each database."""

from collections.abc import Collection
from datetime import datetime
from typing import Literal

from backup_agent.core.artifacts.keys import database_key, split_database_key
from backup_agent.core.artifacts.names import DEFAULT_SET, DatabaseName, PlaceName
from backup_agent.core.artifacts.records import BackupType
from backup_agent.core.protection.attempt import Attempt
from backup_agent.core.reasons import Reason
from backup_agent.core.requests.answers import Answer, DatabaseResult, Outcome
from backup_agent.supervisor.status.metrics import Metrics

ADHOC = "adhoc"
"""The label of all ad hoc sets. Requests choose the names of sets, so the number of series would be unbounded."""


class Counters:
    """The counters of requests, backups and passes since the agent started."""

    def __init__(self, metrics: Metrics) -> None:
        """Begin with no attempts. `metrics` contains the counters."""
        self._metrics = metrics
        self.attempts: dict[str, Attempt] = {}
        self.signing_fault: str | None = None
        """Why the last record or mark was not signed, although the settings name a key."""

    def request(self, answer: Answer) -> None:
        """Count a request by its final state."""
        action = "any" if answer.request is None else answer.action
        self._metrics.requests.labels(action=action, outcome=answer.state.value).inc()

    def copy_refused(self, destination: PlaceName, reason: Reason) -> None:
        """Count a copy that a destination did not take."""
        self._metrics.storage_errors.labels(destination=destination, reason=reason.value).inc()

    def stored(self, place: PlaceName, type_: str, count: int) -> None:
        """Count the bytes of an artifact that was stored or copied."""
        self._metrics.bytes.labels(place=place, type=type_).inc(count)

    def pruned(self, place: PlaceName, count: int) -> None:
        """Count an artifact that retention deleted, and the `count` bytes that were freed."""
        self._metrics.deleted.labels(place=place).inc()
        self._metrics.freed.labels(place=place).inc(count)

    def pass_ended(self, place: PlaceName, refused: Reason | None) -> None:
        """Count a pass of retention. `refused` says why it deleted nothing, or is None."""
        outcome = "applied" if refused is None else "refused"
        self._metrics.passes.labels(place=place, outcome=outcome, reason=refused.value if refused else "").inc()

    def read_again(self, place: PlaceName, outcome: Literal["verified", "damaged", "healed"]) -> None:
        """Count an artifact that was verified, by outcome."""
        self._metrics.verifications.labels(place=place, outcome=outcome).inc()

    def audit_forked(self, place: PlaceName, because: str) -> None:
        """Count that a destination had other lines of the audit log than the volume."""
        self._metrics.audit_epochs.labels(place=place, because=because).inc()

    def notification(self, receiver: str, outcome: Literal["sent", "failed", "dropped"]) -> None:
        """Count a try to send a notification, or that one was given up."""
        self._metrics.notifications.labels(receiver=receiver, outcome=outcome).inc()

    def folder_replaced(self) -> None:
        """Count that the requests folder was replaced and is watched again."""
        self._metrics.deaf.inc()

    def backup(
        self, answer: Answer, database: DatabaseName, result: DatabaseResult, declared: Collection[str], now: datetime
    ) -> None:
        """Count the end of a backup, after the wait for its copies. One that ended without a verdict is not counted."""
        if result.open or result.outcome is Outcome.RECORDED:
            return
        set_name = answer.set or DEFAULT_SET
        type_ = result.type or answer.asked.type.value
        labels = {"set": set_name if set_name in declared else ADHOC, "database": database}
        self._metrics.runs.labels(
            type=type_,
            trigger="schedule" if answer.schedule else "request",
            outcome=result.outcome.value,
            reason=result.reason.value if result.reason else "",
            **labels,
        ).inc()
        if type_ == BackupType.FULL.value and answer.asked.type is not BackupType.FULL:
            self._metrics.promotions.labels(reason=result.type_reason or "", **labels).inc()
        for stage, seconds in result.stages.items():
            self._metrics.stages.labels(stage=stage).observe(seconds)
        self._attempted(database_key(set_name, database), answer.id, result, now)

    @property
    def databases(self) -> set[DatabaseName]:
        """Databases with a known attempt."""
        return {split_database_key(key)[1] for key in self.attempts}

    def forget(self, database: DatabaseName) -> None:
        """Remove the attempts at a database that was dropped for good."""
        self.attempts = {
            key: attempt for key, attempt in self.attempts.items() if split_database_key(key)[1] != database
        }

    def expire(self, declared: Collection[str], before: datetime) -> None:
        """Forget the attempts at ad hoc sets before a moment. Otherwise a failure there would be shown for ever."""
        self.attempts = {
            key: attempt
            for key, attempt in self.attempts.items()
            if split_database_key(key)[0] in declared or attempt.at >= before
        }

    def _attempted(self, key: str, request: str, result: DatabaseResult, now: datetime) -> None:
        before = self.attempts.get(key)
        if result.outcome in (Outcome.FAILED, Outcome.CANCELLED):
            since = before.failing_since if before is not None and before.failed else None
            self.attempts[key] = Attempt(
                at=now,
                failed_at=now,
                failing_since=since or now,
                reason=result.reason,
                error=result.error,
                request=request,
            )
        elif before is None:
            self.attempts[key] = Attempt(at=now)
        else:
            self.attempts[key] = before.model_copy(
                update={"at": now, "failing_since": None, "error": None, "request": None}
            )

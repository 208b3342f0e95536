"""The requests that are carried out at once, without a slot: cancel, pause, resume, forget, hold and release.

`prune` and `verify` are not here: they are passes over places, which wait for a slot in `MaintenanceQueue`.
"""

import time
from dataclasses import dataclass
from datetime import datetime

from backup_agent.catalog import holds
from backup_agent.core.artifacts.keys import RECORD_SUFFIX, is_key
from backup_agent.core.artifacts.marks import Hold
from backup_agent.core.artifacts.names import PlaceName, database_name, lowered
from backup_agent.core.audit.lines import AuditKind
from backup_agent.core.reasons import BackupError, Failure, PermanentError, Reason
from backup_agent.core.requests.answers import Answer, State
from backup_agent.core.requests.request import Action
from backup_agent.settings.reload import Reloader
from backup_agent.supervisor.children.runs import Runs
from backup_agent.supervisor.requests.spool import Spool
from backup_agent.supervisor.status.counters import Counters
from backup_agent.supervisor.work.audit import Audit
from backup_agent.supervisor.work.awaited_copies import AwaitedCopies
from backup_agent.supervisor.work.backup_queue import BackupQueue
from backup_agent.supervisor.work.discovery import Discovery
from backup_agent.supervisor.work.maintenance import Maintenance
from backup_agent.supervisor.work.maintenance_queue import MaintenanceQueue, is_pass
from backup_agent.supervisor.work.open_requests import OpenRequests
from backup_agent.supervisor.work.orders import Orders
from backup_agent.supervisor.work.orders_file import Order
from backup_agent.supervisor.work.volume_summaries import VolumeSummaries


@dataclass
class Actions:
    """Carries out each action."""

    reloader: Reloader
    spool: Spool
    requests: OpenRequests
    backup_queue: BackupQueue
    awaited: AwaitedCopies
    runs: Runs
    maintenance: Maintenance
    maintenance_queue: MaintenanceQueue
    orders: Orders
    discovery: Discovery
    volume_summaries: VolumeSummaries
    counters: Counters
    audit: Audit

    def take(self, answer: Answer, now: datetime) -> None:
        """Carry out a request and give it its final answer. A request for passes is only queued."""
        until = answer.asked.until
        if until is not None and until <= now:
            over = Failure(Reason.INVALID_REQUEST, f"until: {until.isoformat()} has passed already")
            self.requests.conclude(answer.becomes(State.FAILED, now, over))
            return
        if is_pass(answer):
            self.maintenance_queue.accept(answer)
            return
        if (failure := answer.expired(now)) is not None:
            self.requests.conclude(answer.becomes(State.FAILED, now, failure))
            return
        try:
            answer = self._do(answer, now)
        except BackupError as error:
            answer = answer.becomes(State.FAILED, now, error.failure)
        except OSError as error:
            failure = Failure(Reason.STORAGE_UNREACHABLE, f"{error.filename}: {error.strerror}", "look at the volume")
            answer = answer.becomes(State.FAILED, now, failure)
        else:
            answer = answer.becomes(State.SUCCEEDED, now)
        self.requests.conclude(answer)

    def _do(self, answer: Answer, now: datetime) -> Answer:
        match answer.action:
            case Action.CANCEL:
                self._cancel(answer, now)
            case Action.PAUSE:
                self.orders.pause(_order(answer, now))
                self.audit.asked(AuditKind.PAUSED, answer)
            case Action.RESUME:
                self.orders.resume()
                self.audit.asked(AuditKind.RESUMED, answer)
            case Action.FORGET:
                self._forget(answer, now)
            case Action.HOLD:
                return answer.model_copy(update={"marks": self._hold(answer, now)})
            case Action.RELEASE:
                return answer.model_copy(update={"marks": self._release(answer)})
        return answer

    def _cancel(self, answer: Answer, now: datetime) -> None:
        target = answer.asked.id or ""
        by = answer.asked.requested_by
        failure = Failure(Reason.CANCELLED, f"cancelled by request {answer.id}" + (f" of {by}" if by else ""))
        request = self.requests.find(target)
        if request is None:
            earlier = self.spool.ledger.load(target)
            text = f"this request has ended already: {earlier.state.value}" if earlier else "no request has this id"
            raise PermanentError(Reason.NOT_FOUND, f"{target}: {text}")
        if request.action == Action.BACKUP:
            self.awaited.forget(request.id)
            for run in self.backup_queue.cancel(request, failure, now):
                self.runs.end(run, Reason.CANCELLED)
        elif is_pass(request):
            self.maintenance_queue.cancel(request, failure, now)
            self.maintenance.cancel(target)
        else:
            self.requests.conclude(request.becomes(State.CANCELLED, now, failure))

    def _forget(self, answer: Answer, now: datetime) -> None:
        if self.orders.no_deletion is not None:  # writing the orders would overwrite a pause that cannot be read
            raise PermanentError.of(self.orders.no_deletion)
        database = lowered(database_name(answer.asked.database or ""))
        if self.discovery.lists(database):
            raise PermanentError(
                Reason.INVALID_REQUEST,
                f"{database}: the cluster lists this database, according to its last answer",
                "forget is for a database that was dropped for good; drop it first",
            )
        # All databases that status lists. Names on the volume and in records may differ in case.
        known = {*self.volume_summaries.databases, *self.orders.forgotten, *self.discovery.missing}
        known |= self.counters.databases
        spellings = sorted(name for name in known if name.lower() == database)
        if not spellings:
            raise PermanentError(Reason.NOT_FOUND, f"{database}: the agent knows no such database")
        for name in spellings:
            self.orders.forget(name, _order(answer, now))
            self.discovery.forget(name)
            self.counters.forget(name)
            self.audit.asked(AuditKind.FORGOTTEN, answer, database=name)

    def _hold(self, answer: Answer, now: datetime) -> dict[PlaceName, str]:
        asked = answer.asked
        hold = Hold(
            key=self._key(asked.artifact or ""),
            since=now,
            reason=asked.reason or "",
            requested_by=asked.requested_by,
            request=answer.id,
            until=asked.until,
        )
        marks = self._hurry(holds.hold(self.reloader.settings, hold))
        self.audit.asked(AuditKind.HELD, answer, hold.key)
        return marks

    def _release(self, answer: Answer) -> dict[PlaceName, str]:
        key = self._key(answer.asked.artifact or "")
        marks = self._hurry(holds.release(self.reloader.settings, key))
        self.audit.asked(AuditKind.RELEASED, answer, key)
        return marks

    def _hurry(self, marks: dict[PlaceName, str]) -> dict[PlaceName, str]:
        """Make the passes that write these marks at their places due at once; return the marks."""
        for place in marks:
            self.maintenance_queue.make_retention_due(place, time.monotonic())
        return marks

    def _key(self, artifact: str) -> str:
        """Return the key of an artifact, which is given as a key, a path below the root, or the path of its record.

        Raise PermanentError for any other text.
        """
        root = f"{self.reloader.settings.storage.root}/"
        key = artifact.removeprefix(root).removesuffix(RECORD_SUFFIX)
        if not is_key(key):
            raise PermanentError(
                Reason.INVALID_REQUEST,
                f"artifact: a key expected, <set>/<database>/<artifact> (got {artifact!r})",
                "`backup-agent list` shows the keys",
            )
        return key


def _order(answer: Answer, now: datetime) -> Order:
    asked = answer.asked
    return Order(since=now, request=answer.id, requested_by=asked.requested_by, reason=asked.reason, until=asked.until)

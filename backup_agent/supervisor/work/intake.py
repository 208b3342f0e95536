"""Take requests from dropped files, from schedules, and after a restart from the ledger."""

import time
from dataclasses import dataclass, field

import structlog

from backup_agent.core.artifacts.names import BEFORE_RESTORE, DEFAULT_SET, SetName
from backup_agent.core.artifacts.records import BackupType
from backup_agent.core.reasons import PermanentError
from backup_agent.core.requests.answers import Answer, State
from backup_agent.core.requests.request import Action, Request
from backup_agent.settings.permissions import forbidden
from backup_agent.settings.reload import Reloader
from backup_agent.supervisor.requests.spool import Spool, TakenFile
from backup_agent.supervisor.status import log_lines
from backup_agent.supervisor.status.counters import Counters
from backup_agent.supervisor.trusted_clock import utc_now
from backup_agent.supervisor.work.actions import Actions
from backup_agent.supervisor.work.awaited_copies import AwaitedCopies
from backup_agent.supervisor.work.backup_queue import BackupQueue
from backup_agent.supervisor.work.maintenance import Maintenance
from backup_agent.supervisor.work.maintenance_queue import MaintenanceQueue, is_pass
from backup_agent.supervisor.work.open_requests import OpenRequests
from backup_agent.supervisor.work.volume_summaries import VolumeSummaries

SCAN_SECONDS = 5.0
"""How often the folder is listed without an event from the watch."""

SETTLE_SECONDS = 0.25
"""How soon the folder is listed again if another process may still be writing a file."""

BATCH_SECONDS = 0.2
"""How long one step of the loop may take dropped files before it does other work."""

MOST_ADHOC = 20

log = structlog.get_logger()


@dataclass
class Intake:
    """Takes requests and passes each to its queue or action."""

    reloader: Reloader
    spool: Spool
    requests: OpenRequests
    backup_queue: BackupQueue
    awaited: AwaitedCopies
    maintenance_queue: MaintenanceQueue
    maintenance: Maintenance
    actions: Actions
    volume_summaries: VolumeSummaries
    counters: Counters
    _failed: set[str] = field(default_factory=set)
    """Intakes whose settling raised an unexpected exception. They wait for the next start, and delay no other file."""

    def take_dropped(self, monotonic: float) -> float:
        """Take the dropped files that can be taken; return when to list the folder again (monotonic seconds)."""
        names = self.spool.dropped.takeable(monotonic)
        listed = time.monotonic()
        # Taking may last three times as long as listing. Otherwise a flood of files would mostly be listed, not taken.
        until = listed + max(BATCH_SECONDS, 3 * (listed - monotonic))
        for name in names:
            if time.monotonic() > until:
                return 0.0
            try:
                self._accept(self.spool.take(name, utc_now()))
            except OSError as error:
                log.error("request not taken", file=name, error=str(error))  # noqa: TRY400  the text says it all
        return monotonic + (SETTLE_SECONDS if self.spool.dropped.waits_for_quiet else SCAN_SECONDS)

    def settle(self) -> None:
        """Accept or reject the files that were taken before a crash or an error.

        If a file raises an unexpected exception, it is left out from then on.
        """
        for intake in self.spool.unsettled():
            if intake in self._failed:
                continue
            self._failed.add(intake)
            try:
                self._accept(self.spool.settle(intake, utc_now()))
            except OSError as error:
                log.error("request not settled", intake=intake, error=str(error))  # noqa: TRY400  the text says it all
            self._failed.discard(intake)

    def _accept(self, taken: TakenFile | None) -> None:
        if taken is None:
            return
        answer = taken.answer
        # An entry that is open, but unknown here, was written before its answer could not be written.
        if not taken.new and (answer.state.final or self.requests.find(answer.id) is not None):
            self.requests.answer_also(answer.id, answer.files)
            return
        if answer.state is State.REJECTED:
            self.counters.request(answer)
        elif not answer.state.final:
            self._begin(answer)
        log_lines.request_accepted(answer).log()

    def _begin(self, answer: Answer) -> None:
        if answer.action == Action.BACKUP.value:
            self.backup_queue.accept(answer)
            self.maintenance.note_use(answer.set or DEFAULT_SET, answer.received)
        else:
            self._act(answer)

    def _act(self, answer: Answer) -> None:
        """Carry out a request that is not a backup. `forget` waits until the volume was surveyed."""
        if answer.action == Action.FORGET.value and not self.volume_summaries.known:
            self.requests.hold(answer)
        else:
            self.actions.take(answer, utc_now())

    def act_on_deferred(self) -> None:
        """Carry out the requests that waited for the survey, once the volume was surveyed."""
        deferred = [answer for answer in self.requests.loaded.values() if answer.action == Action.FORGET.value]
        for answer in deferred if self.volume_summaries.known else ():
            self.actions.take(answer, utc_now())

    def ask(self, request: Request) -> None:
        """Accept a request of the agent's own. Its id says what it is for, so that it is made once."""
        taken = self.spool.submit(request, None, utc_now())
        if taken.new:
            self._accept(taken)

    def submit(self, request: Request, schedule: str) -> None:
        """Accept the request of a schedule that is due."""
        try:
            taken = self.spool.submit(request, schedule, utc_now())
        except PermanentError as error:  # submitted before; the other schedules must go on
            log.error("schedule's request unreadable", schedule=schedule, request=request.id, error=error.failure.error)  # noqa: TRY400  the text says it all
            return
        self._accept(taken)
        log.info("schedule due", schedule=schedule, request=taken.answer.id, new=taken.new)

    def refuse(self, request: Request) -> tuple[str, ...]:
        """Return why a new request is rejected: the settings forbid it, or there are too many ad hoc sets."""
        settings = self.reloader.settings
        faults = [
            f"{field}: {forbidden(key)}"
            for key, field in request.permissions.items()
            if not getattr(settings.requests.allow, key)
        ]
        if request.action is Action.BACKUP:
            fault = self._refuse_set(request.set_name(str(settings.storage.root)), request.type)
            faults += [fault] if fault is not None else []
        return tuple(faults)

    def _refuse_set(self, set_name: SetName, backup_type: BackupType) -> str | None:
        """Return why a backup into a set is refused, or None. A new ad hoc set is refused if there are too many."""
        if set_name == BEFORE_RESTORE:
            return None if backup_type is BackupType.FULL else f"type: the set {BEFORE_RESTORE} takes only FULL"
        adhoc = (self.volume_summaries.sets | self.requests.sets) - self.reloader.settings.declared_sets
        adhoc -= {BEFORE_RESTORE}
        if set_name in self.reloader.settings.declared_sets or set_name in adhoc or len(adhoc) < MOST_ADHOC:
            return None
        return (
            f"path: {len(adhoc)} ad hoc sets exist, and {MOST_ADHOC} is the most; use one of them, or declare "
            f"{set_name!r} in the settings' `sets`"
        )

    def recover(self) -> None:
        """Continue the open requests of the ledger, at start and after the requests folder was replaced."""
        now = utc_now()
        for answer in self.spool.ledger.open():
            if self.requests.find(answer.id) is not None:
                continue
            if answer.state.final:
                self.requests.keep(answer)
            elif answer.action == Action.BACKUP.value:
                self.backup_queue.recover(answer, now)
                self.awaited.add(answer, time.monotonic())
            else:
                self._act(answer)
            log.info("request recovered", request=answer.id, state=answer.state.value)
        self.awaited.use(self.reloader.settings.storage.destinations)

    def expire(self) -> None:
        """Fail the requests whose `not_after` has passed before they started."""
        for answer in self.requests.overdue(now := utc_now()):
            if answer.action == Action.BACKUP.value:
                self.backup_queue.expire(answer, now)
            elif is_pass(answer):
                self.maintenance_queue.expire(answer, now)

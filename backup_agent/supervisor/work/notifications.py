"""Notifications to receivers: the begin and the end of runs, and changes of the health.

A child sends each notification. Only the newest notification that a receiver has not got is kept, so nothing grows
while a receiver does not answer. One child at a time sends, with a pause between two. If memory is scarce, it gives way
to backups. The supervisor never has the URL of a receiver.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from pydantic import Field

from backup_agent import durable, quoting
from backup_agent.core.artifacts.records import StoredValue
from backup_agent.core.protection.health import LASTING, Health, HealthState
from backup_agent.core.reasons import Reason
from backup_agent.core.requests.answers import Answer, State
from backup_agent.core.requests.events import NotificationEnded
from backup_agent.core.requests.notices import HealthNotice, ReceiverKind, RunNotice, RunPhase
from backup_agent.core.requests.tasks import NotifyTask
from backup_agent.settings.reload import Reloader
from backup_agent.supervisor.backoff import Backoff
from backup_agent.supervisor.children.runs import NOTIFY, Run, Runs
from backup_agent.supervisor.status.counters import Counters
from backup_agent.supervisor.work.backup_queue import BackupQueue
from backup_agent.supervisor.work.memory_beside import fits_beside
from backup_agent.supervisor.work.orders import Orders

MODULE = f"backup_agent.jobs.{NOTIFY}"

PAUSE_SECONDS = 10.0
"""Least time between the starts of two children: many short requests must not cost a process each, twice."""

RUN_SECONDS = 60.0
"""Longest time of a child. The request itself may take ten seconds, the start of a process longer."""

MOST_TRIES = 8
"""How often a notification is tried, within half an hour, before it is dropped."""

SETTLING_SECONDS = (LASTING + timedelta(minutes=1)).total_seconds()
"""How long after the start OK is not believed: a problem counts only once it has lasted `LASTING`."""

PHASES = {
    State.RUNNING: RunPhase.START,
    State.SUCCEEDED: RunPhase.SUCCESS,
    State.SUCCEEDED_WITH_WARNINGS: RunPhase.SUCCESS,
    State.FAILED: RunPhase.FAILURE,
    State.CANCELLED: RunPhase.CANCELLATION,
}

log = structlog.get_logger()


class NotifiedFile(StoredValue):
    """The content of `notified.json`: the health in the last notification to each receiver."""

    health: dict[str, HealthState] = Field(default={})


@dataclass
class Outbox:
    """The newest notice that one receiver has not got, if there is one, and the tries to send it."""

    notice: RunNotice | HealthNotice | None = None
    tries: int = 0
    retry: Backoff = field(default_factory=Backoff)
    dropped: HealthState | None = None
    """The health whose notice was dropped. It is not sent before the health has changed."""

    def put(self, notice: RunNotice | HealthNotice | None) -> None:
        """Replace the notice. The wait after a failure goes on, since the receiver is the same."""
        self.notice, self.tries = notice, 0


@dataclass
class Notifications:
    """The outboxes of all receivers, and the child that sends."""

    file: Path
    reloader: Reloader
    runs: Runs
    backup_queue: BackupQueue
    orders: Orders
    counters: Counters
    _outboxes: dict[str, Outbox] = field(default_factory=dict)
    _told: dict[str, HealthState] = field(default_factory=dict)
    _sending: tuple[str, RunNotice | HealthNotice] | None = None
    _next: float = 0.0
    _settled: float = field(default_factory=lambda: time.monotonic() + SETTLING_SECONDS)

    def load(self) -> None:
        """Read the health that each receiver knows. If the file cannot be read, receivers may be notified again."""
        try:
            self._told = dict(NotifiedFile.from_json(durable.read(self.file)).health)
        except FileNotFoundError:
            return
        except (durable.RefusedFileError, ValueError) as error:
            log.warning("notified health unreadable", file=str(self.file), error=quoting.shown(error))

    def run_changed(self, answer: Answer) -> None:
        """Take note that the run of a request has begun, or that the request has its final answer."""
        phase = PHASES.get(answer.state)
        if phase is None:
            return
        reason = answer.reason.value if answer.reason else None
        notice = RunNotice(phase=phase, request=answer.id, state=answer.state.value, reason=reason)
        for name, receiver in self.reloader.settings.notify.items():
            if receiver.kind is ReceiverKind.PING and receiver.follows(answer.schedule, answer.action):
                self._outbox(name).put(notice)

    def health_is(self, health: Health, now: datetime, monotonic: float) -> None:
        """Compare the health with the one that each receiver knows."""
        if health.state is HealthState.OK and monotonic < self._settled:
            return
        settings = self.reloader.settings
        for name, receiver in settings.notify.items():
            if receiver.kind is not ReceiverKind.PING:
                before = self._told.get(name, HealthState.OK)
                self._judge(self._outbox(name), health, before, settings.cluster, now)

    def _judge(self, outbox: Outbox, health: Health, before: HealthState, cluster: str, now: datetime) -> None:
        if outbox.dropped is not health.state:
            outbox.dropped = None
        if health.state is before or outbox.dropped is not None:
            outbox.put(None)
        elif not isinstance(outbox.notice, HealthNotice) or outbox.notice.health != health.state.value:
            outbox.put(
                HealthNotice(cluster=cluster, health=health.state.value, before=before.value, text=health.text, at=now)
            )

    def advance(self, monotonic: float) -> None:
        """Start a child for the receiver that has waited longest, if one waits and memory allows it now."""
        name = next(self._ready(monotonic), None) if self._sending is None and monotonic >= self._next else None
        if name is None or not self._fits:
            return
        outbox = self._outboxes.pop(name)
        self._outboxes[name] = outbox  # it comes after the other receivers next time
        if outbox.notice is not None:
            self._start(name, outbox.notice, monotonic)

    def give_way(self) -> bool:
        """End the child if a backup waits and memory allows only one process. Return whether the backup must wait."""
        name = next((name for name, run in self.runs if run.kind == NOTIFY), None)
        if name is None or self._fits:
            return False
        self.runs.end(name, Reason.CANCELLED)
        return True

    def moments(self) -> list[float]:
        """Return when the next notification is due, in monotonic seconds."""
        now = time.monotonic()
        if self._sending is not None:
            return []
        return [
            max(self._next, now + outbox.retry.wait(now))
            for outbox in self._outboxes.values()
            if outbox.notice is not None
        ]

    def ended(self, run: Run, monotonic: float) -> None:
        """Handle the end of a child."""
        if self._sending is None:
            return
        (name, notice), self._sending = self._sending, None
        if isinstance(run.result, NotificationEnded) and run.result.error is None:
            self._sent(name, notice)
        elif isinstance(run.result, NotificationEnded):
            self._failed(name, notice, run.result, monotonic)
        elif run.ending not in (Reason.CANCELLED, Reason.INTERRUPTED):
            self._failed(
                name, notice, NotificationEnded(error="its process took too long, or ended without a result"), monotonic
            )

    @property
    def _fits(self) -> bool:
        waits = self.backup_queue.waits and self.orders.paused is None
        return fits_beside(self.reloader.settings, self.runs, backups_wait=waits)

    def _outbox(self, name: str) -> Outbox:
        return self._outboxes.setdefault(name, Outbox())

    def _ready(self, monotonic: float) -> Iterator[str]:
        """Yield the receivers of the settings to which something may be sent now."""
        return (
            name
            for name, outbox in list(self._outboxes.items())
            if name in self.reloader.settings.notify and outbox.notice is not None and outbox.retry.due(monotonic)
        )

    def _start(self, name: str, notice: RunNotice | HealthNotice, monotonic: float) -> None:
        task = NotifyTask(settings=self.reloader.settings.model_dump(mode="json"), receiver=name, notice=notice)
        self._sending, self._next = (name, notice), monotonic + PAUSE_SECONDS
        try:
            self.runs.spawn(
                self.runs.numbered(NOTIFY), MODULE, task.model_dump_json().encode(), deadline=monotonic + RUN_SECONDS
            )
        except OSError as error:
            self._sending = None
            failure = NotificationEnded(error=f"its process could not be started: {error.strerror}")
            self._failed(name, notice, failure, monotonic)

    def _sent(self, name: str, notice: RunNotice | HealthNotice) -> None:
        outbox = self._outbox(name)
        self.counters.notification(name, "sent")
        if outbox.retry.failures:
            log.info("notifications are sent again", receiver=name)
        outbox.retry.succeeded()
        if outbox.notice == notice:
            outbox.put(None)
        if isinstance(notice, HealthNotice):
            self._told[name] = HealthState(notice.health)
            self._keep()

    def _failed(
        self, name: str, notice: RunNotice | HealthNotice, failure: NotificationEnded, monotonic: float
    ) -> None:
        """Count a failure, and log the first one. After the last try, drop the notice."""
        outbox = self._outbox(name)
        self.counters.notification(name, "failed")
        if not outbox.retry.failures:
            hint = {"hint": failure.hint} if failure.hint else {}
            log.warning("notification not sent", receiver=name, error=failure.error, **hint)
        outbox.retry.failed(monotonic)
        if outbox.notice != notice:
            return
        outbox.tries += 1
        if outbox.tries >= MOST_TRIES:
            self.counters.notification(name, "dropped")
            outbox.dropped = HealthState(notice.health) if isinstance(notice, HealthNotice) else None
            outbox.put(None)

    def _keep(self) -> None:
        """Write the file. If the volume refuses, receivers may be notified again after a restart."""
        known = self.reloader.settings.notify
        kept = NotifiedFile(health={name: state for name, state in sorted(self._told.items()) if name in known})
        try:
            durable.write(self.file, kept.to_json())
        except OSError as error:
            log.warning("notified health not kept", file=str(self.file), error=error.strerror)

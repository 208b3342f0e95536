"""Start backups: query the cluster, choose databases and servers, and start a child for each backup.

`BackupQueue` contains the open requests and `Discovery` the state of the cluster. `BackupDispatch` starts the children
and handles their results. `Maintenance` handles the artifacts afterwards.
"""

import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog

from backup_agent.core.artifacts.names import BEFORE_RESTORE, VOLUME
from backup_agent.core.artifacts.records import BackupType
from backup_agent.core.neo4j.topology import Addressing
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests import tasks
from backup_agent.core.requests.answers import MOST_ATTEMPTS, Answer, DatabaseResult, Execution, Outcome
from backup_agent.core.requests.events import BackupReport, DiscoveryFailed, TopologyTold
from backup_agent.core.requests.queue import Job, may_start
from backup_agent.settings.model import Settings
from backup_agent.settings.reload import Reloader
from backup_agent.supervisor.children.runs import Run, Runs
from backup_agent.supervisor.status import log_lines
from backup_agent.supervisor.status.counters import Counters
from backup_agent.supervisor.trusted_clock import utc_now
from backup_agent.supervisor.work.awaited_copies import AwaitedCopies
from backup_agent.supervisor.work.backup_queue import BackupQueue, earlier_runs
from backup_agent.supervisor.work.destinations import Destinations
from backup_agent.supervisor.work.discovery import Discovery
from backup_agent.supervisor.work.maintenance import Maintenance
from backup_agent.supervisor.work.maintenance_queue import MaintenanceQueue
from backup_agent.supervisor.work.orders import Orders
from backup_agent.supervisor.work.volume_summaries import VolumeSummaries

DISCOVER_SECONDS = 45.0

log = structlog.get_logger()


@dataclass
class BackupDispatch:
    """Starts backups and handles their ends."""

    reloader: Reloader
    root: Path
    runs: Runs
    backup_queue: BackupQueue
    discovery: Discovery
    volume_summaries: VolumeSummaries
    orders: Orders
    maintenance: Maintenance
    maintenance_queue: MaintenanceQueue
    destinations: Destinations
    awaited: AwaitedCopies
    counters: Counters
    hard_links: bool = True
    """Whether the volume supports hard links. If not, neo4j-admin writes into the folder of the database."""

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.reloader.settings

    def advance(self) -> None:
        """Start the backups that may start now. Query the cluster first, unless its last answer is fresh."""
        unselected = self.backup_queue.unselected()
        if self.backup_queue.waits:
            self.maintenance.give_way(VOLUME)
        if unselected or self._startable():
            now = time.monotonic()
            if not (self.discovery.fresh(now) if unselected else self.discovery.serves(now)):
                self.discover()
                return
            for answer in unselected:
                self._select(answer)
            for job in self._startable():
                self._start(job)

    @property
    def free_slots(self) -> int:
        """The number of backups, or passes over the volume, for which a slot is free."""
        return max(0, self.settings.limits.parallel - self.runs.slots)

    def _startable(self) -> tuple[Job, ...]:
        running = [*self.backup_queue.running.values()]
        return may_start(self.backup_queue.waiting_jobs(), running, len(running) + self.free_slots)

    def discover(self) -> None:
        """Start a child that queries the cluster, if a slot is free and no such child is running."""
        if self.runs.any("cluster") or not self.free_slots:
            return
        task = tasks.DiscoverTask(root=str(self.root), settings=self.settings.model_dump(mode="json"))
        deadline = time.monotonic() + DISCOVER_SECONDS
        self.discovery.begin()
        try:
            self.runs.spawn(
                self.runs.numbered("discover"),
                "backup_agent.cluster",
                task.model_dump_json().encode(),
                deadline=deadline,
            )
        except OSError as error:
            text = f"the query of the cluster over Bolt could not be started: {error.strerror}"
            self.discovery.fail(Failure(Reason.SOURCE_UNREACHABLE, text), time.monotonic())

    def _select(self, answer: Answer) -> None:
        settings = self.settings
        selection = self.discovery.select(
            answer.asked.asked,
            tuple(settings.databases),
            self.volume_summaries.databases - self.orders.forgotten.keys(),
            self._addressing(),
            now=utc_now(),
            max_age=settings.neo4j.max_topology_age,
        )
        if answer.set == BEFORE_RESTORE:
            kept = settings.restore.model_dump(mode="json")["keep_safety"]
            answer = answer.model_copy(update={"set_note": f"on the volume only; removed {kept} after it was taken"})
        elif answer.set not in self.settings.declared_sets:
            kept = settings.limits.model_dump(mode="json")["keep_adhoc"]
            note = f"ad hoc set, on the volume only; removed {kept} after its last use"
            answer = answer.model_copy(update={"set_note": note})
        self.backup_queue.selected(answer, selection, utc_now())

    def _addressing(self) -> Addressing:
        neo4j = self.settings.neo4j
        return Addressing(
            backup_port=neo4j.backup_port, backup_addresses=neo4j.backup_addresses, servers=tuple(neo4j.servers)
        )

    def _start(self, job: Job) -> None:
        name, answer = self.backup_queue.start(job, utc_now())
        result = answer.databases[job.database]
        asked = answer.asked
        schedule = self.settings.schedules.get(answer.schedule or "")
        declared = job.set in self.settings.declared_sets
        last, current = self.discovery.last, self.discovery.current
        task = tasks.BackupTask(
            run=name,
            request=answer.id,
            set=job.set,
            database=job.database,
            type=BackupType(asked.type),
            promote=schedule.promote if schedule else "now",
            database_id=result.database_id,
            definition=last.definitions.get(job.database) if last else None,
            clock_offset=self.discovery.clock_offset if current else None,
            last_committed_tx=current.last_committed_tx(job.database) if current else None,
            discovery=result.discovery or "static",
            sources=tuple(source.address for source in self.discovery.sources(job.database, self._addressing())),
            server_versions=last.versions if last else (),
            earlier_runs=earlier_runs(answer, job.database)[:-1],
            since=answer.received,
            adopt_only=result.attempts > MOST_ATTEMPTS,
            at_once=max(1, len(self.backup_queue.running)),
            destinations=tuple(self.settings.storage.destinations) if declared else (),
            attribution=asked.attribution,
            hard_links=self.hard_links,
            settings=self.settings.model_dump(mode="json"),
        )
        self.runs.make_room(self.destinations.beside)
        try:
            content = task.model_dump_json().encode()
            self.runs.spawn(name, "backup_agent.jobs.backup", content)
        except OSError as error:
            failure = Failure(Reason.OUT_OF_MEMORY, f"a process could not be started: {error.strerror}")
            self._conclude(name, BackupReport(result=DatabaseResult().failed(failure, utc_now())))

    def discovered(self, run: Run, code: int) -> None:
        """Handle the end of the child that queried the cluster."""
        monotonic = time.monotonic()
        text = f"the query of the cluster over Bolt ended without an answer (exit code {code})"
        if run.ending is Reason.TIMEOUT:
            text = f"the query of the cluster over Bolt took longer than {DISCOVER_SECONDS:.0f} s"
        if isinstance(run.result, TopologyTold | DiscoveryFailed):
            self.discovery.take(run.result, monotonic)
        else:
            self.discovery.fail(Failure(Reason.SOURCE_UNREACHABLE, text), monotonic)
        if self.discovery.current is not None:
            self.orders.seen(self.discovery.current.databases())
        if (failure := self.discovery.failure) is not None:
            last = self.discovery.last
            log.warning(
                "cluster not discovered",
                reason=failure.reason.value,
                error=failure.error,
                hint=failure.advice,
                topology_seen=last.seen.isoformat() if last else None,
            )

    def ended(self, name: str, run: Run) -> None:
        """Handle the end of a backup's child. Without a report there is no verdict, and the backup is tried again."""
        report = run.result if isinstance(run.result, BackupReport) else None
        if run.ending is Reason.CANCELLED:
            result = _cancelled(report.result if report else None, utc_now())
            report = report.model_copy(update={"result": result}) if report else BackupReport(result=result)
        elif report is not None and (report.result.open or report.result.outcome is Outcome.CANCELLED):
            report = None  # the child ended because the agent ends: no verdict
        self._conclude(name, report)

    def _conclude(self, name: str, report: BackupReport | None) -> None:
        """Update the answer, the queues of the destinations, the passes and the metrics; then log the backup's end."""
        now = utc_now()
        job = self.backup_queue.running[name]
        answer, result = self.backup_queue.ended(name, report.result if report else None, now)
        if result.awaited:
            self.awaited.add(answer, time.monotonic())
            self.destinations.recorded(result.awaited)
        if result.outcome in (Outcome.RECORDED, Outcome.SUCCEEDED, Outcome.SUCCEEDED_WITH_WARNINGS):
            self.maintenance_queue.succeeded(self.maintenance.pruned_places & {VOLUME}, time.monotonic())
            if result.type == BackupType.FULL and job.set in self.settings.declared_sets:
                self.discovery.recorded_full(job.database, result.database_id)
        elif result.reason is Reason.DISK_FULL:
            self.maintenance_queue.make_retention_due(VOLUME, time.monotonic())
        elif result.outcome is Outcome.FAILED:
            self.discovery.note_failed_backup()
        self.counters.backup(answer, job.database, result, self.settings.declared_sets, now)
        execution = report.execution if report else Execution()
        log_lines.backup_ended(answer, name, job.set, job.database, result, execution).log()

    def progressed(self, name: str, run: Run) -> None:
        """Publish the progress of a backup in its answer."""
        if name in self.backup_queue.running:
            progress = {
                key: value
                for key, value in (
                    ("bytes", run.bytes),
                    ("total", run.total),
                    ("estimated_seconds", run.estimated_seconds),
                    ("seconds", round(time.monotonic() - run.started, 1)),
                )
                if value is not None
            }
            self.backup_queue.tell(name, run.stage, progress)


def _cancelled(result: DatabaseResult | None, now: datetime) -> DatabaseResult:
    """Return the result of a backup that was cancelled. It names the artifact if there is a record of it."""
    text = "cancelled while it ran; its processes were ended"
    if result is not None and result.awaited:
        return result.given_up(Failure(Reason.CANCELLED, text), now)
    if result is None or result.artifact is None:
        return (result or DatabaseResult()).failed(Failure(Reason.CANCELLED, text), now)
    return result.failed(Failure(Reason.CANCELLED, f"{text}; {result.artifact} was recorded before"), now)

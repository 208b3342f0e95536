"""The passes that make missing copies: when one is due at a destination, its start, its events, its end."""

import math
import time
from dataclasses import dataclass, field
from typing import assert_never

import structlog

from backup_agent.core.artifacts.names import PlaceName
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests import events, tasks
from backup_agent.settings.model import Settings
from backup_agent.settings.reload import Reloader
from backup_agent.supervisor.children.runs import Run, Runs
from backup_agent.supervisor.status import log_lines
from backup_agent.supervisor.status.counters import Counters
from backup_agent.supervisor.work.awaited_copies import AwaitedCopies
from backup_agent.supervisor.work.maintenance_queue import MaintenanceQueue
from backup_agent.supervisor.work.volume_summaries import VolumeSummaries

MODULE = "backup_agent.jobs.copy"

LOOK_SECONDS = 3600.0
"""How often a pass looks at all databases, and not only at those with missing copies."""

log = structlog.get_logger()


@dataclass
class CopyPasses:
    """Starts copy passes, and handles their events and their ends."""

    reloader: Reloader
    runs: Runs
    maintenance_queue: MaintenanceQueue
    volume_summaries: VolumeSummaries
    awaited: AwaitedCopies
    counters: Counters
    _looked: dict[PlaceName, float] = field(default_factory=dict)
    """Destination -> when a pass last looked at all databases, in monotonic seconds."""

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.reloader.settings

    def due(self, place: PlaceName, monotonic: float) -> bool:
        """Return whether a pass is due at a destination: copies may be missing or are awaited, and it may be tried."""
        wanted = self.volume_summaries.owed(place) != 0 or bool(self.awaited.keys(place))
        return wanted and self.volume_summaries.may_try(place, monotonic)

    def start(self, place: PlaceName) -> None:
        """Start a pass. It is ended if it writes no event for `limits.stall_timeout`."""
        task = tasks.CopyTask(
            run=self.runs.numbered("copy"),
            place=place,
            sets=tuple(sorted(self.settings.declared_sets)),
            awaited=self.awaited.keys(place),
            databases=self._databases(place),
            settings=self.settings.model_dump(mode="json"),
        )
        stall = self.settings.limits.stall_timeout.total_seconds()
        try:
            self.runs.spawn(task.run, MODULE, task.model_dump_json().encode(), stall=stall, place=place, remote=True)
        except OSError as error:
            text = f"a process could not be started: {error.strerror}"
            self._refused(place, Failure(Reason.OUT_OF_MEMORY, text))

    def _databases(self, place: PlaceName) -> tuple[str, ...] | None:
        """Return the databases with missing copies. Now and then None, since a command may change the notes on copies.

        To look at 1,500 databases takes a second of processor time, and a pass may follow each artifact.
        """
        now = time.monotonic()
        if now - self._looked.get(place, -math.inf) < LOOK_SECONDS:
            return self.volume_summaries.databases_owed(place)
        self._looked[place] = now
        return None

    def take(self, run: Run, event: events.CopyEvent) -> None:
        """Handle the event of a pass about one artifact."""
        if run.destination is None or run.ending is not None:
            return  # a pass that was ended may use earlier settings; the next one reports the same
        match event:
            case events.CopyBegun():
                run.artifact, run.bytes, run.total = event.key, 0, event.bytes
                self.awaited.progressed(run.destination, event.key, run.moved)
            case events.CopyStored():
                if event.seconds is not None:
                    self._stored(run.destination, event)
                self.awaited.end(run.destination, event.key, None)
            case events.CopyFailed():
                self.awaited.end(run.destination, event.key, event.failure)
            case _:
                assert_never(event)

    def _stored(self, place: PlaceName, event: events.CopyStored) -> None:
        self.counters.stored(place, event.type or "", event.bytes)
        if self.settings.policies.get(place) is not None:
            self.maintenance_queue.succeeded([place], time.monotonic())
        answer = self.maintenance_queue.find(self.awaited.request(place, event.key))
        log_lines.copy_ended(place, answer, event).log()

    def sent(self, run: Run) -> None:
        """Note that a pass has sent more of its artifact."""
        if run.destination is not None and run.artifact is not None:
            self.awaited.progressed(run.destination, run.artifact, run.moved)
            self.awaited.show(run.destination, run.artifact, run.bytes or 0, run.total)

    def ended(self, run: Run, code: int) -> None:
        """Handle the end of a pass. If the whole destination failed, no request waits for its copies any more."""
        place = run.destination
        if place is None:
            return  # only passes over a destination copy
        report = run.result
        if not isinstance(report, events.CopyReport):
            failure = self._without_report(run, code)
            if failure is not None:
                self._refused(place, failure)
            return
        if report.copied:
            log.info("missing copies made", destination=place, copied=report.copied)
        if report.counted:
            self.volume_summaries.counted(place, run.started)
        if report.failure is None:
            self.volume_summaries.stored(place)
        elif report.ended_early:
            self._refused(place, report.failure)
        else:
            self._note(place, report.failure)

    def _without_report(self, run: Run, code: int) -> Failure | None:
        """Return why a pass ended without a report; None if the supervisor ended it for another reason."""
        if run.ending is Reason.STALLED:
            return Failure(Reason.STORAGE_UNREACHABLE, "the copy made no progress for too long, and was ended")
        if run.ending is not None:
            return None
        return Failure(Reason.INTERNAL, f"copying ended without a report (exit code {code})")

    def _refused(self, place: PlaceName, failure: Failure) -> None:
        """Note that a destination has failed as a whole."""
        self._note(place, failure)
        self.awaited.end_all(place, failure)

    def _note(self, place: PlaceName, failure: Failure) -> None:
        if self.volume_summaries.refused(place, failure):
            self.counters.copy_refused(place, failure.reason)

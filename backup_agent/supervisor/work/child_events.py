"""Pass each event of a child process to the part that handles it. mypy proves that every type is handled."""

import time
from dataclasses import dataclass
from typing import assert_never

import structlog

from backup_agent import quoting
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.requests import events
from backup_agent.settings.reload import Reloader
from backup_agent.supervisor.children.doctor_steps import CHECK
from backup_agent.supervisor.children.process import Ended, Told
from backup_agent.supervisor.children.runs import NOTIFY, PAGE, Run, Runs
from backup_agent.supervisor.status.counters import Counters
from backup_agent.supervisor.work.backup_dispatch import BackupDispatch
from backup_agent.supervisor.work.copy_passes import CopyPasses
from backup_agent.supervisor.work.discovery import Discovery
from backup_agent.supervisor.work.doctor import Doctor
from backup_agent.supervisor.work.intake import Intake
from backup_agent.supervisor.work.maintenance import Maintenance
from backup_agent.supervisor.work.notifications import Notifications
from backup_agent.supervisor.work.status_page import StatusPage
from backup_agent.supervisor.work.survey import Survey
from backup_agent.supervisor.work.volume_summaries import VolumeSummaries

CHANGING = ("backup", "prune", "verify", "drill")
"""Children that change the volume. They report each change before their result. A drill also leaves scratch data."""

log = structlog.get_logger()


@dataclass
class ChildEvents:
    """Passes each event of a child to the part that handles it."""

    reloader: Reloader
    runs: Runs
    survey: Survey
    dispatch: BackupDispatch
    maintenance: Maintenance
    copy_passes: CopyPasses
    discovery: Discovery
    volume_summaries: VolumeSummaries
    counters: Counters
    intake: Intake
    doctor: Doctor
    notifications: Notifications
    status_page: StatusPage

    def take(self, message: Told) -> None:
        """Handle an event of a child. After a malformed event, survey the volume again: a change may be lost."""
        run = self.runs.get(message.run)
        if run is None:
            return
        run.moved = time.monotonic()
        if not isinstance(message.event, events.MalformedEvent):
            self._take_event(message.run, run, message.event)
            return
        if run.kind == "survey":
            self.survey.note_malformed_event()
        elif run.kind in CHANGING:
            self.volume_summaries.doubt()
        log.error(
            "event not understood", run=message.run, kind=message.event.kind, error=quoting.shown(message.event.error)
        )

    def _take_event(self, name: str, run: Run, event: events.Event) -> None:
        if isinstance(event, events.CopiesNotCounted):
            log.warning("missing copies not counted", destination=event.destination, error=event.error)
        if isinstance(event, events.Result):
            run.result = event
            return
        match event:
            case events.Surveyed():
                self.survey.take(event)
            case events.SummaryTold() | events.CopiesNotCounted() if run.kind == "survey":
                self.survey.take(event)
            case (
                events.SummaryTold()
                | events.SummaryFailed()
                | events.NothingRecorded()
                | events.CopiesOwed()
                | events.CopiesNotCounted()
            ):
                self.maintenance.told_of_volume(run, event)
            case events.CopyBegun() | events.CopyStored() | events.CopyFailed():
                self.copy_passes.take(run, event)
            case events.StageBegun() | events.Progress():
                self._progressed(name, run, event)
            case events.TopologyRows():
                self.discovery.add_rows(event)
            case events.ArtifactDeleted() | events.HoldEnded() | events.StraysFound() | events.UnrecognisedFound():
                self.maintenance.told_by_retention(run.destination or VOLUME, event)
            case (
                events.ArtifactVerified()
                | events.ArtifactDamaged()
                | events.ArtifactHealed()
                | events.ArtifactNotHealed()
                | events.ArtifactNotRead()
            ) | (events.PlaceJudged() | events.SliceProgress() | events.ReadingBegun()):
                self.maintenance.told_by_reading(name, event)
            case (
                events.ArtifactStored()
                | events.SigningTold()
                | events.AuditForked()
                | events.VolumeTested()
                | events.SetAside()
                | events.RecordUnreadable()
                | events.Warned()
                | events.DrillBegun()
                | events.ArtifactDrilled()
                | events.DrillMarked()
                | events.CheckTold()
            ):
                self._note(name, event)
            case _:
                assert_never(event)

    def _note(
        self,
        name: str,
        event: events.ArtifactStored
        | events.SigningTold
        | events.AuditForked
        | events.VolumeTested
        | events.SetAside
        | events.RecordUnreadable
        | events.Warned
        | events.DrillEvent
        | events.CheckTold,
    ) -> None:
        match event:
            case events.CheckTold():
                self.doctor.found(event.finding)
            case events.ArtifactStored():
                self.counters.stored(event.place, event.type, event.bytes)
            case events.VolumeTested():
                self.dispatch.hard_links = event.hard_links
                if not event.hard_links:
                    log.warning(
                        "volume refuses hard links, backups are written in place",
                        root=str(self.reloader.settings.storage.root),
                    )
            case events.SigningTold():
                self._signing(event)
            case events.AuditForked():
                self.counters.audit_forked(event.place, event.because)
                say = log.error if event.because == "forked" else log.warning
                say("audit log has another epoch", place=event.place, because=event.because, found=event.found)
            case events.SetAside():
                log.warning("unfinished artifact set aside", run=event.run, name=event.name)
            case events.RecordUnreadable():
                log.error("record unreadable", fault=event.fault)
            case events.Warned():
                log.warning(event.text, run=name, because=event.because)
            case events.DrillBegun() | events.ArtifactDrilled() | events.DrillMarked():
                self.maintenance.told_by_drill(name, event)
            case _:
                assert_never(event)

    def _signing(self, event: events.SigningTold) -> None:
        """Log when the agent can no longer sign, or can again."""
        before, self.counters.signing_fault = self.counters.signing_fault, event.fault
        if event.fault is not None and event.fault != before:
            log.warning("records are not signed", because=event.fault)
        elif event.fault is None and before is not None:
            log.info("records are signed again")

    def _progressed(self, name: str, run: Run, event: events.StageBegun | events.Progress) -> None:
        self.runs.progressed(name, event)
        self.dispatch.progressed(name, run)
        if isinstance(event, events.Progress):
            self.maintenance.note_bytes_read(name, event)
            self.copy_passes.sent(run)

    def ended(self, ended: Ended) -> None:
        """Handle the end of a child."""
        run = self.runs.ended(ended.run)
        if run is None:
            return
        if run.kind in CHANGING and not isinstance(run.result, events.BackupReport | events.PassReport):
            self.volume_summaries.doubt()  # the child may have changed the volume without reporting it
        if self.volume_summaries.doubted:
            self.survey.doubt(time.monotonic())
        match run.kind:
            case "survey":
                self.survey.ended(run, ended.code)
                self.intake.act_on_deferred()
            case "cluster":
                self.dispatch.discovered(run, ended.code)
            case "backup":
                self.dispatch.ended(ended.run, run)
            case "copy":
                self.copy_passes.ended(run, ended.code)
            case kind if kind == NOTIFY:
                self.notifications.ended(run, time.monotonic())
            case kind if kind == PAGE:
                self.status_page.ended(run)
            case kind if kind.startswith(CHECK):
                self.doctor.ended(run, ended.code, time.monotonic())
            case _:
                self.maintenance.ended(ended.run, run, ended.code)

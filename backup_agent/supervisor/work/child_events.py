"""What children tell, event by event, and what becomes of it; mypy proves that no kind of event is forgotten."""

import time
from dataclasses import dataclass
from typing import assert_never

import structlog

from backup_agent import quoting
from backup_agent.core.requests.events import (
    ArtifactDamaged,
    ArtifactDeleted,
    ArtifactHealed,
    ArtifactNotHealed,
    ArtifactNotRead,
    ArtifactStored,
    ArtifactVerified,
    BackupReport,
    CopiesNotCounted,
    CopiesOwed,
    CopyReport,
    DiscoveryFailed,
    Event,
    MalformedEvent,
    NothingRecorded,
    PassReport,
    PlaceJudged,
    Progress,
    PutAside,
    ReadingBegun,
    RecordUnreadable,
    SliceProgress,
    StageBegun,
    StraysFound,
    SummaryFailed,
    SummaryTold,
    Surveyed,
    SurveyFailed,
    TopologyRows,
    TopologyTold,
    VolumeTested,
    Warned,
)
from backup_agent.settings.reload import Reloader
from backup_agent.supervisor.children.process import Ended, Told
from backup_agent.supervisor.children.runs import Run, Runs
from backup_agent.supervisor.status.counters import Counters
from backup_agent.supervisor.work.backup_dispatch import BackupDispatch
from backup_agent.supervisor.work.discovery import Discovery
from backup_agent.supervisor.work.intake import Intake
from backup_agent.supervisor.work.maintenance import Maintenance
from backup_agent.supervisor.work.survey import Survey
from backup_agent.supervisor.work.volume_summaries import VolumeSummaries

CHANGING = ("backup", "prune", "verify")
"""Children that change what is on the volume, and tell so before their report."""

log = structlog.get_logger()


@dataclass
class ChildEvents:
    """Hands each event of a child to the part that it concerns."""

    reloader: Reloader
    runs: Runs
    survey: Survey
    dispatch: BackupDispatch
    maintenance: Maintenance
    discovery: Discovery
    volume_summaries: VolumeSummaries
    counters: Counters
    intake: Intake

    def told(self, told: Told) -> None:
        """Take an event of a child. One that cannot be understood leaves in doubt what it would have told."""
        run = self.runs.get(told.run)
        if run is None:
            return
        if not isinstance(told.event, MalformedEvent):
            self._take_event(told.run, run, told.event)
            return
        if run.kind == "survey":
            self.survey.spoil()
        elif run.kind in CHANGING:
            self.volume_summaries.doubt()
        log.error("event not understood", run=told.run, kind=told.event.kind, error=quoting.shown(told.event.error))

    def _take_event(self, name: str, run: Run, event: Event) -> None:
        match event:
            case Surveyed():
                self.survey.told(event)
            case SummaryTold() | CopiesNotCounted() if run.kind == "survey":
                self.survey.told(event)
            case SummaryTold() | SummaryFailed() | NothingRecorded() | CopiesOwed() | CopiesNotCounted():
                self.maintenance.told_of_volume(event)
            case StageBegun() | Progress():
                self._progressed(name, run, event)
            case TopologyRows():
                self.discovery.hear(event)
            case ArtifactDeleted() | StraysFound():
                self.maintenance.told_by_retention(run.destination or "", event)
            case (
                ArtifactVerified() | ArtifactDamaged() | ArtifactHealed() | ArtifactNotHealed() | ArtifactNotRead()
            ) | (PlaceJudged() | SliceProgress() | ReadingBegun()):
                self.maintenance.told_by_reading(name, event)
            case SurveyFailed() | TopologyTold() | DiscoveryFailed() | BackupReport() | PassReport() | CopyReport():
                run.result = event
            case ArtifactStored():
                self.counters.stored(event.place, event.type, event.bytes)
            case VolumeTested() | PutAside() | RecordUnreadable() | Warned():
                self._note(name, event)
            case _:
                assert_never(event)

    def _note(self, name: str, event: VolumeTested | PutAside | RecordUnreadable | Warned) -> None:
        match event:
            case VolumeTested():
                self.dispatch.hard_links = event.hard_links
                if not event.hard_links:
                    log.warning(
                        "volume refuses hard links",
                        root=str(self.reloader.settings.storage.root),
                        backups="are written in place",
                    )
            case PutAside():
                log.warning("unfinished artifact put aside", run=event.run, name=event.name)
            case RecordUnreadable():
                log.error("record unreadable", fault=event.fault)
            case Warned():
                log.warning(event.text, run=name, because=event.because)
            case _:
                assert_never(event)

    def _progressed(self, name: str, run: Run, event: StageBegun | Progress) -> None:
        self.runs.progressed(name, event)
        self.dispatch.progressed(name, run)
        if isinstance(event, Progress):
            self.maintenance.read_on(name, event)

    def ended(self, ended: Ended) -> None:
        """Take the end of a child."""
        run = self.runs.ended(ended.run)
        if run is None:
            return
        if run.kind in CHANGING and not isinstance(run.result, BackupReport | PassReport):
            self.volume_summaries.doubt()  # what it changed on the volume before it ended was not told
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
            case _:
                self.maintenance.ended(ended.run, run, ended.code)

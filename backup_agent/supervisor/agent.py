"""The agent's loop: it owns all state, and everything that happens reaches it as a message in one inbox.

Threads (watch, timer, a reader per child, HTTP) only put messages in. So nothing here needs a lock, and a step of the
loop is what a crash can come between.
"""

import errno
import os
import queue
import signal
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import assert_never

import structlog

from backup_agent import __version__, durable, ending, logs, processes, quoting
from backup_agent.catalog import root_lock
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.core.requests import tasks
from backup_agent.core.requests.answers import Answer, State
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
from backup_agent.core.requests.request import Action, Request
from backup_agent.core.requests.schedules import next_runs
from backup_agent.settings.model import Settings
from backup_agent.settings.reload import Reloader
from backup_agent.supervisor import mounts, snapshot
from backup_agent.supervisor.children.process import Ended, Told
from backup_agent.supervisor.children.runs import END_SECONDS, Run, Runs
from backup_agent.supervisor.heap import give_back
from backup_agent.supervisor.requests.reserve import Reserve
from backup_agent.supervisor.requests.spool import Spool, TakenFile
from backup_agent.supervisor.requests.watch import Bell
from backup_agent.supervisor.schedules.calendar import Calendar
from backup_agent.supervisor.schedules.timer import Timer
from backup_agent.supervisor.status import http, log_lines
from backup_agent.supervisor.status.counters import Counters
from backup_agent.supervisor.status.metrics import Metrics
from backup_agent.supervisor.status.model import Status
from backup_agent.supervisor.trusted_clock import TrustedClock
from backup_agent.supervisor.work.actions import Actions
from backup_agent.supervisor.work.backup_dispatch import BackupDispatch
from backup_agent.supervisor.work.backup_queue import BackupQueue
from backup_agent.supervisor.work.discovery import Discovery
from backup_agent.supervisor.work.maintenance import Maintenance
from backup_agent.supervisor.work.maintenance_queue import PASSES, MaintenanceQueue
from backup_agent.supervisor.work.open_requests import OpenRequests
from backup_agent.supervisor.work.orders import Orders
from backup_agent.supervisor.work.survey import Survey
from backup_agent.supervisor.work.volume_summaries import VolumeSummaries

SCAN_SECONDS = 5.0
"""How often the folder is listed whatever the bell says."""

SETTLE_SECONDS = 0.25
"""How soon a file is looked at again that may still be being written."""

BATCH_SECONDS = 0.2
"""How long one step takes dropped files at least, before it looks at everything else."""

STEP_SECONDS = 60.0
"""A loop that has not turned for so long is dead: what /livez looks at."""

ASK_SECONDS = 5.0
MOST_ADHOC = 20

CHANGING = ("backup", "prune", "verify")
"""Children that change what is on the volume, and tell so before their report."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Rung:
    """The bell rang, or the clock did: look."""


@dataclass(frozen=True)
class Due:
    """A schedule may be due."""


@dataclass(frozen=True)
class Signalled:
    """SIGTERM or SIGINT."""


@dataclass(frozen=True)
class StatusAsked:
    """Somebody wants the Status."""

    reply: "queue.SimpleQueue[Status]"


Message = Told | Ended | Rung | Due | Signalled | StatusAsked


class Agent:
    """One agent. `run` returns the exit code."""

    def __init__(self, reloader: Reloader) -> None:
        """Nothing is touched before `run`."""
        settings = reloader.settings
        self._reloader = reloader
        self._loaded_at = _now()
        self._fault: str | None = None
        self._settings_waiting: tuple[str, ...] = ()
        self._root = settings.storage.root
        self._own = self._root / ".agent"
        self._reserve = Reserve(self._own / "reserve")
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._started = _now()
        self._told_to_end = False
        self._ending_by: float | None = None
        self._rung = False
        self._next_scan = 0.0
        self._turned = time.monotonic()
        self._watch_fault: str | None = None
        self._metrics = Metrics(self.status)
        self._runs = Runs(str(self._root), self._inbox.put)
        self._volume_summaries = VolumeSummaries()
        self._survey = Survey(self._runs, self._volume_summaries, self._survey_task)
        self._counters = Counters(self._metrics)
        self._spool = Spool(settings.requests, str(self._root), self._refuse_set)
        self._requests = OpenRequests(self._spool, self._counters.request)
        self._backup_queue = BackupQueue(self._requests)
        self._maintenance_queue = MaintenanceQueue(self._requests)
        self._discovery = Discovery(self._root)
        self._clock = TrustedClock(self._own / "clock.json", lambda: self._discovery.server_clock)
        self._orders = Orders(self._own / "standing.json")
        self._maintenance = Maintenance(
            reloader,
            self._runs,
            self._maintenance_queue,
            self._volume_summaries,
            self._orders,
            self._discovery,
            self._counters,
            self._reserve,
            self._requests,
        )
        self._dispatch = BackupDispatch(
            reloader,
            self._root,
            self._runs,
            self._backup_queue,
            self._discovery,
            self._volume_summaries,
            self._orders,
            self._maintenance,
            self._maintenance_queue,
            self._counters,
        )
        self._actions = Actions(
            reloader,
            self._spool,
            self._requests,
            self._backup_queue,
            self._runs,
            self._maintenance,
            self._maintenance_queue,
            self._orders,
            self._discovery,
            self._volume_summaries,
            self._counters,
        )
        self._calendar = Calendar(self._own / "schedules.json", self._submit, self._backup_queue.waits_for)
        self._bell = Bell(settings.requests, self._ring)
        self._timer = Timer(lambda *_: self._inbox.put(Due()))
        self._servers: dict[str, http.HttpServer] = {}

    @property
    def _settings(self) -> Settings:
        return self._reloader.settings

    # Life

    def run(self) -> int:
        """Start, serve until a signal ends it, and stop in good order; return the exit code."""
        self._start()
        try:
            while not self._over():
                self._step()
        finally:
            self._stop()
        return 0

    def _start(self) -> None:
        for number in ending.ENDING:
            signal.signal(number, self._signalled)
        ending.release()
        require = self._settings.storage.require_volume
        mounts.check_volume_mounted(self._root, require, os.environ)
        durable.make_folder(self._root)
        ended = processes.end_left_behind(str(self._root))
        self._runs.lock = root_lock.own(self._root)
        self._own.mkdir(exist_ok=True)
        self._servers = self._bind()
        self._say_start(ended)
        self._discovery.load()
        self._orders.load()
        self._calendar.load()
        durable.make_folder(self._settings.requests)
        self._spool.prepare()
        self._maintenance.take_settings(surveyed=False)  # a request that goes on may name a place
        self._recover()
        self._take_settings()
        for server in self._servers.values():
            server.start()
        self._timer.start()
        self._listen()
        if not self._told_to_end:
            self._survey.start(time.monotonic())

    def _signalled(self, *_: object) -> None:
        self._told_to_end = True
        self._inbox.put(Signalled())

    def _bind(self) -> dict[str, http.HttpServer]:
        """Listen at both addresses, before anything is changed on disk; raise PermanentError if one is in use."""
        listen, probes = self._settings.http.listen_address, self._settings.http.probes_address
        return {
            "http": http.HttpServer("http.listen", *listen, http.main_pages(self._metrics.page, self.status)),
            "probes": http.HttpServer("http.probes", *probes, http.probe_pages(self.status, self.alive)),
        }

    def _say_start(self, ended: int) -> None:
        settings = self._settings
        log.info(
            "agent started",
            version=__version__,
            cluster=settings.cluster,
            root=str(self._root),
            requests=str(settings.requests),
            **{name: server.port for name, server in self._servers.items()},
            processes_of_an_earlier_life=ended,
        )
        if mounts.is_own_disk(settings.requests, settings.storage.require_volume, os.environ):
            log.warning("requests folder is on no volume", folder=str(settings.requests), lost_with="the container")
        log.info("retention", policy=snapshot.retention(settings))

    def _stop(self) -> None:
        self._timer.stop()
        self._bell.close()
        self._runs.kill()
        try:
            self._spool.answers.clear_legacy_status()
        except OSError as error:
            log.warning("legacy status not removed", error=error.strerror)
        for server in self._servers.values():
            server.close()
        log.info("agent stopped", runs_ended=len(self._runs))

    def _over(self) -> bool:
        if self._ending_by is None:
            return False
        return not self._runs or time.monotonic() >= self._ending_by + END_SECONDS

    def alive(self) -> bool:
        """Tell whether the loop turns."""
        return time.monotonic() - self._turned < STEP_SECONDS

    def _step(self) -> None:
        """Wait for one message, and do what follows from it and from the time.

        A fault in one step is one request's or one file's trouble: the next step comes all the same.
        """
        message: Message | None
        try:
            message = self._inbox.get(timeout=self._patience())
        except queue.Empty:
            message = None
        self._turned = time.monotonic()
        try:
            if message is not None:
                self._handle(message)
            self._look()
            self._advance()
        except Exception:
            log.exception("step failed", message=type(message).__name__)
            self._next_scan = time.monotonic() + SCAN_SECONDS

    def _patience(self) -> float:
        now = time.monotonic()
        moments = [self._next_scan]
        if self._ending_by is not None:
            asked = all(run.ending is not None for _, run in self._runs)
            moments = [self._ending_by + END_SECONDS if asked else self._ending_by]
        elif self._dispatch.free_slots:
            moments += [moment for moment in self._maintenance_queue.moments() if moment > now]
        return max(0.0, min(moments + self._runs.moments()) - now)

    def _handle(self, message: Message) -> None:
        match message:
            case Told():
                self._told(message)
            case Ended():
                self._ended(message)
            case Rung():
                self._rung = False
                self._next_scan = 0.0
            case Due():
                self._calendar.check(_now())
            case Signalled():
                self._begin_end()
            case StatusAsked():
                message.reply.put(self._status())

    def _begin_end(self) -> None:
        """Take nothing new, give what runs its grace; a second signal gives none."""
        grace = self._settings.limits.shutdown_grace.total_seconds() if self._ending_by is None else 0.0
        self._ending_by = time.monotonic() + grace
        for name, run in self._runs:
            if run.kind == "survey":  # nothing is lost with it: the next start surveys anew
                self._runs.end(name, Reason.INTERRUPTED)
        log.info("ending", running=len(self._runs), grace_seconds=grace)

    # Listening

    def _ring(self) -> None:
        if not self._rung:
            self._rung = True
            self._inbox.put(Rung())

    def _listen(self) -> None:
        """Watch the requests folder. If that fails, the folder is listed: requests are served all the same."""
        try:
            self._bell.listen()
        except OSError as error:
            if self._watch_fault is None:
                log.warning(
                    "requests folder not watched",
                    error=error.strerror,
                    listed_every_seconds=SCAN_SECONDS,
                    hint="raise fs.inotify.max_user_instances and max_user_watches on the node",
                )
            self._watch_fault = error.strerror or str(error)
            return
        if self._watch_fault is not None:
            log.info("requests folder watched again", folder=str(self._settings.requests))
        self._watch_fault = None

    def _look(self) -> None:
        """List the requests folder when that is due, and take what is ripe; look after everything that has a time."""
        monotonic = time.monotonic()
        self._runs.enforce(monotonic, all_end=self._ending_by is not None and monotonic >= self._ending_by)
        if monotonic < self._next_scan or self._ending_by is not None:
            return
        self._next_scan = monotonic + SCAN_SECONDS
        if not self._bell.still_hears():
            self._hear_again()
        self._requests.write_unwritten()
        self._reload()
        if os.getpid() == 1:
            processes.reap_orphans({run.child.pid for _, run in self._runs})
        for ticket in self._spool.unsettled():
            try:
                self._accept(self._spool.settle(ticket, _now()))
            except OSError as error:
                log.error("request not settled", ticket=ticket, error=str(error))  # noqa: TRY400  the text says it all
        self._take_dropped(monotonic)
        for reserve in (self._reserve, self._spool.reserve):
            reserve.make()
        self._expire()

    def _expire(self) -> None:
        """Forget what was kept for its time, as long as the clock can be trusted with that."""
        now, limits = self._clock.now(), self._settings.limits
        if now is not None:
            self._spool.expiry.expire(now, limits.keep_answers)
            self._counters.expire(self._settings.declared_sets, now - limits.keep_adhoc)

    def _hear_again(self) -> None:
        """Make the folder again where it has gone, with every entry that is not answered, and watch it."""
        if self._bell.same_folder() and self._spool.stands():
            self._listen()  # the watch alone is missing (limits of inotify): nothing is made again, nor removed
            return
        self._counters.watched_anew()
        log.warning("requests folder watched anew", folder=str(self._settings.requests))
        durable.make_folder(self._settings.requests)
        self._listen()  # first: a folder that is changed for another while this goes on is noticed by the next scan
        try:
            self._spool.prepare()
            self._requests.rewrite()
            self._recover()
        except OSError:
            self._bell.close()  # so that the next scan begins anew
            raise
        except PermanentError as error:  # another agent's folder has been mounted here
            self._bell.close()
            raise OSError(errno.EBUSY, error.failure.error) from error

    def _take_dropped(self, monotonic: float) -> None:
        names = self._spool.dropped.ripe(monotonic)
        listed = time.monotonic()
        # A long listing is followed by a longer batch: else a flood would be listed over and over and hardly taken.
        until = listed + max(BATCH_SECONDS, 3 * (listed - monotonic))
        for name in names:
            if time.monotonic() > until:
                self._next_scan = 0.0
                return
            try:
                self._accept(self._spool.take(name, _now()))
            except OSError as error:
                log.error("request not taken", file=name, error=str(error))  # noqa: TRY400  the text says it all
        if self._spool.dropped.waits_for_quiet:
            self._next_scan = monotonic + SETTLE_SECONDS

    def _accept(self, taken: TakenFile | None) -> None:
        if taken is None:
            return
        answer = taken.answer
        if not taken.new:
            self._requests.answer_also(answer.id, answer.files)
            return
        if answer.state is State.REJECTED:
            self._counters.request(answer)
        elif not answer.state.final:
            self._begin(answer)
        log_lines.request_accepted(answer).log()

    def _begin(self, answer: Answer) -> None:
        if answer.action == Action.BACKUP.value:
            self._backup_queue.accept(answer)
            self._maintenance.note_use(answer.set or "", answer.received)
        else:
            self._act(answer)

    def _act(self, answer: Answer) -> None:
        """Do what a request asks for that is no backup; one that needs to know the volume waits for the survey."""
        if answer.action == Action.FORGET.value and not self._volume_summaries.known:
            self._requests.hold(answer)
        else:
            self._actions.take(answer, _now())

    def _act_on_deferred(self) -> None:
        deferred = [one for one in self._requests.active.values() if one.action == Action.FORGET.value]
        for answer in deferred if self._volume_summaries.known else ():
            self._actions.take(answer, _now())

    def _submit(self, request: Request, schedule: str) -> None:
        try:
            taken = self._spool.submit(request, schedule, _now())
        except PermanentError as error:  # it was submitted before, and the other schedules must not wait
            log.error("schedule's request unreadable", schedule=schedule, request=request.id, error=error.failure.error)  # noqa: TRY400  the text says it all
            return
        self._accept(taken)
        log.info("schedule due", schedule=schedule, request=taken.answer.id, new=taken.new)

    def _refuse_set(self, set_name: str) -> str | None:
        adhoc = (self._volume_summaries.sets | self._requests.sets) - self._settings.declared_sets
        if set_name in self._settings.declared_sets or set_name in adhoc or len(adhoc) < MOST_ADHOC:
            return None
        return (
            f"path: {len(adhoc)} ad hoc sets exist, and {MOST_ADHOC} is the most; use one of them, or declare "
            f"{set_name!r} in the settings' `sets`"
        )

    # Settings

    def _reload(self) -> None:
        change = self._reloader.check()
        if change is None:
            return
        self._fault = change.fault
        if change.fault is not None:
            log.error("settings refused", fault=change.fault, in_force="the last good ones")
            return
        self._settings_waiting = change.waiting
        self._loaded_at = _now()
        logs.configure(change.settings.log.format, change.settings.log.level, cluster=change.settings.cluster)
        self._take_settings()
        log.info("settings reloaded", waiting_for_restart=change.waiting)

    def _take_settings(self) -> None:
        settings = self._settings
        self._maintenance.take_settings(surveyed=self._survey.began)
        self._discovery.outdate()
        self._calendar.schedules = settings.schedules
        self._calendar.timetables = settings.timetables()
        self._timer.set(self._calendar.timetables)
        self._calendar.check(_now())
        for run in next_runs(self._calendar.timetables, _now(), 5):
            log.info("next run", schedule=run.schedule, at=run.start.isoformat())

    # Recovery

    def _recover(self) -> None:
        """Go on with what stands in the folder: at start, and where another folder has come under its name."""
        now = _now()
        for answer in self._spool.ledger.open():
            if self._requests.find(answer.id) is not None:
                continue
            if answer.state.final:
                self._requests.keep(answer)
            elif answer.action == Action.BACKUP.value:
                self._backup_queue.recover(answer, now)
            else:
                self._act(answer)
            log.info("request recovered", request=answer.id, state=answer.state.value)

    def _survey_task(self) -> tasks.SurveyTask:
        return tasks.SurveyTask(
            open_runs=self._backup_queue.open_runs(), settings=self._settings.model_dump(mode="json")
        )

    # Runs

    def _advance(self) -> None:
        """Start whatever may start now: a backup, else a pass; retention first where it has waited too long."""
        if self._ending_by is not None:
            return
        self._expire_requests()
        monotonic = time.monotonic()
        self._survey.start(monotonic)
        if self._survey.holds_backups(monotonic) or self._orders.paused is not None or self._maintenance.deleting:
            return
        passes_wait = self._survey.holds_passes()
        overdue = self._maintenance_queue.overdue(monotonic) and not passes_wait
        if not overdue:
            self._dispatch.advance()
        if (
            not passes_wait
            and self._dispatch.free_slots
            and not self._runs.slots
            and (overdue or not any(True for _ in self._backup_queue.waiting_jobs()))
        ):
            if not self._discovery.asked and self._maintenance.changes_a_place(monotonic):
                self._dispatch.discover()  # a cloned volume brings the topology of another cluster with it
            else:
                self._maintenance.start(monotonic)

    def _expire_requests(self) -> None:
        for answer in self._requests.overdue(now := _now()):
            if answer.action == Action.BACKUP.value:
                self._backup_queue.expire(answer, now)
            elif answer.action in PASSES:
                self._maintenance_queue.expire(answer, now)

    # What children tell

    def _told(self, told: Told) -> None:
        """Take an event of a child. One that cannot be understood leaves in doubt what it would have told."""
        run = self._runs.get(told.run)
        if run is None:
            return
        if not isinstance(told.event, MalformedEvent):
            self._take_event(told.run, run, told.event)
            return
        if run.kind == "survey":
            self._survey.spoil()
        elif run.kind in CHANGING:
            self._volume_summaries.doubt()
        log.error("event not understood", run=told.run, kind=told.event.kind, error=quoting.shown(told.event.error))

    def _take_event(self, name: str, run: Run, event: Event) -> None:
        match event:
            case Surveyed():
                self._survey.told(event)
            case SummaryTold() | CopiesNotCounted() if run.kind == "survey":
                self._survey.told(event)
            case SummaryTold() | SummaryFailed() | NothingRecorded() | CopiesOwed() | CopiesNotCounted():
                self._maintenance.told_of_volume(event)
            case StageBegun() | Progress():
                self._progressed(name, run, event)
            case TopologyRows():
                self._discovery.hear(event)
            case ArtifactDeleted() | StraysFound():
                self._maintenance.told_by_retention(run.destination or "", event)
            case (
                ArtifactVerified() | ArtifactDamaged() | ArtifactHealed() | ArtifactNotHealed() | ArtifactNotRead()
            ) | (PlaceJudged() | SliceProgress() | ReadingBegun()):
                self._maintenance.told_by_reading(name, event)
            case SurveyFailed() | TopologyTold() | DiscoveryFailed() | BackupReport() | PassReport() | CopyReport():
                run.result = event
            case ArtifactStored():
                self._counters.stored(event.place, event.type, event.bytes)
            case VolumeTested() | PutAside() | RecordUnreadable() | Warned():
                self._note(name, event)
            case _:
                assert_never(event)

    def _note(self, name: str, event: VolumeTested | PutAside | RecordUnreadable | Warned) -> None:
        match event:
            case VolumeTested():
                self._dispatch.hard_links = event.hard_links
                if not event.hard_links:
                    log.warning("volume refuses hard links", root=str(self._root), backups="are written in place")
            case PutAside():
                log.warning("unfinished artifact put aside", run=event.run, name=event.name)
            case RecordUnreadable():
                log.error("record unreadable", fault=event.fault)
            case Warned():
                log.warning(event.text, run=name, because=event.because)
            case _:
                assert_never(event)

    def _progressed(self, name: str, run: Run, event: StageBegun | Progress) -> None:
        self._runs.progressed(name, event)
        self._dispatch.progressed(name, run)
        if isinstance(event, Progress):
            self._maintenance.read_on(name, event)

    def _ended(self, ended: Ended) -> None:
        run = self._runs.ended(ended.run)
        if run is None:
            return
        if run.kind in CHANGING and not isinstance(run.result, BackupReport | PassReport):
            self._volume_summaries.doubt()  # what it changed on the volume before it ended was not told
        if self._volume_summaries.doubted:
            self._survey.doubt(time.monotonic())
        match run.kind:
            case "survey":
                self._survey.ended(run, ended.code)
                self._act_on_deferred()
            case "cluster":
                self._dispatch.discovered(run, ended.code)
            case "backup":
                self._dispatch.ended(ended.run, run)
            case _:
                self._maintenance.ended(ended.run, run, ended.code)
        give_back()

    # What others see

    def status(self) -> Status:
        """Return the Status; called from other threads. Raise TimeoutError where the loop does not turn."""
        reply: queue.SimpleQueue[Status] = queue.SimpleQueue()
        self._inbox.put(StatusAsked(reply))
        try:
            return reply.get(timeout=ASK_SECONDS)
        except queue.Empty:
            raise TimeoutError("the agent's loop is busy") from None

    def _status(self) -> Status:
        now = _now()
        monotonic = time.monotonic()
        room = snapshot.room(self._root)
        summaries = self._volume_summaries.summaries if self._volume_summaries.known else None
        unready = {}
        if (waiting := self._survey.unready(monotonic)) is not None:
            unready["survey"] = waiting
        if self._ending_by is not None:
            unready["ending"] = "the agent is ending"
        return Status(
            cluster=self._settings.cluster,
            version=__version__,
            started=self._started,
            now=now,
            ready=not unready,
            not_ready_because=tuple(unready.values()),
            surveyed=self._survey.done,
            survey_failure=self._survey.failure,
            requests_watched=self._watch_fault is None,
            requests_watch_fault=self._watch_fault,
            queue_depth=len(self._requests),
            queue_oldest=self._backup_queue.oldest(),
            running=snapshot.running(self._runs, self._backup_queue.running, monotonic),
            databases=summaries,
            attempts=self._counters.attempts,
            missing_databases=self._discovery.missing,
            destinations=snapshot.destinations(self._volume_summaries, monotonic),
            schedules=snapshot.schedules(self._calendar, now),
            places=snapshot.places(self._maintenance_queue),
            paused=snapshot.pause(self._orders),
            forgotten=tuple(self._orders.forgotten),
            bolt=snapshot.bolt(self._discovery),
            bolt_reason=self._discovery.failure.reason if self._discovery.failure else None,
            databases_refused=self._discovery.refused,
            bolt_notes=self._discovery.notes,
            topology_seen=self._discovery.last.seen if self._discovery.last else None,
            clock_offset_seconds=self._discovery.clock_offset,
            volume_free=room.free if room else None,
            volume_total=room.total if room else None,
            full_on=snapshot.full_on(summaries, room.free, now) if room and summaries is not None else None,
            retention=snapshot.retention(self._settings),
            settings_valid=self._fault is None,
            settings_fault=self._fault,
            settings_waiting=self._settings_waiting,
            settings_loaded=self._loaded_at,
        )


def _now() -> datetime:
    return datetime.now(UTC)

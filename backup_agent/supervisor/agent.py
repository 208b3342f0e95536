"""The agent's loop, which owns all state. Every event reaches the loop as a message in one inbox.

All other threads (watch, timer, HTTP, and a reader for each child) only put messages into the inbox, so the state needs
no locks.
"""

import errno
import math
import os
import queue
import signal
import time
from dataclasses import dataclass

import structlog

from backup_agent import __version__, durable, ending, logs, processes, quoting
from backup_agent.catalog import mounts, root_lock
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.page.style import waiting
from backup_agent.core.page.task import FILE as PAGE_FILE
from backup_agent.core.protection.health import HealthState
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.core.requests.schedules import next_runs
from backup_agent.core.status import Status
from backup_agent.settings.model import Settings
from backup_agent.settings.reload import Reloader
from backup_agent.settings.unprotected import unprotected
from backup_agent.supervisor import snapshot
from backup_agent.supervisor.children.doctor_steps import CHECK
from backup_agent.supervisor.children.process import Ended, Told
from backup_agent.supervisor.children.runs import END_SECONDS, PAGE
from backup_agent.supervisor.heap import give_back
from backup_agent.supervisor.parts import Parts
from backup_agent.supervisor.requests.watch import Bell
from backup_agent.supervisor.schedules.timer import Timer
from backup_agent.supervisor.status import http, log_lines
from backup_agent.supervisor.status.metrics import Metrics
from backup_agent.supervisor.trusted_clock import utc_now
from backup_agent.supervisor.work.intake import SCAN_SECONDS
from backup_agent.supervisor.work.maintenance_queue import DRILL
from backup_agent.supervisor.work.memory_beside import fits_a_jvm
from backup_agent.supervisor.work.status_page import Ask, Reply

STEP_SECONDS = 60.0
"""/livez fails if a step of the loop takes longer than this."""

LOOK_SECONDS = 60.0
"""How often the agent looks at its health by itself."""

TIDY_SECONDS = 30.0
"""Longest time, while runs follow each other, until freed memory is returned to the system."""

ASK_SECONDS = 5.0

LARGEST_PAGE = 4 * 2**20
"""Largest size of the status page in bytes. That of 200 databases has less than one MB."""

BEING_MADE = """The page is being made, and appears here as soon as it is there. If the agent has little memory, the
page waits for the end of a backup. <a href="/status.json">/status.json</a> has the same state at once."""

NOT_MADE = """The page cannot be made: see the agent's log.
<a href="/status.json">/status.json</a> and <code>backup-agent status</code> have the same state."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Rung:
    """The requests folder should be listed."""


@dataclass(frozen=True)
class Due:
    """A schedule may be due."""


@dataclass(frozen=True)
class Signalled:
    """SIGTERM or SIGINT."""


@dataclass(frozen=True)
class StatusAsked:
    """Another thread asks for the Status."""

    reply: "queue.SimpleQueue[Status]"


@dataclass(frozen=True)
class PageAsked:
    """A client waits for the status page."""

    ask: Ask


Message = Told | Ended | Rung | Due | Signalled | StatusAsked | PageAsked


class Agent:
    """One agent. `run` returns the exit code."""

    def __init__(self, reloader: Reloader) -> None:
        """Create the parts. Nothing is read or written before `run`."""
        settings = reloader.settings
        self._reloader = reloader
        self._root = settings.storage.root
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._facts = snapshot.LoopFacts(started=utc_now(), settings_loaded=utc_now())
        self._told_to_end = False
        self._ending_by: float | None = None
        self._rung = False
        self._untidy = False
        self._tidied = -math.inf
        self._next_scan = 0.0
        self._next_look = 0.0
        self._health = HealthState.OK
        self._turned = time.monotonic()
        self._metrics = Metrics(self.status)
        self._parts = Parts(reloader, self._inbox.put, self._metrics)
        self._bell = Bell(settings.requests.folder, self._ring)
        self._timer = Timer(lambda *_: self._inbox.put(Due()))
        self._servers: dict[str, http.HttpServer] = {}
        self._unprotected: frozenset[str] = frozenset()

    @property
    def _settings(self) -> Settings:
        return self._reloader.settings

    # Start and end

    def run(self) -> int:
        """Start, serve until a signal comes, stop, and return the exit code."""
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
        self._parts.runs.lock = root_lock.own(self._root)
        (self._root / ".agent").mkdir(exist_ok=True)
        self._servers = self._bind()
        self._say_start(ended)
        self._parts.audit.started(self._settings)
        self._parts.discovery.load()
        self._parts.orders.load()
        self._parts.drill_results.load()
        self._parts.calendar.load()
        self._parts.expected_backups.load()
        self._parts.notifications.load()
        durable.make_folder(self._settings.requests.folder)
        self._parts.spool.prepare()
        self._parts.maintenance.take_settings(surveyed=False)  # before recovery: a request may name a place
        self._parts.intake.recover()
        self._take_settings()
        for server in self._servers.values():
            server.start()
        self._timer.start()
        self._listen()
        if not self._told_to_end:
            self._parts.survey.start(time.monotonic())

    def _signalled(self, *_: object) -> None:
        self._told_to_end = True
        self._inbox.put(Signalled())

    def _bind(self) -> dict[str, http.HttpServer]:
        """Return the HTTP servers, bound to their addresses. Raise PermanentError if an address is in use."""
        addresses = self._settings.http
        probes = http.probe_pages(self.status, self.alive)
        return {
            "http": http.HttpServer("http.listen", *addresses.listen_address, http.metrics_pages(self._metrics.page)),
            "probes": http.HttpServer("http.probes", *addresses.probes_address, probes),
            "page": http.HttpServer("http.page", *addresses.page_address, http.status_pages(self.status, self.page)),
        }

    def _say_start(self, ended: int) -> None:
        settings = self._settings
        log.info(
            "agent started",
            version=__version__,
            cluster=settings.cluster,
            root=str(self._root),
            requests=str(settings.requests.folder),
            **{name: server.port for name, server in self._servers.items()},
            leftover_processes_ended=ended,
        )
        if mounts.is_own_disk(settings.requests.folder, settings.storage.require_volume, os.environ):
            log.warning(
                "requests folder is on no volume", folder=str(settings.requests.folder), lost_with="the container"
            )
        log.info("retention", rules=snapshot.retention_rules(settings))

    def _stop(self) -> None:
        self._timer.stop()
        self._bell.close()
        self._parts.expected_backups.check(utc_now(), time.monotonic())
        self._parts.runs.kill()
        self._parts.requests.show_due(math.inf)
        try:
            self._parts.spool.answers.clear_legacy_status()
        except OSError as error:
            log.warning("legacy status not removed", error=error.strerror)
        for server in self._servers.values():
            server.close()
        log.info("agent stopped", runs_ended=len(self._parts.runs))

    def _over(self) -> bool:
        if self._ending_by is None:
            return False
        # A child of a destination gives up its lease when it ends.
        return not self._parts.runs.pids or time.monotonic() >= self._ending_by + END_SECONDS

    def alive(self) -> bool:
        """Return whether the loop has begun a step recently; called from other threads."""
        return time.monotonic() - self._turned < STEP_SECONDS

    def _step(self) -> None:
        """Wait for one message, handle it, and do what is due.

        If a step raises an exception, log it and go on, since only one request or file is affected.
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
            self._do_due_work()
            self._advance()
            self._parts.waits.show(self._turned)
            self._tidy()
        except Exception:
            log.exception("step failed", message=type(message).__name__)
            self._next_scan = time.monotonic() + SCAN_SECONDS

    def _tidy(self) -> None:
        """Return memory to the system after runs have ended, but not between two short runs: it takes 20 ms."""
        now = time.monotonic()
        if self._untidy and (not self._parts.runs or now >= self._tidied + TIDY_SECONDS):
            self._untidy, self._tidied = False, now
            give_back()

    def _patience(self) -> float:
        now = time.monotonic()
        moments = [self._next_scan]
        if self._ending_by is not None:
            asked = all(run.ending is not None for _, run in self._parts.runs)
            moments = [self._ending_by + END_SECONDS if asked else self._ending_by]
        else:
            later = [
                *self._parts.maintenance_queue.moments(),
                *self._parts.doctor.moments(),
                *self._parts.notifications.moments(),
            ]
            moments += [moment for moment in later if moment > now]
        return max(0.0, min(moments + self._parts.runs.moments() + self._parts.requests.show_moments()) - now)

    def _handle(self, message: Message) -> None:
        match message:
            case Told():
                self._parts.child_events.take(message)
            case Ended():
                self._parts.child_events.ended(message)
                self._untidy = True
            case Rung():
                self._rung = False
                self._next_scan = 0.0
            case Due():
                self._parts.calendar.check(utc_now())
            case Signalled():
                self._begin_end()
            case StatusAsked():
                message.reply.put(self._status())
            case PageAsked():
                self._parts.status_page.ask(message.ask, time.monotonic())

    def _begin_end(self) -> None:
        """Take no more requests, and let the runs finish within shutdown_grace. A second signal ends them at once."""
        grace = self._settings.limits.shutdown_grace.total_seconds() if self._ending_by is None else 0.0
        self._ending_by = time.monotonic() + grace
        self._facts.ending = True
        self._parts.runs.let_go()
        for name, run in self._parts.runs:
            # Nothing is lost: the next start surveys again, resumes uploads, and repeats unrequested passes.
            routine = run.kind in ("survey", "copy", PAGE) or run.kind.startswith(CHECK)
            if routine or self._parts.maintenance.is_routine_at_a_destination(name):
                self._parts.runs.end(name, Reason.INTERRUPTED)
        log.info("ending", running=len(self._parts.runs), grace_seconds=grace)

    # Listening

    def _ring(self) -> None:
        if not self._rung:
            self._rung = True
            self._inbox.put(Rung())

    def _listen(self) -> None:
        """Watch the requests folder. If that fails, requests are still found by listing the folder."""
        try:
            self._bell.listen()
        except OSError as error:
            if self._facts.watch_fault is None:
                log.warning(
                    "requests folder not watched",
                    error=error.strerror,
                    listed_every_seconds=SCAN_SECONDS,
                    hint="raise fs.inotify.max_user_instances and max_user_watches on the node",
                )
            self._facts.watch_fault = error.strerror or str(error)
            return
        if self._facts.watch_fault is not None:
            log.info("requests folder watched again", folder=str(self._settings.requests.folder))
        self._facts.watch_fault = None

    def _do_due_work(self) -> None:
        """End runs that are overdue. When a scan is due: take dropped files, reload settings, expire answers."""
        monotonic = time.monotonic()
        self._parts.requests.show_due(monotonic)
        self._parts.runs.enforce(monotonic, all_end=self._ending_by is not None and monotonic >= self._ending_by)
        if monotonic < self._next_scan or self._ending_by is not None:
            return
        self._next_scan = monotonic + SCAN_SECONDS  # set first, in case of an exception
        if not self._bell.still_hears():
            self._watch_again()
        self._parts.requests.write_unwritten()
        self._reload()
        if os.getpid() == 1:
            processes.reap_orphans(self._parts.runs.pids)
        self._parts.intake.settle()
        self._next_scan = self._parts.intake.take_dropped(monotonic)
        for reserve in (self._parts.reserve, self._parts.audit_reserve, self._parts.spool.reserve):
            reserve.make()
        self._expire()
        self._parts.expected_backups.check(utc_now(), monotonic)
        self._look_at_health(monotonic)

    def _status(self) -> Status:
        return snapshot.status(self._parts, self._facts, utc_now(), time.monotonic())

    def _look_at_health(self, monotonic: float) -> None:
        """Log a change of health. Look once a minute, so that a problem is dated although no client asks for it."""
        if monotonic < self._next_look:
            return
        self._next_look = monotonic + LOOK_SECONDS
        status = self._status()
        health = status.health
        if status.owner is not None:
            self._parts.spool.name_agent(status.owner)
        if health is not None:
            self._parts.notifications.health_is(health, status.now, monotonic)
        if health is not None and health.state is not self._health:
            log_lines.health_changed(health, self._health).log()
            self._health = health.state

    def _expire(self) -> None:
        """Remove answers and attempts that have expired, if the clock can be trusted."""
        now, limits = self._parts.clock.now(), self._settings.limits
        if now is not None:
            self._parts.spool.expiry.expire(now, limits.keep_answers)
            self._parts.counters.expire(self._settings.declared_sets, now - limits.keep_adhoc)

    def _watch_again(self) -> None:
        """Watch the requests folder again. If it was replaced, write the entries of all open requests into it."""
        if self._bell.same_folder() and self._parts.spool.exists():
            self._listen()  # the folder is the same, and only the watch is missing (limits of inotify)
            return
        self._parts.counters.folder_replaced()
        log.warning("requests folder replaced", folder=str(self._settings.requests.folder))
        durable.make_folder(self._settings.requests.folder)
        self._listen()  # first, so that the next scan notices if the folder is replaced during the following steps
        try:
            self._parts.spool.prepare()
            self._parts.requests.rewrite()
            self._parts.intake.recover()
        except OSError:
            self._bell.close()  # so that the next scan repeats all these steps
            raise
        except PermanentError as error:  # another agent's folder was mounted here
            self._bell.close()
            raise OSError(errno.EBUSY, error.failure.error) from error

    # Settings

    def _reload(self) -> None:
        change = self._reloader.check()
        if change is None:
            return
        self._facts.settings_fault = change.fault
        if change.fault is not None:
            log.error("settings refused", fault=change.fault, in_force="the last good ones")
            return
        self._facts.settings_waiting = change.waiting
        self._facts.settings_loaded = utc_now()
        self._parts.audit.settings_in_force(change.settings)
        logs.configure(change.settings.log.format, change.settings.log.level, cluster=change.settings.cluster)
        self._take_settings()
        log.info("settings reloaded", waiting_for_restart=change.waiting)

    def _warn_of_unprotected(self) -> None:
        """Log each unprotected connection once, until it is protected."""
        found = unprotected(self._settings.neo4j)
        for kind in found.keys() - self._unprotected:
            log.warning("connection unprotected", kind=kind, why=found[kind])
        self._unprotected = frozenset(found)

    def _take_settings(self) -> None:
        settings = self._settings
        self._warn_of_unprotected()
        self._parts.runs.let_go()
        self._parts.maintenance.take_settings(surveyed=self._parts.survey.began)
        self._parts.destinations.take_settings()
        self._parts.awaited.use(settings.storage.destinations)
        self._parts.discovery.outdate()
        self._parts.doctor.restart(time.monotonic())
        self._parts.calendar.schedules = settings.schedules
        self._parts.calendar.timetables = settings.timetables()
        self._timer.set(self._parts.calendar.timetables)
        self._parts.calendar.check(utc_now())
        for run in next_runs(self._parts.calendar.timetables, utc_now(), 5):
            log.info("next run", schedule=run.schedule, at=run.start.isoformat())

    # Runs

    def _advance(self) -> None:
        """Start what may start now: backups, otherwise a pass over the volume; beside them the work at destinations."""
        if self._ending_by is not None:
            return
        monotonic = time.monotonic()
        self._parts.intake.expire()
        self._parts.awaited.end_overdue(monotonic)
        self._parts.orders.end_pause(utc_now())
        self._parts.survey.start(monotonic)
        self._parts.notifications.advance(monotonic)
        self._parts.status_page.advance(self._status, monotonic)
        if self._parts.survey.holds_backups(monotonic):
            return
        self._parts.doctor.advance(monotonic)
        if self._parts.orders.paused is not None:
            return
        self._parts.own_fulls.advance(utc_now(), monotonic)
        self._parts.backup_queue.activate()
        if self._parts.backup_queue.waits:
            self._parts.runs.keep_for_backups()
        turn = self._parts.destinations.turn(monotonic)
        passes_wait = self._parts.survey.holds_passes()
        if not self._parts.maintenance.deleting:
            overdue = self._parts.maintenance_queue.overdue(VOLUME, monotonic) and not passes_wait
            if turn.backups and not overdue and not self._room_is_made():
                self._parts.dispatch.advance()
            may_pass = not passes_wait and (overdue or not self._parts.backup_queue.waits)
            if may_pass and self._advance_on_volume(monotonic) == DRILL:
                turn = self._parts.destinations.turn(monotonic)
        self._parts.destinations.press(monotonic, for_backup=turn.yields)
        if not passes_wait and self._parts.destinations.start(
            turn.destinations, monotonic, asked=self._parts.discovery.asked
        ):
            self._parts.dispatch.discover()  # a cloned volume contains the topology of another cluster
        elif not self._parts.backup_queue.waits and self._parts.discovery.aged(monotonic):
            self._parts.dispatch.discover()

    def _room_is_made(self) -> bool:
        """End the children that memory does not allow beside a backup. Return whether the backup must wait for that."""
        beside = (self._parts.doctor, self._parts.notifications, self._parts.status_page)
        return any(part.give_way() for part in beside)

    def _advance_on_volume(self, monotonic: float) -> str | None:
        """Start the next pass over the volume, unless a backup or another pass over the volume runs. Return its kind.

        A drill has a JVM: where memory is scarce, it waits for the children that work beside backups.
        """
        wish = None if self._parts.runs.slots else self._parts.maintenance.next_on_volume(monotonic)
        if wish is None or (wish.kind == DRILL and not fits_a_jvm(self._reloader.settings, self._parts.runs)):
            return None
        dropped = self._parts.maintenance.drops(wish)
        if not self._parts.discovery.asked and self._parts.maintenance.changes(wish):
            self._parts.dispatch.discover()
        elif dropped is None or not self._parts.destinations.stop_copying(dropped):
            self._parts.maintenance.start(wish)
            if wish.kind == DRILL:
                self._parts.runs.make_room(self._parts.destinations.beside)
            return wish.kind
        return None

    # Called from other threads

    def status(self) -> Status:
        """Return the Status; called from other threads. Raise TimeoutError if the loop does not reply in time."""
        reply: queue.SimpleQueue[Status] = queue.SimpleQueue()
        self._inbox.put(StatusAsked(reply))
        try:
            return reply.get(timeout=ASK_SECONDS)
        except queue.Empty:
            raise TimeoutError("the agent's loop is busy") from None

    def page(self) -> http.Answer:
        """Return the status page; called from another thread. Wait a few seconds for a child that makes it."""
        reply: Reply = queue.SimpleQueue()
        self._inbox.put(PageAsked(Ask(reply, time.monotonic() + ASK_SECONDS)))
        try:
            if reply.get(timeout=ASK_SECONDS) is None:
                return 200, http.HTML, durable.read(self._root / PAGE_FILE, LARGEST_PAGE)
        except queue.Empty:
            return 503, http.HTML, waiting(BEING_MADE)
        except OSError as error:
            log.warning("page not read", error=quoting.shown(error))
        return 503, http.HTML, waiting(NOT_MADE)

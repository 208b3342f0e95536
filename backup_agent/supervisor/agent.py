"""The agent's loop: it owns all state, and everything that happens reaches it as a message in one inbox.

Threads (watch, timer, a reader per child, HTTP) only put messages in. So nothing here needs a lock, and a step of the
loop is what a crash can come between.
"""

import json
import os
import queue
import signal
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from backup_agent import __version__, processes
from backup_agent.catalog.space import space
from backup_agent.core import tasks
from backup_agent.core.answers import MOST_ATTEMPTS, Answer, DatabaseResult, Outcome, State
from backup_agent.core.queue import may_start
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.records import BackupType
from backup_agent.core.requests import Action, Request
from backup_agent.core.schedules import Timetable, expected_interval, next_runs
from backup_agent.core.summary import DatabaseSummary
from backup_agent.core.topology import Addressing
from backup_agent.settings.model import Settings
from backup_agent.settings.reload import Reloader
from backup_agent.supervisor import owed, ownership
from backup_agent.supervisor.backups import Backups, earlier_runs
from backup_agent.supervisor.calendar import Calendar
from backup_agent.supervisor.children import Child, Ended, Told
from backup_agent.supervisor.discovery import Discovery
from backup_agent.supervisor.http import Endpoints
from backup_agent.supervisor.memory import give_back
from backup_agent.supervisor.metrics import Metrics
from backup_agent.supervisor.spool import Spool, Taken
from backup_agent.supervisor.status import Attempt, DestinationStatus, RunStatus, ScheduleStatus, Status
from backup_agent.supervisor.timer import Timer
from backup_agent.supervisor.watch import Bell

SCAN_SECONDS = 5.0
"""How often the folder is listed whatever the bell says."""

SETTLE_SECONDS = 0.25
"""How soon a file is looked at again that may still be being written."""

BATCH_SECONDS = 0.2
"""How long one step takes dropped files at least, before it looks at everything else."""

DISCOVER_SECONDS = 45.0
CANCEL_SECONDS = 3.0
"""How long a run may take to end by itself, once it was asked to."""

STEP_SECONDS = 60.0
"""A loop that has not turned for so long is dead: what /livez looks at."""

ASK_SECONDS = 5.0
MOST_ADHOC = 20

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
class Asked:
    """Somebody wants the Status."""

    reply: "queue.SimpleQueue[Status]"


Message = Told | Ended | Rung | Due | Signalled | Asked


@dataclass
class Run:
    """A child and what is known of it."""

    child: Child
    kind: str
    started: float
    deadline: float | None = None
    stage: str | None = None
    bytes: int | None = None
    total: int | None = None
    result: dict[str, Any] | None = None
    ending: Reason | None = None
    kill_at: float | None = None
    destination: str | None = None


class Agent:
    """One agent. `run` returns the exit code."""

    def __init__(self, reloader: Reloader) -> None:
        """Nothing is touched before `run`."""
        settings = reloader.loaded.settings
        self._reloader = reloader
        self._settings = settings
        self._loaded_at = _now()
        self._fault: str | None = None
        self._settings_waiting: tuple[str, ...] = ()
        self._root = settings.storage.root
        self._own = self._root / ".agent"
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._started = _now()
        self._lock = -1
        self._ending_by: float | None = None
        self._surveyed = False
        self._hard_links = True
        self._rung = False
        self._next_scan = 0.0
        self._turned = time.monotonic()
        self._unready: dict[str, str] = {}
        self._runs: dict[str, Run] = {}
        self._numbers: Counter[str] = Counter()
        self._summaries: dict[tuple[str, str], DatabaseSummary] = {}
        self._attempts: dict[str, Attempt] = {}
        self._destinations: dict[str, owed.Destination] = {}
        self._spool = Spool(settings.requests, str(self._root), self._refuse_set)
        self._backups = Backups(self._spool, self._count_request)
        self._discovery = Discovery(self._root)
        self._calendar = Calendar(self._own / "schedules.json", self._submit, self._backups.waits_for)
        self._bell = Bell(settings.requests, self._ring)
        self._timer = Timer(lambda *_: self._inbox.put(Due()))
        self._metrics = Metrics(self.status)
        self._endpoints: Endpoints | None = None

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
        self._root.mkdir(parents=True, exist_ok=True)
        ended = processes.end_left_behind(str(self._root))
        self._lock = ownership.own(self._root)
        self._own.mkdir(exist_ok=True)
        host, port = self._settings.http.host, self._settings.http.port
        self._endpoints = Endpoints(host, port, self._metrics.page, self.status, self.alive)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._inbox.put(Signalled()))
        self._say_start(ended)
        self._discovery.load()
        self._calendar.load()
        self._spool.prepare()
        self._recover()
        self._take_settings(self._settings)
        self._endpoints.start()
        self._timer.start()
        self._listen()
        self._survey()

    def _say_start(self, ended: int) -> None:
        settings = self._settings
        log.info(
            "agent started",
            version=__version__,
            cluster=settings.cluster,
            root=str(self._root),
            requests=str(settings.requests),
            http=self._endpoints.port if self._endpoints else None,
            processes_of_an_earlier_life=ended,
        )
        log.info("retention", policy=_retention_sentence(settings))
        for key in settings.keys_not_in_force():
            log.warning("setting not in force", key=key, because="accepted, and built in a later version")

    def _stop(self) -> None:
        self._timer.stop()
        self._bell.close()
        for run in self._runs.values():
            run.child.kill()
        try:
            self._spool.clear_legacy_status()
        except OSError as error:
            log.warning("legacy status not removed", error=error.strerror)
        if self._endpoints is not None:
            self._endpoints.close()
        log.info("agent stopped", runs_ended=len(self._runs))

    def _over(self) -> bool:
        if self._ending_by is None:
            return False
        return not self._runs or time.monotonic() >= self._ending_by + CANCEL_SECONDS

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
            asked = all(run.ending is not None for run in self._runs.values())
            moments = [self._ending_by + CANCEL_SECONDS if asked else self._ending_by]
        for run in self._runs.values():
            moments += [moment for moment in (run.deadline, run.kill_at) if moment is not None]
        return max(0.0, min(moments) - now)

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
            case Asked():
                message.reply.put(self._status())

    def _begin_end(self) -> None:
        """Take nothing new, give what runs its grace; a second signal gives none."""
        grace = self._settings.limits.shutdown_grace.total_seconds() if self._ending_by is None else 0.0
        self._ending_by = time.monotonic() + grace
        log.info("ending", running=len(self._runs), grace_seconds=grace)

    # Listening

    def _ring(self) -> None:
        if not self._rung:
            self._rung = True
            self._inbox.put(Rung())

    def _listen(self) -> None:
        try:
            self._bell.listen()
            self._unready.pop("watch", None)
        except OSError as error:
            self._unready["watch"] = f"{self._settings.requests} cannot be watched: {error.strerror}"
            log.warning("requests folder not watched", error=error.strerror, listed_every_seconds=SCAN_SECONDS)

    def _look(self) -> None:
        """List the requests folder when that is due, and take what is ripe; look after everything that has a time."""
        monotonic = time.monotonic()
        self._enforce(monotonic)
        if monotonic < self._next_scan or self._ending_by is not None:
            return
        self._next_scan = monotonic + SCAN_SECONDS
        if not self._bell.still_hears():
            self._hear_again()
        self._backups.write_unwritten()
        self._reload()
        if os.getpid() == 1:
            processes.reap_orphans({run.child.pid for run in self._runs.values()})
        for ticket in self._spool.unsettled():
            try:
                self._accept(self._spool.settle(ticket, _now()))
            except OSError as error:
                log.error("request not settled", ticket=ticket, error=str(error))  # noqa: TRY400  the text says it all
        self._take_dropped(monotonic)

    def _hear_again(self) -> None:
        """Make the folder again where it has gone, with every entry that is not answered, and watch it."""
        self._metrics.deaf.inc()
        log.warning("requests folder watched anew", folder=str(self._settings.requests))
        self._settings.requests.mkdir(parents=True, exist_ok=True)
        self._listen()  # first: a folder that is changed for another while this goes on is noticed by the next scan
        try:
            self._spool.prepare()
            self._backups.rewrite()
            self._recover()
        except OSError:
            self._bell.close()  # so that the next scan begins anew
            raise

    def _take_dropped(self, monotonic: float) -> None:
        names = self._spool.ripe(monotonic)
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
        if self._spool.waits_for_quiet:
            self._next_scan = monotonic + SETTLE_SECONDS

    def _accept(self, taken: Taken | None) -> None:
        if taken is None:
            return
        answer = taken.answer
        if not taken.new:
            self._backups.answer_also(answer.id, answer.files)
            return
        log.info("request", request=answer.id, state=answer.state.value, files=answer.files, error=answer.error)
        if answer.state is State.REJECTED:
            self._metrics.requests.labels(action="any", outcome=State.REJECTED.value).inc()
        elif answer.action == Action.CANCEL.value:
            self._cancel(answer)
        elif not answer.state.final:
            self._backups.accept(answer)

    def _submit(self, request: Request, schedule: str) -> None:
        taken = self._spool.submit(request, schedule, _now())
        log.info("schedule due", schedule=schedule, request=taken.answer.id, new=taken.new)
        self._accept(taken)

    def _refuse_set(self, set_name: str) -> str | None:
        adhoc = ({name for name, _ in self._summaries} | self._backups.sets) - self._settings.declared_sets
        if set_name in self._settings.declared_sets or set_name in adhoc or len(adhoc) < MOST_ADHOC:
            return None
        return (
            f"path: {len(adhoc)} ad hoc sets exist, and {MOST_ADHOC} is the most; use one of them, or declare "
            f"{set_name!r} in the settings' `sets`"
        )

    def _cancel(self, answer: Answer) -> None:
        """End the request that a cancel names, and answer the cancel."""
        now = _now()
        target = answer.asked.id or ""
        found = self._backups.find(target)
        if found is None:
            earlier = self._spool.load(target)
            text = f"it has ended already: {earlier.state.value}" if earlier else "no request has that id"
            self._conclude(answer.becomes(State.FAILED, now, Failure(Reason.NOT_FOUND, f"{target}: {text}")))
            return
        by = answer.asked.requested_by
        failure = Failure(Reason.CANCELLED, f"cancelled by request {answer.id}" + (f" of {by}" if by else ""))
        for run in self._backups.cancel(target, failure, now):
            self._end_run(run, Reason.CANCELLED)
        self._conclude(answer.becomes(State.SUCCEEDED, now))

    def _conclude(self, answer: Answer) -> None:
        self._backups.keep(answer)
        self._count_request(answer)

    def _count_request(self, answer: Answer) -> None:
        self._metrics.requests.labels(action=answer.action, outcome=answer.state.value).inc()

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
        log.info("settings reloaded", waiting_for_restart=change.waiting)
        self._take_settings(change.settings)

    def _take_settings(self, settings: Settings) -> None:
        self._settings = settings
        self._destinations = {
            name: self._destinations.get(name, owed.Destination(name)) for name in settings.storage.destinations
        }
        for destination in self._destinations.values():
            destination.hurry()  # whoever mends a destination's settings wants to see it copy
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
        for answer in self._spool.open():
            if self._backups.find(answer.id) is not None:
                continue
            log.info("request recovered", request=answer.id, state=answer.state.value)
            if answer.action == Action.CANCEL.value and not answer.state.final:
                self._cancel(answer)
            else:
                self._backups.recover(answer, now)

    def _survey(self) -> None:
        notes = {name: one.identity for name, one in self._settings.storage.destinations.items()}
        task = tasks.SurveyTask(root=str(self._root), open_runs=self._backups.open_runs(), notes=notes)
        self._spawn("survey", "backup_agent.run.survey", task.model_dump_json().encode())

    # Runs

    def _spawn(self, name: str, module: str, task: bytes, **facts: Any) -> Run:  # noqa: ANN401  fields of Run
        child = Child(name, module, task, self._inbox.put, root=str(self._root), keep=self._lock)
        run = Run(child, kind=module.rsplit(".", 1)[-1], started=time.monotonic(), **facts)
        self._runs[name] = run
        return run

    def _numbered(self, kind: str) -> str:
        self._numbers[kind] += 1
        return f"{kind}-{self._numbers[kind]}"

    def _advance(self) -> None:
        """Start whatever may start now."""
        if self._ending_by is not None or not self._surveyed:
            return
        self._backups.activate()
        unselected = self._backups.unselected()
        wanted = bool(unselected) or any(True for _ in self._backups.waiting_jobs())
        parallel = self._settings.limits.parallel
        if wanted and len(self._slots()) < parallel:
            if not self._discovery.fresh(time.monotonic()):
                self._discover()
                return
            for answer in unselected:
                self._select(answer)
            running = [*self._backups.running.values()]
            slots = parallel - (len(self._slots()) - len(running))
            for job in may_start(self._backups.waiting_jobs(), running, slots):
                self._start_backup(job.request, job.database)
        if len(self._slots()) < parallel and not any(True for _ in self._backups.waiting_jobs()):
            self._retry_copies()

    def _slots(self) -> list[str]:
        """Return the runs that take a slot: all but the survey, since a heavy library must not stand beside a JVM."""
        return [name for name, run in self._runs.items() if run.kind != "survey"]

    def _discover(self) -> None:
        if any(run.kind == "cluster" for run in self._runs.values()):
            return
        task = json.dumps({"settings": self._settings.model_dump(mode="json"), "root": str(self._root)}).encode()
        deadline = time.monotonic() + DISCOVER_SECONDS
        self._spawn(self._numbered("discover"), "backup_agent.cluster", task, deadline=deadline)

    def _select(self, answer: Answer) -> None:
        settings = self._settings
        selection = self._discovery.select(
            answer.asked.asked,
            tuple(settings.databases),
            {database for _, database in self._summaries},
            self._addressing(),
            now=_now(),
            max_age=settings.neo4j.max_topology_age,
        )
        if answer.set not in self._settings.declared_sets:
            kept = settings.limits.keep_adhoc
            note = f"ad hoc set, on the volume only; removed {kept} after its last use once that is built"
            answer = answer.model_copy(update={"set_note": note})
        self._backups.selected(answer, selection, _now())

    def _addressing(self) -> Addressing:
        neo4j = self._settings.neo4j
        return Addressing(
            backup_port=neo4j.backup_port, backup_addresses=neo4j.backup_addresses, servers=tuple(neo4j.servers)
        )

    def _start_backup(self, request: str, database: str) -> None:
        job = next(job for job in self._backups.waiting_jobs() if (job.request, job.database) == (request, database))
        name, answer = self._backups.start(job, _now())
        result = answer.databases[database]
        asked = answer.asked
        schedule = self._settings.schedules.get(answer.schedule or "")
        declared = job.set in self._settings.declared_sets
        last = self._discovery.last
        task = tasks.BackupTask(
            run=name,
            request=answer.id,
            set=job.set,
            database=database,
            type=BackupType(asked.type),
            promote=schedule.promote if schedule else "now",
            database_id=result.database_id,
            discovery=result.discovery or "static",
            sources=tuple(source.address for source in self._discovery.sources(database, self._addressing())),
            server_versions=last.versions if last else (),
            earlier_runs=earlier_runs(answer, database)[:-1],
            since=answer.received,
            adopt_only=result.attempts > MOST_ATTEMPTS,
            at_once=max(1, len(self._backups.running)),
            destinations=tuple(self._settings.storage.destinations) if declared else (),
            requested_by=asked.requested_by,
            note=asked.reason,
            hard_links=self._hard_links,
            settings=self._settings.model_dump(mode="json"),
        )
        try:
            self._spawn(name, "backup_agent.run.backup", task.model_dump_json().encode())
        except OSError as error:
            failure = Failure(Reason.OUT_OF_MEMORY, f"a process could not be started: {error.strerror}")
            self._conclude_backup(name, DatabaseResult().failed(failure, _now()), {})

    def _retry_copies(self) -> None:
        monotonic = time.monotonic()
        for name, destination in self._destinations.items():
            if not owed.owing(self._summaries.values(), name) or not destination.due(monotonic):
                continue
            if any(run.kind == "copy" for run in self._runs.values()):
                return
            task = tasks.CopyTask(
                run=self._numbered("copy"),
                destination=name,
                sets=tuple(sorted(self._settings.declared_sets)),
                settings=self._settings.model_dump(mode="json"),
            )
            self._spawn(task.run, "backup_agent.run.copy", task.model_dump_json().encode(), destination=name)
            return

    def _end_run(self, name: str, reason: Reason) -> None:
        run = self._runs.get(name)
        if run is None or run.ending is not None:
            return
        run.ending = reason
        run.kill_at = time.monotonic() + CANCEL_SECONDS
        run.child.ask_to_end()

    def _enforce(self, monotonic: float) -> None:
        """End what has outlived its time."""
        for name, run in self._runs.items():
            if run.deadline is not None and monotonic >= run.deadline:
                run.deadline = None
                self._end_run(name, Reason.TIMEOUT)
            if run.kill_at is not None and monotonic >= run.kill_at:
                run.kill_at = monotonic + 1.0
                run.child.kill()
            if self._ending_by is not None and monotonic >= self._ending_by:
                self._end_run(name, Reason.INTERRUPTED)

    def _told(self, told: Told) -> None:
        run = self._runs.get(told.run)
        if run is None:
            return
        event = told.event
        match event["event"]:
            case "stage" | "progress":
                self._progressed(told.run, run, event)
            case "result" | "topology" | "failed":
                run.result = event
            case "summary":
                summary = DatabaseSummary.model_validate({k: v for k, v in event.items() if k != "event"})
                self._summaries[summary.set, summary.database] = summary
            case "owed":
                self._owes(event)
            case "stored" | "copied":
                self._metrics.bytes.labels(place=event["place"], type=event["type"]).inc(event["bytes"])
            case "volume":
                self._hard_links = event["hard_links"]
                if not self._hard_links:
                    log.warning("volume refuses hard links", root=str(self._root), backups="are written in place")
            case "aside":
                log.warning("unfinished artifact put aside", run=event["run"], name=event["name"])
            case "unreadable":
                log.error("record unreadable", fault=event["fault"])
            case "warning":
                log.warning(event["text"], run=told.run, because=event.get("because"))

    def _owes(self, event: dict[str, Any]) -> None:
        """Note how many copies a database still owes to a destination."""
        key = (event["set"], event["database"])
        if key in self._summaries:
            before = self._summaries[key]
            counts = {**before.owed, event["destination"]: event["owed"]}
            self._summaries[key] = before.model_copy(update={"owed": counts})

    def _progressed(self, name: str, run: Run, event: dict[str, Any]) -> None:
        run.stage = event.get("stage", run.stage)
        run.bytes, run.total = event.get("bytes"), event.get("total")
        if name in self._backups.running:
            progress = {
                key: value
                for key, value in (
                    ("bytes", run.bytes),
                    ("total", run.total),
                    ("seconds", round(time.monotonic() - run.started, 1)),
                )
                if value is not None
            }
            self._backups.tell(name, run.stage, progress)

    def _ended(self, ended: Ended) -> None:
        run = self._runs.pop(ended.run, None)
        if run is None:
            return
        run.child.kill()
        give_back()
        match run.kind:
            case "survey":
                self._surveyed = True
                if ended.code != 0:
                    log.error("survey failed", exit_code=ended.code, consequence="known only from new backups")
            case "cluster":
                self._discovered(run, ended.code)
            case "copy":
                self._copied(run, ended.code)
            case "backup":
                self._backed_up(ended, run)

    def _discovered(self, run: Run, code: int) -> None:
        monotonic = time.monotonic()
        if run.result is not None:
            self._discovery.take(run.result, monotonic)
        else:
            text = f"asking the cluster over Bolt ended without an answer (exit code {code})"
            if run.ending is Reason.TIMEOUT:
                text = f"asking the cluster over Bolt took longer than {DISCOVER_SECONDS:.0f} s"
            self._discovery.fail(Failure(Reason.SOURCE_UNREACHABLE, text), monotonic)
        if self._discovery.failure is not None:
            log.warning("cluster not discovered", error=self._discovery.failure.error)

    def _copied(self, run: Run, code: int) -> None:
        destination = self._destinations.get(run.destination or "")
        if destination is None:
            return
        result = run.result or {}
        if result.get("copied"):
            log.info("owed copies stored", destination=destination.name, copied=result["copied"])
        if run.result is not None and "reason" not in result:
            destination.succeeded()
            return
        reason = Reason(result.get("reason", Reason.INTERNAL))
        failure = Failure(reason, result.get("error", f"copying ended without a word (exit code {code})"))
        self._copy_failed(destination, failure)

    def _copy_failed(self, destination: owed.Destination, failure: Failure) -> None:
        destination.failed(failure, time.monotonic())
        self._metrics.storage_errors.labels(destination=destination.name, reason=failure.reason.value).inc()
        log.warning(
            "copy owed",
            destination=destination.name,
            reason=failure.reason.value,
            error=failure.error,
            retry_seconds=round(destination.wait(time.monotonic())),
        )

    def _backed_up(self, ended: Ended, run: Run) -> None:
        facts = run.result or {}
        result = DatabaseResult.model_validate(facts["result"]) if run.result else None
        if run.ending is Reason.CANCELLED:
            result = _cancelled(result, _now())
        elif result is not None and result.outcome is Outcome.CANCELLED:
            result = None  # ended because the agent ends: no verdict
        self._conclude_backup(ended.run, result, facts)

    def _conclude_backup(self, name: str, result: DatabaseResult | None, facts: dict[str, Any]) -> None:
        """Take the end of a backup, whatever it is, into answer, metrics and log."""
        now = _now()
        job = self._backups.running[name]
        answer, result = self._backups.ended(name, result, now)
        for place, failure in facts.get("copy_failures", {}).items():
            if place in self._destinations and failure["reason"] != Reason.CANCELLED:
                self._copy_failed(self._destinations[place], Failure(Reason(failure["reason"]), failure["error"]))
        for place, copy in result.copies.items():
            if copy == "stored" and place in self._destinations:
                self._destinations[place].succeeded()
        self._account(answer, job.set, job.database, result, now)
        log.info(
            "backup ended",
            request=answer.id,
            run=name,
            cluster=self._settings.cluster,
            set=job.set,
            database=job.database,
            **_told_of(result),
            **facts.get("facts", {}),
        )

    def _account(self, answer: Answer, set_name: str, database: str, result: DatabaseResult, now: datetime) -> None:
        if result.open:
            return
        trigger = "schedule" if answer.schedule else "request"
        reason = result.reason.value if result.reason else ""
        type_ = result.type or answer.asked.type.value
        labels = {"set": self._metric_set(set_name), "database": database}
        self._metrics.runs.labels(
            type=type_, trigger=trigger, outcome=result.outcome.value, reason=reason, **labels
        ).inc()
        if type_ == BackupType.FULL.value and answer.asked.type is not BackupType.FULL:
            self._metrics.promotions.labels(reason=result.type_reason or "", **labels).inc()
        for stage, seconds in result.stages.items():
            self._metrics.stages.labels(stage=stage).observe(seconds)
        key = f"{set_name}/{database}"
        before = self._attempts.get(key)
        failed = result.outcome in (Outcome.FAILED, Outcome.CANCELLED)
        self._attempts[key] = Attempt(
            at=now,
            failed_at=now if failed else (before.failed_at if before else None),
            reason=result.reason if failed else (before.reason if before else None),
            error=result.error if failed else None,
        )

    def _metric_set(self, set_name: str) -> str:
        """Return the set as a label: ad hoc names are many and come from requests."""
        return set_name if set_name in self._settings.declared_sets else "adhoc"

    # What others see

    def status(self) -> Status:
        """Return the Status; called from other threads. Raise TimeoutError where the loop does not turn."""
        reply: queue.SimpleQueue[Status] = queue.SimpleQueue()
        self._inbox.put(Asked(reply))
        try:
            return reply.get(timeout=ASK_SECONDS)
        except queue.Empty:
            raise TimeoutError("the agent's loop is busy") from None

    def _status(self) -> Status:
        now = _now()
        monotonic = time.monotonic()
        room = _room(self._root)
        summaries = tuple(self._summaries.values())
        unready = dict(self._unready)
        if not self._surveyed:
            unready["survey"] = "the volume is being surveyed"
        if self._ending_by is not None:
            unready["ending"] = "the agent is ending"
        discovery = self._discovery
        bolt = "answers" if discovery.current else discovery.failure.error if discovery.failure else None
        return Status(
            cluster=self._settings.cluster,
            version=__version__,
            started=self._started,
            now=now,
            ready=not unready,
            not_ready_because=tuple(unready.values()),
            surveyed=self._surveyed,
            queue_depth=self._backups.depth,
            queue_oldest=self._backups.oldest(),
            running=tuple(self._run_status(name, run, monotonic) for name, run in self._runs.items()),
            databases=summaries,
            attempts=self._attempts,
            missing_databases=discovery.missing,
            destinations={
                name: DestinationStatus(
                    up=one.up,
                    owed=owed.owing(summaries, name),
                    reason=one.failure.reason if one.failure else None,
                    error=one.failure.error if one.failure else None,
                    retry_seconds=round(one.wait(monotonic), 1) if one.failure else None,
                )
                for name, one in self._destinations.items()
            },
            schedules={
                name: self._schedule_status(timetable, now) for name, timetable in self._calendar.timetables.items()
            },
            bolt=bolt,
            topology_seen=discovery.last.seen if discovery.last else None,
            clock_offset_seconds=discovery.clock_offset,
            volume_free=room[0] if room else None,
            volume_total=room[1] if room else None,
            full_on=_full_on(summaries, room[0], now) if room else None,
            retention=_retention_sentence(self._settings),
            settings_valid=self._fault is None,
            settings_fault=self._fault,
            settings_waiting=self._settings_waiting,
            settings_loaded=self._loaded_at,
            not_in_force=tuple(self._settings.keys_not_in_force()),
        )

    def _run_status(self, name: str, run: Run, monotonic: float) -> RunStatus:
        job = self._backups.running.get(name)
        return RunStatus(
            run=name,
            kind=run.kind,
            request=job.request if job else None,
            set=job.set if job else None,
            database=job.database if job else None,
            destination=run.destination,
            stage=run.stage,
            bytes=run.bytes,
            total=run.total,
            seconds=round(monotonic - run.started, 1),
            attempt=job.attempts + 1 if job else None,
        )

    def _schedule_status(self, timetable: Timetable, now: datetime) -> ScheduleStatus:
        name = timetable.name
        schedule = self._settings.schedules[name]
        counts = self._calendar.counts.get(name)
        return ScheduleStatus(
            cron=schedule.cron,
            timezone=schedule.timezone,
            type=schedule.type,
            suspended=timetable.suspend,
            next_runs=tuple(run.start for run in next_runs({name: timetable}, now, 5)),
            expected_interval_seconds=expected_interval(timetable.cron, now).total_seconds(),
            missed=counts.missed if counts else 0,
            coalesced=counts.coalesced if counts else 0,
        )


def _now() -> datetime:
    return datetime.now(UTC)


def _cancelled(result: DatabaseResult | None, now: datetime) -> DatabaseResult:
    """Return the result of a backup that was cancelled: what it had recorded by then stands."""
    text = "cancelled while it ran; its processes were ended"
    if result is None or result.artifact is None:
        return (result or DatabaseResult()).failed(Failure(Reason.CANCELLED, text), now)
    return result.failed(Failure(Reason.CANCELLED, f"{text}; {result.artifact} was recorded before"), now)


def _room(root: Path) -> tuple[int, int] | None:
    try:
        facts = space(root)
    except OSError:
        return None
    return facts.free, facts.total


def _told_of(result: DatabaseResult) -> dict[str, Any]:
    """Return a result as fields of the canonical line, without what is not known."""
    facts = result.model_dump(mode="json", exclude_none=True, exclude={"started", "finished", "hint"})
    return {key: value for key, value in facts.items() if value not in ({}, [], False)}


def _retention_sentence(settings: Settings) -> str:
    if settings.retention is None:
        return "nothing is deleted: no `retention` is set"
    return "nothing is deleted: `retention` is set, and carried out by a later version"


def _full_on(summaries: tuple[DatabaseSummary, ...], free: int, now: datetime) -> datetime | None:
    """Return when the volume is full at the present rate: the bytes kept over the time in which they came.

    Not known before artifacts of some database span an hour.
    """
    spans = [(one.size, (max(one.last_success.values()) - one.first).total_seconds()) for one in summaries]
    rate = sum(size / seconds for size, seconds in spans if seconds >= timedelta(hours=1).total_seconds())
    if rate <= 0:
        return None
    days = free / rate / 86400
    return now + timedelta(days=days) if days < 36500 else None  # noqa: PLR2004  a century is for ever

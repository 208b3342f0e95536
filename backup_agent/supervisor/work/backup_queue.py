"""The requests on their way to their answers: which wait, which are under way, which backup is next.

Each attempt is written down before its child is started, so that a death in the middle is known afterwards. A
database whose attempts ended without a verdict gets one more, then a last look that only takes over what is finished.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

import structlog

from backup_agent.core.neo4j.selection import Selection
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.answers import MOST_ATTEMPTS, Answer, DatabaseResult, Outcome, State
from backup_agent.core.requests.queue import Job
from backup_agent.supervisor.requests.spool import Spool
from backup_agent.supervisor.status import log_lines

MOST_ACTIVE = 32
"""Requests whose databases are considered at once: enough to fill the slots past those that wait for each other."""

SHOWN_POSITIONS = 20
"""How many answers at the head of the queue show a position that is kept up to date."""

LONGEST_RUN = 200
"""Characters of a run's name, its attempt left out: a file name has at most 255 bytes."""

log = structlog.get_logger()


class BackupQueue:
    """All requests for a backup that are not answered for good."""

    def __init__(self, spool: Spool, answered: Callable[[Answer], None]) -> None:
        """The spool holds the truth; this holds what is needed to choose. `answered` is told every final answer."""
        self._spool = spool
        self._answered = answered
        self._waiting: dict[str, bytes] = {}
        self._waiting_sets: Counter[str] = Counter()
        self._deadlines: dict[str, datetime] = {}
        """`not_after` of the requests that have one and have not started."""
        self.active: dict[str, Answer] = {}
        self._running: dict[str, Job] = {}
        self._unwritten: dict[str, Answer] = {}

    def accept(self, answer: Answer) -> None:
        """Queue an accepted request."""
        self._waiting[answer.id] = answer.to_json()
        self._waiting_sets[answer.set or ""] += 1
        if (not_after := answer.asked.not_after) is not None:
            self._deadlines[answer.id] = not_after
        self._show_positions()

    def answer_also(self, identity: str, files: tuple[str, ...]) -> None:
        """Let an open request be answered beside these files: its id has come again."""
        if identity in self._waiting:
            answer = Answer.model_validate_json(self._waiting[identity])
            self._waiting[identity] = answer.model_copy(update={"files": files}).to_json()
        elif identity in self.active:
            self.active[identity] = self.active[identity].model_copy(update={"files": files})

    def recover(self, answer: Answer, now: datetime) -> None:
        """Go on with a request of an earlier life: what was under way there ended without a verdict."""
        if answer.state.final:
            self.keep(answer)
            return
        if answer.state is State.QUEUED:
            self.accept(answer)
            return
        for database, result in answer.databases.items():
            if result.outcome is Outcome.RUNNING:
                answer = answer.with_result(database, _interrupted(result, now))
        self.active[answer.id] = answer
        self._save(answer, now)

    def rewrite(self) -> None:
        """Write every open entry again, into a requests folder that is not the one it was."""
        for content in self._waiting.values():
            self._spool.save(Answer.model_validate_json(content))
        for answer in self.active.values():
            self._spool.save(answer)
        self.write_unwritten()

    def keep(self, answer: Answer) -> None:
        """Write an entry down, now or as soon as the folder lets us: a verdict must not be lost with the folder."""
        self._unwritten.pop(answer.id, None)
        try:
            self._spool.save(answer)
        except OSError as error:
            self._unwritten[answer.id] = answer
            log.warning("answer not written", request=answer.id, state=answer.state.value, error=str(error))

    def write_unwritten(self) -> None:
        """Try again to write what the folder refused."""
        for answer in list(self._unwritten.values()):
            self.keep(answer)

    @property
    def sets(self) -> set[str]:
        """The sets of all open requests."""
        waiting = {name for name, count in self._waiting_sets.items() if count}
        return waiting | {answer.set or "" for answer in self.active.values()}

    @property
    def depth(self) -> int:
        """Requests that wait or are under way."""
        return len(self._waiting) + len(self.active)

    def oldest(self) -> datetime | None:
        """Return when the oldest request that has not started was received."""
        unstarted = [answer for answer in self.active.values() if answer.state is State.QUEUED]
        if not unstarted and self._waiting:
            unstarted = [Answer.model_validate_json(next(iter(self._waiting.values())))]
        return min((answer.received for answer in unstarted), default=None)

    def waits_for(self, schedule: str) -> bool:
        """Tell whether a request of a schedule has not started yet."""
        marker = f'"schedule": "{schedule}"'.encode()
        return any(marker in content for content in self._waiting.values()) or any(
            answer.schedule == schedule and answer.state is State.QUEUED for answer in self.active.values()
        )

    def activate(self) -> None:
        """Bring waiting requests to the front, as many as are considered at once."""
        while self._waiting and len(self.active) < MOST_ACTIVE:
            answer = self._take_waiting(next(iter(self._waiting)))
            self.active[answer.id] = answer

    def _take_waiting(self, identity: str) -> Answer:
        answer = Answer.model_validate_json(self._waiting.pop(identity))
        self._waiting_sets[answer.set or ""] -= 1
        return answer

    def unselected(self) -> list[Answer]:
        """Return the active requests whose databases have not been chosen."""
        return [answer for answer in self.active.values() if not answer.selected]

    def selected(self, answer: Answer, selection: Selection, now: datetime) -> None:
        """Write down which databases a request comes to; end it at once where it comes to none."""
        results = {
            target.name: DatabaseResult(discovery=target.discovery.value, database_id=target.database_id)
            for target in selection.databases
        }
        for name, failure in selection.failures.items():
            results[name] = DatabaseResult().failed(failure, now)
        self._save(answer.with_results(results, selection.warnings), now)

    def waiting_jobs(self) -> Iterator[Job]:
        """Yield the jobs that could start, in the order of the requests."""
        for answer in self.active.values():
            for database, result in answer.databases.items():
                if result.outcome in (Outcome.WAITING, Outcome.INTERRUPTED):
                    yield Job(answer.id, answer.set or "default", database, result.attempts)

    @property
    def running(self) -> Mapping[str, Job]:
        """The jobs under way, by run."""
        return self._running

    def start(self, job: Job, now: datetime) -> tuple[str, Answer]:
        """Write an attempt down, before its child is started; return its run and the request.

        Raise OSError where that cannot be: then nothing has been started.
        """
        answer = self.active[job.request]
        result = answer.databases[job.database]
        if answer.state is State.QUEUED:
            answer = answer.becomes(State.RUNNING, now)
        attempt = result.attempts + 1
        result = result.model_copy(
            update={"outcome": Outcome.RUNNING, "attempts": attempt, "started": result.started or now}
        )
        answer = answer.with_result(job.database, result).model_copy(update={"stage": "start", "progress": None})
        self._spool.save(answer)
        self.active[answer.id] = answer
        run = run_name(job.request, job.database, attempt)
        self._running[run] = job
        self._show_positions()
        return run, answer

    def tell(self, run: str, stage: str | None, progress: Mapping[str, object] | None) -> None:
        """Show how far a run is."""
        job = self._running[run]
        answer = self.active[job.request]
        shown = {"database": job.database, **(progress or {})}
        answer = answer.model_copy(update={"stage": stage or answer.stage, "progress": shown})
        self.active[answer.id] = answer
        self._show(answer)

    def ended(self, run: str, result: DatabaseResult | None, now: datetime) -> tuple[Answer, DatabaseResult]:
        """Take the end of a run: its result, or None where it ended without a verdict."""
        job = self._running.pop(run)
        answer = self.active[job.request]
        before = answer.databases[job.database]
        if result is None:
            result = _interrupted(before, now)
        else:
            result = result.model_copy(
                update={
                    "attempts": before.attempts,
                    "discovery": before.discovery,
                    "database_id": before.database_id,
                    "started": before.started,
                    "finished": now,
                    "duration_seconds": round((now - (before.started or now)).total_seconds(), 3),
                }
            )
        answer = answer.with_result(job.database, result)
        self._save(answer, now)
        return answer, result

    def find(self, identity: str) -> Answer | None:
        """Return an open request."""
        if identity in self._waiting:
            return Answer.model_validate_json(self._waiting[identity])
        return self.active.get(identity)

    def cancel(self, identity: str, failure: Failure, now: datetime) -> list[str]:
        """Cancel a request: what has not started never will; return the runs that must be ended."""
        answer = self._take_waiting(identity) if identity in self._waiting else self.active.get(identity)
        if answer is None:
            return []
        for database, result in answer.databases.items():
            if result.outcome in (Outcome.WAITING, Outcome.INTERRUPTED):
                answer = answer.with_result(database, result.failed(failure, now))
        if not answer.open:
            self._conclude(answer.becomes(State.CANCELLED, now, failure))
            return []
        self.active[identity] = answer
        self._save(answer, now)
        return [run for run, job in self._running.items() if job.request == identity]

    def expire(self, now: datetime) -> None:
        """Answer the requests that have not started and must not be started any more."""
        for identity in [identity for identity, not_after in self._deadlines.items() if now > not_after]:
            del self._deadlines[identity]
            answer = self.find(identity)
            failure = answer.expired(now) if answer is not None and answer.state is State.QUEUED else None
            if answer is None or failure is None:
                continue
            if identity in self._waiting:
                self._take_waiting(identity)
            for database in answer.open:
                answer = answer.with_result(database, answer.databases[database].failed(failure, now))
            self._conclude(answer.becomes(State.FAILED, now, failure))

    def open_runs(self) -> tuple[str, ...]:
        """Return the runs of earlier attempts whose staging folders are still wanted."""
        return tuple(
            run for answer in self.active.values() for database in answer.open for run in earlier_runs(answer, database)
        )

    def _save(self, answer: Answer, now: datetime) -> None:
        if answer.selected and not answer.open:
            self._conclude(answer.concluded(now) if answer.databases else _nothing(answer, now))
            return
        self.active[answer.id] = answer
        self.keep(answer)

    def _conclude(self, answer: Answer) -> None:
        self.active.pop(answer.id, None)
        self.keep(answer)
        self._answered(answer)
        self._show_positions()
        log_lines.request_answered(answer).log()

    def _show_positions(self) -> None:
        unstarted = [identity for identity, answer in self.active.items() if answer.state is State.QUEUED]
        queue = [*unstarted, *list(self._waiting)[:SHOWN_POSITIONS]]
        for position, identity in enumerate(queue[:SHOWN_POSITIONS], start=1):
            answer = self.find(identity)
            if answer is not None and answer.position != position:
                answer = answer.model_copy(update={"position": position})
                if identity in self._waiting:
                    self._waiting[identity] = answer.to_json()
                else:
                    self.active[identity] = answer
                self._show(answer)

    def _show(self, answer: Answer) -> None:
        """Tell how far a request is. Where the folder refuses, the next telling comes soon."""
        try:
            self._spool.publish(answer)
        except OSError as error:
            log.warning("progress not shown", request=answer.id, error=str(error))


def run_name(request: str, database: str, attempt: int) -> str:
    """Return the name of an attempt: also that of its staging folder, so it is short enough for one.

    >>> run_name("nightly-1", "orders", 1)
    'nightly-1+orders+1'
    """
    name = f"{request}+{database}"
    if len(name) > LONGEST_RUN:
        name = f"{name[: LONGEST_RUN - 33]}+{hashlib.sha256(name.encode()).hexdigest()[:32]}"
    return f"{name}+{attempt}"


def earlier_runs(answer: Answer, database: str) -> tuple[str, ...]:
    """Return the attempts a database has had, the first one first."""
    return tuple(run_name(answer.id, database, number + 1) for number in range(answer.databases[database].attempts))


def _interrupted(result: DatabaseResult, now: datetime) -> DatabaseResult:
    """Return what follows an attempt without a verdict: another, or the answer that it cannot be had.

    The attempt after the last only takes over what is finished; where even that gets no verdict, it is over.
    """
    if result.attempts <= MOST_ATTEMPTS:
        return result.model_copy(update={"outcome": Outcome.INTERRUPTED})
    error = f"{result.attempts} attempts ended without a verdict: each time all processes were killed at once"
    return result.failed(Failure(Reason.INTERRUPTED, error), now)


def _nothing(answer: Answer, now: datetime) -> Answer:
    return answer.becomes(State.FAILED, now, Failure(Reason.NO_SUCH_DATABASE, "there is no database to back up"))

"""The requests for backups on their way to their answers: which wait, which are under way, which backup is next.

Each attempt is written down before its child is started, so that a death in the middle is known afterwards. A
database whose attempts ended without a verdict gets one more, then a last look that only takes over what is finished.
"""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice

from backup_agent.core.artifacts.names import DEFAULT_SET, DatabaseName, RequestId
from backup_agent.core.neo4j.selection import Selection
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.answers import MOST_ATTEMPTS, Answer, DatabaseResult, Outcome, State
from backup_agent.core.requests.queue import Job
from backup_agent.core.requests.request import Action
from backup_agent.supervisor.work.open_requests import OpenRequests

MOST_ACTIVE = 32
"""Requests whose databases are considered at once: enough to fill the slots past those that wait for each other."""

SHOWN_POSITIONS = 20
"""How many answers at the head of the queue show a position that is kept up to date."""

LONGEST_RUN = 200
"""Characters of a run's name, its attempt left out: a file name has at most 255 bytes."""


class BackupQueue:
    """The open requests for backups."""

    def __init__(self, requests: OpenRequests) -> None:
        """`requests` are all that are open, other actions included."""
        self._requests = requests
        self._running: dict[str, Job] = {}

    @property
    def active(self) -> list[Answer]:
        """The requests whose databases are considered."""
        return [answer for answer in self._requests.loaded.values() if answer.action == Action.BACKUP.value]

    def accept(self, answer: Answer) -> None:
        """Queue an accepted request."""
        self._requests.queue(answer)
        self._show_positions()

    def recover(self, answer: Answer, now: datetime) -> None:
        """Go on with a request of an earlier life: what was under way there ended without a verdict."""
        if answer.state is State.QUEUED:
            self.accept(answer)
            return
        for database, result in answer.databases.items():
            if result.outcome is Outcome.RUNNING:
                answer = answer.with_result(database, _interrupted(result, now))
        self._save(answer, now)

    @property
    def _unstarted(self) -> list[Answer]:
        return [answer for answer in self.active if answer.state is State.QUEUED]

    def waits_for(self, schedule: str) -> bool:
        """Tell whether a request of a schedule has not started yet."""
        marker = f'"schedule": "{schedule}"'.encode()
        return any(marker in content for content in self._requests.serialised.values()) or any(
            answer.schedule == schedule for answer in self._unstarted
        )

    def activate(self) -> None:
        """Bring waiting requests to the front, as many as are considered at once."""
        while self._requests.serialised and len(self.active) < MOST_ACTIVE:
            self._requests.load_next()

    def unselected(self) -> list[Answer]:
        """Return the active requests whose databases have not been chosen."""
        return [answer for answer in self.active if not answer.selected]

    def selected(self, answer: Answer, selection: Selection, now: datetime) -> None:
        """Write down which databases a request comes to; end it at once where it comes to none."""
        results: dict[str, DatabaseResult] = {
            target.name: DatabaseResult(discovery=target.discovery.value, database_id=target.database_id)
            for target in selection.databases
        }
        for name, failure in selection.failures.items():
            results[name] = DatabaseResult().failed(failure, now)
        self._save(answer.with_results(results, selection.warnings, selection.excluded), now)

    def waiting_jobs(self) -> Iterator[Job]:
        """Yield the jobs that could start, in the order of the requests."""
        for answer in self.active:
            for database in answer.open:
                result = answer.databases[database]
                if result.outcome is not Outcome.RUNNING:
                    yield Job(answer.id, answer.set or DEFAULT_SET, database, result.attempts)

    @property
    def running(self) -> Mapping[str, Job]:
        """The jobs under way, by run."""
        return self._running

    def start(self, job: Job, now: datetime) -> tuple[str, Answer]:
        """Write an attempt down, before its child is started; return its run and the request.

        Raise OSError where that cannot be: then nothing has been started.
        """
        answer = self._requests.loaded[job.request]
        result = answer.databases[job.database]
        if answer.state is State.QUEUED:
            answer = answer.becomes(State.RUNNING, now)
        attempt = result.attempts + 1
        result = result.model_copy(
            update={"outcome": Outcome.RUNNING, "attempts": attempt, "started": result.started or now}
        )
        answer = answer.with_result(job.database, result).model_copy(update={"stage": "start", "progress": None})
        self._requests.begin(answer)
        run = run_name(job.request, job.database, attempt)
        self._running[run] = job
        self._show_positions()
        return run, answer

    def tell(self, run: str, stage: str | None, progress: Mapping[str, object] | None) -> None:
        """Show how far a run is."""
        job = self._running[run]
        answer = self._requests.loaded[job.request]
        shown = {"database": job.database, **(progress or {})}
        answer = answer.model_copy(update={"stage": stage or answer.stage, "progress": shown})
        self._requests.show(answer)

    def ended(self, run: str, result: DatabaseResult | None, now: datetime) -> tuple[Answer, DatabaseResult]:
        """Take the end of a run: its result, or None where it ended without a verdict."""
        job = self._running.pop(run)
        answer = self._requests.loaded[job.request]
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

    def cancel(self, answer: Answer, failure: Failure, now: datetime) -> list[str]:
        """Cancel a request: what has not started never will; return the runs that must be ended."""
        for database, result in answer.databases.items():
            if result.outcome in (Outcome.WAITING, Outcome.INTERRUPTED):
                answer = answer.with_result(database, result.failed(failure, now))
        if not answer.open:
            self._conclude(answer.becomes(State.CANCELLED, now, failure))
            return []
        self._save(answer, now)
        return [run for run, job in self._running.items() if job.request == answer.id]

    def expire(self, answer: Answer, now: datetime) -> None:
        """Answer a request that has not started and must not be started any more."""
        failure = answer.expired(now) if answer.state is State.QUEUED else None
        if failure is None:
            return
        for database in answer.open:
            answer = answer.with_result(database, answer.databases[database].failed(failure, now))
        self._conclude(answer.becomes(State.FAILED, now, failure))

    def open_runs(self) -> tuple[str, ...]:
        """Return the runs of earlier attempts whose staging folders are still wanted."""
        return tuple(
            run for answer in self.active for database in answer.open for run in earlier_runs(answer, database)
        )

    def _save(self, answer: Answer, now: datetime) -> None:
        if answer.selected and not answer.open:
            self._conclude(answer.concluded(now) if answer.databases else _nothing(answer, now))
        else:
            self._requests.keep(answer)

    def _conclude(self, answer: Answer) -> None:
        self._requests.conclude(answer)
        self._show_positions()

    def _show_positions(self) -> None:
        queue = [*(answer.id for answer in self._unstarted), *islice(self._requests.serialised, SHOWN_POSITIONS)]
        for position, identity in enumerate(queue[:SHOWN_POSITIONS], start=1):
            answer = self._requests.find(identity)
            if answer is not None and answer.position != position:
                self._requests.show(answer.model_copy(update={"position": position}))


def run_name(request: RequestId, database: DatabaseName, attempt: int) -> str:
    """Return the name of an attempt: also that of its staging folder, so it is short enough for one.

    >>> run_name("nightly-1", "orders", 1)
    'nightly-1+orders+1'
    """
    name = f"{request}+{database}"
    if len(name) > LONGEST_RUN:
        name = f"{name[: LONGEST_RUN - 33]}+{hashlib.sha256(name.encode()).hexdigest()[:32]}"
    return f"{name}+{attempt}"


def earlier_runs(answer: Answer, database: DatabaseName) -> tuple[str, ...]:
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

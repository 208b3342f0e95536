"""The open requests for backups: which of them wait, which are running, and which backup is next.

Each attempt is written to the ledger before its child is started, so that the attempt is known after a crash. If all
attempts at a database ended without a verdict, a last one only takes over an artifact that is already complete. The end
of a backup is written before its slot is free. A request whose backups have all ended may still wait for copies
(`AwaitedCopies`): it is open, but not active.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice

from backup_agent.core.artifacts.names import DEFAULT_SET, DatabaseName, PlaceName, RequestId
from backup_agent.core.neo4j.selection import Selection
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.answers import MOST_ATTEMPTS, Answer, DatabaseResult, Outcome, State
from backup_agent.core.requests.queue import Job
from backup_agent.core.requests.request import Action
from backup_agent.supervisor.work.open_requests import OpenRequests

MOST_ACTIVE = 32
"""How many requests are active at once: enough to fill the slots although some requests wait for others."""

WRITTEN_EVERY = timedelta(seconds=10)
"""How often the ends of single copies are written into an answer. If a crash loses one, a pass reports it again."""

SHOWN_POSITIONS = 20
"""How many answers, from the head of the queue on, show their current position, and behind which request it is."""

LONGEST_RUN = 200
"""Most characters of a run's name without its attempt: a file name has at most 255 bytes."""


class BackupQueue:
    """The open requests for backups."""

    def __init__(self, requests: OpenRequests) -> None:
        """`requests` are all open requests, including those for other actions."""
        self._requests = requests
        self._running: dict[str, Job] = {}
        self.last_began = 0.0
        """When the last backup began, in monotonic seconds."""
        self._written: dict[RequestId, datetime] = {}
        """Request that waits for copies -> when the end of a copy was last written into its answer."""

    @property
    def active(self) -> list[Answer]:
        """The requests whose backups may start or are running."""
        return [
            answer
            for answer in self._requests.loaded.values()
            if answer.action == Action.BACKUP.value and not answer.only_copies
        ]

    def accept(self, answer: Answer) -> None:
        """Queue an accepted request."""
        self._requests.queue(answer)
        self._show_positions()

    def recover(self, answer: Answer, now: datetime) -> None:
        """Queue a request of an earlier process. Backups that were running then have ended without a verdict."""
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
        """Return whether a request of a schedule has not started yet."""
        marker = f'"schedule": "{schedule}"'.encode()
        return any(marker in content for content in self._requests.serialised.values()) or any(
            answer.schedule == schedule for answer in self._unstarted
        )

    def activate(self) -> None:
        """Load waiting requests, until MOST_ACTIVE are active."""
        while self._requests.serialised and len(self.active) < MOST_ACTIVE:
            self._requests.load_next()

    def unselected(self) -> list[Answer]:
        """Return the active requests whose databases have not been chosen."""
        return [answer for answer in self.active if not answer.selected]

    def selected(self, answer: Answer, selection: Selection, now: datetime) -> None:
        """Write down the databases that were selected for a request. If no backup is to be made, end the request."""
        results: dict[str, DatabaseResult] = {
            target.name: DatabaseResult(discovery=target.discovery.value, database_id=target.database_id)
            for target in selection.databases
        }
        for name, failure in selection.failures.items():
            results[name] = DatabaseResult().failed(failure, now)
        self._save(answer.with_results(results, selection.warnings, selection.excluded), now)

    @property
    def waits(self) -> bool:
        """Whether a backup waits, or a request whose databases have not been chosen."""
        return bool(self.unselected()) or any(True for _ in self.waiting_jobs())

    def waiting_jobs(self) -> Iterator[Job]:
        """Yield the jobs that have not started, in the order of the requests."""
        for answer in self.active:
            for database in answer.each_open():
                result = answer.databases[database]
                if result.outcome is not Outcome.RUNNING:
                    yield Job(answer.id, answer.set or DEFAULT_SET, database, result.attempts)

    @property
    def running(self) -> Mapping[str, Job]:
        """The running jobs, by the name of the run."""
        return self._running

    def start(self, job: Job, now: datetime) -> tuple[str, Answer]:
        """Write down an attempt before its child is started; return the name of its run and the request's answer.

        Raise OSError, with nothing changed, if the attempt cannot be written.
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
        self.last_began = time.monotonic()
        self._show_positions()
        return run, answer

    def tell(self, run: str, stage: str | None, progress: Mapping[str, object] | None) -> None:
        """Publish the progress of a run in its request's answer."""
        job = self._running[run]
        answer = self._requests.loaded[job.request]
        shown = {"database": job.database, **(progress or {})}
        answer = answer.model_copy(update={"stage": stage or answer.stage, "progress": shown})
        self._requests.show(answer)

    def ended(self, run: str, result: DatabaseResult | None, now: datetime) -> tuple[Answer, DatabaseResult]:
        """Write down the end of a run; return the request's answer and the result of the database.

        `result` is None if the run ended without a verdict.
        """
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

    def copying(self, request: RequestId, database: DatabaseName, progress: Mapping[str, object]) -> None:
        """Publish the progress of a copy in the answer of the request, if it waits only for copies."""
        answer = self._requests.loaded[request]
        if answer.only_copies:
            answer = answer.waiting_for_copies()
            shown = {**(answer.progress or {}), "database": database, **progress}
            self._requests.show(answer.model_copy(update={"progress": shown}))

    def copied(
        self, request: RequestId, database: DatabaseName, place: PlaceName, failure: Failure | None, now: datetime
    ) -> tuple[Answer, DatabaseResult]:
        """Note the end of the wait for a copy: it is stored, or `failure` says why it is missing.

        Return the request's answer and the result of the database. If nothing else is to be done, end the request.
        """
        answer = self._requests.loaded[request]
        result = answer.databases[database].copied(place, failure, now)
        answer = answer.with_result(database, result)
        if not answer.only_copies:
            self._save(answer, now)
        elif now - self._written.get(request, datetime.min.replace(tzinfo=now.tzinfo)) >= WRITTEN_EVERY:
            self._written[request] = now
            self._save(answer, now)
        else:
            self._requests.show(answer.waiting_for_copies())
        return answer, result

    def cancel(self, answer: Answer, failure: Failure, now: datetime) -> list[str]:
        """Cancel the backups of a request that have not started, and its wait for copies.

        Return its runs, which the caller must end. The copies are still made.
        """
        kept = []
        for database, result in answer.databases.items():
            if result.outcome in (Outcome.WAITING, Outcome.INTERRUPTED):
                answer = answer.with_result(database, result.failed(failure, now))
            elif result.outcome is Outcome.RECORDED:
                given_up = result.given_up(failure, now)
                kept.append(given_up.error or "")
                answer = answer.with_result(database, given_up)
        if not answer.open:
            failure = replace(failure, error="\n".join(kept)) if kept else failure
            self._conclude(answer.becomes(State.CANCELLED, now, failure))
            return []
        self._save(answer, now)
        return [run for run, job in self._running.items() if job.request == answer.id]

    def expire(self, answer: Answer, now: datetime) -> None:
        """Fail a request that has not started if its `not_after` has passed."""
        failure = answer.expired(now) if answer.state is State.QUEUED else None
        if failure is None:
            return
        for database in answer.open:
            answer = answer.with_result(database, answer.databases[database].failed(failure, now))
        self._conclude(answer.becomes(State.FAILED, now, failure))

    def open_runs(self) -> tuple[str, ...]:
        """Return the runs of earlier attempts whose staging folders are still needed."""
        return tuple(
            run for answer in self.active for database in answer.open for run in earlier_runs(answer, database)
        )

    def _save(self, answer: Answer, now: datetime) -> None:
        if answer.only_copies:
            self._requests.keep(answer.waiting_for_copies())
        elif answer.attempted:
            self._conclude(answer.concluded(now) if answer.databases else _without_databases(answer, now))
        else:
            self._requests.keep(answer)

    def _conclude(self, answer: Answer) -> None:
        self._written.pop(answer.id, None)
        self._requests.conclude(answer)
        self._show_positions()

    def _show_positions(self) -> None:
        queue = [*(answer.id for answer in self._unstarted), *islice(self._requests.serialised, SHOWN_POSITIONS)]
        behind: str | None = next((job.request for job in self._running.values()), None)
        for position, identity in enumerate(queue[:SHOWN_POSITIONS], start=1):
            answer = self._requests.find(identity)
            if answer is not None and (answer.position, answer.behind) != (position, behind):
                self._requests.show(answer.model_copy(update={"position": position, "behind": behind}))
            behind = identity


def run_name(request: RequestId, database: DatabaseName, attempt: int) -> str:
    """Return the name of an attempt, which is also the name of its staging folder.

    >>> run_name("nightly-1", "orders", 1)
    'nightly-1+orders+1'
    """
    name = f"{request}+{database}"
    if len(name) > LONGEST_RUN:
        name = f"{name[: LONGEST_RUN - 33]}+{hashlib.sha256(name.encode()).hexdigest()[:32]}"
    return f"{name}+{attempt}"


def earlier_runs(answer: Answer, database: DatabaseName) -> tuple[str, ...]:
    """Return the runs of all attempts at a database so far, the first one first."""
    return tuple(run_name(answer.id, database, number + 1) for number in range(answer.databases[database].attempts))


def _interrupted(result: DatabaseResult, now: datetime) -> DatabaseResult:
    """Return the result after an attempt without a verdict: another attempt is made, or the backup has failed.

    After MOST_ATTEMPTS, one more attempt only takes over a complete artifact. If that attempt ends without a verdict,
    the backup has failed.
    """
    if result.attempts <= MOST_ATTEMPTS:
        return result.model_copy(update={"outcome": Outcome.INTERRUPTED})
    error = f"{result.attempts} attempts ended without a verdict: each time all processes were killed at once"
    return result.failed(Failure(Reason.INTERRUPTED, error), now)


def _without_databases(answer: Answer, now: datetime) -> Answer:
    return answer.becomes(State.FAILED, now, Failure(Reason.NO_SUCH_DATABASE, "there is no database to back up"))

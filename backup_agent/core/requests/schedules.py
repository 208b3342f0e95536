"""What a schedule does at a moment: submit a request, or not, and why.

The timer only rings; it may ring late, twice or for nothing. Everything is decided here from three facts: the
timetable, what was handled before (kept on the volume for good), and `now`. Every due time ends exactly once as
submitted, missed, coalesced or suspended; the request's id is made of the due time, so that submitting it twice, as
after a crash or with a clock set back, is one run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from heapq import merge
from itertools import islice, takewhile
from typing import NamedTuple

from backup_agent.core.artifacts.records import Value
from backup_agent.core.requests.cron import Cron

GRACE = timedelta(minutes=2)
"""A start later than this after due time and jitter is a misfire: longer than a heartbeat of the timer and a restart
of the pod, shorter than anything a user would call late."""

COUNTED = 1000
"""Due times counted at once: a clock that leaps a century must not keep the agent counting minutes."""


class Misfire(StrEnum):
    """What to do about due times that passed unnoticed: one run for all of them, or none."""

    RUN_ONCE = "run_once"
    SKIP = "skip"


class DueOutcome(StrEnum):
    """What was decided."""

    NOT_DUE = "not_due"
    FIRST_SEEN = "first_seen"
    """New, or its expression has changed: it has missed nothing."""
    SUBMIT = "submit"
    SUBMIT_LATE = "submit_late"
    SKIPPED = "skipped"
    COALESCED = "coalesced"
    """A request of this schedule still waits, and serves this due time as well."""
    SUSPENDED = "suspended"


class Handled(Value):
    """How far a schedule has been handled: what is kept for good, `null` for one never seen."""

    through: datetime
    """Due times up to this one, itself included, are settled."""
    cron: str
    """Expression and zone it holds for: another expression has missed nothing."""


class ComingRun(NamedTuple):
    """A coming run: when the schedule says, and when it starts with its jitter."""

    schedule: str
    due: datetime
    start: datetime


@dataclass(frozen=True)
class Timetable:
    """When a schedule is due, and what becomes of due times that passed."""

    name: str
    cron: Cron
    misfire: Misfire = Misfire.RUN_ONCE
    jitter: timedelta = timedelta(0)
    suspend: bool = False
    seed: str = ""
    """What tells this agent's jitter from that of others, so that clusters do not start together: the cluster."""

    def start(self, due: datetime) -> datetime:
        """Return when a due time starts: up to `jitter` later, in whole seconds, always the same for the same one."""
        spread = int(self.jitter.total_seconds()) + 1
        digest = sha256(f"{self.seed}/{request_id(self.name, due)}".encode()).digest()
        return due + timedelta(seconds=int.from_bytes(digest[:8]) % spread)

    def runs_after(self, now: datetime) -> Iterator[ComingRun]:
        """Return the runs that start after a moment, without end; none where the schedule is suspended."""
        dues = iter(()) if self.suspend else self.cron.after(now - self.jitter)
        runs = (ComingRun(self.name, due, self.start(due)) for due in dues)
        return (run for run in runs if run.start > now)


@dataclass(frozen=True)
class DueDecision:
    """What to do, what to count, and what to keep."""

    outcome: DueOutcome
    handled: Handled
    """To be kept, after the request stands in the spool."""
    due: datetime | None = None
    """The due time to submit a request for."""
    missed: int = 0
    """Due times that get no request: they passed while nobody looked. At most 1000 are counted at once."""
    coalesced: int = 0
    """Due times that a waiting request serves; counted likewise."""


def decide(timetable: Timetable, handled: Handled | None, now: datetime, *, waiting: bool = False) -> DueDecision:
    """Return what a schedule does now. `waiting`: a request of it stands in the queue and has not started.

    A clock set back leaves `handled` in the future. Where that is the very next due time, it has been run and is
    left alone. Where it is a later one, the clock had been wrong: waiting for it could silence the schedule for
    years, so due times count from now again; those that were run before have ids that the spool knows.
    """
    cron = timetable.cron
    if handled is None or handled.cron != str(cron):
        return DueDecision(DueOutcome.FIRST_SEEN, Handled(through=now.astimezone(UTC), cron=str(cron)))
    through = handled.through
    if through > now and cron.next_after(now) < through:
        # Not from `now` itself: the ring that noticed may be the one for a due time of this minute.
        through = (now - GRACE - timetable.jitter).astimezone(UTC)
    latest = _latest_started(timetable, through, now)
    if latest is None:
        return DueDecision(DueOutcome.NOT_DUE, Handled(through=through, cron=str(cron)))

    passed = sum(1 for _ in islice(takewhile(lambda due: due <= latest, cron.after(through)), COUNTED))
    settled = Handled(through=latest, cron=str(cron))
    if timetable.suspend:
        return DueDecision(DueOutcome.SUSPENDED, settled)
    if waiting:
        return DueDecision(DueOutcome.COALESCED, settled, coalesced=passed)
    late = now - timetable.start(latest) > GRACE
    if late and timetable.misfire is Misfire.SKIP:
        return DueDecision(DueOutcome.SKIPPED, settled, missed=passed)
    outcome = DueOutcome.SUBMIT_LATE if late else DueOutcome.SUBMIT
    return DueDecision(outcome, settled, due=latest, missed=passed - 1)


def request_id(schedule: str, due: datetime) -> str:
    """Return the id of the request that a due time makes. No dropped file can take it: their ids hold no `@`.

    >>> request_id("nightly", datetime(2026, 11, 23, 2, 0, tzinfo=UTC))
    'nightly@20261123T020000Z'
    """
    return f"{schedule}@{due.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def next_runs(timetables: Mapping[str, Timetable], now: datetime, count: int) -> tuple[ComingRun, ...]:
    """Return the next runs of all schedules together, soonest first."""
    coming = merge(*(timetable.runs_after(now) for timetable in timetables.values()), key=lambda run: run.start)
    return tuple(islice(coming, count))


def expected_interval(cron: Cron, now: datetime) -> timedelta:
    """Return the longest time between two runs in the years from now: what "too old" is measured by.

    Monday to Friday at two means three days, not one: nothing is late on a Sunday.
    """
    return cron.gaps(now.date()).longest


def _latest_started(timetable: Timetable, through: datetime, now: datetime) -> datetime | None:
    """Return the last due time that is not handled and whose start has come, or None."""
    if timetable.cron.next_after(through) > now:  # nearly every ring, and the cheaper question
        return None
    due = timetable.cron.previous_or_at(now)
    while due > through:
        if timetable.start(due) <= now:
            return due
        due = timetable.cron.previous_or_at(due - timedelta(seconds=1))
    return None

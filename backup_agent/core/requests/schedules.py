"""Decide whether a schedule submits a request now.

The decision depends on the timetable, on the due times handled before (stored on the volume), and on `now`. A timer may
call `decide` too late, twice, or too early. Every due time ends exactly once as submitted, missed, coalesced or
suspended. The id of a request contains its due time. So a request that is submitted twice, after a crash or because a
clock was set back, runs only once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from heapq import merge
from itertools import islice, takewhile
from typing import NamedTuple

from backup_agent.core.artifacts.records import StoredPart
from backup_agent.core.requests.cron import Cron

GRACE = timedelta(minutes=2)
"""Delay after due time and jitter beyond which a start is a misfire.

The usual delays are shorter: the interval of the timer, and a restart of the pod.
"""

COUNTED = 1000
"""Most due times counted at once, so that a large jump of the clock does not keep the agent busy."""


class Misfire(StrEnum):
    """What to do if due times passed while the agent did not run: submit one request for all of them, or none."""

    RUN_ONCE = "run_once"
    SKIP = "skip"


class DueOutcome(StrEnum):
    """What a schedule does now."""

    NOT_DUE = "not_due"
    FIRST_SEEN = "first_seen"
    """The schedule is new or its expression has changed, so no due time was missed."""
    SUBMIT = "submit"
    SUBMIT_LATE = "submit_late"
    SKIPPED = "skipped"
    COALESCED = "coalesced"
    """A request of this schedule is still waiting and also serves this due time."""
    SUSPENDED = "suspended"


class Handled(StoredPart):
    """The due times of a schedule that were handled, as stored on the volume."""

    through: datetime
    """Last handled due time; earlier ones are handled as well."""
    cron: str
    """Expression and time zone to which `through` applies."""


class ComingRun(NamedTuple):
    """A future run of a schedule."""

    schedule: str
    due: datetime
    """Time according to the cron expression."""
    start: datetime
    """Due time plus jitter."""


@dataclass(frozen=True)
class Timetable:
    """When a schedule is due, and what to do about missed due times."""

    name: str
    cron: Cron
    misfire: Misfire = Misfire.RUN_ONCE
    jitter: timedelta = timedelta(0)
    suspend: bool = False
    seed: str = ""
    """Name of the cluster, which makes the jitter differ between clusters."""

    def start(self, due: datetime) -> datetime:
        """Return the due time plus a jitter in whole seconds, which is the same at each call for this due time."""
        spread = int(self.jitter.total_seconds()) + 1
        digest = sha256(f"{self.seed}/{request_id(self.name, due)}".encode()).digest()
        return due + timedelta(seconds=int.from_bytes(digest[:8]) % spread)

    def runs_after(self, now: datetime) -> Iterator[ComingRun]:
        """Iterate over the runs that start after `now`, without end. A suspended schedule has none."""
        dues = iter(()) if self.suspend else self.cron.after(now - self.jitter)
        runs = (ComingRun(self.name, due, self.start(due)) for due in dues)
        return (run for run in runs if run.start > now)


@dataclass(frozen=True)
class DueDecision:
    """What a schedule does now, with the state to store."""

    outcome: DueOutcome
    handled: Handled
    """State to store once the request is in the spool."""
    due: datetime | None = None
    """Due time for which to submit a request."""
    missed: int = 0
    """Number of due times that passed without a request, at most COUNTED."""
    coalesced: int = 0
    """Number of due times that a waiting request serves, at most COUNTED."""


def decide(timetable: Timetable, handled: Handled | None, now: datetime, *, waiting: bool = False) -> DueDecision:
    """Decide what a schedule does now. `waiting` tells whether the queue holds a request of the schedule.

    If a clock was set back, `handled` may be in the future. If `handled` is the next due time, that due time is not
    handled again. If `handled` is later than the next due time, the clock was wrong before, and waiting for `handled`
    could stop the schedule for years. Due times are then counted from now. Requests that have already run do not run
    again, since the spool knows their ids.
    """
    cron = timetable.cron
    if handled is None or handled.cron != str(cron):
        return DueDecision(DueOutcome.FIRST_SEEN, Handled(through=now.astimezone(UTC), cron=str(cron)))
    through = handled.through
    if through > now and cron.next_after(now) < through:
        # A due time of this minute may not have run yet.
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
    """Return the id of the request for a due time. Ids of dropped files contain no `@`, so they cannot collide with it.

    >>> request_id("nightly", datetime(2026, 11, 23, 2, 0, tzinfo=UTC))
    'nightly@20261123T020000Z'
    """
    return f"{schedule}@{due.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def next_runs(timetables: Mapping[str, Timetable], now: datetime, count: int) -> tuple[ComingRun, ...]:
    """Return the next `count` runs of all schedules, in order of time."""
    coming = merge(*(timetable.runs_after(now) for timetable in timetables.values()), key=lambda run: run.start)
    return tuple(islice(coming, count))


def expected_interval(cron: Cron, now: datetime) -> timedelta:
    """Return the longest time between two runs, by which the age of a backup is judged.

    For example, it is three days for a schedule that runs from Monday to Friday.
    """
    return _longest_gap(cron, now.date())


@lru_cache(maxsize=256)
def _longest_gap(cron: Cron, day: date) -> timedelta:
    return cron.gaps(day).longest  # looks at the days of two years, which takes milliseconds


def _latest_started(timetable: Timetable, through: datetime, now: datetime) -> datetime | None:
    """Return the last due time after `through` whose start is not after `now`, or None."""
    if timetable.cron.next_after(through) > now:  # the common case, which is cheap to detect
        return None
    due = timetable.cron.previous_or_at(now)
    while due > through:
        if timetable.start(due) <= now:
            return due
        due = timetable.cron.previous_or_at(due - timedelta(seconds=1))
    return None

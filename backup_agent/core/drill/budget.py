"""Which databases a run of drills takes, and how many runs it takes to drill all of them."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from backup_agent.core.artifacts.names import DatabaseName, PlaceName, SetName
from backup_agent.core.drill.levels import Level
from backup_agent.core.durations import written_duration

_NEVER = datetime.min.replace(tzinfo=UTC)


class Candidate(NamedTuple):
    """A database in a set that can be drilled at a place."""

    set: SetName
    database: DatabaseName
    proven: datetime | None
    """When a drill last passed the level, or None."""
    tried: datetime | None = None
    """When it was last drilled, whatever the outcome."""
    seconds: float | None = None
    """Duration of its last drill at this level, or None."""


def in_order(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Sort databases: those with the oldest proof first. Of those without proof, the one tried longest ago is first."""
    return sorted(candidates, key=lambda one: (one.proven or _NEVER, one.tried or _NEVER, one.set, one.database))


def fits(candidate: Candidate, spent: float, budget: float) -> bool:
    """Return whether a drill may start after `spent` seconds of a run's budget. The first drill of a run always may."""
    return spent == 0 or spent + (candidate.seconds or 0) <= budget


def runs_of_a_cycle(durations: Sequence[float], budget: float) -> int:
    """Return how many runs it takes until each database was drilled once, in the given order.

    >>> runs_of_a_cycle([1800, 3600, 7200], budget=7200), runs_of_a_cycle([], budget=7200)
    (2, 0)
    """
    runs, spent = 0, 0.0
    for seconds in durations:
        if runs == 0 or spent + seconds > budget:
            runs, spent = runs + 1, 0.0
        spent += seconds
    return runs


def cycle(durations: Sequence[float], budget: timedelta, between_runs: timedelta) -> timedelta:
    """Return how long it takes until each database was drilled once, if a run of drills begins every `between_runs`."""
    return runs_of_a_cycle(durations, budget.total_seconds()) * between_runs


class DrillCycle(NamedTuple):
    """How long it takes until a schedule has drilled every database once."""

    schedule: str
    took: timedelta
    measured: int
    """Number of databases whose drill was measured. Others are not counted."""
    place: PlaceName
    level: Level
    wanted: timedelta | None
    """The shortest `drilled_every` of the objectives."""

    @property
    def is_late(self) -> bool:
        """Whether the objective cannot be met."""
        return self.wanted is not None and self.took > self.wanted

    def __str__(self) -> str:
        """Return the cycle in words."""
        longer = f", longer than drilled_every, {written_duration(self.wanted)}" if self.is_late and self.wanted else ""
        known = f"{self.measured} measured at {self.place}, level {self.level.value}"
        return f"schedule {self.schedule}: a cycle of drills takes {written_duration(self.took)} ({known}){longer}"


MEET_THE_OBJECTIVE = "raise drill.budget, or drill more often"
"""What to do if a cycle is late."""

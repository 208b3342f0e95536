"""Choose which artifacts to verify next, so that each is verified once per period and the load is even.

If each artifact waited for its own due date, all artifacts recorded on one day would be due on one day again. Instead,
reading starts early, at the slowest constant pace that keeps every due date; the artifact verified longest ago comes
first. The work is done in slices of about an hour, because a child process that reads slowly all day would occupy its
memory all day.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

AHEAD = timedelta(hours=1)
"""Duration of a slice that is read at the required pace."""

NEVER = datetime(1970, 1, 1, tzinfo=UTC)

LONGEST_REST = timedelta(days=365)
"""Limit that keeps `FinishedSlice.rests_until` within the range of datetime."""

LEAST = 1 << 20
"""Smallest cost of an artifact in bytes: for small files, opening is most of the work."""


class KeptArtifact(NamedTuple):
    """An artifact at a place."""

    key: str
    size: int
    verified: datetime
    """When the artifact was last read completely and found undamaged, or was recorded, whichever is later."""

    @property
    def cost(self) -> int:
        """Size in bytes, but at least LEAST."""
        return max(self.size, LEAST)


@dataclass(frozen=True)
class Slice:
    """The artifacts to read next."""

    artifacts: tuple[KeptArtifact, ...]
    """In reading order, the one verified longest ago first."""
    pace: float
    """Bytes per second that are needed to read everything in time; 0 if there is nothing to read."""
    late: int
    """Number of artifacts that have already waited longer than the period."""


def next_slice(kept: Iterable[KeptArtifact], now: datetime, *, period: timedelta, ahead: timedelta = AHEAD) -> Slice:
    """Choose the artifacts to read now: those due within `ahead`, and as much as the pace reads within `ahead`.

    At least one artifact is chosen, if there is one.
    """
    order = sorted(kept, key=lambda artifact: (artifact.verified, artifact.key))
    due = [artifact for artifact in order if artifact.verified + period <= now + ahead]
    pace = _pace(order, now, period, ahead)
    budget = pace * ahead.total_seconds()
    chosen: list[KeptArtifact] = []
    cost = 0.0
    for artifact in order:
        if len(chosen) >= max(len(due), 1) and cost >= budget:
            break
        chosen.append(artifact)
        cost += artifact.cost
    return Slice(tuple(chosen), pace, sum(artifact.verified + period < now for artifact in due))


@dataclass(frozen=True)
class FinishedSlice:
    """A slice that was read."""

    started: datetime
    read: int
    """Sum of the artifacts' `cost` in bytes."""
    pace: float
    """`Slice.pace` of this slice."""

    def rests_until(self, pace: float) -> datetime:
        """Return when the next slice is to start, given the pace needed now.

        The faster of the two paces decides. If the period was shortened, the present pace is faster. If late artifacts
        were read at once, the slice's own pace was faster, and a longer rest would make the next artifacts late.
        """
        faster = max(self.pace, pace)
        if faster <= 0:
            return self.started
        return self.started + timedelta(seconds=min(self.read / faster, LONGEST_REST.total_seconds()))


def estimated_seconds(size: int, measured: float | None, bandwidth: int | None) -> float | None:
    """Estimate how long reading `size` bytes takes, or return None if neither rate is known.

    `measured` and `bandwidth`, the limit in the settings, are in bytes per second.

    >>> estimated_seconds(600, 60.0, 100), estimated_seconds(600, 60.0, 30), estimated_seconds(600, None, None)
    (10.0, 20.0, None)
    """
    rates = [rate for rate in (measured, bandwidth) if rate]
    return size / min(rates) if rates else None


def verified(recorded: datetime, last: datetime | None, now: datetime) -> datetime:
    """Return when an artifact was last verified: the later of its recording and its last reading.

    A time in the future comes from a wrong clock and is ignored, since it would delay the next reading. Return NEVER if
    all times are in the future.
    """
    return max((time for time in (recorded, last) if time is not None and time <= now), default=NEVER)


def _pace(order: list[KeptArtifact], now: datetime, period: timedelta, ahead: timedelta) -> float:
    """Return the slowest constant pace that reads every artifact, in this order, before it is due.

    Late artifacts count as due after `ahead`: `next_slice` chooses all of them at once.
    """
    pace, cost = 0.0, 0
    for artifact in order:
        cost += artifact.cost
        left = max(artifact.verified + period - now, ahead)
        pace = max(pace, cost / left.total_seconds())
    return pace

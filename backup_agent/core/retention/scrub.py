"""Which artifacts are read again next, so that each is read once within a period, evenly and never in one burst.

A newcomer would let an artifact wait for its day: then all that was recorded on the first day falls due on one day. The
pace is the slowest even one by which nothing ever gets older than the period, and the longest unread comes first.
Reading goes by slices of an hour's worth: a process that trickles all day would keep its memory all day.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

AHEAD = timedelta(hours=1)
"""What a slice reads would, at the pace needed, last this long."""

NEVER = datetime(1970, 1, 1, tzinfo=UTC)

LONGEST_REST = timedelta(days=365)
"""More than any period in use, and still a moment that datetime can hold."""

LEAST = 1 << 20
"""Bytes that reading any artifact counts for: of a small one, opening it is the work."""


class KeptArtifact(NamedTuple):
    """An artifact that stands at a place."""

    key: str
    size: int
    verified: datetime
    """When it was last read whole and found sound; when it was recorded, if that came later or is all there is."""

    @property
    def cost(self) -> int:
        """Bytes it counts for."""
        return max(self.size, LEAST)


@dataclass(frozen=True)
class Slice:
    """What is read next."""

    artifacts: tuple[KeptArtifact, ...]
    """In this order: the longest unread first."""
    pace: float
    """Bytes a second at which all is read in time; 0 where there is nothing to read."""
    late: int
    """How many of them have waited for longer than the period already."""


def next_slice(kept: Iterable[KeptArtifact], now: datetime, *, period: timedelta, ahead: timedelta = AHEAD) -> Slice:
    """Return what is to be read now: all that would be late before the next slice, and an hour's worth at the pace.

    Linear but for a sort. One artifact is always among them, however little there is to do.
    """
    order = sorted(kept, key=lambda one: (one.verified, one.key))
    due = [one for one in order if one.verified + period <= now + ahead]
    pace = _pace(order, now, period, ahead)
    budget = pace * ahead.total_seconds()
    chosen: list[KeptArtifact] = []
    taken = 0.0
    for one in order:
        if len(chosen) >= max(len(due), 1) and taken >= budget:
            break
        chosen.append(one)
        taken += one.cost
    return Slice(tuple(chosen), pace, sum(one.verified + period < now for one in due))


@dataclass(frozen=True)
class Done:
    """What the last slice came to."""

    started: datetime
    read: int
    """Bytes, as `KeptArtifact.cost` counts them."""
    pace: float
    """The pace it kept."""

    def rests_until(self, pace: float) -> datetime:
        """Return until when nothing more needs to be read, given the pace of now.

        The quicker of the two counts: where the period was shortened, the rest is; where much was read at once because
        it was late, all of it has been read, and yet the next round begins soon, or it would be late at once again.
        """
        quicker = max(self.pace, pace)
        if quicker <= 0:
            return self.started
        return self.started + timedelta(seconds=min(self.read / quicker, LONGEST_REST.total_seconds()))


def estimated_seconds(size: int, measured: float | None, bandwidth: int | None) -> float | None:
    """Return how long reading some bytes takes, by what was measured and the most that is allowed; None if unknown.

    >>> estimated_seconds(600, 60.0, 100), estimated_seconds(600, 60.0, 30), estimated_seconds(600, None, None)
    (10.0, 20.0, None)
    """
    rates = [rate for rate in (measured, bandwidth) if rate]
    return size / min(rates) if rates else None


def verified(recorded: datetime, last: datetime | None, now: datetime) -> datetime:
    """Return when an artifact counts as verified: at its recording, and at its last reading.

    A moment in the future was taken by a clock that was wrong: it would keep the artifact unread until then. Where
    there is no other, it counts as never verified.
    """
    return max((moment for moment in (recorded, last) if moment is not None and moment <= now), default=NEVER)


def _pace(order: list[KeptArtifact], now: datetime, period: timedelta, ahead: timedelta) -> float:
    """Return the slowest even pace at which each, read in this order, is read before its period is over.

    For what is late already the hour ahead is as good as any time: `next_slice` takes all of it at once.
    """
    pace, together = 0.0, 0
    for one in order:
        together += one.cost
        left = max(one.verified + period - now, ahead)
        pace = max(pace, together / left.total_seconds())
    return pace

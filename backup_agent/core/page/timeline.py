"""The time lines of the status page: where each restore point is drawn, as paths of SVG.

All time lines have one scale. It is wider for recent times, which have more restore points: the distance from the right
end grows with the cube root of the age.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

WIDTH = 1000
"""Width of a time line, in units of its SVG. Its height is 20."""

LEAST_HORIZON = timedelta(hours=6)

LEAST_STEP = 70
"""Least distance between two ticks, in units: their labels must not overlap."""

TICKS = {
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "1d": timedelta(days=1),
    "3d": timedelta(days=3),
    "7d": timedelta(days=7),
    "14d": timedelta(days=14),
    "30d": timedelta(days=30),
    "90d": timedelta(days=90),
    "180d": timedelta(days=180),
    "1y": timedelta(days=365),
    "2y": timedelta(days=730),
    "5y": timedelta(days=1826),
    "10y": timedelta(days=3652),
}


class Stretch(NamedTuple):
    """A time in which any moment can be restored, because a chain of differentials covers it."""

    begin: datetime
    end: datetime


class Marks(NamedTuple):
    """What is drawn in the time line of one database."""

    stretches: tuple[Stretch, ...] = ()
    fulls: tuple[datetime, ...] = ()
    differentials: tuple[datetime, ...] = ()
    broken: tuple[datetime, ...] = ()
    """Artifacts that are damaged at a place, or cannot be restored from any."""
    held: tuple[datetime, ...] = ()
    drilled: tuple[datetime, ...] = ()
    late_since: datetime | None = None
    """Since when the next backup is overdue."""


class Drawing(NamedTuple):
    """The paths of one time line. A path is empty if there is nothing to draw."""

    stretches: str
    fulls: str
    differentials: str
    broken: str
    held: str
    drilled: str
    late: str


class Tick(NamedTuple):
    """A tick of the scale."""

    label: str
    x: int
    """In units."""


class Scale:
    """The common scale of all time lines: from the oldest restore point to now."""

    def __init__(self, now: datetime, oldest: datetime | None) -> None:
        """`oldest` is the time of the oldest artifact, or None without artifacts."""
        self._now = now
        self._horizon = max(LEAST_HORIZON, now - oldest if oldest else LEAST_HORIZON)

    def x(self, moment: datetime) -> int:
        """Return where a moment is drawn, in units from the left."""
        age = min(self._horizon, max(timedelta(0), self._now - moment))
        share: float = (age / self._horizon) ** (1 / 3)
        return round(WIDTH * (1 - share))

    @property
    def ticks(self) -> tuple[Tick, ...]:
        """The ticks, from the oldest to the newest, at sufficient distances."""
        found: list[Tick] = []
        for label, age in reversed(TICKS.items()):
            at = self.x(self._now - age)
            if age < self._horizon and (not found or at - found[-1].x >= LEAST_STEP) and at <= WIDTH - LEAST_STEP:
                found.append(Tick(label, at))
        return tuple(found)

    def draw(self, marks: Marks) -> Drawing:
        """Return the paths of a time line. Marks at the same place are drawn once."""
        spans = dict.fromkeys((self.x(one.begin), self.x(one.end)) for one in marks.stretches)
        return Drawing(
            stretches="".join(f"M{begin} 10H{max(end, begin + 1)}" for begin, end in spans),
            fulls=self._ticks(marks.fulls, 3, 14),
            differentials=self._ticks(marks.differentials, 6, 8),
            broken=self._ticks(marks.broken, 3, 14),
            held=self._ticks(marks.held, 0, 3),
            drilled=self._ticks(marks.drilled, 17, 3),
            late="" if marks.late_since is None else f"M{self.x(marks.late_since)} 10H{WIDTH}",
        )

    def _ticks(self, moments: Iterable[datetime], top: int, height: int) -> str:
        return "".join(f"M{x} {top}v{height}" for x in dict.fromkeys(map(self.x, moments)))

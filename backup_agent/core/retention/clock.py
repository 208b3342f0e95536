"""Decide whether the clock of this machine is reliable enough to delete artifacts by their age.

The clock is compared with other clocks, with its own earlier readings, and with the times of restore points. The agent
cannot correct a wrong clock, so it deletes nothing until the clock is right again: that costs space, not backups.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from pydantic import Field

from backup_agent.core.artifacts.names import PlaceName
from backup_agent.core.artifacts.records import StoredPart, StoredValue

TOLERANCE = timedelta(minutes=5)
"""Largest accepted difference between two clocks."""

BOOT_ID = "/proc/sys/kernel/random/boot_id"

SHOWN_SECONDS = 86_400.0
"""Seconds for which a reading of another clock is used. There is a limit since a paused virtual machine loses time."""

MOST_INTERVALS = 3
"""Largest gap before the newest point, in expected intervals, that is accepted if no other clock is known."""


class ClockTime(StoredPart):
    """The time that a clock showed, with the monotonic time of this machine at that moment."""

    now: datetime
    monotonic: float
    """Seconds of CLOCK_BOOTTIME, which cannot be set and which continues while the machine is suspended."""

    def time_at(self, monotonic: float) -> datetime:
        """Return the time that the clock shows at the given monotonic time."""
        return self.now + timedelta(seconds=monotonic - self.monotonic)


class ClockReading(ClockTime):
    """A reading of this machine's own clock."""

    boot: str
    """Boot id of the machine (BOOT_ID). Monotonic times of two boots cannot be compared."""


class ClockSighting(StoredValue):
    """The clock readings that one retention pass stores for the next."""

    reading: ClockReading
    shown: dict[PlaceName, ClockTime] = Field(default={})
    """Destination -> reading of its clock."""


class Gap(NamedTuple):
    """The time between the two newest points of a database."""

    what: str
    """Set and database for messages, such as `default/orders`."""
    before: datetime
    newest: datetime
    expected: timedelta
    """Longest interval between two points according to the schedules."""


def distrust(
    reading: ClockReading,
    references: Mapping[str, datetime],
    *,
    last: ClockReading | None = None,
    gaps: Iterable[Gap] = (),
) -> str | None:
    """Return why the clock is not reliable enough to delete artifacts, or None if it is.

    `references` maps the names of other clocks to their times at the moment of the reading. `last` is the reading of
    the previous pass. `gaps` are checked only if there are no references.
    """
    for name, shown in references.items():
        if abs(reading.now - shown) > TOLERANCE:
            return f"this machine's clock shows {_moment(reading.now)}, but {name} shows {_moment(shown)}"
    if last and last.boot == reading.boot:
        jump = reading.now - last.time_at(reading.monotonic)
        if abs(jump) > TOLERANCE:
            direction = "forward" if jump > timedelta(0) else "back"
            minutes = timedelta(
                minutes=round(abs(jump) / timedelta(minutes=1))
            )  # to the minute, as two readings are never exact
            return f"this machine's clock was set {direction} by {minutes} since {_moment(last.now)}"
    if references:
        return None
    for gap in gaps:
        if gap.newest - gap.before > MOST_INTERVALS * gap.expected:
            return (
                f"no other clock is known, and the newest point of {gap.what} ({_moment(gap.newest)}) is "
                f"{gap.newest - gap.before} later than the one before it ({gap.expected} expected)"
            )
    return None


def _moment(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")

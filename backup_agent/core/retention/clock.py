"""Whether a clock can be trusted with deleting: by what others show, what it showed before, the points themselves.

A newcomer would correct the time. Nobody here can: in doubt nothing is deleted, which costs room and no backup.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from pydantic import Field

from backup_agent.core.artifacts.records import Value
from backup_agent.core.reasons import Failure, Reason

TOLERANCE = timedelta(minutes=5)
BOOT_ID = "/proc/sys/kernel/random/boot_id"
SHOWN_SECONDS = 86_400.0
"""How long a destination's clock is gone by after it was seen: a machine that was paused meanwhile loses the count."""

MOST_INTERVALS = 3
"""Without another clock, a newest point that is later than this many expected intervals was not taken when it says."""


class Shown(Value):
    """What some clock showed at one moment of this machine's."""

    now: datetime
    monotonic: float
    """Seconds of a clock that nobody sets and that runs on while the machine sleeps (CLOCK_BOOTTIME)."""

    def by(self, monotonic: float) -> datetime:
        """Return what it shows at a later moment, however ours was set meanwhile."""
        return self.now + timedelta(seconds=monotonic - self.monotonic)


class ClockReading(Shown):
    """What the two clocks of a machine showed at one moment, kept from pass to pass."""

    boot: str
    """Which start of the machine they belong to (Linux: /proc/sys/kernel/random/boot_id): else they say nothing."""


class ClockSighting(Value):
    """What a pass of retention saw of the clocks, for the next pass."""

    reading: ClockReading
    shown: dict[str, Shown] = Field(default={})
    """Destination -> what its clock showed."""


class Gap(NamedTuple):
    """The time between the two newest points of a database."""

    what: str
    """Which, for people: `default/orders`."""
    before: datetime
    newest: datetime
    expected: timedelta
    """The longest time that its schedules leave between two points."""


def distrust(
    reading: ClockReading,
    references: Mapping[str, datetime],
    *,
    last: ClockReading | None = None,
    gaps: Iterable[Gap] = (),
) -> Failure | None:
    """Return why nothing may be deleted by this clock, or None.

    `references` is what other clocks showed at the moment of the reading, by a name for people: `S3's Date`,
    `datetime() of the server`. `last` is the reading of the pass before; `gaps` count only where no reference is known.
    """
    for name, shown in references.items():
        if abs(reading.now - shown) > TOLERANCE:
            return _failure(f"this machine's clock shows {_moment(reading.now)}, and {name} {_moment(shown)}")
    if last and last.boot == reading.boot:
        jump = reading.now - last.by(reading.monotonic)
        if abs(jump) > TOLERANCE:
            way = "forward" if jump > timedelta(0) else "back"
            return _failure(f"this machine's clock was set {way} by {abs(jump)} since {_moment(last.now)}")
    if references:
        return None
    for gap in gaps:
        if gap.newest - gap.before > MOST_INTERVALS * gap.expected:
            return _failure(
                f"no other clock is known, and the newest point of {gap.what} ({_moment(gap.newest)}) is "
                f"{gap.newest - gap.before} after the one before, where {gap.expected} is expected"
            )
    return None


def _failure(text: str) -> Failure:
    return Failure(Reason.CLOCK, f"nothing is deleted: {text}")


def _moment(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")

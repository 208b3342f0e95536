"""When a cron expression is due: the only home of cronsim.

cronsim answers for a wall clock that never changes; what daylight saving does to it is decided here. Three traps:

- "Every hour" is told by the set of hours, not by a star: `0 0-23 * * *` means `0 * * * *`, while `*/30 2 * * *` and
  `0 */2 * * *` name hours of a day. cron(8), and cronsim with it, look at the star and lose such a run in spring.
- A time that spring skips is due when the gap ends; a time that autumn repeats is due the first time. What runs in
  every hour runs in every hour of UTC, the repeated one too.
- Two aware datetimes of one zone compare by wall clock. Only UTC leaves this module, and only UTC is compared.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise, takewhile
from typing import NamedTuple, Self
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

FIELDS = (
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of month", "1-31 or L"),
    ("month", "1-12 or JAN-DEC"),
    ("weekday", "0-7 (0 and 7 are Sunday) or SUN-SAT"),
)

LONGEST_EXPRESSION = 200
NEVER_DUE = "an expression that is due some day: this one never is"

# Zones move their clocks by an hour at most today (Antarctica/Troll: two). More than this is a moved date line.
LARGEST_SHIFT = timedelta(hours=3)

# References for questions that have no `now`: any 29 February on any weekday follows within 40 years.
SOME_DAY = date(2000, 1, 1)
SOME_MIDNIGHT = datetime(2000, 1, 1)  # noqa: DTZ001  a wall clock


class CronError(ValueError):
    """No expression, or no zone. Its text is what was expected; what was found is for the caller to show."""


class Gaps(NamedTuple):
    """How far apart two runs can be, by the wall clock."""

    shortest: timedelta
    longest: timedelta


def zone(name: str) -> ZoneInfo:
    """Return an IANA time zone; raise CronError where there is none of that name."""
    try:
        if name != "localtime":  # the machine's own, found by some tz databases: not a name that means anything here
            return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # KeyError: ZoneInfoNotFoundError. OSError: "Europe" is a folder
        pass
    raise CronError("an IANA time zone such as Europe/Berlin or UTC")


@dataclass(frozen=True)
class Cron:
    """A cron expression in a time zone. Made by `parse`, which refuses what would never be due."""

    expression: str
    timezone: str
    _fields: str = field(repr=False)
    _zone: ZoneInfo = field(repr=False)
    _every_hour: bool = field(repr=False)

    @classmethod
    def parse(cls, expression: str, timezone: str = "UTC") -> Self:
        """Read five fields or a nickname (`@daily`); raise CronError for what is none, or never due."""
        fields = NICKNAMES.get(expression.strip().lower(), expression).split()
        if len(expression) > LONGEST_EXPRESSION:
            raise CronError(f"at most {LONGEST_EXPRESSION} characters")
        if fields and fields[0].startswith("@"):
            raise CronError(f"five fields, or one of {', '.join(NICKNAMES)}")
        if len(fields) != len(FIELDS):
            raise CronError("five fields: minute, hour, day of month, month, weekday")
        parsed = _parsed(fields)
        # Stars in minute and hour have done their work; spelled out, no one reads a meaning into them again.
        fields[0] = ",".join(str(minute) for minute in sorted(parsed.minutes))
        fields[1] = ",".join(str(hour) for hour in sorted(parsed.hours))
        every_hour = len(parsed.hours) == 24  # noqa: PLR2004  hours of a day
        if next(CronSim(" ".join(fields), SOME_MIDNIGHT), None) is None:
            raise CronError(NEVER_DUE)
        return cls(expression, timezone, " ".join(fields), zone(timezone), every_hour)

    def next_after(self, moment: datetime) -> datetime:
        """Return the first due time after a moment, in UTC."""
        wall = moment.astimezone(self._zone).replace(tzinfo=None)
        # A wall time not after this one is due, the first time, not after this moment: so none is skipped.
        passes = map(self._first_pass, CronSim(self._fields, wall))
        first = next(due for due in passes if due is not None and due > moment)
        return min([first, *self._second_pass(wall, moment)])

    def previous_or_at(self, moment: datetime) -> datetime:
        """Return the last due time that is not after a moment, in UTC."""
        back = timedelta(minutes=1)
        while (found := self.next_after(moment - back)) > moment:
            back *= 2
        nothing_after = moment
        while (later := self.next_after(found)) <= moment:
            middle = later + (nothing_after - later) / 2
            leap = self.next_after(middle)
            if leap <= moment:
                found = leap
            else:
                found, nothing_after = later, middle
        return found

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Yield every due time after a moment, in UTC, without end."""
        while True:
            moment = self.next_after(moment)
            yield moment

    def gaps(self, start: date = SOME_DAY) -> Gaps:
        """Return the shortest and longest time between two runs, over the two years from a day.

        By the wall clock: a night in which the clock is moved may add or take an hour. Two years, so that the way
        round a whole calendar is among them; longer where two days of runs are further apart (29 February).
        """
        parsed = CronSim(self._fields, SOME_MIDNIGHT)
        times = sorted(timedelta(hours=hour, minutes=minute) for hour in parsed.hours for minute in parsed.minutes)
        between = [later - earlier for earlier, later in pairwise(times)]
        days: list[date] = []
        day = start
        while len(days) < 2 or day - start < timedelta(days=2 * 366):  # noqa: PLR2004  a gap has two ends
            if day.month in parsed.months and parsed.match_day(day):
                days.append(day)
            day += timedelta(days=1)
        overnight = {later - earlier for earlier, later in pairwise(days)}
        between += [nights - times[-1] + times[0] for nights in overnight]
        return Gaps(min(between), max(between))

    def __str__(self) -> str:
        return f"{self.expression} {self.timezone}"

    def _first_pass(self, wall: datetime) -> datetime | None:
        """Return, in UTC, when a wall time is due the first time; None where it is left out."""
        shown = wall
        while not self._exists(shown):
            if self._every_hour:
                return None
            shown += timedelta(minutes=1)  # to the end of the gap
        return self._instant(shown, fold=0)

    def _second_pass(self, wall: datetime, moment: datetime) -> Iterator[datetime]:
        """Yield the next due time that autumn shows for the second time, where one is near."""
        if not self._every_hour or self._offset(moment - LARGEST_SHIFT) <= self._offset(moment + LARGEST_SHIFT):
            return
        near = CronSim(self._fields, wall - LARGEST_SHIFT)
        for due in takewhile(lambda due: due <= wall + LARGEST_SHIFT, near):
            second = self._instant(due, fold=1)
            if second > self._instant(due, fold=0) and second > moment:
                yield second
                return

    def _instant(self, wall: datetime, *, fold: int) -> datetime:
        return wall.replace(tzinfo=self._zone, fold=fold).astimezone(UTC)

    def _exists(self, wall: datetime) -> bool:
        return self._instant(wall, fold=0).astimezone(self._zone).replace(tzinfo=None) == wall

    def _offset(self, moment: datetime) -> timedelta:
        return moment.astimezone(self._zone).utcoffset() or timedelta(0)


def _parsed(fields: list[str]) -> CronSim:
    try:
        return CronSim(" ".join(fields), SOME_MIDNIGHT)
    except CronSimError:
        for place, (name, allowed) in enumerate(FIELDS):
            alone = ["*" if other != place else text for other, text in enumerate(fields)]
            if not _is_cron(alone):
                raise CronError(f"{allowed} as {name}") from None
        raise CronError(NEVER_DUE) from None  # cronsim refuses 31 February in the words for day 32


def _is_cron(fields: list[str]) -> bool:
    try:
        CronSim(" ".join(fields), SOME_MIDNIGHT)
    except CronSimError:
        return False
    return True

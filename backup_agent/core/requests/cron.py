"""Compute when a cron expression is due.

This is the only module that uses cronsim. cronsim works on local times without daylight saving. This module adds the
rules for daylight saving:

- A time that does not exist when clocks go forward is due at the end of the gap. A time that is repeated when clocks go
  back is due the first time only. An expression that is due in every hour is due in every hour of UTC, including the
  repeated one.
- Whether an expression is due in every hour depends on its set of hours: `0 0-23 * * *` means the same as `0 * * * *`,
  but `*/30 2 * * *` and `0 */2 * * *` are not due in every hour. cron(8) and cronsim look for a star instead, so these
  two expressions would lose a run in spring.
- Python compares two aware datetimes of the same zone by their local times. Therefore only times in UTC are compared
  and returned.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise, takewhile
from typing import NamedTuple, Self
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from backup_agent.core.time_zones import zone

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
NEVER_DUE = "an expression that matches at least one date"

LARGEST_SHIFT = timedelta(hours=3)
"""Largest change of UTC offset for daylight saving. Today it is one hour, or two for Antarctica/Troll."""

# Start of searches that do not depend on the current time. Within 40 years, 29 February falls on every weekday.
SOME_DAY = date(2000, 1, 1)
SOME_MIDNIGHT = datetime(2000, 1, 1)  # noqa: DTZ001  a local time


class CronError(ValueError):
    """An invalid cron expression. The message says what was expected; callers add what was found."""


class Gaps(NamedTuple):
    """Shortest and longest time between two consecutive runs, in local time."""

    shortest: timedelta
    longest: timedelta


@dataclass(frozen=True)
class Cron:
    """A cron expression in a time zone, as made by `parse`."""

    expression: str
    timezone: str
    _fields: str = field(repr=False)
    _zone: ZoneInfo = field(repr=False)
    _every_hour: bool = field(repr=False)

    @classmethod
    def parse(cls, expression: str, timezone: str = "UTC") -> Self:
        """Parse five fields or a nickname (`@daily`). Raise ValueError if they are invalid or never due."""
        fields = NICKNAMES.get(expression.strip().lower(), expression).split()
        if len(expression) > LONGEST_EXPRESSION:
            raise CronError(f"at most {LONGEST_EXPRESSION} characters")
        if fields and fields[0].startswith("@"):
            raise CronError(f"five fields, or one of {', '.join(NICKNAMES)}")
        if len(fields) != len(FIELDS):
            raise CronError("five fields: minute, hour, day of month, month, weekday")
        parsed = _parsed(fields)
        # Written as lists, because cronsim treats stars in minute and hour specially.
        fields[0] = ",".join(str(minute) for minute in sorted(parsed.minutes))
        fields[1] = ",".join(str(hour) for hour in sorted(parsed.hours))
        every_hour = len(parsed.hours) == 24  # noqa: PLR2004  hours of a day
        if next(CronSim(" ".join(fields), SOME_MIDNIGHT), None) is None:
            raise CronError(NEVER_DUE)
        return cls(expression, timezone, " ".join(fields), zone(timezone), every_hour)

    def next_after(self, moment: datetime) -> datetime:
        """Return the first due time after `moment`, in UTC."""
        local = moment.astimezone(self._zone).replace(tzinfo=None)
        # The search can start at `local`: every earlier local time occurs for the first time at or before `moment`.
        occurrences = map(self._first_occurrence, CronSim(self._fields, local))
        first = next(due for due in occurrences if due is not None and due > moment)
        return min([first, *self._repeated_occurrence(local, moment)])

    def previous_or_at(self, moment: datetime) -> datetime:
        """Return the last due time at or before `moment`, in UTC."""
        back = timedelta(minutes=1)
        while (found := self.next_after(moment - back)) > moment:
            back *= 2
        nothing_after = moment
        while (later := self.next_after(found)) <= moment:
            middle = later + (nothing_after - later) / 2
            candidate = self.next_after(middle)
            if candidate <= moment:
                found = candidate
            else:
                found, nothing_after = later, middle
        return found

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Yield every due time after `moment`, in UTC, without end."""
        while True:
            moment = self.next_after(moment)
            yield moment

    def gaps(self, start: date = SOME_DAY) -> Gaps:
        """Return the shortest and longest time between two consecutive runs in the two years after `start`.

        Changes of daylight saving are ignored. The period is longer than two years if it contains only one day with
        runs (29 February).
        """
        parsed = CronSim(self._fields, SOME_MIDNIGHT)
        times = sorted(timedelta(hours=hour, minutes=minute) for hour in parsed.hours for minute in parsed.minutes)
        between = [later - earlier for earlier, later in pairwise(times)]
        days: list[date] = []
        day = start
        while len(days) < 2 or day - start < timedelta(days=2 * 366):  # noqa: PLR2004  a gap lies between two days
            if day.month in parsed.months and parsed.match_day(day):
                days.append(day)
            day += timedelta(days=1)
        overnight = {later - earlier for earlier, later in pairwise(days)}
        between += [nights - times[-1] + times[0] for nights in overnight]
        return Gaps(min(between), max(between))

    def __str__(self) -> str:
        return f"{self.expression} {self.timezone}"

    def _first_occurrence(self, local: datetime) -> datetime | None:
        """Return the first moment at which a local time is due, in UTC; None if it is skipped and never due."""
        while not self._exists(local):
            if self._every_hour:
                return None
            local += timedelta(minutes=1)  # to the end of the gap
        return self._to_utc(local, fold=0)

    def _repeated_occurrence(self, local: datetime, moment: datetime) -> Iterator[datetime]:
        """Yield the next due time that is the second occurrence of a local time, if one is within LARGEST_SHIFT."""
        if not self._every_hour or self._offset(moment - LARGEST_SHIFT) <= self._offset(moment + LARGEST_SHIFT):
            return
        near = CronSim(self._fields, local - LARGEST_SHIFT)
        for due in takewhile(lambda due: due <= local + LARGEST_SHIFT, near):
            second = self._to_utc(due, fold=1)
            if second > self._to_utc(due, fold=0) and second > moment:
                yield second
                return

    def _to_utc(self, local: datetime, *, fold: int) -> datetime:
        return local.replace(tzinfo=self._zone, fold=fold).astimezone(UTC)

    def _exists(self, local: datetime) -> bool:
        return self._to_utc(local, fold=0).astimezone(self._zone).replace(tzinfo=None) == local

    def _offset(self, moment: datetime) -> timedelta:
        return moment.astimezone(self._zone).utcoffset() or timedelta(0)


def _parsed(fields: list[str]) -> CronSim:
    try:
        return CronSim(" ".join(fields), SOME_MIDNIGHT)
    except CronSimError:
        for index, (name, allowed) in enumerate(FIELDS):
            alone = ["*" if other != index else text for other, text in enumerate(fields)]
            if not _is_cron(alone):
                raise CronError(f"{allowed} as {name}") from None
        raise CronError(NEVER_DUE) from None  # every field is valid, but the date never exists, such as 31 February


def _is_cron(fields: list[str]) -> bool:
    try:
        CronSim(" ".join(fields), SOME_MIDNIGHT)
    except CronSimError:
        return False
    return True

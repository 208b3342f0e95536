"""Times as people type them: always with a time zone or a UTC offset."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from backup_agent.core.escaping import quoted
from backup_agent.core.time_zones import zone

FORM = "'2026-11-28 02:30 Europe/Berlin' or 2026-11-28T01:30:00Z"

_TIME = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})[T ](?P<time>[0-9]{2}:[0-9]{2}(?::[0-9]{2})?) ?"
    r"(?:(?P<offset>Z|[+-][0-9]{2}:[0-9]{2})|(?P<zone>[A-Za-z][A-Za-z0-9_+/-]{0,63}))?"
)


@dataclass(frozen=True)
class Moment:
    """A point in time, and the time zone in which a person named it."""

    at: datetime
    """In UTC and whole seconds."""
    zone: tzinfo = UTC

    def __str__(self) -> str:
        """Return the time in UTC, and in its own time zone if that differs.

        >>> print(parse_moment("2026-11-28 02:30 Europe/Berlin"))
        2026-11-28 01:30:00 UTC (2026-11-28 02:30:00 Europe/Berlin)
        """
        local = self.at.astimezone(self.zone)
        if not local.utcoffset():
            return in_utc(self.at)
        return f"{in_utc(self.at)} ({local:%Y-%m-%d %H:%M:%S} {self.zone})"


def in_utc(at: datetime) -> str:
    """Format a time in UTC and whole seconds.

    >>> in_utc(datetime(2026, 11, 28, 1, 30, tzinfo=UTC))
    '2026-11-28 01:30:00 UTC'
    """
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def parse_moment(text: str) -> Moment:
    """Parse a time with its time zone or UTC offset.

    Raise ValueError if the text has another form, if there is no such day, time or time zone, or if the local time is
    skipped or repeated by a change of the clocks; the message then has both possible times in UTC.
    """
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{quoted(text)} is not a time: write it as {FORM}")
    if not (found["offset"] or found["zone"]):
        raise ValueError(f"{quoted(text)} has no time zone: write it as {FORM}")
    try:
        local = datetime.fromisoformat(f"{found['day']}T{found['time']}{found['offset'] or ''}")
        return _in_zone(local, found["zone"]) if found["zone"] else Moment(local.astimezone(UTC), local.tzinfo or UTC)
    except OverflowError:
        raise ValueError(f"{quoted(text)} is not a time: the year is too early or too late") from None
    except ValueError as error:
        raise ValueError(f"{quoted(text)} is not a time: {error}") from None


def _in_zone(local: datetime, name: str) -> Moment:
    """Return the moment of a time without zone in a time zone. Raise ValueError if it is skipped or repeated there."""
    try:
        named = zone(name)
    except ValueError as error:
        raise ValueError(f"{quoted(name)} is not {error}") from None
    both = [local.replace(tzinfo=named, fold=fold).astimezone(UTC) for fold in (0, 1)]
    if both[0] == both[1]:
        return Moment(both[0], named)
    repeated = both[0].astimezone(named).replace(tzinfo=None) == local
    happens = "there are two such times" if repeated else "there is no such time, because the clocks go forward"
    earlier, later = map(in_utc, sorted(both))
    raise ValueError(f"{happens} in {name}: name it in UTC, as '{earlier}' or '{later}'")

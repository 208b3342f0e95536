"""A span of time, as `history` and `report` take it: from a day or time to a day or time, both included."""

from datetime import UTC, date, datetime, time
from typing import NamedTuple

from backup_agent.core.audit.lines import AuditLine

_DAY = len("2026-11-23")


class Period(NamedTuple):
    """A span of time. None: without a beginning, or without an end."""

    begin: datetime | None = None
    end: datetime | None = None

    def has(self, at: datetime | None) -> bool:
        """Return whether a time is within the period."""
        if at is None:
            return False
        return (self.begin is None or at >= self.begin) and (self.end is None or at <= self.end)

    def has_line(self, line: AuditLine) -> bool:
        """Return whether a line was written within the period."""
        return self.has(line.at)


def begin_of(text: str) -> datetime:
    """Return the beginning of a day in UTC, or a time. Raise ValueError if the text is neither.

    >>> begin_of("2026-10-01").isoformat()
    '2026-10-01T00:00:00+00:00'
    """
    return _moment(text, time.min)


def end_of(text: str) -> datetime:
    """Return the end of a day in UTC, or a time. Raise ValueError if the text is neither.

    >>> end_of("2026-10-31").isoformat()
    '2026-10-31T23:59:59.999999+00:00'
    """
    return _moment(text, time.max)


def _moment(text: str, of_day: time) -> datetime:
    try:
        if len(text) == _DAY:
            return datetime.combine(date.fromisoformat(text), of_day, UTC)
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ValueError("a day, as 2026-11-23, or an ISO 8601 time with its offset expected")
    return found

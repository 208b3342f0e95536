"""Durations as written in the settings: a whole number and a unit, such as `15m`."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, PlainSerializer, PlainValidator, WithJsonSchema

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST = timedelta(days=36500)

_DURATION = re.compile(rf"([0-9]{{1,12}})([{''.join(SECONDS)}])")


def duration(value: object) -> timedelta:
    """Parse a duration. Raise ValueError with the expected form.

    >>> duration("15m")
    datetime.timedelta(seconds=900)
    """
    if isinstance(value, timedelta):
        return value
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not found or int(found[1]) * SECONDS[found[2]] > LONGEST.total_seconds():
        raise ValueError("a duration such as 90s, 15m, 6h or 30d")
    return timedelta(seconds=int(found[1]) * SECONDS[found[2]])


def written_duration(value: timedelta) -> str:
    """Format a duration with the largest unit that fits.

    >>> written_duration(timedelta(minutes=90)), written_duration(timedelta(0))
    ('90m', '0s')
    """
    seconds = int(value.total_seconds())
    unit = next((unit for unit, size in reversed(SECONDS.items()) if seconds and seconds % size == 0), "s")
    return f"{seconds // SECONDS[unit]}{unit}"


def _longer_than_nothing(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("a duration of at least 1s")
    return value


_SCHEMA = WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$"})
_WRITTEN = PlainSerializer(written_duration, return_type=str)

# The serializer must come last: only there does it apply to the default in JSON Schema.
Duration = Annotated[timedelta, PlainValidator(duration), _SCHEMA, _WRITTEN]
PositiveDuration = Annotated[
    timedelta, PlainValidator(duration), AfterValidator(_longer_than_nothing), _SCHEMA, _WRITTEN
]

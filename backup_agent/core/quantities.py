"""Numbers, sizes, durations and times as short texts for people."""

from datetime import UTC, datetime, timedelta

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(count: float) -> str:
    """Return a number of bytes as text.

    >>> size(1536), size(12)
    ('1.5 KiB', '12 B')
    """
    unit = 0
    while count >= 1024 and unit < len(UNITS) - 1:  # noqa: PLR2004  binary units
        count /= 1024
        unit += 1
    return f"{count:.0f} {UNITS[unit]}" if unit == 0 else f"{count:.1f} {UNITS[unit]}"


def counted(count: int, one: str, several: str) -> str:
    """Return a count with its noun, in the singular or the plural.

    >>> counted(1, "copy", "copies"), counted(0, "copy", "copies")
    ('1 copy', '0 copies')
    """
    return f"{count} {one if count == 1 else several}"


def age(span: timedelta) -> str:
    """Return a duration in its two largest units.

    >>> age(timedelta(days=1, hours=2, minutes=3)), age(timedelta(seconds=5))
    ('1d 2h', '5s')
    """
    seconds = max(0, int(span.total_seconds()))
    parts = [
        f"{seconds // length % wrap}{unit}"
        for length, wrap, unit in ((86400, 10**9, "d"), (3600, 24, "h"), (60, 60, "m"), (1, 60, "s"))
        if seconds // length % wrap
    ]
    return " ".join(parts[:2]) or "0s"


def coarse_age(span: timedelta) -> str:
    """Like `age`, but without seconds from a minute on.

    >>> coarse_age(timedelta(minutes=3, seconds=4)), coarse_age(timedelta(seconds=4))
    ('3m', '4s')
    """
    return age(span if span < timedelta(minutes=1) else timedelta(minutes=span // timedelta(minutes=1)))


def second(when: datetime) -> str:
    """Return a time in UTC, to the second and with its zone.

    >>> second(datetime(2026, 11, 23, 2, tzinfo=UTC))
    '2026-11-23T02:00:00Z'
    """
    return f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def minute(when: datetime) -> str:
    """Return a time in UTC, to the minute and without its zone.

    >>> minute(datetime(2026, 11, 23, 2, tzinfo=UTC))
    '2026-11-23 02:00'
    """
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M}"

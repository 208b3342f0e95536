"""How the commands print: tables for people, JSON for programs, sizes and ages as people say them."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import click

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a head, columns as wide as they need."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    click.echo(
        "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        )
    )


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Print names and values; a name that is empty goes on with the fact before it."""
    told = list(pairs)
    width = max(len(name) for name, _ in told)
    click.echo("\n".join(f"{name.ljust(width)}  {value}".rstrip() for name, value in told))


def as_json(value: object) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2, default=str, ensure_ascii=False))


def size(count: float) -> str:
    """Say bytes.

    >>> size(1536), size(12)
    ('1.5 KiB', '12 B')
    """
    unit = 0
    while count >= 1024 and unit < len(UNITS) - 1:  # noqa: PLR2004  binary units
        count /= 1024
        unit += 1
    return f"{count:.0f} {UNITS[unit]}" if unit == 0 else f"{count:.1f} {UNITS[unit]}"


def counted(count: int, one: str, several: str) -> str:
    """Say how many.

    >>> counted(1, "copy", "copies"), counted(0, "copy", "copies")
    ('1 copy', '0 copies')
    """
    return f"{count} {one if count == 1 else several}"


def age(span: timedelta) -> str:
    """Say a span in its largest two units.

    >>> age(timedelta(days=1, hours=2, minutes=3)), age(timedelta(seconds=5))
    ('1d 2h', '5s')
    """
    seconds = max(0, int(span.total_seconds()))
    said = [
        f"{seconds // length % wrap}{unit}"
        for length, wrap, unit in ((86400, 10**9, "d"), (3600, 24, "h"), (60, 60, "m"), (1, 60, "s"))
        if seconds // length % wrap
    ]
    return " ".join(said[:2]) or "0s"


def moment(when: datetime) -> str:
    """Say a moment in UTC, to the second.

    >>> moment(datetime(2026, 11, 23, 2, tzinfo=UTC))
    '2026-11-23T02:00:00Z'
    """
    return f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"

"""The output of the commands: text and tables for people, JSON for programs, readable sizes and durations.

All output goes through this module, which shows unprintable characters as escapes: no text can move the cursor, or hide
or forge a line. tests/test_house.py checks that no command prints in any other way.
"""

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from typing import BinaryIO

import click

from backup_agent.core import quantities
from backup_agent.core.escaping import printable, printable_json, printable_lines, shortened

age, counted, size = quantities.age, quantities.counted, quantities.size

_PIECE = 1 << 16
"""Characters that are escaped at once. An escape takes up to a hundred bytes of memory."""

_CLEAR_SCREEN = "\x1b[H\x1b[2J"
"""Move to the first line and erase the screen (ECMA-48, CUP and ED)."""

LEAST_COLUMN = 8
"""Number of characters to which a column is narrowed at most."""

_ROWS = 1000
"""How many rows of a table are printed with the same widths."""

_CLEAR_LINE = "\r\x1b[K"
"""Move to the first column and erase the line (ECMA-48, EL)."""

_RED, _GREEN, _YELLOW, _PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"
"""Colours of the text (ECMA-48, SGR)."""

_COLOURS = {
    **dict.fromkeys(
        ("FAILING", "FAIL", "DOWN", "REFUSED", "failed", "rejected", "unprotected", "not restorable"), _RED
    ),
    **dict.fromkeys(("DEGRADED", "UNKNOWN", "WARNING", "warn", "late", "delete", "cancelled"), _YELLOW),
    **dict.fromkeys(("OK", "ok", "protected", "succeeded"), _GREEN),
}
"""Words that are coloured on a terminal."""

_COLOURED = re.compile(rf"(^ *(?:- |\S+: )?|  )({'|'.join(_COLOURS)})(?=[:, ]|$)")
"""Such a word at the start of a line, after a name that starts it, or at the start of a cell of a table."""


def line(text: str = "", *, err: bool = False) -> None:
    """Print one line. A line break in the text is shown as an escape."""
    click.echo(_coloured(printable(text), err=err), err=err)


def prose(texts: Iterable[str], *, indent: int = 2, err: bool = False) -> None:
    """Print several lines, each as `line` does. On a terminal, longer ones are wrapped, as `wrapped` does."""
    width = shutil.get_terminal_size().columns if is_terminal(err=err) else None
    for text in texts:
        lines(wrapped(text, width, indent=indent), err=err)


def wrapped(text: str, width: int | None, *, indent: int = 2) -> list[str]:
    """Return a line in several of at most `width` columns, if it has blanks there. None: no limit.

    The lines after the first are indented by `indent` more than the first.

    >>> wrapped("  deleted because no rule keeps it", 24)
    ['  deleted because no', '    rule keeps it']
    """
    if width is None or len(text) <= width:
        return [text]
    first = text[: len(text) - len(text.lstrip())]
    return textwrap.wrap(
        text.strip(),
        width,
        initial_indent=first,
        subsequent_indent=first + " " * indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _coloured(text: str, *, err: bool) -> str:
    """Colour the words of `_COLOURS`, on a terminal and unless $NO_COLOR is set (no-color.org)."""
    if not is_terminal(err=err) or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return _COLOURED.sub(lambda found: f"{found[1]}{_COLOURS[found[2]]}{found[2]}{_PLAIN}", text)


def lines(texts: Iterable[str], *, err: bool = False) -> None:
    """Print several lines, each as `line` does."""
    for text in texts:
        line(text, err=err)


def block(text: str, *, err: bool = False) -> None:
    """Print text with its line breaks, such as an error or a script."""
    text = text.removesuffix("\n")
    *pieces, last = [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)] or [""]
    for piece in pieces:
        click.echo(printable_lines(piece), err=err, nl=False)
    click.echo(printable_lines(last), err=err)


def complaint(text: str, reason: str, hint: str = "", *, as_json: bool = False) -> None:
    """Print why a command failed, and what to do, on stderr. The reason is printed in JSON only, as one line."""
    if as_json:
        click.echo(_json({"error": text, "reason": reason, "hint": hint}), err=True)
    else:
        prose([*f"backup-agent: {text}".split("\n"), *([f"HINT: {hint}"] if hint else [])], err=True)


def document(text: str) -> None:
    """Print a document for programs: unchanged, or with unprintable characters as escapes on a terminal."""
    click.echo(printable_lines(text) if sys.stdout.isatty() else text, nl=False)


def changing_line(text: str, width: int) -> None:
    """Overwrite the last line of the terminal (stderr) with the first `width` columns of a text."""
    click.echo(_CLEAR_LINE + printable(text)[: width - 1], nl=False, err=True)


def is_terminal(*, err: bool = False) -> bool:
    """Return whether stdout, or stderr if `err`, is a terminal."""
    return (sys.stderr if err else sys.stdout).isatty()


def stdout_for_bytes() -> BinaryIO:
    """Return stdout for bytes, which are not escaped: the caller must not write them to a terminal."""
    return sys.stdout.buffer


@contextmanager
def progress(size: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr during the block, if stderr is a terminal. Yield a function that adds to the bytes done."""
    with click.progressbar(length=size, file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:
        yield bar.update


def confirm(question: str) -> bool:
    """Ask at the terminal, on stderr. Return whether the answer is yes."""
    return click.confirm(printable(question), err=True)


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    never_cut: Collection[int] = (),
    wraps: bool = False,
    wide: bool = False,
) -> None:
    """Print rows under a header row. On a terminal the table fits its width, unless it is `wide`."""
    width = None if wide else terminal_size()[0]
    for text in table_lines(header, rows, width=width, never_cut=never_cut, wraps=wraps):
        click.echo(_coloured(text, err=False))


def table_lines(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    longest: int | None = None,
    width: int | None = None,
    never_cut: Collection[int] = (),
    wraps: bool = False,
) -> Iterator[str]:
    """Yield the lines of a table. If the table is wider than `width`, the widest columns are cut until it fits.

    The columns with the indexes `never_cut` stay whole. If `wraps`, the last column is not cut, but wrapped below
    itself. Each cell except the last of a row is cut to `longest` characters.
    A column of a long table may become wider after each _ROWS rows: only these are in memory.
    """
    widths = [0] * len(header)
    left = chain([header], rows)
    while some := list(islice(left, _ROWS)):
        shown = [[printable(cell) for cell in row] for row in some]
        if longest is not None:
            shown = [[*(shortened(cell, longest) for cell in row[:-1]), row[-1]] for row in shown]
        widths = [max(wide, *(len(row[column]) for row in shown)) for column, wide in enumerate(widths)]
        cut = widths if width is None else fitted_widths(widths, width, never_cut)
        for row in shown:
            last = textwrap.wrap(row[-1], cut[-1], break_on_hyphens=False) if wraps else [row[-1]]
            yield _row((*row[:-1], *last[:1]), cut)
            yield from (_row((*[""] * (len(row) - 1), rest), cut) for rest in last[1:])


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(shortened(cell, wide).ljust(wide) for cell, wide in zip(cells, widths, strict=False)).rstrip()


def fitted_widths(widths: Sequence[int], total: int, never_cut: Collection[int] = ()) -> list[int]:
    """Return widths of columns that fit into `total` with two blanks between them. The widest columns are narrowed.

    >>> fitted_widths([30, 10, 5], 40)
    [21, 10, 5]
    >>> fitted_widths([30, 10, 5], 40, never_cut=[0])
    [30, 8, 5]
    """
    found = list(widths)
    cut = [column for column in range(len(found)) if column not in never_cut]
    while sum(found) + 2 * (len(found) - 1) > total:
        widest = max(cut, key=found.__getitem__)
        if found[widest] <= LEAST_COLUMN:
            break
        found[widest] -= 1
    return found


def terminal_size() -> tuple[int, int] | tuple[None, None]:
    """Return the columns and lines of the terminal; None for both if stdout is not a terminal."""
    columns, lines = shutil.get_terminal_size()
    return (columns, lines) if is_terminal() else (None, None)


def screen(texts: Iterable[str]) -> None:
    """Print lines in place of what the terminal shows; below it if stdout is not a terminal."""
    if is_terminal():
        click.echo(_CLEAR_SCREEN, nl=False)
    lines(texts)


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Print names and values in two columns. An empty name continues the fact before it."""
    rows = list(pairs)
    indent = max(len(name) for name, _ in rows) + 2
    columns, _ = terminal_size()
    for name, value in rows:
        first, *rest = wrapped(value, columns and columns - indent, indent=0)
        lines((f"{name:{indent}}{first}".rstrip(), *(f"{'':{indent}}{one}" for one in rest)))


def as_json(value: object, *, indent: int | None = 2) -> None:
    """Print a value as JSON."""
    click.echo(_json(value, indent))


def long_list_as_json(name: str, values: Iterable[object], others: Callable[[], Mapping[str, object]]) -> None:
    """Print a JSON object with a list, one value a line, so that only one value is in memory at a time.

    `others` is called after the last value, and returns the other fields of the object.
    """
    click.echo(f"{{{_json(name)}: [", nl=False)
    before = "\n"
    for value in values:
        click.echo(f"{before}{_json(value)}", nl=False)
        before = ",\n"
    fields = "".join(f",\n{_json(field)}: {_json(value)}" for field, value in others().items())
    click.echo(f"\n]{fields}}}")


def _json(value: object, indent: int | None = None) -> str:
    return printable_json(json.dumps(value, indent=indent, default=str, ensure_ascii=False))


def time_left(seconds: float | None) -> str:
    """Return the estimated rest of a stage, to be appended to its progress; empty if it is not known.

    >>> time_left(90.5), time_left(None)
    (', about 1m 30s left', '')
    """
    return "" if seconds is None else f", about {age(timedelta(seconds=seconds))} left"


def moment(when: datetime) -> str:
    """Return a time to the second, such as `2026-11-23T03:00:00+01`, in the local time zone, which `--utc` sets."""
    local = when.astimezone()
    return f"{local:%Y-%m-%dT%H:%M:%S}{_offset(local)}"


def minute(when: datetime) -> str:
    """Return a time to the minute, in the local time zone."""
    local = when.astimezone()
    return f"{local:%Y-%m-%d %H:%M}{_offset(local)}"


def _offset(local: datetime) -> str:
    """Return the offset from UTC: `Z`, or the hours and, if there are any, the minutes, such as `+01` or `+05:30`."""
    return local.isoformat()[-6:].removesuffix(":00") if local.utcoffset() else "Z"


def utc(when: datetime) -> str:
    """Return a time in UTC, for JSON.

    >>> utc(datetime(2026, 11, 23, 2, tzinfo=UTC))
    '2026-11-23T02:00:00Z'
    """
    return f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"

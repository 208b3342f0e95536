"""How the discovering child tells what it found: rows, some a line, and at last an event that counts them.

A topology of 1,500 databases is longer than a line may be, and part of one would look like databases that are gone. So
each line is short, and what is counted must have come.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from pydantic import TypeAdapter

from backup_agent.core.neo4j.topology import MOST_ALIASES, MOST_COPIES, MOST_SERVERS, Copy

EVENT = "rows"

A_LINE = 100
"""Rows of an event: some 30 KB of usual ones, and 150 KB of the longest. Each event is a step of the agent's loop."""

COPIES, ALIASES, BACKUP_ADDRESSES, REACHABLE = "copies", "aliases", "backup_addresses", "reachable"

MOST = {
    COPIES: MOST_COPIES,
    ALIASES: MOST_ALIASES,
    BACKUP_ADDRESSES: MOST_SERVERS,
    REACHABLE: 2 * MOST_SERVERS,
}
"""Kind of row -> how many there may be."""

_COPIES = TypeAdapter(tuple[Copy, ...])


class IncompleteError(ValueError):
    """Not all rows have come, or more than were counted."""


def told(rows: Mapping[str, Iterable[Any]]) -> Iterator[dict[str, Any]]:
    """Yield the events that tell the rows of each kind. Pairs are rows too."""
    for kind, found in rows.items():
        remaining = iter(found)
        while batch := list(islice(remaining, A_LINE)):
            yield {"event": EVENT, "kind": kind, "rows": batch}


class Rows:
    """The rows that have come so far."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        self._rows: dict[str, list[Any]] = {kind: [] for kind in MOST}
        self._fault: str | None = None

    def take(self, event: Mapping[str, Any]) -> None:
        """Take the rows of an event; what is wrong with them is told by `complete`."""
        kind, rows = event.get("kind"), event.get("rows")
        if kind not in MOST or not isinstance(rows, list):
            self._fault = self._fault or f"rows of an unknown kind ({str(kind)[:40]})"
        elif len(self._rows[kind]) + len(rows) > MOST[kind]:
            self._fault = self._fault or f"more than {MOST[kind]} {kind}"
        else:
            # Few of the strings differ, and each line has made its own.
            self._rows[kind] += _COPIES.validate_python([*map(_interned, rows)]) if kind == COPIES else rows

    def complete(self, counts: Mapping[str, int]) -> dict[str, list[Any]]:
        """Return the rows by kind: copies, and pairs of the others. Raise IncompleteError if some are missing."""
        if self._fault:
            raise IncompleteError(self._fault)
        for kind, rows in self._rows.items():
            if len(rows) != counts.get(kind, 0):
                raise IncompleteError(f"{len(rows)} of {counts.get(kind, 0)} {kind} have come")
        return self._rows


def _interned(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: sys.intern(value) if type(value) is str else value for name, value in row.items()}

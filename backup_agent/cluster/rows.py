"""How the discovering child tells what it found: rows, some a line, and at last an event that counts them.

A topology of 1,500 databases is longer than a line may be, and part of one would look like databases that are gone. So
each line is short, and what is counted must have come.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

from backup_agent.core.neo4j.topology import MOST_ALIASES, MOST_COPIES, MOST_SERVERS, Copy
from backup_agent.core.requests.events import TopologyRows

A_LINE = 100
"""Rows of an event: some 30 KB of usual ones, and 150 KB of the longest. Each event is a step of the agent's loop."""

COPIES, ALIASES, BACKUP_ADDRESSES, REACHABLE = "copies", "aliases", "backup_addresses", "reachable"
"""Kinds of rows, by their fields in `TopologyRows`."""

MOST = {
    COPIES: MOST_COPIES,
    ALIASES: MOST_ALIASES,
    BACKUP_ADDRESSES: MOST_SERVERS,
    REACHABLE: 2 * MOST_SERVERS,
}
"""Kind of row -> how many there may be."""


class IncompleteError(ValueError):
    """Not all rows have come, or more than were counted."""


def told(rows: Mapping[str, Iterable[Any]]) -> Iterator[TopologyRows]:
    """Yield the events that tell the rows of each kind."""
    for kind, found in rows.items():
        remaining = iter(found)
        while batch := tuple(islice(remaining, A_LINE)):
            yield TopologyRows.model_validate({kind: batch})


class Rows:
    """The rows that have come so far."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        self._rows: dict[str, list[Any]] = {kind: [] for kind in MOST}
        self._fault: str | None = None

    def take(self, event: TopologyRows) -> None:
        """Take the rows of an event; too many of them are told by `complete`."""
        for kind, known in self._rows.items():
            rows = getattr(event, kind)
            if len(known) + len(rows) > MOST[kind]:
                self._fault = self._fault or f"more than {MOST[kind]} {kind}"
            else:
                # Few of the strings differ, and each line has made its own.
                known.extend(map(_interned, rows) if kind == COPIES else rows)

    def complete(self, counts: Mapping[str, int]) -> dict[str, list[Any]]:
        """Return the rows by kind: copies, and pairs of the others. Raise IncompleteError if some are missing."""
        if self._fault:
            raise IncompleteError(self._fault)
        for kind, rows in self._rows.items():
            if len(rows) != counts.get(kind, 0):
                raise IncompleteError(f"{len(rows)} of {counts.get(kind, 0)} {kind} have come")
        return self._rows


def _interned(copy: Copy) -> Copy:
    texts: dict[str, Any] = {name: sys.intern(value) for name, value in asdict(copy).items() if type(value) is str}
    return replace(copy, **texts)

"""The format of the discovery child's answer: events with some rows each, and a last event that counts the rows.

Each event is one line. A topology of 1,500 databases is longer than a line may be, so it is split. If a line were lost,
databases would seem to be gone, so the last event has the number of rows.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.artifacts.records import Definition
from backup_agent.core.neo4j.topology import MOST_ALIASES, MOST_COPIES, MOST_SERVERS, Copy
from backup_agent.core.requests.events import TopologyRows

A_LINE = 100
"""Largest number of rows in an event: about 30 KB, at most 150 KB. Each event is a step of the agent's loop."""

A_LINE_OF_DEFINITIONS = 30
"""Largest number of definitions in an event: one may have 1,500 commas, and a line may have 50,000 at most."""

COPIES, ALIASES, BACKUP_ADDRESSES, REACHABLE = "copies", "aliases", "backup_addresses", "reachable"
DEFINITIONS = "definitions"
"""Kinds of rows, by their fields in `TopologyRows`."""

MOST = {
    COPIES: MOST_COPIES,
    ALIASES: MOST_ALIASES,
    BACKUP_ADDRESSES: MOST_SERVERS,
    REACHABLE: 2 * MOST_SERVERS,
    DEFINITIONS: MOST_COPIES,
}
"""Kind of row -> largest number of rows of this kind."""


class IncompleteError(ValueError):
    """Rows are missing, or there are more than the last event says."""


def events_with(rows: Mapping[str, Iterable[Any]]) -> Iterator[TopologyRows]:
    """Yield events with the rows; each event has rows of one kind."""
    for kind, found in rows.items():
        remaining = iter(found)
        while batch := tuple(islice(remaining, A_LINE_OF_DEFINITIONS if kind == DEFINITIONS else A_LINE)):
            yield TopologyRows.model_validate({kind: batch})


class Rows:
    """The rows received so far."""

    def __init__(self) -> None:
        """Begin without any rows."""
        self._rows: dict[str, list[Any]] = {kind: [] for kind in MOST}
        self._fault: str | None = None
        self._definitions: dict[DatabaseName, Definition] = {}

    def take(self, event: TopologyRows) -> None:
        """Add the rows of an event. If there are too many rows, `complete` raises the error."""
        for kind, known in self._rows.items():
            rows = getattr(event, kind)
            if len(known) + len(rows) > MOST[kind]:
                self._fault = self._fault or f"more than {MOST[kind]} {kind}"
            else:
                known.extend(self._shared(kind, row) for row in rows)

    def _shared(self, kind: str, row: Any) -> Any:  # noqa: ANN401  a row of any kind
        """Return the row with values shared with equal earlier rows, to save memory."""
        if kind == COPIES:
            return _interned(row)
        if kind == DEFINITIONS:
            name, definition = row
            return name, self._definitions.setdefault(definition.model_dump_json(), definition)
        return row

    def complete(self, counts: Mapping[str, int]) -> dict[str, list[Any]]:
        """Return the rows by kind: copies, or pairs for other kinds. Raise IncompleteError if `counts` differ."""
        if self._fault:
            raise IncompleteError(self._fault)
        for kind, rows in self._rows.items():
            if len(rows) != counts.get(kind, 0):
                raise IncompleteError(f"{len(rows)} of {counts.get(kind, 0)} {kind} were received")
        return self._rows


def _interned(copy: Copy) -> Copy:
    texts: dict[str, Any] = {name: sys.intern(value) for name, value in asdict(copy).items() if type(value) is str}
    return replace(copy, **texts)

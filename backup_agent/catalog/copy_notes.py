"""Which artifacts have their copy at a destination, as far as this volume knows.

A note below `<root>/.agent/copied/` says that a copy was confirmed. It only saves requests: if the notes are lost, the
next copy finds the record at the destination. Notes belong to the identity of a place (catalog.place), so all copies
are made again if the settings of a destination name another location.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cache

from backup_agent import durable
from backup_agent.catalog.note_folder import NoteFolder
from backup_agent.core.artifacts.chains import Member, as_entry
from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.keys import name_of
from backup_agent.core.artifacts.names import DatabaseName, SetName
from backup_agent.core.artifacts.records import Record

GIVEN_UP = b"given up\n"
"""Content of the note on a copy that was deleted or is no longer wanted. All other notes are empty."""


class CopyNotes(NoteFolder):
    """The notes on one destination."""

    def has(self, key: str) -> bool:
        """Return whether the copy of an artifact was confirmed."""
        return self._read(key) not in (None, GIVEN_UP)

    def add(self, key: str) -> None:
        """Note that the copy of an artifact was confirmed."""
        self._write(key, b"", sync=False)

    def give_up(self, key: str) -> None:
        """Note that an artifact gets no copy at the destination, by a request or by its retention."""
        self._write(key, GIVEN_UP)

    def strike(self, key: str) -> None:
        """Remove the note on an artifact, so that its copy counts as missing."""
        self._remove(key)

    def noted(self) -> Iterator[str]:
        """Yield the keys of all artifacts that have a note, including those whose copies were given up."""
        yield from self._keys()

    def owed(self, records: Iterable[Member]) -> tuple[Member, ...]:
        """Return the records whose copy is missing, in the order of copying: each parent before its differentials."""
        noted = cache(self._noted)
        missing = [record for record in records if name_of(record.key) not in noted(record.set, record.database)]
        return tuple(sorted(missing, key=_order))

    def _noted(self, set_name: SetName, database: DatabaseName) -> set[str]:
        """Return the names of the artifacts of a database that have a note, by one listing."""
        return set(durable.names(self._folder / set_name / database))


def _order(record: Record | Entry) -> tuple[datetime, bool, str]:
    entry = as_entry(record)
    return entry.taken, not entry.full, entry.key

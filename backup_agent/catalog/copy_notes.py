"""Which artifacts have their copy at a destination, as far as this volume knows.

A note below `<root>/.agent/copied/` says that a copy was confirmed. It only saves asking: the truth is the record at
the destination, and where the notes are lost, the next copy finds it there. Notes are kept per bucket and prefix, so
a destination that was pointed elsewhere owes everything again.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cache
from pathlib import Path

from backup_agent import durable
from backup_agent.catalog.agent_folder import keys_below, place_folder
from backup_agent.core.artifacts.chains import Member, as_entry
from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.keys import name_of
from backup_agent.core.artifacts.records import Record

GIVEN_UP = b"given up\n"
"""What stands in the note on a copy that is not wanted any more, or was deleted there; in any other stands nothing."""


class CopyNotes:
    """The notes on one destination. `identity` is where it is (endpoint, bucket, prefix), in any stable form."""

    def __init__(self, root: Path, destination: str, identity: str) -> None:
        """Nothing is made on disk before the first note."""
        self._folder = place_folder(root, "copied", destination, identity)

    def has(self, key: str) -> bool:
        """Tell whether the copy of an artifact was confirmed."""
        try:
            return durable.read(self._folder / key) != GIVEN_UP
        except FileNotFoundError:
            return False

    def add(self, key: str) -> None:
        """Note that the copy of an artifact was confirmed."""
        note = self._folder / key
        note.parent.mkdir(parents=True, exist_ok=True)
        durable.write(note, b"", sync=False)

    def give_up(self, key: str) -> None:
        """Note that an artifact is to have no copy, because somebody or the policy said so: it is owed no more."""
        note = self._folder / key
        note.parent.mkdir(parents=True, exist_ok=True)
        durable.write(note, GIVEN_UP)

    def strike(self, key: str) -> None:
        """Take a note away: the copy is owed, whatever was noted."""
        (self._folder / key).unlink(missing_ok=True)

    def noted(self) -> Iterator[str]:
        """Yield the keys of all artifacts that have a note, also those that are given up (`has` tells)."""
        yield from keys_below(self._folder)

    def owed(self, records: Iterable[Member]) -> tuple[Member, ...]:
        """Return the records without a copy, in the order they must be copied: a parent before what continues it."""
        noted = cache(self._noted)
        missing = [record for record in records if name_of(record.key) not in noted(record.set, record.database)]
        return tuple(sorted(missing, key=_order))

    def _noted(self, set_name: str, database: str) -> set[str]:
        """Return the names that are noted of one database: one listing, however many are asked for."""
        return set(durable.names(self._folder / set_name / database))


def _order(record: Record | Entry) -> tuple[datetime, bool, str]:
    entry = as_entry(record)
    return entry.taken, not entry.full, entry.key

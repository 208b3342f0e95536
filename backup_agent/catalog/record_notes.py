"""Record notes: one for each record at a place that the agent wrote or accepted. Only such records are recognised.

A note is a file below `<root>/.agent/recorded/<place>@<where>/` with the SHA-256 of the record. If the agent recognised
the record by its signature alone, the note also names the key. A record that has no note, or another SHA-256 than its
note, is not used unless a trusted key has signed it (catalog.recognition), because every program that can write at a
place can write a valid record. At a destination a note also says that the copy of the artifact was confirmed. Notes
belong to the identity of a place (catalog.place), so all copies are made again if the settings of a destination name
another location.
"""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import cache

from backup_agent import durable
from backup_agent.catalog.note_folder import NoteFolder
from backup_agent.core.artifacts.entries import Entry, Member, as_entry
from backup_agent.core.artifacts.keys import name_of
from backup_agent.core.artifacts.names import DatabaseName, SetName
from backup_agent.core.artifacts.records import Record

GIVEN_UP = "given up"
"""Content of the note on a copy that was deleted or is no longer wanted."""

_KIND = "sha256:"
_SIGNED_BY = "signed by "


def digest_of(content: bytes) -> str:
    """Return the SHA-256 of a stored record, in lower-case hex."""
    return hashlib.sha256(content).hexdigest()


class RecordNotes(NoteFolder):
    """The notes on one place."""

    def note(self, key: str) -> str | None:
        """Return the SHA-256 in the note on an artifact's record, or GIVEN_UP, or None if there is no valid note."""
        first = (self._read(key) or b"").partition(b"\n")[0].decode("ascii", "replace")
        if first == GIVEN_UP:
            return GIVEN_UP
        return first.removeprefix(_KIND) if first.startswith(_KIND) else None

    def signer(self, key: str) -> str | None:
        """Return the key by whose signature a record was recognised; None if the agent wrote or accepted the record."""
        second = (self._read(key) or b"").split(b"\n")[1:2]
        text = second[0].decode("ascii", "replace") if second else ""
        return text.removeprefix(_SIGNED_BY) if text.startswith(_SIGNED_BY) else None

    def digest(self, key: str) -> str | None:
        """Return the SHA-256 in the note on an artifact's record, or None if the note has none."""
        note = self.note(key)
        return None if note == GIVEN_UP else note

    def has(self, key: str) -> bool:
        """Return whether the record of an artifact has a note: at a destination, whether its copy was confirmed."""
        return self.digest(key) is not None

    def add(self, key: str, record: bytes) -> None:
        """Write the note on a record that the agent wrote or accepted. `record` is its stored content."""
        self._write(key, f"{_KIND}{digest_of(record)}\n".encode())

    def add_signed(self, key: str, digest: str, signer: str) -> None:
        """Write the note on a record that is recognised by its signature.

        `digest` is the SHA-256 of its stored content, `signer` the fingerprint of the key.
        """
        self._write(key, f"{_KIND}{digest}\n{_SIGNED_BY}{signer}\n".encode())

    def give_up(self, key: str) -> None:
        """Note that an artifact gets no copy at the destination, as decided by a request or the retention policy."""
        self._write(key, f"{GIVEN_UP}\n".encode())

    def strike(self, key: str) -> None:
        """Remove the note on an artifact: at a destination its copy then counts as missing."""
        self._remove(key)

    def noted(self) -> Iterator[str]:
        """Yield the keys of all artifacts that have a note, including those whose copies were given up."""
        yield from self._keys()

    def names(self, set_name: SetName, database: DatabaseName) -> set[str]:
        """Return the names of the artifacts of a database that have a note, from one listing."""
        return set(durable.names(self._folder / set_name / database))

    def owed(self, records: Iterable[Member]) -> tuple[Member, ...]:
        """Return the records whose copy is missing, in the order of copying: each parent before its differentials."""
        noted = cache(self.names)
        missing = [record for record in records if name_of(record.key) not in noted(record.set, record.database)]
        return tuple(sorted(missing, key=_order))


def _order(record: Record | Entry) -> tuple[datetime, bool, str]:
    entry = as_entry(record)
    return entry.taken, not entry.full, entry.key

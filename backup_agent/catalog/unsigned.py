"""Records at a destination that lack a signature: noted on the volume until a pass has signed them.

A record is written without a signature if the key cannot be read, or if there is no key yet.
"""

from collections.abc import Iterator

from backup_agent.catalog.index import forget
from backup_agent.catalog.note_folder import NoteFolder
from backup_agent.catalog.place import Place
from backup_agent.catalog.record_notes import digest_of
from backup_agent.catalog.tenure import Held
from backup_agent.catalog.volume_records import parse
from backup_agent.core.artifacts.keys import record_key
from backup_agent.core.artifacts.records import LARGEST, Record
from backup_agent.signing.keyring import Keyring


class Unsigned(NoteFolder):
    """The artifacts at one place whose records are to be signed."""

    def add(self, key: str) -> None:
        """Note that the record of an artifact is to be signed."""
        self._write(key, b"to be signed\n", sync=False)

    def strike(self, key: str) -> None:
        """Remove the note on an artifact whose record is signed or no longer exists."""
        self._remove(key)

    def __iter__(self) -> Iterator[str]:
        """Yield the keys of the artifacts."""
        yield from self._keys()


def unsigned_at(place: Place) -> Unsigned:
    """Return the artifacts at a place whose records are to be signed."""
    return Unsigned(place.folder("unsigned"))


def sign_records(place: Place, held: Held, keyring: Keyring) -> dict[str, str]:
    """Sign the records that lack a signature. Return their artifacts, with the new SHA-256 of each record.

    Nothing is signed if the key cannot be used.

    Each record is replaced before its note: after a crash in between, the record is recognised by its signature. Raise
    PermanentError if the store refuses a request, ConflictError if another process has changed a record.
    """
    waiting = list(unsigned_at(place))
    if not waiting or not keyring.usable:
        return {}
    held.confirm()
    forget(place.index, waiting)  # signing changes the sizes of the records
    signed: dict[str, str] = {}
    for key in waiting:
        held.check()
        seen = place.store.look(record_key(key), LARGEST)
        if seen is not None and place.record_notes.digest(key) == digest_of(seen.content):
            record = keyring.sign(parse(seen.content, key))
            if record.signature is None:  # a number in the record is too large to be signed
                continue
            if keyring.signer(Record, key, seen.content) is None:
                place.store.swap(record_key(key), record.to_json(), seen.version)
                place.record_notes.add(key, record.to_json())
                signed[key] = digest_of(record.to_json())
        unsigned_at(place).strike(key)
    return signed

"""Whether the agent recognises a record: by the note on it, else by its signature.

If the note says that the copy was given up, a signature does not count: the agent deleted that copy, and anyone who
kept its record could put it back.
"""

from enum import Enum, auto

from backup_agent.catalog.place import Place
from backup_agent.catalog.record_notes import GIVEN_UP, digest_of
from backup_agent.core.artifacts.records import Record
from backup_agent.signing.keyring import Keyring


class Provenance(Enum):
    """Whether the agent recognises a record, and by what."""

    NOTED = auto()
    """The record has the SHA-256 in the note."""
    SIGNED = auto()
    """The note is missing or has another SHA-256, and a trusted key has signed the record."""
    REPLACED = auto()
    """The note has another SHA-256, and no trusted key has signed the record."""
    UNKNOWN = auto()
    """There is neither a note nor a trusted signature, or the copy was given up."""

    @property
    def recognised(self) -> bool:
        """Whether the agent recognises the record."""
        return self in (Provenance.NOTED, Provenance.SIGNED)


class Recognition:
    """Judges the records of one place. It may be used by several threads."""

    def __init__(self, place: Place) -> None:
        self.keyring = Keyring(place.settings)

    @property
    def by_signature(self) -> bool:
        """Whether the settings name a key whose signatures count."""
        return self.keyring.has_keys

    def provenance(self, key: str, content: bytes, note: str | None) -> Provenance:
        """Judge the record of an artifact by its stored content and the content of its note (RecordNotes.note)."""
        if note == digest_of(content):
            return Provenance.NOTED
        if note != GIVEN_UP and self.keyring.signer(Record, key, content) is not None:
            return Provenance.SIGNED
        return Provenance.UNKNOWN if note in (None, GIVEN_UP) else Provenance.REPLACED

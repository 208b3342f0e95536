"""Whether the agent recognises a record: by the note on it, else by its signature.

If the note says that the copy was given up, a signature does not count: the agent deleted that copy, and anyone who
kept its record could put it back. If the note was written because of a signature, it ends with the key: once the
settings revoke the key, the note counts only for records that finished before the revocation.
"""

from enum import Enum, auto

from backup_agent.catalog import volume_records
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
    """There is neither a note nor a trusted signature, or the copy was given up, or the key was revoked before."""

    @property
    def recognised(self) -> bool:
        """Whether the agent recognises the record."""
        return self in (Provenance.NOTED, Provenance.SIGNED)


class Recognition:
    """Judges the records of one place. It may be used by several threads."""

    def __init__(self, place: Place) -> None:
        self.keyring = Keyring(place.settings)
        self._notes = place.record_notes
        self._revoked = place.settings.signing.revoked

    @property
    def by_signature(self) -> bool:
        """Whether the settings name a key whose signatures count."""
        return self.keyring.has_keys

    def provenance(self, key: str, content: bytes, note: str | None) -> Provenance:
        """Judge the record of an artifact by its stored content and the content of its note (RecordNotes.note)."""
        if note == digest_of(content):
            return Provenance.UNKNOWN if self._taken_back(key, content) else Provenance.NOTED
        if note != GIVEN_UP and self.signer(key, content) is not None:
            return Provenance.SIGNED
        return Provenance.UNKNOWN if note in (None, GIVEN_UP) else Provenance.REPLACED

    def signer(self, key: str, content: bytes) -> str | None:
        """Return the fingerprint of the trusted key that signed the record of an artifact, or None."""
        return self.keyring.signer(Record, key, content)

    def _taken_back(self, key: str, content: bytes) -> bool:
        """Return whether a record was noted because of a signature by a key that had been revoked when it finished."""
        signer = self._notes.signer(key) if self._revoked else None
        if signer not in self._revoked:
            return False
        try:
            return volume_records.parse(content, key).finished >= self._revoked[signer]
        except ValueError:
            return True

"""Finding which key signed each recognised record, and which records a key signed before its revocation."""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from backup_agent.catalog.acceptance import unrecognised
from backup_agent.catalog.contents import by_database
from backup_agent.catalog.place import Place
from backup_agent.catalog.record_notes import GIVEN_UP
from backup_agent.catalog.volume_records import parse
from backup_agent.core.artifacts.keys import record_key
from backup_agent.core.artifacts.records import LARGEST, Record
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.signing.keyring import Keyring


class SignedRecord(NamedTuple):
    """A recognised record, and the key that signed it."""

    artifact: str
    key: str | None
    """Fingerprint of a key that the settings name; None if none of them signed the record."""
    finished: datetime


def signatures(place: Place) -> Iterator[SignedRecord]:
    """Yield the recognised records of a place, sorted by artifact, each with the key that signed it.

    Every record is read. Raise the store's error if the place cannot be read.
    """
    keyring = Keyring(place.settings)
    for found in by_database(place, writes=False, read_all=True):
        for artifact, entry in found.entries.items():
            try:
                content = place.store.read(record_key(artifact), LARGEST)
            except PermanentError as error:
                if error.failure.reason is Reason.NOT_FOUND:  # it was deleted meanwhile
                    continue
                raise
            yield SignedRecord(artifact, keyring.signer(Record, artifact, content, revoked=True), entry.finished)


def signed_before_revocation(place: Place) -> tuple[str, ...]:
    """Return the unrecognised artifacts that finished before the key that signed their record was revoked.

    Copies that were given up are left out. Raise the store's error if the place cannot be read.
    """
    keyring, revoked = Keyring(place.settings), place.settings.signing.revoked
    found: list[str] = []
    for one in unrecognised(place):
        if one.entry is None or place.record_notes.note(one.artifact) == GIVEN_UP:
            continue
        content = place.store.read(record_key(one.artifact), LARGEST)
        signer = keyring.signer(Record, one.artifact, content, revoked=True)
        if signer in revoked and parse(content, one.artifact).finished < revoked[signer]:
            found.append(one.artifact)
    return tuple(found)

"""Reading and writing records that the agent recognises.

A record is recognised by its note or by its signature (catalog.recognition).
"""

from contextlib import suppress

from backup_agent.catalog import volume_records
from backup_agent.catalog.place import Place
from backup_agent.catalog.recognition import Provenance, Recognition
from backup_agent.core.artifacts.keys import RECORD_SUFFIX, database_prefix, is_record_key, record_key
from backup_agent.core.artifacts.names import DatabaseName, SetName
from backup_agent.core.artifacts.records import LARGEST, Record
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.signing.keyring import Keyring


def create_on_volume(volume: Place, record: Record, keyring: Keyring) -> Record:
    """Sign a record, then write its note and the record to the volume. Return the record as written.

    A crash in between leaves a note, which is harmless. `keyring.fault` says why the record was not signed, if the
    settings name a key. Raise PermanentError (`already_exists`) if there is a record already; the note on that record
    is not changed.
    """
    record = keyring.sign(record)
    content = record.to_json()
    if volume.store.stat(record_key(record.key)) is None:
        volume.record_notes.add(record.key, content)
    volume.store.create(record_key(record.key), content)
    return record


def is_copy(content: bytes, record: Record) -> bool:
    """Return whether the stored record of a copy equals the volume's `record`.

    Only the fencing number and the signature may differ, because the process that writes the copy sets both.
    """
    try:
        own = {"fencing": record.fencing, "signature": record.signature}
        return Record.from_json(content).model_copy(update=own) == record
    except ValueError:
        return False


def read_record(place: Place, key: str) -> Record:
    """Return the record of an artifact that the agent has written or accepted.

    Raise PermanentError: `not_found` if there is no record, `unreadable` if it is invalid or differs from its note,
    `unrecognised` if it has neither a note nor a signature that counts. Raise the store's error if the place
    cannot be read.
    """
    return parsed(place, key, place.store.read(record_key(key), LARGEST))


def parsed(place: Place, key: str, content: bytes) -> Record:
    """Like `read_record`, for content that was already read."""
    note = place.record_notes.note(key)
    provenance = Recognition(place).provenance(key, content, note)
    where = f"{place.name}: {record_key(key)}"
    if provenance is Provenance.UNKNOWN:
        raise PermanentError(Reason.UNRECOGNISED, f"{where} is a record that the agent neither wrote nor accepted")
    if provenance is Provenance.REPLACED:
        raise PermanentError(
            Reason.UNREADABLE,
            f"{where}: {volume_records.replaced(str(note))}",
            "another program replaced it, and perhaps the artifact too: find out which programs can write there; "
            "`backup-agent list` shows the other places that have the artifact",
        )
    try:
        return volume_records.parse(content, key)
    except ValueError as error:
        raise PermanentError(
            Reason.UNREADABLE, f"{where} cannot be read: {error}", "see `backup-agent catalog diff`"
        ) from error


def recognised_records(place: Place, set_name: SetName, database: DatabaseName) -> tuple[Record, ...]:
    """Return the readable recognised records of one database, oldest first.

    Raise the store's error if the place cannot be listed.
    """
    records: list[Record] = []
    for listed in place.store.list(database_prefix(set_name, database)):
        if is_record_key(listed.key):
            with suppress(PermanentError):
                records.append(read_record(place, listed.key.removesuffix(RECORD_SUFFIX)))
    return tuple(sorted(records, key=lambda record: (record.header.taken, record.key)))

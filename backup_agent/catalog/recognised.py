"""Reading and writing records that the agent recognises.

A record is recognised if its SHA-256 equals the one in the agent's note on it (catalog.record_notes).
"""

from contextlib import suppress

from backup_agent.catalog import volume_records
from backup_agent.catalog.place import Place
from backup_agent.catalog.record_notes import digest_of
from backup_agent.core.artifacts.keys import RECORD_SUFFIX, database_prefix, is_record_key, record_key
from backup_agent.core.artifacts.names import DatabaseName, SetName
from backup_agent.core.artifacts.records import LARGEST, Record
from backup_agent.core.reasons import PermanentError, Reason


def create_on_volume(volume: Place, record: Record) -> None:
    """Write the note on a record, then the record, on the volume. A crash in between leaves a note, which is harmless.

    Raise PermanentError (`already_exists`) if there is a record already. Its note is not changed.
    """
    content = record.to_json()
    if volume.store.stat(record_key(record.key)) is None:
        volume.record_notes.add(record.key, content)
    volume.store.create(record_key(record.key), content)


def is_copy(content: bytes, record: Record) -> bool:
    """Return whether the record of a copy equals that of the volume. Only the number of the lease may differ."""
    try:
        return Record.from_json(content).model_copy(update={"fencing": record.fencing}) == record
    except ValueError:
        return False


def read_record(place: Place, key: str) -> Record:
    """Return the record of an artifact that the agent has written or accepted.

    Raise PermanentError: `not_found` if there is no record, `unreadable` if it is invalid or differs from its note,
    `unrecognised` if it has no note. Raise the store's error if the place cannot be read.
    """
    return parsed(place, key, place.store.read(record_key(key), LARGEST))


def parsed(place: Place, key: str, content: bytes) -> Record:
    """Like `read_record`, for content that was already read."""
    noted = place.record_notes.digest(key)
    where = f"{place.name}: {record_key(key)}"
    if noted is None:
        raise PermanentError(Reason.UNRECOGNISED, f"{where} is a record that the agent neither wrote nor accepted")
    if digest_of(content) != noted:
        raise PermanentError(
            Reason.UNREADABLE,
            f"{where}: {volume_records.replaced(noted)}",
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

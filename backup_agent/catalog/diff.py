"""What does not fit at a place: storage against its records, and the index against both. Nothing is repaired.

An index that only lags is no drift: what it lacks is read from the records whenever it is used.
"""

import hashlib
from collections.abc import Iterator

from backup_agent.catalog import volume_records
from backup_agent.catalog.contents import Contents, by_database
from backup_agent.catalog.index import faults
from backup_agent.catalog.place import Place
from backup_agent.core.artifacts.drift import Finding, Kind, ListedKey
from backup_agent.core.artifacts.keys import artifact_key, record_key
from backup_agent.core.artifacts.records import LARGEST
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.stores.store import Store


def diff(place: Place, *, checksums: bool = False) -> Iterator[Finding]:
    """Yield what does not fit at a place, one database after the other.

    Every record is read, whatever the index says; with `checksums` every artifact too. Raise what the store does where
    it cannot be read: what is not known is not called drift.
    """
    for fault in faults(place.index):
        yield Finding(Kind.INDEX_DIFFERS, place.index.name, f"the index: {fault}")
    for holdings in by_database(place.store, place.index, trust=False, writes=False):
        yield from _known(holdings)
        if checksums:
            for key in holdings.entries:
                if key not in holdings.without_artifact:
                    yield from _changed(place.store, key)


def _known(holdings: Contents) -> Iterator[Finding]:
    yield from holdings.altered.values()
    for findings in holdings.without_artifact.values():
        yield from findings
    yield from holdings.gaps.values()
    for one in holdings.unreadable:
        yield Finding(Kind.UNREADABLE, one.key, one.fault)
    for found in holdings.orphans:
        yield _of(Kind.ARTIFACT_WITHOUT_RECORD, found, "`catalog adopt` takes it in where it is sound")
    for found in holdings.foreign:
        yield _of(Kind.FOREIGN, found, "none of the agent's; it is left alone")


def _of(kind: Kind, found: ListedKey, text: str) -> Finding:
    return Finding(kind, found.key, f"{found.size} bytes; {text}")


def _changed(store: Store, artifact: str) -> Iterator[Finding]:
    """Yield the files of an artifact whose content is not what its record says."""
    try:
        record = volume_records.parse(store.read(record_key(artifact), LARGEST), artifact)
    except (PermanentError, ValueError) as error:
        yield Finding(Kind.UNREADABLE, record_key(artifact), f"it could be read a moment ago: {error}")
        return
    for file in record.files:
        key = artifact_key(record.set, record.database, file.name)
        try:
            with store.open(key) as content:
                found = hashlib.file_digest(content, "sha256").hexdigest()
        except PermanentError as error:
            if error.failure.reason is not Reason.NOT_FOUND:
                raise
            yield Finding(Kind.RECORD_WITHOUT_ARTIFACT, key, "its file is missing")
            continue
        if found != file.sha256:
            yield Finding(Kind.CHECKSUM_CHANGED, key, f"SHA-256 {file.sha256} was recorded, it has {found}")

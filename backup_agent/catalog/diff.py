"""Drift at a place: differences between files, records and index. Nothing is repaired.

An artifact that the index lacks is not drift: its record is read when the index is used.
"""

import hashlib
import time
from collections.abc import Callable, Iterator

from backup_agent.catalog.contents import STRANGE_HOLD, Contents, by_database
from backup_agent.catalog.index import faults
from backup_agent.catalog.place import Place
from backup_agent.catalog.recognised import read_record
from backup_agent.core.artifacts.drift import MOST_FOREIGN, Finding, Kind, ListedKey
from backup_agent.core.artifacts.keys import artifact_key, artifact_of, hold_key, prefix_of, record_key
from backup_agent.core.reasons import PermanentError, Reason

SETTLE_SECONDS = 2.0
"""Time between two looks: more than publishing or deleting one artifact takes."""


def diff(place: Place, *, checksums: bool = False) -> Iterator[Finding]:
    """Yield the drift at a place, one database at a time.

    Every record is read, and if `checksums`, every artifact. Raise the store's error if the place cannot be read.
    """
    for fault in faults(place.index):
        yield Finding(Kind.INDEX_DIFFERS, place.index.name, f"the index: {fault}")
    foreign = more_foreign = 0
    for contents in by_database(place, trust=False, writes=False, read_all=True):
        yield from _without_checksums(contents)
        kept = contents.foreign[: MOST_FOREIGN - foreign]
        foreign += len(kept)
        more_foreign += contents.more_foreign + len(contents.foreign) - len(kept)
        for found in kept:
            yield _of(Kind.FOREIGN, found, "not a file of the agent, left alone")
        if checksums:
            for key in contents.entries:
                if key not in contents.without_artifact:
                    yield from _changed(place, key)
    if more_foreign:
        yield Finding(Kind.FOREIGN, place.name, f"{more_foreign} more files that are not the agent's, left alone")


def confirmed_drift(
    place: Place, *, checksums: bool = False, wait: Callable[[float], object] = time.sleep
) -> list[Finding]:
    """Return the drift that a second look confirms.

    A backup that is published, and a pass that deletes, change a record and its files one after the other: between
    the two they do not match. Raise the store's error if the place cannot be read.
    """
    first = list(diff(place, checksums=checksums))
    if not first:
        return []
    wait(SETTLE_SECONDS)
    again = {(one.kind, one.key) for one in diff(place)}
    changed = {artifact_of(one.key) for one in first if one.kind is Kind.CHECKSUM_CHANGED}
    again |= {(one.kind, one.key) for artifact in changed for one in _changed(place, artifact)}
    return [one for one in first if (one.kind, one.key) in again]


def _without_checksums(contents: Contents) -> Iterator[Finding]:
    """Yield the drift of one database that shows without reading its artifacts."""
    yield from contents.altered.values()
    for findings in contents.without_artifact.values():
        yield from findings
    yield from contents.gaps.values()
    for one in contents.unreadable:
        yield Finding(Kind.UNREADABLE, one.key, one.fault)
    for artifact, unrecognised in contents.unrecognised.items():
        text = unrecognised.fault or "the agent neither wrote nor accepted this record; `catalog accept` accepts it"
        yield Finding(Kind.UNRECOGNISED, record_key(artifact), text)
    for artifact in contents.strange_holds:
        yield Finding(Kind.UNRECOGNISED, hold_key(artifact), STRANGE_HOLD)
    for found in contents.orphans:
        yield _of(Kind.ARTIFACT_WITHOUT_RECORD, found, "`catalog adopt` adopts it if it is undamaged")
    if contents.more_orphans:
        folder = prefix_of(contents.orphans[0].key)
        yield Finding(Kind.ARTIFACT_WITHOUT_RECORD, folder, f"{contents.more_orphans} more files without a record")


def _of(kind: Kind, found: ListedKey, text: str) -> Finding:
    return Finding(kind, found.key, f"{found.size} bytes; {text}")


def _changed(place: Place, artifact: str) -> Iterator[Finding]:
    """Yield the files of an artifact whose content differs from its record."""
    try:
        record = read_record(place, artifact)
    except PermanentError as error:
        yield Finding(Kind.UNREADABLE, record_key(artifact), f"unreadable at the second reading: {error}")
        return
    for file in record.files:
        key = artifact_key(record.set, record.database, file.name)
        try:
            with place.store.open(key) as content:
                found = hashlib.file_digest(content, "sha256").hexdigest()
        except PermanentError as error:
            if error.failure.reason is not Reason.NOT_FOUND:
                raise
            yield Finding(Kind.RECORD_WITHOUT_ARTIFACT, key, "its file is missing")
            continue
        if found != file.sha256:
            yield Finding(Kind.CHECKSUM_CHANGED, key, f"it has the SHA-256 {found}, {file.sha256} was recorded")

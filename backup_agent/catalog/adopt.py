"""Adopting artifacts without a record: another tool made them, or a crash came before the record was written.

Three layouts are supported: the agent's own, a plain folder of `.backup` files, and the layout of Neo4j's Helm chart
(one folder for all databases, with `.backup.report` folders and their archives). Paths are therefore not trusted:
database and chain are read from the headers.

A found file is never moved, changed or overwritten. If it is not at its place in the agent's layout, it is hard-linked
there, or copied there from another file system. Its record is written last. A crash leaves the link or the copy, which
the next adoption recognises as the same file.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from backup_agent.artifact.files import locate
from backup_agent.artifact.header import read_header
from backup_agent.artifact.reading import ArtifactReading, read_through
from backup_agent.catalog.audit_log import AuditLog
from backup_agent.catalog.damage_marks import damaged
from backup_agent.catalog.journal import Doing
from backup_agent.catalog.place import place_of
from backup_agent.catalog.recognised import create_on_volume, recognised_records
from backup_agent.core.artifacts.attribution import LONGEST_TEXT
from backup_agent.core.artifacts.chains import TypeReason, parent_of
from backup_agent.core.artifacts.keys import ARTIFACT_SUFFIX, RECORD_SUFFIX, artifact_key, database_key, record_key
from backup_agent.core.artifacts.names import (
    DEFAULT_SET,
    VOLUME,
    DatabaseName,
    SetName,
    artifact_name,
    misnamed,
    set_name_or_none,
)
from backup_agent.core.artifacts.parts import part_size
from backup_agent.core.artifacts.records import BackupType, Header, Record
from backup_agent.core.audit.lines import AuditKind, recorded
from backup_agent.core.reasons import BackupError, PermanentError, Reason
from backup_agent.settings.model import Settings
from backup_agent.signing.keyring import Keyring

REQUEST = "catalog adopt"
"""The request id in the records of adopted artifacts. No request can have this id."""

LENIENT = "2026.02"
"""The version of neo4j-admin that is assumed if a differential overlaps its parent: the real version is unknown."""


class AdoptOutcome(StrEnum):
    """The outcome of adopting one artifact."""

    ADOPTED = "adopted"
    WOULD_BE = "would be adopted"
    RECORDED = "recorded already"
    REFUSED = "refused"


class Result(NamedTuple):
    """One found artifact: its path, the outcome, its key if it has one, and the reason for a refusal."""

    path: Path
    became: AdoptOutcome
    key: str | None = None
    why: str = ""


class _Candidate(NamedTuple):
    path: Path
    header: Header
    set: SetName
    name: str
    """The file name that the adopted artifact gets."""

    @property
    def key(self) -> str:
        return artifact_key(self.set, self.header.database, self.name)


@dataclass
class Adopting:
    """One adoption. Unless `dry_run` is set, the caller must hold the lock of the storage root."""

    settings: Settings
    now: datetime
    source: Path | None = None
    """The folder to search; None for the storage root."""
    set: SetName | None = None
    """The set for all artifacts. If None, the set comes from the path; if the path names no set, it is `default`."""
    dry_run: bool = False
    _members: dict[tuple[SetName, DatabaseName], dict[str, Record]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Derive the volume and the keyring from the settings."""
        self._volume = place_of(VOLUME, self.settings)
        self.keyring = Keyring(self.settings)
        self._root, self._journal = self._volume.root, self._volume.journal
        self._audit = AuditLog(self._root)

    def run(self) -> Iterator[Result]:
        """Adopt all artifacts that can be adopted, parents first. Yield the outcome of each.

        Raise BackupError or OSError if the folder cannot be searched.
        """
        found: list[_Candidate] = []
        for path in self._artifacts():
            one = self._look(path)
            if isinstance(one, Result):
                yield one
            else:
                found.append(one)
        for one in sorted(found, key=lambda one: (one.header.taken, not one.header.full, one.key, str(one.path))):
            yield self._take(one)

    def _artifacts(self) -> Iterator[Path]:
        """Yield the artifacts below the folder that have no record, except those in hidden folders."""

        def fail(error: OSError) -> None:
            raise error

        top = self.source or self._root
        for folder, below, names in os.walk(top, onerror=fail):
            below[:] = sorted(name for name in below if not name.startswith(".") and name != "lost+found")
            there = set(names)
            for name in sorted(names):
                path = Path(folder, name)
                if (
                    name.endswith(ARTIFACT_SUFFIX)
                    and not name.startswith(".")
                    and path.is_file()
                    and not path.is_symlink()
                ):
                    beside = name + RECORD_SUFFIX
                    if not (beside in there and path.is_relative_to(self._root)):
                        yield path

    def _look(self, path: Path) -> _Candidate | Result:
        """Read the header of an artifact and determine its set and name. Return a refusal if it has no valid place."""
        try:
            header = read_header(path)
        except BackupError as error:
            return Result(path, AdoptOutcome.REFUSED, None, error.failure.error)
        database = header.database
        name = artifact_name(database, header.taken) if misnamed(path.name, database, header.taken) else path.name
        set_name = self.set or self._set_of(path, header, name)
        if set_name not in self.settings.declared_sets:
            why = f"the set {set_name} is not declared, so it would expire: add it to `sets`, or give another --set"
            return Result(path, AdoptOutcome.REFUSED, artifact_key(set_name, database, name), why)
        return _Candidate(path, header, set_name, name)

    def _set_of(self, path: Path, header: Header, name: str) -> SetName:
        if not path.is_relative_to(self._root):
            return DEFAULT_SET
        first, *rest = path.relative_to(self._root).parts
        found = set_name_or_none(first)
        in_place = rest == [header.database, name]
        return found if found and (in_place or (rest and found in self.settings.declared_sets)) else DEFAULT_SET

    def _take(self, one: _Candidate) -> Result:
        members = self._recorded(one.set, one.header.database)
        try:
            if (same := self._linked(one, members.values())) is not None:
                if not self.dry_run:
                    if any(intent.key == same.key for intent in self._journal):
                        self._note_adopted(same)  # a crash came after the record was written
                    self._journal.done(same.key)
                return Result(one.path, AdoptOutcome.RECORDED, same.key)
            if self._is_being_deleted(one.key):
                return Result(one.path, AdoptOutcome.REFUSED, one.key, "the agent was deleting it when it was stopped")
            reading = read_through(one.path, part_size=part_size)
            if (same := _equal(reading, members.values())) is not None:
                return Result(one.path, AdoptOutcome.RECORDED, same.key)
            if one.key in members or (self._root / record_key(one.key)).exists():
                why = "another artifact is recorded under this name, and is not overwritten"
                return Result(one.path, AdoptOutcome.REFUSED, one.key, why)
            record = self._record(one, reading, members)
            if not self.dry_run:
                self._publish(one, record)
        except BackupError as error:
            return Result(one.path, AdoptOutcome.REFUSED, one.key, error.failure.error)
        members[record.key] = record
        return Result(one.path, AdoptOutcome.WOULD_BE if self.dry_run else AdoptOutcome.ADOPTED, record.key)

    def _recorded(self, set_name: SetName, database: DatabaseName) -> dict[str, Record]:
        """Return the records of a database in a set, including those written by this adoption."""
        if (set_name, database) not in self._members:
            found = recognised_records(self._volume, set_name, database)
            self._members[set_name, database] = {record.key: record for record in found}
        return self._members[set_name, database]

    def _linked(self, one: _Candidate, members: Iterable[Record]) -> Record | None:
        """Return the record whose file is the same inode, or None.

        Such an artifact was adopted before by a hard link.
        """
        here = one.path.stat()
        for record in members:
            if record.header == one.header:
                try:
                    there = (self._root / record.key).stat()
                except FileNotFoundError:
                    continue
                if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
                    return record
        return None

    def _is_being_deleted(self, key: str) -> bool:
        return any(intent.key == key and intent.doing is Doing.DELETING for intent in self._journal)

    def _record(self, one: _Candidate, reading: ArtifactReading, members: dict[str, Record]) -> Record:
        """Return the record of an artifact. Raise PermanentError for a differential without a recorded parent."""
        header = reading.header
        parent = None if header.full else self._parent(one, header, members)
        record = Record(
            key=one.key,
            cluster=self.settings.cluster,
            set=one.set,
            database=header.database,
            type=BackupType.FULL if header.full else BackupType.DIFF,
            type_reason=TypeReason.ADOPTED.value,
            parent=parent and parent.key,
            header=header,
            files=tuple(
                file.model_copy(update={"name": one.name + file.name.removeprefix(one.path.name)})
                for file in reading.files
            ),
            raw_size=reading.raw_size,
            history=header.history,
            request=REQUEST,
            reason=f"found at {one.path}"[:LONGEST_TEXT],
            # Not the time of the adoption: an old artifact must not look like a backup that succeeded today.
            started=header.taken,
            finished=header.taken,
            warnings=reading.problems,
            audit_head=self._audit.head().digest or None,
        )
        return record.bounded()

    def _parent(self, one: _Candidate, header: Header, members: dict[str, Record]) -> Record:
        marked = damaged(self._root, one.set, header.database)
        sound = [record for record in members.values() if record.key not in marked and self._has_files(record)]
        parent = parent_of(header, sound, None) or parent_of(header, sound, LENIENT)
        if parent is None:
            raise PermanentError(
                Reason.CHAIN_BROKEN,
                f"no artifact that this differential (transactions {header.lowest} to {header.highest}) continues is "
                f"recorded in {database_key(one.set, header.database)}",
            )
        return parent

    def _has_files(self, record: Record) -> bool:
        """Return whether the files of a record exist. A dry run returns True: its artifacts have no files there yet."""
        folder = self._root / record.set / record.database
        return self.dry_run or all((folder / file.name).is_file() for file in record.files)

    def _publish(self, one: _Candidate, record: Record) -> None:
        """Put the files in their place, then write the record: data first, record second (invariant 1)."""
        paths = locate(one.path).paths
        keys = tuple(artifact_key(record.set, record.database, file.name) for file in record.files)
        self._journal.begin_publishing(self._volume.store, record.key, keys, self.now)
        for path, key, file in zip(paths, keys, record.files, strict=True):
            self._volume.store.put_artifact(key, path, file.model_copy(update={"name": path.name}), lambda _count: None)
        create_on_volume(self._volume, record, self.keyring)
        self._note_adopted(record)
        self._journal.done(record.key)

    def _note_adopted(self, record: Record) -> None:
        digest = self._volume.record_notes.digest(record.key) or ""
        self._audit.append(recorded(record, digest, AuditKind.ADOPTED))


def _equal(reading: ArtifactReading, members: Iterable[Record]) -> Record | None:
    """Return the record of an artifact with the same header and content, whatever its name, or None."""
    content = [file.sha256 for file in reading.files]
    return next(
        (one for one in members if one.header == reading.header and [file.sha256 for file in one.files] == content),
        None,
    )

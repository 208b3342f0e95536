"""Taking in artifacts that are not recorded: of another tool, or whose record a crash has kept from being written.

Two layouts beside our own are met: a plain folder of `.backup` files, and that of Neo4j's Helm chart, which is one of
all databases together, with `.backup.report` folders and their archives between them. So nothing is believed of a path:
database and chain are read from the headers.

What is found is never moved, changed or overwritten. What does not lie in its place gets a second name there (a hard
link; a copy where it is another file system), and only the record makes it the agent's. A crash in the middle leaves
that second name, which the next adopting finds to be the same file.
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
from backup_agent.catalog import volume_records
from backup_agent.catalog.damage_marks import damaged
from backup_agent.catalog.journal import Doing
from backup_agent.catalog.place import place_of
from backup_agent.core.artifacts.chains import TypeReason, parent_of
from backup_agent.core.artifacts.keys import ARTIFACT_SUFFIX, RECORD_SUFFIX, artifact_key, database_key, record_key
from backup_agent.core.artifacts.names import SET, VOLUME, DatabaseName, artifact_name, misnamed
from backup_agent.core.artifacts.parts import part_size
from backup_agent.core.artifacts.records import BackupType, Header, Record
from backup_agent.core.reasons import BackupError, PermanentError, Reason
from backup_agent.settings.model import DEFAULT_SET, Settings

REQUEST = "catalog adopt"
"""Stands for the request in the record: no id of one can be this."""

LENIENT = "2026.02"
"""The version of neo4j-admin that is assumed where its differential overlaps a full: who wrote it is not known."""


class AdoptOutcome(StrEnum):
    """What became of an artifact that was found."""

    ADOPTED = "adopted"
    WOULD_BE = "would be adopted"
    RECORDED = "recorded already"
    REFUSED = "refused"


class Result(NamedTuple):
    """One artifact that was found: where, its key where it has one, what became of it, and why."""

    path: Path
    became: AdoptOutcome
    key: str | None = None
    why: str = ""


class _Candidate(NamedTuple):
    path: Path
    header: Header
    set: str
    name: str
    """Its name in its place."""

    @property
    def key(self) -> str:
        return artifact_key(self.set, self.header.database, self.name)


@dataclass
class Adopting:
    """One adopting. Who calls it holds the lock of the root, unless `dry_run`."""

    settings: Settings
    now: datetime
    source: Path | None = None
    """Where to look; None is everywhere below the root."""
    set: str | None = None
    """The set to take all into; None: where it stands in our layout, else a folder of a set's name, else `default`."""
    dry_run: bool = False
    _members: dict[tuple[str, DatabaseName], dict[str, Record]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Find the volume."""
        self._volume = place_of(VOLUME, self.settings)
        self._root, self._journal = self._volume.root, self._volume.journal

    def run(self) -> Iterator[Result]:
        """Take in what can be taken in, a parent before what continues it; yield what became of each.

        Raise BackupError or OSError where the folder cannot be looked through.
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
        """Yield the artifacts below the folder that have no record beside them, hidden folders left out."""

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
        """Read the header and find the artifact its place."""
        try:
            header = read_header(path)
        except BackupError as error:
            return Result(path, AdoptOutcome.REFUSED, None, error.failure.error)
        database = header.database
        name = artifact_name(database, header.taken) if misnamed(path.name, database, header.taken) else path.name
        set_name = self.set or self._set_of(path, header, name)
        if set_name not in self.settings.declared_sets:
            why = f"the set {set_name} is not declared, so it would be removed: add it to `sets`, or give another --set"
            return Result(path, AdoptOutcome.REFUSED, artifact_key(set_name, database, name), why)
        return _Candidate(path, header, set_name, name)

    def _set_of(self, path: Path, header: Header, name: str) -> str:
        if not path.is_relative_to(self._root):
            return DEFAULT_SET
        first, *rest = path.relative_to(self._root).parts
        in_place = rest == [header.database, name] and SET.fullmatch(first)
        return first if in_place or (rest and first in self.settings.declared_sets) else DEFAULT_SET

    def _take(self, one: _Candidate) -> Result:
        members = self._recorded(one.set, one.header.database)
        try:
            if (same := self._linked(one, members.values())) is not None:
                if not self.dry_run:
                    self._journal.done(same.key)  # a crash may have come after the record
                return Result(one.path, AdoptOutcome.RECORDED, same.key)
            if self._is_being_deleted(one.key):
                return Result(one.path, AdoptOutcome.REFUSED, one.key, "the agent was deleting it when it was ended")
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

    def _recorded(self, set_name: str, database: DatabaseName) -> dict[str, Record]:
        """Return what is recorded of a database in a set, and what has been taken in since."""
        if (set_name, database) not in self._members:
            found = volume_records.of_database(self._root, set_name, database)
            self._members[set_name, database] = {record.key: record for record in found}
        return self._members[set_name, database]

    def _linked(self, one: _Candidate, members: Iterable[Record]) -> Record | None:
        """Return the record of which this is the very file: adopted before, by a second name."""
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
        """Return the record of an artifact; raise PermanentError for a differential that continues nothing."""
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
            note=f"found at {one.path}",
            # Not when it was adopted: what is years old must not look like a backup that succeeded today.
            started=header.taken,
            finished=header.taken,
            warnings=reading.problems,
        )
        return record.bounded()

    def _parent(self, one: _Candidate, header: Header, members: dict[str, Record]) -> Record:
        marked = damaged(self._root, one.set, header.database)
        sound = [record for record in members.values() if record.key not in marked and self._stands(record)]
        parent = parent_of(header, sound, None) or parent_of(header, sound, LENIENT)
        if parent is None:
            raise PermanentError(
                Reason.CHAIN_BROKEN,
                f"this differential holds {header.lowest} to {header.highest}, and nothing that it could continue is "
                f"recorded in {database_key(one.set, header.database)}",
            )
        return parent

    def _stands(self, record: Record) -> bool:
        """Tell whether the files of a record are there; what a dry run would have adopted counts."""
        folder = self._root / record.set / record.database
        return self.dry_run or all((folder / file.name).is_file() for file in record.files)

    def _publish(self, one: _Candidate, record: Record) -> None:
        """Give the files their place, then record them: data first, record second (invariant 1)."""
        paths = locate(one.path).paths
        keys = tuple(artifact_key(record.set, record.database, file.name) for file in record.files)
        self._journal.begin_publishing(self._volume.store, record.key, keys, self.now)
        for path, key, file in zip(paths, keys, record.files, strict=True):
            self._volume.store.put_artifact(key, path, file.model_copy(update={"name": path.name}), lambda _count: None)
        self._volume.store.create(record_key(record.key), record.to_json())
        self._journal.done(record.key)


def _equal(reading: ArtifactReading, members: Iterable[Record]) -> Record | None:
    """Return the record of the same content, under whatever name."""
    content = [file.sha256 for file in reading.files]
    return next(
        (one for one in members if one.header == reading.header and [file.sha256 for file in one.files] == content),
        None,
    )

"""Builder: places filled with small artifacts and their records. Their content is not that of real artifacts."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backup_agent.catalog.place import Place, place_of
from backup_agent.core.artifacts.keys import damage_key, hold_key, record_key
from backup_agent.core.artifacts.marks import Damage, Hold
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.artifacts.records import Record
from backup_agent.stores.store import Store
from tests.builders import TAKEN, content, settings_with


@dataclass(frozen=True)
class FilledPlace:
    """A place that a test fills and empties."""

    place: Place

    @property
    def store(self) -> Store:
        """The store of the place."""
        return self.place.store

    def at(self, index: Path, store: Store | None = None) -> Place:
        """Return the place with another index, and with another store if one is given."""
        other = with_store(Place(self.place.name, self.place.settings), store or self.store)
        vars(other)["index"] = index
        return other

    def add(self, record: Record, *, files: bool = True, recognised: bool = True) -> Record:
        """Put an artifact into the store, then its record, with a note on the record if it is recognised."""
        if files:
            for file in record.files:
                self.put(f"{record.set}/{record.database}/{file.name}", content(file.name))
        if recognised:
            self.place.record_notes.add(record.key, record.to_json())
        self.store.create(record_key(record.key), record.to_json())
        return record

    def remove(self, record: Record) -> None:
        """Delete a record, then its artifact."""
        self.store.delete(record_key(record.key))
        for file in record.files:
            self.store.delete(f"{record.set}/{record.database}/{file.name}")

    def put(self, key: str, data: bytes) -> None:
        """Put an object under a key."""
        self.store.delete(key)
        self.store.create(key, data)

    def put_record(self, record: Record, data: bytes) -> None:
        """Put a record with other content or in another form beside its artifact, with a note, as if the agent had written it."""
        self.place.record_notes.add(record.key, data)
        self.put(record_key(record.key), data)

    def hold(self, record: Record) -> Hold:
        """Put a hold beside an artifact."""
        mark = Hold(key=record.key, since=TAKEN, reason="audit", request="hold-1")
        if not self.place.is_volume:
            self.place.wanted_holds.hold(mark)
        self.put(hold_key(record.key), mark.to_json())
        return mark

    def damage(self, record: Record) -> Damage:
        """Mark an artifact as damaged."""
        mark = Damage(key=record.key, since=TAKEN, found="SHA-256 differs")
        if not self.place.is_volume:
            self.place.damage_notes.note(record.key, damaged=True)
        self.put(damage_key(record.key), mark.to_json())
        return mark


def write_record(root: Path, record: Record) -> None:
    """Replace a record on the volume, with its note, as the agent does."""
    place = place_at(root)
    place.record_notes.add(record.key, record.to_json())
    (root / record_key(record.key)).write_bytes(record.to_json())


def filled(root: Path, store: Store | None = None, name: str = VOLUME) -> FilledPlace:
    """Return a place to fill, whose storage root is a folder: the volume, or a destination with this store."""
    return FilledPlace(place_at(root, name, store))


def place_at(
    root: Path, name: str = VOLUME, store: Store | None = None, bucket: str = "backups", **settings: Any
) -> Place:
    """Return a place whose storage root is a folder, with another store if one is given."""
    destinations = {} if name == VOLUME else {name: {"bucket": bucket}}
    given = settings_with(**{"storage": {"root": str(root), "destinations": destinations}, **settings})
    return with_store(place_of(name, given), store)


def with_store(place: Place, store: Store | None) -> Place:
    """Return a place with another store than the one of its settings."""
    if store is not None:
        vars(place)["store"] = store
    return place


def newer(data: bytes) -> bytes:
    """Return a record or mark as a newer agent would write it."""
    return json.dumps({**json.loads(data), "schema": 2}).encode()


def tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return the content and the inode of each file below a folder."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_ino)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }

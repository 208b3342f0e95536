"""Stores filled with small artifacts and their records. None of them is a real backup."""

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
class FilledStore:
    """A store that a test fills and empties."""

    store: Store

    def add(self, record: Record, *, files: bool = True) -> Record:
        """Put an artifact into the store, then its record."""
        if files:
            for file in record.files:
                self.put(f"{record.set}/{record.database}/{file.name}", content(file.name))
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

    def hold(self, record: Record) -> Hold:
        """Put a hold beside an artifact."""
        mark = Hold(key=record.key, since=TAKEN, reason="audit", request="hold-1")
        self.put(hold_key(record.key), mark.to_json())
        return mark

    def damage(self, record: Record) -> Damage:
        """Mark an artifact as damaged."""
        mark = Damage(key=record.key, since=TAKEN, found="SHA-256 differs")
        self.put(damage_key(record.key), mark.to_json())
        return mark


def place_at(root: Path, name: str = VOLUME, store: Store | None = None, **settings: Any) -> Place:
    """Return a place whose storage root is a folder, with another store if one is given."""
    destinations = {} if name == VOLUME else {name: {"bucket": "backups"}}
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
    """Return all files below a folder: content and inode."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_ino)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }

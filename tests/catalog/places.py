"""Places to catalog: artifacts with their records in a store, small and made here, none of them a real backup."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from backup_agent.core.artifacts.marks import Damage, Hold
from backup_agent.core.artifacts.names import artifact_name, damage_key, hold_key, record_key
from backup_agent.core.artifacts.records import ArtifactFile, BackupType, Header, Record
from backup_agent.stores.store import Store

TAKEN = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)


def made(
    hour: int = 0, *, set_name: str = "default", database: str = "orders", parts: int = 0, **changes: Any
) -> Record:
    """Return the record of an artifact; of one with parts the contents are those of `contents`."""
    taken = TAKEN + timedelta(hours=hour)
    name = artifact_name(database, taken)
    names = [name, *(f"{name}.{number}" for number in range(1, parts + 1))]
    full = hour % 24 == 0
    facts: dict[str, Any] = {
        "key": f"{set_name}/{database}/{name}",
        "cluster": "demo",
        "set": set_name,
        "database": database,
        "type": BackupType.FULL if full else BackupType.DIFF,
        "type_reason": "asked",
        "header": Header(
            magic="BZV2",
            database=database,
            database_id=UUID(int=7),
            store_id="1-2-record-aligned-1.1",
            taken=taken,
            lowest=1 if full else 10 * hour + 1,
            highest=10 * (hour + 1),
            full=full,
            compressed=True,
            recovered=False,
        ),
        "files": tuple(
            ArtifactFile(name=one, size=len(content(one)), sha256=hashlib.sha256(content(one)).hexdigest())
            for one in names
        ),
        "request": "nightly-1",
        "started": taken,
        "finished": taken + timedelta(seconds=4, microseconds=hour),
    }
    return Record(**{**facts, **changes})


def content(name: str) -> bytes:
    """What stands in the file of that name."""
    return f"content of {name}\n".encode() * 3


@dataclass(frozen=True)
class Place:
    """A store that is filled and emptied by hand."""

    store: Store

    def add(self, record: Record, *, files: bool = True) -> Record:
        """Put an artifact there, then its record."""
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
        """Put anything under a key."""
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

"""Values that many tests need. Each builder has defaults, and takes every field as a keyword."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from backup_agent.core.artifacts.attribution import Attribution
from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.names import DatabaseName, PlaceName, artifact_name
from backup_agent.core.artifacts.records import ArtifactFile, BackupType, Header, Record
from backup_agent.core.neo4j.topology import Copy, Topology
from backup_agent.core.requests.answers import Answer, State
from backup_agent.core.requests.request import Request
from backup_agent.jobs.event_writer import EventWriter
from backup_agent.settings.model import Settings
from backup_agent.supervisor.requests.spool import Spool

ORDERS = DatabaseName("orders")
OFFSITE = PlaceName("offsite")

ATTRIBUTION: dict[str, Any] = {
    name: field.examples[0] for name, field in Attribution.model_fields.items() if field.examples
}
"""Example values of the fields of `Attribution`: what a request says of itself."""

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
"""A traceparent."""

TAKEN = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
"""When the first artifact was taken; also the default time of everything else."""


def settings_tree(**sections: Any) -> dict[str, Any]:
    """Return settings as in the YAML file: the required keys, and these sections."""
    return {"cluster": "demo", "neo4j": {"uri": "neo4j://demo:7687"}, **sections}


def settings_with(**sections: Any) -> Settings:
    """Return settings with the required keys and these sections."""
    return Settings.model_validate(settings_tree(**sections))


def a_header(hour: int = 0, *, full: bool | None = None, **changes: Any) -> Header:
    """Return the header of an artifact that was taken so many hours after `TAKEN`.

    Each day begins with a full. Differentials follow each hour, ten append indexes each.
    """
    full = hour % 24 == 0 if full is None else full
    facts: dict[str, Any] = {
        "magic": "BZV2",
        "database": "orders",
        "database_id": UUID(int=7),
        "store_id": "1-2-record-aligned-1.1",
        "taken": TAKEN + timedelta(hours=hour),
        "lowest": 1 if full else 10 * hour + 1,
        "highest": 10 * (hour + 1),
        "full": full,
        "compressed": True,
        "recovered": full,
    }
    return Header(**{**facts, **changes})


def content(name: str) -> bytes:
    """Return the content of an artifact's file."""
    return f"content of {name}\n".encode() * 3


def artifact_file(name: str, data: bytes | None = None) -> ArtifactFile:
    """Return the entry of a file in a record. Without `data` the file has the content that `content` returns."""
    data = content(name) if data is None else data
    return ArtifactFile(name=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def a_record(
    hour: int = 0,
    *,
    set_name: str = "default",
    database: str = "orders",
    full: bool | None = None,
    parts: int = 0,
    **changes: Any,
) -> Record:
    """Return the record of an artifact with the header of `hour`. `parts` is the number of files besides the manifest."""
    found: Header = changes.pop("header", None) or a_header(hour, database=database, full=full)
    name = artifact_name(DatabaseName(database), found.taken)
    facts: dict[str, Any] = {
        "key": f"{set_name}/{database}/{name}",
        "cluster": "demo",
        "set": set_name,
        "database": database,
        "type": BackupType.FULL if found.full else BackupType.DIFF,
        "type_reason": "asked" if found.full else "chain_continues",
        "header": found,
        "files": (artifact_file(name), *(artifact_file(f"{name}.{number}") for number in range(1, parts + 1))),
        "request": "nightly-1",
        "started": found.taken,
        "finished": found.taken + timedelta(seconds=4, microseconds=hour),
        "source": "server-1:6362",
    }
    return Record(**{**facts, **changes})


def an_entry(name: str, *, set_name: str = "default", database: str = "orders", **changes: Any) -> Entry:
    """Return the catalog's entry of a full, or of a differential if `name` begins with D or E."""
    full = not name.startswith(("D", "E"))
    taken = changes.get("taken", TAKEN)
    facts: dict[str, Any] = {
        "key": f"{set_name}/{database}/{name}",
        "set": set_name,
        "database": database,
        "full": full,
        "taken": taken,
        "finished": taken,
        "lowest": 1,
        "highest": 10,
        "database_id": "00000000-0000-0000-0000-000000000001",
        "store_id": "1-2-record-aligned-1.1",
        "size": 100 if full else 10,
        "parent": None,
        "version": "2026.09.0",
    }
    return Entry(**{**facts, **changes})


def record_of(line: Entry) -> Record:
    """Return a record with the values of an entry. It is not validated: its name need not be that of an artifact."""
    name = line.key.rpartition("/")[2]
    found = Header.model_construct(
        magic="BZV2", database=line.database, database_id=UUID(line.database_id), store_id=line.store_id,
        taken=line.taken, lowest=line.lowest, highest=line.highest, full=line.full, compressed=True, recovered=line.full,
    )  # fmt: skip
    return Record.model_construct(
        key=line.key, cluster="demo", set=line.set, database=line.database,
        type=BackupType.FULL if line.full else BackupType.DIFF, type_reason="asked", parent=line.parent, header=found,
        files=(ArtifactFile(name=name, size=line.size, sha256="0" * 64),), request="nightly-1", started=line.taken,
        finished=line.finished, admin_version=line.version,
    )  # fmt: skip


def an_answer(**fields: Any) -> Answer:
    """Return the answer to a queued request."""
    return Answer(**{"id": "one", "state": State.QUEUED, "intake": "t", "received": TAKEN, "request": {}, **fields})


def a_copy(number: int = 0, database: str = "orders", **fields: Any) -> Copy:
    """Return the copy of a database on server `number`: an online follower."""
    facts: dict[str, Any] = {
        "type": "standard",
        "role": "primary",
        "writer": False,
        "address": f"server-{number}:7687",
        "server_id": f"id-{number}",
        "status": "online",
        "replication_lag": 0,
        "last_committed_txn": 12,
    }
    return Copy(database=DatabaseName(database), **{**facts, **fields})


def a_topology(*copies: Copy, **fields: Any) -> Topology:
    """Return a topology with these copies of databases."""
    return Topology(**{"seen": TAKEN, "copies": copies, **fields})


def a_spool(
    folder: Path, root: str | Path = "/backups", refuse: Callable[[Request], tuple[str, ...]] = lambda _: ()
) -> Spool:
    """Return the spool of an agent that has just started on a requests folder."""
    started = Spool(folder, str(root), refuse)
    started.prepare()
    return started


def an_event_writer(events: list[dict[str, Any]] | None = None) -> EventWriter:
    """Return a writer that appends each event of a job to a list, as its parsed line."""
    return EventWriter(lambda line: None if events is None else events.append(json.loads(line)))

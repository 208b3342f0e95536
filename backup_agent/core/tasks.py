"""What a run is told by the supervisor, as one line of JSON on its stdin."""

from datetime import datetime
from typing import Any, Literal

from backup_agent.core.records import BackupType, Value


class BackupTask(Value):
    """Back up one database."""

    run: str
    request: str
    set: str
    database: str
    type: BackupType
    promote: Literal["now", "at_next_full"] = "now"
    database_id: str | None = None
    discovery: Literal["bolt", "last_topology", "static"] = "bolt"
    sources: tuple[str, ...]
    server_versions: tuple[str, ...] = ()
    earlier_runs: tuple[str, ...] = ()
    """Attempts at the same that ended without a verdict: what they finished is adopted."""
    at_once: int = 1
    """Backups that may run at the same time, for the estimate of disk space."""
    destinations: tuple[str, ...] = ()
    requested_by: str | None = None
    note: str | None = None
    hard_links: bool = True
    settings: dict[str, Any]


class CopyTask(Value):
    """Copy recorded artifacts to one destination, in this order."""

    run: str
    destination: str
    keys: tuple[str, ...]
    settings: dict[str, Any]


class DiscoverTask(Value):
    """Ask the cluster."""

    run: str
    settings: dict[str, Any]


class Progress(Value):
    """How far a run is: told about once a second, never more often."""

    stage: str
    bytes: int | None = None
    total: int | None = None
    at: datetime | None = None

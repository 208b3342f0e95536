"""The line of the catalog an artifact has: what deciding about many artifacts needs of each, and no more.

A record is some 2 KB of checked model; plans are made over a million artifacts. An entry is a tuple made from a record
once, and since a record never changes, neither does its entry.
"""

from datetime import datetime
from typing import NamedTuple, Self

from backup_agent.core.artifacts.records import BackupType, Record


class Entry(NamedTuple):
    """One recorded artifact."""

    key: str
    """<set>/<database>/<artifact>"""
    set: str
    database: str
    full: bool
    taken: datetime
    """UTC, whole seconds: the header's, the time of the restore point."""
    finished: datetime
    """UTC: when it was recorded."""
    lowest: int
    highest: int
    """Append indexes; both 0 is an empty differential."""
    database_id: str
    """Neo4j's internal id, from the header."""
    store_id: str
    size: int
    """Bytes of all its files."""
    parent: str | None
    """Key of the artifact this differential continues, as its record says."""
    version: str | None
    """neo4j-admin's, else the servers'."""

    @property
    def empty(self) -> bool:
        """Whether this is a differential that holds nothing."""
        return not self.full and self.lowest == 0 and self.highest == 0

    @classmethod
    def of(cls, record: Record) -> Self:
        """Return the entry of a record."""
        header = record.header
        return cls(
            key=record.key,
            set=record.set,
            database=record.database,
            full=record.type is BackupType.FULL,
            taken=header.taken,
            finished=record.finished,
            lowest=header.lowest,
            highest=header.highest,
            database_id=str(header.database_id),
            store_id=header.store_id,
            size=record.size,
            parent=record.parent,
            version=record.admin_version or record.server_version,
        )

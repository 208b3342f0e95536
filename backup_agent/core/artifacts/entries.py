"""Catalog entries: the fields of a record that decisions about many artifacts need.

A record takes about 2 KB of memory, and a plan may cover a million artifacts, so plans work on these small tuples.
"""

from datetime import datetime
from typing import NamedTuple, Self, TypeVar

from backup_agent.core.artifacts.names import DatabaseName, SetName
from backup_agent.core.artifacts.records import BackupType, Record


class Entry(NamedTuple):
    """One recorded artifact."""

    key: str
    """<set>/<database>/<artifact>"""
    set: SetName
    database: DatabaseName
    full: bool
    taken: datetime
    """Time of the restore point from the header, in UTC and whole seconds."""
    finished: datetime
    """Time at which the artifact was recorded, in UTC."""
    lowest: int
    """Lowest append index, from the header."""
    highest: int
    """Highest append index, from the header. Both are 0 in an empty differential."""
    database_id: str
    """Neo4j's internal database id, from the header."""
    store_id: str
    size: int
    """Bytes of all files of the artifact."""
    parent: str | None
    """Key of the artifact that this differential continues, from the record."""
    version: str | None
    """Version of neo4j-admin, or if unknown, of the servers."""

    @property
    def empty(self) -> bool:
        """Whether this is an empty differential."""
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


Member = TypeVar("Member", bound=Record | Entry)
"""A member of a chain: a record, or its catalog entry."""


def as_entry(member: Record | Entry) -> Entry:
    """Return the catalog entry of a member."""
    return member if isinstance(member, Entry) else Entry.of(member)

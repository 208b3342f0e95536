"""Summaries of the artifacts on the volume, one for each set and database.

The supervisor keeps these instead of the records, so that its memory does not grow with the number of artifacts.
"""

from datetime import datetime

from pydantic import Field

from backup_agent.core.artifacts.names import DatabaseName, PlaceName, SetName
from backup_agent.core.artifacts.records import Value


class DatabaseSummary(Value):
    """The artifacts of one set and database on the volume."""

    set: SetName
    database: DatabaseName
    artifacts: int
    size: int = Field(description="bytes of all artifacts")
    first: datetime = Field(description="when the oldest artifact was finished")
    newest: str = Field(description="key of the newest artifact")
    newest_size: int = Field(description="bytes of the newest artifact")
    last_success: dict[str, datetime] = Field(
        description="FULL or DIFF -> when the newest restorable artifact of that type in the present history was "
        "finished; a FULL counts as both, and a type without such an artifact is absent"
    )
    chain_links: int = Field(description="number of artifacts of the live chain; 0 without a live chain")
    chain_size: dict[str, int] = Field(description="FULL or DIFF -> bytes of that type in the live chain")
    owed: dict[PlaceName, int] = Field(default={}, description="destination -> number of copies missing there")
    owed_since: dict[PlaceName, datetime] = Field(
        default={}, description="destination -> when the oldest artifact whose copy is missing there was finished"
    )

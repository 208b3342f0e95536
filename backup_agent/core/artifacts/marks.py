"""Marks: what is said about an artifact after its record was written. They are objects of their own beside it.

A record never changes, so a hold and a damage found by re-reading stand in files of their own:
`….backup.hold.json`, `….backup.damaged.json`. Whoever deletes an artifact leaves its marks for last.
"""

from datetime import datetime

from pydantic import Field

from backup_agent.core.artifacts.records import StoredValue


class Mark(StoredValue):
    """What the kinds of mark have in common: JSON in the manner of a record."""

    key: str = Field(description="<set>/<database>/<artifact>")
    since: datetime


class Hold(Mark):
    """Somebody wants it kept, whatever the policy says."""

    reason: str
    requested_by: str | None = None
    request: str = Field(description="id of the request that asked for it")


class Damage(Mark):
    """Re-reading found other content than was recorded: it is no restore point any more."""

    found: str = Field(description="what was found, for people")
    file: str | None = Field(default=None, description="name of the file at fault")

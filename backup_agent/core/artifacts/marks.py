"""Marks: objects beside an artifact that hold what became known after its record was written.

A record never changes, so a hold and a damage mark are objects of their own: `….backup.hold.json` and
`….backup.damaged.json`. When an artifact is deleted, its marks are deleted last.
"""

from datetime import datetime

from pydantic import Field

from backup_agent.core.artifacts.records import Signature, StoredValue


class Mark(StoredValue):
    """Fields of every mark."""

    key: str = Field(description="<set>/<database>/<artifact>")
    since: datetime
    signature: Signature | None = Field(
        default=None, description="on marks at a destination, if there is a signing key"
    )


class Hold(Mark):
    """A mark that keeps an artifact regardless of retention."""

    reason: str
    requested_by: str | None = None
    request: str = Field(description="id of the request that set the hold")


class Damage(Mark):
    """A mark of an artifact whose content differs from its record. The artifact is no longer a restore point."""

    found: str = Field(description="description of the damage")
    file: str | None = Field(default=None, description="name of the damaged file")

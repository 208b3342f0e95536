"""Marks: what is said about an artifact after its record was written. They are objects of their own beside it.

A record never changes, so a hold and a damage found by re-reading stand in files of their own:
`….backup.hold.json`, `….backup.damaged.json`. Whoever deletes an artifact leaves its marks for last.
"""

from datetime import datetime
from typing import Literal, Self

from pydantic import Field

from backup_agent.core.records import Value


class Mark(Value):
    """What the kinds of mark have in common: JSON in the manner of a record."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    key: str = Field(description="<set>/<database>/<artifact>")
    since: datetime

    def to_json(self) -> bytes:
        """Return the mark as it is stored: UTF-8 JSON, two spaces, a newline at the end."""
        return self.model_dump_json(by_alias=True, indent=2).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read a mark; raise ValueError (pydantic's) where it is none, or of a newer schema."""
        return cls.model_validate_json(data)


class Hold(Mark):
    """Somebody wants it kept, whatever the policy says."""

    reason: str
    requested_by: str | None = None
    request: str = Field(description="id of the request that asked for it")


class Damage(Mark):
    """Re-reading found other content than was recorded: it is no restore point any more."""

    found: str = Field(description="what was found, for people")
    file: str | None = Field(default=None, description="name of the file at fault")

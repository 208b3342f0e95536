"""Marks: objects beside an artifact with facts that became known after its record was written.

A record never changes, so a hold and a damage mark are objects of their own: `….backup.hold.json` and
`….backup.damaged.json`. When an artifact is deleted, its marks are deleted last.
"""

from collections.abc import Callable
from datetime import datetime

from pydantic import AwareDatetime, Field

from backup_agent.core.artifacts.records import Signature, StoredValue
from backup_agent.core.quantities import second


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
    until: AwareDatetime | None = Field(default=None, description="the last moment of the hold; null: it has no end")

    def ended(self, now: datetime) -> bool:
        """Return whether the hold is over."""
        return self.until is not None and now > self.until

    def outlasts(self, other: "Hold") -> bool:
        """Return whether the hold ends no earlier than another."""
        return self.until is None or (other.until is not None and self.until >= other.until)

    def in_words(self, time: Callable[[datetime], str]) -> str:
        """Return the hold in words, such as `since 2026-11-23T02:00:00Z by ann: audit`. `time` formats a time."""
        by = f" by {self.requested_by}" if self.requested_by else ""
        until = "" if self.until is None else f" until {time(self.until)}"
        return f"since {time(self.since)}{by}{until}: {self.reason}"

    def __str__(self) -> str:
        """Return `held` or `held until 2026-12-31T23:59:59Z`."""
        return "held" if self.until is None else f"held until {second(self.until)}"


class Damage(Mark):
    """A mark of an artifact whose content differs from its record. The artifact is no longer a restore point."""

    found: str = Field(description="description of the damage")
    file: str | None = Field(default=None, description="name of the damaged file")

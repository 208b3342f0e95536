"""The last attempt to back up a database."""

from datetime import datetime

from backup_agent.core.artifacts.records import StoredPart
from backup_agent.core.reasons import Reason


class Attempt(StoredPart):
    """The last attempt at a database of a set. A failed one is kept over restarts."""

    at: datetime
    failed_at: datetime | None = None
    """When an attempt last failed."""
    failing_since: datetime | None = None
    """When the first of the last failures ended, if the last attempt failed: no success was between them."""
    reason: Reason | None = None
    error: str | None = None
    request: str | None = None
    """The request that failed."""

    @property
    def failed(self) -> bool:
        """Whether the last attempt failed. A cancelled attempt does not count as failed."""
        return self.failed_at == self.at and self.reason is not Reason.CANCELLED

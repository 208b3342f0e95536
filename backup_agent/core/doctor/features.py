"""What was found out about the features of the store of a destination."""

from datetime import datetime

from pydantic import Field

from backup_agent.core.artifacts.records import StoredPart


class FeatureFinding(StoredPart):
    """Whether a store has a feature, when that was found out, and how."""

    has: bool
    found: datetime
    how: str = Field(description="the answer that shows it, for people")

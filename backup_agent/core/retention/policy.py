"""The retention rules of a place, as written in the settings. `plan` applies them.

This module is apart from `plan`, because every process reads the settings, but few processes make plans.
"""

from datetime import timedelta
from typing import Annotated, Any, ClassVar

from pydantic import Field

from backup_agent.core.artifacts.records import Value
from backup_agent.core.durations import Duration, PositiveDuration

_Count = Annotated[int, Field(ge=1)]


class Policy(Value):
    """The retention rules of one place: which restore points are kept, each with everything that it needs.

    Without a rule, everything is kept.
    """

    RULES: ClassVar = ("last", "hourly", "daily", "weekly", "monthly", "yearly", "within")
    """The keys that pick points."""

    last: _Count | None = Field(None, description="number of newest points that are kept", examples=[7])
    hourly: _Count | None = Field(None, description="number of hours of which the newest point is kept", examples=[24])
    daily: _Count | None = Field(None, description="number of days of which the newest point is kept", examples=[14])
    weekly: _Count | None = Field(None, description="number of weeks of which the newest point is kept", examples=[8])
    monthly: _Count | None = Field(
        None, description="number of months of which the newest point is kept", examples=[12]
    )
    yearly: _Count | None = Field(None, description="number of years of which the newest point is kept", examples=[3])
    within: PositiveDuration | None = Field(
        None, description="every point this close to the newest is kept", examples=["48h"]
    )
    min_chains: _Count = Field(1, description="number of newest restorable chains that are kept whatever the rules say")
    min_age: Duration = Field(timedelta(0), description="younger artifacts are kept whatever the rules say")
    timezone: str = "UTC"
    max_delete_share: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = Field(
        0.5, description="a plan that deletes more of a set than this share is refused"
    )

    @property
    def rules(self) -> dict[str, Any]:
        """The rules that pick points, as written in the settings. Without any rule, nothing is ever deleted."""
        return self.model_dump(mode="json", include=set(self.RULES), exclude_none=True)

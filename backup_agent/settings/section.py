"""What the sections of the settings have in common, and the one that occurs in several places: retention."""

from datetime import timedelta
from typing import Annotated

from pydantic import ConfigDict, Field

from backup_agent.core.artifacts.records import Value
from backup_agent.settings.grammar import Duration, PositiveDuration, Zone

Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Section(Value):
    """Keys that belong together."""

    # What was found may be a secret in the wrong place: only `faults` decides what is shown of it.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


RULES = ("last", "hourly", "daily", "weekly", "monthly", "yearly", "within")
"""Keys of `retention` that pick points. Without one everything is kept, whatever else is set."""


class Retention(Section):
    """Which restore points are kept; what they need is kept with them. Nothing set: everything is kept."""

    last: Count | None = Field(None, description="newest points kept", examples=[7])
    hourly: Count | None = Field(None, description="hours of which the newest point is kept", examples=[24])
    daily: Count | None = Field(None, description="days of which the newest point is kept", examples=[14])
    weekly: Count | None = Field(None, description="weeks of which the newest point is kept", examples=[8])
    monthly: Count | None = Field(None, description="months of which the newest point is kept", examples=[12])
    yearly: Count | None = Field(None, description="years of which the newest point is kept", examples=[3])
    within: PositiveDuration | None = Field(
        None, description="every point this close to the newest is kept", examples=["48h"]
    )
    min_chains: Count = Field(1, description="restorable chains that no rule goes below")
    min_age: Duration = Field(timedelta(0), description="nothing younger is deleted")
    timezone: Zone = Field(
        "UTC", description="IANA zone in which days, weeks, months are cut", examples=["Europe/Berlin"]
    )
    max_delete_share: Share = Field(0.5, description="a plan that deletes more of a set than this share is refused")

    @property
    def picks(self) -> bool:
        """Whether a rule picks points, so that anything is ever deleted."""
        return any(getattr(self, rule) is not None for rule in RULES)

"""What the sections of the settings have in common, and the section `retention`, which occurs in several places."""

from typing import Annotated

from pydantic import ConfigDict, Field

from backup_agent.core.artifacts.records import Value
from backup_agent.core.retention.plan import Policy
from backup_agent.settings.grammar import Zone

Count = Annotated[int, Field(ge=1)]


class Section(Value):
    """Keys that belong together."""

    # A value may be a secret in the wrong place: only `faults` decides what is shown of it.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Retention(Policy, Section):
    """Which restore points are kept, together with everything that they need. If nothing is set, everything is kept."""

    timezone: Zone = Field(
        "UTC", description="IANA zone in which days, weeks, months are cut", examples=["Europe/Berlin"]
    )

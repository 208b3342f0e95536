"""What the sections of the settings share, and the sections that occur in several places: `retention`, `verify`."""

from datetime import timedelta
from typing import Annotated

from pydantic import ConfigDict, Field

from backup_agent.core.artifacts.records import Value
from backup_agent.core.retention.plan import Policy
from backup_agent.settings.grammar import PositiveDuration, Size, Zone

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


class Verify(Section):
    """Reading artifacts again, so that damage is found before a restore."""

    every: PositiveDuration | None = Field(
        timedelta(days=30), description="each artifact is read again once in this time, at each place; null: never"
    )
    bandwidth: Size | None = Field(
        "50MiB", description="most bytes read per second", examples=["10MiB"], validate_default=True
    )

"""What the sections of the settings share, and the sections that occur in several places: `retention`, `verify`."""

from datetime import timedelta
from typing import Annotated

from pydantic import ConfigDict, Field

from backup_agent.core.artifacts.records import Value
from backup_agent.core.retention.policy import Policy
from backup_agent.settings.grammar import PositiveDuration, Size, Zone

Count = Annotated[int, Field(ge=1)]


class Section(Value):
    """Base of all sections: an immutable model that refuses unknown keys."""

    # A value may be a secret in the wrong place: only `faults` decides what is shown of it.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Retention(Policy, Section):
    """The retention rules of a place: which restore points are kept, each with everything that it needs.

    Without a rule, everything is kept.
    """

    timezone: Zone = Field(
        "UTC", description="IANA zone in which days, weeks, months are cut", examples=["Europe/Berlin"]
    )


class Verify(Section):
    """How often and how fast artifacts are read again, so that damage is found before a restore."""

    every: PositiveDuration | None = Field(
        timedelta(days=30), description="each artifact is read again once in this time, at each place; null: never"
    )
    bandwidth: Size | None = Field(
        "50MiB", description="most bytes read per second", examples=["10MiB"], validate_default=True
    )

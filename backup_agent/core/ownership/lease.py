"""Whose turn it is at a destination: the lease that stands there, and when it may be taken.

A newcomer would compare times that two machines wrote down. No clock but the taker's own counts: a lease that has not
changed while the taker watched it for three of its periods has a holder that is dead or has stopped; a holder that
could not renew it for two periods takes it for lost. The period between is the safety margin.
"""

from enum import StrEnum
from typing import Self

from pydantic import Field

from backup_agent.core.artifacts.records import StoredValue

PERIOD = 15.0
"""Seconds between two renewals."""

HOLD_PERIODS = 2
"""How long a holder may count on a renewal, from before it was sent."""

TAKE_PERIODS = 3
"""How long a lease must not have changed before another takes it."""


class Lease(StoredValue):
    """The object at `<prefix>/<cluster>/.agent/lease.json`. Each time it is written it is another."""

    holder: str = Field(description="id of the owner whose agent holds it")
    agent: str = Field(description="where that agent runs, for people")
    token: str = Field(description="drawn at each change of hands")
    number: int = Field(ge=1, description="one more at each change of hands: the fencing number in records")
    renewal: int = Field(ge=0, description="one more each time it is written under this token")
    period: float = Field(gt=0, description="seconds between two renewals")
    seat: str = Field(description="the file whose flock the holder's processes hold: boot id, device, inode")
    released: bool = False

    def renewed(self) -> Self:
        """Return the lease as its holder writes it next."""
        return self.model_copy(update={"renewal": self.renewal + 1})

    def given_up(self) -> Self:
        """Return the lease as its holder leaves it: anybody may take it at once."""
        return self.model_copy(update={"renewal": self.renewal + 1, "released": True})


class TakeoverGround(StrEnum):
    """Why a lease may be taken."""

    VACANT = "vacant"
    RELEASED = "released"
    LEFT = "left"
    """Its holder's processes held the flock of this very file, and nobody holds it now: they are dead."""
    SILENT = "silent"
    """It has not changed for three periods of our own clock."""


def ground(found: Lease | None, *, seat: str, unchanged: float) -> TakeoverGround | None:
    """Return why a lease may be taken, None where it may not.

    `seat` is our own, and free: no other process of this agent holds its flock. `unchanged` is how many seconds the
    lease is known to stand as it is, by our own clock.
    """
    if found is None:
        return TakeoverGround.VACANT
    if found.released:
        return TakeoverGround.RELEASED
    if found.seat == seat:
        return TakeoverGround.LEFT
    return TakeoverGround.SILENT if unchanged >= TAKE_PERIODS * found.period else None

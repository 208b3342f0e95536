"""Leases: which agent may write at a destination, and when another may take over.

Clocks of different machines are never compared. An agent may take over a lease that has not changed for three periods
of the agent's own clock, since its holder has then died or stopped. A holder that could not renew its lease for two
periods treats it as lost. The third period is a safety margin.
"""

from typing import Self

from pydantic import Field

from backup_agent.core.artifacts.records import StoredValue

PERIOD = 60.0
"""Seconds between two renewals."""

HOLD_PERIODS = 2
"""Periods for which a renewal is valid, counted from just before it is sent."""

TAKE_PERIODS = 3
"""Periods for which a lease must not have changed before another agent may take it."""


LONGEST_PERIOD = 3600.0
"""Longest period of a valid lease in seconds. A longer one is forged: no agent would outlive it."""

MOST = 2**52
"""Largest number of a valid lease. A record with a number beyond 2^53 cannot be signed, so a forged lease with such a
number would leave all later copies without a signature."""


class Lease(StoredValue):
    """The object `<prefix>/<cluster>/.agent/lease.json`. Each write has a different content."""

    holder: str = Field(description="id of the owner whose agent holds the lease")
    agent: str = Field(description="description of that owner, for messages")
    token: str = Field(description="random value of each takeover")
    number: int = Field(ge=1, le=MOST, description="incremented at each takeover: the fencing number in records")
    renewal: int = Field(ge=0, le=MOST, description="incremented at each write with the same token")
    period: float = Field(gt=0, le=LONGEST_PERIOD, description="seconds between two renewals")
    seat: str = Field(description="file that the holder's processes lock with flock: boot id, device, inode")
    released: bool = False

    def renewed(self) -> Self:
        """Return the lease with the next renewal number."""
        return self.model_copy(update={"renewal": self.renewal + 1})

    def given_up(self) -> Self:
        """Return the lease marked as released, so that any agent may take it at once."""
        return self.model_copy(update={"renewal": self.renewal + 1, "released": True})


def may_take(found: Lease | None, *, seat: str, unchanged: float) -> bool:
    """Return whether an agent may take a lease.

    `seat` is this agent's own seat, and no other process holds the seat's flock. So if the lease names this seat, the
    processes that held the lease are dead. `unchanged` is the number of seconds for which the lease is known to be
    unchanged.
    """
    return found is None or found.released or found.seat == seat or unchanged >= TAKE_PERIODS * found.period

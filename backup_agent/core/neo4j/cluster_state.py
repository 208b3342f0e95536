"""The state of a cluster between the restarts of two servers, as it is shown. `settled` derives it."""

from enum import StrEnum

from backup_agent.core.artifacts.records import Value

MOST_REASONS = 100


class Readiness(StrEnum):
    """Whether the next server may be restarted."""

    SETTLED = "settled"
    WAIT = "wait"
    UNKNOWN = "unknown"
    """The account may not see enough to decide."""


class SeenServer(Value):
    """One server, as it is shown to people and programs."""

    name: str
    address: str | None = None
    version: str | None = None
    state: str
    health: str
    hosting: int
    """Number of databases that it hosts."""
    requested: int
    """Number of databases that it should host."""


class ClusterState(Value):
    """Whether a cluster is settled, and why not."""

    servers: tuple[SeenServer, ...] = ()
    databases: int
    """Number of listed databases."""
    reasons: tuple[str, ...] = ()
    """Why no server may be restarted now, at most `MOST_REASONS`."""
    more_reasons: int = 0
    unseen: tuple[str, ...] = ()
    """What the account may not see, or the servers cannot tell. As long as there is any, nothing is certain."""

    @property
    def readiness(self) -> Readiness:
        """Whether the next server may be restarted."""
        if self.unseen:
            return Readiness.UNKNOWN
        return Readiness.WAIT if self.reasons else Readiness.SETTLED

"""Kinds of databases that the agent does not back up: composite databases, replicas, sharded databases, shards."""

from enum import StrEnum

from backup_agent.core.reasons import Failure, Reason


class ExcludedKind(StrEnum):
    """A kind of databases that are not backed up."""

    COMPOSITE = "composite"
    REPLICA = "replica"
    SHARDED = "sharded"
    SHARD = "shard"

    @property
    def why(self) -> str:
        """Why a database of this kind is not backed up, as the end of a sentence that begins with its name."""
        return _WHY[self][0]

    def refusal(self, name: str) -> Failure:
        """Return the failure of a request that names a database of this kind."""
        return Failure(Reason.INVALID_REQUEST, f"{name} {self.why}", _WHY[self][1])


_SHARDS = "shards must be backed up and restored together, which this agent cannot do"
_VALIDATE = "back up all shards with neo4j-admin, and check them with `neo4j-admin backup validate`"

_WHY = {
    ExcludedKind.COMPOSITE: (
        "is a composite database: it holds no data of its own",
        "request its constituents instead",
    ),
    ExcludedKind.REPLICA: (
        "is a replica of a database in another cluster: Neo4j does not document how to back up a replica",
        "back up the replicated database in its own cluster",
    ),
    ExcludedKind.SHARDED: (f"is a sharded database: its {_SHARDS}", _VALIDATE),
    ExcludedKind.SHARD: (f"is a shard of a sharded database: all {_SHARDS}", _VALIDATE),
}
"""Kind -> why it is not backed up, what to do instead."""

OF_TYPE = {
    "composite": ExcludedKind.COMPOSITE,
    "replica": ExcludedKind.REPLICA,
    "graph shard": ExcludedKind.SHARD,
    "property shard": ExcludedKind.SHARD,
}
"""`type` in SHOW DATABASES -> kind. A database of another type is backed up unless its definition has shards."""

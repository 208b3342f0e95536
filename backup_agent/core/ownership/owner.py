"""Owners: the agents to which places belong, according to `owner.json`.

The id alone is not enough, since a cloned volume has the same id. Therefore the cluster's name, the namespace and the
databaseID of `system` are compared as well, each only if both sides know it.
"""

from enum import StrEnum
from typing import Self

from pydantic import Field

from backup_agent.core.artifacts.names import SYSTEM
from backup_agent.core.artifacts.records import StoredValue
from backup_agent.core.neo4j.topology import Topology


class Owner(StoredValue):
    """The object `owner.json` at a storage root and at each prefix of a destination."""

    id: str = Field(min_length=1, description="random id, made at first use and stored on the volume")
    cluster: str
    namespace: str | None = Field(default=None, description="namespace of the pod ($POD_NAMESPACE), if known")
    system_id: str | None = Field(default=None, description="databaseID of `system`, if known")
    agent: str | None = Field(default=None, description="host name and storage root of the agent")

    def __str__(self) -> str:
        """Return a description for messages."""
        facts = (
            f"cluster {self.cluster}",
            f"namespace {self.namespace}" if self.namespace else "",
            f"system database {self.system_id[:12]}" if self.system_id else "",
            self.agent or "",
        )
        return f"{self.id} ({', '.join(fact for fact in facts if fact)})"

    def with_facts_of(self, other: Self) -> Self:
        """Return this owner with the facts that `other` knows. Facts unknown to `other` are kept."""
        facts = other.model_dump(exclude={"schema_"}, exclude_none=True)
        return self.model_copy(update=facts)


class Ownership(StrEnum):
    """To whom a place belongs, seen from this agent."""

    VACANT = "vacant"
    OURS = "ours"
    LOST = "lost"
    """The place belongs to this cluster, but to another volume. It may be adopted for copies, but not for deletion."""
    FOREIGN = "foreign"


def ownership_of(found: Owner | None, ours: Owner, *, owned_before: bool) -> Ownership:
    """Return to whom a place belongs.

    `owned_before` tells whether the place once belonged to this volume's id. If so, a different owner took it over.
    """
    if found is None:
        return Ownership.VACANT
    if found.cluster != ours.cluster or _differ(found.namespace, ours.namespace):
        return Ownership.FOREIGN
    if _differ(found.system_id, ours.system_id):
        return Ownership.FOREIGN
    if found.id == ours.id:
        return Ownership.OURS
    same_cluster = found.system_id is not None and found.system_id == ours.system_id
    return Ownership.LOST if same_cluster and not owned_before else Ownership.FOREIGN


def is_same_agent(found: Owner, ours: Owner) -> bool:
    """Return whether the previous owner ran in this pod and so cannot be running: pod names are unique."""
    return found.agent is not None and found.agent == ours.agent and found.namespace == ours.namespace


def system_id(topology: Topology | None) -> str | None:
    """Return the databaseID of `system`, or None if it is not known."""
    copies = topology.databases().get(SYSTEM, ()) if topology else ()
    return next((copy.database_id for copy in copies if copy.database_id), None)


def _differ(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and one != other

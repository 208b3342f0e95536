"""Whose a place is: what `owner.json` says there, held against what this agent knows of itself.

The id alone does not tell: a volume that was cloned has the same one. Therefore the cluster's name, the namespace and
the id of the database `system` are compared as well, each where both sides know it.
"""

from enum import StrEnum
from typing import Self

from pydantic import Field

from backup_agent.core.artifacts.records import StoredValue
from backup_agent.core.neo4j.topology import Topology

SYSTEM = "system"


class Owner(StoredValue):
    """The object `owner.json` at a storage root and at each prefix."""

    id: str = Field(min_length=1, description="random, drawn at first use and kept on the volume")
    cluster: str
    namespace: str | None = Field(default=None, description="the pod's, where it is known ($POD_NAMESPACE)")
    system_id: str | None = Field(default=None, description="databaseID of `system`; null until the cluster told it")
    agent: str | None = Field(default=None, description="host name and storage root of the agent")

    def __str__(self) -> str:
        """Name this side in a message."""
        facts = (
            f"cluster {self.cluster}",
            f"namespace {self.namespace}" if self.namespace else "",
            f"system database {self.system_id[:12]}" if self.system_id else "",
            self.agent or "",
        )
        return f"{self.id} ({', '.join(fact for fact in facts if fact)})"

    def knowing(self, other: Self) -> Self:
        """Return this owner as `other`, the same one, knows it: what it does not know stays."""
        facts = other.model_dump(exclude={"schema_"}, exclude_none=True)
        return self.model_copy(update=facts)


class Ownership(StrEnum):
    """What a place is to this agent."""

    VACANT = "vacant"
    OURS = "ours"
    LOST = "lost"
    """It was this cluster's, under another volume's id: copies may adopt it without being asked, deletion waits."""
    FOREIGN = "foreign"


def standing(found: Owner | None, ours: Owner, *, owned_before: bool) -> Ownership:
    """Judge a place. `owned_before`: this volume's agent has owned it, so whoever stands there took it over."""
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
    """Tell whether the former owner's agent cannot be alive: it was in our pod, and Kubernetes runs one of a name."""
    return found.agent is not None and found.agent == ours.agent and found.namespace == ours.namespace


def system_id(topology: Topology | None) -> str | None:
    """Return the databaseID of `system`, where the cluster has told it."""
    copies = topology.databases().get(SYSTEM, ()) if topology else ()
    return next((copy.database_id for copy in copies if copy.database_id), None)


def _differ(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and one != other

"""The spec of an agent alone, for servers that exist already: of a chart, of an operator, or outside Kubernetes.

Its pod has no label of the cluster. The Services of an operator may select every pod with that label (those of the
predecessor's do), and would send clients to the agent.
"""

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, TypeAdapter, model_validator

from backup_agent.k8s.spec import (
    AgentNetwork,
    Cidr,
    ClusterSpec,
    CommonSpec,
    Labels,
    LoginSecret,
    ObjectName,
)
from backup_agent.settings.grammar import Address, BackupAddresses, BoltUri
from backup_agent.settings.section import Section


class ServerPods(Section):
    """The pods of servers that exist already, for NetworkPolicies."""

    namespace: ObjectName | None = Field(None, description="namespace of the servers; without it that of the agent")
    labels: Annotated[Labels, Field(min_length=1)] = Field(
        description="labels that only the servers' pods have", examples=[{"helm.neo4j.com/neo4j.name": "demo"}]
    )
    admit: bool = Field(
        False,
        description="render a NetworkPolicy that admits the agent to Bolt and the backup port of these pods. Only if "
        "another policy admits their other clients: a policy closes all ports that no policy opens",
    )


class ExistingServers(Section):
    """Servers that exist already: their addresses, certificates and pods."""

    uri: BoltUri = Field(description="Bolt address of the cluster", examples=["neo4j://demo.graphs.svc:7687"])
    servers: tuple[Address, ...] = Field(
        (),
        description="host:port of each server's backup listener, used when Bolt does not answer",
        examples=[["demo-0.graphs.svc:6362"]],
    )
    backup_addresses: BackupAddresses = Field(
        None,
        description="backup listeners where they differ from the Bolt addresses: a map from server id or Bolt host to "
        "host:port, or a template of {host} (of the Bolt address), {name} (its first label) and {server_id}",
        examples=["{host}:6362"],
    )
    ca_secret: ObjectName | None = Field(
        None, description="Secret with the key ca.crt: the CA of a +s uri, if it is not a public one"
    )
    backup_tls_secret: ObjectName | None = Field(
        None,
        description="Secret with the agent's own tls.crt, tls.key and ca.crt, if the servers have a certificate for "
        "the backup port",
    )
    pods: ServerPods | None = Field(None, description="the servers' pods, if they run in this Kubernetes cluster")
    addresses: tuple[Cidr, ...] = Field((), description="the servers' addresses, if they run elsewhere")

    @model_validator(mode="after")
    def _ca_of_an_encrypted_connection(self) -> Self:
        if self.ca_secret and not self.uri.partition("://")[0].endswith("+s"):
            raise ValueError("a uri with +s, such as neo4j+s://, if there is a ca_secret")
        return self


class AloneSpec(CommonSpec):
    """The spec of a backup agent alone, beside servers that exist already."""

    cluster_label: ClassVar[str] = "neo4j.com/backup-of"

    neo4j: ExistingServers = Field(description="the servers", examples=["{uri: neo4j://demo:7687}"])
    network: AgentNetwork = Field(AgentNetwork(), description="which pods and addresses may connect")

    @property
    def agent_auth(self) -> LoginSecret:
        """The account with which the agent logs in."""
        return self.own_account


Spec = ClusterSpec | AloneSpec


def schema() -> dict[str, Any]:
    """Return the JSON Schema of both kinds of spec."""
    return TypeAdapter(Spec).json_schema()

"""The NetworkPolicies: which clients may connect to the servers and to the agent.

Neo4j asks for no password on 6000 and 6362: a client that reaches them can copy every database. So only the servers may
connect to 6000, and only the agent to 6362. This works only if the cluster's network enforces NetworkPolicy.
"""

from collections.abc import Iterable

from backup_agent.k8s.alone import AloneSpec, Spec
from backup_agent.k8s.connection import server_ports
from backup_agent.k8s.names import (
    AGENT_ARTIFACTS,
    AGENT_HTTP,
    BACKUP,
    BACKUP_PORT,
    BOLT,
    DISCOVERY,
    HTTP,
    HTTPS,
    METRICS,
    RAFT,
    ROUTING,
    SERVER,
    Object,
    admission_name,
    backup_name,
    metadata,
    selector,
    server_name,
)
from backup_agent.k8s.spec import ClusterSpec, EgressTarget, Peer

DNS = 53

NAMESPACE = "kubernetes.io/metadata.name"
"""Label of each namespace with its name, which Kubernetes sets."""


def objects(spec: Spec) -> list[Object]:
    """Return the policies: one for the agent, and one for the servers if they are rendered or shall admit the agent."""
    if isinstance(spec, AloneSpec):
        return [_agent_policy(spec, _existing(spec)), *_admission(spec)]
    servers = [_pods(spec, SERVER)]
    return [
        _policy(spec, server_name(spec), SERVER, _to_servers(spec)),
        _agent_policy(spec, servers),
    ]


def _to_servers(spec: ClusterSpec) -> list[Object]:
    servers, agent = _pods(spec, SERVER), _pods(spec, BACKUP)
    clients = spec.network.clients
    return [
        _rule((DISCOVERY, RAFT, ROUTING), [servers]),
        _rule((BACKUP_PORT,), [agent]),
        # A rule without `from`, or with an empty `from`, allows all clients. So an empty list of clients gives no rule.
        *([_rule((BOLT, HTTPS, HTTP), None)] if clients is None else []),
        *([_rule((BOLT, HTTPS, HTTP), _peers(clients))] if clients else []),
        *([] if clients is None else [_rule((BOLT,), [agent])]),
        *([_rule((METRICS,), _peers(spec.network.prometheus))] if _measured(spec) else []),
    ]


def _measured(spec: ClusterSpec) -> bool:
    return spec.server.metrics and bool(spec.network.prometheus)


def _agent_policy(spec: Spec, servers: list[Object]) -> Object:
    # No rule has the probe port: only the kubelet of the pod's node needs it, and Kubernetes always allows that.
    to_agent = [
        *([_rule((AGENT_HTTP,), _peers(spec.network.prometheus))] if spec.network.prometheus else []),
        *([_rule((AGENT_ARTIFACTS,), servers)] if servers else []),
    ]
    found = _policy(spec, backup_name(spec), BACKUP, to_agent)
    if spec.network.egress is not None:
        found["spec"]["policyTypes"] = ["Ingress", "Egress"]
        found["spec"]["egress"] = [
            name_resolution(),
            *([_egress(server_ports(spec), servers)] if servers else []),
            *map(egress_to, spec.network.egress),
        ]
    return found


def name_resolution() -> Object:
    """Return the rule by which a pod may ask name servers."""
    return {"ports": [{"port": DNS, "protocol": protocol} for protocol in ("UDP", "TCP")]}


def egress_to(target: EgressTarget) -> Object:
    """Return the rule by which a pod may connect to a target of the spec."""
    return _egress(target.ports, _peers([target]))


def _egress(ports: Iterable[int], targets: list[Object]) -> Object:
    return {"to": targets, "ports": [{"port": port, "protocol": "TCP"} for port in ports]}


def _existing(spec: AloneSpec) -> list[Object]:
    """Return the sources that stand for servers that exist already."""
    pods = spec.neo4j.pods
    namespaces = {NAMESPACE: pods.namespace} if pods and pods.namespace else None
    found = [Peer(namespaces=namespaces, pods=pods.labels)] if pods else []
    return _peers([*found, *(Peer(cidr=cidr) for cidr in spec.neo4j.addresses)])


def _admission(spec: AloneSpec) -> list[Object]:
    """Return the policy that admits the agent to servers that exist already, if the spec asks for it."""
    pods = spec.neo4j.pods
    if not (pods and pods.admit):
        return []
    agent = {**_pods(spec, BACKUP), "namespaceSelector": {"matchLabels": {NAMESPACE: spec.namespace}}}
    found = _policy(spec, admission_name(spec), BACKUP, [_rule(server_ports(spec), [agent])])
    found["metadata"]["namespace"] = pods.namespace or spec.namespace
    found["spec"]["podSelector"] = {"matchLabels": dict(pods.labels)}
    return [found]


def _policy(spec: Spec, name: str, component: str, ingress: list[Object]) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(spec, name, component),
        "spec": {
            "podSelector": {"matchLabels": selector(spec, component)},
            "policyTypes": ["Ingress"],
            # An API server does not store an empty list, so that each `apply` would change the object.
            **({"ingress": ingress} if ingress else {}),
        },
    }


def _rule(ports: Iterable[int], sources: list[Object] | None) -> Object:
    found: Object = {"ports": [{"port": port, "protocol": "TCP"} for port in ports]}
    return found if sources is None else {"from": sources, **found}


def _pods(spec: Spec, component: str) -> Object:
    return {"podSelector": {"matchLabels": selector(spec, component)}}


def _peers(peers: Iterable[Peer]) -> list[Object]:
    return [_peer(peer) for peer in peers]


def _peer(peer: Peer) -> Object:
    if peer.cidr is not None:
        return {"ipBlock": {"cidr": peer.cidr}}
    found = {"namespaceSelector": peer.namespaces, "podSelector": peer.pods}
    return {key: {"matchLabels": dict(value)} if value else {} for key, value in found.items() if value is not None}

"""The NetworkPolicies: which clients may connect to the servers and to the agent.

Neo4j asks for no password on 6000 and 6362: a client that reaches them can copy every database. So only the servers may
connect to 6000, and only the agent to 6362. This works only if the cluster's network enforces NetworkPolicy.
"""

from collections.abc import Iterable

from backup_agent.k8s.names import (
    AGENT_ARTIFACTS,
    AGENT_HTTP,
    BACKUP,
    BACKUP_PORT,
    BOLT,
    DISCOVERY,
    HTTP,
    HTTPS,
    RAFT,
    ROUTING,
    SERVER,
    Object,
    backup_name,
    metadata,
    selector,
    server_name,
)
from backup_agent.k8s.spec import ClusterSpec, Peer


def objects(spec: ClusterSpec) -> list[Object]:
    """Return two policies: one for the servers, one for the agent."""
    servers, agent = _pods(spec, SERVER), _pods(spec, BACKUP)
    clients = spec.network.clients
    to_servers = [
        _rule((DISCOVERY, RAFT, ROUTING), [servers]),
        _rule((BACKUP_PORT,), [agent]),
        # A rule without `from`, or with an empty `from`, allows all clients. So an empty list of clients gives no rule.
        *([_rule((BOLT, HTTPS, HTTP), None)] if clients is None else []),
        *([_rule((BOLT, HTTPS, HTTP), _peers(clients))] if clients else []),
        *([] if clients is None else [_rule((BOLT,), [agent])]),
    ]
    # No rule has the probe port: only the kubelet of the pod's node needs it, and Kubernetes always allows that.
    to_agent = [
        *([_rule((AGENT_HTTP,), _peers(spec.network.prometheus))] if spec.network.prometheus else []),
        _rule((AGENT_ARTIFACTS,), [servers]),
    ]
    return [
        _policy(spec, server_name(spec), SERVER, to_servers),
        _policy(spec, backup_name(spec), BACKUP, to_agent),
    ]


def _policy(spec: ClusterSpec, name: str, component: str, ingress: list[Object]) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(spec, name, component),
        "spec": {
            "podSelector": {"matchLabels": selector(spec, component)},
            "policyTypes": ["Ingress"],
            "ingress": ingress,
        },
    }


def _rule(ports: Iterable[int], sources: list[Object] | None) -> Object:
    found: Object = {"ports": [{"port": port, "protocol": "TCP"} for port in ports]}
    return found if sources is None else {"from": sources, **found}


def _pods(spec: ClusterSpec, component: str) -> Object:
    return {"podSelector": {"matchLabels": selector(spec, component)}}


def _peers(peers: Iterable[Peer]) -> list[Object]:
    return [_peer(peer) for peer in peers]


def _peer(peer: Peer) -> Object:
    if peer.cidr is not None:
        return {"ipBlock": {"cidr": peer.cidr}}
    found = {"namespaceSelector": peer.namespaces, "podSelector": peer.pods}
    return {key: {"matchLabels": dict(value)} if value else {} for key, value in found.items() if value is not None}

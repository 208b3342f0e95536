"""NetworkPolicies as a matrix: the ports of servers and agent that each source reaches."""

from typing import Any

import pytest

from backup_agent.k8s.names import Object
from backup_agent.k8s.spec import ClusterSpec
from tests.k8s.specs import SMALLEST, parsed, rendered

PORTS = {"server": (7687, 7473, 7474, 6000, 7000, 7688, 6362, 2004), "backup": (8080, 8081, 8083, 6362)}

SOURCES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    # Labels of the namespace, labels of the pod.
    "server": ({"name": "default"}, {"neo4j.com/cluster": "demo", "neo4j.com/component": "server"}),
    "agent": ({"name": "default"}, {"neo4j.com/cluster": "demo", "neo4j.com/component": "backup"}),
    "other cluster's server": ({"name": "default"}, {"neo4j.com/cluster": "shop", "neo4j.com/component": "server"}),
    "other cluster's agent": ({"name": "default"}, {"neo4j.com/cluster": "shop", "neo4j.com/component": "backup"}),
    "agent elsewhere": ({"name": "staging"}, {"neo4j.com/cluster": "demo", "neo4j.com/component": "backup"}),
    "client": ({"name": "shop", "team": "shop"}, {"app": "web"}),
    "Prometheus": (
        {"name": "monitoring", "kubernetes.io/metadata.name": "monitoring"},
        {"app.kubernetes.io/name": "prometheus"},
    ),
    "Prometheus elsewhere": (
        {"name": "shop", "kubernetes.io/metadata.name": "shop"},
        {"app.kubernetes.io/name": "prometheus"},
    ),
}


def matches(selector: Any, labels: dict[str, str]) -> bool:
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())


def admits(peer: Object, namespace: dict[str, str], pod: dict[str, str]) -> bool:
    if "ipBlock" in peer:
        return False  # no pod has such an address
    if "namespaceSelector" in peer:
        here = matches(peer["namespaceSelector"], namespace)
    else:
        here = namespace["name"] == "default"
    return here and matches(peer.get("podSelector", {}), pod)


def reaches(policy: Object, source: str, port: int) -> bool:
    namespace, pod = SOURCES[source]
    return any(
        port in [one["port"] for one in rule["ports"]]
        and ("from" not in rule or any(admits(peer, namespace, pod) for peer in rule["from"]))
        for rule in policy["spec"]["ingress"]
    )


def matrix(spec: ClusterSpec) -> dict[str, dict[str, set[int]]]:
    """Return the ports of servers and agent that each source reaches."""
    found = rendered(spec)
    return {
        component: {
            source: {port for port in ports if reaches(found[f"NetworkPolicy/demo-{component}"], source, port)}
            for source in SOURCES
        }
        for component, ports in PORTS.items()
    }


BOLT_AND_WEB = {7687, 7473, 7474}


def test_each_port_is_open_to_its_clients_only() -> None:
    assert matrix(parsed(SMALLEST)) == {
        "server": {
            "server": {*BOLT_AND_WEB, 6000, 7000, 7688},
            "agent": {*BOLT_AND_WEB, 6362},
            "other cluster's server": BOLT_AND_WEB,
            "other cluster's agent": BOLT_AND_WEB,
            "agent elsewhere": BOLT_AND_WEB,
            "client": BOLT_AND_WEB,
            "Prometheus": BOLT_AND_WEB,
            "Prometheus elsewhere": BOLT_AND_WEB,
        },
        "backup": {
            "server": {8083},
            "agent": set(),
            "other cluster's server": set(),
            "other cluster's agent": set(),
            "agent elsewhere": set(),
            "client": set(),
            "Prometheus": {8080},
            "Prometheus elsewhere": set(),
        },
    }


@pytest.mark.parametrize(
    ("clients", "expected"),
    [
        pytest.param("[]", {"agent": {7687, 6362}, "server": {6000, 7000, 7688}}, id="no-clients"),
        pytest.param(
            "[{namespaces: {team: shop}}]",
            {"agent": {7687, 6362}, "server": {6000, 7000, 7688}, "client": BOLT_AND_WEB},
            id="a-namespace",
        ),
        pytest.param("[{cidr: 10.0.0.0/8}]", {"agent": {7687, 6362}, "server": {6000, 7000, 7688}}, id="addresses"),
    ],
)
def test_if_clients_are_named_only_they_and_the_agent_may_connect(clients: str, expected: dict[str, set[int]]) -> None:
    found = matrix(parsed(SMALLEST + f"network: {{clients: {clients}}}\n"))["server"]

    assert {source: ports for source, ports in found.items() if ports} == expected


def test_if_no_prometheus_is_named_no_client_may_read_metrics() -> None:
    found = matrix(parsed(SMALLEST + "network: {prometheus: []}\n"))["backup"]

    assert {source for source, ports in found.items() if 8080 in ports} == set()


def test_both_policies_apply_to_incoming_connections_only() -> None:
    found = rendered(parsed(SMALLEST))

    assert {one["spec"]["policyTypes"][0] for name, one in found.items() if name.startswith("NetworkPolicy")} == {
        "Ingress"
    }

"""Where the scheduler may put servers, by a model of the two rules that it knows."""

import pytest

from backup_agent.k8s.names import Object
from tests.k8s.specs import SMALLEST, parsed, rendered

HOST = "kubernetes.io/hostname"


def pod(spread: str) -> Object:
    found = rendered(parsed(f"{SMALLEST}topology: {{spread: {spread}}}\n"))
    template: Object = found["StatefulSet/demo-server"]["spec"]["template"]
    return template


def nodes_for_the_next(template: Object, servers: dict[str, int]) -> set[str]:
    """Return the nodes that may take one more server. `servers` counts those on each node that fits the pod.

    Kubernetes, "Assigning Pods to Nodes" and "Pod Topology Spread Constraints": a term of required anti-affinity
    excludes every domain that has a matching pod; maxSkew limits the count of a domain above the smallest one.
    """
    labels, spec = template["metadata"]["labels"], template["spec"]
    found = set(servers)
    terms = (
        spec.get("affinity", {}).get("podAntiAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", [])
    )
    for term in terms:
        if term["topologyKey"] == HOST and term["labelSelector"]["matchLabels"].items() <= labels.items():
            found -= {node for node, count in servers.items() if count}
    for rule in spec["topologySpreadConstraints"]:
        if rule["topologyKey"] == HOST and rule["whenUnsatisfiable"] == "DoNotSchedule":
            found -= {node for node, count in servers.items() if count + 1 - min(servers.values()) > rule["maxSkew"]}
    return found


@pytest.mark.parametrize(
    ("servers", "expected"),
    [
        pytest.param({"a": 0, "b": 0, "c": 0}, {"a", "b", "c"}, id="the-first-goes-anywhere"),
        pytest.param({"a": 1, "b": 1, "c": 0}, {"c"}, id="the-third-goes-to-the-free-node"),
        pytest.param({"a": 1, "b": 1}, set(), id="two-nodes-take-no-third"),
        pytest.param({"a": 1}, set(), id="one-node-that-fits-the-selector-takes-no-second"),
    ],
)
def test_required_spread_never_puts_two_servers_on_one_node(servers: dict[str, int], expected: set[str]) -> None:
    assert nodes_for_the_next(pod("require"), servers) == expected


@pytest.mark.parametrize("servers", [{"a": 1}, {"a": 2, "b": 0}], ids=str)
def test_preferred_spread_forbids_no_node(servers: dict[str, int]) -> None:
    assert nodes_for_the_next(pod("prefer"), servers) == set(servers)


def test_preferred_spread_still_prefers_other_nodes_and_zones() -> None:
    rules = pod("prefer")["spec"]["topologySpreadConstraints"]

    assert {rule["topologyKey"]: rule["whenUnsatisfiable"] for rule in rules} == {
        HOST: "ScheduleAnyway",
        "topology.kubernetes.io/zone": "ScheduleAnyway",
    }


def test_required_spread_still_prefers_other_zones() -> None:
    (rule,) = pod("require")["spec"]["topologySpreadConstraints"]

    assert (rule["topologyKey"], rule["whenUnsatisfiable"]) == ("topology.kubernetes.io/zone", "ScheduleAnyway")


def zones_for_the_next(template: Object, servers: dict[str, int]) -> set[str]:
    """Return the zones that may take one more server, given the number of servers in each zone with a node that fits.

    With fewer zones than minDomains, the smallest count is taken as 0 ("Pod Topology Spread Constraints").
    """
    found = set(servers)
    for rule in template["spec"]["topologySpreadConstraints"]:
        if rule["topologyKey"] == "topology.kubernetes.io/zone" and rule["whenUnsatisfiable"] == "DoNotSchedule":
            smallest = min(servers.values()) if len(servers) >= rule["minDomains"] else 0
            found -= {zone for zone, count in servers.items() if count + 1 - smallest > rule["maxSkew"]}
    return found


@pytest.mark.parametrize(
    ("servers", "expected"),
    [
        pytest.param({"a": 0, "b": 0, "c": 0}, {"a", "b", "c"}, id="the-first-goes-anywhere"),
        pytest.param({"a": 1, "b": 1, "c": 0}, {"c"}, id="the-third-goes-to-the-third-zone"),
        pytest.param({"a": 1, "b": 1, "c": 1}, {"a", "b", "c"}, id="a-fourth-goes-anywhere"),
        pytest.param({"a": 2, "b": 1, "c": 1}, {"b", "c"}, id="a-fifth-goes-where-one-is"),
        pytest.param({"a": 1, "b": 1}, set(), id="two-zones-take-no-third"),
        pytest.param({"a": 0}, {"a"}, id="one-server-needs-one-zone"),
    ],
)
@pytest.mark.parametrize("spread", ["prefer", "require"])
def test_required_zones_never_have_a_majority_in_one(spread: str, servers: dict[str, int], expected: set[str]) -> None:
    template = pod(f"{spread}, zones: require")

    assert zones_for_the_next(template, servers) == expected


def test_zones_without_a_node_for_servers_do_not_count() -> None:
    (rule,) = pod("require, zones: require")["spec"]["topologySpreadConstraints"]

    assert rule["nodeTaintsPolicy"] == "Honor"


@pytest.mark.parametrize("spread", ["prefer", "require"])
def test_preferred_zones_forbid_none(spread: str) -> None:
    assert zones_for_the_next(pod(spread), {"a": 5, "b": 0}) == {"a", "b"}

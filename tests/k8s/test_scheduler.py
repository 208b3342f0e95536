"""Where the real scheduler puts the servers: `topology.spread` and `topology.zones`. `make api-server` runs this."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Self

import pytest

from backup_agent.k8s.spec import ClusterSpec
from tests.components.kubernetes import Json, Kubernetes
from tests.k8s.live import apply, bind, claims, example
from tests.polling import until

pytestmark = [pytest.mark.components, pytest.mark.api_server]

MERGE = "application/merge-patch+json"

ROOM = {"cpu": "64", "memory": "512Gi", "pods": "99"}

ZONE = "topology.kubernetes.io/zone"


@pytest.fixture(scope="module", autouse=True)
def scheduler(kubernetes: Kubernetes) -> Iterator[None]:
    with kubernetes.scheduler():
        yield


class Place:
    """Nodes in zones that only the pods of one namespace may use. Use as a context manager."""

    def __init__(self, kubernetes: Kubernetes, namespace: str, nodes: Mapping[str, int]) -> None:
        self._kubernetes = kubernetes
        self._namespace = namespace
        self.zones = {f"{namespace}-{zone}-{number}": zone for zone, count in nodes.items() for number in range(count)}

    def __enter__(self) -> Self:
        for name, zone in self.zones.items():
            labels = {"kubernetes.io/hostname": name, ZONE: zone, "place": self._namespace}
            self._kubernetes.request("POST", "/api/v1/nodes", {"metadata": {"name": name, "labels": labels}})
            self._kubernetes.request("PATCH", f"/api/v1/nodes/{name}/status", {"status": {"allocatable": ROOM}}, MERGE)
            self.taint(name, [])
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.zones:
            self._kubernetes.request("DELETE", f"/api/v1/nodes/{name}")

    def taint(self, name: str, taints: list[Json]) -> None:
        """Set the taints of a node. A new one has `not-ready`, because no kubelet reports it."""
        self._kubernetes.request("PATCH", f"/api/v1/nodes/{name}", {"spec": {"taints": taints}}, MERGE)

    def spec(self, servers: int, **topology: str) -> ClusterSpec:
        """Return the spec of a cluster on these nodes."""
        found = example(self._namespace, servers=servers, **topology)
        here = found.server.placement.model_copy(update={"node_selector": {"place": self._namespace}})
        return found.model_copy(update={"server": found.server.model_copy(update={"placement": here})})

    def servers(self, found: ClusterSpec) -> tuple[Counter[str], list[str]]:
        """Apply a spec, and wait for the scheduler. Return the servers of each zone, and the names of those that wait."""
        apply(self._kubernetes, found)
        names = {f"demo-server-{number}" for number in range(found.topology.servers)}
        path = f"/api/v1/namespaces/{self._namespace}/pods?labelSelector=neo4j.com/component=server"

        def look() -> dict[str, Json] | None:
            for name, claim in claims(self._kubernetes, self._namespace).items():
                if "volumeName" not in claim["spec"]:
                    bind(self._kubernetes, self._namespace, name)
            pods = {one["metadata"]["name"]: one for one in self._kubernetes.request("GET", path)["items"]}
            return pods if pods.keys() == names and all(map(is_decided, pods.values())) else None

        pods = until(look, "decision of the scheduler")
        placed = {name: pod["spec"]["nodeName"] for name, pod in pods.items() if "nodeName" in pod["spec"]}
        return Counter(self.zones[node] for node in placed.values()), sorted(names - placed.keys())


def is_decided(pod: Json) -> bool:
    """Return whether a pod has a node, or waits because no node fits. A claim that is not bound yet does not count."""
    (scheduled,) = [one for one in pod["status"].get("conditions", ()) if one["type"] == "PodScheduled"] or [{}]
    text = scheduled.get("message", "")
    return "nodeName" in pod["spec"] or ("nodes are available" in text and "claim" not in text.casefold())


@pytest.mark.parametrize("zones", ["prefer", "require"])
@pytest.mark.parametrize("spread", ["prefer", "require"])
def test_three_servers_get_a_zone_each(spread: str, zones: str, kubernetes: Kubernetes, namespace: str) -> None:
    with Place(kubernetes, namespace, {"a": 3, "b": 1, "c": 1}) as place:
        placed, waiting = place.servers(place.spec(3, spread=spread, zones=zones))

    assert (placed, waiting) == ({"a": 1, "b": 1, "c": 1}, [])


def test_of_four_servers_on_a_node_in_each_of_three_zones_one_waits_if_nodes_are_required(
    kubernetes: Kubernetes, namespace: str
) -> None:
    with Place(kubernetes, namespace, {"a": 1, "b": 1, "c": 1}) as place:
        placed, waiting = place.servers(place.spec(4, spread="require", zones="require"))

    assert placed == {"a": 1, "b": 1, "c": 1}
    assert len(waiting) == 1


def test_with_required_zones_five_servers_are_spread_evenly(kubernetes: Kubernetes, namespace: str) -> None:
    with Place(kubernetes, namespace, {"a": 3, "b": 3, "c": 3}) as place:
        placed, waiting = place.servers(place.spec(5, spread="require", zones="require"))

    assert sorted(placed.values()) == [1, 2, 2]
    assert waiting == []


def test_with_two_zones_the_third_server_waits_if_zones_are_required(kubernetes: Kubernetes, namespace: str) -> None:
    with Place(kubernetes, namespace, {"a": 3, "b": 3}) as place:
        placed, waiting = place.servers(place.spec(3, spread="require", zones="require"))

    assert placed == {"a": 1, "b": 1}
    assert len(waiting) == 1


@pytest.mark.parametrize("spread", ["prefer", "require"])
def test_with_preferred_zones_one_zone_may_have_all_servers(
    spread: str, kubernetes: Kubernetes, namespace: str
) -> None:
    with Place(kubernetes, namespace, {"a": 3}) as place:
        placed, waiting = place.servers(place.spec(3, spread=spread, zones="prefer"))

    assert (placed, waiting) == ({"a": 3}, [])


def test_a_zone_whose_nodes_no_server_tolerates_does_not_count(kubernetes: Kubernetes, namespace: str) -> None:
    with Place(kubernetes, namespace, {"a": 2, "b": 2, "c": 2, "d": 1}) as place:
        place.taint(f"{namespace}-d-0", [{"key": "example.com/graphics", "effect": "NoSchedule"}])
        placed, waiting = place.servers(place.spec(5, spread="require", zones="require"))

    assert sorted(placed.values()) == [1, 2, 2]
    assert waiting == []

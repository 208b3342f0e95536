"""The migration from Neo4j's Helm charts: the commands of the page on a real API server (`make api-server`)."""

import json
from pathlib import Path

import pytest

from backup_agent.k8s import server
from tests.components.kubernetes import Json, Kubelet, Kubernetes
from tests.k8s import helm_releases
from tests.k8s.desk import ROOT, Desk, Nodes, typed
from tests.k8s.live import apply, bind, claims, example, known, wait_for_pods
from tests.k8s.specs import alone
from tests.polling import until

pytestmark = [pytest.mark.components, pytest.mark.api_server]

PAGE = (ROOT / "docs/migration.md").read_text()
SECTION = PAGE[PAGE.index("## From Neo4j's Helm charts") :]

LAST = "kubectl delete pvc"


@pytest.fixture
def releases(kubernetes: Kubernetes, namespace: str) -> str:
    """The name of a namespace with releases of the chart, whose claims are bound."""
    made = kubernetes.kubectl(
        "create", "-f", "-", stdin="\n---\n".join(map(json.dumps, helm_releases.objects(namespace)))
    )
    assert made.returncode == 0, made.stderr
    kubelet = Kubelet(kubernetes, namespace)
    until(lambda: kubelet.look().keys() == {f"{release}-0" for release in helm_releases.RELEASES}, "pods of the chart")
    for name in helm_releases.CLAIMS:
        bind(kubernetes, namespace, name)
    return namespace


def volumes(kubernetes: Kubernetes, namespace: str) -> dict[str, Json]:
    items = kubernetes.request("GET", "/api/v1/persistentvolumes")["items"]
    return {one["metadata"]["name"]: one for one in items if one["metadata"]["name"].startswith(f"{namespace}-")}


def uids(found: dict[str, Json]) -> dict[str, str]:
    return {name: one["metadata"]["uid"] for name, one in found.items()}


def test_the_commands_keep_the_claims_until_the_last_one_and_the_volumes_for_good(
    kubernetes: Kubernetes, releases: str, tmp_path: Path
) -> None:
    agent = alone("helm-chart").model_copy(update={"namespace": releases})
    apply(kubernetes, agent)
    until(lambda: "demo-backup-0" in Kubelet(kubernetes, releases).look(), "agent")
    before = uids(claims(kubernetes, releases))
    desk = Desk(kubernetes, agent, tmp_path)
    desk.install("helm", helm_releases.UNINSTALL)
    *steps, last = typed(SECTION)

    with Nodes(kubernetes, releases):
        faults = desk.faults(steps)
    kept = volumes(kubernetes, releases)

    assert faults == []
    assert last.startswith(LAST)
    assert uids(claims(kubernetes, releases)) == before
    assert {one["spec"]["persistentVolumeReclaimPolicy"] for one in kept.values()} == {"Retain"}
    assert len(kept) == len(helm_releases.CLAIMS)
    left = kubernetes.kubectl("-n", releases, "get", "statefulset,service,secret", "-o", "name").stdout.split()
    assert left == ["statefulset.apps/demo-backup", "service/demo-backup"]
    assert desk.faults([last]) == []
    assert claims(kubernetes, releases).keys() == before.keys() - set(helm_releases.CLAIMS)
    assert uids(volumes(kubernetes, releases)) == uids(kept)


def test_rendered_servers_of_the_same_name_start_on_claims_of_their_own(kubernetes: Kubernetes, releases: str) -> None:
    """The order against which the page warns: first uninstall, then render."""
    before = uids(claims(kubernetes, releases))
    kubernetes.kubectl("-n", releases, "delete", "statefulset,service,secret", "-l", "app=demo", "--wait=false")
    found = example(releases)
    apply(kubernetes, found)
    kubelet = Kubelet(kubernetes, releases)
    until(
        lambda: not {f"{release}-0" for release in helm_releases.RELEASES} & kubelet.look().keys(), "end of the chart"
    )
    pods = wait_for_pods(kubernetes, found)

    mounted = {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in pods.values()
        for volume in pod["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert mounted.isdisjoint(before)
    assert before.items() <= uids(claims(kubernetes, releases)).items()
    assert known(kubernetes, f"/api/v1/namespaces/{releases}/secrets/demo-auth") is None


def test_the_secret_of_the_chart_has_none_of_the_keys_that_rendered_servers_need(
    kubernetes: Kubernetes, releases: str
) -> None:
    chart = kubernetes.request("GET", f"/api/v1/namespaces/{releases}/secrets/demo-auth")
    (container,) = server.stateful_set(example(releases))["spec"]["template"]["spec"]["containers"]
    needed = [
        one["valueFrom"]["secretKeyRef"] for one in container["env"] if "secretKeyRef" in one.get("valueFrom", {})
    ]

    assert {one["name"] for one in needed} == {chart["metadata"]["name"]}
    assert chart["data"].keys().isdisjoint(one["key"] for one in needed)


def test_no_service_of_the_chart_or_of_the_renderer_selects_pods_of_the_other(
    kubernetes: Kubernetes, releases: str
) -> None:
    apply(kubernetes, example(releases))
    pods = [one["metadata"] for one in wait_for_pods_beside(kubernetes, releases).values()]
    services = kubernetes.request("GET", f"/api/v1/namespaces/{releases}/services")["items"]

    for service in services:
        selector = service["spec"]["selector"].items()
        chosen = {pod["name"] for pod in pods if selector <= pod["labels"].items()}
        assert chosen
        assert {name.startswith("demo-") for name in chosen} == {"neo4j.com/cluster" in dict(selector)}


def wait_for_pods_beside(kubernetes: Kubernetes, namespace: str) -> dict[str, Json]:
    """Return the pods of the releases and of a rendered cluster."""
    kubelet = Kubelet(kubernetes, namespace)
    return until(lambda: found if len(found := kubelet.look()) == len(helm_releases.RELEASES) + 4 else None, "pods")

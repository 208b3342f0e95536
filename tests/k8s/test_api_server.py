"""The rendered objects in a real API server with a real StatefulSet controller.

The namespaces enforce Pod Security `restricted`. No node runs the pods: the tests make up the reports of kubelets. Only
`make api-server` runs these tests, because building the programs takes longer than all of `make test`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings

from backup_agent.k8s import manifests
from backup_agent.k8s.operator_migration import QUERY, plan
from backup_agent.k8s.reading import SpecError
from backup_agent.k8s.spec import ClusterSpec
from tests.components.kubernetes import (
    NODE,
    OTHER_NODE,
    Json,
    Kubelet,
    Kubernetes,
    RefusedError,
)
from tests.examples import examples
from tests.k8s import operators
from tests.k8s.live import IMAGE, SERVERS, apply, example, known, numbers, refusals, wait_for_pods
from tests.k8s.specs import ALONE, EXAMPLE, NAMES, alone, parsed, spec, text
from tests.k8s.trees import read_tree, trees
from tests.polling import until

pytestmark = [pytest.mark.components, pytest.mark.api_server]


def stateful_set(kubernetes: Kubernetes, namespace: str, name: str) -> Json:
    return kubernetes.request("GET", f"/apis/apps/v1/namespaces/{namespace}/statefulsets/{name}")


def test_the_example_is_accepted_and_gets_its_pods_and_claims(kubernetes: Kubernetes, namespace: str) -> None:
    found = example(namespace)

    apply(kubernetes, found, "--dry-run=server")
    apply(kubernetes, found)
    pods = wait_for_pods(kubernetes, found)
    claims = kubernetes.request("GET", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims")["items"]

    assert set(pods) == {"demo-backup-0", *SERVERS[:3]}
    assert {claim["metadata"]["name"] for claim in claims} == {
        "backup-requests-demo-backup-0",
        "backup-storage-demo-backup-0",
        *(f"data-{server}" for server in SERVERS[:3]),
    }
    assert refusals(kubernetes, namespace) == []


def test_the_commands_of_the_page_install_and_remove_the_example(
    kubernetes: Kubernetes, namespace: str, tmp_path: Path
) -> None:
    for name, content in manifests.files(example(namespace)).items():
        (tmp_path / name).write_text(content)

    def kubectl(*words: str) -> str:
        completed = kubernetes.kubectl("-n", namespace, *words)
        assert (completed.returncode, completed.stderr) == (0, "")
        return completed.stdout

    account = ("--from-literal=username=neo4j", "--from-literal=password=for-tests-only")
    kubectl("create", "secret", "generic", "demo-auth", *account)
    kubectl("create", "secret", "generic", "demo-backup-auth", *account)
    kubectl("apply", "--server-side", "-k", str(tmp_path))
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", str(tmp_path))
    wait_for_pods(kubernetes, example(namespace))
    ready = "--for=jsonpath={.status.readyReplicas}=3"
    assert "condition met" in kubectl("wait", "statefulset/demo-server", ready, "--timeout=60s")
    assert "complete" in kubectl("rollout", "status", "statefulset/demo-backup", "--timeout=60s")
    listed = kubectl("get", "pods", "-l", "neo4j.com/cluster=demo", "-o", "name").split()
    assert listed == [f"pod/{name}" for name in ("demo-backup-0", *SERVERS[:3])]
    assert kubectl("get", "pods", "-l", "neo4j.com/component=backup", "-o", "name").split() == listed[:1]

    claims = kubectl("get", "pvc", "-o", "name")
    kubectl("delete", "-k", str(tmp_path))
    kubelet = Kubelet(kubernetes, namespace)
    until(lambda: not kubelet.look(), "end of all pods")
    assert kubectl("get", "pvc", "-o", "name") == claims
    assert len(claims.split()) == 5


@pytest.mark.parametrize("name", ALONE)
def test_an_agent_alone_is_accepted_and_no_server_is_made(name: str, kubernetes: Kubernetes, namespace: str) -> None:
    found = alone(name).model_copy(update={"namespace": namespace})

    apply(kubernetes, found)
    kubelet = Kubelet(kubernetes, namespace)

    assert until(kubelet.look, "pod").keys() == {f"{found.cluster}-backup-0"}
    assert refusals(kubernetes, namespace) == []


@pytest.mark.parametrize("name", sorted(path.name for path in (EXAMPLE / "overlays").iterdir()))
def test_the_overlays_of_the_page_are_accepted(name: str, kubernetes: Kubernetes) -> None:
    completed = kubernetes.kubectl("apply", "--server-side", "--dry-run=server", "-k", str(EXAMPLE / "overlays" / name))

    assert (completed.returncode, completed.stderr) == (0, "")


def test_a_supervised_update_replaces_only_the_pods_that_are_deleted(kubernetes: Kubernetes, namespace: str) -> None:
    found = example(namespace)
    server = found.server.model_copy(update={"update": "supervised"})
    old, new = (found.model_copy(update={"server": server, "version": v}) for v in ("2026.09.0", "2026.10.0"))
    apply(kubernetes, old)
    wait_for_pods(kubernetes, old)
    kubelet = Kubelet(kubernetes, namespace)

    def images() -> list[str]:
        pods = kubelet.look()
        return [pods[name]["spec"]["containers"][0]["image"] for name in SERVERS[:3] if name in pods]

    apply(kubernetes, new)
    until(
        lambda: (
            stateful_set(kubernetes, namespace, "demo-server")["status"]["updateRevision"]
            != stateful_set(kubernetes, namespace, "demo-server")["status"]["currentRevision"]
        ),
        "new revision",
    )
    assert images() == ["neo4j:2026.09.0-enterprise"] * 3
    kubernetes.kubectl("-n", namespace, "delete", "pod", "demo-server-2", "--wait=false")

    expected = ["neo4j:2026.09.0-enterprise"] * 2 + ["neo4j:2026.10.0-enterprise"]
    until(lambda: images() == expected, "pod of the new version")


def test_a_server_gets_a_new_claim_as_the_runbook_says(kubernetes: Kubernetes, namespace: str) -> None:
    claim = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/data-demo-server-2"
    apply(kubernetes, example(namespace))
    before = wait_for_pods(kubernetes, example(namespace))
    lost = kubernetes.request("GET", claim)["metadata"]["uid"]

    kubernetes.kubectl("-n", namespace, "delete", "pvc", "data-demo-server-2", "--wait=false")
    kubernetes.kubectl("-n", namespace, "delete", "pod", "demo-server-2", "--wait=false")
    kubelet, name = Kubelet(kubernetes, namespace), "demo-server-2"
    until(
        lambda: kubelet.look().get(name, before[name])["metadata"]["uid"] != before[name]["metadata"]["uid"], "new pod"
    )

    assert kubernetes.request("GET", claim)["metadata"]["uid"] != lost


def test_a_quota_of_requested_memory_and_cpu_is_kept(kubernetes: Kubernetes, namespace: str) -> None:
    hard = {"pods": "4", "requests.cpu": "3100m", "limits.memory": "13Gi", "requests.storage": "501Gi"}
    quota = {"metadata": {"name": "quota"}, "spec": {"hard": hard}}
    kubernetes.request("POST", f"/api/v1/namespaces/{namespace}/resourcequotas", quota)
    apply(kubernetes, example(namespace))

    assert len(wait_for_pods(kubernetes, example(namespace))) == 4


def test_a_claim_grows_as_the_page_describes_without_a_restart(kubernetes: Kubernetes, namespace: str) -> None:
    found = example(namespace)
    larger = found.backup.storage.model_copy(update={"size": "400Gi"})
    grown = found.model_copy(update={"backup": found.backup.model_copy(update={"storage": larger})})
    apply(kubernetes, found)
    before = wait_for_pods(kubernetes, found)["demo-backup-0"]["metadata"]["uid"]

    refused = kubernetes.kubectl("apply", "--server-side", "-f", "-", stdin=manifests.stream(grown))
    assert "spec.volumeClaimTemplates" in refused.stderr
    kubernetes.kubectl("-n", namespace, "delete", "statefulset", "demo-backup", "--cascade=orphan")
    apply(kubernetes, grown)
    path = f"/apis/apps/v1/namespaces/{namespace}/statefulsets/demo-backup"
    until(lambda: kubernetes.request("GET", path)["status"].get("readyReplicas") == 1, "agent of the new StatefulSet")

    assert wait_for_pods(kubernetes, grown)["demo-backup-0"]["metadata"]["uid"] == before


def test_the_claim_of_the_predecessor_is_taken_over_as_the_page_describes(
    kubernetes: Kubernetes, namespace: str
) -> None:
    claim = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/backup-storage-demo-backup-0"
    kubernetes.request("POST", f"/apis/apps/v1/namespaces/{namespace}/statefulsets", predecessor(namespace))
    before = until(lambda: known(kubernetes, claim), "claim of the predecessor")["metadata"]["uid"]

    ours = manifests.stream(example(namespace))
    refused = kubernetes.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=ours)
    assert "spec.serviceName" in refused.stderr
    kubernetes.kubectl("-n", namespace, "delete", "statefulset", "demo-backup")
    apply(kubernetes, example(namespace))
    wait_for_pods(kubernetes, example(namespace))

    assert kubernetes.request("GET", claim)["metadata"]["uid"] == before


def predecessor(namespace: str) -> Json:
    """Return the StatefulSet that the operator made: its names, selector and claim."""
    labels = {"neo4j.com/cluster": "demo", "neo4j.com/component": "backup"}
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    pod = {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 7474, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "backup", "image": "neo4j:2025.08.0-enterprise", "securityContext": security}],
    }
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "200Gi"}}}
    return {
        "metadata": {"name": "demo-backup", "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": 1,
            "serviceName": "demo-backup-headless",
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
            "volumeClaimTemplates": [{"metadata": {"name": "backup-storage"}, "spec": claim}],
        },
    }


def test_a_lost_claim_is_replaced_as_the_runbook_says(kubernetes: Kubernetes, namespace: str) -> None:
    claim = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/backup-storage-demo-backup-0"
    apply(kubernetes, example(namespace))
    before = wait_for_pods(kubernetes, example(namespace))["demo-backup-0"]["metadata"]["uid"]
    lost = kubernetes.request("GET", claim)["metadata"]["uid"]

    kubernetes.kubectl("-n", namespace, "delete", "pvc", "backup-storage-demo-backup-0", "--wait=false")
    kubernetes.kubectl("-n", namespace, "delete", "pod", "demo-backup-0", "--wait=false")
    kubelet = Kubelet(kubernetes, namespace)
    until(
        lambda: kubelet.look().get("demo-backup-0", {"metadata": {"uid": before}})["metadata"]["uid"] != before,
        "new pod",
    )

    assert kubernetes.request("GET", claim)["metadata"]["uid"] != lost


def test_the_agent_of_a_lost_node_starts_elsewhere_after_the_node_is_tainted(
    kubernetes: Kubernetes, namespace: str
) -> None:
    apply(kubernetes, example(namespace))
    lost, other = Kubelet(kubernetes, namespace), Kubelet(kubernetes, namespace, OTHER_NODE)
    until(lambda: runs(lost, IMAGE), "agent")
    kubernetes.kubectl("-n", namespace, "delete", "pod", "demo-backup-0", "--wait=false")
    until(lambda: "deletionTimestamp" in lost.pods()["demo-backup-0"]["metadata"], "agent that is to end")
    assert other.look()["demo-backup-0"]["spec"]["nodeName"] == NODE  # and no kubelet on that node can report it

    tainted = ("taint", "node", NODE, "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute")
    assert kubernetes.kubectl(*tainted).returncode == 0
    try:
        until(
            lambda: other.look().get("demo-backup-0", {"spec": {}})["spec"].get("nodeName") == OTHER_NODE,
            "agent elsewhere",
            patience=120,
        )
    finally:
        kubernetes.kubectl(*tainted[:3], tainted[3] + "-")


@pytest.mark.parametrize("name", NAMES)
def test_applying_it_again_changes_nothing(name: str, kubernetes: Kubernetes, namespace: str) -> None:
    found = spec(name).model_copy(update={"namespace": namespace})
    apply(kubernetes, found)
    before = as_written(kubernetes, found)

    apply(kubernetes, found)
    difference = kubernetes.kubectl("diff", "--server-side", "-f", "-", stdin=manifests.stream(found))

    assert as_written(kubernetes, found) == before
    assert (difference.returncode, difference.stdout) == (0, "")


def as_written(kubernetes: Kubernetes, found: ClusterSpec) -> dict[str, tuple[int, str]]:
    """Return object -> its generation and the time of the last change by kubectl. Controllers change the status."""
    completed = kubernetes.kubectl(
        "get", "-f", "-", "-o", "json", "--show-managed-fields", stdin=manifests.stream(found)
    )
    return {
        f"{one['kind']}/{one['metadata']['name']}": (
            one["metadata"].get("generation", 0),
            next(entry["time"] for entry in one["metadata"]["managedFields"] if entry["manager"] == "kubectl"),
        )
        for one in json.loads(completed.stdout)["items"]
    }


def test_more_servers_restart_none(kubernetes: Kubernetes, namespace: str) -> None:
    apply(kubernetes, example(namespace))
    before = wait_for_pods(kubernetes, example(namespace))
    revision = stateful_set(kubernetes, namespace, "demo-server")["status"]["updateRevision"]

    apply(kubernetes, example(namespace, servers=5))
    after = wait_for_pods(kubernetes, example(namespace, servers=5))

    assert {name: after[name]["metadata"]["uid"] for name in before} == {
        name: pod["metadata"]["uid"] for name, pod in before.items()
    }
    assert set(after) == {"demo-backup-0", *SERVERS}
    assert stateful_set(kubernetes, namespace, "demo-server")["status"]["updateRevision"] == revision


def test_an_update_replaces_one_server_at_a_time_beginning_with_the_last(
    kubernetes: Kubernetes, namespace: str
) -> None:
    found = example(namespace)
    old = found.model_copy(update={"server": found.server.model_copy(update={"update": "automatic"})})
    new = old.model_copy(update={"version": "2026.10.0"})
    path = f"/api/v1/namespaces/{namespace}/pods?labelSelector=neo4j.com/component=server"
    kubelet = Kubelet(kubernetes, namespace)

    def applied(found: ClusterSpec) -> None:
        hurried = manifests.stream(found).replace("minReadySeconds: 30", "minReadySeconds: 1")
        assert kubernetes.kubectl("apply", "--server-side", "-f", "-", stdin=hurried).returncode == 0

    applied(old)
    wait_for_pods(kubernetes, old)
    until(
        lambda: stateful_set(kubernetes, namespace, "demo-server")["status"].get("availableReplicas") == 3,
        "servers that have been ready for a while",
    )
    since = kubernetes.request("GET", path)["metadata"]["resourceVersion"]
    applied(new)
    images = {f"neo4j:{new.version}-enterprise"}
    until(
        lambda: {pod["spec"]["containers"][0]["image"] for pod in kubelet.look().values()} == images | {IMAGE},
        "update of all servers",
    )
    wait_for_pods(kubernetes, new)
    seen = [
        (event["type"], event["object"]["metadata"]["name"])
        for event in kubernetes.events(path, since)
        if event["type"] != "MODIFIED"
    ]

    assert seen == [(kind, server) for server in reversed(SERVERS[:3]) for kind in ("DELETED", "ADDED")]


def test_an_update_of_the_agent_never_has_two_of_them(kubernetes: Kubernetes, namespace: str) -> None:
    apply(kubernetes, example(namespace))
    wait_for_pods(kubernetes, example(namespace))
    path = f"/api/v1/namespaces/{namespace}/pods?labelSelector=neo4j.com/component=backup"
    listed = kubernetes.request("GET", path)
    kubelet = Kubelet(kubernetes, namespace)

    apply(kubernetes, example(namespace, "registry.example.com/agent:2"))
    until(lambda: "deletionTimestamp" in kubelet.pods()["demo-backup-0"]["metadata"], "end of the old agent")
    alone = set(kubelet.pods())  # the old agent still finishes its work
    until(lambda: runs(kubelet, "registry.example.com/agent:2"), "new agent")
    seen = [event["type"] for event in kubernetes.events(path, listed["metadata"]["resourceVersion"])]

    assert alone == {"demo-backup-0", *SERVERS[:3]}
    assert len(listed["items"]) == 1
    assert [kind for kind in seen if kind != "MODIFIED"] == ["DELETED", "ADDED"]


def runs(kubelet: Kubelet, image: str, **how: Any) -> bool:
    agent = kubelet.look(**how).get("demo-backup-0", {})
    return bool(agent) and agent["spec"]["containers"][0]["image"] == image and agent["status"]["phase"] == "Running"


def test_an_agent_that_never_becomes_ready_is_replaced_by_a_corrected_one(
    kubernetes: Kubernetes, namespace: str
) -> None:
    bad, good = "registry.example.com/agent:bad", "registry.example.com/agent:good"
    kubelet = Kubelet(kubernetes, namespace)
    apply(kubernetes, example(namespace, bad))
    until(lambda: runs(kubelet, bad, unready=[bad]), "agent that is not ready")

    apply(kubernetes, example(namespace, good))

    assert until(lambda: runs(kubelet, good, unready=[bad]), "agent that was mended")


def test_services_send_clients_to_servers_only_and_prometheus_to_the_agent(
    kubernetes: Kubernetes, namespace: str
) -> None:
    apply(kubernetes, example(namespace))
    wait_for_pods(kubernetes, example(namespace))

    def endpoints(service: str) -> set[str]:
        selector = f"labelSelector=kubernetes.io/service-name={service}"
        path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?{selector}"
        slices = kubernetes.request("GET", path)["items"]
        return {each["targetRef"]["name"] for one in slices for each in one["endpoints"] or ()}

    for service, pods in (
        ("demo-client", set(SERVERS[:3])),
        ("demo-headless", set(SERVERS[:3])),
        ("demo-backup", {"demo-backup-0"}),
    ):
        until(lambda service=service, pods=pods: endpoints(service) == pods, f"endpoints of {service}")  # type: ignore[misc]  # bound now


def test_a_drain_stops_one_server_at_a_time(kubernetes: Kubernetes, namespace: str) -> None:
    apply(kubernetes, example(namespace))
    wait_for_pods(kubernetes, example(namespace))
    budget = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets/demo-server"
    until(lambda: kubernetes.request("GET", budget)["status"].get("disruptionsAllowed") == 1, "budget")

    def evict(pod: str) -> None:
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        kubernetes.request("POST", f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction", eviction)

    evict(SERVERS[0])
    with pytest.raises(RefusedError) as refused:
        evict(SERVERS[1])

    assert refused.value.code == 429


OPERATOR_KIND = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "neo4jenterpriseclusters.neo4j.neo4j.com"},
    "spec": {
        "group": "neo4j.neo4j.com",
        "scope": "Namespaced",
        "names": {
            "kind": "Neo4jEnterpriseCluster",
            "plural": "neo4jenterpriseclusters",
            "singular": "neo4jenterprisecluster",
        },
        "versions": [
            {
                "name": "v1beta1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


@pytest.fixture
def operated(kubernetes: Kubernetes, namespace: str) -> str:
    """The name of a namespace with a cluster of the community operator, whose claims are bound."""
    applied = kubernetes.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(OPERATOR_KIND))
    assert applied.returncode == 0, applied.stderr
    until(lambda: known(kubernetes, "/apis/neo4j.neo4j.com/v1beta1"), "kind of the operator")
    kind = f"/apis/neo4j.neo4j.com/v1beta1/namespaces/{namespace}/neo4jenterpriseclusters"
    uid = kubernetes.request("POST", kind, operators.resource(namespace, None))["metadata"]["uid"]
    objects = "\n---\n".join(json.dumps(one) for one in operators.owned(namespace, uid))
    made = kubernetes.kubectl("create", "-f", "-", stdin=objects)
    assert made.returncode == 0, made.stderr
    for number, name in enumerate(operators.CLAIMS):
        claim = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}"
        until(lambda claim=claim: known(kubernetes, claim), f"claim {name}")  # type: ignore[misc]  # bound now
        volume = f"{namespace}-{number}"
        spec = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "100Gi"}, "hostPath": {"path": "/x"}}
        kubernetes.request("POST", "/api/v1/persistentvolumes", {"metadata": {"name": volume}, "spec": spec})
        bound = kubernetes.kubectl(
            "-n", namespace, "patch", "pvc", name, "-p", json.dumps({"spec": {"volumeName": volume}})
        )
        assert bound.returncode == 0, bound.stderr
    return namespace


def listed(kubernetes: Kubernetes, namespace: str, folder: Path) -> list[Json]:
    """Return the objects that the page's `kubectl get` lists."""
    completed = kubernetes.shell(QUERY.replace("NAMESPACE", namespace), folder)
    assert completed.returncode == 0, completed.stderr
    found: list[Json] = json.loads(completed.stdout)["items"]
    return found


def uids(objects: list[Json], kinds: tuple[str, ...]) -> dict[str, str]:
    return {
        f"{one['kind']}/{one['metadata']['name']}": one["metadata"]["uid"] for one in objects if one["kind"] in kinds
    }


def after_garbage_collection(kubernetes: Kubernetes, namespace: str) -> None:
    """Wait until an object whose owner never existed has been collected."""
    orphan = {"apiVersion": "v1", "kind": "ConfigMap", "name": "none", "uid": "99999999-2222-3333-4444-555555555555"}
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    kubernetes.request("POST", path, {"metadata": {"name": "collected", "ownerReferences": [orphan]}})
    until(lambda: known(kubernetes, f"{path}/collected") is None, "garbage collection")


def test_the_printed_commands_release_a_cluster_from_the_operator_and_keep_all_data(
    kubernetes: Kubernetes, operated: str, tmp_path: Path
) -> None:
    found = example(operated)
    (tmp_path / "demo").mkdir()
    for name, content in manifests.files(found).items():
        (tmp_path / "demo" / name).write_text(content)
    kubernetes.kubectl("create", "namespace", "neo4j-operator-system")
    operator = ("deployment", "neo4j-operator-controller-manager", "-n", "neo4j-operator-system")
    kubernetes.kubectl("create", *operator, "--image=operator:1")
    before = listed(kubernetes, operated, tmp_path)
    kubelet = Kubelet(kubernetes, operated)
    kubelet.look()

    for step in plan(before):
        for command in step.commands:
            completed = kubernetes.shell(command, tmp_path)
            assert completed.returncode == 0, (command, completed.stderr)
            if step.title.startswith("Check"):
                assert completed.stdout == ""
            if command.startswith("kubectl delete") and "statefulset" in command:
                gone = command.rpartition("/")[2]
                until(lambda gone=gone: not any(name.startswith(gone) for name in kubelet.look()), f"end of {gone}")  # type: ignore[misc]  # bound now
    wait_for_pods(kubernetes, found)
    after_garbage_collection(kubernetes, operated)
    after = [
        one
        for kinds in ("statefulset,service,configmap,serviceaccount,networkpolicy,pdb,pvc", "pv")
        for one in json.loads(kubernetes.kubectl("-n", operated, "get", kinds, "-o", "json").stdout)["items"]
    ]

    claims = uids(before, ("PersistentVolumeClaim", "PersistentVolume"))
    assert claims.items() <= uids(after, ("PersistentVolumeClaim", "PersistentVolume")).items()
    assert {f"{one['kind']}/{one['metadata']['name']}" for one in manifests.objects(found)} <= {
        f"{one['kind']}/{one['metadata']['name']}" for one in after
    }
    assert not [
        one for one in after if "Neo4jEnterpriseCluster" in json.dumps(one["metadata"].get("ownerReferences", ""))
    ]
    path = f"/apis/neo4j.neo4j.com/v1beta1/namespaces/{operated}/neo4jenterpriseclusters/demo"
    assert known(kubernetes, path) is None


def test_the_naive_order_loses_the_services_and_the_servers(
    kubernetes: Kubernetes, operated: str, tmp_path: Path
) -> None:
    """The page warns of this order: rendered objects are applied over the operator's, and then the resource is deleted."""
    ours = manifests.stream(example(operated))
    refused = kubernetes.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=ours)
    assert "spec.selector" in refused.stderr or "spec.serviceName" in refused.stderr
    owners = [
        one["metadata"].get("ownerReferences")
        for one in listed(kubernetes, operated, tmp_path)
        if one["kind"] == "Service" and one["metadata"]["name"] == "demo-client"
    ]
    assert owners[0], "an applied object keeps its owner"

    finalizers = ("patch", "neo4jenterprisecluster/demo", "--type", "merge", "-p", '{"metadata":{"finalizers":null}}')
    kubernetes.kubectl("-n", operated, *finalizers)
    kubernetes.kubectl("-n", operated, "delete", "neo4jenterprisecluster/demo", "--wait=false")

    for path in (
        f"/api/v1/namespaces/{operated}/services/demo-client",
        f"/apis/apps/v1/namespaces/{operated}/statefulsets/demo-server",
    ):
        until(lambda path=path: known(kubernetes, path) is None, f"deletion of {path}")  # type: ignore[misc]  # bound now


@given(trees)
@settings(
    max_examples=examples(48),
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_objects_of_any_spec_are_accepted_and_get_their_pods(kubernetes: Kubernetes, tree: dict[str, Any]) -> None:
    found = read_tree(tree | {"namespace": f"{tree.get('namespace', 'default')}-{next(numbers)}"})
    kubernetes.restricted_namespace(found.namespace)
    for placement in (found.server.placement, found.backup.placement):
        if placement.priority_class:
            named = {"metadata": {"name": placement.priority_class}, "value": 1}
            if known(kubernetes, f"/apis/scheduling.k8s.io/v1/priorityclasses/{placement.priority_class}") is None:
                kubernetes.request("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", named)

    apply(kubernetes, found, "--dry-run=server")
    apply(kubernetes, found)
    before = as_written(kubernetes, found)
    apply(kubernetes, found)
    after = as_written(kubernetes, found)
    pods = wait_for_pods(kubernetes, found)
    kubernetes.request("DELETE", f"/api/v1/namespaces/{found.namespace}")

    assert before == after
    assert len(pods) == found.topology.servers + 1


ODD = (
    *("", "a", "A", "0", "-", ".", "..", "..a", "a.", ".a", "a..b", "a-", "a_b", "a b", "a/b", "/", "a/", "a//b", "é", "a\tb"),
    *("a.-b/c", "a..b/c", "A.b/c", "a/.c", "kubernetes.io/a", "a" * 63, "a" * 64, "a" * 253, "a" * 254, "a" * 5000),
    *("a" * 253 + "/a", "a" * 254 + "/a", "a/" + "a" * 63, "a/" + "a" * 64, "a." * 126 + "a", "yes", "null", "1e3", "0x1F"),
    *("0s", "1s", "9999d", "1000000d", "1.5h", "1Ki", "1Mi", "0Gi", "999999999Ti", "0.5Gi", "1m", "0.001", "99999m", "1.0005"),
    *("0.0.0.0/0", "10.0.0.1/8", "10.0.0.0/255.0.0.0", "10.0.0.0/08", "::/0", "2001:db8::/32", "2001:DB8::/32", "2001:0db8::/32"),
    *("::ffff:10.0.0.0/104", "fe80::%1/64", "10.0.0.0", "https://a", "https://a:99999", "-XX:a", "1.2.3.4", "system-node-critical"),
)  # fmt: skip
"""Values that a person might write, and values that a rule might wrongly accept."""

LEFT_TO_THE_SERVER = ("cpu", "cpu_limit", "tolerations")
"""Keys whose values the spec does not check. Another test shows that the API server names such faults."""

FREE_KEYS = (
    *("annotations", "labels", "namespaces", "node_selector", "pod_annotations", "pod_labels", "pods"),
    "service_account_annotations",
)


def variants(value: Any) -> Iterator[Any]:
    """Yield variants of a tree. In each, one text, or one key with a free name, is replaced by a value of ODD."""
    if isinstance(value, str):
        yield from ODD
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from ([*value[:place], other, *value[place + 1 :]] for other in variants(item))
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in LEFT_TO_THE_SERVER:
                yield from ({**value, key: other} for other in variants(item))
            if key in FREE_KEYS:
                yield from ({**value, key: {odd: "a"}} for odd in ODD)


def test_a_value_that_the_server_would_refuse_is_a_fault_of_the_spec(kubernetes: Kubernetes, namespace: str) -> None:
    usual = set(documents(parsed(text("everything")), namespace))
    sent: set[str] = set()
    for odd in variants(yaml.safe_load(text("everything"))):
        try:
            found = read_tree(odd)
        except SpecError:
            continue
        sent |= set(documents(found, namespace)) - usual

    completed = kubernetes.kubectl(
        "apply", "--server-side", "--dry-run=server", "-f", "-", stdin="\n---\n".join(sorted(sent))
    )

    assert completed.stderr == ""
    assert len(completed.stdout.splitlines()) == len(sent) > 1000


TAINT = {"key": "example.com/graphs", "operator": "Exists"}


@pytest.mark.parametrize(
    ("section", "change", "expected"),
    [
        ("server", {"cpu_limit": "500m"}, "must be less than or equal to cpu limit of 500m"),
        ("client_service", {"source_ranges": ["10.0.0.0/8"]}, "may only be used when `type` is 'LoadBalancer'"),
        ("server", {"placement": {"tolerations": [{}]}}, "operator must be Exists when `key` is empty"),
        ("server", {"placement": {"tolerations": [TAINT | {"key": "a b"}]}}, "spec.tolerations[0].key: Invalid value"),
        ("server", {"placement": {"tolerations": [TAINT | {"value": "x"}]}}, "value must be empty when `operator`"),
        ("server", {"placement": {"tolerations": [TAINT | {"tolerationSeconds": 5}]}}, "effect must be 'NoExecute'"),
        ("server", {"placement": {"tolerations": [TAINT | {"effekt": "x"}]}}, "effekt"),
    ],
)
def test_the_server_names_the_faults_that_the_spec_does_not_check(
    kubernetes: Kubernetes, namespace: str, section: str, change: Json, expected: str
) -> None:
    tree = yaml.safe_load(text("smallest"))
    found = read_tree(tree | {"namespace": namespace, section: tree.get(section, {}) | change})

    completed = kubernetes.kubectl(
        "apply", "--server-side", "--dry-run=server", "-f", "-", stdin=manifests.stream(found)
    )

    assert completed.returncode == 1
    assert expected in completed.stderr


def documents(found: ClusterSpec, namespace: str) -> list[str]:
    """Return each rendered object, in a namespace, as JSON, which is written in an eighth of the time of YAML."""
    return [json.dumps(one) for one in manifests.objects(found.model_copy(update={"namespace": namespace}))]

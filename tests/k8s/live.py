"""Builders: rendered objects in a real API server, and the reports of controllers and kubelets that let pods run."""

import itertools
import subprocess

import yaml

from backup_agent.k8s import manifests
from backup_agent.k8s.alone import Spec
from backup_agent.k8s.spec import ClusterSpec
from tests.components.kubernetes import Json, Kubelet, Kubernetes, RefusedError
from tests.k8s.specs import EXAMPLE, parsed
from tests.polling import PATIENCE, until

IMAGE = "registry.example.com/neo4j-backup-agent:0.2.0-2026.09.0"

SERVERS = [f"demo-server-{number}" for number in range(5)]

numbers = itertools.count()

BOUND = {"pv.kubernetes.io/bind-completed": "yes"}
"""Annotation of a bound claim. Without it the scheduler does not count the claim as bound."""


def known(kubernetes: Kubernetes, path: str) -> Json | None:
    """Return an object, or None if it does not exist."""
    try:
        return kubernetes.request("GET", path)
    except RefusedError:
        return None


def apply(kubernetes: Kubernetes, found: Spec, *options: str) -> subprocess.CompletedProcess[str]:
    """Apply the objects of a spec as the pages describe it. Fail if the server warns of anything."""
    completed = kubernetes.kubectl("apply", "--server-side", *options, "-f", "-", stdin=manifests.stream(found))
    assert completed.returncode == 0, completed.stderr
    assert completed.stderr == ""
    return completed


def example(namespace: str, image: str = IMAGE, **topology: int | str) -> ClusterSpec:
    """Return the spec of the example in a namespace, with some keys changed."""
    tree = yaml.safe_load((EXAMPLE / "spec.yaml").read_text())
    tree["namespace"] = namespace
    tree["topology"] |= topology
    tree["backup"]["image"] = image
    return parsed(yaml.safe_dump(tree))


def refusals(kubernetes: Kubernetes, namespace: str) -> list[str]:
    """Return the events in which controllers report what they could not do."""
    items = kubernetes.request("GET", f"/api/v1/namespaces/{namespace}/events")["items"]
    return sorted({item["message"] for item in items if item["type"] == "Warning"})


def wait_for_pods(kubernetes: Kubernetes, found: ClusterSpec) -> dict[str, Json]:
    """Wait until the controller has made every pod of a spec and its node has reported that it runs."""
    kubelet = Kubelet(kubernetes, found.namespace)
    wanted = {f"{found.cluster}-backup-0", *(f"{found.cluster}-server-{n}" for n in range(found.topology.servers))}

    def look() -> dict[str, Json] | None:
        pods = kubelet.look()
        ready = {name for name, pod in pods.items() if pod["status"].get("conditions", [{}])[-1].get("type") == "Ready"}
        return pods if ready == wanted else None

    try:
        return until(look, "pods", PATIENCE + found.topology.servers)
    except AssertionError as error:
        raise AssertionError(f"{error}: {refusals(kubernetes, found.namespace)}") from None


def claims(kubernetes: Kubernetes, namespace: str) -> dict[str, Json]:
    """Return the claims of a namespace by name."""
    items = kubernetes.request("GET", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims")["items"]
    return {one["metadata"]["name"]: one for one in items}


def bind(kubernetes: Kubernetes, namespace: str, claim: str) -> None:
    """Bind a claim to a new volume that every node can use, as the controller of volumes would."""
    volume = f"{namespace}-{claim}"
    spec = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "200Gi"}, "hostPath": {"path": "/x"}}
    kubernetes.request("POST", "/api/v1/persistentvolumes", {"metadata": {"name": volume}, "spec": spec})
    path, kind = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}", "application/merge-patch+json"
    kubernetes.request("PATCH", path, {"metadata": {"annotations": BOUND}, "spec": {"volumeName": volume}}, kind)
    kubernetes.request("PATCH", f"{path}/status", {"status": {"phase": "Bound"}}, kind)

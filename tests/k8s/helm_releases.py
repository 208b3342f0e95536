"""The objects of releases of Neo4j's Helm chart `neo4j/neo4j`, with the names and labels that chart 5.17.0 gives them."""

from typing import Any

from backup_agent.k8s.names import Object
from tests.k8s.operators import POD, SECURITY

RELEASES = ("server1", "server2", "server3")

CLAIMS = tuple(f"data-{release}-0" for release in RELEASES)

UNINSTALL = """[ "$1" = uninstall ] || exit 1
shift
for release; do
    kubectl delete service demo-lb-neo4j --ignore-not-found || exit
    kubectl delete statefulset,service,configmap,secret,serviceaccount --selector release="$release" || exit
done
"""
"""A stand-in of `helm uninstall`: the hook of the chart, then what the manifest of the release has."""


def objects(namespace: str) -> list[Object]:
    """Return the objects of three releases, and the CronJob of the backup chart's release `backup`."""
    return [*(one for release in RELEASES for one in _release(namespace, release)), _backups(namespace)]


def _one(namespace: str, release: str, api: str, kind: str, name: str, labels: dict[str, str], **parts: Any) -> Object:
    # The label `release` stands for helm's own list of the objects of a release.
    metadata = {"name": name, "namespace": namespace, "labels": {"app": "demo", "release": release, **labels}}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **parts}


def _release(namespace: str, release: str) -> list[Object]:
    chosen = {"app": "demo", "helm.neo4j.com/instance": release}
    labels = {
        **chosen,
        "helm.neo4j.com/neo4j.name": "demo",
        "helm.neo4j.com/clustering": "true",
        "helm.neo4j.com/pod_category": "neo4j-instance",
        "helm.neo4j.com/neo4j.loadbalancer": "include",
    }

    def service(name: str, selector: dict[str, str], part: str, **more: Any) -> Object:
        ports = [{"name": "tcp-bolt", "port": 7687}]
        spec = {"selector": selector, "ports": ports, **more}
        return _one(namespace, release, "v1", "Service", name, {"helm.neo4j.com/service": part}, spec=spec)

    mount = {"name": "data", "mountPath": "/data", "subPathExpr": "data"}
    container = {
        "name": "neo4j",
        "image": "neo4j:5.17.0-enterprise",
        "securityContext": SECURITY,
        "volumeMounts": [mount],
    }
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "100Gi"}}}
    spec = {
        "replicas": 1,
        "serviceName": release,
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": chosen},
        "template": {"metadata": {"labels": labels}, "spec": {"securityContext": POD, "containers": [container]}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
    }
    found = [
        _one(namespace, release, "apps/v1", "StatefulSet", release, labels, spec=spec),
        service(release, chosen, "default"),
        service(f"{release}-admin", chosen, "admin", publishNotReadyAddresses=True),
        service(f"{release}-internals", chosen, "internals", clusterIP="None", publishNotReadyAddresses=True),
        _one(namespace, release, "v1", "ConfigMap", f"{release}-user-config", {}, data={}),
        _one(namespace, release, "v1", "ServiceAccount", release, {}),
    ]
    if release != RELEASES[0]:
        return found
    balanced = {"app": "demo", "helm.neo4j.com/clustering": "true", "helm.neo4j.com/neo4j.loadbalancer": "include"}
    # Only the first release has these two: the others find them.
    return [
        *found,
        _one(namespace, release, "v1", "Secret", "demo-auth", {}, stringData={"NEO4J_AUTH": "neo4j/for-tests-only"}),
        service("demo-lb-neo4j", balanced, "neo4j", type="LoadBalancer"),
    ]


def _backups(namespace: str) -> Object:
    container = {"name": "graph-backup", "image": "neo4j/helm-charts-backup:5.17.0", "securityContext": SECURITY}
    pod = {"restartPolicy": "Never", "securityContext": POD, "containers": [container]}
    spec = {"schedule": "0 2 * * *", "jobTemplate": {"spec": {"template": {"spec": pod}}}}
    return _one(namespace, "backup", "batch/v1", "CronJob", "backup", {}, spec=spec)

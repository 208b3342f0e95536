"""Builders: the objects of a cluster of the community operator, as its source makes them (June 2026 and earlier)."""

from typing import Any

from backup_agent.k8s.names import Object

UID = "11111111-2222-3333-4444-555555555555"
SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
POD = {"runAsNonRoot": True, "runAsUser": 7474, "seccompProfile": {"type": "RuntimeDefault"}}


def owner(uid: str) -> list[Object]:
    return [
        {
            "apiVersion": "neo4j.neo4j.com/v1beta1",
            "kind": "Neo4jEnterpriseCluster",
            "name": "demo",
            "uid": uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]


def resource(namespace: str, uid: str | None = UID) -> Object:
    """Return the custom resource, with its finalizer and the default retention policy."""
    found: Object = {
        "apiVersion": "neo4j.neo4j.com/v1beta1",
        "kind": "Neo4jEnterpriseCluster",
        "metadata": {"name": "demo", "namespace": namespace, "finalizers": ["neo4j.neo4j.com/cluster-finalizer"]},
        "spec": {"topology": {"servers": 3}, "storage": {"size": "100Gi"}, "backups": {}},
    }
    if uid:
        found["metadata"]["uid"] = uid
    return found


def owned(namespace: str, uid: str = UID) -> list[Object]:
    """Return the objects that the resource owns, without Secrets."""

    def one(api: str, kind: str, name: str, **parts: Any) -> Object:
        metadata = {
            "name": name,
            "namespace": namespace,
            "labels": {
                "app.kubernetes.io/name": "neo4j",
                "app.kubernetes.io/instance": "demo",
                "neo4j.com/cluster": "demo",
            },
            "ownerReferences": owner(uid),
        }
        return {"apiVersion": api, "kind": kind, "metadata": metadata, **parts}

    def stateful_set(name: str, claim: str, service: str, replicas: int) -> Object:
        labels = {"neo4j.com/cluster": "demo", "neo4j.com/part": name}
        container = {"name": "neo4j", "image": "neo4j:2025.08.0-enterprise", "securityContext": SECURITY}
        template = {
            "metadata": {
                "name": claim,
                "labels": {"app.kubernetes.io/name": "neo4j", "app.kubernetes.io/instance": "demo"},
            },
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "100Gi"}}},
        }
        spec = {
            "replicas": replicas,
            "serviceName": service,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"securityContext": POD, "containers": [container]}},
            "volumeClaimTemplates": [template],
        }
        return one("apps/v1", "StatefulSet", name, spec=spec)

    def service(name: str, **spec: Any) -> Object:
        ports = [{"name": "bolt", "port": 7687, "targetPort": 7687, "protocol": "TCP"}]
        return one("v1", "Service", name, spec={"selector": {"neo4j.com/cluster": "demo"}, "ports": ports, **spec})

    rules = [{"apiGroups": [""], "resources": ["services"], "verbs": ["list"]}]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "demo-discovery"}
    policy = {"podSelector": {"matchLabels": {"neo4j.com/cluster": "demo"}}, "policyTypes": ["Ingress"]}
    return [
        stateful_set("demo-server", "data", "demo-headless", 3),
        stateful_set("demo-backup", "backup-storage", "demo-backup-headless", 1),
        service("demo-client"),
        service("demo-headless", clusterIP="None", publishNotReadyAddresses=True),
        service("demo-internals"),
        service("demo-metrics"),
        one("v1", "ConfigMap", "demo-config", data={"neo4j.conf": ""}),
        one("networking.k8s.io/v1", "NetworkPolicy", "demo-server-netpol", spec=policy),
        one("v1", "ServiceAccount", "demo-discovery"),
        one("rbac.authorization.k8s.io/v1", "Role", "demo-discovery", rules=rules),
        one("rbac.authorization.k8s.io/v1", "RoleBinding", "demo-discovery", roleRef=role, subjects=[]),
    ]


CLAIMS = ("backup-storage-demo-backup-0", *(f"data-demo-server-{number}" for number in range(3)))


def claims(namespace: str) -> list[Object]:
    """Return the claims with the labels by which the finalizer finds them, and their volumes."""
    labels = {"app.kubernetes.io/name": "neo4j", "app.kubernetes.io/instance": "demo"}
    return [
        one
        for name in CLAIMS
        for one in (
            {
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": name, "namespace": namespace, "labels": labels},
                "spec": {"volumeName": f"pv-{name}"},
            },
            {"kind": "PersistentVolume", "metadata": {"name": f"pv-{name}"}},
        )
    ]


def everything(namespace: str = "graphs") -> list[Object]:
    return [resource(namespace), *owned(namespace), *claims(namespace)]

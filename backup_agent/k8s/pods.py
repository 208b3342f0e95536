"""What the server pods and the agent's pod share: profile `restricted`, accounts without a token, kept claims."""

from backup_agent.k8s.alone import Spec
from backup_agent.k8s.names import USER, Object, claim_labels, labels, metadata
from backup_agent.k8s.spec import Claim, Memory, Placement

RESTRICTED: Object = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    # Otherwise the kubelet walks the whole volume at each start, to set the group of every file.
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}

RESTRICTED_CONTAINER: Object = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "privileged": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
}

SECRET_MODE = 0o440
"""Readable only by the group, which is the pod's fsGroup."""


def pod(spec: Spec, name: str, placement: Placement, grace: int) -> Object:
    """Return the part of a pod's spec that all pods share; `grace` is in seconds."""
    found: Object = {
        "automountServiceAccountToken": False,
        # A Service named neo4j-… would become variables NEO4J_…, which Neo4j's image reads as settings.
        "enableServiceLinks": False,
        "securityContext": _security(spec),
        "serviceAccountName": name,
        "terminationGracePeriodSeconds": grace,
    }
    if spec.image_pull_secrets:
        found["imagePullSecrets"] = [{"name": secret} for secret in sorted(set(spec.image_pull_secrets))]
    if placement.node_selector:
        found["nodeSelector"] = dict(placement.node_selector)
    if placement.priority_class:
        found["priorityClassName"] = placement.priority_class
    if placement.tolerations:
        found["tolerations"] = list(placement.tolerations)
    return found


def pod_metadata(spec: Spec, component: str, more: dict[str, str], annotations: dict[str, str]) -> Object:
    """Return the metadata of a pod's template."""
    found: Object = {"labels": {**more, **labels(spec, component)}}
    return {**found, "annotations": dict(annotations)} if annotations else found


def monitor_of(spec: Spec, monitor: Object, chosen: dict[str, str], port: str) -> Object:
    """Return a ServiceMonitor with metadata; `chosen` are the labels of the Service, `port` is its port's name."""
    interval = f"{int(spec.monitoring.interval.total_seconds())}s"
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": {**monitor, "labels": {**spec.monitoring.labels, **monitor["labels"]}},
        "spec": {
            "selector": {"matchLabels": chosen},
            "endpoints": [{"port": port, "path": "/metrics", "scheme": "http", "interval": interval}],
        },
    }


def _security(spec: Spec) -> Object:
    fixed = spec.pod_user == "fixed"
    return {
        key: value for key, value in RESTRICTED.items() if fixed or key not in {"runAsUser", "runAsGroup", "fsGroup"}
    }


def resources(cpu: str, cpu_limit: str | None, request: Memory, limit: Memory) -> Object:
    """Return a container's resources, by default without a CPU limit, which would only slow the pod down."""
    limits = {"memory": limit} | ({"cpu": cpu_limit} if cpu_limit else {})
    return {"requests": {"cpu": cpu, "memory": request}, "limits": limits}


def service_account(spec: Spec, name: str, component: str, annotations: dict[str, str]) -> Object:
    """Return an account without permissions and token; annotations give it an identity at a cloud provider."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(spec, name, component, annotations),
        "automountServiceAccountToken": False,
    }


def claim_template(spec: Spec, name: str, component: str, claim: Claim) -> Object:
    """Return a claim's template. Kubernetes refuses changes to it, so it contains nothing that an upgrade changes."""
    wanted: Object = {
        "accessModes": [claim.access_mode],
        "resources": {"requests": {"storage": claim.size}},
        "volumeMode": "Filesystem",
    }
    if claim.storage_class:
        wanted["storageClassName"] = claim.storage_class
    # The API server would add kind and version, and a comparison with the rendered object would show a difference.
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "labels": claim_labels(spec, component)},
        "spec": wanted,
    }


def secret_volume(name: str, secret: str, keys: dict[str, str] | None = None, *, optional: bool = False) -> Object:
    """Return a volume with some keys of a Secret; `keys` maps file names to keys. Without `keys` it has all keys.

    Unless `optional` is true, the pod does not start before the Secret exists.
    """
    source: Object = {"secretName": secret, "defaultMode": SECRET_MODE}
    if keys is not None:
        source["items"] = [{"key": key, "path": path} for path, key in sorted(keys.items())]
    return {"name": name, "secret": {**source, **({"optional": True} if optional else {})}}


def scratch(name: str, limit: str) -> Object:
    """Return a volume for temporary files."""
    return {"name": name, "emptyDir": {"sizeLimit": limit}}


def mount(name: str, path: str, *, read_only: bool = False) -> Object:
    """Return a mount of a volume."""
    return {"name": name, "mountPath": path, **({"readOnly": True} if read_only else {})}


KEPT_CLAIMS = {"whenDeleted": "Retain", "whenScaled": "Retain"}

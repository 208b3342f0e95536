"""What both pods have alike: the profile `restricted`, an account without a token, claims that outlive them."""

from backup_agent.k8s.names import USER, Object, claim_labels, metadata
from backup_agent.k8s.spec import Claim, ClusterSpec, Memory, Placement

RESTRICTED: Object = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    # Else the kubelet walks the whole volume at each start.
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
"""Readable by the group, which is the pod's fsGroup; by nobody else."""


def pod(spec: ClusterSpec, name: str, placement: Placement, grace: int) -> Object:
    """Return what every pod's spec begins with; `grace` is in seconds."""
    found: Object = {
        "automountServiceAccountToken": False,
        # A Service called neo4j-… would become variables NEO4J_…, which Neo4j's image takes for settings.
        "enableServiceLinks": False,
        "securityContext": RESTRICTED,
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


def resources(cpu: str, cpu_limit: str | None, request: Memory, limit: Memory) -> Object:
    """Return a container's resources; no limit of CPU unless asked for: it slows down and protects nobody."""
    limits = {"memory": limit} | ({"cpu": cpu_limit} if cpu_limit else {})
    return {"requests": {"cpu": cpu, "memory": request}, "limits": limits}


def service_account(spec: ClusterSpec, name: str, component: str, annotations: dict[str, str]) -> Object:
    """Return an account that may do nothing, and has no token; annotations give it an identity at the cloud."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(spec, name, component, annotations),
        "automountServiceAccountToken": False,
    }


def claim_template(spec: ClusterSpec, name: str, component: str, claim: Claim) -> Object:
    """Return a claim's template. It can never be changed, so nothing stands in it that changes with an upgrade."""
    wanted: Object = {
        "accessModes": [claim.access_mode],
        "resources": {"requests": {"storage": claim.size}},
        "volumeMode": "Filesystem",
    }
    if claim.storage_class:
        wanted["storageClassName"] = claim.storage_class
    # Kind and version are what the API server fills in: written here, nothing differs when it is compared.
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "labels": claim_labels(spec, component)},
        "spec": wanted,
    }


def secret_volume(name: str, secret: str, keys: dict[str, str]) -> Object:
    """Return a volume with some keys of a Secret, by the file they become; the others stay where they are."""
    items = [{"key": key, "path": path} for path, key in sorted(keys.items())]
    return {"name": name, "secret": {"secretName": secret, "defaultMode": SECRET_MODE, "items": items}}


def scratch(name: str, limit: str) -> Object:
    """Return a volume for what nobody misses."""
    return {"name": name, "emptyDir": {"sizeLimit": limit}}


def mount(name: str, path: str, *, read_only: bool = False) -> Object:
    """Return a mount of a volume."""
    return {"name": name, "mountPath": path, **({"readOnly": True} if read_only else {})}


KEPT_CLAIMS = {"whenDeleted": "Retain", "whenScaled": "Retain"}

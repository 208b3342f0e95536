"""Names, labels, ports and paths that several objects share, each defined once.

The backup pod has the cluster's label, as users expect (`kubectl get pods -l neo4j.com/cluster=demo` lists servers and
agent). So no object may select by that label only: such a Service would send clients to the agent. An agent alone has
another label instead (`alone`).
"""

from typing import Any

from backup_agent.k8s.alone import Spec
from backup_agent.k8s.spec import ClusterSpec

Object = dict[str, Any]
"""A Kubernetes object, or a part of an object, as JSON values."""

COMPONENT = "neo4j.com/component"
SERVER, BACKUP, DRILL = "server", "backup", "drill"

USER = 7474
"""User and group of Neo4j's own images, and of the agent's."""

HTTP, HTTPS, BOLT, DISCOVERY, RAFT, ROUTING, BACKUP_PORT = 7474, 7473, 7687, 6000, 7000, 7688, 6362
METRICS = 2004
AGENT_HTTP, AGENT_PROBES, AGENT_ARTIFACTS = 8080, 8081, 8083

BACKUPS, REQUESTS = "/backups", "/backup-requests"
CONFIG = "/etc/backup-agent"
SECRETS = "/run/secrets"


def server_name(spec: Spec) -> str:
    """Return the name of the servers' StatefulSet, and of all objects that belong only to it."""
    return f"{spec.cluster}-server"


def backup_name(spec: Spec) -> str:
    """Return the name of the agent's StatefulSet, and of all objects that belong only to it."""
    return f"{spec.cluster}-backup"


def drill_name(spec: Spec) -> str:
    """Return the name of the CronJob for drills, and of all objects that belong only to it."""
    return f"{spec.cluster}-drill"


def admission_name(spec: Spec) -> str:
    """Return the name of the policy that admits the agent to servers that exist already."""
    return f"{spec.cluster}-backup-servers"


def client_name(spec: ClusterSpec) -> str:
    """Return the name of the Service for clients."""
    return f"{spec.cluster}-client"


def metrics_name(spec: ClusterSpec) -> str:
    """Return the name of the Service for the servers' metrics."""
    return f"{spec.cluster}-metrics"


def headless_name(spec: ClusterSpec) -> str:
    """Return the name of the Service that gives each server its DNS name."""
    return f"{spec.cluster}-headless"


def server_domain(spec: ClusterSpec) -> str:
    """Return the part of a server's DNS name after the name of its pod."""
    return f"{headless_name(spec)}.{spec.namespace}.svc.{spec.cluster_domain}"


def server_hosts(spec: ClusterSpec) -> list[str]:
    """Return the DNS names of all servers."""
    return [f"{server_name(spec)}-{number}.{server_domain(spec)}" for number in range(spec.topology.servers)]


def selector(spec: Spec, component: str) -> dict[str, str]:
    """Return the labels that select the pods of a component."""
    return {spec.cluster_label: spec.cluster, COMPONENT: component}


def claim_labels(spec: Spec, component: str) -> dict[str, str]:
    """Return the labels of a claim's template, without any that an upgrade changes or another controller uses.

    `app.kubernetes.io/name` and `instance` are missing on purpose: with them, the finalizer of the Neo4j operator
    (docs/migration.md) selects the claims to delete with its custom resource. The StatefulSet controller adds the
    selector's labels to each claim, so the selector must not have these two labels either.
    """
    return {
        **selector(spec, component),
        "app.kubernetes.io/component": {SERVER: "database", BACKUP: "backup", DRILL: "drill"}[component],
        "app.kubernetes.io/part-of": "neo4j-cluster",
    }


def labels(spec: Spec, component: str) -> dict[str, str]:
    """Return the labels of an object."""
    return {
        **claim_labels(spec, component),
        "app.kubernetes.io/instance": spec.cluster,
        "app.kubernetes.io/managed-by": "neo4j-backup-agent",
        "app.kubernetes.io/name": "neo4j" if component == SERVER else "neo4j-backup-agent",
    }


def metadata(spec: Spec, name: str, component: str, annotations: dict[str, str] | None = None) -> Object:
    """Return the metadata of an object."""
    found: Object = {
        "name": name,
        "namespace": spec.namespace,
        "labels": {**spec.labels, **labels(spec, component)},
    }
    every = {**spec.annotations, **(annotations or {})}
    return {**found, "annotations": every} if every else found


def replicas_of(stateful_set: Object | None) -> int:
    """Return the number of pods of a StatefulSet, or 0 if it does not say one."""
    found = part_of(stateful_set, "spec", "replicas")
    return found if isinstance(found, int) else 0


def fields_of(one: Object, *path: str) -> Object:
    """Return the mapping at a path, or an empty one if the path does not exist."""
    found = part_of(one, *path)
    return found if isinstance(found, dict) else {}


def part_of(value: Any, *path: str) -> Any:  # noqa: ANN401  part of an object
    """Return the part of an object at a path, or None if the path does not exist."""
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value

"""The servers: a StatefulSet of identical pods, its Services, configuration, account and disruption budget.

**A release never changes the pod template of an unchanged spec**, since that would restart every server at the next
`kubectl apply`. What changes the template or the lasting part of neo4j.conf for a spec that does not ask for it goes
into a new `server.layout`, and earlier layouts are rendered as before (tests/k8s/test_layouts.py).

The entrypoint of Neo4j's image copies /conf, adds the settings from the environment, sets the first password and starts
Neo4j. The container runs as user 7474 on a read-only root file system: every folder that it writes to is a volume.
"""

import hashlib

from backup_agent.k8s import neo4j_conf
from backup_agent.k8s.names import (
    BACKUP_PORT,
    BOLT,
    DISCOVERY,
    HTTP,
    HTTPS,
    METRICS,
    RAFT,
    ROUTING,
    SECRETS,
    SERVER,
    Object,
    client_name,
    headless_name,
    metadata,
    metrics_name,
    selector,
    server_domain,
    server_name,
)
from backup_agent.k8s.pods import (
    KEPT_CLAIMS,
    RESTRICTED_CONTAINER,
    SECRET_MODE,
    claim_template,
    monitor_of,
    mount,
    pod,
    pod_metadata,
    resources,
    scratch,
    secret_volume,
    service_account,
)
from backup_agent.k8s.spec import ClusterSpec, SecretMount

HOME = "/var/lib/neo4j"

NODE, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"

PURPOSE = "neo4j.com/service"
"""Label of the Service that a ServiceMonitor selects: the other Services of the servers have no port of metrics."""

UPDATES = {"automatic": "RollingUpdate", "supervised": "OnDelete"}

OFFLINE = ["bash", "-c", "trap 'exit 0' TERM && cp /conf/neo4j.conf conf/ && while :; do sleep 1h & wait $!; done"]
"""Command of a server's container without Neo4j: neo4j-admin finds the settings, and a signal ends the container."""

DIGEST = "neo4j.com/config-digest"
"""Pod annotation: a digest of the settings that require a restart. If it changes, the pods restart one by one."""


def objects(spec: ClusterSpec) -> list[Object]:
    """Return all objects of the servers except their NetworkPolicy."""
    return [
        stateful_set(spec),
        config_map(spec),
        client_service(spec),
        headless_service(spec),
        disruption_budget(spec),
        service_account(spec, server_name(spec), SERVER, dict(spec.server.service_account_annotations)),
        *_metrics(spec),
    ]


def image(spec: ClusterSpec) -> str:
    """Return the servers' image."""
    return spec.server.image or f"neo4j:{spec.version}-enterprise"


def stateful_set(spec: ClusterSpec) -> Object:
    """Return the StatefulSet. Its template does not depend on the number of servers."""
    digest = hashlib.sha256(neo4j_conf.restart_lines(spec).encode()).hexdigest()[:32]
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(spec, server_name(spec), SERVER),
        "spec": {
            "replicas": spec.topology.servers,
            "serviceName": headless_name(spec),
            # All at once, since the first servers of a new cluster wait for each other. Updates still go one by one.
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": UPDATES[spec.server.update]},
            # Bolt answers before every database is available: an update waits half a minute more.
            "minReadySeconds": 30,
            "persistentVolumeClaimRetentionPolicy": KEPT_CLAIMS,
            "selector": {"matchLabels": selector(spec, SERVER)},
            "template": {
                "metadata": pod_metadata(
                    spec,
                    SERVER,
                    {**spec.server.pod_labels, "app.kubernetes.io/version": spec.version},
                    {**spec.server.pod_annotations, DIGEST: f"sha256-{digest}"},
                ),
                "spec": {
                    **pod(spec, server_name(spec), spec.server.placement, _seconds(spec)),
                    **_spread(spec),
                    "containers": [_container(spec)],
                    "volumes": _volumes(spec),
                },
            },
            "volumeClaimTemplates": [claim_template(spec, "data", SERVER, spec.server.data)],
        },
    }


def environment(spec: ClusterSpec) -> list[Object]:
    """Return the environment. POD_NAME and PASSWORD come first: Kubernetes expands only earlier variables."""
    host = f"$(POD_NAME).{server_domain(spec)}"
    found: list[Object] = [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
        {
            "name": "PASSWORD",
            "valueFrom": {"secretKeyRef": {"name": spec.auth.secret, "key": spec.auth.password_key}},
        },
        {"name": "NEO4J_ACCEPT_LICENSE_AGREEMENT", "value": spec.accept_license},
        {"name": "NEO4J_AUTH", "value": "neo4j/$(PASSWORD)"},
    ]
    for setting, port in neo4j_conf.advertised(spec).items():
        name = "NEO4J_" + setting.replace("_", "__").replace(".", "_")
        found.append({"name": name, "value": host if port is None else f"{host}:{port}"})
    s3 = spec.server.s3
    if s3 and s3.credentials_secret:
        found.append({"name": "AWS_SHARED_CREDENTIALS_FILE", "value": f"{SECRETS}/s3/credentials"})
    if s3 and s3.region:
        found.append({"name": "AWS_REGION", "value": s3.region})
    if s3 and s3.endpoint_url:
        found.append({"name": "AWS_ENDPOINT_URL_S3", "value": s3.endpoint_url})
    return found


def ports(spec: ClusterSpec) -> dict[str, int]:
    """Return the ports that a server listens on, by name."""
    web = {"https": HTTPS} if spec.tls.https else {"http": HTTP}
    inside = {"cluster": DISCOVERY, "raft": RAFT, "routing": ROUTING, "backup": BACKUP_PORT}
    return {"bolt": BOLT, **web, **inside, **({"metrics": METRICS} if spec.server.metrics else {})}


def client_ports(spec: ClusterSpec) -> dict[str, int]:
    """Return the ports that clients use, by name."""
    return {name: port for name, port in ports(spec).items() if name in {"bolt", "http", "https"}}


def config_map(spec: ClusterSpec) -> Object:
    """Return the ConfigMap with neo4j.conf."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(spec, server_name(spec), SERVER),
        "data": {"neo4j.conf": neo4j_conf.text(spec)},
    }


def client_service(spec: ClusterSpec) -> Object:
    """Return the Service for clients, which selects servers that are ready and never the agent."""
    wanted: Object = {
        "type": spec.client_service.type,
        "selector": selector(spec, SERVER),
        "ports": [_service_port(name, port) for name, port in client_ports(spec).items()],
    }
    if spec.client_service.source_ranges:
        wanted["loadBalancerSourceRanges"] = list(spec.client_service.source_ranges)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(spec, client_name(spec), SERVER, dict(spec.client_service.annotations)),
        "spec": wanted,
    }


def headless_service(spec: ClusterSpec) -> Object:
    """Return the Service that names each server, ready or not: servers must find each other before they are ready."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(spec, headless_name(spec), SERVER),
        "spec": {
            "clusterIP": "None",
            "type": "ClusterIP",
            "publishNotReadyAddresses": True,
            "selector": selector(spec, SERVER),
            "ports": [_service_port(name, port) for name, port in ports(spec).items() if port != METRICS],
        },
    }


def _metrics(spec: ClusterSpec) -> list[Object]:
    """Return the Service for the servers' metrics and its ServiceMonitor, if the spec asks for them."""
    if not spec.server.metrics:
        return []
    service = metadata(spec, metrics_name(spec), SERVER)
    service["labels"][PURPOSE] = "metrics"
    found: Object = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": service,
        "spec": {
            "clusterIP": "None",
            "type": "ClusterIP",
            "publishNotReadyAddresses": True,
            "selector": selector(spec, SERVER),
            "ports": [_service_port("metrics", METRICS)],
        },
    }
    chosen = {**selector(spec, SERVER), PURPOSE: "metrics"}
    monitor = monitor_of(spec, metadata(spec, metrics_name(spec), SERVER), chosen, "metrics")
    return [found, *([monitor] if spec.monitoring.service_monitor else [])]


def disruption_budget(spec: ClusterSpec) -> Object:
    """Return the disruption budget: a drain stops one server at a time, so that a majority is left."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(spec, server_name(spec), SERVER),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector(spec, SERVER)}},
    }


def _seconds(spec: ClusterSpec) -> int:
    return int(spec.server.termination_grace.total_seconds())


def _service_port(name: str, port: int) -> Object:
    return {"name": name, "port": port, "protocol": "TCP", "targetPort": name}


def _running(spec: ClusterSpec) -> Object:
    """Return how the container is started and probed: without Neo4j there is nothing to probe."""
    if spec.server.offline_maintenance:
        return {"command": OFFLINE, "workingDir": HOME}
    # Bolt opens after the server has joined its cluster and its system database has started.
    bolt: Object = {"tcpSocket": {"port": "bolt"}}
    return {
        # An hour: recovery after a crash may take long, and killing the server would restart the recovery.
        "startupProbe": {**bolt, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 360},
        "readinessProbe": {**bolt, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 4},
        # Ten minutes: a long garbage collection or checkpoint must not end a server.
        "livenessProbe": {**bolt, "periodSeconds": 30, "timeoutSeconds": 10, "failureThreshold": 20},
    }


def _container(spec: ClusterSpec) -> Object:
    return {
        **_running(spec),
        "name": "neo4j",
        "image": image(spec),
        "imagePullPolicy": spec.image_pull_policy,
        "env": environment(spec),
        **_env_from(spec),
        "ports": [
            {"name": name, "containerPort": port, "protocol": "TCP"} for name, port in sorted(ports(spec).items())
        ],
        "resources": resources(spec.server.cpu, spec.server.cpu_limit, spec.server.memory, spec.server.memory),
        "securityContext": RESTRICTED_CONTAINER,
        "volumeMounts": _mounts(spec),
    }


def _env_from(spec: ClusterSpec) -> Object:
    sources = [{"secretRef": {"name": name}} for name in spec.server.env_from]
    return {"envFrom": sources} if sources else {}


def _volume_name(given: SecretMount) -> str:
    """Return a name that other mounts do not change, as the position in the list would."""
    return f"secret-{hashlib.sha256(f'{given.secret} {given.path}'.encode()).hexdigest()[:12]}"


def _mounts(spec: ClusterSpec) -> list[Object]:
    found = [mount(_volume_name(one), one.path, read_only=True) for one in spec.server.secret_mounts]
    found += [
        mount("config", "/conf", read_only=True),
        mount("data", "/data"),
        mount("logs", "/logs"),
        mount("neo4j-conf", f"{HOME}/conf"),
        mount("neo4j-run", f"{HOME}/run"),
        mount("tmp", "/tmp"),  # noqa: S108  the container's own
    ]
    found += [
        mount(f"tls-{scope}", f"{neo4j_conf.TLS_FOLDER}/{scope}", read_only=True) for scope in neo4j_conf.policies(spec)
    ]
    if spec.server.s3 and spec.server.s3.credentials_secret:
        found.append(mount("s3", f"{SECRETS}/s3", read_only=True))
    return sorted(found, key=lambda one: str(one["name"]))


def _volumes(spec: ClusterSpec) -> list[Object]:
    # The entrypoint copies the file with its mode and then appends to it: the owner must be able to write.
    found: list[Object] = [
        {"name": "config", "configMap": {"name": server_name(spec), "defaultMode": 0o640}},
        *(
            {"name": _volume_name(one), "secret": {"secretName": one.secret, "defaultMode": SECRET_MODE}}
            for one in spec.server.secret_mounts
        ),
        scratch("logs", "2Gi"),
        scratch("neo4j-conf", "16Mi"),
        scratch("neo4j-run", "16Mi"),
        scratch("tmp", "1Gi"),
    ]
    for scope, tls in neo4j_conf.policies(spec).items():
        keys = {"tls.crt": "tls.crt", "tls.key": "tls.key"}
        if scope in neo4j_conf.MUTUAL:
            keys["trusted/ca.crt"] = "ca.crt"
        found.append(secret_volume(f"tls-{scope}", tls.secret, keys))
    if spec.server.s3 and spec.server.s3.credentials_secret:
        found.append(secret_volume("s3", spec.server.s3.credentials_secret, {"credentials": "credentials"}))
    return sorted(found, key=lambda one: str(one["name"]))


ZONES = 3
"""Zones that `topology.zones: require` asks for: the loss of one of two zones may cost a majority."""


def _spread(spec: ClusterSpec) -> Object:
    """Return the constraints that spread the servers over nodes and, if there are several, over zones.

    `spread: require` gives anti-affinity. A topology spread constraint does not suffice, because it only compares
    counts: it allows a second server on a node if only one node fits, or once every node has a server. For zones the
    counts are what matters. None of this depends on the number of servers, so more servers restart no pod.
    """
    here = {"labelSelector": {"matchLabels": selector(spec, SERVER)}}
    found: Object = {
        "topologySpreadConstraints": [
            *([_prefer(NODE, here)] if spec.topology.spread == "prefer" else []),
            _prefer(ZONE, here) if spec.topology.zones == "prefer" else _require_zones(here),
        ]
    }
    if spec.topology.spread == "require":
        term = {"topologyKey": NODE, **here}
        found["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    return found


def _prefer(key: str, here: Object) -> Object:
    return {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway", **here}


def _require_zones(here: Object) -> Object:
    # Without nodeTaintsPolicy, a zone whose nodes no server may use counts as an empty one, and blocks all others.
    required = {"whenUnsatisfiable": "DoNotSchedule", "minDomains": ZONES, "nodeTaintsPolicy": "Honor"}
    return {"maxSkew": 1, "topologyKey": ZONE, **required, **here}

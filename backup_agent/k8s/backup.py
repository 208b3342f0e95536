"""The agent: a StatefulSet of one pod, its configuration, Service and account, its monitoring.

A StatefulSet ends the old pod before it creates the new one, so an update never runs two agents. Changed settings do
not restart the pod: the agent itself reads the changed ConfigMap.
"""

from datetime import timedelta

from backup_agent.k8s import agent_settings, alerts, dashboard
from backup_agent.k8s.alone import Spec
from backup_agent.k8s.connection import connection
from backup_agent.k8s.names import (
    AGENT_HTTP,
    AGENT_PROBES,
    BACKUP,
    BACKUPS,
    CONFIG,
    REQUESTS,
    SECRETS,
    Object,
    backup_name,
    metadata,
    selector,
)
from backup_agent.k8s.pods import (
    KEPT_CLAIMS,
    RESTRICTED_CONTAINER,
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
from backup_agent.k8s.spec import SMALLEST_AGENT

TERMINATION_MARGIN = timedelta(seconds=30)
"""Time added to limits.shutdown_grace in terminationGracePeriodSeconds."""


def objects(spec: Spec, settings_file: str) -> list[Object]:
    """Return all objects of the agent except its NetworkPolicy."""
    found = [
        stateful_set(spec),
        config_map(spec, settings_file),
        service(spec),
        service_account(spec, backup_name(spec), BACKUP, dict(spec.backup.service_account_annotations)),
    ]
    if spec.monitoring.service_monitor:
        found.append(service_monitor(spec))
    if spec.monitoring.rules:
        found.append(alerts.prometheus_rule(spec))
    if spec.monitoring.dashboard:
        found.append(dashboard.config_map(spec))
    return found


def stateful_set(spec: Spec) -> Object:
    """Return the StatefulSet."""
    grace = agent_settings.settings(spec).limits.shutdown_grace + TERMINATION_MARGIN
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(spec, backup_name(spec), BACKUP),
        "spec": {
            "replicas": 1,
            "serviceName": backup_name(spec),
            # With OrderedReady a pod that never becomes ready is not replaced by a corrected one.
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "RollingUpdate"},
            "persistentVolumeClaimRetentionPolicy": KEPT_CLAIMS,
            "selector": {"matchLabels": selector(spec, BACKUP)},
            "template": {
                "metadata": pod_metadata(spec, BACKUP, spec.backup.pod_labels, spec.backup.pod_annotations),
                "spec": {
                    **pod(spec, backup_name(spec), spec.backup.placement, int(grace.total_seconds())),
                    "containers": [_container(spec)],
                    "volumes": _volumes(spec),
                },
            },
            "volumeClaimTemplates": [
                claim_template(spec, "backup-requests", BACKUP, spec.backup.requests),
                claim_template(spec, "backup-storage", BACKUP, spec.backup.storage),
            ],
        },
    }


def config_map(spec: Spec, settings_file: str) -> Object:
    """Return the ConfigMap with the agent's settings file."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(spec, backup_name(spec), BACKUP),
        "data": {"config.yaml": settings_file},
    }


def service(spec: Spec) -> Object:
    """Return the Service for metrics and for the pod's DNS name.

    The Service includes a pod that is not ready: its metrics say why it is not.
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(spec, backup_name(spec), BACKUP),
        "spec": {
            "clusterIP": "None",
            "type": "ClusterIP",
            "publishNotReadyAddresses": True,
            "selector": selector(spec, BACKUP),
            "ports": [{"name": "http", "port": AGENT_HTTP, "protocol": "TCP", "targetPort": "http"}],
        },
    }


def service_monitor(spec: Spec) -> Object:
    """Return the ServiceMonitor, by which the Prometheus operator scrapes the agent."""
    return monitor_of(spec, metadata(spec, backup_name(spec), BACKUP), selector(spec, BACKUP), "http")


def _container(spec: Spec) -> Object:
    return {
        "name": "backup",
        "image": spec.backup.image,
        "imagePullPolicy": spec.image_pull_policy,
        "command": ["backup-agent", "run"],
        "env": _environment(spec),
        "ports": [
            {"name": "http", "containerPort": AGENT_HTTP, "protocol": "TCP"},
            {"name": "probes", "containerPort": AGENT_PROBES, "protocol": "TCP"},
        ],
        "resources": resources(spec.backup.cpu, spec.backup.cpu_limit, SMALLEST_AGENT, spec.backup.memory),
        "securityContext": RESTRICTED_CONTAINER,
        # The supervisor answers all three from memory. With a tenth of a core, the agent starts in about 15 seconds,
        # or longer if there are many records on the volume.
        "startupProbe": {**_probe("/livez"), "periodSeconds": 5, "failureThreshold": 120},
        "readinessProbe": {**_probe("/readyz"), "periodSeconds": 15, "failureThreshold": 4},
        "livenessProbe": {**_probe("/livez"), "periodSeconds": 30, "failureThreshold": 6},
        "volumeMounts": _mounts(spec),
    }


def _probe(path: str) -> Object:
    return {"httpGet": {"path": path, "port": "probes", "scheme": "HTTP"}, "timeoutSeconds": 10}


def _environment(spec: Spec) -> list[Object]:
    # Like the servers, neo4j-admin of the Enterprise Edition requires this variable.
    found: list[Object] = [
        {"name": "NEO4J_ACCEPT_LICENSE_AGREEMENT", "value": spec.accept_license},
        # The agent writes the namespace to owner.json, to recognise a clone of the volume in another namespace.
        {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}},
    ]
    s3 = spec.backup.s3
    if s3 and s3.region:
        found.append({"name": "AWS_REGION", "value": s3.region})
    if s3 and s3.credentials_secret:
        found.append({"name": "AWS_SHARED_CREDENTIALS_FILE", "value": f"{SECRETS}/s3/credentials"})
    return sorted(found, key=lambda one: str(one["name"]))


def _mounts(spec: Spec) -> list[Object]:
    found = [
        mount("backup-requests", REQUESTS),
        mount("backup-storage", BACKUPS),
        mount("config", CONFIG, read_only=True),
        mount("neo4j", f"{SECRETS}/neo4j", read_only=True),
        mount("tmp", "/tmp"),  # noqa: S108  the container's own
    ]
    found += [mount(name, f"{SECRETS}/{name}", read_only=True) for name in _secrets(spec)]
    if spec.backup.signing_secret:
        found.append(mount("signing", f"{SECRETS}/signing", read_only=True))
    if spec.backup.notify_secret:
        found.append(mount("notify", f"{SECRETS}/notify", read_only=True))
    if spec.backup.s3 and spec.backup.s3.ca_config_map:
        found.append(mount("s3-ca", f"{SECRETS}/s3-ca", read_only=True))
    return sorted(found, key=lambda one: str(one["name"]))


def _volumes(spec: Spec) -> list[Object]:
    auth = connection(spec).auth
    found: list[Object] = [
        {"name": "config", "configMap": {"name": backup_name(spec), "defaultMode": 0o444}},
        secret_volume("neo4j", auth.secret, {"username": auth.username_key, "password": auth.password_key}),
        scratch("tmp", "256Mi"),
    ]
    found += [
        secret_volume(name, secret, {key: key for key in keys}) for name, (secret, keys) in _secrets(spec).items()
    ]
    if spec.backup.signing_secret:
        # Optional: without the Secret, the agent starts and takes unsigned backups.
        found.append(secret_volume("signing", spec.backup.signing_secret, {"key.pem": "key.pem"}, optional=True))
    if spec.backup.notify_secret:
        # Optional: without the Secret, the agent starts, and notifies no receiver.
        found.append(secret_volume("notify", spec.backup.notify_secret, optional=True))
    if spec.backup.s3 and spec.backup.s3.ca_config_map:
        items = [{"key": "ca.crt", "path": "ca.crt"}]
        source = {"name": spec.backup.s3.ca_config_map, "defaultMode": 0o444, "items": items}
        found.append({"name": "s3-ca", "configMap": source})
    return sorted(found, key=lambda one: str(one["name"]))


def _secrets(spec: Spec) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return volume -> (Secret, keys) for optional Secrets. From the servers' Secrets, only CAs are mounted."""
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    used = connection(spec)
    if used.ca_secret:
        found["bolt-ca"] = (used.ca_secret, ("ca.crt",))
    if used.backup_tls_secret:
        found["backup-tls"] = (used.backup_tls_secret, ("ca.crt", "tls.crt", "tls.key"))
    if spec.backup.s3 and spec.backup.s3.credentials_secret:
        found["s3"] = (spec.backup.s3.credentials_secret, ("credentials",))
    return found

"""The CronJob that drills from a bucket: without the agent, its volume and Bolt, with credentials of its own.

Its pod has no claim that outlives it: the scratch volume is an ephemeral one, or memory. It may connect to DNS and to
the ranges of the spec only.
"""

from backup_agent.k8s.alone import Spec
from backup_agent.k8s.names import (
    CONFIG,
    DRILL,
    SECRETS,
    Object,
    backup_name,
    drill_name,
    metadata,
    selector,
)
from backup_agent.k8s.network import egress_to, name_resolution
from backup_agent.k8s.pods import (
    RESTRICTED_CONTAINER,
    claim_template,
    mount,
    pod,
    pod_metadata,
    resources,
    scratch,
    secret_volume,
    service_account,
)
from backup_agent.k8s.spec import Claim, DrillJob

SCRATCH = "/scratch"
KEPT_SECONDS = 300
"""Seconds until the pod of a finished job is deleted, and with it its scratch volume."""
GRACE_SECONDS = 30
LICENCES = {"yes": "commercial", "eval": "evaluation"}


def objects(spec: Spec) -> list[Object]:
    """Return the objects of the job, or none if the spec has no `backup.drill_job`."""
    job = spec.backup.drill_job
    if job is None:
        return []
    account = service_account(spec, drill_name(spec), DRILL, dict(job.service_account_annotations))
    return [cron_job(spec, job), account, policy(spec, job)]


def cron_job(spec: Spec, job: DrillJob) -> Object:
    """Return the CronJob."""
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": metadata(spec, drill_name(spec), DRILL),
        "spec": {
            "schedule": job.schedule,
            "timeZone": job.timezone,
            "concurrencyPolicy": "Forbid",
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 1,
            "jobTemplate": {
                "spec": {
                    "backoffLimit": 0,
                    "ttlSecondsAfterFinished": KEPT_SECONDS,
                    "template": {
                        "metadata": pod_metadata(spec, DRILL, {}, {}),
                        "spec": {
                            **pod(spec, drill_name(spec), spec.backup.placement, GRACE_SECONDS),
                            "restartPolicy": "Never",
                            "containers": [_container(spec, job)],
                            "volumes": _volumes(spec, job),
                        },
                    },
                }
            },
        },
    }


def policy(spec: Spec, job: DrillJob) -> Object:
    """Return the NetworkPolicy: no client may connect to the job, and it may connect to few addresses."""
    anywhere: Object = {"ports": [{"port": 443, "protocol": "TCP"}]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(spec, drill_name(spec), DRILL),
        "spec": {
            "podSelector": {"matchLabels": selector(spec, DRILL)},
            "policyTypes": ["Ingress", "Egress"],  # without rules for Ingress: none is allowed
            "egress": [name_resolution(), *([anywhere] if job.egress is None else map(egress_to, job.egress))],
        },
    }


def _container(spec: Spec, job: DrillJob) -> Object:
    return {
        "name": "drill",
        "image": spec.backup.image,
        "imagePullPolicy": spec.image_pull_policy,
        "command": ["backup-agent", "drill", "--all", "--from", job.place, "--level", job.level, "--evidence"],
        "env": _environment(spec, job),
        "resources": resources(job.cpu, None, job.memory, job.memory),
        "securityContext": RESTRICTED_CONTAINER,
        "volumeMounts": _mounts(spec, job),
    }


def _environment(spec: Spec, job: DrillJob) -> list[Object]:
    found = {
        "NEO4J_ACCEPT_LICENSE_AGREEMENT": spec.accept_license,
        # The settings are the agent's, except where its volume would be: the job has none.
        "BACKUP_AGENT_STORAGE__ROOT": SCRATCH,
        "BACKUP_AGENT_DRILL__SCRATCH": SCRATCH,
        "BACKUP_AGENT_DRILL__ACCEPT_LICENSE": LICENCES[spec.accept_license],
    }
    if spec.backup.s3 and spec.backup.s3.region:
        found["AWS_REGION"] = spec.backup.s3.region
    if job.signing_secret:
        found["BACKUP_AGENT_SIGNING__KEY_FILE"] = f"{SECRETS}/signing/key.pem"
    if job.credentials_secret:
        found["AWS_SHARED_CREDENTIALS_FILE"] = f"{SECRETS}/s3/credentials"
    return [{"name": name, "value": value} for name, value in sorted(found.items())]


def _mounts(spec: Spec, job: DrillJob) -> list[Object]:
    found = [
        mount("config", CONFIG, read_only=True),
        mount("scratch", SCRATCH),
        mount("tmp", "/tmp"),  # noqa: S108  the container's own
    ]
    if job.credentials_secret:
        found.append(mount("s3", f"{SECRETS}/s3", read_only=True))
    if job.signing_secret:
        found.append(mount("signing", f"{SECRETS}/signing", read_only=True))
    if spec.backup.s3 and spec.backup.s3.ca_config_map:
        found.append(mount("s3-ca", f"{SECRETS}/s3-ca", read_only=True))
    return sorted(found, key=lambda one: str(one["name"]))


def _volumes(spec: Spec, job: DrillJob) -> list[Object]:
    found: list[Object] = [
        {"name": "config", "configMap": {"name": backup_name(spec), "defaultMode": 0o444}},
        _scratch_volume(spec, job),
        scratch("tmp", "64Mi"),
    ]
    if job.credentials_secret:
        found.append(secret_volume("s3", job.credentials_secret, {"credentials": "credentials"}))
    if job.signing_secret:
        found.append(secret_volume("signing", job.signing_secret, {"key.pem": "key.pem"}))
    if spec.backup.s3 and spec.backup.s3.ca_config_map:
        items = [{"key": "ca.crt", "path": "ca.crt"}]
        source = {"name": spec.backup.s3.ca_config_map, "defaultMode": 0o444, "items": items}
        found.append({"name": "s3-ca", "configMap": source})
    return sorted(found, key=lambda one: str(one["name"]))


def _scratch_volume(spec: Spec, job: DrillJob) -> Object:
    """Return a volume that is deleted with the pod."""
    if job.scratch.in_memory:
        return {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": job.scratch.size}}
    claim = Claim(size=job.scratch.size, storage_class=job.scratch.storage_class)
    wanted = claim_template(spec, "scratch", DRILL, claim)
    template = {"metadata": {"labels": wanted["metadata"]["labels"]}, "spec": wanted["spec"]}
    return {"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}

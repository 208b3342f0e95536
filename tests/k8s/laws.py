"""Properties of the objects of any spec. Each function returns the violations of one property."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from backup_agent.k8s.names import Object

LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?")
DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
LONGEST = 63
HASH = "-0123456789"
"""Suffix that Kubernetes appends to a StatefulSet's name in the label controller-revision-hash."""


def stateful_sets(objects: Iterable[Object]) -> Iterator[Object]:
    return (one for one in objects if one["kind"] == "StatefulSet")


def templates(objects: Iterable[Object]) -> Iterator[tuple[Object, Object]]:
    """Yield each object that makes pods, and the template of its pods."""
    for one in objects:
        if one["kind"] == "StatefulSet":
            yield one, one["spec"]["template"]
        elif one["kind"] == "CronJob":
            yield one, one["spec"]["jobTemplate"]["spec"]["template"]


def walk(value: Any) -> Iterator[Any]:
    yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(part)


def names_fit(objects: list[Object]) -> Iterator[str]:
    for one in objects:
        name = one["metadata"]["name"]
        pods = [f"{name}-{one['spec']['replicas'] - 1}", name + HASH] if one["kind"] == "StatefulSet" else []
        yield from (text for text in [name, *pods] if len(text) > LONGEST or not DNS_LABEL.fullmatch(text))
    for part in walk(objects):
        for labels in (part.get("labels"), part.get("matchLabels")) if isinstance(part, dict) else ():
            for key, value in (labels or {}).items():
                if len(value) > LONGEST or not LABEL_VALUE.fullmatch(value):
                    yield f"{key}: {value}"


def selectors_match_templates(objects: list[Object]) -> Iterator[str]:
    """Each selector matches the pods of exactly one object, except that of the policy for existing servers."""
    pods = {one["metadata"]["name"]: template["metadata"]["labels"] for one, template in templates(objects)}
    for one in objects:
        if one["kind"] == "NetworkPolicy" and one["metadata"]["name"].endswith("-backup-servers"):
            continue
        spec = one.get("spec", {})
        selector = spec.get("selector") or spec.get("podSelector")
        if one["kind"] == "Service":
            wanted = selector
        elif selector and one["kind"] != "ServiceMonitor":
            wanted = selector["matchLabels"]
        else:
            continue
        meant = [name for name, labels in pods.items() if wanted.items() <= labels.items()]
        if len(meant) != 1 or (one["kind"] == "StatefulSet" and meant != [one["metadata"]["name"]]):
            yield f"{one['kind']}/{one['metadata']['name']} selects {meant}"


def service_names_exist(objects: list[Object]) -> Iterator[str]:
    headless = {
        one["metadata"]["name"]
        for one in objects
        if one["kind"] == "Service" and one["spec"].get("clusterIP") == "None"
    }
    accounts = {one["metadata"]["name"] for one in objects if one["kind"] == "ServiceAccount"}
    for one in stateful_sets(objects):
        if one["spec"]["serviceName"] not in headless:
            yield f"serviceName {one['spec']['serviceName']}"
        if one["spec"]["template"]["spec"]["serviceAccountName"] not in accounts:
            yield f"serviceAccountName of {one['metadata']['name']}"


def mounted_names_exist(objects: list[Object]) -> Iterator[str]:
    """Every mount has a volume, every volume a mount, every ConfigMap volume a ConfigMap. No path is mounted twice."""
    maps = {one["metadata"]["name"] for one in objects if one["kind"] == "ConfigMap"}
    for one in stateful_sets(objects):
        pod = one["spec"]["template"]["spec"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        claims = {claim["metadata"]["name"] for claim in one["spec"]["volumeClaimTemplates"]}
        for container in pod["containers"]:
            mounts = [mount["name"] for mount in container["volumeMounts"]]
            paths = [mount["mountPath"] for mount in container["volumeMounts"]]
            yield from set(mounts) ^ (set(volumes) | claims)
            yield from (path for path in paths if paths.count(path) > 1)
        for name, volume in volumes.items():
            if name == "config" and volume["configMap"]["name"] not in maps:
                yield f"ConfigMap of {name}"


def port_names_resolve(objects: list[Object]) -> Iterator[str]:
    ports: dict[str, dict[str, int]] = {}
    for one in stateful_sets(objects):
        container = one["spec"]["template"]["spec"]["containers"][0]
        component = one["spec"]["selector"]["matchLabels"]["neo4j.com/component"]
        ports[component] = {port["name"]: port["containerPort"] for port in container["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe not in container:
                continue  # server.offline_maintenance
            action = container[probe].get("httpGet") or container[probe]["tcpSocket"]
            if action["port"] not in ports[component]:
                yield f"{component} {probe}: {action['port']}"
    for one in objects:
        if one["kind"] == "Service":
            known = ports[one["spec"]["selector"]["neo4j.com/component"]]
            for port in one["spec"]["ports"]:
                if known.get(port["targetPort"]) != port["port"]:
                    yield f"Service/{one['metadata']['name']}: {port}"


LIST_KEYS = {
    "containers": ("name",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
"""List -> its key fields, for lists that server-side apply treats as maps (x-kubernetes-list-map-keys of the API)."""


def list_keys_are_unique(objects: list[Object]) -> Iterator[str]:
    """Server-side apply refuses a list with the same key twice."""
    for part in walk(objects):
        for name, items in part.items() if isinstance(part, dict) else ():
            keys = LIST_KEYS.get(name) or (("containerPort", "protocol") if name == "ports" else None)
            if keys and isinstance(items, list) and all(keys[0] in item for item in items):
                seen = [tuple(item[key] for key in keys) for item in items]
                yield from (f"{name}: {key}" for key in set(seen) if seen.count(key) > 1)


def one_agent(objects: list[Object]) -> Iterator[str]:
    agents = [
        one
        for one in objects
        if one["kind"] in {"StatefulSet", "Deployment", "DaemonSet"}
        and one["spec"]["template"]["metadata"]["labels"]["neo4j.com/component"] == "backup"
    ]
    for one in agents[1:]:
        yield f"another agent: {one['metadata']['name']}"
    for one in agents:
        if one["kind"] != "StatefulSet" or one["spec"]["replicas"] != 1:
            yield f"{one['kind']} of {one['spec']['replicas']}: an update would run two"


def secrets_are_references(objects: list[Object]) -> Iterator[str]:
    """No Secret is rendered. A variable named like a secret has no value except the path of a mounted file."""
    for one in objects:
        if one["kind"] == "Secret":
            yield f"Secret/{one['metadata']['name']}"
    for part in walk(objects):
        if isinstance(part, dict) and re.search("AUTH|PASSWORD|KEY|TOKEN|SECRET", str(part.get("name", ""))):
            value = part.get("value")
            is_path = str(part["name"]).endswith("_FILE") and str(value).startswith("/run/secrets/")
            if value is not None and value != "neo4j/$(PASSWORD)" and not is_path:
                yield str(part)


def pods_are_restricted(objects: list[Object]) -> Iterator[str]:
    """Pods satisfy Pod Security `restricted` (by the list of fields in the standard), and have no token and one container."""
    for one, template in templates(objects):
        pod = template["spec"]
        kinds = {kind for volume in pod["volumes"] for kind in volume.keys() - {"name"}}
        faults = {
            "runs as root": pod["securityContext"].get("runAsNonRoot") is not True
            or pod["securityContext"].get("runAsUser") == 0,
            "seccomp": pod["securityContext"].get("seccompProfile") != {"type": "RuntimeDefault"},
            "the host's": pod.keys() & {"hostNetwork", "hostPID", "hostIPC"},
            "a token": pod.get("automountServiceAccountToken") is not False,
            "variables of Services": pod.get("enableServiceLinks") is not False,
            "volumes": kinds - {"configMap", "emptyDir", "ephemeral", "secret", "projected"},
            "more than one container": len(pod["containers"]) != 1
            or pod.keys() & {"initContainers", "ephemeralContainers"},
        }
        yield from (f"{one['metadata']['name']}: {fault}" for fault, found in faults.items() if found)


def containers_are_restricted(objects: list[Object]) -> Iterator[str]:
    """Containers satisfy Pod Security `restricted`, and have a read-only root file system."""
    for _, template in templates(objects):
        for container in template["spec"]["containers"]:
            security = container["securityContext"]
            faults = {
                "privileges": security.get("allowPrivilegeEscalation") is not False or security.get("privileged"),
                "capabilities": security.get("capabilities") != {"drop": ["ALL"]},
                "root file system": security.get("readOnlyRootFilesystem") is not True,
                "hostPort": any("hostPort" in port for port in container.get("ports", ())),
                "no memory limit": "memory" not in container["resources"]["limits"],
            }
            yield from (f"{container['name']}: {fault}" for fault, found in faults.items() if found)


def configured_paths_are_mounted(objects: list[Object]) -> Iterator[str]:
    """Every file that the agent's settings name lies below a mount."""
    agent = next(one for one in stateful_sets(objects) if one["metadata"]["name"].endswith("-backup"))
    settings = next(
        yaml.safe_load(one["data"]["config.yaml"])
        for one in objects
        if one["kind"] == "ConfigMap" and "config.yaml" in one["data"]
    )
    mounts = [one["mountPath"] for one in agent["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]]
    for part in walk(settings):
        inside = (part == path or part.startswith(f"{path}/") for path in mounts)
        if isinstance(part, str) and part.startswith("/") and not any(inside):
            yield part


def claims_are_not_the_operators(objects: list[Object]) -> Iterator[str]:
    """No claim has the labels by which the operator's finalizer selects the claims that it deletes.

    The StatefulSet controller gives a claim the labels of its template, and over them those of the selector.
    """
    for one in stateful_sets(objects):
        for claim in one["spec"]["volumeClaimTemplates"]:
            labels = {**claim["metadata"].get("labels", {}), **one["spec"]["selector"]["matchLabels"]}
            if labels.keys() >= {"app.kubernetes.io/name", "app.kubernetes.io/instance"}:
                yield f"{claim['metadata']['name']} of {one['metadata']['name']}: {labels}"


def no_list_is_empty(objects: list[Object]) -> Iterator[str]:
    """An API server does not store most empty lists, so each `apply` would change the object and its generation."""
    for one in objects:
        for part in walk(one):
            empty = [key for key, value in part.items() if value == []] if isinstance(part, dict) else []
            yield from (f"{one['kind']}/{one['metadata']['name']}: {key}" for key in empty)


LAWS = (
    names_fit,
    selectors_match_templates,
    service_names_exist,
    mounted_names_exist,
    port_names_resolve,
    list_keys_are_unique,
    one_agent,
    secrets_are_references,
    pods_are_restricted,
    containers_are_restricted,
    configured_paths_are_mounted,
    claims_are_not_the_operators,
    no_list_is_empty,
)

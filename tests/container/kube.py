"""Convert a StatefulSet to a pod for `podman play kube`, which supports Pods, claims and ConfigMaps only.

Changes: probes are removed (podman runs them with systemd and curl); Secrets become ConfigMaps (podman 4.3 crashes on
secret volumes); the pod uses the host's network, where the simulated cluster is; the image is the one just built;
variables of the downward API and of Secrets get the values that an API server would set. podman ignores fsGroup: volumes
are writable because the image's folders are, and every user may read mounted ConfigMaps and Secrets.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

Files = Mapping[str, Mapping[str, str]]
"""The data of ConfigMaps and Secrets, by their names."""


def pod_of(
    stateful_set: Mapping[str, Any],
    image: str,
    files: Files,
    *,
    environment: Mapping[str, str],
    folders: Mapping[str, str],
    number: int = 0,
) -> list[dict[str, Any]]:
    """Return the objects of the pod with this number: ConfigMaps, claims, the pod.

    `folders` maps paths in the container to folders of the host, which are mounted too.
    """
    template = deepcopy(stateful_set["spec"]["template"])
    name = f"{stateful_set['metadata']['name']}-{number}"
    spec = template["spec"]
    (container,) = spec["containers"]
    claims = {claim["metadata"]["name"]: claim for claim in stateful_set["spec"].get("volumeClaimTemplates", ())}
    volumes = spec.setdefault("volumes", [])
    for volume in volumes:
        if "secret" in volume:
            volume["configMap"] = {"name": volume.pop("secret")["secretName"]}
        if "configMap" in volume:
            volume["configMap"]["defaultMode"] = 0o444
    volumes += [{"name": claim, "persistentVolumeClaim": {"claimName": f"{claim}-{name}"}} for claim in claims]
    for position, (path, folder) in enumerate(folders.items()):
        volumes.append({"name": f"folder-{position}", "hostPath": {"path": folder, "type": "Directory"}})
        container["volumeMounts"].append({"name": f"folder-{position}", "mountPath": path, "readOnly": True})
    for one in (*volumes, *container["volumeMounts"]):
        one["name"] = f"{name}-{one['name']}"  # podman shares volumes of one name between pods
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        container.pop(probe, None)
    container["image"] = image
    container["imagePullPolicy"] = "Never"
    fields = {"metadata.name": name, "metadata.namespace": stateful_set["metadata"]["namespace"]}
    for variable in container["env"]:
        if source := variable.pop("valueFrom", None):
            variable["value"] = _value(source, fields, files)
    container["env"] += [{"name": k, "value": v} for k, v in environment.items()]
    container.pop("ports", None)
    spec["hostNetwork"] = True
    return [
        *(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": config}, "data": dict(data)}
            for config, data in files.items()
        ),
        *(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": f"{key}-{name}"},
                "spec": claim["spec"],
            }
            for key, claim in claims.items()
        ),
        {"apiVersion": "v1", "kind": "Pod", "metadata": {**template.get("metadata", {}), "name": name}, "spec": spec},
    ]


def _value(source: Mapping[str, Any], fields: Mapping[str, str], files: Files) -> str:
    if "fieldRef" in source:
        return fields[source["fieldRef"]["fieldPath"]]
    key = source["secretKeyRef"]
    return files[key["name"]][key["key"]]

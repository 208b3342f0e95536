"""A StatefulSet's one pod as `podman play kube` takes it: podman knows Pods, claims and ConfigMaps, and no StatefulSet.

What is changed, and why: probes go (podman runs them by systemd and asks by curl); a Secret becomes a ConfigMap (podman
4.3 ends with a nil pointer at a secret volume); the pod shares this machine's network, where the simulated cluster is;
the image is the one just built; a variable of the downward API becomes what an API server would make of it. fsGroup does
nothing in podman: the image's own folders make its volumes writable.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any


def pod_of(
    stateful_set: Mapping[str, Any],
    image: str,
    files: Mapping[str, Mapping[str, str]],
    *,
    environment: Mapping[str, str],
    folders: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Return the objects of pod 0: claims, ConfigMaps, the pod.

    `files` are the contents of the ConfigMaps and Secrets that it mounts, by their names; `folders` of this machine are
    mounted beside them, by the path in the container.
    """
    template = deepcopy(stateful_set["spec"]["template"])
    name = f"{stateful_set['metadata']['name']}-0"
    spec = template["spec"]
    (container,) = spec["containers"]
    claims = {claim["metadata"]["name"]: claim for claim in stateful_set["spec"].get("volumeClaimTemplates", ())}
    volumes = spec.setdefault("volumes", [])
    for volume in volumes:
        if "secret" in volume:
            volume["configMap"] = {"name": volume.pop("secret")["secretName"]}
    volumes += [{"name": claim, "persistentVolumeClaim": {"claimName": f"{claim}-{name}"}} for claim in claims]
    for number, (path, folder) in enumerate(folders.items()):
        volumes.append({"name": f"folder-{number}", "hostPath": {"path": folder, "type": "Directory"}})
        container["volumeMounts"].append({"name": f"folder-{number}", "mountPath": path, "readOnly": True})
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        container.pop(probe, None)
    container["image"] = image
    container["imagePullPolicy"] = "Never"
    told = {"metadata.name": name, "metadata.namespace": stateful_set["metadata"]["namespace"]}
    for variable in container["env"]:
        if source := variable.pop("valueFrom", None):
            variable["value"] = told[source["fieldRef"]["fieldPath"]]
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

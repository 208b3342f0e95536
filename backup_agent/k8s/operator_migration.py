"""The commands that release a cluster from the community operator, priyolahiri/neo4j-kubernetes-operator.

Deleting the operator's custom resource deletes what it owns (the garbage collector, by ownerReferences) and the claims
(its finalizer, by labels). The commands take both away first, in the order of docs/migration.md. Facts are from the
operator's source, August 2025 to August 2026.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from backup_agent.k8s.names import Object, part_of

KIND = "Neo4jEnterpriseCluster"
GROUP = "neo4j.neo4j.com/"
RESOURCE = "neo4jenterprisecluster"

OWNED = frozenset(
    {
        "Certificate",
        "ConfigMap",
        "Ingress",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "PrometheusRule",
        "Role",
        "RoleBinding",
        "Secret",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
        "StatefulSet",
    }
)
"""Kinds that the custom resource owns. Another owned kind is refused: what it is for was not examined."""

REMAINING = ("internals", "discovery", "metrics", "server-netpol", "config")
"""Ends of the names of objects that the rendered ones do not replace."""

ACCOUNTS = ("RoleBinding", "Role", "ServiceAccount")

QUERY = (
    "kubectl get neo4jenterprisecluster,statefulset,service,configmap,serviceaccount,role,rolebinding,networkpolicy,"
    "ingress,pdb,pvc,pv -n NAMESPACE -o json"
)
"""What the commands are made from. Secrets are left out: their content would be printed."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_GROUP = re.compile(r"([a-z0-9.-]+\.[a-z0-9.-]+)/")
_UID = re.compile(r"[A-Za-z0-9-]{1,64}")


class MigrationError(ValueError):
    """Something in the objects is not understood. Nothing is printed then."""


@dataclass(frozen=True)
class MigrationStep:
    """One step: why, and the commands."""

    title: str
    commands: tuple[str, ...]


BACK_UP = "Back up every database, and copy the artifacts out of the Kubernetes cluster. Restore one elsewhere."
RETAIN = "Retain the claims and their volumes, and hide the claims from the finalizer."
STOP = "Stop the operator. It serves all namespaces, and its name depends on how it was installed."
KEEP = "Keep the claims of pods that are scaled down."
RELEASE = "Remove the ownerReference of each object that the resource owns. The last command is for Secrets."
CHECK = "Check: this must print nothing."
REPLACE = (
    "Render a spec with the same cluster, namespace, number of servers and sizes of claims, into the folder {name}. "
    "The StatefulSets have other selectors: all servers are down from here until the last command. Apply only if the "
    "claims are still listed."
)
REMOVE = "Remove what the rendered objects do not replace."
FINISH = (
    "Remove the finalizer and the resource, while the operator is stopped. All objects must still be listed afterwards."
)


def plan(objects: list[Object], cluster: str | None = None) -> tuple[MigrationStep, ...]:
    """Return the steps for the custom resource of that name, or for the only one; raise MigrationError.

    `objects` are those of one namespace, and the volumes.
    """
    resource = _resource(objects, cluster)
    name, namespace = _name(resource), _text(resource, "metadata", "namespace")
    owned = {f"{one['kind']}/{_name(one)}": one for one in objects if _owner(one, resource) is not None}
    _check(resource, owned)
    claims = _claims(objects, name, namespace)
    here = f"-n {namespace}"
    return (
        MigrationStep(BACK_UP, ()),
        MigrationStep(RETAIN, _retained(name, here, claims, objects)),
        MigrationStep(STOP, OPERATOR_STOPPED),
        MigrationStep(KEEP, _kept(owned, here)),
        MigrationStep(RELEASE, (*_released(owned, resource, here), _released_secrets(name, here))),
        MigrationStep(CHECK, (_owned_by(name, here, ALL_OWNED),)),
        MigrationStep(REPLACE.format(name=name), _replaced(owned, name, here)),
        MigrationStep(REMOVE, _removed(owned, name, here)),
        MigrationStep(FINISH, _finished(name, here)),
    )


def _replaced(owned: Mapping[str, Object], name: str, here: str) -> tuple[str, ...]:
    return (
        *(f"kubectl delete {here} statefulset/{one}" for one in _names(owned, "StatefulSet")),
        f"kubectl get {here} pvc",
        f"kubectl apply --server-side --force-conflicts -k {name}",
    )


def _finished(name: str, here: str) -> tuple[str, ...]:
    return (
        f"""kubectl patch {here} {RESOURCE}/{name} --type merge -p '{{"metadata":{{"finalizers":null}}}}'""",
        f"kubectl delete {here} {RESOURCE}/{name} --cascade=orphan",
        f"kubectl get {here} statefulset,service,pvc",
    )


OPERATOR_STOPPED = (
    "kubectl get deployments --all-namespaces | grep neo4j-operator",
    "kubectl scale deployment neo4j-operator-controller-manager -n neo4j-operator-system --replicas 0",
)


def _resource(objects: list[Object], cluster: str | None) -> Object:
    found = [
        one
        for one in objects
        if one.get("kind") == KIND
        and str(one.get("apiVersion", "")).startswith(GROUP)
        and cluster in {None, part_of(one, "metadata", "name")}
    ]
    if not found:
        raise MigrationError(
            f"no {KIND}{f' {cluster}' if cluster else ''} is in the objects: pipe the output of {QUERY}"
        )
    if len(found) > 1:
        names = ", ".join(sorted(_name(one) for one in found))
        raise MigrationError(f"several of the kind {KIND} are in the objects: name one of {names}")
    return found[0]


def _check(resource: Object, owned: Mapping[str, Object]) -> None:
    if part_of(resource, "metadata", "deletionTimestamp"):
        raise MigrationError(
            "the resource is being deleted: stop the operator at once "
            f"({OPERATOR_STOPPED[1]}), then look at what is left"
        )
    strange = sorted(key for key, one in owned.items() if one["kind"] not in OWNED)
    if strange:
        raise MigrationError(f"the resource owns objects of a kind that is not known here: {', '.join(strange)}")
    if f"StatefulSet/{_name(resource)}-server" not in owned:
        raise MigrationError(
            f"no StatefulSet {_name(resource)}-server of the resource is in the objects: servers of an older layout "
            "are moved by a restore (docs/migration.md)"
        )


def _claims(objects: list[Object], name: str, namespace: str) -> dict[str, str]:
    """Return the claims of the cluster and their volumes."""
    found: dict[str, str] = {}
    pattern = re.compile(rf"data-{re.escape(name)}-server-\d+|backup-storage-{re.escape(name)}-backup-0")
    for one in objects:
        if one.get("kind") != "PersistentVolumeClaim" or part_of(one, "metadata", "namespace") != namespace:
            continue
        labels = part_of(one, "metadata", "labels") or {}
        if pattern.fullmatch(_name(one)) or part_of(labels, "app.kubernetes.io/instance") == name:
            found[_name(one)] = _text(one, "spec", "volumeName")
    servers = next(one for one in objects if one.get("kind") == "StatefulSet" and _name(one) == f"{name}-server")
    wanted = {f"data-{name}-server-{number}" for number in range(int(part_of(servers, "spec", "replicas") or 0))}
    if missing := sorted(wanted - found.keys()):
        raise MigrationError(f"claims of servers are not in the objects: {', '.join(missing)}. Add pvc to kubectl get")
    volumes = {_name(one) for one in objects if one.get("kind") == "PersistentVolume"}
    if missing := sorted(set(found.values()) - volumes):
        raise MigrationError(f"volumes of claims are not in the objects: {', '.join(missing)}. Add pv to kubectl get")
    return dict(sorted(found.items()))


def _retained(name: str, here: str, claims: Mapping[str, str], objects: list[Object]) -> tuple[str, ...]:
    labelled = {
        _name(one)
        for one in objects
        if one.get("kind") == "PersistentVolumeClaim"
        and part_of(part_of(one, "metadata", "labels"), "app.kubernetes.io/instance") is not None
    }
    retain = '{"spec":{"storage":{"retentionPolicy":"Retain"}}}'
    keep = '{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}'
    return (
        f"kubectl patch {here} {RESOURCE}/{name} --type merge -p '{retain}'",
        *(f"kubectl patch pv/{volume} -p '{keep}'" for volume in claims.values()),
        *(f"kubectl label {here} pvc/{claim} app.kubernetes.io/instance-" for claim in claims if claim in labelled),
    )


def _kept(owned: Mapping[str, Object], here: str) -> tuple[str, ...]:
    keep = '{"spec":{"persistentVolumeClaimRetentionPolicy":{"whenDeleted":"Retain","whenScaled":"Retain"}}}'
    return tuple(
        f"kubectl patch {here} statefulset/{one} --type merge -p '{keep}'" for one in _names(owned, "StatefulSet")
    )


def _released(owned: Mapping[str, Object], resource: Object, here: str) -> tuple[str, ...]:
    return tuple(_release(one, resource, here) for _, one in sorted(owned.items()))


def _release(one: Object, resource: Object, here: str) -> str:
    """Return the command that removes one owner. It does nothing if another owner has taken this place meanwhile."""
    place = f"/metadata/ownerReferences/{_owner(one, resource)}"
    uid = _text(resource, "metadata", "uid", shape=_UID)
    patch = f'[{{"op":"test","path":"{place}/uid","value":"{uid}"}},{{"op":"remove","path":"{place}"}}]'
    group = _GROUP.match(str(one.get("apiVersion", "")))
    resource_name = one["kind"].lower() + (f".{group[1]}" if group else "")
    return f"kubectl patch {here} {resource_name}/{_name(one)} --type json -p '{patch}'"


ALL_OWNED = "statefulset,service,configmap,secret,serviceaccount,role,rolebinding,networkpolicy,ingress,pdb,pvc"


def _owned_by(name: str, here: str, kinds: str) -> str:
    """Return the command that lists the objects that the resource owns, without their content."""
    template = (
        "{{range .items}}{{$one := .}}{{range .metadata.ownerReferences}}"
        f'{{{{if and (eq .kind "{KIND}") (eq .name "{name}")}}}}'
        "{{$one.kind}}/{{$one.metadata.name}} {{end}}{{end}}{{end}}"
    )
    return f"kubectl get {here} {kinds} -o go-template='{template}'"


def _released_secrets(name: str, here: str) -> str:
    listed, patch = _owned_by(name, here, "secret"), '[{"op":"remove","path":"/metadata/ownerReferences"}]'
    return f"""for object in $({listed}); do kubectl patch {here} "$object" --type json -p '{patch}'; done"""


def _removed(owned: Mapping[str, Object], name: str, here: str) -> tuple[str, ...]:
    ends = tuple(f"{name}-{end}" for end in REMAINING)
    accounts = f"{name}-discovery"
    return tuple(
        f"kubectl delete {here} {one['kind'].lower()}/{_name(one)}"
        for _, one in sorted(owned.items())
        if (one["kind"] in {"Service", "NetworkPolicy", "ConfigMap"} and _name(one) in ends)
        or (one["kind"] in ACCOUNTS and _name(one) == accounts)
    )


def _owner(one: Object, resource: Object) -> int | None:
    """Return the position of the resource among the owners of an object, or None."""
    owners = part_of(one, "metadata", "ownerReferences")
    uid = part_of(resource, "metadata", "uid")
    places = (place for place, owner in enumerate(owners or ()) if uid and part_of(owner, "uid") == uid)
    return next(places, None) if isinstance(owners, list) else None


def _names(owned: Mapping[str, Object], kind: str) -> Iterator[str]:
    return (_name(one) for _, one in sorted(owned.items()) if one["kind"] == kind)


def _name(one: Object) -> str:
    return _text(one, "metadata", "name")


def _text(one: Object, *path: str, shape: re.Pattern[str] = _NAME) -> str:
    """Return a text that is safe in a command line; raise MigrationError."""
    found = part_of(one, *path)
    if not isinstance(found, str) or not shape.fullmatch(found):
        raise MigrationError(f"{one.get('kind', 'an object')}: {'.'.join(path)} is missing or no name of Kubernetes")
    return found

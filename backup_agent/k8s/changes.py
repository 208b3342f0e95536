"""What a change of a spec does to a running cluster: the rendered objects are compared with those of before.

Nothing here asks an API server. The objects of before are those of the last rendering, which must have been applied.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from backup_agent.k8s import immutable
from backup_agent.k8s.names import BACKUP, COMPONENT, SERVER, Object, part_of, replicas_of
from backup_agent.k8s.neo4j_conf import PASSING

VERSION = "app.kubernetes.io/version"
CONFIGURATION = "neo4j.conf"
HOSTNAME = "kubernetes.io/hostname"

LONGEST_SHOWN = 80

SECOND = """this is a second cluster and a second agent: the objects were {name} in namespace {namespace} before.
Nothing is renamed and no data is moved. The servers, the agent and the claims of before stay in the Kubernetes cluster
and run on, and {other} starts empty. To move: back up, restore into the new cluster (docs/restore.md), remove the old
one. Use another folder for each cluster"""

OLDER = """version {was} becomes {becomes}: a server does not start on files that a newer version has written. Restore
a backup into a new cluster of the older version (docs/runbooks/older-version.md). If no server has started with {was}
yet, render with --allow-older"""

NEWER = """version {was} becomes {becomes}: take a FULL first, since no server goes back to an older version.
docs/runbooks/rolling-restart.md has the queries between two servers"""

SWITCHED = """tls.cluster is switched {switched}: servers with it and without it cannot talk to each other, and a
rolling restart breaks the cluster. Stop all servers before you apply, and expect a downtime of some minutes:
  kubectl scale -n {namespace} statefulset/{name} --replicas 0
  kubectl wait -n {namespace} --for=delete pod/{name}-0 --timeout 1h    # and so on, up to {name}-{last}
  apply these objects with --force-conflicts: the number of servers was changed by kubectl scale"""

FIRST_SERVERS = """1 server becomes {wanted}. The new servers need the database `system` of the first one before they
start for the first time (the manual: clustering, move from a standalone deployment to a cluster):
  1. render with topology.servers: {wanted} and server.offline_maintenance: true, apply, delete the pod {name}-0, and
     wait for all pods. Neo4j is down from here on
  2. kubectl exec -n {namespace} {name}-0 -- neo4j-admin database dump system --to-stdout > system.dump
  3. for each new server, {name}-1 and so on:
     kubectl exec -i -n {namespace} {name}-1 -- neo4j-admin database load system --from-stdin \\
       --overwrite-destination=true < system.dump
  4. render without server.offline_maintenance, apply, and delete all pods of the servers:
     kubectl delete pod -n {namespace} -l neo4j.com/component=server,neo4j.com/cluster={cluster}
  5. SHOW SERVERS; ENABLE SERVER 'name' for each server that is Free
  6. ALTER DATABASE ... SET TOPOLOGY 3 PRIMARIES for each database that shall have more copies"""

MORE_NODES = """topology.spread: require needs {wanted} nodes that match server.placement, where {before} sufficed
before, and one more to drain a node. A server without a node of its own stays Pending, and a restart of the servers
stops there"""

MORE_ZONES = """topology.zones: require needs three zones with nodes that match server.placement. A volume usually stays in
its zone: a running server whose zone has more than its share stays Pending after its restart. Look before you apply:
  kubectl get pv -o custom-columns=CLAIM:.spec.claimRef.name,ZONE:.spec.nodeAffinity.required.nodeSelectorTerms[*].matchExpressions[*].values"""  # noqa: E501  a command


@dataclass(frozen=True)
class Restart:
    """Pods that a change of their template restarts."""

    pods: tuple[str, ...]
    """In the order in which they restart."""
    reasons: tuple[str, ...]
    supervised: bool
    """Whether the pods restart only when they are deleted by hand."""

    def __str__(self) -> str:
        pods = ", ".join(self.pods)
        if self.supervised:
            how = f"{pods}: delete one after the other in this order (docs/runbooks/rolling-restart.md)"
        elif len(self.pods) > 1:
            how = f"{pods} restart, one after the other in this order"
        else:
            how = f"{pods} restarts"
        return f"{how}. Changed: {'; '.join(self.reasons)}"


@dataclass(frozen=True)
class Changes:
    """The effects of applying new objects over those of before."""

    restarts: tuple[Restart, ...] = ()
    steps: tuple[str, ...] = ()
    """What a person must know or do, besides applying the objects."""
    older: str | None = None
    """Why the change is refused: the version of Neo4j goes down."""
    moved: bool = False
    """Whether the objects of before are those of another cluster."""


def key(one: Object) -> str:
    """Return kind and name of an object."""
    return f"{one['kind']}/{one['metadata']['name']}"


def compare(before: Iterable[Object], after: Iterable[Object]) -> Changes:
    """Return what changes; no effects if there were no objects before."""
    old, new = ({key(one): one for one in objects} for objects in (before, after))
    if not old:
        return Changes()
    moved = _moved(old, new)
    if moved:
        return Changes(steps=(moved,), moved=True)
    pairs = [(old[name], new[name]) for name in sorted(old.keys() & new.keys()) if name.startswith("StatefulSet/")]
    texts = {name: _configuration(objects) for name, objects in (("old", old), ("new", new))}
    return Changes(
        restarts=tuple(found for pair in pairs if (found := _restart(*pair, texts["old"], texts["new"]))),
        steps=(*_cluster_steps(old, new), *(step for pair in pairs for step in immutable.steps(*pair))),
        older=_older(old, new),
    )


def servers_of(objects: Iterable[Object]) -> int | None:
    """Return the number of servers of rendered objects, or None if the objects have no servers."""
    return replicas_of(_stateful_set({key(one): one for one in objects}, SERVER)) or None


def _stateful_set(objects: Mapping[str, Object], component: str) -> Object | None:
    for one in objects.values():
        if one["kind"] == "StatefulSet" and part_of(one, "metadata", "labels", COMPONENT) == component:
            return one
    return None


def _moved(old: Mapping[str, Object], new: Mapping[str, Object]) -> str | None:
    """Return what it means that the objects have another name or namespace than before."""
    was, becomes = (_stateful_set(objects, BACKUP) for objects in (old, new))
    if was is None or becomes is None:
        return None
    places = [(part_of(one, "metadata", "namespace"), one["metadata"]["name"]) for one in (was, becomes)]
    if places[0] == places[1]:
        return None
    (namespace, name), (_, other) = places
    return SECOND.format(namespace=namespace, name=name, other=other)


def _older(old: Mapping[str, Object], new: Mapping[str, Object]) -> str | None:
    was, becomes = (_version(_stateful_set(objects, SERVER)) for objects in (old, new))
    if was is None or becomes is None or not _is_older(becomes, was):
        return None
    return OLDER.format(was=was, becomes=becomes)


def _version(stateful_set: Object | None) -> str | None:
    found = part_of(stateful_set, "spec", "template", "metadata", "labels", VERSION)
    return found if isinstance(found, str) else None


def _is_older(version: str, other: str) -> bool:
    """Return whether a version is older than another one, as far as both say: 5.26 may be any 5.26.x."""
    one, two = ([int(part) for part in text.split(".") if part.isdecimal()] for text in (version, other))
    common = min(len(one), len(two))
    return one[:common] < two[:common]


def _configuration(objects: Mapping[str, Object]) -> dict[str, list[str]]:
    """Return the settings of neo4j.conf that require a restart: setting -> values."""
    text = next(
        (part_of(one, "data", CONFIGURATION) for one in objects.values() if part_of(one, "data", CONFIGURATION)), ""
    )
    found: dict[str, list[str]] = {}
    for line in str(text).splitlines():
        name, _, value = line.partition("=")
        if not name.startswith(PASSING):
            found.setdefault(name, []).append(value)
    return found


def _restart(old: Object, new: Object, was: Mapping[str, Any], becomes: Mapping[str, Any]) -> Restart | None:
    templates = [part_of(one, "spec", "template") for one in (old, new)]
    reasons = tuple(_differences("", *templates))
    if not reasons:
        return None
    if part_of(new, "metadata", "labels", COMPONENT) == SERVER:
        changed = sorted(name for name in was.keys() | becomes.keys() if was.get(name) != becomes.get(name))
        reasons = tuple(reason for reason in reasons if "config-digest" not in reason)
        reasons += tuple(f"{CONFIGURATION}: {', '.join(changed)}" for _ in changed[:1])
    count = min(replicas_of(one) for one in (old, new))
    pods = tuple(f"{new['metadata']['name']}-{number}" for number in reversed(range(count)))
    supervised = part_of(new, "spec", "updateStrategy", "type") == "OnDelete"
    return Restart(pods, reasons, supervised) if pods else None


def _differences(path: str, old: object, new: object) -> Iterator[str]:
    """Yield what differs between two values, with paths. Items of lists are known by their name."""
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            yield from _differences(f"{path}.{name}".lstrip("."), old.get(name), new.get(name))
    elif isinstance(old, list) and isinstance(new, list) and (named := [_by_name(old), _by_name(new)]) and all(named):
        was, becomes = (found or {} for found in named)
        for name in sorted(was.keys() | becomes.keys()):
            yield from _differences(f"{path}[{name}]", was.get(name), becomes.get(name))
    elif old is None or new is None:
        yield f"{path} {'added' if old is None else 'removed'}"
    elif isinstance(old, dict | list) or isinstance(new, dict | list) or ".env" in path:
        yield path  # values of variables are not shown
    else:
        yield f"{path} {_shown(old)} -> {_shown(new)}"


def _by_name(items: list[Any]) -> dict[str, Any] | None:
    names = [one.get("name") if isinstance(one, dict) else None for one in items]
    return dict(zip(names, items, strict=True)) if all(names) and len(set(names)) == len(names) else None  # type: ignore[arg-type]  # all names are texts


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"


def _cluster_steps(old: Mapping[str, Object], new: Mapping[str, Object]) -> Iterator[str]:
    was, becomes = (_stateful_set(objects, SERVER) for objects in (old, new))
    if was is None or becomes is None:
        if was is not becomes:
            yield (
                "the servers are no longer rendered: they run on without their spec"
                if becomes is None
                else "servers are rendered that were not before: a new and empty cluster starts"
            )
        return
    name, namespace = becomes["metadata"]["name"], part_of(becomes, "metadata", "namespace")
    servers = [replicas_of(one) for one in (was, becomes)]
    versions = [_version(one) or "" for one in (was, becomes)]
    if _is_older(*versions):
        yield NEWER.format(was=versions[0], becomes=versions[1])
    if _encrypts(old) != _encrypts(new):
        switched = "on" if _encrypts(new) else "off"
        yield SWITCHED.format(switched=switched, name=name, namespace=namespace, last=servers[1] - 1)
    if servers[0] == 1 < servers[1]:
        cluster = name.removesuffix("-server")
        yield FIRST_SERVERS.format(wanted=servers[1], name=name, namespace=namespace, cluster=cluster)
    yield from _more_nodes(was, becomes, servers)


def _encrypts(objects: Mapping[str, Object]) -> bool:
    """Return whether the connections between the servers are encrypted."""
    return "dbms.ssl.policy.cluster.enabled" in _configuration(objects)


def _more_nodes(was: Object, becomes: Object, servers: list[int]) -> Iterator[str]:
    needed = [count if _required(one) else 1 for count, one in zip(servers, (was, becomes), strict=True)]
    if needed[1] > needed[0]:
        yield MORE_NODES.format(wanted=needed[1], before=needed[0])

    if _zones(becomes) and not _zones(was):
        yield MORE_ZONES


def _zones(stateful_set: Object) -> bool:
    rules = part_of(stateful_set, "spec", "template", "spec", "topologySpreadConstraints")
    return any(part_of(rule, "whenUnsatisfiable") == "DoNotSchedule" for rule in rules or ())


def _required(stateful_set: Object) -> bool:
    terms = part_of(
        stateful_set,
        "spec",
        "template",
        "spec",
        "affinity",
        "podAntiAffinity",
        "requiredDuringSchedulingIgnoredDuringExecution",
    )
    return any(part_of(term, "topologyKey") == HOSTNAME for term in terms or ())

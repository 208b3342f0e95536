"""The runbook for `system`: stop all servers, load the same full on each, start them."""

from collections.abc import Callable, Iterator

from backup_agent.core.capabilities import Version
from backup_agent.core.escaping import shell_word
from backup_agent.core.restore.machines import Server
from backup_agent.core.restore.scene import UNKNOWN_SERVER, Block, Scene, cypher_block, opened_shell, transport

_AGGREGATE_RENAMED = Version(2025, 1)


def system_runbook(scene: Scene) -> Iterator[Block]:
    """Yield the blocks that restore `system`, in the order of Neo4j's page on disaster recovery."""
    servers = scene.known.servers or (UNKNOWN_SERVER,)
    pods = all(one.is_pod for one in servers)
    if pods:
        yield _stopped_pods(servers)
    else:
        yield Block(
            ", ".join(map(str, servers)), "Stop Neo4j on every server. All databases are down until it starts again"
        )
    yield transport(scene, *servers)
    where = "shell with kubectl, each server" if pods else "each server, as the user that runs Neo4j"

    def on_each(title: str, script: str, *values: str) -> Block:
        return Block(
            where, title, tuple(server.script(script, *values) for server in (servers if pods else servers[:1]))
        )

    if scene.known.cluster:
        yield on_each(
            "Remove the state of the cluster on every server, with a copy of it",
            'neo4j-admin dbms unbind-system-db --archive-cluster-state=true --archive-path="$1"',
            f"{scene.folder}.cluster-state",
        )
    reaches = scene.source.last.last_committed_tx
    known = f" (at least {reaches})" if reaches is not None else ""
    yield on_each(
        "Compare lastCommittedTransaction of every server: the highest wins. If a server has a sound store with more "
        f"than the artifact{known}, load a dump of that store on every server instead of the artifact",
        "neo4j-admin database info system",
    )
    if len(scene.source.chain) > 1:
        aggregate = "backup aggregate" if scene.known.version >= _AGGREGATE_RENAMED else "database aggregate-backup"
        yield on_each(
            "Aggregate the chain into one full on every server. Read the output: the exit code is 0 even on failure",
            f'neo4j-admin {aggregate} --from-path="$1/$2"',
            scene.folder,
            scene.file,
        )
    yield on_each(
        "Load the full on every server",
        'neo4j-admin database load --from-path="$1" --overwrite-destination=true system',
        scene.folder,
    )
    yield on_each("Remove the artifacts", 'rm -rf "$1"', scene.folder)
    if pods:
        yield _started_pods(servers)
    else:
        yield Block(", ".join(map(str, servers)), "Start Neo4j on every server")
    yield opened_shell(scene)
    yield cypher_block(
        "Check. The servers have new ids: deallocate and drop those that no longer exist. Then restore the other "
        "databases that are not online",
        "SHOW SERVERS;",
        "SHOW DATABASES YIELD name, address, requestedStatus, currentStatus, statusMessage;",
    )


_IDLE = (
    '{"spec":{"template":{"spec":{"containers":[{"name":"neo4j","command":["sh","-c",'
    '"cp /conf/* /var/lib/neo4j/conf/; trap \\"exit 0\\" TERM; sleep infinity & wait"],'
    '"startupProbe":null,"readinessProbe":null,"livenessProbe":null}]}}}}'
)
"""Change of the StatefulSet with which the pods run without Neo4j, with its settings and without probes."""


def _stopped_pods(servers: tuple[Server, ...]) -> Block:
    return Block(
        "shell with kubectl",
        "Stop every server, and start the pods without Neo4j. All databases are down until the end. If a controller "
        "applies the StatefulSet, such as Argo CD or Flux, suspend it first",
        _restarted(servers, lambda of: f"kubectl patch {of} --type=strategic -p {shell_word(_IDLE)}"),
    )


def _started_pods(servers: tuple[Server, ...]) -> Block:
    return Block(
        "shell with kubectl",
        "Start every server with Neo4j again",
        _restarted(servers, lambda of: f"kubectl rollout undo {of}"),
    )


def _restarted(servers: tuple[Server, ...], change: Callable[[str], str]) -> tuple[str, ...]:
    """Return the lines that stop the pods, change their StatefulSet, and start them."""
    first = servers[0]
    of = f"statefulset{first.in_namespace} {shell_word(first.pod.rpartition('-')[0])}"
    pods = " ".join(shell_word(f"pod/{one.pod}") for one in servers)
    return (
        f"kubectl scale {of} --replicas=0",
        f"kubectl wait{first.in_namespace} --for=delete --timeout=1h {pods}",
        change(of),
        f"kubectl scale {of} --replicas={len(servers)}",
        f"kubectl rollout status {of} --timeout=1h",
    )

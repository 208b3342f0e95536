"""The blocks of lines of a restore: what is entered, where, and in which order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.artifacts.records import Definition
from backup_agent.core.capabilities import Version
from backup_agent.core.escaping import cypher_name, cypher_string, shell_word
from backup_agent.core.restore import statements
from backup_agent.core.restore.asked import artifact_id
from backup_agent.core.restore.facts import Known, Source
from backup_agent.core.restore.machines import LOGIN, RECEIVE, Machine, Server
from backup_agent.core.restore.moments import in_utc
from backup_agent.core.restore.ways import SEED_UNTIL, Way

SHELL, CYPHER = "sh", "cypher"

BEFORE_RESTORE = "before-restore"
"""The set with the state of a database before it was replaced."""

UNKNOWN_SERVER = Server(host="<SERVER>", id="<SERVER-ID>")
"""A server of which nothing is known. Every line with these texts fails until they are replaced."""

_AGGREGATE_RENAMED = Version(2025, 1)
_HEAP = "HEAP_SIZE=512m"
"""Heap of neo4j-admin beside a running Neo4j. Its own default is that of the server, for which there is no room."""

_DROPPING = (Way.SEED, Way.ONE_SERVER)
"""Ways that drop the existing database, and with it its privileges."""


@dataclass(frozen=True)
class Block:
    """Lines that belong together, and where they are entered."""

    where: str
    title: str
    lines: tuple[str, ...] = ()
    language: str = SHELL


@dataclass(frozen=True)
class Scene:
    """Everything that the blocks of a restore are made from."""

    source: Source
    known: Known
    way: Way
    target: DatabaseName
    rehearsal: DatabaseName | None
    """Name under which the database is restored and checked before it replaces `target`; None: nothing is replaced."""

    @property
    def server(self) -> Server:
        """The server to which the artifacts are brought."""
        return self.known.servers[0] if self.known.servers else UNKNOWN_SERVER

    @property
    def folder(self) -> str:
        """The folder on that server for the artifacts."""
        if self.way in (Way.SERVER_SEED, Way.SERVER_RECREATE):
            return "/data/seeds" if self.server.is_pod else "/<server.directories.seeds>"
        return f"{'/data' if self.server.is_pod else '/var/tmp'}/restore-{artifact_id(self.source.last.key)}"  # noqa: S108  a folder that only its owner can read

    @property
    def file(self) -> str:
        """The name of the artifact whose restore applies all others."""
        return self.source.last.files[0].name

    @property
    def drops(self) -> bool:
        """Whether the existing database is dropped."""
        return self.rehearsal is not None and self.way in _DROPPING

    @property
    def aliases(self) -> tuple[DatabaseName, ...]:
        """The aliases of the database: the present ones and the recorded ones."""
        return tuple(dict.fromkeys((*self.known.aliases, *statements.aliases_of(self.source.definition))))

    @property
    def definition(self) -> Definition:
        """The definition of the database, empty if the records have none."""
        return self.source.definition or Definition()

    def on(self, machine: Machine) -> str:
        """Return where a line for a machine is entered."""
        return f"shell with kubectl, {machine}" if machine.is_pod else f"{machine}, as the user that runs Neo4j"


def blocks_of(scene: Scene) -> Iterator[Block]:
    """Yield the blocks of a restore in their order."""
    if scene.way is Way.SYSTEM:
        yield from _system(scene)
        return
    first = scene.rehearsal or scene.target
    yield _shell(scene)
    yield from _fetched(scene)
    yield from _created(scene, first)
    yield from _looked_at(scene, first)
    if scene.rehearsal is not None:
        yield from _replaced(scene)
    yield from _as_it_was(scene)
    if scene.rehearsal is not None:
        yield _cypher("Drop the rehearsal, once the restored database is in use", statements.drop(scene.rehearsal))
    if scene.way not in (Way.SEED, Way.RECREATE):
        yield _cleaned(scene)


def _cypher(title: str, *lines: str, database: str = "system") -> Block:
    return Block(f"cypher-shell -d {shell_word(database)}", title, lines, CYPHER)


def _shell(scene: Scene) -> Block:
    title = "Open cypher-shell for the statements below, in a window of its own"
    machine = scene.server if scene.server.is_pod else Machine()
    if not machine.is_pod:
        return Block("a machine that reaches Bolt", title, (machine.cypher_shell("system"),))
    title += ". If Bolt requires TLS, append -a neo4j+ssc://localhost:7687 to cypher-shell"
    where = "shell with kubectl"
    return Block(where, title, (machine.cypher_shell("system"),))


def _fetched(scene: Scene) -> Iterator[Block]:
    if scene.way in (Way.SEED, Way.RECREATE):
        return
    if not scene.known.servers:
        yield _cypher(
            "Choose a server: replace <SERVER> by its host name and <SERVER-ID> by its serverId in every line below",
            "SHOW SERVERS YIELD serverId, name, address, state, health;",
        )
    if scene.way in (Way.SERVER_SEED, Way.SERVER_RECREATE) and not scene.server.is_pod:
        yield _cypher(
            "Replace /<server.directories.seeds> below by the value of this setting on that server",
            "SHOW SETTINGS YIELD name, value WHERE name = 'server.directories.seeds';",
        )
    yield _transport(scene, scene.server)


def _transport(scene: Scene, *servers: Server) -> Block:
    agent = scene.known.agent
    fetch = agent.command("backup-agent", "fetch", shell_word(scene.source.last.key), "--to", "-")
    lines = [
        line for server in servers for line in (f"{fetch} |", f"  {server.script(RECEIVE, scene.folder, reads=True)}")
    ]
    return Block(
        f"shell with kubectl, {agent} to {', '.join(map(str, servers))}" if agent.is_pod else str(agent),
        "Bring the artifacts to the server. Continue only if each file is OK and the line does not fail; if it does, "
        "enter it again",
        tuple(lines),
    )


def _topology(scene: Scene) -> str:
    return statements.topology(scene.source.definition) if scene.known.cluster else ""


def _created(scene: Scene, name: DatabaseName, *, replaces: bool = False) -> Iterator[Block]:
    """Yield the blocks that make a database from the artifacts."""
    source, version = scene.source, scene.known.version
    uri = f"{source.uri}/{source.last.key}"
    if scene.way in (Way.SERVER_SEED, Way.SERVER_RECREATE):
        uri = f"server://{scene.server.id or UNKNOWN_SERVER.id}/{scene.file}"
    if replaces and scene.way in (Way.RECREATE, Way.SERVER_RECREATE):
        yield _cypher(
            f"Replace the content of {name}. Privileges, aliases and definition stay. Never call this procedure again "
            "before every copy is online",
            statements.recreate(name, version, uri),
        )
    elif scene.way in (Way.ONE_SERVER, Way.STANDALONE):
        yield from _restored_on_one_server(scene, name, replaces=replaces)
    else:
        options = statements.seed(uri, source.until, source.before_tx)
        replace = replaces and version >= SEED_UNTIL
        if replaces and not replace:
            yield _dropped(name)
        create = statements.create(name, version, with_topology=_topology(scene), options=options, replace=replace)
        reads = scene.way in (Way.SEED, Way.RECREATE) and source.server_needs
        needs = f". Each server needs {', '.join(source.server_needs)}" if reads else ""
        yield _cypher(f"Create {name} from the artifacts{needs}", create)


def _restored_on_one_server(scene: Scene, name: DatabaseName, *, replaces: bool) -> Iterator[Block]:
    standalone = scene.way is Way.STANDALONE
    if replaces and standalone:
        yield _cypher(
            f"Stop {name}. Continue when it is offline", f"STOP DATABASE {cypher_name(name)};", statements.look(name)
        )
    elif replaces:
        yield _dropped(name)
    yield Block(
        scene.on(scene.server),
        f"Restore {name} on this server with neo4j-admin, which applies the whole chain",
        (_neo4j_admin_restore(scene, name, overwrite=replaces and standalone),),
    )
    if replaces and standalone:
        yield _cypher(f"Start {name}", f"START DATABASE {cypher_name(name)};")
        return
    options = {} if standalone else {"existingDataSeedServer": cypher_string(scene.server.id or UNKNOWN_SERVER.id)}
    copies = "" if standalone else ". The other servers copy it from there"
    create = statements.create(name, scene.known.version, with_topology=_topology(scene), options=options)
    yield _cypher(f"Create {name} from the store on this server{copies}", create)


def _dropped(name: DatabaseName) -> Block:
    return _cypher(f"Drop {name}. Continue when it is no longer listed", statements.drop(name), statements.look(name))


def _neo4j_admin_restore(scene: Scene, name: DatabaseName, *, overwrite: bool) -> str:
    source, values = scene.source, [scene.folder, scene.file, name]
    options = '--from-path="$1/$2" --temp-path="$1/temp"'
    if source.until is not None:
        values.append(in_utc(source.until).removesuffix(" UTC"))
    elif source.before_tx is not None:
        values.append(str(source.before_tx))
    if len(values) > len(("folder", "file", "name")):
        options += ' --restore-until="$4"'
    if overwrite:
        options += " --overwrite-destination=true"
    program = f"{_HEAP} neo4j-admin" if scene.server.is_pod else "neo4j-admin"
    return scene.server.script(f'rm -rf "$1/temp"\nmkdir "$1/temp"\n{program} database restore {options} "$3"', *values)


def _looked_at(scene: Scene, name: DatabaseName) -> Iterator[Block]:
    state = [statements.look(name)]
    if scene.known.cluster:
        state.append(statements.check_replication(name))
    yield _cypher(
        f"Repeat the first statement until each copy of {name} is online: the statements above do not fail if the "
        "seed fails. If a copy stays offline, see its statusMessage and the debug.log of its server",
        *state,
    )
    yield _cypher(f"Look into {name}: is it what you expect?", "MATCH (n) RETURN count(n);", database=name)


def _replaced(scene: Scene) -> Iterator[Block]:
    name, agent = scene.target, scene.known.agent
    request = ("request", "--type", "FULL", "--database", shell_word(name), "--set", BEFORE_RESTORE, "--wait")
    yield Block(
        f"shell with kubectl, {agent}" if agent.is_pod else str(agent),
        f"Back up the present state of {name}. If that fails because {name} is not online, you can go on, but what was "
        "committed after its last backup is then lost for good",
        (agent.command("backup-agent", *request),),
    )
    if scene.drops:
        yield _cypher(
            f"Keep the output: it names what goes with {name}. Its aliases, its privileges as statements, and the "
            "users whose home database it is",
            *statements.find_what_is_lost(name),
        )
        if scene.aliases:
            yield _cypher(
                f"Drop the aliases: {name} cannot be dropped while it has one", *statements.drop_aliases(scene.aliases)
            )
    yield from _created(scene, name, replaces=True)
    yield from _looked_at(scene, name)


def _as_it_was(scene: Scene) -> Iterator[Block]:
    replaced, name, version = scene.rehearsal is not None, scene.target, scene.known.version
    if not replaced or scene.drops:
        altered = tuple(statements.alter(name, scene.definition, version))
        if altered:
            yield _cypher(f"Give {name} its recorded options back", *altered)
    if scene.drops:
        if scene.aliases:
            yield _cypher("Create the aliases again", *statements.create_aliases(name, scene.aliases))
        yield _cypher(
            "Give back what the kept output names: run the statements of its privileges, and this one for each user "
            "whose home database it was",
            statements.set_home(name),
        )
    if replaced and not scene.drops:
        return
    agent, key = scene.known.agent, shell_word(scene.source.last.key)
    yield Block(
        f"shell with kubectl, {agent}" if agent.is_pod else str(agent),
        "Privileges, if you need those of the time of the backup: read the script, then run it. Its statements come "
        "from the artifact. The first line masks passwords",
        (
            agent.command("backup-agent", "show", key, "--metadata"),
            f"{agent.command('backup-agent', 'fetch', key, '--metadata', '-')} |",
            f"  {_run_metadata(scene)}",
        ),
    )


def _run_metadata(scene: Scene) -> str:
    parameter = f"database => {cypher_string(scene.target)}"
    if not scene.server.is_pod:
        return f"cypher-shell -d system --param {shell_word(parameter)}"
    return scene.server.script(f'{LOGIN} cypher-shell -d system --param "$1"', parameter, reads=True)


def _cleaned(scene: Scene) -> Block:
    if scene.way in (Way.SERVER_SEED, Way.SERVER_RECREATE):
        files = [file.name for one in scene.source.chain for file in one.files]
        line = scene.server.script('folder=$1\nshift\nfor name; do rm -f "$folder/$name"; done', scene.folder, *files)
    else:
        line = scene.server.script('rm -rf "$1"', scene.folder)
    return Block(scene.on(scene.server), "Remove the artifacts from the server", (line,))


def _system(scene: Scene) -> Iterator[Block]:
    servers = scene.known.servers or (UNKNOWN_SERVER,)
    pods = all(one.is_pod for one in servers)
    if pods:
        yield _stopped_pods(servers)
    else:
        yield Block(
            ", ".join(map(str, servers)), "Stop Neo4j on every server. All databases are down until it starts again"
        )
    yield _transport(scene, *servers)
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
    yield _shell(scene)
    yield _cypher(
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

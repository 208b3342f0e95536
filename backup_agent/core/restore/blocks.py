"""The blocks of lines of a restore: what is entered, where, and in which order."""

from collections.abc import Iterator

from backup_agent.core.artifacts.names import BEFORE_RESTORE, DatabaseName
from backup_agent.core.escaping import cypher_name, cypher_string, shell_word
from backup_agent.core.restore import statements
from backup_agent.core.restore.machines import LOGIN
from backup_agent.core.restore.moments import in_utc
from backup_agent.core.restore.scene import UNKNOWN_SERVER, Block, Scene, cypher_block, opened_shell, transport
from backup_agent.core.restore.system_runbook import system_runbook
from backup_agent.core.restore.ways import SEED_UNTIL, Way

_HEAP = "HEAP_SIZE=512m"
"""Heap of neo4j-admin beside a running Neo4j. Its own default is that of the server, for which there is no room."""


def blocks_of(scene: Scene) -> Iterator[Block]:
    """Yield the blocks of a restore in their order."""
    if scene.way is Way.SYSTEM:
        yield from system_runbook(scene)
        return
    first = scene.rehearsal or scene.target
    yield opened_shell(scene)
    yield from _fetched(scene)
    yield from _created(scene, first)
    yield from _looked_at(scene, first)
    if scene.rehearsal is not None:
        yield from _replaced(scene)
    yield from _as_it_was(scene)
    if scene.rehearsal is not None:
        yield cypher_block("Drop the rehearsal, once the restored database is in use", statements.drop(scene.rehearsal))
    if scene.way not in (Way.SEED, Way.RECREATE):
        yield _cleaned(scene)


def _fetched(scene: Scene) -> Iterator[Block]:
    if scene.way in (Way.SEED, Way.RECREATE):
        return
    if not scene.known.servers:
        yield cypher_block(
            "Choose a server: replace <SERVER> by its host name and <SERVER-ID> by its serverId in every line below",
            "SHOW SERVERS YIELD serverId, name, address, state, health;",
        )
    if scene.way in (Way.SERVER_SEED, Way.SERVER_RECREATE) and not scene.server.is_pod:
        yield cypher_block(
            "Replace /<server.directories.seeds> below by the value of this setting on that server",
            "SHOW SETTINGS YIELD name, value WHERE name = 'server.directories.seeds';",
        )
    yield transport(scene, scene.server)


def _topology(scene: Scene) -> str:
    return statements.topology(scene.source.definition) if scene.known.cluster else ""


def _created(scene: Scene, name: DatabaseName, *, replaces: bool = False) -> Iterator[Block]:
    """Yield the blocks that make a database from the artifacts."""
    source, version = scene.source, scene.known.version
    uri = f"{source.uri}/{source.last.key}"
    if scene.way in (Way.SERVER_SEED, Way.SERVER_RECREATE):
        uri = f"server://{scene.server.id or UNKNOWN_SERVER.id}/{scene.file}"
    if replaces and scene.way in (Way.RECREATE, Way.SERVER_RECREATE):
        yield cypher_block(
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
        yield cypher_block(f"Create {name} from the artifacts{needs}", create)


def _restored_on_one_server(scene: Scene, name: DatabaseName, *, replaces: bool) -> Iterator[Block]:
    standalone = scene.way is Way.STANDALONE
    if replaces and standalone:
        yield cypher_block(
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
        yield cypher_block(f"Start {name}", f"START DATABASE {cypher_name(name)};")
        return
    options = {} if standalone else {"existingDataSeedServer": cypher_string(scene.server.id or UNKNOWN_SERVER.id)}
    copies = "" if standalone else ". The other servers copy it from there"
    create = statements.create(name, scene.known.version, with_topology=_topology(scene), options=options)
    yield cypher_block(f"Create {name} from the store on this server{copies}", create)


def _dropped(name: DatabaseName) -> Block:
    return cypher_block(
        f"Drop {name}. Continue when it is no longer listed", statements.drop(name), statements.look(name)
    )


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
    yield cypher_block(
        f"Repeat the first statement until each copy of {name} is online: the statements above do not fail if the "
        "seed fails. If a copy stays offline, see its statusMessage and the debug.log of its server",
        *state,
    )
    yield cypher_block(f"Look into {name}: is it what you expect?", "MATCH (n) RETURN count(n);", database=name)


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
        yield cypher_block(
            f"Keep the output: it names what goes with {name}. Its aliases, its privileges as statements, and the "
            "users whose home database it is",
            *statements.find_what_is_lost(name),
        )
        if scene.aliases:
            yield cypher_block(
                f"Drop the aliases: {name} cannot be dropped while it has one", *statements.drop_aliases(scene.aliases)
            )
    yield from _created(scene, name, replaces=True)
    yield from _looked_at(scene, name)


def _as_it_was(scene: Scene) -> Iterator[Block]:
    replaced, name, version = scene.rehearsal is not None, scene.target, scene.known.version
    if not replaced or scene.drops:
        altered = tuple(statements.alter(name, scene.definition, version))
        if altered:
            yield cypher_block(f"Give {name} its recorded options back", *altered)
    if scene.aliases and (scene.drops or (scene.own_name and not replaced)):
        yield cypher_block("Create the aliases again", *statements.create_aliases(name, scene.aliases))
    if scene.drops:
        yield cypher_block(
            "Give back what the kept output names: run the statements of its privileges, and this one for each user "
            "whose home database it was",
            statements.set_home(name),
        )
    if replaced and not scene.drops:
        return
    agent, source = scene.known.agent, scene.source
    artifact = f"{shell_word(source.last.key)} --from {shell_word(source.place)} --metadata"
    yield Block(
        f"shell with kubectl, {agent}" if agent.is_pod else str(agent),
        "Privileges, if you need those of the time of the backup: read the script, then run it. Its statements come "
        "from the artifact. The first line masks passwords",
        (
            agent.command("backup-agent", "show", artifact),
            f"{agent.command('backup-agent', 'fetch', artifact, '-')} |",
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

"""`neo4j-admin database restore` and `database check`, as far as drills and printed plans need them.

No Neo4j is involved: `restore` finds the chain of an artifact in its folder, reads it to its end, and writes down which
artifacts it would apply; `check` looks for what `restore` has written. Both say that they are a stand-in's.

The store comes below the folder of data in neo4j.conf, as for a drill. Without that setting it is the store of a server
of the simulated cluster: the Bolt stand-in then uses it for a database that is created or started there, and so the
artifacts are copied to it. From Neo4j's manual: options by version, that an existing store needs
--overwrite-destination, that a running database is refused, and that only a differential can be cut. The wording of
failures is a guess, except that of `check`, which is Community's.
"""

import json
import shutil
from datetime import datetime
from pathlib import Path

from backup_agent.standins.cluster import store_folder
from backup_agent.standins.neo4j_admin import arguments as command_line
from backup_agent.standins.neo4j_admin import chains, configuration
from backup_agent.standins.neo4j_admin.artifacts import NotAnArtifactError, read_through
from backup_agent.standins.neo4j_admin.backup import Context, empty_folder
from backup_agent.standins.neo4j_admin.chains import Artifact
from backup_agent.standins.neo4j_admin.console import CommandError, Exit

SAYS_SO = "This is the stand-in's '{}': it has not restored or checked a Neo4j database"
DATA = "server.directories.data"
APPLIED = "stand-in.json"
"""The file in the folder of a database that says which artifacts a restore applied."""
SERVER = "NEO4J_ADMIN_STANDIN_SERVER"
"""Environment variable: name of the server on which the command runs. Default: the first one."""


def restore(context: Context) -> Exit:
    """Run `database restore` of one artifact with its chain."""
    arguments = context.arguments
    source = arguments.text("--from-path")
    if source is None:
        raise command_line.missing("option: '--from-path=<path>'")
    configuration.check(context.environment.get("NEO4J_CONF"), arguments.text("--additional-config"))
    context.console.out(SAYS_SO.format("database restore"))
    if (temp := arguments.text("--temp-path")) is not None:
        empty_folder(temp)
    chain = _chain(context, Path(source).absolute())
    _check_until(arguments.text("--restore-until"), chain)
    (database,) = command_line.database_names(arguments.parameters[:1]) or (chain[-1].header.database,)
    data = _data(context)
    folder = _folder(data, database) if data else _server_store(context, database)
    if folder.exists() and not arguments.on("--overwrite-destination"):
        raise _exists(database)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / APPLIED).write_text(json.dumps([link.path.name for link in chain]))
    for link in () if data else chain:
        shutil.copy(link.path, folder / link.path.name)
    context.console.out(f"Restored {database} from {len(chain)} artifacts")
    return Exit.OK


def check(context: Context) -> Exit:
    """Run `database check` of a restored database."""
    database = context.arguments.parameters[0] if context.arguments.parameters else "neo4j"
    context.console.out(SAYS_SO.format("database check"))
    data = _data(context)
    if data is None or not (_folder(data, database) / APPLIED).is_file():
        raise CommandError(f"Database does not exist: {database}")
    return Exit.OK


def _chain(context: Context, path: Path) -> list[Artifact]:
    """Return the chain of an artifact, each link read to its end. Raise CommandError if one is missing or damaged."""
    try:
        end = Artifact(path, read_through(path))
        found, _ = chains.scan(path.parent)
        chain = chains.latest_chain(found, end, context.version)
        for link in chain[:-1]:
            read_through(link.path)
    except (NotAnArtifactError, OSError) as error:
        raise CommandError(f"Not a valid Neo4j archive: {path}", str(error)) from error
    if not chain[0].header.full:
        raise CommandError(f"{path.name} is not part of a valid backup chain")
    return chain


def _check_until(text: str | None, chain: list[Artifact]) -> None:
    if text is None:
        return
    if not text.isdigit():
        try:
            datetime.fromisoformat(text)
        except ValueError as error:
            raise command_line.invalid("--restore-until", f"'{text}' is neither a time nor a transaction") from error
    if len(chain) == 1:
        raise CommandError(f"{chain[0].path.name} is a full backup, which can only be fully restored")


def _data(context: Context) -> Path | None:
    """Return the folder of data in neo4j.conf; None if that is not set."""
    conf = Path(context.environment.get("NEO4J_CONF", ""), "neo4j.conf")
    for line in conf.read_text(encoding="utf-8").splitlines() if conf.is_file() else ():
        key, _, value = line.partition("=")
        if key.strip() == DATA:
            return Path(value.strip())
    return None


def _folder(data: Path, database: str) -> Path:
    return data / "databases" / database


def _server_store(context: Context, database: str) -> Path:
    """Return the folder for the store of a database on a server. Raise CommandError if it must not be replaced."""
    server = context.environment.get(SERVER) or context.cluster.servers[0].name
    copies = [
        copy
        for one in context.cluster.databases
        for copy in one.copies
        if (one.name, copy.server) == (database, server)
    ]
    if any(copy.status != "offline" for copy in copies):
        raise CommandError(f"The database is in use. Stop database '{database}' and try again.")
    if copies and not context.arguments.on("--overwrite-destination"):
        raise _exists(database)
    return store_folder(context.folder, server, database)


def _exists(database: str) -> CommandError:
    return CommandError(f"Database already exists: {database}")

"""`neo4j-admin database restore` and `database check`, as far as a drill needs them.

No Neo4j is involved: `restore` finds the chain of an artifact in its folder and writes down which artifacts it would
apply, and `check` looks for what `restore` has written. Both say that they are a stand-in's. The wording of failures is
a guess, except that of `check`, which is Community's.
"""

import json
from pathlib import Path

from backup_agent.standins.neo4j_admin import arguments as command_line
from backup_agent.standins.neo4j_admin import chains, configuration
from backup_agent.standins.neo4j_admin.artifacts import NotAnArtifactError, read_header
from backup_agent.standins.neo4j_admin.backup import Context
from backup_agent.standins.neo4j_admin.chains import Artifact
from backup_agent.standins.neo4j_admin.console import CommandError, Exit

SAYS_SO = "This is the stand-in's '{}': it has not restored or checked a Neo4j database"
DATA = "server.directories.data"
APPLIED = "stand-in.json"
"""The file in the folder of a database that says which artifacts a restore applied."""


def restore(context: Context) -> Exit:
    """Run `database restore` of one artifact with its chain."""
    arguments = context.arguments
    source = arguments.text("--from-path")
    if source is None:
        raise command_line.missing("option: '--from-path=<path>'")
    configuration.check(context.environment.get("NEO4J_CONF"), arguments.text("--additional-config"))
    context.console.out(SAYS_SO.format("database restore"))
    path = Path(source).absolute()
    try:
        end = Artifact(path, read_header(path))
    except (NotAnArtifactError, OSError) as error:
        raise CommandError(f"Not a valid Neo4j archive: {path}", str(error)) from error
    found, _ = chains.scan(path.parent)
    chain = chains.latest_chain(found, end, context.version)
    if not chain[0].header.full:
        raise CommandError(f"{path.name} is not part of a valid backup chain")
    database = arguments.parameters[0] if arguments.parameters else end.header.database
    folder = _folder(context, database)
    if folder.exists() and not arguments.on("--overwrite-destination"):
        raise CommandError(f"Database already exists: {database}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / APPLIED).write_text(json.dumps([link.path.name for link in chain]))
    context.console.out(f"Restored {database} from {len(chain)} artifacts")
    return Exit.OK


def check(context: Context) -> Exit:
    """Run `database check` of a restored database."""
    database = context.arguments.parameters[0] if context.arguments.parameters else "neo4j"
    context.console.out(SAYS_SO.format("database check"))
    if not (_folder(context, database) / APPLIED).is_file():
        raise CommandError(f"Database does not exist: {database}")
    return Exit.OK


def _folder(context: Context, database: str) -> Path:
    """Return the folder of a database, from the folder of data in neo4j.conf."""
    conf = Path(context.environment.get("NEO4J_CONF", ""), "neo4j.conf")
    for line in conf.read_text(encoding="utf-8").splitlines() if conf.is_file() else ():
        key, _, value = line.partition("=")
        if key.strip() == DATA:
            return Path(value.strip(), "databases", database)
    raise CommandError(f"The stand-in restores only below {DATA} of neo4j.conf, which is not set")

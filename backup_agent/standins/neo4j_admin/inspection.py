"""`neo4j-admin backup inspect` and `database backup --inspect-path`: headers as a table or as JSON.

The columns differ by version. Before 2025.07 only file names are listed unless `--show-metadata` is given. Without
`--empty`, empty differentials at the end of a chain are left out. Guessed: all keys of the JSON except `uri`, and the
versions with the column `STORE ID HASH` (2025.09 to 2025.12).
"""

import json
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from backup_agent.standins.neo4j_admin import arguments as command_line
from backup_agent.standins.neo4j_admin import chains, configuration
from backup_agent.standins.neo4j_admin.artifacts import NotAnArtifactError, read_header
from backup_agent.standins.neo4j_admin.backup import CLOUD, Context
from backup_agent.standins.neo4j_admin.chains import Artifact
from backup_agent.standins.neo4j_admin.console import CommandError, Exit
from backup_agent.standins.neo4j_admin.versions import Version

ALWAYS_METADATA_SINCE: Version = (2025, 7)
RECOVERED_SINCE: Version = (2025, 6)
STORE_ID_HASH: tuple[Version, Version] = ((2025, 9), (2026,))
FULL_FIRST_SINCE: Version = (2026,)

Column = tuple[str, Callable[[Artifact], str]]


def run(context: Context) -> Exit:
    """Run `backup inspect`."""
    arguments = context.arguments
    if not arguments.parameters:
        raise command_line.missing("parameter: '<backup-path>'")
    if len(arguments.parameters) > 1:
        raise command_line.unmatched(list(arguments.parameters), 1, ())
    if arguments.on("--latest-backup") and arguments.on("--latest-chain"):
        raise command_line.exclusive("--latest-backup", "--latest-chain")
    configuration.check(context.environment.get("NEO4J_CONF"), arguments.text("--additional-config"))
    path = arguments.parameters[0]
    rows = _selected(context, path)
    columns = _columns(context.version, time_name="TIME (UTC)", bare=not _shows_metadata(context))
    if arguments.text("--format") == "JSON":
        context.console.out(_json(rows, bare=not _shows_metadata(context)))
    else:
        context.console.out(table(rows, columns))
    return Exit.OK


def run_inspect_path(context: Context, path: str) -> Exit:
    """Run `database backup --inspect-path`, which lists all artifacts in the eight columns of 5.26."""
    found, _ = _found(path)
    context.console.out(table(_newest_first(found), _columns((5, 26), time_name="TIME", bare=False)))
    return Exit.OK


def _selected(context: Context, path: str) -> list[Artifact]:
    arguments = context.arguments
    found, asked = _found(path)
    database = arguments.text("--database")
    if database is not None:
        found = [artifact for artifact in found if artifact.header.database == database.lower()]
    if not arguments.on("--empty"):
        found = [artifact for artifact in found if not artifact.header.empty]
    if asked is not None:
        found = [
            artifact
            for artifact in found
            if artifact.age <= asked.age and artifact.header.database_id == asked.header.database_id
        ]
    newest = {artifact.header.database_id: artifact for artifact in found}
    if arguments.on("--latest-chain"):
        rows = [link for end in newest.values() for link in chains.latest_chain(found, end, context.version)]
        full_first = asked is None and context.version >= FULL_FIRST_SINCE
        return rows if full_first else _newest_first(rows)
    if arguments.on("--latest-backup"):
        return _newest_first(list(newest.values()))
    return _newest_first(found if asked is None else [asked])


def _found(path: str) -> tuple[list[Artifact], Artifact | None]:
    """Return the artifacts of the folder, and the artifact at `path` if it is a file."""
    if path.startswith(CLOUD):
        raise CommandError(f"The stand-in reads local folders only, not '{path}'")
    named = Path(path).absolute()
    if not named.exists():
        raise CommandError(f"{path} does not exist")
    try:
        asked = None if named.is_dir() else Artifact(named, read_header(named))
    except NotAnArtifactError as error:
        raise CommandError("Failed to list archive files", str(error)) from error
    found, unreadable = chains.scan(named if asked is None else named.parent)
    if unreadable and asked is None:
        raise CommandError("Failed to list archive files", *(f"{file}: {why}" for file, why in unreadable))
    return found, asked


def _newest_first(rows: list[Artifact]) -> list[Artifact]:
    by_age = sorted(rows, key=lambda row: row.age, reverse=True)
    return sorted(by_age, key=lambda row: row.header.database, reverse=True)


def _shows_metadata(context: Context) -> bool:
    return context.version >= ALWAYS_METADATA_SINCE or context.arguments.on("--show-metadata")


def _columns(version: Version, *, time_name: str, bare: bool) -> list[Column]:
    columns: list[Column] = [("FILE", lambda row: row.path.as_uri())]
    if bare:
        return columns
    columns += [
        ("DATABASE", lambda row: row.header.database),
        ("DATABASE ID", lambda row: str(row.header.database_id)),
        (time_name, _time),
        ("FULL", lambda row: _word(row.header.full)),
        ("COMPRESSED", lambda row: _word(row.header.compressed)),
        ("LOWEST TX", lambda row: str(row.header.lowest)),
        ("HIGHEST TX", lambda row: str(row.header.highest)),
    ]
    if STORE_ID_HASH[0] <= version < STORE_ID_HASH[1]:
        columns.append(("STORE ID HASH", lambda row: str(zlib.crc32(row.header.store.to_bytes()) - (1 << 31))))
    if version >= RECOVERED_SINCE:
        columns.append(("RECOVERED", lambda row: _word(row.header.recovered)))
    return columns


def table(rows: list[Artifact], columns: list[Column]) -> str:
    """Return a table in Neo4j's layout: right-aligned cells between bars."""
    cells = [[name for name, _ in columns], *([cell(row) for _, cell in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "| " + " | ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    )


def _json(rows: list[Artifact], *, bare: bool) -> str:
    objects = [
        {"uri": row.path.as_uri()}
        if bare
        else {
            "uri": row.path.as_uri(),
            "database": row.header.database,
            "databaseId": str(row.header.database_id),
            "time": _time(row),
            "full": row.header.full,
            "compressed": row.header.compressed,
            "lowestTx": row.header.lowest,
            "highestTx": row.header.highest,
            "recovered": row.header.recovered,
        }
        for row in rows
    ]
    return json.dumps(objects, separators=(",", ":"))


def _time(row: Artifact) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(row.header.taken))


def _word(value: bool) -> str:
    return "true" if value else "false"

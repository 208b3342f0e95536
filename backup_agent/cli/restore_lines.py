"""The commands that restore one artifact, made only from records: neither the agent nor Bolt is needed.

The commands follow Neo4j's manual by version (pages restore-backup, seed-from-uri, recreate-database, disaster
recovery). They have not been run on Enterprise, and the printed text says so. A database of a cluster is never restored
with --overwrite-destination, because the servers hold state in addition to the store. `system` is never seeded. A seed
contains only the store, without users and roles.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap

from backup_agent.core.artifacts.keys import artifact_key
from backup_agent.core.artifacts.records import Record
from backup_agent.core.capabilities import OLDEST, Version
from backup_agent.core.escaping import cypher_name, cypher_string, printable, shell_comment, shell_word
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.stores.kind import RestoreAccess

_AGGREGATE_RENAMED = Version(2025, 1)
_SOURCE_DATABASE = Version(2025, 2)
_RECREATE_RENAMED = Version(2025, 4)
_CYPHER_25 = Version(2025, 6)
_CLOUD_SEED_ALONE = Version(2025, 1)
NEWEST = Version(2026, 9)
"""The newest version whose manual these commands follow."""

_WIDTH = 110
_UNMEASURED = "from Neo4j's manual; not run on Neo4j Enterprise here"


@dataclass(frozen=True)
class ChainSource:
    """A place that has the chain."""

    place: str
    root: str
    """The storage root of the volume, or the URI of a destination."""
    access: RestoreAccess | None = None
    """How to read from a destination; None for the volume."""
    unasked: bool = False
    """True if the destination was unreachable, so that nothing is known about the chain there."""


@dataclass(frozen=True)
class RestoreStep:
    """One step: a title, and the lines to paste into a shell, or into cypher-shell on database `system`."""

    title: str
    lines: tuple[str, ...] = ()
    language: str = "sh"


def version_of(record: Record, asked: str | None) -> Version:
    """Return the version of Neo4j to restore with: `asked` if given, else the version that took the backup.

    Raise PermanentError if the version is unknown, not supported, or older than the version that took the backup.
    """
    taken = Version.parse(record.admin_version or record.server_version or "")
    if asked is not None and (given := Version.parse(asked)) is None:
        raise PermanentError(Reason.INVALID_REQUEST, f"{asked!r} is not a version of Neo4j", "write it as 5.26.31")
    version = given if asked is not None else taken
    if version is None:
        raise PermanentError(
            Reason.NOT_FOUND,
            f"{record.key}: the record has no version of Neo4j, and the restore commands depend on the version",
            "add --neo4j-version with the version of the servers that restore, such as --neo4j-version 5.26.31",
        )
    if version < OLDEST:
        raise PermanentError(
            Reason.INVALID_REQUEST,
            f"{version}: restore commands are known from {OLDEST} on",
            "see the manual of that version",
        )
    if taken is not None and version < taken:
        raise PermanentError(
            Reason.INVALID_REQUEST,
            f"{record.key} was taken by Neo4j {taken}, and {version} cannot restore the backup of a newer version",
            f"restore with {taken} or newer",
        )
    return version


def steps(
    chain: Sequence[Record], *, source: ChainSource, seed: ChainSource | None, version: Version
) -> tuple[RestoreStep, ...]:
    """Return the steps that restore the last artifact of a chain.

    `chain` is in the order of the restore, the full first. `source` and `seed` have the whole chain; `seed` is a
    destination that the servers of a cluster can read. `version` is that of neo4j-admin and of the servers.
    """
    point = chain[-1]
    if point.database == "system":
        return (*_fetch(chain, source), *_system(chain, version))
    return (
        _caution(point),
        *_fetch(chain, source),
        *_standalone(point, version),
        *(_from_seed(chain, seed, version) if seed else ()),
        *_from_one_server(point, version),
        _watch(point),
    )


def script(record: Record, found: Sequence[RestoreStep], *, source: ChainSource, version: Version) -> str:
    """Return the steps as one text: titles as comments, then the lines to paste."""
    return "\n".join(_lines(record, found, source, version)) + "\n"


def _lines(record: Record, found: Sequence[RestoreStep], source: ChainSource, version: Version) -> Iterator[str]:
    yield shell_comment(f"{record.key} at {source.place}, as of {record.header.taken:%Y-%m-%d %H:%M:%S} UTC")
    yield shell_comment(f"Neo4j {version}: {_UNMEASURED}")
    if (version.major, version.minor) > (NEWEST.major, NEWEST.minor):
        yield shell_comment(
            f"NOTE: {version} is newer than the manual these commands follow ({NEWEST}): read its own manual"
        )
    for step in found:
        yield ""
        where = "[cypher-shell -d system] " if step.language == "cypher" else ""
        title = printable(where + step.title)
        yield from wrap(title, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
        yield from step.lines


def _caution(point: Record) -> RestoreStep:
    return RestoreStep(
        f"Read everything first. A database that is overwritten, replaced or dropped below is lost, with all that was "
        f"committed since {point.header.taken:%Y-%m-%d %H:%M:%S} UTC: if it still runs, take a backup of it first. To "
        f"keep it, restore under another name on a standalone server: use that name as the last word of the restore "
        f"line and in the Cypher after it, and leave out STOP and --overwrite-destination"
    )


def _fetch(chain: Sequence[Record], source: ChainSource) -> tuple[RestoreStep, ...]:
    files = [
        (f"{source.root}/{artifact_key(one.set, one.database, file.name)}", file) for one in chain for file in one.files
    ]
    setup = source.access.setup if source.access else ()
    copy = source.access.fetch if source.access else "cp --"
    size = sum(file.size for _, file in files)
    make = 'FOLDER=$(mktemp -d "$PWD/restore.XXXXXX")  # needs room for the chain and the database'
    verb = "Fetch" if source.access else "Copy"
    return (
        RestoreStep(
            f"{verb} the chain from {source.place} in order, into an empty folder where neo4j-admin runs, as the user "
            f"that runs Neo4j: no other user can read the folder ({len(chain)} artifacts, {size} bytes)",
            (make, *setup, *(f'{copy} {shell_word(where)} "$FOLDER/"' for where, _ in files)),
        ),
        RestoreStep(
            "Check the files: continue only if every line says OK",
            (
                "printf '%s  %s\\n' \\",
                *(f"  {shell_word(file.sha256)} {shell_word(file.name)} \\" for _, file in files),
                '  | (cd "$FOLDER" && sha256sum -c)',
            ),
        ),
    )


def _standalone(point: Record, version: Version) -> Iterator[RestoreStep]:
    database, name = shell_word(point.database), cypher_name(point.database)
    yield RestoreStep(
        "Standalone server: if the database exists, stop it, and check that it is offline. If Neo4j itself is "
        "stopped, leave out this step and START",
        (f"STOP DATABASE {name};", f"SHOW DATABASE {name} YIELD name, address, currentStatus;"),
        "cypher",
    )
    yield RestoreStep(
        "Standalone server: restore the database, as the user that runs Neo4j. neo4j-admin finds the rest of the chain "
        "beside this artifact. To restore to an earlier time add --restore-until='YYYY-MM-DD hh:mm:ss' (UTC: only "
        "transactions committed before it) or --restore-until=N (only transactions before N)",
        (_TEMP, f"{_restore(point)} --overwrite-destination=true {database}"),
    )
    if version >= _SOURCE_DATABASE:
        by_folder = f'--from-path="$FOLDER" --source-database={database} --temp-path="$FOLDER/temp"'
        yield RestoreStep(
            "Or restore from the folder instead, which contains only this chain",
            (f"neo4j-admin database restore {by_folder} --overwrite-destination=true {database}",),
        )
    yield RestoreStep(
        "Standalone server: start the database, if it was stopped", (f"START DATABASE {name};",), "cypher"
    )
    yield RestoreStep("or create it, if it did not exist on this server", (f"CREATE DATABASE {name};",), "cypher")
    yield _metadata(point.database)


def _from_seed(chain: Sequence[Record], seed: ChainSource, version: Version) -> Iterator[RestoreStep]:
    point = chain[-1]
    name, uri = cypher_name(point.database), cypher_string(f"{seed.root}/{point.key}")
    procedure = "dbms.recreateDatabase" if version >= _RECREATE_RENAMED else "dbms.cluster.recreateDatabase"
    needs = [*(seed.access.server_needs if seed.access else ())]
    if version < _CLOUD_SEED_ALONE:
        # CloudSeedProvider finds the chain of a differential. S3SeedProvider is not known to do so.
        needs.append("dbms.databases.seed_from_uri_providers=CloudSeedProvider (its default has S3SeedProvider first)")
    unasked = (
        f"{seed.place} could not be reached from here: first check that the chain is there and undamaged "
        f"(--place {shell_word(seed.place)}). "
    )
    yield RestoreStep(
        f"{unasked if seed.unasked else ''}Cluster whose servers read from {seed.place}: each server needs "
        f"{', '.join(needs)}. If the database exists, its content is replaced and its privileges are kept",
        (f"CALL {procedure}({cypher_string(point.database)}, {{seedURI: {uri}}});",),
        "cypher",
    )
    create = (
        f"CYPHER 25 CREATE DATABASE {name} OPTIONS {{seedURI: {uri}}};"
        if version >= _CYPHER_25
        else f"CREATE DATABASE {name} OPTIONS {{existingData: 'use', seedURI: {uri}}};"
    )
    yield RestoreStep(
        "or, if the database does not exist. A seed contains no users and roles: only `database restore`, on any "
        "server, writes the restore_metadata.cypher that creates them",
        (create,),
        "cypher",
    )


def _from_one_server(point: Record, version: Version) -> Iterator[RestoreStep]:
    name = cypher_name(point.database)
    yield RestoreStep(
        "Cluster, from one of its servers: if the database exists, drop it, and its privileges with it. Continue when "
        "it is no longer listed",
        (f"DROP DATABASE {name};", f"SHOW DATABASE {name} YIELD name, address, currentStatus;"),
        "cypher",
    )
    yield RestoreStep(
        "Restore the database on that server, never with --overwrite-destination",
        (_TEMP, f"{_restore(point)} {shell_word(point.database)}"),
    )
    options = "existingDataSeedServer: 'SERVER-ID'"
    create = (
        f"CYPHER 25 CREATE DATABASE {name} OPTIONS {{{options}}};"
        if version >= _CYPHER_25
        else f"CREATE DATABASE {name} OPTIONS {{existingData: 'use', {options}}};"
    )
    yield RestoreStep(
        "Create the database from that server: replace SERVER-ID by its serverId",
        ("SHOW SERVERS YIELD serverId, name, address;", create),
        "cypher",
    )
    yield _metadata(point.database)


def _watch(point: Record) -> RestoreStep:
    return RestoreStep(
        "Repeat until every copy is online. If one is not, statusMessage and the debug.log of its server say why",
        (f"SHOW DATABASE {cypher_name(point.database)} YIELD name, address, role, currentStatus, statusMessage;",),
        "cypher",
    )


def _metadata(database: str) -> RestoreStep:
    script = f'"$NEO4J_HOME"/data/scripts/{shell_word(database)}/restore_metadata.cypher'
    parameter = shell_word(f"database => {cypher_string(database)}")
    return RestoreStep(
        "Users and roles, if the backup contains them: the restore wrote this script on the server where it ran",
        (f"cat {script} | cypher-shell -d system --param {parameter}",),
    )


def _system(chain: Sequence[Record], version: Version) -> Iterator[RestoreStep]:
    if len(chain) > 1:
        aggregate = "backup aggregate" if version >= _AGGREGATE_RENAMED else "database aggregate-backup"
        yield RestoreStep(
            "Aggregate the chain into one full, which replaces it. Read the output: the exit code is 0 even on failure",
            (f"neo4j-admin {aggregate} --from-path={_in_folder(chain[-1])}",),
        )
    yield RestoreStep(
        "Stop Neo4j on every server. `system` is never seeded: all databases are down until the last step, and users, "
        "roles, databases and servers will be those at the time of the backup"
    )
    yield RestoreStep(
        "On each server, with only this full in $FOLDER",
        (
            "neo4j-admin dbms unbind-system-db",
            'neo4j-admin database load --from-path="$FOLDER" --overwrite-destination=true system',
        ),
    )
    yield RestoreStep("Start Neo4j on every server, and check", ("SHOW SERVERS;", "SHOW DATABASES;"), "cypher")


_TEMP = 'mkdir -p "$FOLDER/temp"'


def _restore(point: Record) -> str:
    return f'neo4j-admin database restore --from-path={_in_folder(point)} --temp-path="$FOLDER/temp"'


def _in_folder(record: Record) -> str:
    return f'"$FOLDER"/{shell_word(record.files[0].name)}'

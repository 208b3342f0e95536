"""The exact lines that restore one point, from records alone: for 3 a.m., without agent or Bolt.

The commands are those of Neo4j's manual by version (pages restore-backup, seed-from-uri, recreate-database, disaster
recovery); none of them was run on Enterprise here, which the text says. What a newcomer would get wrong: a cluster is
never restored with --overwrite-destination, since its servers hold state of their own beside the store; `system` is
never seeded; and a seed brings the store alone, no users and roles.
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
"""The newest version whose manual these lines follow."""

_WIDTH = 110
_UNMEASURED = "from Neo4j's manual; not run on Neo4j Enterprise here"


@dataclass(frozen=True)
class ChainSource:
    """A place that holds the chain."""

    place: str
    root: str
    """The storage root; of a destination its URI."""
    access: RestoreAccess | None = None
    """How a destination is read; None for the volume."""
    unasked: bool = False
    """Whether the destination could not be asked whether the chain is still there, and undamaged."""


@dataclass(frozen=True)
class RestoreStep:
    """What to do, in words, and the lines to paste: for a shell, or for cypher-shell on database `system`."""

    title: str
    lines: tuple[str, ...] = ()
    language: str = "sh"


def version_of(record: Record, asked: str | None) -> Version:
    """Return the version whose lines are printed: that of the servers that restore, if given, else the backup's.

    Raise PermanentError if no version is known, or if it has no lines here or is older than the backup's.
    """
    taken = Version.parse(record.admin_version or record.server_version or "")
    if asked is not None and (told := Version.parse(asked)) is None:
        raise PermanentError(Reason.INVALID_REQUEST, f"{asked!r} is no version of Neo4j", "write it as 5.26.31")
    version = told if asked is not None else taken
    if version is None:
        raise PermanentError(
            Reason.NOT_FOUND,
            f"{record.key}: its record does not say which version of Neo4j took it, and the lines differ by version",
            "give that of the servers that restore, as `neo4j-admin --version` prints it: --neo4j-version 5.26.31",
        )
    if version < OLDEST:
        raise PermanentError(
            Reason.INVALID_REQUEST,
            f"{version}: the lines are known from {OLDEST} on",
            "see that version's manual",
        )
    if taken is not None and version < taken:
        raise PermanentError(
            Reason.INVALID_REQUEST,
            f"{record.key} was taken by Neo4j {taken}, and {version} does not restore what a newer version took",
            f"restore with {taken} or newer",
        )
    return version


def steps(
    chain: Sequence[Record], *, source: ChainSource, seed: ChainSource | None, version: Version
) -> tuple[RestoreStep, ...]:
    """Return how the last artifact of a chain is restored.

    `chain` goes from the full to the point, and `source` has all of it; `seed` is a destination that has it too, which
    the servers of a cluster may read themselves. `version` is that of neo4j-admin and of the servers that restore.
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
    """Return the steps as one text to read and to paste from."""
    return "\n".join(_lines(record, found, source, version)) + "\n"


def _lines(record: Record, found: Sequence[RestoreStep], source: ChainSource, version: Version) -> Iterator[str]:
    yield shell_comment(f"{record.key} at {source.place}, as of {record.header.taken:%Y-%m-%d %H:%M:%S} UTC")
    yield shell_comment(f"Neo4j {version}: {_UNMEASURED}")
    if (version.major, version.minor) > (NEWEST.major, NEWEST.minor):
        yield shell_comment(
            f"NOTE: {version} is newer than the manual these lines follow ({NEWEST}): look into its own"
        )
    for step in found:
        yield ""
        where = "[cypher-shell -d system] " if step.language == "cypher" else ""
        title = printable(where + step.title)
        yield from wrap(title, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
        yield from step.lines


def _caution(point: Record) -> RestoreStep:
    return RestoreStep(
        f"Read all of it first. What is overwritten, replaced or dropped below is gone, with all that was committed "
        f"since {point.header.taken:%Y-%m-%d %H:%M:%S} UTC: take a backup of it first if it still runs. To keep it, "
        f"restore under another name on a standalone server: write that for the last word of the restore line and in "
        f"the Cypher after it, and leave out STOP and --overwrite-destination"
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
            f"{verb} the chain from {source.place}, in its order, into an empty folder where neo4j-admin runs, as the "
            f"user that runs Neo4j: no other may look into it ({len(chain)} artifacts, {size} bytes)",
            (make, *setup, *(f'{copy} {shell_word(where)} "$FOLDER/"' for where, _ in files)),
        ),
        RestoreStep(
            "Check it: go on only if every line says OK",
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
        "Standalone server: stop the database, if it exists, and see that it is offline. If Neo4j itself is "
        "stopped, leave out this and START",
        (f"STOP DATABASE {name};", f"SHOW DATABASE {name} YIELD name, address, currentStatus;"),
        "cypher",
    )
    yield RestoreStep(
        "Standalone server: restore it, as the user that runs Neo4j; the chain that ends with this artifact is found "
        "beside it. To stop sooner add --restore-until='YYYY-MM-DD hh:mm:ss' (UTC, what was committed before) or "
        "--restore-until=N (up to transaction N, without it)",
        (_TEMP, f"{_restore(point)} --overwrite-destination=true {database}"),
    )
    if version >= _SOURCE_DATABASE:
        by_folder = f'--from-path="$FOLDER" --source-database={database} --temp-path="$FOLDER/temp"'
        yield RestoreStep(
            "Or restore from the folder instead, which holds this chain alone",
            (f"neo4j-admin database restore {by_folder} --overwrite-destination=true {database}",),
        )
    yield RestoreStep(
        "Standalone server: start the database, if it was stopped", (f"START DATABASE {name};",), "cypher"
    )
    yield RestoreStep("or create it, if the server did not know it", (f"CREATE DATABASE {name};",), "cypher")
    yield _metadata(point.database)


def _from_seed(chain: Sequence[Record], seed: ChainSource, version: Version) -> Iterator[RestoreStep]:
    point = chain[-1]
    name, uri = cypher_name(point.database), cypher_string(f"{seed.root}/{point.key}")
    procedure = "dbms.recreateDatabase" if version >= _RECREATE_RENAMED else "dbms.cluster.recreateDatabase"
    needs = [*(seed.access.server_needs if seed.access else ())]
    if version < _CLOUD_SEED_ALONE:
        # Of the two only this one is known to find the chain that a differential ends.
        needs.append("dbms.databases.seed_from_uri_providers=CloudSeedProvider (its default has S3SeedProvider first)")
    unasked = (
        f"{seed.place} could not be asked from here: that the chain is there, and undamaged, is to be looked at first "
        f"(--place {shell_word(seed.place)}). "
    )
    yield RestoreStep(
        f"{unasked if seed.unasked else ''}Cluster, its servers read {seed.place} themselves; each needs "
        f"{', '.join(needs)}. If the database exists, its content is replaced, and its privileges stay",
        (f"CALL {procedure}({cypher_string(point.database)}, {{seedURI: {uri}}});",),
        "cypher",
    )
    create = (
        f"CYPHER 25 CREATE DATABASE {name} OPTIONS {{seedURI: {uri}}};"
        if version >= _CYPHER_25
        else f"CREATE DATABASE {name} OPTIONS {{existingData: 'use', seedURI: {uri}}};"
    )
    yield RestoreStep(
        "or, if it does not exist. A seed brings no users and roles: `database restore` alone, on any server, "
        "writes the restore_metadata.cypher that does",
        (create,),
        "cypher",
    )


def _from_one_server(point: Record, version: Version) -> Iterator[RestoreStep]:
    name = cypher_name(point.database)
    yield RestoreStep(
        "Cluster, from one of its servers: drop the database, if it exists, and its privileges with it; go on when "
        "nothing is listed any more",
        (f"DROP DATABASE {name};", f"SHOW DATABASE {name} YIELD name, address, currentStatus;"),
        "cypher",
    )
    yield RestoreStep(
        "Restore it on that server, never with --overwrite-destination",
        (_TEMP, f"{_restore(point)} {shell_word(point.database)}"),
    )
    options = "existingDataSeedServer: 'SERVER-ID'"
    create = (
        f"CYPHER 25 CREATE DATABASE {name} OPTIONS {{{options}}};"
        if version >= _CYPHER_25
        else f"CREATE DATABASE {name} OPTIONS {{existingData: 'use', {options}}};"
    )
    yield RestoreStep(
        "Create it from that server, its serverId in the place of SERVER-ID",
        ("SHOW SERVERS YIELD serverId, name, address;", create),
        "cypher",
    )
    yield _metadata(point.database)


def _watch(point: Record) -> RestoreStep:
    return RestoreStep(
        "Ask until every copy is online; statusMessage and the debug.log of its server say why one is not",
        (f"SHOW DATABASE {cypher_name(point.database)} YIELD name, address, role, currentStatus, statusMessage;",),
        "cypher",
    )


def _metadata(database: str) -> RestoreStep:
    script = f'"$NEO4J_HOME"/data/scripts/{shell_word(database)}/restore_metadata.cypher'
    parameter = shell_word(f"database => {cypher_string(database)}")
    return RestoreStep(
        "Users and roles, if the backup holds them: the restore wrote them down on the server where it ran",
        (f"cat {script} | cypher-shell -d system --param {parameter}",),
    )


def _system(chain: Sequence[Record], version: Version) -> Iterator[RestoreStep]:
    if len(chain) > 1:
        aggregate = "backup aggregate" if version >= _AGGREGATE_RENAMED else "database aggregate-backup"
        yield RestoreStep(
            "Make one full of the chain, which then stands there alone; it exits 0 also when it fails: read its words",
            (f"neo4j-admin {aggregate} --from-path={_in_folder(chain[-1])}",),
        )
    yield RestoreStep(
        "Stop Neo4j on every server. `system` is never seeded: all databases are down until the end, and users, roles, "
        "databases and servers will be those of that moment"
    )
    yield RestoreStep(
        "On each server, with the same full alone in $FOLDER",
        (
            "neo4j-admin dbms unbind-system-db",
            'neo4j-admin database load --from-path="$FOLDER" --overwrite-destination=true system',
        ),
    )
    yield RestoreStep("Start Neo4j on every server, and look", ("SHOW SERVERS;", "SHOW DATABASES;"), "cypher")


_TEMP = 'mkdir -p "$FOLDER/temp"'


def _restore(point: Record) -> str:
    return f'neo4j-admin database restore --from-path={_in_folder(point)} --temp-path="$FOLDER/temp"'


def _in_folder(record: Record) -> str:
    return f'"$FOLDER"/{shell_word(record.files[0].name)}'

"""The exact lines that restore one point, from records alone: for 3 a.m., without agent or Bolt.

The commands are those of Neo4j's manual by version (pages restore-backup, seed-from-uri, recreate-database, disaster
recovery); none of them was run on Enterprise here, which the text says. A cluster is never restored with
--overwrite-destination: its servers hold state of their own beside the store. `system` is never seeded.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from backup_agent.core.capabilities import Version
from backup_agent.core.records import Record

_RECREATE_RENAMED = Version(2025, 4)
_CYPHER_25 = Version(2025, 6)
_AGGREGATE_RENAMED = Version(2025, 1)
_UNMEASURED = "from Neo4j's manual; not run on Neo4j Enterprise here"


@dataclass(frozen=True)
class Step:
    """What to do, in words, and the lines to paste: for a shell, or for cypher-shell on database `system`."""

    title: str
    lines: tuple[str, ...]
    language: str = "sh"


def steps(chain: Sequence[Record], *, root: str, seed: str | None, version: Version | None) -> tuple[Step, ...]:
    """Return how the last artifact of a chain is restored.

    `chain` goes from the full to the point; `root` is the storage root that holds it, `seed` the same as an S3 URI
    without a slash at its end, where the whole chain has a copy. `version` is that of the neo4j-admin and the servers
    which restore: that of the backup or newer; None is taken for 5.26.
    """
    known = version or Version(5, 26)
    point = chain[-1]
    if point.database == "system":
        return (*_fetch(chain, root), *_system(chain, known))
    return (*_fetch(chain, root), *_standalone(point), *_cluster(point, seed, known))


def _fetch(chain: Sequence[Record], root: str) -> tuple[Step, ...]:
    folder = f"{root}/{chain[-1].set}/{chain[-1].database}"
    files = [file for record in chain for file in record.files]
    size = sum(file.size for file in files)
    copies = tuple(f'cp -- {_quoted(f"{folder}/{file.name}")} "$FOLDER/"' for file in files)
    sums = tuple(f"{file.sha256}  {file.name}" for file in files)
    return (
        Step(
            f"Copy the chain, {len(chain)} artifacts, {size} bytes, into an empty folder where neo4j-admin runs",
            ("FOLDER=$(mktemp -d ./restore.XXXXXX)  # on a volume with room for the chain and the database", *copies),
        ),
        Step("Check it", ("(cd \"$FOLDER\" && sha256sum --check) <<'SUMS'", *sums, "SUMS")),
    )


def _standalone(point: Record) -> tuple[Step, ...]:
    database = point.database
    return (
        Step(
            f"Standalone server: stop the database, if it exists ({_UNMEASURED})",
            (f"STOP DATABASE `{database}`;",),
            "cypher",
        ),
        Step(
            "Restore it, as the user neo4j; the chain that ends here is found in the folder. To stop earlier add "
            "--restore-until='YYYY-MM-DD hh:mm:ss' (UTC, before) or --restore-until=N (before transaction N)",
            (
                'mkdir -p "$FOLDER/temp"',
                _restore(point) + f" --overwrite-destination=true {database}",
            ),
        ),
        Step(
            f"Start it, or create it where it is new: CREATE DATABASE `{database}`;",
            (f"START DATABASE `{database}`;",),
            "cypher",
        ),
    )


def _cluster(point: Record, seed: str | None, version: Version) -> tuple[Step, ...]:
    database = point.database
    watch = Step(
        "Ask until every copy is online; why one is not stands in statusMessage and the server's debug.log",
        (f"SHOW DATABASE `{database}` YIELD name, address, currentStatus, statusMessage;",),
        "cypher",
    )
    if seed is None:
        create = f"CREATE DATABASE `{database}` OPTIONS {{existingData: 'use', existingDataSeedServer: 'SERVER-ID'}};"
        return (
            Step(f"Cluster: drop the database first ({_UNMEASURED})", (f"DROP DATABASE `{database}`;",), "cypher"),
            Step(
                "Restore it on one server, without --overwrite-destination",
                (
                    'mkdir -p "$FOLDER/temp"',
                    f"{_restore(point)} {database}",
                ),
            ),
            Step(
                "Create it from that server: put its id for SERVER-ID",
                ("SHOW SERVERS YIELD serverId, address;", create),
                "cypher",
            ),
            watch,
        )
    uri = f"{seed}/{point.key}"
    procedure = "dbms.recreateDatabase" if version >= _RECREATE_RENAMED else "dbms.cluster.recreateDatabase"
    create = (
        f"CYPHER 25 CREATE DATABASE `{database}` OPTIONS {{seedURI: '{uri}'}};"
        if version >= _CYPHER_25
        else f"CREATE DATABASE `{database}` OPTIONS {{existingData: 'use', seedURI: '{uri}'}};"
    )
    return (
        Step(
            f"Cluster, the database exists: its content is replaced. The servers fetch it, and need credentials, "
            f"region and endpoint of the bucket ({_UNMEASURED})",
            (f"CALL {procedure}('{database}', {{seedURI: '{uri}'}});",),
            "cypher",
        ),
        Step("Cluster, the database does not exist", (create,), "cypher"),
        watch,
    )


def _system(chain: Sequence[Record], version: Version) -> tuple[Step, ...]:
    aggregate = "backup aggregate" if version >= _AGGREGATE_RENAMED else "database aggregate-backup"
    merged: tuple[Step, ...] = ()
    if len(chain) > 1:
        merged = (
            Step(
                "Make one full of the chain; it exits 0 also when it fails: read what it says",
                (f'neo4j-admin {aggregate} --from-path="$FOLDER/{chain[-1].files[0].name}"',),
            ),
        )
    return (
        *merged,
        Step("Stop Neo4j on every server: `system` is never seeded, and all databases are down until the end", ()),
        Step(
            f"On each server, with the full alone in $FOLDER ({_UNMEASURED}; load of a full measured on Community)",
            (
                "neo4j-admin dbms unbind-system-db",
                'neo4j-admin database load --from-path="$FOLDER" --overwrite-destination=true system',
            ),
        ),
        Step("Start Neo4j on every server, and look", ("SHOW SERVERS;", "SHOW DATABASES;"), "cypher"),
    )


def _restore(point: Record) -> str:
    return f'neo4j-admin database restore --from-path="$FOLDER/{point.files[0].name}" --temp-path="$FOLDER/temp"'


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"

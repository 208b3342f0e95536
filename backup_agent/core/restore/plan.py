"""The plan of a restore: a value that is made from facts, can be printed, and says everything that is to be done.

The commands and statements follow Neo4j's manual by version. They were not run on Neo4j Enterprise by this project.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import timedelta

from backup_agent.core.artifacts.names import BEFORE_RESTORE, DatabaseName, database_name, lowered
from backup_agent.core.capabilities import Version
from backup_agent.core.escaping import first_few, quoted
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.restore.blocks import blocks_of
from backup_agent.core.restore.facts import Known, Source, Wanted
from backup_agent.core.restore.moments import in_utc
from backup_agent.core.restore.scene import Block, Scene
from backup_agent.core.restore.ways import SERVER_SEEDS, Situation, Way, way_of

NEWEST = Version(2026, 9)
"""The newest version whose manual the plans follow."""

RATE = 50_000_000
"""Bytes a second that are assumed for the duration of a restore, since nothing was measured."""

NEW_NAME = re.compile(r"(?!system)[a-z][a-z0-9.-]{2,62}")
"""Neo4j's rule for the name of a new database, in lower case: 3 to 63 characters, a letter first."""
_LONGEST_NAME = 63
_BESIDE = "-restored"


@dataclass(frozen=True)
class Room:
    """Bytes that a restore needs on a volume, at least."""

    where: str
    size: int
    why: str


@dataclass(frozen=True)
class RestorePlan:
    """The steps of a restore in their order, and what a person should know before the first one."""

    scene: Scene
    blocks: tuple[Block, ...]
    lost: tuple[str, ...]
    """What is overwritten or lost, and how it can be recovered."""
    room: tuple[Room, ...]
    duration: timedelta
    """Expected duration at `RATE`."""
    afterwards: tuple[str, ...]
    """What is left to do."""
    notes: tuple[str, ...]


def plan(source: Source, known: Known, wanted: Wanted) -> RestorePlan | Failure:
    """Return the plan of a restore, or the reason why the restore is not possible."""
    database = lowered(source.last.database)
    taken = source.last.admin_version or source.last.server_version
    if (newest := Version.parse(taken or "")) is not None and known.version < newest:
        return Failure(
            Reason.INVALID_REQUEST,
            f"{source.last.key} was taken by Neo4j {newest}, and {known.version} cannot restore the backup of a newer "
            "version",
            f"restore on servers with {newest} or newer; if they have been upgraded since, add --neo4j-version",
        )
    situation = Situation(
        database=database,
        version=known.version,
        cluster=known.cluster,
        readable=bool(source.uri),
        replace=wanted.replace,
        cut=source.until is not None or source.before_tx is not None,
    )
    way = way_of(situation, wanted.way)
    if isinstance(way, Failure):
        return way
    target, rehearsal = database, None
    if way is not Way.SYSTEM:
        name = _name_beside(database, known, wanted)
        if isinstance(name, Failure):
            return name
        target, rehearsal = (database, name) if wanted.replace else (name, None)
    scene = Scene(source, known, way, target, rehearsal)
    return RestorePlan(
        scene=scene,
        blocks=tuple(blocks_of(scene)),
        lost=tuple(_lost(scene)),
        room=tuple(_room(scene)),
        duration=_duration(scene),
        afterwards=tuple(_afterwards(scene)),
        notes=tuple(_notes(scene)),
    )


def free_name(database: DatabaseName, taken: Collection[DatabaseName]) -> DatabaseName:
    """Return a name for a database beside an existing one: legal for Neo4j, and not taken.

    >>> free_name(database_name("orders"), ()), free_name(database_name("orders"), {database_name("orders-restored")})
    ('orders-restored', 'orders-restored-2')
    """
    stem = database if NEW_NAME.match(f"{database}---") else f"db-{database}"
    number = 1
    while True:
        suffix = _BESIDE if number == 1 else f"{_BESIDE}-{number}"
        name = database_name(f"{stem[: _LONGEST_NAME - len(suffix)]}{suffix}")
        if name not in taken:
            return name
        number += 1


def _name_beside(database: DatabaseName, known: Known, wanted: Wanted) -> DatabaseName | Failure:
    """Return the name under which the database is restored first: its own if it does not exist, else a free one."""
    taken = {lowered(name) for name in known.databases}
    exists = known.seen is None or database in taken
    if wanted.replace and not exists:
        return Failure(
            Reason.NO_SUCH_DATABASE,
            f"{database} is not listed, so there is nothing to replace",
            f"leave out --replace: it is then restored as {database}",
        )
    if wanted.name is None:
        return free_name(database, taken | {database}) if exists else database
    name = wanted.name.lower()
    if not NEW_NAME.fullmatch(name):
        return Failure(
            Reason.INVALID_REQUEST,
            f"{quoted(wanted.name)} is not a name that Neo4j allows for a database",
            "use 3 to 63 letters, digits, dots and dashes, with a letter first, and not beginning with system",
        )
    if name in taken:
        return Failure(
            Reason.ALREADY_EXISTS,
            f"{quoted(wanted.name)} is the name of an existing database or alias",
            f"use another name, such as {free_name(database, taken)}, or --replace to replace {database}",
        )
    return database_name(name)


def _lost(scene: Scene) -> Iterator[str]:
    database = scene.target
    if scene.way is Way.SYSTEM:
        yield (
            "users, roles, privileges, aliases, servers and the list of databases become those of the time of the "
            "backup; all databases are down meanwhile"
        )
        return
    if scene.rehearsal is None:
        return
    yield (
        f"what was committed to {database} after the restored point; the backup of its present state in the set "
        f"{BEFORE_RESTORE} has it"
    )
    if scene.drops:
        names = f": {first_few(scene.aliases)}" if scene.aliases else ""
        yield f"its aliases{names}; the plan drops and creates those that it names"
        yield "its privileges; the statements in the output of SHOW ALL PRIVILEGES AS COMMANDS give them back"
        yield "home databases of users; ALTER USER gives them back"
        yield "its access, default language and options; the plan gives back those that are recorded"


def _stored(scene: Scene) -> int:
    """Return about how many bytes the restored database takes: unpacked, if that was counted."""
    return sum(one.raw_size or one.size for one in scene.source.chain)


def _chain_size(scene: Scene) -> int:
    return sum(one.size for one in scene.source.chain)


def _room(scene: Scene) -> Iterator[Room]:
    copies = 1 if scene.rehearsal is None else 2
    twice = ", twice: as the rehearsal and as the restored database" if scene.rehearsal else ""
    volume = (
        "the data volume of each server with a copy" if scene.known.cluster else f"the data volume of {scene.server}"
    )
    yield Room(volume, copies * _stored(scene), f"the database{twice}")
    if scene.way in (Way.SERVER_SEED, Way.SERVER_RECREATE):
        yield Room(f"{scene.folder} on {scene.server}", _chain_size(scene), "the artifacts")
    elif scene.way in (Way.ONE_SERVER, Way.STANDALONE):
        yield Room(
            f"{scene.folder} on {scene.server}",
            _chain_size(scene) + _stored(scene),
            "the artifacts, and temporary files of neo4j-admin",
        )
    elif scene.way is Way.SYSTEM:
        yield Room(f"{scene.folder} on each server", 2 * _chain_size(scene), "the artifacts")


def _duration(scene: Scene) -> timedelta:
    runs = 1 if scene.rehearsal is None else 2
    return timedelta(seconds=round((_chain_size(scene) + runs * _stored(scene)) / RATE))


def _afterwards(scene: Scene) -> Iterator[str]:
    name = scene.target
    if scene.way is Way.SYSTEM:
        yield "restore the databases that are not online, one after the other"
        yield "take a FULL of every database"
        return
    if scene.definition.options.get("txLogEnrichment"):
        yield "change data capture: consumers resume from a new change id (CALL db.cdc.current)"
    if scene.own_name:
        yield (
            f"see that the agent takes a FULL of {name} when all copies are online: it begins a new history, which no "
            "differential continues"
        )
        return
    yield f"schedules for all databases now back up {name} too: exclude it with '!{name}' in `databases`, if you like"
    yield f"to let clients use it, name {name} in their configuration, or point an alias to it"
    yield f"drop {name} when you no longer need it"


def _notes(scene: Scene) -> Iterator[str]:
    source, version = scene.source, scene.known.version
    yield from source.remarks
    if source.lacking_since is not None:
        yield (
            f"transactions after {in_utc(source.lacking_since)} may be missing: no artifact has them for certain. "
            "If the database still runs, a DIFF now may bring them"
        )
    if source.until is not None:
        yield (
            f"the moment is compared with the clocks of the servers, {_clocks(source)}: after the restore, look at the "
            "last transactions"
        )
    if (version.major, version.minor) > (NEWEST.major, NEWEST.minor):
        yield f"{version} is newer than the manual that these lines follow ({NEWEST}): read its own manual"
    if scene.way is not Way.SYSTEM:
        yield from _notes_on_definition(scene)
        yield from _notes_on_servers(scene)


def _clocks(source: Source) -> str:
    """Return what is known of the servers' clocks, as the end of a sentence."""
    if (offset := source.last.clock_offset) is None:
        return "which may differ from yours"
    if abs(offset) < 1:
        return "which agreed with that of the agent when the last artifact was taken"
    side = "ahead of" if offset > 0 else "behind"
    return f"which were {abs(offset):.0f} s {side} that of the agent when the last artifact was taken"


def _notes_on_definition(scene: Scene) -> Iterator[str]:
    definition, servers = scene.definition, scene.known.servers
    copies = (definition.primaries or 0) + (definition.secondaries or 0)
    if scene.known.cluster and not definition.primaries:
        yield (
            "the records have no topology: replace <PRIMARIES> and <SECONDARIES> by the numbers of copies that the "
            "database had"
        )
    elif scene.known.cluster and 0 < len(servers) < copies:
        yield f"the database had {copies} copies, and {len(servers)} servers are known: lower TOPOLOGY if needed"
    if scene.source.definition is None:
        yield "the records have no definition: access, default language, options and aliases are not given back"
    if other := sorted(set(definition.options) - {"txLogEnrichment", "storeFormat"}):
        yield f"the database had options that no statement here gives back: {first_few([quoted(one) for one in other])}"


def _notes_on_servers(scene: Scene) -> Iterator[str]:
    known = scene.known
    if known.seen is None:
        yield "the existing databases are unknown: check that no database or alias has the name of the restored one"
    else:
        yield f"databases and aliases are those of {in_utc(known.seen)}"
    if scene.way in (Way.RECREATE, Way.SERVER_RECREATE):
        yield (
            f"the procedure replaces the content of {scene.target} by that of the artifacts. After the loss of some "
            "servers, with sound data on others, use {seedingServers: [], seedURI: …} instead: it takes the newest "
            "surviving copy, and the artifacts only if there is none"
        )
    if scene.way in (Way.SERVER_SEED, Way.SERVER_RECREATE):
        yield (
            "the servers need server.directories.seeds on a writable folder and ServerSeedProvider in "
            f"dbms.databases.seed_from_uri_providers ({SERVER_SEEDS} and newer); if they lack them, add --way "
            f"{Way.ONE_SERVER}"
        )
    if scene.way in (Way.ONE_SERVER, Way.STANDALONE) and scene.server.is_pod:
        yield "neo4j-admin runs beside Neo4j in the server's container and needs about 1 GiB of its memory limit"

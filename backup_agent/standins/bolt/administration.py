"""Carries out the statements of a restore on the simulated cluster, as an Enterprise cluster would.

It is a stand-in. Seeds are really fetched and read through. If it is given `RealDatabases`, they load the full of each
seed, and answer what is in it; a differential is read, but its transactions are in no answer. From Neo4j's manual: what
is refused, that errors of a seed come after a statement has succeeded, that a call of recreateDatabase returns early,
and that a second one meanwhile breaks the database (also seen by others: such a database has to be dropped). Guessed:
CREATE OR REPLACE is refused as DROP is, DROP removes home databases of users, and all texts that no manual shows.
"""

import asyncio
import hashlib
import re
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from backup_agent.standins.bolt import creation
from backup_agent.standins.bolt.commands import (
    AlterDatabase,
    CheckStatus,
    CreateAlias,
    CreateDatabase,
    DropAlias,
    DropDatabase,
    Privilege,
    RecreateDatabase,
    Requested,
    SetHome,
    SwitchDatabase,
    parse_command,
)
from backup_agent.standins.bolt.faults import Failure, Refused, forbidden
from backup_agent.standins.bolt.grammar import Unknown
from backup_agent.standins.bolt.seeds import (
    Opener,
    Seed,
    SeedError,
    fetch_seed,
    open_file,
    restored_seed,
    server_opener,
)
from backup_agent.standins.bolt.statements import (
    SEEDS,
    SERVER_SEEDS,
    Answer,
    Asked,
    find_database,
    need_enterprise,
    need_language,
    need_running,
    no_procedure,
    running,
    syntax_error,
)
from backup_agent.standins.cluster import Alias, Cluster, Database, Server, load, new_database, save, store_folder

DEBUG_LOG = "debug.log"
"""File in the cluster's folder with the errors of seeds. Neo4j has one on each server."""
NOTHING = Answer((), ())
STATUS_CHECK_SINCE = (5, 24)
STATUS_CHECK = (
    "database",
    "serverId",
    "serverName",
    "address",
    "replicationSuccessful",
    "memberStatus",
    "recognizedLeader",
    "recognizedLeaderTerm",
    "requester",
    "error",
)


class RealDatabases(Protocol):
    """Databases of real Neo4j servers, one for each restored database of the simulated cluster."""

    def load(self, database: str, full: Path) -> None:
        """Load and check a full. Raise SeedError if it is refused."""

    def drop(self, database: str) -> None:
        """Forget a database."""

    def query(self, database: str, text: str, parameters: Mapping[str, Any]) -> Answer:
        """Run a statement. Raise Refused if it is refused."""


@dataclass(frozen=True)
class Restoring:
    """What the servers can reach: openers of seeds by scheme, besides `file:` and `server:`, and real databases."""

    openers: Mapping[str, Opener] = field(default_factory=dict)
    databases: RealDatabases | None = None


Job = Callable[[Path], Seed]
"""Finds a seed; its argument is an empty folder."""


class Administration:
    """Carries out statements on the cluster of a folder. All methods run in one event loop."""

    def __init__(self, folder: Path, restoring: Restoring) -> None:
        self._folder = folder
        self._openers = restoring.openers
        self._real = restoring.databases
        self._work: dict[str, asyncio.Task[None]] = {}
        """Database -> the seed that is being read for it."""
        self._broken: set[str] = set()
        """Databases for which recreateDatabase was called a second time while their seed was still being read."""
        self._loaded: set[str] = set()
        """Databases whose data a real database has."""

    async def answer(self, asked: Asked, text: str, parameters: Mapping[str, Any]) -> Answer | None:
        """Run an administration command, or return None for any other statement. Raise Refused if it is refused."""
        try:
            requested = parse_command(text, parameters)
        except Unknown as unknown:
            raise Refused(syntax_error(f"Invalid input: {unknown}")) from unknown
        if requested is None:
            return await self._queried(asked, text, parameters)
        need_language(asked, requested.language)
        need_enterprise(asked, requested.title)
        if not asked.user.manages_databases:
            raise Refused(forbidden(requested.title))
        return await self._carried_out(replace(asked, cluster=load(self._folder)), requested)

    async def close(self) -> None:
        """Stop reading seeds."""
        for task in self._work.values():
            task.cancel()
        await asyncio.gather(*self._work.values(), return_exceptions=True)

    async def _queried(self, asked: Asked, text: str, parameters: Mapping[str, Any]) -> Answer | None:
        database = find_database(asked.cluster, asked.database)
        if self._real is None or database is None or database.name not in self._loaded:
            return None
        need_running(asked)
        return await asyncio.to_thread(self._real.query, database.name, text, parameters)

    async def _carried_out(self, asked: Asked, requested: Requested) -> Answer:
        match requested.command:
            case CreateDatabase() as command:
                return await self._create(asked, command, requested.language)
            case SwitchDatabase() as command:
                return await self._switch(asked, command)
            case RecreateDatabase() as command:
                return self._recreate(asked, command)
            case CheckStatus() as command:
                return _status(asked, command)
            case DropDatabase() as command:
                return self._drop(asked, command)
            case (AlterDatabase() | CreateAlias() | DropAlias() | SetHome() | Privilege()) as command:
                save(_changed(asked.cluster, command), self._folder)
                return NOTHING

    async def _create(self, asked: Asked, command: CreateDatabase, language: int) -> Answer:
        creation.check_create(asked, command, language)
        cluster, name = asked.cluster, command.name
        existing = find_database(cluster, name)
        if existing is not None and command.if_not_exists:
            return NOTHING
        if existing is not None and not (command.replaces and existing.name == name):
            kind = "Database" if existing.name == name else "Database alias"
            raise Refused(_exists(f"Failed to create the specified database '{name}': {kind} already exists."))
        if existing is not None:
            _need_free(cluster, name, f"Failed to replace the specified database '{name}'")
        server = self._seeding_server(asked, command.options)
        copies = creation.placed(asked, name, command.primaries, command.secondaries, server.name if server else None)
        wanted = {key: command.options[key] for key in ("txLogEnrichment", "storeFormat") if key in command.options}
        database = new_database(name, copies, options=wanted, **_new_ids())
        if existing is not None:
            cluster = self._without(cluster, name)
        save(cluster.with_database_added(database), self._folder)
        self._broken.discard(name)
        self._begin(asked, database, self._job(asked, database, command.options, server))
        return await self._waited(asked, name) if command.waits else NOTHING

    def _seeding_server(self, asked: Asked, options: Mapping[str, Any]) -> Server | None:
        identity = creation.option(options, "existingDataSeedServer")
        if identity is None:
            return None
        found = [one for one in asked.cluster.servers if one.id == identity]
        if not found:
            raise Refused(_wrong(f"Server '{identity}' does not exist"))
        return found[0]

    def _job(self, asked: Asked, database: Database, options: Mapping[str, Any], server: Server | None) -> Job | None:
        """Return what finds the seed of a new database; None if it begins empty."""
        uri, until = creation.option(options, "seedURI"), creation.option(options, "seedRestoreUntil")
        if uri is not None:
            return self._fetching(asked, str(uri), until)
        left = store_folder(self._folder, server.name if server else database.copies[0].server, database.name)
        return self._using(asked, left) if server or left.is_dir() else None

    def _fetching(self, asked: Asked, uri: str, until: Any = None) -> Job:  # noqa: ANN401  a moment or a transaction
        seeds: dict[str, Path | None] = {}
        for server in asked.cluster.servers if asked.version >= SERVER_SEEDS else ():
            folder = asked.cluster.bolt.settings.get(server.name, {}).get(SEEDS)
            seeds |= dict.fromkeys((server.id, server.name), Path(folder) if folder else None)
        openers = {"file": open_file, "server": server_opener(seeds), **self._openers}

        def fetch(target: Path) -> Seed:
            creation.check_provider(asked, uri, cut=until is not None)
            return fetch_seed(uri, openers, target, asked.version, until)

        return fetch

    def _using(self, asked: Asked, left: Path) -> Job:
        def use(target: Path) -> Seed:
            if left.is_dir():
                shutil.copytree(left, target, dirs_exist_ok=True)
                shutil.rmtree(left)
            return restored_seed(target, asked.version)

        return use

    def _drop(self, asked: Asked, command: DropDatabase) -> Answer:
        cluster, name = asked.cluster, command.name
        if all(database.name != name for database in cluster.databases):
            if command.if_exists:
                return NOTHING
            raise Refused(_missing(f"Failed to delete the specified database '{name}': Database does not exist."))
        if name == "system":
            raise Refused(_wrong("Not allowed to delete system database."))
        if not command.cascade:
            _need_free(cluster, name, f"Failed to delete the specified database '{name}'")
        save(self._without(cluster, name), self._folder)
        return NOTHING

    def _without(self, cluster: Cluster, name: str) -> Cluster:
        """Return the cluster without a database, its aliases, its privileges, and without it as a home database."""
        self._loaded.discard(name)
        if self._real:
            self._real.drop(name)
        named = re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])")
        bolt = replace(
            cluster.bolt,
            users=tuple(replace(one, home=None if one.home == name else one.home) for one in cluster.bolt.users),
            privileges=tuple(text for text in cluster.bolt.privileges if not named.search(text)),
        )
        return replace(cluster.with_database_dropped(name), bolt=bolt)

    async def _switch(self, asked: Asked, command: SwitchDatabase) -> Answer:
        database = _need_database(asked.cluster, command.name)
        left = [store_folder(self._folder, copy.server, database.name) for copy in database.copies]
        restored = next((folder for folder in left if folder.is_dir()), None)
        if command.starts and restored is not None:
            self._set_status(database.name, "starting")
            self._begin(asked, database, self._using(asked, restored))
        else:
            self._set_status(database.name, "online" if command.starts else "offline")
        return await self._waited(asked, database.name) if command.waits else NOTHING

    def _recreate(self, asked: Asked, command: RecreateDatabase) -> Answer:
        creation.check_recreate(asked, command)
        database = _need_database(asked.cluster, command.name)
        if database.type != "standard":
            raise Refused(_wrong(f"Database '{database.name}' of type {database.type} cannot be recreated"))
        if database.name in self._work:
            self._broken.add(database.name)
            raise Refused(_wrong(f"Could not acquire the lock of database '{database.name}'"))
        options = command.options
        uri, seeders = creation.option(options, "seedURI"), creation.option(options, "seedingServers")
        if uri is None and not seeders and any(not asked.cluster.server(one.server).up for one in database.copies):
            raise Refused(_wrong("Servers that are not available have to be cordoned first"))
        survivors = {asked.cluster.server(copy.server).id for copy in running(asked.cluster, database)}
        job: Job | None = None
        if seeders is None or not survivors.intersection(seeders or survivors):
            job = self._fetching(asked, str(uri)) if uri is not None else _no_store
        primaries = creation.option(options, "primaries")
        copies = database.copies
        if primaries is not None:
            secondaries = creation.option(options, "secondaries") or 0
            copies = tuple(creation.placed(asked, database.name, int(primaries), int(secondaries)))
        save(asked.cluster.with_database(database.name, copies=copies, **_new_ids()), self._folder)
        self._set_status(database.name, "starting")
        self._begin(asked, load(self._folder).database(database.name), job)
        return NOTHING

    def _begin(self, asked: Asked, database: Database, job: Job | None) -> None:
        """Give a database its data in the background."""
        self._work[database.name] = asyncio.create_task(self._seed(asked, database, job))

    async def _seed(self, asked: Asked, database: Database, job: Job | None) -> None:
        name, last, failure = database.name, database.last_transaction, ""
        try:
            last = await asyncio.to_thread(self._load, name, job) if job else last
        except (SeedError, OSError) as error:
            failure = str(error)
        finally:
            if self._work.get(name) is asyncio.current_task():
                del self._work[name]
        if name in self._broken:
            failure = failure or "The database was recreated while it was being recreated"
        if failure:
            self._log(asked, name, failure)
        current = find_database(load(self._folder), name)
        if current is not None and current.internal_id == database.internal_id:
            save(load(self._folder).with_database(name, last_transaction=last), self._folder)
            self._set_status(name, "offline" if failure else "online", failed=bool(failure))

    def _load(self, name: str, job: Job) -> int:
        """Find a seed and let a real database load it. Return its last transaction. Raise SeedError."""
        with TemporaryDirectory() as folder:
            seed = job(Path(folder))
            if self._real:
                self._real.load(name, seed.full)
                self._loaded.add(name)
            return seed.last_transaction

    async def _waited(self, asked: Asked, name: str) -> Answer:
        """Wait for a database, as WAIT does: it returns rows, and no error, if a seed fails."""
        if (task := self._work.get(name)) is not None:
            await asyncio.shield(task)
        database = find_database(load(self._folder), name)
        rows = tuple(
            (asked.addresses[copy.server], *(FAILED if copy.failed else CAUGHT_UP))
            for copy in (database.copies if database else ())
        )
        return Answer(("address", "state", "message", "success"), rows)

    def _set_status(self, name: str, status: str, *, failed: bool = False) -> None:
        cluster = load(self._folder)
        copies = tuple(replace(copy, status=status, failed=failed) for copy in cluster.database(name).copies)
        save(cluster.with_database(name, copies=copies), self._folder)

    def _log(self, asked: Asked, name: str, text: str) -> None:
        with (self._folder / DEBUG_LOG).open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} ERROR [{asked.server}] [{name}] {text}\n")


CAUGHT_UP = ("CaughtUp", "caught up", True)
FAILED = ("Failed", "see the server's debug.log", False)


def _no_store(_target: Path) -> Seed:
    raise SeedError("No store found on any of the seeders")


def _changed(cluster: Cluster, command: AlterDatabase | CreateAlias | DropAlias | SetHome | Privilege) -> Cluster:
    """Return the cluster after a change that moves no data. Raise Refused if it is refused."""
    match command:
        case AlterDatabase():
            old = _need_database(cluster, command.name)
            return cluster.with_database(old.name, options={**old.options, **command.options}, **command.changes)
        case CreateAlias():
            if find_database(cluster, command.name) is not None:
                if command.if_not_exists:
                    return cluster
                raise Refused(_exists(f"Failed to create the specified database alias '{command.name}': it exists."))
            return cluster.with_alias(command.name, _need_database(cluster, command.target).name)
        case DropAlias():
            if Alias(command.name, target := _target(cluster, command.name)) not in cluster.aliases:
                if command.if_exists:
                    return cluster
                raise Refused(
                    _missing(f"Failed to delete the specified database alias '{command.name}': it does not exist.")
                )
            return replace(cluster, aliases=tuple(one for one in cluster.aliases if one != Alias(command.name, target)))
        case SetHome():
            if all(user.name != command.user for user in cluster.bolt.users):
                raise Refused(_missing(f"Failed to alter the specified user '{command.user}': User does not exist."))
            users = tuple(
                replace(user, home=command.database) if user.name == command.user else user
                for user in cluster.bolt.users
            )
            return replace(cluster, bolt=replace(cluster.bolt, users=users))
        case Privilege():
            return replace(cluster, bolt=replace(cluster.bolt, privileges=(*cluster.bolt.privileges, command.text)))


def _status(asked: Asked, command: CheckStatus) -> Answer:
    """Return the rows of `dbms.cluster.statusCheck`: one for each member of each database."""
    if asked.version < STATUS_CHECK_SINCE:
        raise Refused(no_procedure(command.procedure))
    databases = [_need_database(asked.cluster, name) for name in command.names] or asked.cluster.databases
    rows = []
    for database in databases:
        up = {copy.server for copy in running(asked.cluster, database)}
        leader = next((copy.server for copy in database.copies if copy.writer and copy.server in up), None)
        for copy in database.copies:
            server = asked.cluster.server(copy.server)
            member = ("APPLYING" if copy.role == "primary" else "REPLICATING") if copy.server in up else "UNAVAILABLE"
            rows.append(
                (
                    database.name,
                    server.id,
                    server.name,
                    asked.addresses[server.name],
                    leader is not None,
                    member,
                    leader and asked.cluster.server(leader).id,
                    1 if leader else None,
                    copy.writer,
                    None,
                )
            )
    return Answer(STATUS_CHECK, tuple(rows))


def _new_ids() -> dict[str, Any]:
    made = uuid.uuid4()
    return {"internal_id": str(made), "database_id": hashlib.sha256(made.bytes).hexdigest().upper()}


def _target(cluster: Cluster, alias: str) -> str:
    return next((one.target for one in cluster.aliases if one.name == alias), "")


def _need_database(cluster: Cluster, name: str) -> Database:
    database = find_database(cluster, name)
    if database is None:
        raise Refused(_missing(f"Database '{name}' does not exist."))
    return database


def _need_free(cluster: Cluster, name: str, failed: str) -> None:
    """Raise Refused if a database has an alias."""
    aliases = ", ".join(sorted(f"'{alias.name}'" for alias in cluster.aliases if alias.target == name))
    if aliases:
        text = (
            f"{failed}: Database has one or more aliases. Drop the aliases: [{aliases}] before dropping the database."
        )
        raise Refused(Failure("Neo.ClientError.Database.ExistingAliasFound", text, "42N86"))


def _exists(message: str) -> Failure:
    return Failure("Neo.ClientError.Database.ExistingDatabaseFound", message, "42N87")


def _missing(message: str) -> Failure:
    return Failure("Neo.ClientError.Database.DatabaseNotFound", message, "22N51")


def _wrong(message: str) -> Failure:
    return Failure("Neo.ClientError.Statement.ArgumentError", message, "22N04")

"""`neo4j-admin database backup` against a simulated cluster.

For each database: find a server, choose FULL or DIFF, write the artifact. If a server did not answer, the exit code is
1 even if all artifacts were written, as Neo4j's manual says. Neo4j stages a whole store below `--temp-path`; the
stand-in makes a folder with one empty file there and removes it at the end.
"""

import errno
import fnmatch
import os
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from backup_agent.standins.cluster import Cluster, Copy, Database, Server
from backup_agent.standins.neo4j_admin import arguments as command_line
from backup_agent.standins.neo4j_admin import artifacts, chains, configuration, faults, stores, versions
from backup_agent.standins.neo4j_admin.arguments import Arguments
from backup_agent.standins.neo4j_admin.artifacts import Entry, Header
from backup_agent.standins.neo4j_admin.console import CommandError, Console, Exit
from backup_agent.standins.neo4j_admin.faults import Faults
from backup_agent.standins.neo4j_admin.versions import Version

DEFAULT_SERVER = "localhost:6362"
BACKUP_PORT = "6362"
CLOUD = ("s3://", "gs://", "azb://")
CLOCK = "clock"
METADATA_KINDS = ("NONE", "ALL", "USERS", "ROLES")
USERS_FILTER_SINCE: Version = (2025, 10)
GZIPPED_METADATA_SINCE: Version = (2026,)
"""5.26.31 writes metadata plain, 2026.09.0 gzipped; the version of the change is a guess."""
BARE_NAMES_SINCE: Version = (2025,)
"""5.26.31 puts `./` before entry names, 2026.09.0 does not; the version of the change is a guess."""
NO_FULL = (
    "Differential backups require that a full backup of the same database exists in the folder defined in --to-path."
)
NOTICED_AT_PLANNING = frozenset({"logs_pruned", "empty_diff", "gap", "overlap"})


class DatabaseError(Exception):
    """One database cannot be backed up. The command continues with the others."""


@dataclass(frozen=True)
class Context:
    """The input and output of one invocation."""

    version: Version
    cluster: Cluster
    folder: Path
    console: Console
    arguments: Arguments
    environment: Mapping[str, str]

    @property
    def now(self) -> float:
        """The time of the simulated clock, or else of the machine's, in seconds since 1970."""
        with suppress(FileNotFoundError):
            text = (self.folder / CLOCK).read_text(encoding="utf-8").strip()
            return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
        return time.time()


@dataclass(frozen=True)
class Source:
    """The server and the copy of the database from which a backup is taken."""

    address: str
    server: Server
    copy: Copy
    database: Database

    @property
    def last_transaction(self) -> int:
        """The last transaction of the copy; a negative `lag` lowers it."""
        return max(self.database.last_transaction + self.copy.lag, 1)

    @property
    def id(self) -> str:
        """The database's name in Neo4j's log lines."""
        return f"DatabaseId{{{self.database.internal_id[:8]}[{self.database.name}]}}"


@dataclass(frozen=True)
class Plan:
    """The artifact to write: a FULL, or a DIFF of the transactions `lowest` to `highest` (both 0 if it is empty)."""

    full: bool
    lowest: int
    highest: int


@dataclass
class Servers:
    """The servers of `--from`. `silent` holds the addresses that did not answer."""

    context: Context
    addresses: list[str]
    silent: list[str] = field(default_factory=list)

    def contact(self, address: str) -> Server | None:
        """Return the server at an address. Warn once and return None if no server answers there."""
        for server in self.context.cluster.servers:
            if _normal(server.backup) == _normal(address) and server.up:
                return server
        if address not in self.silent:
            self.silent.append(address)
            self.context.console.warn(f"Unable to connect to server {address}: Connection refused: {address}")
        return None

    def reachable(self) -> list[Server]:
        """Return the servers that answer."""
        return [server for server in map(self.contact, self.addresses) if server is not None]

    def source(self, database: Database) -> Source | None:
        """Return the first server that has the database online, or None if no server has."""
        for address in self._order(database):
            server = self.contact(address)
            copies = [copy for copy in database.copies if server and copy.server == server.name]
            if server and copies and copies[0].status == "online":
                return Source(address, server, copies[0], database)
        return None

    def _order(self, database: Database) -> list[str]:
        if not self.context.arguments.on("--remote-address-resolution") or not self.reachable():
            return self.addresses
        rank = {copy.server: (copy.role != "secondary", copy.writer) for copy in database.copies}
        hosting = [server for server in self.context.cluster.servers if server.up and server.name in rank]
        return [server.backup for server in sorted(hosting, key=lambda server: rank[server.name])]


def run(context: Context) -> int:
    """Back up the requested databases. Raise CommandError if one failed or a server did not answer."""
    names = command_line.database_names(context.arguments.parameters)
    _metadata_kind(context)
    addresses = [_with_port(address) for address in context.arguments.lists.get("--from", [DEFAULT_SERVER])]
    to_path = context.arguments.text("--to-path")
    if to_path is None:
        raise command_line.missing("option: '--to-path=<path>'")
    configuration.check(context.environment.get("NEO4J_CONF"), context.arguments.text("--additional-config"))
    target, staging = _target(to_path), empty_folder(context.arguments.text("--temp-path"))
    servers = Servers(context, addresses)
    failed: dict[str, str] = {}
    good, forced = True, None
    for name in _databases(names or ("neo4j",), servers, failed):
        try:
            outcome = _back_up(name, servers, target, staging)
        except DatabaseError as error:
            failed[name] = str(error)
            context.console.error(f"Failed to back up database '{name}': {error}")
            continue
        good = good and outcome.good
        forced = outcome.exit_code if forced is None else forced
    if forced is not None:
        return forced
    if failed:
        listed = ", ".join(f"'{name}'" for name in failed)
        raise CommandError(f"Backup failed for databases: {listed}", *failed.values())
    if servers.silent or not good:
        silent = ", ".join(servers.silent or addresses[:1])
        raise CommandError(f"Backup succeeded but encountered problems: unable to contact servers: {silent}")
    return Exit.OK


def _databases(names: tuple[str, ...], servers: Servers, failed: dict[str, str]) -> list[str]:
    """Replace patterns by the matching databases on reachable servers. Composite databases never match."""
    found: list[str] = []
    for name in names:
        if "*" not in name and "?" not in name:
            matching = [name]
        else:
            reachable = {server.name for server in servers.reachable()}
            matching = [
                database.name
                for database in servers.context.cluster.databases
                if database.type != "composite"
                and fnmatch.fnmatchcase(database.name, name)
                and any(copy.server in reachable and copy.status == "online" for copy in database.copies)
            ]
            if not matching:
                failed[name] = f"Pattern '{name}' did not match any database"
                servers.context.console.error(failed[name])
        found += [database for database in matching if database not in found]
    return found


@dataclass(frozen=True)
class Outcome:
    """The result of one database. `good` is false if a server is to be reported as unreachable."""

    good: bool = True
    exit_code: int | None = None
    """Exit code of the command, whatever else happened; None to derive it."""


def _back_up(name: str, servers: Servers, target: Path, staging: Path) -> Outcome:
    context, console = servers.context, servers.context.console
    console.info(f"Starting backup of database '{name}' from servers: [{', '.join(servers.addresses)}]")
    source = _source(name, servers)
    asked = context.arguments.text("--type") or "AUTO"
    planning = _take(context, source, (asked, "DIFF"), NOTICED_AT_PLANNING)
    console.info(f"Start backup of database '{name}'.")
    console.info(f"Using remote server {source.address} for backup of database '{name}'.")
    store = stores.template(_version_of(context, source.server), system=source.database.type == "system")
    plan = _plan(context, source, store, target, planning, asked)
    injected = _take(
        context, source, (asked, "FULL" if plan.full else "DIFF"), frozenset(faults.KINDS) - NOTICED_AT_PLANNING
    )
    if "two_processes" in injected:
        faults.split_process()
    injected.reach("start")
    if fault := injected.get("odd_output"):
        odd_output(console, fault)
    if "exit_70" in injected:
        raise RuntimeError("java.lang.NullPointerException: injected by the stand-in")
    if fault := injected.get("exit_1"):
        raise DatabaseError(fault.text("message", "Failed to run a backup using the available strategies."))
    if "exit_0_without_artifact" in injected:
        console.error(f"Failed to back up database '{name}': com.neo4j.causalclustering.catchup.CatchUpClientException")
        return Outcome(exit_code=Exit.OK)
    folder = staging / f"backup-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    (folder / "neostore").touch()
    try:
        _copy(context, source, store, plan, target, injected)
    finally:
        (folder / "neostore").unlink()
        folder.rmdir()
    injected.reach("end")
    forced = injected.get("exit_code")
    return Outcome("exit_1_with_artifact" not in injected, int(forced.number("code", 0)) if forced else None)


def _source(name: str, servers: Servers) -> Source:
    cluster = servers.context.cluster
    if any(alias.name == name for alias in cluster.aliases):
        raise DatabaseError(f"'{name}' is a database alias: aliases cannot be backed up")
    known = {database.name: database for database in cluster.databases}
    if name not in known:
        if not servers.reachable():
            raise DatabaseError(f"No server could be reached: {', '.join(servers.silent)}: Connection refused")
        raise DatabaseError(f"Database does not exist: {name}")
    if known[name].type == "composite":
        raise DatabaseError(f"'{name}' is a composite database: composite databases cannot be backed up")
    source = servers.source(known[name])
    if source is not None:
        return source
    if len(servers.silent) == len(servers.addresses):
        raise DatabaseError(f"No server could be reached: {', '.join(servers.silent)}: Connection refused")
    raise DatabaseError(f"Database '{name}' is not available on any of the servers: it is not hosted or not online")


def _plan(context: Context, source: Source, store: stores.Store, target: Path, injected: Faults, asked: str) -> Plan:
    console, name = context.console, source.database.name
    full = Plan(full=True, lowest=1, highest=source.last_transaction)
    if asked == "FULL":
        return full
    console.info(f"Start differential backup of database '{name}'.")
    try:
        return _differential(context, source, store, target, injected)
    except DatabaseError as error:
        console.info(f"Differential backup of database '{name}' failed. Reason: {error}")
        if asked == "DIFF":
            raise
    console.info(f"Falling back to full backup of database '{name}'.")
    return full


def _differential(context: Context, source: Source, store: stores.Store, target: Path, injected: Faults) -> Plan:
    found, unreadable = chains.scan(target)
    for path, why in unreadable:
        context.console.warn(f"Ignoring {path}: {why}")
    parent = chains.parent(
        found,
        uuid.UUID(source.database.internal_id),
        store.id,
        context.version,
        prefer_diff=context.arguments.on("--prefer-diff-as-parent"),
    )
    if parent is None:
        raise DatabaseError(f"{NO_FULL} No existing backup found here: {target}")
    pruned_below = source.database.pruned_below
    first = parent.first if parent.first >= pruned_below else parent.after_full
    if "logs_pruned" in injected or first < pruned_below:
        raise DatabaseError(
            f"The remote server ({source.address}) no longer has the transaction logs that start at {first} for "
            f"database '{source.id}'. Consider to raise db.tx_log.rotation.retention_policy."
        )
    highest = source.last_transaction
    if highest < first or "empty_diff" in injected:
        context.console.info(
            f"The remote server ({source.address}) has not any recent data for database '{source.id}'."
        )
        return Plan(full=False, lowest=0, highest=0)
    if fault := injected.get("gap"):
        first += int(fault.number("transactions", 1))
    if fault := injected.get("overlap"):
        first -= int(fault.number("transactions", 1))
    return Plan(full=False, lowest=first, highest=max(first, highest))


def _copy(context: Context, source: Source, store: stores.Store, plan: Plan, target: Path, injected: Faults) -> None:
    console, name = context.console, source.database.name
    if plan.full:
        console.info(f"Start full backup of database '{name}'.")
    injected.reach("checkpoint")
    if fault := injected.get("slow_checkpoint"):
        faults.wait(fault.number("seconds", 2))
    begun = time.monotonic()
    if plan.full:
        console.info(f"Start receiving store files for database '{name}'.")
        console.info(f"Finished receiving store files for database '{name}', took {_took(begun)}.")
    if plan.highest:
        console.info(f"Start receiving transactions for database '{name}' at {plan.lowest}.")
        console.info(f"Finished receiving transactions for database '{name}' at {plan.highest}, took {_took(begun)}.")
        kind = "full" if plan.full else "differential"
        tail = f" Downloaded from tx -1 to tx {plan.highest}." if plan.full else ""
        console.info(f"Finished {kind} backup of database '{name}'.{tail}")
    recovered = plan.full and not context.arguments.on("--skip-recovery") and "unrecovered" not in injected
    if recovered:
        console.info(f"Start recovering database '{name}'.")
        if fault := injected.get("slow_recovery"):
            faults.wait(fault.number("seconds", 2))
        console.info(f"Finished recovering database '{name}', took {_took(begun)}.")
    now = context.now
    path = target / f"{name}-{time.strftime('%Y-%m-%dT%H-%M-%S', time.localtime(now))}{artifacts.SUFFIX}"
    header = Header(
        database=name,
        database_id=uuid.UUID(source.database.internal_id),
        store=store.id,
        taken=int(now),
        lowest=plan.lowest,
        highest=plan.highest,
        full=plan.full,
        compressed=context.arguments.on("--compress", default=True),
        recovered=recovered,
        metadata=_metadata(context, source.database),
    )
    begun = time.monotonic()
    try:
        _write(context, path, _wrong(header, injected), _entries(source.database, store, plan), injected)
    except OSError as error:
        if context.arguments.on("--keep-failed"):
            (target / f"{path.stem}-failed").mkdir(exist_ok=True)
        raise DatabaseError(_io_error(error, path)) from error
    injected.reach("artifact")
    console.info(f"Finished artifact creation '{path.name}' for database '{name}', took {_took(begun)}.")


def _entries(database: Database, store: stores.Store, plan: Plan) -> tuple[Entry, ...]:
    """Return the files of the artifact. The size of a DIFF is proportional to its share of all transactions."""
    files, size = store.entries, database.store_bytes
    if not plan.full:
        files = store.logs if plan.highest else ()
        size = size * (plan.highest - plan.lowest + 1) // database.last_transaction if plan.highest else 0
    if size <= 0:
        return files
    return tuple(sorted((*files, stores.padding(database.name, size)), key=lambda entry: entry.name))


def _write(context: Context, path: Path, header: Header, entries: tuple[Entry, ...], injected: Faults) -> None:
    if "artifact_exists" in injected:
        path.write_bytes(b"")
    if "empty_file" in injected:
        path.open("xb").close()
        return
    prefix = "" if context.version >= BARE_NAMES_SINCE else "./"

    def half_way() -> None:
        injected.reach("copy")
        if "no_space" in injected:
            raise OSError(errno.ENOSPC, "No space left on device")
        if "leftover_partial" in injected:
            raise OSError(errno.EIO, "Connection reset by peer")

    watcher = half_way if injected.stops_half_way else None
    counted = "no_counts" not in injected
    if fault := injected.get("split_parts"):
        if path.exists():
            raise FileExistsError(errno.EEXIST, "File exists")
        parts = artifacts.Parts(path, int(fault.number("part_bytes", 65536)))
        artifacts.write(parts, header, entries, prefix=prefix, counted=counted, half_way=watcher)
        parts.close()
    else:
        with path.open("xb", buffering=0) as file:
            output = _Slow(file, injected) if "slow" in injected else file
            artifacts.write(output, header, entries, prefix=prefix, counted=counted, half_way=watcher)
    _damage(path, injected)


class _Slow:
    """A file that is written at a limited rate."""

    def __init__(self, file: BinaryIO, injected: Faults) -> None:
        fault = injected.get("slow")
        self._file = file
        self._rate = fault.number("bytes_per_second", 1 << 20) if fault else 1 << 20

    def write(self, data: bytes, /) -> int:
        step = max(1, int(self._rate / 10))
        for start in range(0, len(data), step):
            taken = self._file.write(data[start : start + step])
            faults.wait(taken / self._rate)
        return len(data)


def _damage(path: Path, injected: Faults) -> None:
    size = path.stat().st_size
    if fault := injected.get("truncated"):
        os.truncate(path, max(0, size - int(fault.number("bytes", 4))))
    if "cut_in_half" in injected:
        os.truncate(path, size // 2)
    if "corrupt_byte" in injected:
        artifacts.flip_byte(path)
    if fault := injected.get("unknown_magic"):
        with path.open("r+b") as file:
            file.write(fault.text("magic", "BZV3").encode()[:4])


def _wrong(header: Header, injected: Faults) -> Header:
    if fault := injected.get("wrong_database"):
        header = replace(header, database=fault.text("name", "another"))
    if "wrong_database_id" in injected:
        header = replace(header, database_id=uuid.uuid5(header.database_id, "another"))
    if "wrong_store_id" in injected:
        header = replace(header, store=replace(header.store, random=header.store.random ^ 1))
    return header


def odd_output(console: Console, fault: faults.Fault) -> None:
    """Print output that is hard to parse: see the fault `odd_output`."""
    console.out_bytes(b"\xff\xfe not \xc3( UTF-8 \x00\n")
    console.out_bytes(b"\x1b[31mred\x1b[0m \x1b]0;title\x07\n10%\r20%\r30%\n")
    console.out_bytes(b"x" * int(fault.number("bytes", 2 << 20)) + b"\n")
    console.err("Picked up JAVA_TOOL_OPTIONS: -Xmx64m")
    console.err("WARNING: Using incubator modules: jdk.incubator.vector")
    console.out_bytes(b"no end of line")


def _metadata(context: Context, database: Database) -> dict[str, bytes]:
    """Return a script that restores made-up users and roles, with text in the form of a password hash."""
    kind = _metadata_kind(context)
    if kind == "NONE" or database.type == "system":
        return {}
    lines = []
    if kind != "ROLES":
        lines.append("CREATE USER `clerk` IF NOT EXISTS SET ENCRYPTED PASSWORD '1,c0ffee,c0ffee' CHANGE NOT REQUIRED;")
    if kind != "USERS":
        lines += ["CREATE ROLE `clerks` IF NOT EXISTS;", "GRANT ACCESS ON DATABASE $database TO `clerks`;"]
    if kind == "ALL":
        lines.append("GRANT ROLE `clerks` TO `clerk`;")
    return artifacts.metadata("\n".join(lines), gzipped=context.version >= GZIPPED_METADATA_SINCE)


def _metadata_kind(context: Context) -> str:
    given = context.arguments.text("--include-metadata") or "ALL"
    kind, _, users = given.partition("=")
    allowed = kind.upper() in METADATA_KINDS
    if users and (kind.upper() != "USERS" or context.version < USERS_FILTER_SINCE):
        allowed = False
    if not allowed:
        raise command_line.invalid(
            "--include-metadata", f"expected one of [none, all, users, roles] (case-insensitive) but was '{given}'"
        )
    return kind.upper()


def _target(to_path: str) -> Path:
    if to_path.startswith(CLOUD):
        if not to_path.endswith("/"):
            raise CommandError(f"The path '{to_path}' is not a directory - please add a terminal '/' to your path")
        raise CommandError(f"The stand-in writes to local folders only, not to '{to_path}'")
    if not Path(to_path).is_dir():
        raise CommandError(f"{to_path} is not an existing directory")
    return Path(to_path).absolute()


def empty_folder(temp_path: str | None) -> Path:
    """Return the folder for temporary files, by default the working directory. Raise CommandError if it has files."""
    if temp_path is None:
        return Path.cwd()
    path = Path(temp_path)
    if not path.is_dir():
        raise CommandError(f"Storage staging path does not exist: {temp_path}")
    if any(path.iterdir()):
        raise CommandError(f"Storage staging path is not empty: {temp_path}")
    return path


def _take(context: Context, source: Source, types: tuple[str, ...], only: frozenset[str]) -> Faults:
    return faults.take(
        context.folder,
        context.cluster.faults,
        command="backup",
        database=source.database.name,
        server=source.address,
        types=types,
        only=only,
    )


def _io_error(error: OSError, path: Path) -> str:
    if isinstance(error, FileExistsError):
        return f"java.nio.file.FileAlreadyExistsException: {path}"
    if error.errno == errno.ENOSPC:
        return f"java.io.IOException: No space left on device: {path}"
    return f"java.io.IOException: {error.strerror}: {path}"


def _version_of(context: Context, server: Server) -> Version:
    return versions.parse(server.version or context.cluster.version)


def _with_port(address: str) -> str:
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]"):
        return f"{address}:{BACKUP_PORT}"
    if not host or not port.isdigit():
        raise command_line.invalid("--from", f"'{address}' is not host:port")
    return address


def _normal(address: str) -> str:
    return address.lower().replace("localhost:", "127.0.0.1:")


def _took(begun: float) -> str:
    return f"{int((time.monotonic() - begun) * 1000)}ms"

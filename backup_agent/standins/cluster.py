"""The simulated cluster: immutable values that are stored in `cluster.json`, with a method for each change.

Both stand-ins, the Bolt server and `neo4j-admin`, read that file each time. So a test or the demo moves a leader or
stops a server by saving a changed cluster. A database has two unrelated ids: `database_id` (64 hex digits) is shown
by SHOW DATABASES, `internal_id` is the UUID in an artifact's header. A copy's `lag` is zero or negative, as in the
column replicationLag.
"""

import dataclasses
import hashlib
import json
import os
import tempfile
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

FILE = "cluster.json"
NAMESPACE = uuid.UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")
Named = TypeVar("Named", "Server", "Database")
SYSTEM_INTERNAL_ID = "00000000-0000-0000-0000-000000000001"  # the same in every Neo4j (neo4j-admin.md 2.3)


@dataclass(frozen=True)
class Server:
    """One server. Port 0 in `bolt` stands for any free port; SHOW DATABASES then lists the actual one."""

    id: str
    name: str
    bolt: str = "127.0.0.1:0"
    backup: str = ""
    up: bool = True
    version: str | None = None
    """Version of the server if it differs from the cluster's, as in a rolling upgrade."""
    state: str = "Enabled"
    """State in SHOW SERVERS: `Free`, `Enabled`, `Cordoned`, `Deallocating`, `Deallocated` or `Dropped`."""


@dataclass(frozen=True)
class Copy:
    """One database on one server."""

    server: str
    role: str = "primary"
    writer: bool = False
    status: str = "online"
    lag: int = 0
    failed: bool = False
    """Whether the copy is offline because its seed could not be read or loaded."""


@dataclass(frozen=True)
class Database:
    """One database and its copies. Only a composite database has `constituents`."""

    name: str
    internal_id: str
    database_id: str
    type: str = "standard"
    """`system`, `standard`, `composite`, `replica`, `graph shard` or `property shard`."""
    constituents: tuple[str, ...] = ()
    shards: tuple[str, ...] = ()
    """The graph shard of a sharded database and then its property shards. The type of such a database is `standard`."""
    access: str = "read-write"
    default_language: str = "CYPHER 5"
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    last_transaction: int = 1
    pruned_below: int = 0
    """First transaction that is still in the logs. A DIFF that would start before it cannot be taken."""
    store_bytes: int = 0
    copies: tuple[Copy, ...] = ()


@dataclass(frozen=True)
class Alias:
    """Another name of a database."""

    name: str
    target: str


@dataclass(frozen=True)
class User:
    """An account and its grants. A cluster without users accepts any login and grants everything."""

    name: str
    password: str
    databases: tuple[str, ...] = ("*",)
    """Globs of databases with ACCESS. Without any, SHOW DATABASES lists `system` alone."""
    show_servers: bool = True
    show_aliases: bool = True
    show_settings: tuple[str, ...] = ("*",)
    """Globs of visible settings. Other settings are left out without an error."""
    manages_databases: bool = False
    """True if the account may create, drop or alter databases. SHOW DATABASES lists shards only to such accounts."""
    password_expired: bool = False
    home: str | None = None
    """The home database, if it is not the default."""


@dataclass(frozen=True)
class BoltFault:
    """A fault of the Bolt server. `do` is one of `backup_agent.standins.bolt.faults.KINDS`."""

    do: str
    server: str | None = None
    """Name of the server; None for all."""
    statement: str | None = None
    """Beginning of the statement, such as SHOW DATABASES; None for all."""
    times: int | None = None
    """Number of times; None for no limit."""
    seconds: float = 0.0
    database: str | None = None
    to: str | None = None
    """For `move_leader`: the new leader of `database`."""
    code: str | None = None
    message: str | None = None
    addresses: tuple[str, ...] = ()
    """For `dead_routes`: the addresses in the routing table."""


@dataclass(frozen=True)
class Bolt:
    """The properties of the cluster that only the Bolt server uses."""

    edition: str = "enterprise"
    users: tuple[User, ...] = ()
    settings: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    """Name of a server -> its settings that differ from the defaults, for SHOW SETTINGS."""
    faults: tuple[BoltFault, ...] = ()
    privileges: tuple[str, ...] = ()
    """Privileges as the statements that grant or deny them, for SHOW PRIVILEGES AS COMMANDS."""


@dataclass(frozen=True)
class Cluster:
    """A simulated cluster. `faults` are those of the `neo4j-admin` stand-in, which alone interprets them."""

    version: str
    servers: tuple[Server, ...]
    databases: tuple[Database, ...]
    aliases: tuple[Alias, ...] = ()
    faults: tuple[Mapping[str, Any], ...] = ()
    bolt: Bolt = Bolt()

    def server(self, name: str) -> Server:
        """Return the server with this name. Raise KeyError if it does not exist."""
        return _named(self.servers, name)

    def database(self, name: str) -> Database:
        """Return the database with this name. Raise KeyError if it does not exist."""
        return _named(self.databases, name)

    def version_of(self, server: str) -> str:
        """Return the Neo4j version of a server."""
        return self.server(server).version or self.version

    def with_server(self, name: str, **changes: Any) -> Self:  # noqa: ANN401  any field of Server
        """Change fields of one server."""
        return dataclasses.replace(self, servers=_replaced(self.servers, name, **changes))

    def with_database(self, name: str, **changes: Any) -> Self:  # noqa: ANN401  any field of Database
        """Change fields of one database."""
        return dataclasses.replace(self, databases=_replaced(self.databases, name, **changes))

    def with_copy(self, database: str, server: str, **changes: Any) -> Self:  # noqa: ANN401  any field of Copy
        """Change fields of one copy of a database."""
        copies = self.database(database).copies
        if all(copy.server != server for copy in copies):
            raise KeyError(f"{server} holds no copy of {database}")
        return self.with_database(
            database,
            copies=tuple(dataclasses.replace(c, **changes) if c.server == server else c for c in copies),
        )

    def with_leader(self, database: str, server: str) -> Self:
        """Make another server of a database its leader."""
        moved = self.with_copy(database, server, role="primary", writer=True)
        copies = tuple(dataclasses.replace(c, writer=c.server == server) for c in moved.database(database).copies)
        return moved.with_database(database, copies=copies)

    def with_server_down(self, name: str) -> Self:
        """Stop a server. Its databases get another leader if a majority of their primaries is up."""
        return self.with_server(name, up=False).with_leaders_elected()

    def with_server_up(self, name: str) -> Self:
        """Start a server again. Databases without a leader get one if a majority of their primaries is up."""
        return self.with_server(name, up=True).with_leaders_elected()

    def with_leaders_elected(self) -> Self:
        """Elect a leader for each database whose leader is down; none if a majority of its primaries is down."""
        up = {server.name for server in self.servers if server.up}
        cluster = self
        for database in self.databases:
            primaries = [copy.server for copy in database.copies if copy.role == "primary"]
            left = [server for server in primaries if server in up]
            leader = next((copy.server for copy in database.copies if copy.writer), None)
            majority = 2 * len(left) > len(primaries)
            if database.type == "composite" or (majority and leader in up):
                continue
            if majority:
                cluster = cluster.with_leader(database.name, left[0])
            elif leader:
                cluster = cluster.with_copy(database.name, leader, writer=False)
        return cluster

    def with_status(self, database: str, status: str) -> Self:
        """Change the status of all copies of a database, such as to offline or quarantined."""
        copies = tuple(dataclasses.replace(copy, status=status) for copy in self.database(database).copies)
        return self.with_database(database, copies=copies)

    def with_transactions(self, database: str, count: int) -> Self:
        """Commit transactions in a database."""
        return self.with_database(database, last_transaction=self.database(database).last_transaction + count)

    def with_database_added(self, database: Database) -> Self:
        """Create a database."""
        return dataclasses.replace(self, databases=(*self.databases, database))

    def with_sharded_database(self, name: str, property_shards: int = 2) -> Self:
        """Create a sharded database: its own row, a graph shard, and property shards, on all servers."""
        graph, *properties = [f"{name}-g000", *(f"{name}-p{number:03}" for number in range(property_shards))]
        primaries = [Copy(server.name, writer=not place) for place, server in enumerate(self.servers)]
        replicas = [Copy(server.name, role="property shard replica") for server in self.servers]
        return dataclasses.replace(
            self,
            databases=(
                *self.databases,
                new_database(name, primaries, shards=(graph, *properties)),
                new_database(graph, primaries, type="graph shard"),
                *(new_database(shard, replicas, type="property shard") for shard in properties),
            ),
        )

    def with_database_dropped(self, name: str) -> Self:
        """Drop a database and its aliases."""
        self.database(name)
        return dataclasses.replace(
            self,
            databases=tuple(database for database in self.databases if database.name != name),
            aliases=tuple(alias for alias in self.aliases if alias.target != name),
        )

    def with_database_recreated(self, name: str) -> Self:
        """Drop a database and create it again, with the same name, other ids and no transactions."""
        old = self.database(name)
        return self.with_database(
            name,
            internal_id=str(uuid.uuid5(NAMESPACE, old.internal_id)),
            database_id=hashlib.sha256(old.database_id.encode()).hexdigest().upper(),
            last_transaction=1,
            pruned_below=0,
        )

    def with_alias(self, name: str, target: str) -> Self:
        """Create an alias."""
        return dataclasses.replace(self, aliases=(*self.aliases, Alias(name, target)))

    def with_faults(self, *faults: Mapping[str, Any]) -> Self:
        """Replace the faults of the `neo4j-admin` stand-in."""
        return dataclasses.replace(self, faults=faults)

    def with_bolt_faults(self, *faults: BoltFault) -> Self:
        """Replace the faults of the Bolt server."""
        return dataclasses.replace(self, bolt=dataclasses.replace(self.bolt, faults=faults))

    def with_users(self, *users: User) -> Self:
        """Replace the users that can log in over Bolt."""
        return dataclasses.replace(self, bolt=dataclasses.replace(self.bolt, users=users))

    def with_privileges(self, *commands: str) -> Self:
        """Replace the privileges, given as the statements that grant or deny them."""
        return dataclasses.replace(self, bolt=dataclasses.replace(self.bolt, privileges=commands))

    def with_edition(self, edition: str) -> Self:
        """Change the edition over Bolt: `enterprise` or `community`."""
        return dataclasses.replace(self, bolt=dataclasses.replace(self.bolt, edition=edition))

    def with_settings(self, server: str, settings: Mapping[str, str]) -> Self:
        """Replace the settings of one server that differ from the defaults."""
        self.server(server)
        changed = {**self.bolt.settings, server: dict(settings)}
        return dataclasses.replace(self, bolt=dataclasses.replace(self.bolt, settings=changed))


def one_server(version: str = "2026.09.0", databases: Iterable[str] = ("neo4j", "orders")) -> Cluster:
    """Return a cluster of one server, the leader of all databases."""
    return _built(version, databases, primaries=1, secondaries=0)


def three_servers(version: str = "2026.09.0", databases: Iterable[str] = ("neo4j", "orders")) -> Cluster:
    """Return a cluster of three primaries of all databases. Each server leads some databases, as in a real cluster."""
    return _built(version, databases, primaries=3, secondaries=0)


def five_servers(version: str = "2026.09.0", databases: Iterable[str] = ("neo4j", "orders")) -> Cluster:
    """Return a cluster of three primaries and two secondaries, of which `server-4` lags two transactions."""
    return _built(version, databases, primaries=3, secondaries=2)


def new_database(name: str, copies: Iterable[Copy], **fields: Any) -> Database:  # noqa: ANN401  any field of Database
    """Return a database with ids that are derived from its name."""
    fields.setdefault("type", "system" if name == "system" else "standard")
    made = SYSTEM_INTERNAL_ID if name == "system" else str(uuid.uuid5(NAMESPACE, f"database {name}"))
    return Database(
        name=name,
        internal_id=fields.pop("internal_id", made),
        database_id=fields.pop("database_id", hashlib.sha256(name.encode()).hexdigest().upper()),
        copies=tuple(copies),
        **fields,
    )


def load(folder: Path) -> Cluster:
    """Read the cluster of a folder. Raise ValueError if its file is not valid."""
    path = folder / FILE
    try:
        return _cluster(json.loads(path.read_bytes()))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a simulated cluster: {error}") from error


def store_folder(folder: Path, server: str, database: str) -> Path:
    """Return the folder for a store that `neo4j-admin database restore` has restored and that no database uses yet.

    It holds the artifacts of the chain, because the stand-in cannot apply differentials.
    """
    return folder / "stores" / server / database


def save(cluster: Cluster, folder: Path) -> None:
    """Replace the cluster of a folder atomically."""
    handle, temporary = tempfile.mkstemp(prefix=f".{FILE}.", dir=folder)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(dataclasses.asdict(cluster), file, indent=1)
    Path(temporary).replace(folder / FILE)


def _built(version: str, databases: Iterable[str], *, primaries: int, secondaries: int) -> Cluster:
    names = [f"server-{number}" for number in range(primaries + secondaries)]
    roles = ["primary"] * primaries + ["secondary"] * secondaries
    lags = [-2 if secondaries and name == names[-1] else 0 for name in names]
    ordered = ("system", *(name for name in databases if name != "system"))
    return Cluster(
        version=version,
        servers=tuple(
            Server(id=str(uuid.uuid5(NAMESPACE, f"server {name}")), name=name, backup=f"{name}:6362") for name in names
        ),
        databases=tuple(
            new_database(
                database,
                (
                    Copy(server=name, role=role, writer=place == turn % primaries, lag=lag)
                    for place, (name, role, lag) in enumerate(zip(names, roles, lags, strict=True))
                ),
                last_transaction=12,
            )
            for turn, database in enumerate(ordered)
        ),
    )


def _named(values: tuple[Named, ...], name: str) -> Named:
    for value in values:
        if value.name == name:
            return value
    raise KeyError(f"{name}: not one of {', '.join(value.name for value in values)}")


def _replaced(values: tuple[Named, ...], name: str, **changes: Any) -> tuple[Named, ...]:  # noqa: ANN401  any field
    changed = dataclasses.replace(_named(values, name), **changes)
    return tuple(changed if value.name == name else value for value in values)


def _cluster(data: dict[str, Any]) -> Cluster:
    bolt = data.get("bolt") or {}
    return Cluster(
        version=data["version"],
        servers=tuple(Server(**server) for server in data["servers"]),
        databases=tuple(
            Database(
                **{
                    **database,
                    "constituents": tuple(database.get("constituents", ())),
                    "shards": tuple(database.get("shards", ())),
                    "copies": tuple(Copy(**copy) for copy in database.get("copies", ())),
                }
            )
            for database in data["databases"]
        ),
        aliases=tuple(Alias(**alias) for alias in data.get("aliases", ())),
        faults=tuple(data.get("faults", ())),
        bolt=Bolt(
            **{
                **bolt,
                "privileges": tuple(bolt.get("privileges", ())),
                "users": tuple(
                    User(
                        **{
                            **user,
                            "databases": tuple(user.get("databases", ("*",))),
                            "show_settings": tuple(user.get("show_settings", ("*",))),
                        }
                    )
                    for user in bolt.get("users", ())
                ),
                "faults": tuple(
                    BoltFault(**{**fault, "addresses": tuple(fault.get("addresses", ()))})
                    for fault in bolt.get("faults", ())
                ),
            }
        ),
    )

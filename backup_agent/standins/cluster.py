"""The simulated cluster: what `cluster.json` in its folder says, as values with a verb for each change.

Both stand-ins, the Bolt server and `neo4j-admin`, read the same file afresh each time, so saving a new value is how
a test or the demo moves a leader or stops a server. A newcomer would mix up the two ids of a database:
`database_id` is what SHOW DATABASES tells (64 hex digits), `internal_id` the UUID in an artifact's header; Neo4j does
not say how they relate, so here they do not. A copy's `lag` is zero or negative, as in the column replicationLag.
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
    """One server. Port 0 in `bolt` means: any free one (the rows then show the port that was taken)."""

    id: str
    name: str
    bolt: str = "127.0.0.1:0"
    backup: str = ""
    up: bool = True
    version: str | None = None
    """Where it differs from the cluster's, as in a rolling upgrade."""


@dataclass(frozen=True)
class Copy:
    """One database on one server."""

    server: str
    role: str = "primary"
    writer: bool = False
    status: str = "online"
    lag: int = 0


@dataclass(frozen=True)
class Database:
    """One database, with its copies. `constituents` are those of a composite one."""

    name: str
    internal_id: str
    database_id: str
    type: str = "standard"
    constituents: tuple[str, ...] = ()
    last_transaction: int = 1
    pruned_below: int = 0
    """Transactions below this one are no longer in the logs: a DIFF from before it cannot be taken."""
    store_bytes: int = 0
    copies: tuple[Copy, ...] = ()


@dataclass(frozen=True)
class Alias:
    """Another name of a database."""

    name: str
    target: str


@dataclass(frozen=True)
class User:
    """An account and what it is granted. A cluster without users lets everybody in with every grant."""

    name: str
    password: str
    databases: tuple[str, ...] = ("*",)
    """Globs: what ACCESS is granted on. With none, SHOW DATABASES lists `system` alone."""
    show_servers: bool = True
    show_aliases: bool = True
    show_settings: tuple[str, ...] = ("*",)
    """Globs of setting names. One that is not granted gives no row, and no error."""
    password_expired: bool = False


@dataclass(frozen=True)
class BoltFault:
    """Something the Bolt server does wrong; `do` is one of `backup_agent.standins.bolt.faults.KINDS`."""

    do: str
    server: str | None = None
    """Name of the server; None is every one."""
    statement: str | None = None
    """How the statement begins, such as SHOW DATABASES; None is every one."""
    times: int | None = None
    """How often; None is for ever."""
    seconds: float = 0.0
    database: str | None = None
    to: str | None = None
    """For a leader switch: the server that leads `database` from then on."""
    code: str | None = None
    message: str | None = None
    addresses: tuple[str, ...] = ()
    """For the routing table: what it names instead of the servers."""


@dataclass(frozen=True)
class Bolt:
    """How the cluster behaves over Bolt."""

    edition: str = "enterprise"
    users: tuple[User, ...] = ()
    settings: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    """Server's name -> settings that differ from the default, for SHOW SETTINGS."""
    faults: tuple[BoltFault, ...] = ()


@dataclass(frozen=True)
class Cluster:
    """A whole simulated cluster. `faults` are those of the `neo4j-admin` stand-in, opaque here."""

    version: str
    servers: tuple[Server, ...]
    databases: tuple[Database, ...]
    aliases: tuple[Alias, ...] = ()
    faults: tuple[Mapping[str, Any], ...] = ()
    bolt: Bolt = Bolt()

    def server(self, name: str) -> Server:
        """Return the server of that name; raise KeyError, naming those there are, when there is none."""
        return _named(self.servers, name)

    def database(self, name: str) -> Database:
        """Return the database of that name; raise KeyError, naming those there are, when there is none."""
        return _named(self.databases, name)

    def version_of(self, server: str) -> str:
        """Return the Neo4j version a server runs."""
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
        """Move the writer of a database to another of its servers."""
        moved = self.with_copy(database, server, role="primary", writer=True)
        copies = tuple(dataclasses.replace(c, writer=c.server == server) for c in moved.database(database).copies)
        return moved.with_database(database, copies=copies)

    def with_server_down(self, name: str) -> Self:
        """Stop a server. What it led is led by the next primary, where a majority of them is still up."""
        return self.with_server(name, up=False).with_leaders_elected()

    def with_server_up(self, name: str) -> Self:
        """Start a server again. It follows, unless its return makes the majority that had been missing."""
        return self.with_server(name, up=True).with_leaders_elected()

    def with_leaders_elected(self) -> Self:
        """Give every database whose leader is down another, or none where a majority of its primaries is missing."""
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
        """Give every copy of a database the same status, such as offline or quarantined."""
        copies = tuple(dataclasses.replace(copy, status=status) for copy in self.database(database).copies)
        return self.with_database(database, copies=copies)

    def with_transactions(self, database: str, count: int) -> Self:
        """Commit that many transactions."""
        return self.with_database(database, last_transaction=self.database(database).last_transaction + count)

    def with_database_added(self, database: Database) -> Self:
        """Create a database."""
        return dataclasses.replace(self, databases=(*self.databases, database))

    def with_database_dropped(self, name: str) -> Self:
        """Drop a database, and with it the aliases that name it."""
        self.database(name)
        return dataclasses.replace(
            self,
            databases=tuple(database for database in self.databases if database.name != name),
            aliases=tuple(alias for alias in self.aliases if alias.target != name),
        )

    def with_database_recreated(self, name: str) -> Self:
        """Drop a database and create it again: same name, other ids, and no history."""
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
        """Say what the `neo4j-admin` stand-in does wrong from now on."""
        return dataclasses.replace(self, faults=faults)

    def with_bolt_faults(self, *faults: BoltFault) -> Self:
        """Say what the Bolt server does wrong from now on."""
        return dataclasses.replace(self, bolt=dataclasses.replace(self.bolt, faults=faults))

    def with_users(self, *users: User) -> Self:
        """Let only these in over Bolt."""
        return dataclasses.replace(self, bolt=dataclasses.replace(self.bolt, users=users))

    def with_edition(self, edition: str) -> Self:
        """Answer over Bolt as that edition: `enterprise` or `community`."""
        return dataclasses.replace(self, bolt=dataclasses.replace(self.bolt, edition=edition))

    def with_settings(self, server: str, settings: Mapping[str, str]) -> Self:
        """Set what SHOW SETTINGS of one server tells, beside the defaults."""
        self.server(server)
        changed = {**self.bolt.settings, server: dict(settings)}
        return dataclasses.replace(self, bolt=dataclasses.replace(self.bolt, settings=changed))


def one_server(version: str = "2026.09.0", databases: Iterable[str] = ("neo4j", "orders")) -> Cluster:
    """Return a single server that leads every database."""
    return _built(version, databases, primaries=1, secondaries=0)


def three_servers(version: str = "2026.09.0", databases: Iterable[str] = ("neo4j", "orders")) -> Cluster:
    """Return three primaries that all hold every database; leaders take turns, as a real cluster spreads them."""
    return _built(version, databases, primaries=3, secondaries=0)


def five_servers(version: str = "2026.09.0", databases: Iterable[str] = ("neo4j", "orders")) -> Cluster:
    """Return three primaries and two secondaries, `server-3` and `server-4`; the last one lags two transactions."""
    return _built(version, databases, primaries=3, secondaries=2)


def new_database(name: str, copies: Iterable[Copy], **fields: Any) -> Database:  # noqa: ANN401  any field of Database
    """Return a database with ids made from its name, so that the same name always gives the same ids."""
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
    """Read the cluster of a folder; raise ValueError, naming the file, where it is not one."""
    path = folder / FILE
    try:
        return _cluster(json.loads(path.read_bytes()))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a simulated cluster: {error}") from error


def save(cluster: Cluster, folder: Path) -> None:
    """Replace a folder's cluster in one step: a reader sees the old one or the new one, never half of it."""
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

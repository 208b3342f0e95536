"""The topology of a cluster at one moment, and the choice of the server for a backup.

SHOW DATABASES has the servers' Bolt addresses. Backups are served at another port, and sometimes under another host
name: `Addressing` maps one to the other. The columns are described in the Neo4j operations manual, "Listing databases".

Users choose the names of databases, and the server that answers may not be Neo4j. All values are therefore checked
before they become a `Copy` or a `Topology`, because they are used as folders, labels and arguments.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from enum import IntEnum
from typing import Annotated, Any, NamedTuple, Self

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from backup_agent.core.artifacts.names import DatabaseName, database_name_or_none
from backup_agent.core.artifacts.records import Definition, StoredValue, Value
from backup_agent.core.escaping import first_few, quoted
from backup_agent.core.neo4j.kinds import OF_TYPE, ExcludedKind
from backup_agent.core.reasons import PermanentError, Reason

ONLINE = "online"
"""The `currentStatus` of a copy that can be backed up."""

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""Neo4j's default advertised host is `localhost`, which no other machine can use."""

ADVERTISED_BACKUP = "server.backup.advertised_address"
"""Setting since 2025.05. Its default `:0` stands for the default advertised host and the backup port."""

ADVERTISED_DEFAULT = "server.default_advertised_address"

BACKUP_ENABLED = "server.backup.enabled"
BACKUP_LISTEN = "server.backup.listen_address"
"""Its default is 127.0.0.1:6362, which only the server's own machine reaches."""


MOST_COPIES = 20_000
"""Largest number of rows of SHOW DATABASES: 1,500 databases with 13 copies each, or 6,600 with three."""

MOST_SERVERS = 1_000
MOST_ALIASES = 20_000
MOST_VERSIONS = 100

ADDRESS = re.compile(
    r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}|\[[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9]{1,32})?\])(?::[0-9]{1,5})?"
)
"""A host name, IPv4 or bracketed IPv6 address, and a port."""

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}")


def _shaped(pattern: str) -> Any:  # noqa: ANN401  pydantic's FieldInfo
    return Field(pattern=f"^(?:{pattern})$")


AddressText = Annotated[str, _shaped(ADDRESS.pattern)]
Identity = Annotated[str, _shaped("[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")]
Word = Annotated[str, _shaped("[A-Za-z0-9][A-Za-z0-9 _-]{0,63}")]
VersionText = Annotated[str, _shaped(_VERSION.pattern)]
Transaction = Annotated[int, Field(ge=-(2**63), lt=2**63)]


# A dataclass with slots takes a quarter of the memory of a model: a topology may have thousands of copies.
@dataclass(frozen=True, slots=True, config=ConfigDict(extra="ignore"))
class Copy:
    """One row of SHOW DATABASES: one database on one server. Every column except the name may be null."""

    database: DatabaseName
    type: Word | None = None
    role: Word | None = None
    writer: bool | None = None
    address: AddressText | None = None
    """The server's advertised Bolt address, host:port."""
    server_id: Identity | None = None
    database_id: Identity | None = None
    status: Word | None = None
    last_committed_txn: Transaction | None = None
    replication_lag: Transaction | None = None
    """Zero, or the negative number of transactions behind the most advanced copy."""

    @property
    def serves(self) -> bool:
        """Whether a backup may be taken from this copy. True if the status is unknown: then neo4j-admin decides."""
        return self.status in (None, ONLINE)


class Topology(StoredValue):
    """The cluster's answer over Bolt and its time. Stored in `<root>/.agent/topology.json` in case Bolt is down."""

    seen: datetime
    copies: tuple[Copy, ...]
    aliases: dict[DatabaseName, DatabaseName | None] = Field(default_factory=dict)
    """Alias -> its database, or None if that is unknown (a remote alias)."""
    versions: tuple[VersionText, ...] = ()
    """Versions of the Neo4j kernel on the servers that answered. During a rolling upgrade there are several."""
    backup_addresses: dict[AddressText, AddressText] = Field(default_factory=dict)
    """Bolt address of a server -> host:port of its backup listener, if the server advertises it."""
    definitions: dict[DatabaseName, Definition] = Field(default_factory=dict)
    """Database -> its definition, if known."""
    missing: tuple[DatabaseName, ...] = ()
    """Databases that were listed before and are not listed now, until they are listed again or forgotten."""
    replaced: dict[DatabaseName, datetime] = Field(default_factory=dict)
    """Database that was replaced or created again -> when that was seen, until its new history has a FULL."""
    former: dict[DatabaseName, Identity] = Field(default_factory=dict)
    """The last known databaseID of each database that is missing, or that no row has now: it may come back replaced."""

    def to_json(self) -> bytes:
        """Return the stored form of the topology: one line of JSON without null values, to keep it small."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n"

    def databases(self) -> dict[DatabaseName, tuple[Copy, ...]]:
        """Return each listed database with its copies, sorted by name. Excluded databases are included."""
        found: dict[DatabaseName, tuple[Copy, ...]] = {}
        for copy in self.copies:
            found[copy.database] = (*found.get(copy.database, ()), copy)
        return dict(sorted(found.items()))

    def last_committed_tx(self, database: DatabaseName) -> int | None:
        """Return the last transaction that all online copies of a database have, or None if it is unknown."""
        online = [copy.last_committed_txn for copy in self.copies if copy.database == database and copy.serves]
        known = [transaction for transaction in online if transaction is not None]
        return min(known) if known and len(known) == len(online) else None

    def excluded(self) -> dict[DatabaseName, ExcludedKind]:
        """Return the databases that are not backed up because of their kind."""
        found = {copy.database: OF_TYPE[copy.type] for copy in self.copies if copy.type in OF_TYPE}
        sharded = {name: ExcludedKind.SHARDED for name, one in self.definitions.items() if one.shards}
        return {**sharded, **found}

    def following(self, last: Self | None) -> Self:
        """Return this topology with `missing`: the databases that `last` has and this one does not list."""
        if last is None:
            return self
        names = {copy.database for copy in self.copies}
        gone = ({copy.database for copy in last.copies} - last.excluded().keys() | set(last.missing)) - names
        now, before = self.identities(), {**last.former, **last.identities()}
        replaced = {
            name: last.replaced.get(name, self.seen)
            for name in names
            if name in last.replaced or (name in now and before.get(name, now[name]) != now[name])
        }
        former = {name: one for name, one in before.items() if name not in now and (name in names or name in gone)}
        return self.model_copy(update={"missing": tuple(sorted(gone)), "replaced": replaced, "former": former})

    def identities(self) -> dict[DatabaseName, Identity]:
        """Return the databaseID of each listed database for which a row has one."""
        return {copy.database: copy.database_id for copy in self.copies if copy.database_id is not None}

    def with_full(self, database: DatabaseName, database_id: str | None) -> Self:
        """Return this topology after a FULL of a database was recorded, with the databaseID at that time."""
        if database not in self.replaced or database_id != self.identities().get(database):
            return self
        return self.model_copy(
            update={"replaced": {name: seen for name, seen in self.replaced.items() if name != database}}
        )

    def forgetting(self, database: DatabaseName) -> Self:
        """Return this topology without `database` in `missing`."""
        return self.model_copy(
            update={
                "missing": tuple(name for name in self.missing if name != database),
                "former": {name: one for name, one in self.former.items() if name != database},
            }
        )


class Refusals:
    """The values of a cluster's answer that the agent refused: their number by kind, and a few examples."""

    def __init__(self) -> None:
        """Start without refused values."""
        self._found: dict[str, dict[str, None]] = {}

    def add(self, kind: str, value: object) -> None:
        """Count a refused value. Equal values count once."""
        self._found.setdefault(kind, {})[quoted(value)] = None

    def count(self, kind: str) -> int:
        """Return the number of different values of a kind."""
        return len(self._found.get(kind, ()))

    def notes(self) -> tuple[str, ...]:
        """Return a line for each kind, printable and of limited length."""
        return tuple(f"{len(values)} {kind}: {first_few(values)}" for kind, values in self._found.items())


REFUSED_DATABASES = "names of databases refused (letters, digits, '.' and '-', at most 128), so they are not backed up"


class Listing(NamedTuple):
    """The copies in rows of SHOW DATABASES, and the refused values."""

    copies: tuple[Copy, ...]
    refusals: Refusals


def listed(rows: Iterable[Mapping[str, object]]) -> Listing:
    """Return the copies in rows of SHOW DATABASES. The keys of a row are the fields of `Copy`.

    A row with an invalid name is refused. Any other invalid value counts as unknown. Raise PermanentError if there are
    too many rows or servers.
    """
    copies: list[Copy] = []
    servers: set[tuple[str | None, str | None]] = set()
    refusals = Refusals()
    for number, row in enumerate(rows, start=1):
        if number > MOST_COPIES:
            raise too_many(f"more than {MOST_COPIES} copies of databases")
        copy = _copy(row, refusals)
        if copy is not None:
            copies.append(copy)
            servers.add((copy.address, copy.server_id))
            if len(servers) > MOST_SERVERS:
                raise too_many(f"more than {MOST_SERVERS} servers")
    return Listing(tuple(copies), refusals)


def aliases(rows: Iterable[tuple[object, object]]) -> dict[DatabaseName, DatabaseName | None]:
    """Return alias -> database from rows of SHOW ALIASES. Aliases with invalid names are left out.

    Raise PermanentError if there are too many.
    """
    found: dict[DatabaseName, DatabaseName | None] = {}
    for number, (alias, database) in enumerate(rows, start=1):
        if number > MOST_ALIASES:
            raise PermanentError(Reason.SOURCE_UNREACHABLE, f"there are more than {MOST_ALIASES} aliases")
        if (name := database_name_or_none(alias)) is not None:
            found[name] = database_name_or_none(database)
    return found


def kernel_versions(answers: Iterable[object], refusals: Refusals) -> tuple[str, ...]:
    """Return the valid versions, sorted and without duplicates. Add the others to `refusals`."""
    found: set[str] = set()
    for version in answers:
        if isinstance(version, str) and _VERSION.fullmatch(version) and len(found) < MOST_VERSIONS:
            found.add(version)
        else:
            refusals.add("versions refused", version)
    return tuple(sorted(found))


def _copy(row: Mapping[str, Any], refusals: Refusals) -> Copy | None:
    try:
        return Copy(**row)
    except ValidationError as error:
        wrong = {str(fault["loc"][0]) for fault in error.errors(include_url=False, include_context=False)}
    if "database" in wrong:
        refusals.add(REFUSED_DATABASES, row["database"])
        return None
    for name in sorted(wrong):
        refusals.add(f"values of {name} invalid, so treated as unknown", row[name])
    return Copy(**{**row, **dict.fromkeys(wrong)})


def too_many(what: str) -> PermanentError:
    """Return the error for an answer of SHOW DATABASES that is larger than the agent supports."""
    return PermanentError(
        Reason.SOURCE_UNREACHABLE,
        f"SHOW DATABASES lists {what}, more than the agent supports",
        "let the agent's account see fewer databases (GRANT ACCESS ON DATABASE); another agent can back up the others",
    )


class Addressing(Value):
    """The `neo4j` settings that map a server's Bolt address to its backup address."""

    backup_port: int = 6362
    backup_addresses: dict[str, str] | str | None = None
    """A map from server id, Bolt host:port or Bolt host to a backup address, or a template (`from_template`)."""
    servers: tuple[str, ...] = ()

    @property
    def static(self) -> tuple[str, ...]:
        """The backup addresses in the settings: `servers`, and the values of a map."""
        mapped = self.backup_addresses.values() if isinstance(self.backup_addresses, dict) else ()
        return tuple(dict.fromkeys(with_port(address, self.backup_port) for address in (*self.servers, *mapped)))


class BackupSource(Value):
    """One server that can serve a backup, for `--from`."""

    address: str
    """host:port of its backup listener."""
    role: str
    """`secondary`, `follower`, `writer` or `unknown`."""
    bolt_address: str | None = None
    lag: int | None = None
    unreachable: str | None = None
    """Why a TCP connection failed; None if it succeeded or was not tried."""


class _Rank(IntEnum):
    """The order of preference: copies that serve the fewest clients come first."""

    SECONDARY = 0
    FOLLOWER = 1
    UNKNOWN = 2
    WRITER = 3


def sources(
    topology: Topology | None,
    database: DatabaseName,
    addressing: Addressing,
    reachable: Mapping[str, str | None] | None = None,
) -> tuple[BackupSource, ...]:
    """Return the servers from which a backup of `database` can be taken, best first.

    Online secondaries come first, by lag, then followers, then the writer, then the addresses of the settings. If no
    copy is online (the topology may be old), all copies are returned; if no copy is listed, all servers. `reachable`
    maps a backup address to None, or to the reason why a TCP connection failed. Servers without a connection come last
    and are not dropped, because only neo4j-admin knows for certain.
    """
    reachable = reachable or {}
    found: dict[str, BackupSource] = {}
    for copy in sorted(_candidates(topology, database), key=_preference):
        address = backup_address(copy, topology, addressing)
        if address is not None and address not in found:
            found[address] = BackupSource(
                address=address,
                role=_rank(copy).name.lower(),
                bolt_address=copy.address,
                lag=copy.replication_lag,
                unreachable=reachable.get(address),
            )
    for address in addressing.static:
        if address not in found:
            found[address] = BackupSource(
                address=address, role=_Rank.UNKNOWN.name.lower(), unreachable=reachable.get(address)
            )
    return tuple(sorted(found.values(), key=lambda source: source.unreachable is not None))


def backup_address(copy: Copy, topology: Topology | None, addressing: Addressing) -> str | None:
    """Return host:port of the backup listener for a copy, or None if it is unknown.

    It is taken from the setting `backup_addresses`, else from the server's advertised address, else from the Bolt host
    and the backup port, which is wrong behind a load balancer.
    """
    chosen = addressing.backup_addresses
    if isinstance(chosen, dict):
        configured = next((chosen[key] for key in _keys(copy) if key in chosen), None)
    else:
        configured = from_template(chosen, copy) if chosen else None
    if configured:
        return with_port(configured, addressing.backup_port)
    if copy.address is None:
        return None
    advertised_address = topology.backup_addresses.get(copy.address) if topology else None
    return advertised_address or join(split(copy.address)[0], addressing.backup_port)


def addresses(topology: Topology | None, addressing: Addressing) -> tuple[str, ...]:
    """Return all backup addresses without duplicates, for a probe."""
    copies = topology.copies if topology else ()
    derived = (backup_address(copy, topology, addressing) for copy in copies)
    return tuple(dict.fromkeys([*(address for address in derived if address), *addressing.static]))


def from_template(template: str, copy: Copy) -> str | None:
    """Fill in `{host}` (of the Bolt address), `{name}` (its first label), `{server_id}`; return None if one is null.

    >>> from_template("{name}.demo-headless:6362", Copy(database="orders", address="demo-server-0.example.com:7687"))
    'demo-server-0.demo-headless:6362'
    """
    host = split(copy.address)[0] if copy.address else None
    values = {"{host}": host, "{name}": host.split(".")[0] if host else None, "{server_id}": copy.server_id}
    for placeholder, value in values.items():
        if placeholder not in template:
            continue
        if value is None:
            return None
        template = template.replace(placeholder, value)
    return template


def advertised(settings: Mapping[str, str | None], bolt_address: str, backup_port: int) -> str | None:
    """Return the backup address in a server's own settings, or None if other machines cannot use it.

    >>> advertised({ADVERTISED_BACKUP: ":0", ADVERTISED_DEFAULT: "server-0.internal"}, "server-0:7687", 6362)
    'server-0.internal:6362'
    """
    host, port = split(settings.get(ADVERTISED_BACKUP) or "")
    host = host or split(settings.get(ADVERTISED_DEFAULT) or "")[0]
    if not host or (host in LOOPBACK and split(bolt_address)[0] not in LOOPBACK):
        return None
    return found if ADDRESS.fullmatch(found := join(host, port or backup_port)) else None


def listener_fault(settings: Mapping[str, str | None], bolt_address: str) -> str | None:
    """Return why no other machine reaches the backup listener, by a server's own settings; None if they allow it.

    >>> listener_fault({BACKUP_ENABLED: "true", BACKUP_LISTEN: "127.0.0.1:6362"}, "server-0:7687")
    "server.backup.listen_address is '127.0.0.1:6362'"
    """
    if settings.get(BACKUP_ENABLED) == "false":
        return f"{BACKUP_ENABLED} is false"
    address = settings.get(BACKUP_LISTEN) or ""
    if split(address)[0] in LOOPBACK and split(bolt_address)[0] not in LOOPBACK:
        return f"{BACKUP_LISTEN} is {quoted(address)}"
    return None


def split(address: str) -> tuple[str, int | None]:
    """Split `host:port`, `host`, `[v6]:port`, `[v6]` or `:port`. An IPv6 address without brackets has no port.

    >>> split("[::1]:6362"), split("server-0"), split(":0")
    (('::1', 6362), ('server-0', None), ('', 0))
    """
    if address.startswith("["):
        host, _, rest = address[1:].partition("]")
        port = rest.removeprefix(":")
    elif address.count(":") == 1:
        host, _, port = address.partition(":")
    else:
        host, port = address, ""
    return host, int(port) if port.isdecimal() else None


def join(host: str, port: int) -> str:
    """Return host:port, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def with_port(address: str, port: int) -> str:
    """Return `address` as host:port, with `port` if it has none."""
    host, own = split(address)
    return join(host, own or port)


def _candidates(topology: Topology | None, database: DatabaseName) -> Iterator[Copy]:
    if topology is None:
        return
    copies = [copy for copy in topology.copies if copy.database == database]
    serving = [copy for copy in copies if copy.serves]
    if copies:
        yield from serving or copies
        return
    # The database is not listed: any server may host it. Roles and lags of other databases do not apply.
    for copy in topology.copies:
        yield Copy(database=database, address=copy.address, server_id=copy.server_id)


def _rank(copy: Copy) -> _Rank:
    if copy.writer:
        return _Rank.WRITER
    if copy.role is not None and copy.role not in ("primary", "unknown"):
        return _Rank.SECONDARY  # `secondary`; since 2025.12 `property shard replica` too
    if copy.role == "primary" and copy.writer is False:
        return _Rank.FOLLOWER
    return _Rank.UNKNOWN


def _preference(copy: Copy) -> tuple[object, ...]:
    lag, newest = copy.replication_lag, copy.last_committed_txn
    return (
        copy.status is None,
        _rank(copy),
        (lag is None, -(lag or 0)),
        (newest is None, -(newest or 0)),
        copy.address or "",
        copy.server_id or "",
    )


def _keys(copy: Copy) -> Iterator[str]:
    if copy.server_id is not None:
        yield copy.server_id
    if copy.address is not None:
        yield copy.address
        yield split(copy.address)[0]

"""What is known of a cluster at one moment, and which server should serve a backup.

SHOW DATABASES names Bolt addresses, and a backup comes from another port of the same server, sometimes from another
name: `Addressing` says how to get from the one to the other. Facts about the columns: Neo4j operations manual,
"Listing databases".

Users of the cluster choose the names of databases, and the server that answers need not be Neo4j. So nothing that
Bolt says becomes a `Copy` or a `Topology` before its shape is known: these names become folders, labels and arguments.
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
"""The one `currentStatus` under which a copy can be backed up."""

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""Neo4j's default advertised host is `localhost`: true for the server, useless for anybody else."""

ADVERTISED_BACKUP = "server.backup.advertised_address"
"""Since 2025.05; its default `:0` means: the default advertised host and the backup port."""

ADVERTISED_DEFAULT = "server.default_advertised_address"


MOST_COPIES = 20_000
"""Rows of SHOW DATABASES that are taken: 1,500 databases with 13 copies each, or 6,600 with three."""

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


# No model: a topology may have thousands of copies, and the supervisor keeps it for weeks. It is a quarter of the size.
@dataclass(frozen=True, slots=True, config=ConfigDict(extra="ignore"))
class Copy:
    """One row of SHOW DATABASES: one database on one server. Every column but the name may be null."""

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
    """Zero or negative: transactions behind the copy that is furthest on."""

    @property
    def serves(self) -> bool:
        """Whether a backup can come from here. Null is no verdict: neo4j-admin decides."""
        return self.status in (None, ONLINE)


class Topology(StoredValue):
    """What Bolt said, and when. Kept on the volume (`<root>/.agent/topology.json`) for the day Bolt is silent."""

    seen: datetime
    copies: tuple[Copy, ...]
    aliases: dict[DatabaseName, DatabaseName | None] = Field(default_factory=dict)
    """Alias -> the database it stands for; None where that is not known (a remote alias)."""
    versions: tuple[VersionText, ...] = ()
    """Versions of the Neo4j kernel, as the servers that answered say; more than one during a rolling upgrade."""
    backup_addresses: dict[AddressText, AddressText] = Field(default_factory=dict)
    """Bolt address of a server -> host:port of its backup listener, where the server itself told it."""
    definitions: dict[DatabaseName, Definition] = Field(default_factory=dict)
    """Database -> its definition, if a server told it."""
    missing: tuple[DatabaseName, ...] = ()
    """Databases listed at some time before and not now: kept until they return or are forgotten."""

    def to_json(self) -> bytes:
        """Return the topology as it is stored: on one line and without nulls, since it may have thousands of copies."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n"

    def databases(self) -> dict[DatabaseName, tuple[Copy, ...]]:
        """Return every listed database with its copies, by name. Excluded databases are included."""
        found: dict[DatabaseName, tuple[Copy, ...]] = {}
        for copy in self.copies:
            found[copy.database] = (*found.get(copy.database, ()), copy)
        return dict(sorted(found.items()))

    def last_committed_tx(self, database: DatabaseName) -> int | None:
        """Return the last transaction that all online copies of a database have received; None if one is unknown."""
        told = [copy.last_committed_txn for copy in self.copies if copy.database == database and copy.serves]
        known = [transaction for transaction in told if transaction is not None]
        return min(known) if known and len(known) == len(told) else None

    def excluded(self) -> dict[DatabaseName, ExcludedKind]:
        """Return the databases that are not backed up because of their kind, by name."""
        found = {copy.database: OF_TYPE[copy.type] for copy in self.copies if copy.type in OF_TYPE}
        sharded = {name: ExcludedKind.SHARDED for name, one in self.definitions.items() if one.shards}
        return {**sharded, **found}

    def following(self, last: Self | None) -> Self:
        """Return this topology with what `last` knew and this one does not list: nothing vanishes in silence."""
        if last is None:
            return self
        names = {copy.database for copy in self.copies}
        gone = ({copy.database for copy in last.copies} - last.excluded().keys() | set(last.missing)) - names
        return self.model_copy(update={"missing": tuple(sorted(gone))})

    def forgetting(self, database: DatabaseName) -> Self:
        """Return this topology without `database` among the missing: it was dropped for good."""
        return self.model_copy(update={"missing": tuple(name for name in self.missing if name != database)})


class Refusals:
    """What the agent refused of a cluster's answer: how many values of each kind, and a few examples."""

    def __init__(self) -> None:
        """Nothing is refused yet."""
        self._found: dict[str, dict[str, None]] = {}

    def add(self, kind: str, value: object) -> None:
        """Count a value; the same one counts once."""
        self._found.setdefault(kind, {})[quoted(value)] = None

    def count(self, kind: str) -> int:
        """Return how many different values of a kind are refused."""
        return len(self._found.get(kind, ()))

    def notes(self) -> tuple[str, ...]:
        """Return a line a kind, of bounded length and printable."""
        return tuple(f"{len(values)} {kind}: {first_few(values)}" for kind, values in self._found.items())


REFUSED_DATABASES = "names of databases refused (letters, digits, '.' and '-', at most 128), so they are not backed up"


class Listing(NamedTuple):
    """What was read from the rows of SHOW DATABASES."""

    copies: tuple[Copy, ...]
    refusals: Refusals


def listed(rows: Iterable[Mapping[str, object]]) -> Listing:
    """Return the copies that rows of SHOW DATABASES tell of, by the names of `Copy`'s fields.

    A row with another name than a database has is refused; another value that is not understood counts as unknown.
    Raise PermanentError if there are too many rows or servers.
    """
    copies: list[Copy] = []
    servers: set[tuple[str | None, str | None]] = set()
    refusals = Refusals()
    for number, row in enumerate(rows, start=1):
        if number > MOST_COPIES:
            raise _too_many(f"more than {MOST_COPIES} copies of databases")
        copy = _copy(row, refusals)
        if copy is not None:
            copies.append(copy)
            servers.add((copy.address, copy.server_id))
            if len(servers) > MOST_SERVERS:
                raise _too_many(f"more than {MOST_SERVERS} servers")
    return Listing(tuple(copies), refusals)


def aliases(rows: Iterable[tuple[object, object]]) -> dict[DatabaseName, DatabaseName | None]:
    """Return alias -> database, of rows of SHOW ALIASES. An alias that no request can name is left out.

    Raise PermanentError if there are too many.
    """
    found: dict[DatabaseName, DatabaseName | None] = {}
    for number, (alias, database) in enumerate(rows, start=1):
        if number > MOST_ALIASES:
            raise PermanentError(Reason.SOURCE_UNREACHABLE, f"there are more than {MOST_ALIASES} aliases")
        if (name := database_name_or_none(alias)) is not None:
            found[name] = database_name_or_none(database)
    return found


def kernel_versions(told: Iterable[object], refusals: Refusals) -> tuple[str, ...]:
    """Return the versions that servers tell, each once and in order."""
    found: set[str] = set()
    for version in told:
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
        refusals.add(f"values of {name} not understood, and taken as unknown", row[name])
    return Copy(**{**row, **dict.fromkeys(wrong)})


def _too_many(what: str) -> PermanentError:
    return PermanentError(
        Reason.SOURCE_UNREACHABLE,
        f"SHOW DATABASES lists {what}: no topology of that size is taken",
        "let the agent's account see fewer databases (GRANT ACCESS ON DATABASE): another agent can back up the others",
    )


class Addressing(Value):
    """How to get from a server's Bolt address to its backup listener: the `neo4j` settings of that purpose."""

    backup_port: int = 6362
    backup_addresses: dict[str, str] | str | None = None
    """A map from server id, Bolt host:port or Bolt host; or a template, see `from_template`. Port optional."""
    servers: tuple[str, ...] = ()

    @property
    def static(self) -> tuple[str, ...]:
        """Backup addresses known without Bolt: the list, and what a map names."""
        mapped = self.backup_addresses.values() if isinstance(self.backup_addresses, dict) else ()
        return tuple(dict.fromkeys(with_port(address, self.backup_port) for address in (*self.servers, *mapped)))


class BackupSource(Value):
    """One server that may serve a backup, as `--from` gets it."""

    address: str
    """host:port of its backup listener."""
    role: str
    """`secondary`, `follower`, `writer` or `unknown`."""
    bolt_address: str | None = None
    lag: int | None = None
    unreachable: str | None = None
    """Why a TCP connect failed; None where it succeeded or was not tried."""


class _Rank(IntEnum):
    """The order of preference: a copy that serves the fewest clients, and cannot lose its leadership, first."""

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
    """Return the servers a backup of `database` may come from, the best first.

    Online secondaries by lag, then followers, then the writer, then the static list. Where no copy is known to serve
    (the topology may be old) every copy counts, and where none is known every server. `reachable` (backup address ->
    None, or why a TCP connect failed) puts those that did not answer behind the others and drops none: only
    neo4j-admin knows for certain.
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
    """Return host:port of the backup listener beside a copy, or None where nothing tells it.

    In this order: the `backup_addresses` setting, what the server itself advertised, the Bolt host with the backup
    port (wrong behind a load balancer).
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
    told = topology.backup_addresses.get(copy.address) if topology else None
    return told or join(split(copy.address)[0], addressing.backup_port)


def addresses(topology: Topology | None, addressing: Addressing) -> tuple[str, ...]:
    """Return every backup address any database could need, each once: what a probe tries."""
    copies = topology.copies if topology else ()
    derived = (backup_address(copy, topology, addressing) for copy in copies)
    return tuple(dict.fromkeys([*(address for address in derived if address), *addressing.static]))


def from_template(template: str, copy: Copy) -> str | None:
    """Fill `{host}` (of the Bolt address), `{name}` (its first label) and `{server_id}`; None where a value is null.

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
    """Return the backup address a server told by its own settings, or None where that says nothing useful.

    >>> advertised({ADVERTISED_BACKUP: ":0", ADVERTISED_DEFAULT: "server-0.internal"}, "server-0:7687", 6362)
    'server-0.internal:6362'
    """
    host, port = split(settings.get(ADVERTISED_BACKUP) or "")
    host = host or split(settings.get(ADVERTISED_DEFAULT) or "")[0]
    if not host or (host in LOOPBACK and split(bolt_address)[0] not in LOOPBACK):
        return None
    return found if ADDRESS.fullmatch(found := join(host, port or backup_port)) else None


def split(address: str) -> tuple[str, int | None]:
    """Split `host:port`, `host`, `[v6]:port`, `[v6]` or `:port`; a bare IPv6 address has no port.

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
    """Join a host and a port, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def with_port(address: str, port: int) -> str:
    """Return `address` as host:port, with `port` where it names none."""
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
    # Not listed: any server may host it. What is known of another database's role and lag says nothing here.
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

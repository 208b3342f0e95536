"""Whether a cluster is settled, so that its next server may be restarted.

Neo4j's upgrade guide asks for two queries between two servers ("In-place rolling upgrade of a cluster"), which must
return no row: servers whose `hosting` differs from `requestedHosting`, and copies of databases whose `currentStatus`
differs from `requestedStatus`. A server that has left is in neither, so the state, the health and the number of the
servers count too, and so does the writer of each database. The columns are described in the operations manual, "Listing
servers" and "Listing databases".
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from backup_agent.core.escaping import first_few, printable, shortened
from backup_agent.core.neo4j.cluster_state import MOST_REASONS, ClusterState, SeenServer

ENABLED, AVAILABLE = "Enabled", "Available"
ONLINE, OFFLINE = "online", "offline"

WRITTEN = frozenset({"system", "standard", "graph shard"})
"""The types of databases that have a writer."""

GRAPH_SHARD = "-g000"
"""End of the name of a sharded database's graph shard, which has the writer in place of the database itself."""

LONGEST_TEXT = 300

MANAGING = (
    "SHOW DATABASES does not list {names} although servers host them: grant the role ACCESS ON DATABASE *. Shards are "
    "listed only to accounts that may manage databases"
)


@dataclass(frozen=True)
class ServerRow:
    """One row of SHOW SERVERS. `hosting` and `requested` are names of databases."""

    name: str
    address: str | None
    state: str
    health: str
    hosting: frozenset[str]
    requested: frozenset[str]
    id: str | None = None
    version: str | None = None

    @property
    def label(self) -> str:
        """The address by which people know the server, else its name."""
        return self.address or f"server {self.name}"


@dataclass(frozen=True)
class CopyRow:
    """One row of SHOW DATABASES: one database on one server."""

    name: str
    address: str | None
    current: str
    requested: str
    type: str = "standard"
    writer: bool | None = None
    message: str = ""
    server_id: str | None = None


@dataclass(frozen=True)
class StateAnswer:
    """The answers of a cluster. `not_asked` says why SHOW SERVERS has no answer."""

    copies: tuple[CopyRow, ...]
    servers: tuple[ServerRow, ...] = ()
    not_asked: str | None = None


def state_of(answer: StateAnswer, expected: int | None = None) -> ClusterState:
    """Return the state of a cluster; `expected` is the number of its servers, if known."""
    reasons = tuple(_reasons(answer, expected))
    return ClusterState(
        servers=tuple(
            SeenServer(
                name=one.name,
                address=one.address,
                version=one.version,
                state=one.state,
                health=one.health,
                hosting=len(one.hosting),
                requested=len(one.requested),
            )
            for one in answer.servers
        ),
        databases=len({copy.name for copy in answer.copies}),
        reasons=reasons[:MOST_REASONS],
        more_reasons=max(0, len(reasons) - MOST_REASONS),
        unseen=tuple(_unseen(answer)),
    )


def server_row(row: Mapping[str, object]) -> ServerRow:
    """Return a row of SHOW SERVERS with these columns. A value of another type counts as unknown."""
    return ServerRow(
        name=_text(row["name"]) or "?",
        address=_text(row["address"]),
        state=_text(row["state"]) or "unknown",
        health=_text(row["health"]) or "unknown",
        hosting=_names(row["hosting"]),
        requested=_names(row["requestedHosting"]),
        id=_text(row["serverId"]),
        version=_text(row["version"]),
    )


def copy_row(row: Mapping[str, object]) -> CopyRow:
    """Return a row of SHOW DATABASES with these columns. A value of another type counts as unknown."""
    writer = row["writer"]
    return CopyRow(
        name=_text(row["name"]) or "?",
        address=_text(row["address"]),
        current=_text(row["currentStatus"]) or "unknown",
        requested=_text(row["requestedStatus"]) or "unknown",
        type=_text(row["type"]) or "unknown",
        writer=writer if isinstance(writer, bool) else None,
        message=_text(row["statusMessage"]) or "",
        server_id=_text(row["serverID"]),
    )


def _text(value: object) -> str | None:
    return printable(shortened(value, LONGEST_TEXT)) if isinstance(value, str) and value else None


def _names(value: object) -> frozenset[str]:
    return frozenset(name for one in value if (name := _text(one))) if isinstance(value, list) else frozenset()


def _unseen(answer: StateAnswer) -> Iterator[str]:
    if answer.not_asked is not None:
        yield answer.not_asked
    listed = {copy.name for copy in answer.copies}
    hosted = frozenset[str]().union(*(one.hosting for one in answer.servers if one.health == AVAILABLE))
    if hidden := sorted(hosted - listed):
        yield MANAGING.format(names=first_few(hidden))


def _reasons(answer: StateAnswer, expected: int | None) -> Iterator[str]:
    if answer.not_asked is None:
        yield from _of_servers(answer.servers, expected, _stopped(answer.copies))
    known = {one.id: one for one in answer.servers if one.id is not None}
    gone = {number for number, one in known.items() if one.health != AVAILABLE}
    labels = {number: one.label for number, one in known.items()}
    yield from _of_copies([copy for copy in answer.copies if copy.server_id not in gone], labels)
    yield from _of_writers(answer.copies)


def _stopped(copies: Iterable[CopyRow]) -> frozenset[str]:
    """Return the databases that are stopped on purpose: whether their servers count as hosting them does not matter."""
    wanted = {copy.name for copy in copies if copy.requested != OFFLINE}
    return frozenset(copy.name for copy in copies) - wanted


def _of_servers(servers: tuple[ServerRow, ...], expected: int | None, stopped: frozenset[str]) -> Iterator[str]:
    enabled = sum(server.state == ENABLED for server in servers)
    if expected is not None and enabled != expected:
        yield f"{enabled} servers are {ENABLED}, and {expected} are expected"
    elif not servers:
        yield "SHOW SERVERS lists no server"
    for server in servers:
        if server.state != ENABLED:
            yield f"{server.label} is {server.state}, not {ENABLED}"
        if server.health != AVAILABLE:
            yield f"{server.label} is {server.health}, not {AVAILABLE}"
        elif missing := server.requested - server.hosting - stopped:
            yield f"{server.label} does not host yet: {first_few(sorted(missing))}"
        if leaving := server.hosting - server.requested:
            yield f"{server.label} still hosts: {first_few(sorted(leaving))}"


def _of_copies(copies: Iterable[CopyRow], labels: Mapping[str, str]) -> Iterator[str]:
    """Yield a reason for each server and status with copies that are not as requested."""
    wrong: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for copy in copies:
        if copy.current != copy.requested:
            place = labels.get(copy.server_id or "") or copy.address or "a server without an address"
            wrong[place, copy.current, copy.requested, copy.message].append(copy.name)
    for (place, current, requested, message), names in wrong.items():
        verb = "is" if len(names) == 1 else "are"
        note = f" ({message})" if message else ""
        yield f"{first_few(names)} on {place} {verb} {current}{note}, and {requested} is requested"


def _of_writers(copies: tuple[CopyRow, ...]) -> Iterator[str]:
    """Yield a reason for databases without a writer, and one for those with several: their leader is changing."""
    names = {copy.name for copy in copies}
    writers: dict[str, int] = defaultdict(int)
    for copy in copies:
        sharded = f"{copy.name}{GRAPH_SHARD}" in names
        if copy.type in WRITTEN and copy.writer is not None and copy.requested == ONLINE and not sharded:
            writers[copy.name] += copy.writer
    if without := sorted(name for name, number in writers.items() if number == 0):
        yield f"no server accepts writes to {first_few(without)}: no leader is elected"
    if several := sorted(name for name, number in writers.items() if number > 1):
        yield f"several servers say that they accept writes to {first_few(several)}: the leader is changing"

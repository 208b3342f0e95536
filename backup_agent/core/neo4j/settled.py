"""Whether a cluster is settled, so that its next server may be restarted.

The upgrade guide asks for two queries between two servers ("In-place rolling upgrade of a cluster"), which must return
no row: servers whose `hosting` differs from `requestedHosting`, and databases whose `currentStatus` differs from
`requestedStatus`. A server that is gone is in neither, so state, health and number of the servers count too.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

ENABLED, AVAILABLE = "Enabled", "Available"
ONLINE = "online"


@dataclass(frozen=True)
class ServerRow:
    """One row of SHOW SERVERS. `hosting` and `requested` are names of databases."""

    name: str
    address: str | None
    state: str
    health: str
    hosting: frozenset[str]
    requested: frozenset[str]


@dataclass(frozen=True)
class DatabaseRow:
    """One row of SHOW DATABASES: one database on one server."""

    name: str
    address: str | None
    current: str
    requested: str
    writer: bool | None = None
    message: str = ""


def reasons_to_wait(
    servers: Iterable[ServerRow], databases: Iterable[DatabaseRow], expected: int | None = None
) -> tuple[str, ...]:
    """Return why no server may be restarted now, or an empty tuple; `expected` is the number of servers, if known."""
    servers, databases = tuple(servers), tuple(databases)
    return (*_of_servers(servers, expected), *_of_databases(databases))


def _of_servers(servers: tuple[ServerRow, ...], expected: int | None) -> Iterator[str]:
    if not servers:
        yield "SHOW SERVERS lists no server"
    enabled = sum(server.state == ENABLED for server in servers)
    if expected is not None and enabled != expected:
        yield f"{enabled} servers are {ENABLED}, and {expected} are expected"
    for server in servers:
        label = f"server {server.name} ({server.address or 'no address'})"
        if server.state != ENABLED:
            yield f"{label} is {server.state}, not {ENABLED}"
        if server.health != AVAILABLE:
            yield f"{label} is {server.health}, not {AVAILABLE}"
        if missing := server.requested - server.hosting:
            yield f"{label} does not host yet: {', '.join(sorted(missing))}"
        if leaving := server.hosting - server.requested:
            yield f"{label} still hosts: {', '.join(sorted(leaving))}"


def _of_databases(databases: tuple[DatabaseRow, ...]) -> Iterator[str]:
    for row in databases:
        if row.current != row.requested:
            place, message = row.address or "no server", f": {row.message}" if row.message else ""
            yield f"{row.name} on {place} is {row.current}, and {row.requested} is requested{message}"
    written = {row.name for row in databases if row.writer}
    known = {row.name for row in databases if row.writer is not None and row.requested == ONLINE}
    for name in sorted(known - written):
        yield f"{name}: no server accepts writes, its primaries have no leader"

"""Asks a cluster over Bolt for its databases and servers. Only this module and `scratch_bolt` import the Neo4j driver.

The driver has no timeout for reading: a server that accepts a connection and then sends nothing blocks the driver for
ever. So every conversation runs in its own thread, which is abandoned at the deadline; the calling process is
short-lived and ends by `os._exit`. SHOW DATABASES is essential, so it runs first, before all other statements, which
are optional. Error codes and columns are from Neo4j's operations manual and list of status codes, and were seen on
Community 5.26 and 2026.09.
"""

import logging
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import neo4j
from neo4j.exceptions import (
    AuthError,
    ConfigurationError,
    DriverError,
    Neo4jError,
    ReadServiceUnavailable,
    UnsupportedServerProduct,
    WriteServiceUnavailable,
)

from backup_agent import __version__, durable, quoting
from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.capabilities import newest, version_of
from backup_agent.core.escaping import first_few
from backup_agent.core.neo4j.definitions import definitions, statement
from backup_agent.core.neo4j.settled import StateAnswer, copy_row, server_row
from backup_agent.core.neo4j.topology import (
    ADVERTISED_BACKUP,
    ADVERTISED_DEFAULT,
    BACKUP_ENABLED,
    BACKUP_LISTEN,
    MOST_ALIASES,
    MOST_COPIES,
    REFUSED_DATABASES,
    Addressing,
    Listing,
    Topology,
    advertised,
    aliases,
    join,
    kernel_versions,
    listed,
    listener_fault,
    too_many,
)
from backup_agent.core.neo4j.trusted_hosts import TrustedHosts, trusted_hosts
from backup_agent.core.reasons import BackupError, PermanentError, Reason, TransientError

Result = TypeVar("Result")

logging.getLogger("neo4j").addHandler(logging.NullHandler())  # otherwise each retry prints a line on stderr

DATABASES = (
    "SHOW DATABASES YIELD name, type, role, writer, address, serverID, databaseID, currentStatus, "
    "lastCommittedTxn, replicationLag"
)
COLUMNS = {
    "database": "name",
    "type": "type",
    "role": "role",
    "writer": "writer",
    "address": "address",
    "server_id": "serverID",
    "database_id": "databaseID",
    "status": "currentStatus",
    "last_committed_txn": "lastCommittedTxn",
    "replication_lag": "replicationLag",
}
"""Field of a Copy -> column of SHOW DATABASES."""

MOST_ROWS = max(MOST_COPIES, MOST_ALIASES) + 1
"""Largest number of rows of an answer that are read: one more than the limit, so that an excess is noticed."""

ALIASES = "SHOW ALIASES FOR DATABASE YIELD name, database"
COMPONENTS = "CALL dbms.components() YIELD name, versions"
SETTINGS = (
    f"SHOW SETTINGS '{ADVERTISED_BACKUP}', '{ADVERTISED_DEFAULT}', '{BACKUP_ENABLED}', '{BACKUP_LISTEN}' "
    "YIELD name, value"
)
CLOCK = "RETURN datetime() AS now"
STATUSES = "SHOW DATABASES YIELD name, type, address, serverID, writer, requestedStatus, currentStatus, statusMessage"
SERVERS = "SHOW SERVERS YIELD serverId, name, address, state, health, hosting, requestedHosting, version"

KERNEL = "Neo4j Kernel"
"""The row of dbms.components() with the version: since 2025.05 another row has the versions of Cypher."""

CONNECT_SECONDS = 5.0
"""Seconds for one TCP connection and its handshake."""

RETRY_SECONDS = 3.0
"""Seconds for the driver's own retries of errors that may pass (a leader switch, `system` not started yet). Its default
is 30, and the driver also retries after a refused connection or a bad certificate."""

EXTRAS_SECONDS = 6.0
"""Seconds for all optional statements, after the databases are known."""

ROUTED_SHARE = 0.5
"""The share of the time that a routed attempt may use. The rest is for the direct attempt."""


@dataclass(frozen=True)
class Endpoint:
    """Address and account. `ca_file` is used with the `+s` schemes."""

    uri: str
    username: str
    password: str = field(repr=False)
    ca_file: str | None = None
    addressing: Addressing = field(default_factory=Addressing)
    """From the settings: the backup port, and further hosts to which the password may be sent."""


@dataclass(frozen=True)
class Discovered:
    """The answers of a cluster."""

    topology: Topology
    clock_offset_seconds: float | None = None
    """The server's clock minus the agent's; None if no database could be asked."""
    notes: tuple[str, ...] = ()
    """Statements without an answer and refused databases, each with the reason, for log and status."""
    refused: int = 0
    """The number of listed databases whose names are refused."""
    listeners: Mapping[str, str | None] = field(default_factory=dict)
    """Bolt address of a server whose settings are visible -> why other machines do not reach its backup listener."""


class LoginRefusedError(PermanentError):
    """The server refuses the account. The login is not tried again in the same run: this could lock the account."""


def discover(endpoint: Endpoint, *, timeout: float = 30.0) -> Discovered:
    """Return databases and servers of the cluster at `endpoint`, within `timeout` seconds.

    If a routed conversation fails, but not because the login is refused, ask the server at the given address directly.
    Raise PermanentError or TransientError, reason `source_unreachable`.
    """
    deadline = time.monotonic() + timeout
    with _threads() as pool:
        uri, answer = _routed_or_direct(endpoint, pool, deadline, _show_databases)
        listing = _Databases(uri, *answer)
        return _with_extras(endpoint, listing, pool, min(deadline, time.monotonic() + EXTRAS_SECONDS))


def state(endpoint: Endpoint, *, timeout: float = 30.0) -> StateAnswer:
    """Return the servers of the cluster and the status of each copy of a database, within `timeout` seconds.

    A routed conversation is followed by a direct one, and failures are raised, as by `discover`.
    """
    with _threads() as pool:
        return _routed_or_direct(endpoint, pool, time.monotonic() + timeout, _show_state)[1]


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of threads, which are abandoned at the end: the pool's own context manager would wait for them."""
    pool = ThreadPoolExecutor(max_workers=32, thread_name_prefix="bolt")
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class _Databases:
    """The answer of SHOW DATABASES."""

    uri: str
    """The URI of the driver that got the answer."""
    listing: Listing
    routed: frozenset[str]
    """The hosts of the driver's routing table, to which the password may have been sent already."""


def _routed_or_direct(
    endpoint: Endpoint, pool: ThreadPoolExecutor, deadline: float, ask: Callable[[neo4j.Driver], Result]
) -> tuple[str, Result]:
    """Hold a conversation at the endpoint's URI, then directly if that fails. Return the URI and the answer."""
    direct = _direct(endpoint.uri)
    share = 1.0 if direct is None else ROUTED_SHARE
    try:
        asked = pool.submit(_converse, endpoint, endpoint.uri, ask, retry=RETRY_SECONDS)
        return endpoint.uri, _by(asked, time.monotonic() + share * (deadline - time.monotonic()), endpoint.uri)
    except LoginRefusedError:
        raise
    except BackupError:
        if direct is None:
            raise
        asked = pool.submit(_converse, endpoint, direct, ask, retry=RETRY_SECONDS)
        return direct, _by(asked, deadline, direct)


def _with_extras(endpoint: Endpoint, found: _Databases, pool: ThreadPoolExecutor, deadline: float) -> Discovered:
    """Add the optional answers: aliases, versions, definitions, clock, and each server's own backup address."""
    uri, (copies, refusals) = found.uri, found.listing
    scheme = (_direct(uri) or uri).split("://")[0]
    trusted = _trusted(endpoint, found.routed)
    addresses = sorted({copy.address for copy in copies if copy.address is not None})
    servers = [address for address in addresses if address in trusted]
    foreign = [address for address in addresses if address not in trusted]
    clock_at = next((copy.database for copy in copies if copy.type == "standard" and copy.serves), None)
    others = pool.submit(_converse, endpoint, uri, _show_aliases)
    versions = pool.submit(_converse, endpoint, uri, _versions)
    defined = pool.submit(_converse, endpoint, uri, _show_definitions)
    offset = pool.submit(_converse, endpoint, uri, lambda driver: _clock_offset(driver, clock_at)) if clock_at else None
    visits = {address: pool.submit(_converse, endpoint, f"{scheme}://{address}", _visit) for address in servers}
    asked: list[Future[Any]] = [others, versions, defined, *visits.values(), *([offset] if offset else [])]
    wait(asked, _left(deadline))

    notes: list[str] = [_foreign_note(foreign)] if foreign else []
    backup_addresses: dict[str, str] = {}
    listeners: dict[str, str | None] = {}
    known: tuple[object, ...] | None = _or_note(versions, "dbms.components()", notes)
    kernels = list(known or ())
    for address, visit in visits.items():
        settings, kernel = _or_note(visit, f"settings of {address}", notes) or ({}, ())
        kernels += kernel
        listener = advertised(settings, address, endpoint.addressing.backup_port)
        if listener is not None:
            backup_addresses[address] = listener
        if BACKUP_LISTEN in settings:
            listeners[address] = listener_fault(settings, address)
    names = _or_note(others, "SHOW ALIASES", notes) or {}
    kept = kernel_versions(kernels, refusals)
    rows = _or_note(defined, "definitions of databases", notes) or []
    return Discovered(
        topology=Topology(
            seen=datetime.now(UTC),
            copies=copies,
            aliases=names,
            versions=kept,
            backup_addresses=backup_addresses,
            definitions=definitions(rows, refusals),
        ),
        clock_offset_seconds=_or_note(offset, "datetime()", notes) if offset else None,
        notes=(*refusals.notes(), *notes),
        refused=refusals.count(REFUSED_DATABASES),
        listeners=listeners,
    )


def _converse(endpoint: Endpoint, uri: str, ask: Callable[[neo4j.Driver], Result], *, retry: float = 0.0) -> Result:
    """Open a driver, return what `ask` returns, and close the driver. Raise failures as `classify` returns them."""
    try:
        with _driver(endpoint, uri, retry) as driver:
            return ask(driver)
    except (Neo4jError, DriverError, OSError, ValueError, MemoryError, *_ODD_CONTENT) as error:
        raise classify(error, endpoint, uri) from error


def _driver(endpoint: Endpoint, uri: str, retry: float) -> neo4j.Driver:
    """Open a driver for any of the six schemes."""
    # The driver refuses a private CA together with `+s`, and accepts it with the plain scheme and `encrypted`.
    trust: dict[str, Any] = {}
    scheme, rest = uri.split("://", 1) if "://" in uri else ("", uri)
    if endpoint.ca_file is not None and scheme.endswith("+s"):
        durable.read(Path(endpoint.ca_file), follow=True)  # refuses a FIFO, on which the driver would block
        uri = f"{scheme.removesuffix('+s')}://{rest}"
        trust = {"encrypted": True, "trusted_certificates": neo4j.TrustCustomCAs(endpoint.ca_file)}
    return neo4j.GraphDatabase.driver(
        uri,
        auth=neo4j.basic_auth(endpoint.username, endpoint.password),
        connection_timeout=CONNECT_SECONDS,
        connection_write_timeout=CONNECT_SECONDS,
        connection_acquisition_timeout=2 * CONNECT_SECONDS,
        max_transaction_retry_time=retry,
        user_agent=f"neo4j-backup-agent/{__version__}",
        telemetry_disabled=True,
        **trust,
    )


def _rows(driver: neo4j.Driver, statement: str, database: str = "system") -> list[neo4j.Record]:
    """Run a statement; return its rows, at most MOST_ROWS."""
    # Any server can answer, and a reader can do so even while a leader is elected.
    return driver.execute_query(
        statement,
        database_=database,
        routing_=neo4j.RoutingControl.READ,
        result_transformer_=lambda result: list(islice(result, MOST_ROWS)),
    )


def _trusted(endpoint: Endpoint, routed: frozenset[str]) -> TrustedHosts:
    return trusted_hosts(urlsplit(endpoint.uri).hostname or "", endpoint.addressing).with_hosts(routed)


def _foreign_note(addresses: list[str]) -> str:
    what = "1 foreign address was" if len(addresses) == 1 else f"{len(addresses)} foreign addresses were"
    return (
        f"{what} not asked for its settings: {first_few(addresses)}; the password is sent only to the hosts of "
        "neo4j.uri, of its domain and routing table, and to those named in neo4j.servers or neo4j.backup_addresses"
    )


def _show_databases(driver: neo4j.Driver) -> tuple[Listing, frozenset[str]]:
    """Return the databases, and the hosts of the routing table, if the driver has one."""
    listing = _listing(driver)
    tables: dict[str, Any] = getattr(driver._pool, "routing_tables", {})  # noqa: SLF001  the driver has no public way
    return listing, frozenset(address.host for table in tables.values() for address in table.servers())


def _listing(driver: neo4j.Driver) -> Listing:
    # Try a session first: execute_query would retry a refused connection like a leader switch, and so fail late.
    try:
        with driver.session(database="system", default_access_mode=neo4j.READ_ACCESS) as session:
            return listed(map(_copy_fields, session.run(DATABASES)))
    except Neo4jError as error:
        if not error.is_retryable():
            raise
        return listed(map(_copy_fields, _rows(driver, DATABASES)))


def _copy_fields(row: neo4j.Record) -> dict[str, object]:
    return {field: row[column] for field, column in COLUMNS.items()}


def _show_state(driver: neo4j.Driver) -> StateAnswer:
    """Return the servers and the status of each copy. A refusal of SHOW SERVERS is a part of the answer."""
    copies = tuple(copy_row(row) for row in _rows(driver, STATUSES))
    if len(copies) > MOST_COPIES:
        raise too_many(f"more than {MOST_COPIES} copies of databases")
    try:
        return StateAnswer(copies, tuple(server_row(row) for row in _rows(driver, SERVERS)))
    except Neo4jError as error:
        if error.is_retryable():
            raise
        return StateAnswer(copies, not_asked=_why_no_servers(error))


def _why_no_servers(error: Neo4jError) -> str:
    if _code("Neo.ClientError.Security.")(error):
        return "SHOW SERVERS is not granted: GRANT SHOW SERVERS ON DBMS TO backup_agent (cluster/role.cypher)"
    # The text decides: Community 5.26 gives the code of a statement on another database than `system`.
    if _says("Unsupported administration command")(error):
        return "SHOW SERVERS is not supported: this is Neo4j Community, which forms no cluster"
    return f"SHOW SERVERS is refused: {_said(error)}"


def _show_definitions(driver: neo4j.Driver) -> list[neo4j.Record]:
    """Ask for the columns that the server's version has. An unknown version counts as 5.26."""
    versions: tuple[object, ...] = ()
    with suppress(Neo4jError):  # dbms.components() is not granted
        versions = _versions(driver)
    return _rows(driver, statement(version_of(newest(version for version in versions if isinstance(version, str)))))


def _show_aliases(driver: neo4j.Driver) -> dict[DatabaseName, DatabaseName | None]:
    return aliases((row["name"], row["database"]) for row in _rows(driver, ALIASES))


def _versions(driver: neo4j.Driver) -> tuple[object, ...]:
    return tuple(version for row in _rows(driver, COMPONENTS) if row["name"] == KERNEL for version in row["versions"])


def _visit(driver: neo4j.Driver) -> tuple[dict[str, str | None], tuple[object, ...]]:
    """Ask one server for its own settings (SHOW SETTINGS returns those of the server that runs it) and version."""
    return {row["name"]: row["value"] for row in _rows(driver, SETTINGS)}, _versions(driver)


def _clock_offset(driver: neo4j.Driver, database: str) -> float:
    """Return the server's clock minus the agent's, in seconds.

    An ordinary database is asked, since `system` evaluates no expressions.
    """
    _rows(driver, CLOCK, database)  # not measured: the first query includes routing and login
    before = datetime.now(UTC)
    [row] = _rows(driver, CLOCK, database)
    after = datetime.now(UTC)
    there: datetime = row["now"].to_native()
    return (there - (before + (after - before) / 2)).total_seconds()


def _by(future: Future[Result], deadline: float, uri: str) -> Result:
    seconds = _left(deadline)
    try:
        return future.result(seconds)
    except FutureTimeoutError:
        raise TransientError(
            Reason.SOURCE_UNREACHABLE,
            f"{_where(uri)} gave no answer within {seconds:.0f} s",
            "the server hangs, or packets are dropped on the way: see its debug.log, load balancers, policies, DNS",
        ) from None


def _or_note(future: Future[Result], what: str, notes: list[str]) -> Result | None:
    """Return the answer of a conversation. If it fails, add a note with the reason, and return None."""
    try:
        return future.result(0)
    except FutureTimeoutError:
        notes.append(f"{what}: no answer in time")
    except BackupError as error:
        notes.append(f"{what}: {error}")
    return None


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _direct(uri: str) -> str | None:
    """Return the `bolt` form of a `neo4j` URI, which asks the same server without its routing table."""
    return f"bolt{uri.removeprefix('neo4j')}" if uri.startswith("neo4j") else None


def _where(uri: str) -> str:
    """Return host:port of a URI. The other parts may be secret."""
    parts = urlsplit(uri)
    try:
        return join(parts.hostname or "", parts.port or 7687)
    except ValueError:
        return parts.hostname or "neo4j.uri"


@dataclass(frozen=True)
class _Case:
    """The meaning of one kind of failure. `text` may contain {where}, {user}, {ca_file} and {what} (`_said`)."""

    matches: Callable[[BaseException], bool]
    error: type[BackupError]
    text: str
    hint: str = ""


def _code(*codes: str) -> Callable[[BaseException], bool]:
    """Match a server's error by its status code; a code that ends in a dot matches all that begin with it."""
    return lambda error: (
        isinstance(error, Neo4jError)
        and any(error.code == code or (code.endswith(".") and str(error.code).startswith(code)) for code in codes)
    )


def _raised(*kinds: type[BaseException]) -> Callable[[BaseException], bool]:
    return lambda error: isinstance(error, kinds)


def _certificate(*numbers: int) -> Callable[[BaseException], bool]:
    """Match an error of OpenSSL about a certificate by its X509_V_ERR number; without numbers, match any such error."""
    return lambda error: (
        isinstance(error, ssl.SSLCertVerificationError) and (not numbers or error.verify_code in numbers)
    )


def _says(text: str) -> Callable[[BaseException], bool]:
    """Match an error by its text, if the driver has no type for it."""
    return lambda error: text in str(error)


_STATUS_CODE = re.compile(r"Neo(\.[A-Za-z0-9]{1,60}){3}")

_LOGIN_HINT = "check neo4j.username and neo4j.password_file; a refused login is not tried again in this run"
_TLS_HINT = (
    "if the server requires TLS, use the +s form, with neo4j.ca_file for a private CA; else the plain form of neo4j.uri"
)

_ODD_CONTENT = (LookupError, TypeError, AttributeError, OverflowError, RecursionError)
"""Errors of Python while an answer is read that has other columns, types or depths than Neo4j's."""

_FAILURES = (
    # Errors of the server.
    _Case(
        _code("Neo.ClientError.Security.AuthenticationRateLimit"),
        LoginRefusedError,
        "{where} refused the login of {user!r}: too many wrong passwords, the account is locked for a while",
        _LOGIN_HINT,
    ),
    _Case(
        _code("Neo.ClientError.Security.CredentialsExpired"),
        LoginRefusedError,
        "{where} refused the login of {user!r}: its password must be changed first",
        "ALTER CURRENT USER SET PASSWORD, or ALTER USER … CHANGE NOT REQUIRED",
    ),
    _Case(
        _raised(AuthError),
        LoginRefusedError,
        "{where} refused the login of {user!r}: wrong user name or password",
        _LOGIN_HINT,
    ),
    _Case(
        _code("Neo.ClientError.Security."),
        LoginRefusedError,
        "{where} does not let {user!r} list databases: {what}",
        "grant its role the privileges in backup_agent/cluster/role.cypher",
    ),
    # Elections, start-up, a server going away: the driver has retried for a while.
    _Case(
        _code("Neo.TransientError.", "Neo.ClientError.Cluster.NotALeader", "Neo.DatabaseError."),
        TransientError,
        "{where} cannot answer now: {what}",
        "the database `system` may be starting or electing its leader: SHOW SERVERS, debug.log",
    ),
    _Case(
        _raised(WriteServiceUnavailable, ReadServiceUnavailable),
        TransientError,
        "{where} knows no leader at the moment: {what}",
        "the servers may be electing one, or have lost their majority: SHOW SERVERS",
    ),
    _Case(_raised(Neo4jError), PermanentError, "{where} refused the statement: {what}", "is it a Neo4j 5.26 or newer?"),
    # TLS. Numbers: X509_V_ERR_* of OpenSSL's x509_vfy.h.
    _Case(
        _certificate(10),
        PermanentError,
        "the certificate of {where} has expired",
        "renew it on the servers (dbms.ssl.policy.bolt)",
    ),
    _Case(_certificate(9), PermanentError, "the certificate of {where} is not valid yet", "set the clock of the node"),
    _Case(
        _certificate(62, 64),
        PermanentError,
        "the certificate of {where} names other hosts: {what}",
        "add the host of neo4j.uri to the certificate's subjectAltName, or use a name that it has",
    ),
    _Case(
        _certificate(2, 18, 19, 20, 21),
        PermanentError,
        "the certificate of {where} is from a CA that is not trusted here",
        "set neo4j.ca_file to the CA's certificate, and use the +s form of neo4j.uri",
    ),
    _Case(_certificate(), PermanentError, "the certificate of {where} was refused: {what}", _TLS_HINT),
    _Case(
        _says("no certificate or crl found"),
        PermanentError,
        "neo4j.ca_file {ca_file} contains no certificate",
        "it must be PEM: -----BEGIN CERTIFICATE-----",
    ),
    _Case(
        _raised(FileNotFoundError, IsADirectoryError, PermissionError, durable.RefusedFileError),
        PermanentError,
        "neo4j.ca_file {ca_file} cannot be read: {what}",
        "mount the CA's certificate there",
    ),
    # Servers of other protocols.
    _Case(
        _says("looks like HTTP"),
        PermanentError,
        "{where} answers in HTTP, not Bolt",
        "neo4j.uri must have the Bolt port, 7687 by default, not 7474",
    ),
    _Case(_raised(UnsupportedServerProduct), PermanentError, "{where} is not a Neo4j server: {what}"),
    _Case(_raised(ConfigurationError), PermanentError, "neo4j.uri cannot be used: {what}"),
    _Case(_raised(TimeoutError), TransientError, "{where} does not answer: no reply in time"),
    _Case(_raised(ssl.SSLError), PermanentError, "TLS with {where} failed: {what}", _TLS_HINT),
    _Case(
        _says("incomplete handshake"),
        TransientError,
        "{where} closed the connection before the handshake",
        "a server that requires TLS does so on a plain connection, and so does one that is starting: " + _TLS_HINT,
    ),
    # Answers with content that Neo4j does not send.
    _Case(
        _raised(MemoryError),
        PermanentError,
        "{where} sent an answer that needs too much memory",
        "is it a Neo4j server? The agent accepts at most " + f"{MOST_COPIES} copies of databases",
    ),
    _Case(
        _raised(*_ODD_CONTENT),
        PermanentError,
        "{where} sent an answer that Neo4j does not send: {what}",
        "is it a Neo4j 5.26 or newer?",
    ),
    # No server.
    _Case(
        _raised(socket.gaierror),
        TransientError,
        "the host name of {where} does not resolve: {what}",
        "check neo4j.uri and DNS: the client service is <cluster>-client; without ready servers it may have no address",
    ),
    _Case(
        _raised(ConnectionRefusedError),
        TransientError,
        "{where} refused the connection: nothing listens there",
        "are the servers up, and is 7687 the port of the client service?",
    ),
    _Case(_raised(ConnectionError), TransientError, "{where} broke the connection: {what}"),
    _Case(_raised(DriverError, OSError, ValueError), TransientError, "{where} cannot be asked: {what}"),
)
"""The first row that matches an error or one of its causes decides. The reason is always `source_unreachable`."""


def classify(error: Exception, endpoint: Endpoint, uri: str) -> BackupError:
    """Return the agent's error for a failure of the driver, without secrets in its text."""
    links = tuple(_causes(error))
    for row in _FAILURES:
        for link in links:
            if row.matches(link):
                text = row.text.format(
                    where=_where(uri),
                    user=endpoint.username,
                    ca_file=endpoint.ca_file,
                    what=_said(link),
                )
                return row.error(Reason.SOURCE_UNREACHABLE, text, row.hint)
    raise error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, its causes and members of groups (the driver asks several servers for a routing table)."""
    yield error
    members = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for cause in (error.__cause__, *members):
        if cause is not None:
            yield from _causes(cause)


def _said(error: BaseException) -> str:
    """Return what may be quoted of a failure: a server's status code, the system's message, or else only its kind.

    The driver's message may contain its input, and a server's message anything.
    """
    if isinstance(error, Neo4jError):
        code = str(error.code)
        return code if _STATUS_CODE.fullmatch(code) else "an unknown status code"
    return quoting.shown(error)

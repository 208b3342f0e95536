"""Shared classes of the Bolt stand-in's tests: a served cluster with Neo4j's driver, and a raw Bolt client."""

import contextlib
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import neo4j
from neo4j.exceptions import DriverError, Neo4jError

from backup_agent.standins.bolt import BoltServer
from backup_agent.standins.bolt.conversation import MAGIC
from backup_agent.standins.bolt.packstream import Structure, pack, unpack
from backup_agent.standins.cluster import Cluster, save

AUTH = ("neo4j", "secret-password")
DATABASES = "SHOW DATABASES"
DISCOVERY = (
    "SHOW DATABASES YIELD name, type, role, writer, address, serverID, databaseID, currentStatus, "
    "lastCommittedTxn, replicationLag"
)

Row = dict[str, Any]


@contextmanager
def connected(uri: str, **options: Any) -> Iterator[neo4j.Driver]:
    """Connect the real driver, without its retries of 30 s."""
    quick: dict[str, Any] = {"auth": AUTH, "connection_timeout": 2.0, "max_transaction_retry_time": 0.0}
    with neo4j.GraphDatabase.driver(uri, **(quick | options)) as driver:
        yield driver


class Served:
    """A simulated cluster that is served over Bolt. Use as a context manager."""

    def __init__(self, folder: Path, cluster: Cluster, **options: Any) -> None:
        save(cluster, folder)
        self._stack = ExitStack()
        self.folder = folder
        self.server = BoltServer(folder, **options)

    def __enter__(self) -> Self:
        self._stack.enter_context(self.server)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def driver(self, server: str = "server-0", scheme: str = "bolt", **options: Any) -> neo4j.Driver:
        """Return a new driver, which is closed at the end of the context."""
        return self._stack.enter_context(connected(self.server.uri(server, scheme=scheme), **options))

    def ask(self, statement: str, database: str = "system", server: str = "server-0", **parameters: Any) -> list[Row]:
        """Run a statement and return its rows."""
        records = self.driver(server).execute_query(statement, parameters, database_=database).records
        return [record.data() for record in records]

    def columns(self, statement: str) -> list[str]:
        """Run a statement and return the names of its columns."""
        return list(self.driver().execute_query(statement, database_="system").keys)

    def copies(self, database: str, statement: str = DISCOVERY) -> dict[str, Row]:
        """Return the rows of one database by the name of their server."""
        names = {address: server for server, address in self.server.addresses.items()}
        rows = (row for row in self.ask(statement) if row["name"] == database and row["address"])
        return {names[row["address"]]: row for row in rows}

    def refusal(self, statement: str, database: str = "system", **options: Any) -> Neo4jError | DriverError:
        """Run a statement that must fail and return the driver's error."""
        try:
            self.driver(**options).execute_query(statement, database_=database)
        except (Neo4jError, DriverError) as error:
            return error
        raise AssertionError("the statement was answered")

    def code(self, statement: str, database: str = "system", **options: Any) -> str | None:
        """Run a statement that must fail and return the code of Neo4j's error."""
        refusal = self.refusal(statement, database, **options)
        assert isinstance(refusal, Neo4jError), refusal
        return refusal.code

    def connection_error(self, **options: Any) -> Neo4jError | DriverError | None:
        """Connect and return the driver's error; None if it can connect."""
        try:
            self.driver(**options).verify_connectivity()
        except (Neo4jError, DriverError) as error:
            return error
        return None

    def change(self, cluster: Cluster) -> None:
        """Serve a changed cluster."""
        self.server.change(cluster)

    @property
    def cluster(self) -> Cluster:
        return self.server.cluster

    @contextmanager
    def client(self, server: str = "server-0", version: str = "00000805") -> Iterator["Client"]:
        """Connect a raw client that has completed the handshake."""
        with socket.create_connection(host_and_port(self.server.addresses[server]), timeout=5) as connection:
            connection.sendall(MAGIC + bytes.fromhex(version) + bytes(12))
            assert connection.recv(4) == bytes.fromhex(version)
            yield Client(connection)


def host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def refuses(address: str) -> bool:
    """Return whether an address refuses connections."""
    try:
        socket.create_connection(host_and_port(address), timeout=1).close()
    except ConnectionError:  # refused, or reset because the port was closed before the connection was accepted
        return True
    return False


HELLO, LOGON, LOGOFF, RUN, PULL, RESET, ROUTE, TELEMETRY = 0x01, 0x6A, 0x6B, 0x10, 0x3F, 0x0F, 0x66, 0x54
SUCCESS, RECORD, IGNORED, FAILURE = 0x70, 0x71, 0x7E, 0x7F


class Client:
    """A raw Bolt client, for requests that the driver never sends."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, tag: int, *fields: Any) -> None:
        message = pack(Structure(tag, fields))
        self._connection.sendall(len(message).to_bytes(2) + message + b"\x00\x00")

    def receive(self) -> Structure:
        message = unpack(self._message())
        assert isinstance(message, Structure)
        return message

    def tags(self, count: int) -> list[int]:
        """Return the tags of the next messages."""
        return [self.receive().tag for _ in range(count)]

    def tags_until_silence(self, seconds: float) -> list[int]:
        """Return the tags of all messages until none arrives for `seconds`."""
        self._connection.settimeout(seconds)
        found = []
        with contextlib.suppress(TimeoutError):
            while True:
                found.append(self.receive().tag)
        return found

    def is_disconnected(self) -> bool:
        """Wait for the next message or the end of the connection. Return whether it was the end."""
        return self._message() == b""

    def chunks(self, count: int) -> bytes:
        """Return the next chunks of a message that may have no end."""
        return b"".join(self._exactly(int.from_bytes(self._exactly(2))) for _ in range(count))

    def log_on(self) -> None:
        self.send(HELLO, {"user_agent": "test"})
        self.send(LOGON, {"scheme": "basic", "principal": AUTH[0], "credentials": AUTH[1]})
        assert self.tags(2) == [SUCCESS, SUCCESS]

    def _message(self) -> bytes:
        message = b""
        while size := int.from_bytes(self._exactly(2)):
            message += self._exactly(size)
        return message

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (more := self._connection.recv(size - len(data))):
            data += more
        return data

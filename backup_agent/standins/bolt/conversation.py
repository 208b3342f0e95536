"""One Bolt connection, from handshake to GOODBYE (neo4j.com/docs/bolt: handshake, messages, server state).

Requests are answered in order, so a client may send several at once. After a FAILURE all requests up to RESET are
answered with IGNORED, so requests that were sent in advance do no harm.
"""

import asyncio
import struct
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Any, NoReturn, Protocol

from backup_agent.standins.bolt.administration import Administration
from backup_agent.standins.bolt.faults import (
    CREDENTIALS_EXPIRED,
    Failure,
    Moment,
    Refused,
    forbidden,
    unavailable,
    unsupported,
)
from backup_agent.standins.bolt.packstream import PackStreamError, Structure, pack, unpack
from backup_agent.standins.bolt.statements import (
    DEFAULT_DATABASE,
    Answer,
    Asked,
    answer,
    database_not_found,
    find_database,
    no_routing_table,
    running,
)
from backup_agent.standins.cluster import BoltFault, Cluster, User

MAGIC = b"\x60\x60\xb0\x17"
MANIFEST = b"\x00\x00\x01\xff"
"""Proposal of a client that asks for the list of the server's versions (manifest handshake, version 1)."""
Version = tuple[int, int]

SUCCESS, RECORD, IGNORED, FAILURE = 0x70, 0x71, 0x7E, 0x7F
LARGEST_CHUNK = 0xFFFF
LARGEST_REQUEST = 1 << 20
LOGON_SINCE: Version = (5, 1)
GQL_SINCE: Version = (5, 7)
STATUSES_SINCE: Version = (5, 6)
ADVERTISED_SINCE: Version = (5, 8)
DONE = {"gql_status": "00000", "status_description": "note: successful completion"}
ROUTING_TABLE_SECONDS = 300
KEEP_ALIVE_SECONDS = 15
ADMINISTRATION = ("SHOW", "CYPHER", "CREATE", "DROP", "START", "STOP", "ALTER", "GRANT", "DENY")


class State(Enum):
    """The state of a connection."""

    CONNECTED = auto()
    AUTHENTICATION = auto()
    READY = auto()
    FAILED = auto()


class Disconnect(Exception):  # noqa: N818  not an error
    """The connection is to be closed."""


@dataclass
class Stream:
    """The rows of a statement that were not pulled yet, and the faults to inject while they are sent."""

    rows: list[tuple[Any, ...]]
    kind: str
    """Type of the statement in its summary: `s` for administration, `r` for reading."""
    database: str
    faults: tuple[BoltFault, ...]


class Host(Protocol):
    """The interface of the server that owns a conversation."""

    def current(self) -> Cluster:
        """Return the current cluster. Raise ValueError if its file is invalid."""

    def shown_addresses(self) -> Mapping[str, str]:
        """Return the servers' Bolt addresses by name."""

    def faults_now(self, moment: Moment, server: str, statement: str = "") -> tuple[BoltFault, ...]:
        """Return the faults to inject now."""

    def log_in(self, server: str, token: Mapping[str, Any]) -> User:
        """Return the user with these credentials. Raise Refused if they are wrong."""

    def heard(self, server: str, user: str, database: str, text: str) -> None:
        """Add a statement to the list of received ones."""

    def move_leader(self, fault: BoltFault) -> None:
        """Change the leader of a database."""

    @property
    def administration(self) -> Administration:
        """What carries out the statements that change the cluster."""

    @property
    def dead_address(self) -> str:
        """An address that refuses every connection."""


class Conversation:
    """The server's side of one connection to one server of the cluster."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, host: Host, server: str, number: int
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.host = host
        self.server = server
        self.number = number
        self.neo4j = host.current().version_of(server)
        self.version: Version = (0, 0)
        self.state = State.CONNECTED
        self.user: User | None = None
        self.transaction: str | None = None
        """Database of the open transaction, or None without an open transaction."""
        self.streams: dict[int, Stream] = {}
        self.last_stream = -1

    async def run(self) -> None:
        """Serve until either side disconnects. Raise ConnectionError, EOFError or PackStreamError on a client error."""
        self.version = await self._agree()
        try:
            while True:
                await self._serve(unpack(await self._receive()))
                await self.writer.drain()
        except Disconnect:
            return

    async def _agree(self) -> Version:
        offered = _versions(self.neo4j)
        opening = await self.reader.readexactly(20)
        if opening[:4] != MAGIC:
            raise PackStreamError("the client does not speak Bolt")
        proposals = [opening[at : at + 4] for at in range(4, 20, 4)]
        if MANIFEST in proposals:
            ranges = [bytes((0, low, minor, major)) for major, minor, low in offered]
            self.writer.write(MANIFEST + bytes((len(ranges),)) + b"".join(ranges) + b"\x00")
            chosen = await self.reader.readexactly(4)
            while (await self.reader.readexactly(1))[0] & 0x80:
                pass  # skip the capabilities, a varint of any length
            return chosen[3], chosen[2]
        ours = {(major, minor - step) for major, minor, low in offered for step in range(low + 1)}
        for _, low, minor, major in proposals:
            for step in range(low + 1):
                if (major, minor - step) in ours:
                    self.writer.write(bytes((0, 0, minor - step, major)))
                    return major, minor - step
        self.writer.write(bytes(4))
        await self.writer.drain()
        raise ConnectionError("the client offers no supported Bolt version")

    async def _receive(self) -> bytes:
        message = bytearray()
        while True:
            (size,) = struct.unpack(">H", await self.reader.readexactly(2))
            if size == 0 and message:
                return bytes(message)
            message += await self.reader.readexactly(size)
            if len(message) > LARGEST_REQUEST:
                raise PackStreamError(f"request larger than {LARGEST_REQUEST} bytes")

    async def _serve(self, request: object) -> None:
        if not isinstance(request, Structure) or request.tag not in REQUESTS:
            raise PackStreamError("not a Bolt request")
        states, serve = REQUESTS[request.tag]
        if self.state is State.FAILED and State.FAILED not in states:
            self._send(IGNORED, {})
            return
        try:
            if self.state not in states:
                self._refuse_and_disconnect(
                    "Neo.ClientError.Request.Invalid", f"not in state {self.state.name.lower()}"
                )
            metadata = await serve(self, request.fields)
        except Refused as refused:
            await self._fail(refused.failure)
        except ValueError as error:  # cluster.json is invalid
            await self._fail(Failure("Neo.DatabaseError.General.UnknownError", str(error)))
        else:
            self._send(SUCCESS, metadata)

    async def hello(self, fields: Sequence[Any]) -> dict[str, Any]:
        """HELLO: identify the server. Before Bolt 5.1 the request also holds the credentials."""
        if self.version < LOGON_SINCE:
            self.user = self.host.log_in(self.server, fields[0])
            self.state = State.READY
        else:
            self.state = State.AUTHENTICATION
        metadata: dict[str, Any] = {"server": f"Neo4j/{self.neo4j}", "connection_id": f"bolt-{self.number}"}
        if self.version >= ADVERTISED_SINCE:
            metadata["protocol_version"] = "{}.{}".format(*self.version)
            metadata["hints"] = {"connection.recv_timeout_seconds": 120, "ssr.enabled": True}
        else:
            metadata["hints"] = {"connection.recv_timeout_seconds": 120}
        return metadata

    async def logon(self, fields: Sequence[Any]) -> dict[str, Any]:
        """LOGON: check the credentials."""
        self.user = None
        self.user = self.host.log_in(self.server, fields[0])
        self.state = State.READY
        if self.version < ADVERTISED_SINCE:
            return {}
        return {"advertised_address": self.host.shown_addresses()[self.server]}

    async def logoff(self, _fields: Sequence[Any]) -> dict[str, Any]:
        """LOGOFF: wait for another LOGON."""
        self.state = State.AUTHENTICATION
        return {}

    async def goodbye(self, _fields: Sequence[Any]) -> NoReturn:
        """GOODBYE: disconnect without an answer."""
        raise Disconnect

    async def reset(self, _fields: Sequence[Any]) -> dict[str, Any]:
        """RESET: discard the transaction, the rows and the failure."""
        self.transaction = None
        self.streams.clear()
        self.state = State.READY
        return {}

    async def telemetry(self, _fields: Sequence[Any]) -> dict[str, Any]:
        """TELEMETRY: accept and ignore."""
        return {}

    async def route(self, fields: Sequence[Any]) -> dict[str, Any]:
        """ROUTE: return the routing table of a database. This works with an expired password too."""
        extra = fields[2] if len(fields) > 2 and isinstance(fields[2], dict) else {}  # noqa: PLR2004  Bolt 4.3 sends a text here
        name = extra.get("db") or DEFAULT_DATABASE
        for fault in self.host.faults_now(Moment.ROUTE, self.server):
            dead = list(fault.addresses) or [self.host.dead_address]
            return {"rt": _routing_table(name, dead, dead, dead)}
        cluster = self.host.current()
        database = find_database(cluster, name)
        if database is None:
            raise Refused(no_routing_table(name))
        copies = running(cluster, database)
        if not copies:
            raise Refused(unavailable(name))
        addresses = self.host.shown_addresses()
        writers = [addresses[copy.server] for copy in copies if copy.writer]
        readers = [addresses[copy.server] for copy in copies if not copy.writer] or writers
        routers = [addresses[server.name] for server in cluster.servers if server.up]
        return {"rt": _routing_table(name, routers, readers, writers)}

    async def begin(self, fields: Sequence[Any]) -> dict[str, Any]:
        """BEGIN: open a transaction on a database."""
        if self.transaction is not None:
            self._refuse_and_disconnect("Neo.ClientError.Request.Invalid", "a transaction is open")
        self._need_fresh_password()
        self.transaction = self._database(fields[0])
        return {}

    async def run_statement(self, fields: Sequence[Any]) -> dict[str, Any]:
        """RUN: run a statement and keep its rows for PULL."""
        text, parameters, extra = fields
        database = self.transaction or self._database(extra)
        user = self.user or User("", "")
        self.host.heard(self.server, user.name, database, text)
        faults = self.host.faults_now(Moment.STATEMENT, self.server, " ".join(text.split()))
        self._need_fresh_password()
        asked = self._asked(database, user)
        for fault in faults:
            asked = await self._inject(fault, asked, text)
        administration = self.host.administration
        answered = await self._kept_alive(administration.answer(asked, text, parameters))
        answered = answered or answer(asked, text, parameters)
        for fault in faults:
            if fault.do == "move_leader":
                self.host.move_leader(fault)
        kind = "s" if text.lstrip().upper().startswith(ADMINISTRATION) else "r"
        odd = any(fault.do == "other_columns" for fault in faults)
        columns = [f"other_{name}" for name in answered.fields] if odd else answered.fields
        return self._opened(Stream(list(answered.rows), kind, database, faults), columns)

    async def commit(self, _fields: Sequence[Any]) -> dict[str, Any]:
        """COMMIT: end the transaction."""
        self._end_transaction()
        return {"bookmark": f"FB:simulated-{self.number}"}

    async def rollback(self, _fields: Sequence[Any]) -> dict[str, Any]:
        """ROLLBACK: end the transaction."""
        self._end_transaction()
        return {}

    async def pull(self, fields: Sequence[Any]) -> dict[str, Any]:
        """PULL: send all remaining rows, or the requested number."""
        stream, count = self._stream(fields)
        sent, stream.rows = stream.rows[:count], stream.rows[count:]
        broken = next((fault for fault in stream.faults if fault.do in ("hang_in_answer", "close_in_answer")), None)
        if broken:
            whole = b"".join(_chunked(RECORD, list(row)) for row in sent) + _chunked(SUCCESS, {})
            self.writer.write(whole[: len(whole) // 2])
            await self.writer.drain()
            if broken.do == "hang_in_answer":
                await self._hang()
            raise Disconnect
        if any(fault.do == "endless_text" for fault in stream.faults):
            await self._send_endless_text()
        for row in sent:
            self._send(RECORD, list(row))
        return self._pulled(stream)

    async def discard(self, fields: Sequence[Any]) -> dict[str, Any]:
        """DISCARD: drop all remaining rows, or the requested number."""
        stream, count = self._stream(fields)
        stream.rows = stream.rows[count:]
        return self._pulled(stream)

    def _database(self, extra: Mapping[str, Any]) -> str:
        name = str(extra.get("db") or DEFAULT_DATABASE).lower()
        if find_database(self.host.current(), name) is None:
            raise Refused(database_not_found(name))
        return name

    def _asked(self, database: str, user: User) -> Asked:
        return Asked(
            cluster=self.host.current(),
            server=self.server,
            addresses=self.host.shown_addresses(),
            database=database,
            now=_now(),
            user=user,
        )

    async def _inject(self, fault: BoltFault, asked: Asked, text: str) -> Asked:
        title = " ".join(text.split()[:2]).upper()
        match fault.do:
            case "delay":
                await asyncio.sleep(fault.seconds)
            case "hang":
                await self._hang()
            case "clock":
                return replace(asked, now=asked.now + timedelta(seconds=fault.seconds))
            case "forbidden":
                raise Refused(forbidden(title))
            case "unavailable":
                raise Refused(unavailable(asked.database))
            case "unsupported":
                raise Refused(unsupported(title, asked.version))
            case "credentials_expired":
                raise Refused(CREDENTIALS_EXPIRED)
            case "fail":
                code = fault.code or "Neo.DatabaseError.General.UnknownError"
                raise Refused(Failure(code, fault.message or "simulated"))
        return asked

    async def _kept_alive(self, work: Coroutine[Any, Any, Answer | None]) -> Answer | None:
        """Wait for an answer, and send empty chunks meanwhile: a client would disconnect after a long silence."""
        task = asyncio.create_task(work)
        try:
            while not (await asyncio.wait([task], timeout=KEEP_ALIVE_SECONDS))[0]:
                self.writer.write(bytes(2))
                await self.writer.drain()
            return task.result()
        finally:
            task.cancel()

    def _opened(self, stream: Stream, columns: Sequence[str]) -> dict[str, Any]:
        if self.transaction is None:
            self.streams.clear()
        self.last_stream = len(self.streams)
        self.streams[self.last_stream] = stream
        metadata: dict[str, Any] = {"fields": list(columns), "t_first": 0}
        if self.transaction is not None:
            metadata["qid"] = self.last_stream
        return metadata

    def _stream(self, fields: Sequence[Any]) -> tuple[Stream, int]:
        number = fields[0].get("qid", -1)
        stream = self.streams.get(self.last_stream if number < 0 else number)
        if stream is None:
            self._refuse_and_disconnect("Neo.ClientError.Request.Invalid", "no rows are open")
        count = fields[0].get("n", -1)
        return stream, len(stream.rows) if count < 0 else count

    def _pulled(self, stream: Stream) -> dict[str, Any]:
        if stream.rows:
            return {"has_more": True}
        self.streams = {
            number: open_stream for number, open_stream in self.streams.items() if open_stream is not stream
        }
        metadata: dict[str, Any] = {"type": stream.kind, "t_last": 0, "db": stream.database}
        if self.version >= STATUSES_SINCE:
            metadata["statuses"] = [DONE]
        if self.transaction is None:
            metadata["bookmark"] = f"FB:simulated-{self.number}"
        return metadata

    def _end_transaction(self) -> None:
        if self.transaction is None:
            self._refuse_and_disconnect("Neo.ClientError.Request.Invalid", "no transaction is open")
        self.transaction = None
        self.streams.clear()

    def _need_fresh_password(self) -> None:
        if self.user and self.user.password_expired:
            raise Refused(CREDENTIALS_EXPIRED)

    def _refuse_and_disconnect(self, code: str, message: str) -> NoReturn:
        """Refuse a request that violates the protocol. Log the user out, so that `_fail` closes the connection."""
        self.user = None
        raise Refused(Failure(code, message, "08N06"))

    async def _hang(self) -> NoReturn:
        """Send nothing until the client disconnects."""
        while await self.reader.read(LARGEST_CHUNK):
            pass
        raise Disconnect

    async def _send_endless_text(self) -> NoReturn:
        """Send chunks of one text until the client disconnects."""
        begin = bytes([0xB1, RECORD, 0x91, 0xD2]) + struct.pack(">I", 2**32 - 1)
        self.writer.write(struct.pack(">H", len(begin)) + begin)
        chunk = struct.pack(">H", LARGEST_CHUNK) + b"x" * LARGEST_CHUNK
        while not self.writer.is_closing():
            self.writer.write(chunk)
            await self.writer.drain()
        raise Disconnect

    async def _fail(self, failure: Failure) -> None:
        """Send a failure. Disconnect if the client is not logged in."""
        self.state = State.FAILED
        metadata: dict[str, Any] = {"message": failure.message}
        if self.version < GQL_SINCE:
            metadata["code"] = failure.code
        else:
            metadata |= {
                "neo4j_code": failure.code,
                "gql_status": failure.gql_status_5 if self.neo4j.startswith("5.") else failure.gql_status,
                "description": f"error: {failure.message}",
            }
        self._send(FAILURE, metadata)
        if self.user is None:
            await self.writer.drain()
            raise Disconnect

    def _send(self, tag: int, field: object) -> None:
        self.writer.write(_chunked(tag, field))


Serve = Callable[[Conversation, Sequence[Any]], Awaitable[dict[str, Any]]]

REQUESTS: Mapping[int, tuple[tuple[State, ...], Serve]] = {
    0x01: ((State.CONNECTED,), Conversation.hello),
    0x02: (tuple(State), Conversation.goodbye),
    0x0F: ((State.READY, State.FAILED), Conversation.reset),
    0x10: ((State.READY,), Conversation.run_statement),
    0x11: ((State.READY,), Conversation.begin),
    0x12: ((State.READY,), Conversation.commit),
    0x13: ((State.READY,), Conversation.rollback),
    0x2F: ((State.READY,), Conversation.discard),
    0x3F: ((State.READY,), Conversation.pull),
    0x54: ((State.READY,), Conversation.telemetry),
    0x66: ((State.READY,), Conversation.route),
    0x6A: ((State.AUTHENTICATION,), Conversation.logon),
    0x6B: ((State.READY,), Conversation.logoff),
}
"""Tag of a request -> states in which it is allowed, and its handler."""


def _now() -> datetime:
    """Return the time as Cypher's datetime() does, in whole milliseconds."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _versions(neo4j: str) -> tuple[tuple[int, int, int], ...]:
    """Return the Bolt versions of a server: major, newest minor, and the number of older minors.

    These are the versions that 5.26.31 and 2026.09.0 offer, without 4.4. The first version with Bolt 6 is a guess.
    """
    five = ((5, 4, 4), (5, 8, 2))
    return five if neo4j.startswith(("5.", "2025.")) else (*five, (6, 1, 1))


def _routing_table(
    database: str, routers: Sequence[str], readers: Sequence[str], writers: Sequence[str]
) -> dict[str, Any]:
    roles = (("ROUTE", routers), ("READ", readers), ("WRITE", writers))
    return {
        "ttl": ROUTING_TABLE_SECONDS,
        "db": database,
        "servers": [{"role": role, "addresses": list(addresses)} for role, addresses in roles],
    }


def _chunked(tag: int, field: object) -> bytes:
    message = pack(Structure(tag, (field,)))
    chunks = (message[at : at + LARGEST_CHUNK] for at in range(0, len(message), LARGEST_CHUNK))
    return b"".join(struct.pack(">H", len(chunk)) + chunk for chunk in chunks) + b"\x00\x00"

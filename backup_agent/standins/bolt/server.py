"""The Bolt listeners, one for each server of the simulated cluster, in one thread.

Connections to a server that is down must be refused, and its port must still be free when it is up again. So a second
socket is bound to each port and never listens: connections are refused, and no other process gets the port.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from backup_agent.standins.bolt.administration import Administration, Restoring
from backup_agent.standins.bolt.conversation import Conversation
from backup_agent.standins.bolt.faults import RATE_LIMIT, UNAUTHORIZED, FaultCount, Moment, Refused
from backup_agent.standins.bolt.statements import EVERYBODY
from backup_agent.standins.cluster import FILE, BoltFault, Cluster, User, load, save

POLL_SECONDS = 0.05
"""Interval at which cluster.json is checked for changes that open or close ports. Statements see changes at once."""
MAX_FAILED_LOGINS = 3
"""Failed logins in a row, per user and server, after which the user is locked (auth_max_failed_attempts)."""
LOCK_SECONDS = 5.0
TLS_HANDSHAKE_SECONDS = 10.0
ANSWER_SECONDS = 10.0
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Login:
    """One login attempt."""

    server: str
    user: str
    accepted: bool


@dataclass(frozen=True)
class Heard:
    """One received statement."""

    server: str
    user: str
    database: str
    text: str


@dataclass
class FailedLogins:
    """Failed logins of a user in a row. `last` is the time of the last one on the monotonic clock."""

    count: int = 0
    last: float = 0.0


class BoltServer:
    """Serves the simulated cluster of a folder. Use as a context manager.

    `listen` is the host:port of the first server, or of the server `only`; all others listen at their address in
    `cluster.json`. With `only`, other processes serve the other servers, which then need fixed ports.
    `restoring` is what the servers can reach when a database is restored.
    """

    def __init__(
        self,
        folder: Path,
        *,
        listen: str | None = None,
        only: str | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        restoring: Restoring | None = None,
    ) -> None:
        self.folder = folder
        self._administration = Administration(folder, restoring or Restoring())
        self._listen = listen
        self._only = only
        self._tls = _tls(certificate, key)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="bolt", daemon=True)
        self._reserved: dict[str, socket.socket] = {}
        self._addresses: dict[str, str] = {}
        self._listeners: dict[str, tuple[socket.socket, asyncio.Task[None]]] = {}
        self._conversations: dict[asyncio.Task[None], str] = {}
        self._watch: asyncio.Task[None] | None = None
        self._updating_ports = asyncio.Lock()
        self._faults = FaultCount()
        self._failed_logins: dict[tuple[str, str], FailedLogins] = {}
        self._logins: list[Login] = []
        self._heard: list[Heard] = []
        self._numbers = 0
        self._dead = _bound("127.0.0.1", 0)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen for every server that is up. Raise OSError if a port is in use."""
        self._thread.start()
        try:
            self._call(self._start())
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Close all connections and ports."""
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(ANSWER_SECONDS)
        self._loop.close()
        for reserved in (*self._reserved.values(), self._dead):
            reserved.close()

    @property
    def cluster(self) -> Cluster:
        """The cluster, read from its file."""
        return load(self.folder)

    def change(self, cluster: Cluster) -> None:
        """Save a changed cluster, and open and close ports accordingly."""
        save(cluster, self.folder)
        self._call(self._update_ports())

    @property
    def addresses(self) -> Mapping[str, str]:
        """The Bolt addresses of the served servers, by name."""
        return dict(self._addresses)

    def uri(self, server: str | None = None, *, scheme: str = "bolt") -> str:
        """Return the URI of a server, by default of the first."""
        return f"{scheme}://{self._addresses[server or next(iter(self._addresses))]}"

    @property
    def logins(self) -> tuple[Login, ...]:
        """All login attempts, oldest first."""
        return tuple(self._logins)

    @property
    def statements(self) -> tuple[Heard, ...]:
        """All received statements, oldest first."""
        return tuple(self._heard)

    @property
    def dead_address(self) -> str:
        """An address that refuses every connection."""
        return _shown(self._dead)

    @property
    def administration(self) -> Administration:
        """What carries out the statements that change the cluster."""
        return self._administration

    def current(self) -> Cluster:
        """Return the cluster, read from its file."""
        return load(self.folder)

    def shown_addresses(self) -> Mapping[str, str]:
        """Return each server's Bolt address, for a server of another process the one in `cluster.json`."""
        return {server.name: self._addresses.get(server.name, server.bolt) for server in self.current().servers}

    def faults_now(self, moment: Moment, server: str, statement: str = "") -> tuple[BoltFault, ...]:
        """Return the faults to inject now, and count them."""
        return self._faults.take(self.current().bolt.faults, moment, server=server, statement=statement)

    def log_in(self, server: str, token: Mapping[str, Any]) -> User:
        """Return the user with these credentials. Raise Refused if they are wrong."""
        name = str(token.get("principal", ""))
        try:
            user = self._checked(server, name, str(token.get("credentials", "")))
        except Refused:
            self._logins.append(Login(server, name, accepted=False))
            raise
        self._logins.append(Login(server, name, accepted=True))
        return user

    def heard(self, server: str, user: str, database: str, text: str) -> None:
        """Add a statement to the list of received ones."""
        self._heard.append(Heard(server, user, database, text))

    def move_leader(self, fault: BoltFault) -> None:
        """Make another server the leader. Raise ValueError if the fault lacks the database or the server."""
        cluster = self.current()
        if fault.database is None or fault.to is None:
            raise ValueError("bolt.faults: move_leader needs database and to")
        save(cluster.with_leader(fault.database, fault.to), self.folder)

    def _checked(self, server: str, name: str, password: str) -> User:
        cluster = self.current()
        for fault in self.faults_now(Moment.LOGIN, server):
            raise Refused(RATE_LIMIT if fault.do == "rate_limit" else UNAUTHORIZED)
        if not cluster.bolt.users:
            return replace(EVERYBODY, name=name)
        failed = self._failed_logins.setdefault((server, name), FailedLogins())
        now = time.monotonic()
        if failed.count >= MAX_FAILED_LOGINS and now < failed.last + LOCK_SECONDS:
            raise Refused(RATE_LIMIT)
        for user in cluster.bolt.users:
            if (user.name, user.password) == (name, password):
                failed.count = 0
                return user
        failed.count += 1
        failed.last = now
        raise Refused(UNAUTHORIZED)

    def _call(self, work: Any) -> None:  # noqa: ANN401  a coroutine of this class
        asyncio.run_coroutine_threadsafe(work, self._loop).result(ANSWER_SECONDS)

    async def _start(self) -> None:
        await self._update_ports()
        self._watch = asyncio.create_task(self._poll())

    async def _stop(self) -> None:
        if self._watch:
            await _cancel(self._watch)
        for name in list(self._listeners):
            await self._close(name)
        for conversation in list(self._conversations):
            await _cancel(conversation)
        await self._administration.close()
        await asyncio.sleep(0)  # transports close in the loop's next turn

    async def _poll(self) -> None:
        known = self._signature()
        while True:
            await asyncio.sleep(POLL_SECONDS)
            with contextlib.suppress(OSError, ValueError):  # an invalid file is reported by statements
                if known != (known := self._signature()):
                    await self._update_ports()

    async def _update_ports(self) -> None:
        """Open and close ports according to the cluster."""
        async with self._updating_ports:
            cluster = self.current()
            self._reserve(cluster)
            refusing = [fault.server for fault in cluster.bolt.faults if fault.do == "refuse"]
            up = {server.name for server in cluster.servers if server.up}
            for name in self._reserved:
                if name in up and name not in refusing and None not in refusing:
                    self._open(name)
                else:
                    await self._close(name)
                if name not in up:
                    for conversation in [
                        conversation for conversation, server in self._conversations.items() if server == name
                    ]:
                        await _cancel(conversation)

    def _reserve(self, cluster: Cluster) -> None:
        served = [server for server in cluster.servers if self._only in (None, server.name)]
        for position, server in enumerate(served):
            if server.name not in self._reserved:
                host, port = _split(self._listen if self._listen and position == 0 else server.bolt)
                self._reserved[server.name] = _bound(host, port)
                self._addresses[server.name] = _shown(self._reserved[server.name])

    def _open(self, name: str) -> None:
        if name not in self._listeners:
            listener = _bound(*self._reserved[name].getsockname()[:2])
            listener.listen()
            self._listeners[name] = (listener, asyncio.create_task(self._accept(name, listener)))

    async def _close(self, name: str) -> None:
        if name in self._listeners:
            listener, accepting = self._listeners.pop(name)
            await _cancel(accepting)
            listener.close()

    async def _accept(self, name: str, listener: socket.socket) -> None:
        while True:
            client, _ = await asyncio.get_running_loop().sock_accept(listener)
            conversation = asyncio.create_task(self._converse(name, client))
            self._conversations[conversation] = name
            conversation.add_done_callback(self._conversations.pop)

    async def _converse(self, name: str, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        # Errors of clients are not reported; an invalid cluster.json is reported by statements.
        with client, contextlib.suppress(OSError, EOFError, ValueError):
            for fault in self.faults_now(Moment.ACCEPT, name):
                if fault.do == "hang_before_handshake":
                    while await loop.sock_recv(client, 4096):
                        pass
                    return
                if fault.do == "reset":
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                    return
            reader = asyncio.StreamReader()
            protocol = asyncio.StreamReaderProtocol(reader)
            timeout = TLS_HANDSHAKE_SECONDS if self._tls else None
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, client, ssl=self._tls, ssl_handshake_timeout=timeout
            )
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            self._numbers += 1
            try:
                await Conversation(reader, writer, host=self, server=name, number=self._numbers).run()
                await writer.drain()
                writer.close()
                await writer.wait_closed()
            finally:
                transport.abort()

    def _signature(self) -> tuple[int, ...]:
        """Return a value that changes whenever the file is replaced."""
        found = (self.folder / FILE).stat()
        return found.st_ino, found.st_mtime_ns, found.st_size


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setblocking(False)
    try:
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def _shown(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context

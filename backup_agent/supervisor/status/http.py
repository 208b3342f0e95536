"""The HTTP servers: one for Prometheus, one for probes, one for people. They read the Status and change nothing.

Each server handles all its connections in one thread, so a slow or silent client costs a descriptor and a few bytes.
Each page that waits for the agent's loop is made in a thread of its own. Clients of one server cannot delay the other
server, and `/livez` never waits.
"""

import errno
import ipaddress
import os
import queue
import re
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from http import HTTPStatus

import structlog

from backup_agent.core.neo4j import topology
from backup_agent.core.page.style import POLICY
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.core.status import Status

CLIENT_SECONDS = 5.0
"""How long a client may take in all to send its request and to read the answer."""

MOST_CONNECTIONS = 100
"""Largest number of connections of a server. One more ends the oldest that has not sent its request yet."""

LARGEST_HEAD = 16 * 1024
"""Largest size of a request line with its headers, in bytes."""

BACKLOG = 128
ACCEPTED_AT_ONCE = 32
CHUNK = 16 * 1024

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"

PROTECTION = (
    f"Content-Security-Policy: {POLICY}",
    "X-Content-Type-Options: nosniff",
    "Referrer-Policy: no-referrer",
    "Cross-Origin-Resource-Policy: same-origin",
    "Cache-Control: no-store",
)
"""Headers of every answer: what a browser must not do with it."""

NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_HOST = re.compile(rb"^host:[ \t]*([^\r\n]*?)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
WORDS_OF_A_REQUEST_LINE = 3

log = structlog.get_logger()

Answer = tuple[int, str, bytes]
"""Status code, content type, body."""


@dataclass(frozen=True)
class Page:
    """A page: the function that makes the answer to a path."""

    make: Callable[[], Answer]
    waits: bool = True
    """Whether `make` may wait for the agent's loop. If not, the serving thread calls `make`."""


def metrics_pages(metrics: Callable[[], tuple[str, bytes]]) -> dict[str, Page]:
    """Return the pages of `http.listen`."""
    return {"/metrics": Page(lambda: (200, *metrics()))}


def status_pages(status: Callable[[], Status], page: Callable[[], Answer] | None = None) -> dict[str, Page]:
    """Return the pages of `http.page`: the status as JSON, and the page for people at `/`."""
    pages = {"/": Page(page)} if page is not None else {}
    return {**pages, "/status.json": Page(lambda: (200, "application/json", status().to_json()))}


def probe_pages(status: Callable[[], Status], alive: Callable[[], bool]) -> dict[str, Page]:
    """Return the pages of `http.probes`."""

    def livez() -> Answer:
        return (200, TEXT, b"ok\n") if alive() else (503, TEXT, b"the agent's loop does not run\n")

    def readyz() -> Answer:
        now = status()
        text = "ok" if now.ready else "\n".join(now.not_ready_because)
        return (200 if now.ready else 503), TEXT, f"{text}\n".encode()

    return {"/livez": Page(livez, waits=False), "/readyz": Page(readyz)}


class _State(Enum):
    READING = auto()
    WAITING = auto()
    SENDING = auto()


@dataclass(eq=False)
class _Connection:
    socket: socket.socket
    deadline: float
    """When the client's time is over, in monotonic seconds; infinite while the client waits for the answer."""
    state: _State = _State.READING
    received: bytearray = field(default_factory=bytearray)
    only_head: bool = False
    left: float = 0.0
    """Seconds that the client has left to read the answer."""
    answer: memoryview = field(default_factory=lambda: memoryview(b""))


class HttpServer:
    """Serves pages at one address from threads of its own: one for all connections, one for each page that waits."""

    def __init__(
        self, setting: str, host: str, port: int, pages: Mapping[str, Page], *, patience: float = CLIENT_SECONDS
    ) -> None:
        """Bind the address. Raise PermanentError, which names the setting, if that fails.

        `port` 0 takes a free port; the attribute `port` tells which one.
        """
        self._setting = setting
        self._pages = pages
        self._patience = patience
        self._listener = _listener(setting, host, port)
        bound = self._listener.getsockname()
        self.port: int = bound[1]
        self._only_local = ipaddress.ip_address(bound[0]).is_loopback
        self._connections: dict[_Connection, None] = {}
        """In the order in which they were accepted."""
        self._asked: dict[str, queue.SimpleQueue[_Connection | None]] = {
            path: queue.SimpleQueue() for path, page in pages.items() if page.waits
        }
        self._made: queue.SimpleQueue[tuple[list[_Connection], Answer]] = queue.SimpleQueue()
        self._closing = False
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._woken, selectors.EVENT_READ, self._take_made)
        self._serving = threading.Thread(target=self._serve, name=setting, daemon=True)
        self._making = [
            threading.Thread(target=self._make, args=(path,), name=f"{setting} {path}", daemon=True)
            for path in self._asked
        ]

    def start(self) -> None:
        """Start all threads."""
        for thread in (self._serving, *self._making):
            thread.start()

    def close(self) -> None:
        """Stop listening and end all connections. Do not wait for a page that is being made."""
        self._closing = True
        for asked in self._asked.values():
            asked.put(None)
        if self._serving.ident is None:
            self._release()
            return
        self._wake()
        self._serving.join(timeout=2)

    def _wake(self) -> None:
        """Wake the serving thread. It may have ended, or have been woken already."""
        with suppress(OSError):
            self._waker.send(b"!")

    # The serving thread

    def _serve(self) -> None:
        while not self._closing:
            for key, _ in self._selector.select(self._until_next_deadline()):
                key.data()
            now = time.monotonic()
            self._drop([connection for connection in self._connections if connection.deadline <= now])
        self._release()

    def _release(self) -> None:
        self._drop(list(self._connections))
        self._selector.close()
        for endpoint in (self._listener, self._waker, self._woken):
            endpoint.close()

    def _until_next_deadline(self) -> float | None:
        soonest = min((connection.deadline for connection in self._connections), default=float("inf"))
        return None if soonest == float("inf") else max(0.0, soonest - time.monotonic())

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                client, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in NO_DESCRIPTORS and not self._drop_oldest():
                    time.sleep(0.1)  # all descriptors are used elsewhere: try again later, without a busy loop
                return
            client.setblocking(False)
            if len(self._connections) >= MOST_CONNECTIONS:
                self._drop_oldest()
            connection = _Connection(client, time.monotonic() + self._patience)
            self._connections[connection] = None
            self._selector.register(client, selectors.EVENT_READ, lambda one=connection: self._read(one))
            self._read(connection)  # the request has often arrived already

    def _drop_oldest(self) -> bool:
        """End the oldest connection, preferably one without a complete request; return whether there was one."""
        reading = (connection for connection in self._connections if connection.state is _State.READING)
        oldest = next(reading, None) or next(iter(self._connections), None)
        self._drop([oldest] if oldest else [])
        return oldest is not None

    def _drop(self, connections: Iterable[_Connection]) -> None:
        for connection in connections:
            if connection in self._connections:
                del self._connections[connection]
                self._unregister(connection)
                connection.socket.close()

    def _unregister(self, connection: _Connection) -> None:
        with suppress(KeyError):  # a connection that waits for its page is not registered
            self._selector.unregister(connection.socket)

    def _read(self, connection: _Connection) -> None:
        if connection not in self._connections:  # dropped after the selector returned
            return
        try:
            data = connection.socket.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop([connection])
            return
        seen = max(0, len(connection.received) - 3)
        connection.received += data
        if _END_OF_HEAD.search(connection.received, seen):
            self._answer(connection)
        elif len(connection.received) > LARGEST_HEAD:
            self._send(connection, (431, TEXT, f"a request has at most {LARGEST_HEAD} bytes\n".encode()))

    def _answer(self, connection: _Connection) -> None:
        """Answer a complete request, or pass it to the thread that makes pages."""
        words = connection.received.partition(b"\n")[0].decode(errors="replace").split()
        method, target, version = words if len(words) == WORDS_OF_A_REQUEST_LINE else ("", "", "")
        path = target.partition("?")[0]
        page = self._pages.get(path)
        names = " ".join(self._pages)
        connection.only_head = method == "HEAD"
        if version not in {"HTTP/1.0", "HTTP/1.1"}:
            self._send(connection, (400, TEXT, b"not a request of HTTP/1.0 or HTTP/1.1\n"))
        elif method not in {"GET", "HEAD"}:
            self._send(connection, (405, TEXT, b"only GET and HEAD are served\n"))
        elif self._only_local and not all(map(_is_local, _HOST.findall(connection.received))):
            self._send(connection, (421, TEXT, b"only for localhost and IP addresses, not for other host names\n"))
        elif path == "/" and page is None:
            self._send(connection, (200, TEXT, f"{names}\n".encode()))
        elif page is None:
            self._send(connection, (404, TEXT, f"no such page on the port of {self._setting}: {names}\n".encode()))
        elif not page.waits:
            self._send(connection, page.make())
        else:
            self._unregister(connection)
            connection.state = _State.WAITING
            connection.left = max(0.0, connection.deadline - time.monotonic())
            connection.deadline = float("inf")
            self._asked[path].put(connection)

    def _take_made(self) -> None:
        self._woken.recv(CHUNK)
        with suppress(queue.Empty):
            while True:
                connections, answer = self._made.get_nowait()
                for connection in connections:
                    if connection in self._connections:
                        connection.deadline = time.monotonic() + connection.left
                        self._send(connection, answer)

    def _send(self, connection: _Connection, answer: Answer) -> None:
        code, kind, body = answer
        head = (
            f"HTTP/1.0 {code} {HTTPStatus(code).phrase}\r\nServer: backup-agent\r\nConnection: close\r\n"
            f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n" + "\r\n".join((*PROTECTION, "", ""))
        )
        connection.state = _State.SENDING
        connection.answer = memoryview(head.encode() + (b"" if connection.only_head else body))
        self._unregister(connection)
        self._selector.register(connection.socket, selectors.EVENT_WRITE, lambda: self._write(connection))
        self._write(connection)

    def _write(self, connection: _Connection) -> None:
        if connection not in self._connections:
            return
        try:
            sent = connection.socket.send(connection.answer)
        except BlockingIOError:
            return
        except OSError:
            self._drop([connection])
            return
        connection.answer = connection.answer[sent:]
        if not connection.answer:
            with suppress(OSError):  # closing a socket with unread bytes resets the connection and loses the answer
                connection.socket.recv(CHUNK)
            self._drop([connection])

    # The threads that make pages

    def _make(self, path: str) -> None:
        """Make a page once for all connections that wait for it. One page that takes long delays no other page."""
        asked = self._asked[path]
        while (first := asked.get()) is not None:
            connections = [first]
            with suppress(queue.Empty):
                while (more := asked.get_nowait()) is not None:
                    connections.append(more)
            self._made.put((connections, _made(path, self._pages[path])))
            self._wake()


def _is_local(host: bytes) -> bool:
    """Return whether a Host header names no host of another site.

    A page of another site can let its own host name resolve to 127.0.0.1 (DNS rebinding). A browser then sends it the
    answer of this server, but with that name as Host, never with `localhost` or an address.
    """
    with suppress(ValueError):  # no address, or a port of thousands of digits
        name = topology.split(host.decode(errors="replace"))[0].lower()
        return name in {"", "localhost"} or bool(ipaddress.ip_address(name))
    return False


def _made(path: str, page: Page) -> Answer:
    try:
        return page.make()
    except TimeoutError as error:
        return 503, TEXT, f"{error}\n".encode()
    except Exception:
        log.exception("page failed", page=path)
        return 500, TEXT, b"the page cannot be made: see the agent's log\n"


def _listener(setting: str, host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        cause = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise PermanentError(
            Reason.INTERNAL,
            f"{setting}: cannot listen on {topology.join(host, port)}: {cause}",
            f"end the process that listens there, or set {setting} to a free port",
        ) from None
    listener.setblocking(False)
    return listener

"""An HTTP proxy before an S3 server, which injects faults of networks and stores into chosen requests.

It understands HTTP, because faults such as `503 SlowDown` and a lost answer to CompleteMultipartUpload are answers. It
counts requests, because tests of resumed uploads compare numbers of parts.
"""

import http.client
import re
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from threading import Condition
from typing import Literal

from tests.stores.local_server import LocalServer, QuietServer

_BLOCK = 64 * 1024


@dataclass
class Fault:
    """A fault of the requests that match a pattern, `times` times (None: always).

    The pattern is searched in "METHOD target header-names". The names of S3's own headers are followed by their values.
    """

    pattern: str
    do: Literal[
        "refuse",
        "reset",
        "stall",
        "corrupt",
        "lose answer",
        "cut answer",
        "strip",
        "answer",
        "silence",
        "set headers",
        "weaken",
    ]
    """`refuse` answers with `status` and `code`; `reset` and `stall` come `after` bytes of the body, `cut answer` `after` bytes
    of the answer; `corrupt` turns a bit of the body on its way; `lose answer` lets the request through and hangs up; `strip`
    takes the headers that match `code` out of the answer, `set headers` adds `headers` to it, `weaken` makes its ETags weak; `answer` lets it through and answers `status` and nothing else;
    `silence` does nothing."""
    after: int = 0
    status: int = 503
    code: str = "SlowDown"
    times: int | None = 1
    message: str = "injected"
    page: str = ""
    """HTML that `refuse` sends instead of S3's XML."""
    headers: tuple[tuple[str, str], ...] = ()
    """Further headers of the answer of `refuse`, or of the server's answer."""
    after_injected: int = 0
    """`refuse` waits until this number of faults has been injected."""


@dataclass(frozen=True)
class Seen:
    """A request that reached the server completely, and its answer."""

    line: str
    body: int
    status: int
    whole: str = ""
    """The request line with headers, to which the patterns of faults are applied."""


class FaultProxy(LocalServer):
    """A proxy on a free port of 127.0.0.1. Use as a context manager."""

    def __init__(self, upstream_port: int) -> None:
        super().__init__(_Handler)
        self.upstream_port = upstream_port
        self.seen: list[Seen] = []
        self.asked: list[str] = []
        """The request lines with headers of all requests, including those that did not reach the server."""
        self.injected = 0
        self._faults: list[Fault] = []
        self._changed = Condition()

    def inject(self, *faults: Fault) -> None:
        with self._changed:
            self._faults.extend(faults)

    def heal(self) -> None:
        """Remove all faults, and forget the requests."""
        with self._changed:
            self._faults.clear()
            self.seen.clear()
            self.asked.clear()
            self.injected = 0

    def count(self, pattern: str) -> int:
        """Return the number of requests that match a pattern, reached the server and succeeded."""
        with self._changed:
            return sum(bool(re.search(pattern, seen.line)) and seen.status < 300 for seen in self.seen)

    def wait_until(self, true: Callable[["FaultProxy"], bool], timeout: float = 30) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: true(self), timeout):
                raise TimeoutError(f"never came true; seen: {self.seen}")

    def fault_for(self, line: str) -> Fault | None:
        with self._changed:
            self.asked.append(line)
            for fault in self._faults:
                if re.search(fault.pattern, line) and fault.times != 0:
                    if fault.times is not None:
                        fault.times -= 1
                    self.injected += 1
                    self._changed.notify_all()
                    return fault
        return None

    def note(self, seen: Seen) -> None:
        with self._changed:
            self.seen.append(seen)
            self._changed.notify_all()


def _shown(header: tuple[str, str]) -> str:
    """Return the name of a header. Headers of S3 also get their value, unless it is a time or the digest of a body."""
    name, value = header[0].lower(), header[1]
    if not name.startswith("x-amz-") or name == "x-amz-date" or re.fullmatch("[0-9a-f]{64}", value):
        return name
    return f"{name}:{value}"


class _HungUpError(Exception):
    pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: QuietServer

    @property
    def _proxy(self) -> FaultProxy:
        proxy: FaultProxy = self.server.owner
        return proxy

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the standard library's
        """Log nothing."""

    def handle_expect_100(self) -> bool:
        return True  # sent only when the body is wanted: a refusal comes before the body

    def do_any(self) -> None:
        self._line = " ".join([self.command, self.path, *map(_shown, self.headers.items())])
        fault = self._proxy.fault_for(self._line)
        try:
            if fault and fault.do == "refuse":
                self._proxy.wait_until(lambda proxy: proxy.injected >= fault.after_injected)
                self._refuse(fault)
            elif fault and fault.do == "silence":
                self._proxy.closing.wait()
            else:
                self._forward(fault)
        except (_HungUpError, ConnectionError):
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_any  # noqa: N815  the names are the standard library's

    def _refuse(self, fault: Fault) -> None:
        body = (
            f"<?xml version='1.0'?><Error><Code>{fault.code}</Code><Message>{fault.message}</Message></Error>".encode()
        )
        body = fault.page.encode() or body
        self.send_response(fault.status)
        self.send_header("Content-Type", "text/html; charset=utf-8" if fault.page else "application/xml")
        for name, value in fault.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        # The client may still be sending. Its data must be read, otherwise the reset would discard the answer.
        self.wfile.flush()
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(5)
            while self.connection.recv(_BLOCK):
                pass
        raise _HungUpError

    def _forward(self, fault: Fault | None) -> None:
        upstream = http.client.HTTPConnection("127.0.0.1", self._proxy.upstream_port, timeout=60)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() != "expect":
                    upstream.putheader(name, value)
            upstream.endheaders()
            sent = self._forward_body(upstream, fault)
            answer = upstream.getresponse()
            content = answer.read()
            if fault and fault.do == "weaken":
                content = re.sub(rb"<ETag>(&#34;|&quot;|\")", rb"<ETag>W/\1", content)
        finally:
            upstream.close()
        self._proxy.note(Seen(f"{self.command} {self.path}", sent, answer.status, self._line))
        if fault and fault.do == "lose answer":
            self._hang_up()
        if fault and fault.do == "answer":
            self.send_response_only(fault.status)
            self.send_header("ETag", '"of-no-use"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response_only(answer.status, answer.reason)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        for name, value in answer.getheaders():
            stripped = fault is not None and fault.do == "strip" and re.search(fault.code, name, re.IGNORECASE)
            if name.lower() not in {"content-length", "transfer-encoding", "connection"} and not stripped:
                weak = fault is not None and fault.do == "weaken" and name.lower() == "etag"
                self.send_header(name, f"W/{value}" if weak else value)
        for name, value in fault.headers if fault else ():
            self.send_header(name, value)
        if length is not None and answer.status != 204:
            self.send_header("Content-Length", length)
        self.end_headers()
        if fault and fault.do == "cut answer":
            self.wfile.write(content[: fault.after])
            self._hang_up()
        self.wfile.write(content)

    def _forward_body(self, upstream: http.client.HTTPConnection, fault: Fault | None) -> int:
        length = int(self.headers.get("Content-Length") or 0)
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        sent = 0
        while sent < length:
            if fault and fault.do in {"reset", "stall"} and sent >= fault.after:
                if fault.do == "stall":
                    self._proxy.closing.wait()
                self._hang_up()
            block = self.rfile.read(min(_BLOCK, length - sent))
            if not block:
                raise _HungUpError
            if fault and fault.do == "corrupt" and sent == 0:
                block = bytes([block[0] ^ 1]) + block[1:]
            upstream.send(block)
            sent += len(block)
        return sent

    def _hang_up(self) -> None:
        """End the connection with a reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        raise _HungUpError

"""Connections that another thread can end, so that a request that hangs need not be waited for.

botocore and urllib3 cannot end a request that another thread has sent. Therefore each connection tells the flight that
uses it, if the thread has one, which socket it has; ending the flight shuts this socket down, and the blocked call
raises at once.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, local
from typing import Any

from botocore import awsrequest

SENDING_TIMEOUT = 60
"""Seconds in which one block must be sent. Without it a new connection would have the timeout of connecting."""


class Flight:
    """One job of a line while it is under way: the socket that it uses, and when it must have made progress."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.stalled = False
        """Whether it was ended because it made no progress."""
        self._expires = float("inf")
        self._ended = False
        self._socket: Any = None
        self._lock = Lock()

    def within(self, seconds: float) -> None:
        """Say that progress is expected within some seconds."""
        self._expires = time.monotonic() + seconds

    def end_if_stalled(self, now: float) -> None:
        """End the flight if it has not made progress in time."""
        if now > self._expires:
            self.stalled = True
            self.end()

    def end(self) -> None:
        """Shut down the socket. The thread that uses it gets an error."""
        with self._lock:
            self._ended = True
            self._shut_down()

    def uses(self, connected: Any) -> None:  # noqa: ANN401  a socket, or urllib3's or ssl's object for one
        """Note the socket that is used from now on; None: no socket."""
        with self._lock:
            self._socket = connected
            if self._ended:
                self._shut_down()

    def _shut_down(self) -> None:
        if self._socket is not None:
            with suppress(OSError, TypeError):
                # Not SSLSocket.shutdown, which also takes the TLS object away from the thread that uses it.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _Current(local):
    flight: Flight | None = None


_CURRENT = _Current()


def current_flight() -> Flight | None:
    """Return the flight of this thread, or None."""
    return _CURRENT.flight


@contextmanager
def flying() -> Iterator[Flight]:
    """Begin a flight of this thread."""
    _CURRENT.flight = flight = Flight()
    try:
        yield flight
    finally:
        flight.uses(None)
        _CURRENT.flight = None


class _Told:
    """Tells the thread's flight of the socket of a connection, before each call that may block on it."""

    sock: Any

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]  # of urllib3's connection
        self.sock.settimeout(SENDING_TIMEOUT)
        self._tell()

    def request(self, *given: Any, **named: Any) -> Any:  # noqa: ANN401  the parameters are urllib3's
        self._tell()
        return super().request(*given, **named)  # type: ignore[misc]  # of urllib3's connection

    def getresponse(self) -> Any:  # noqa: ANN401  a response of urllib3
        self._tell()
        return super().getresponse()  # type: ignore[misc]  # of urllib3's connection

    def _tell(self) -> None:
        if (flight := current_flight()) is not None and self.sock is not None:
            flight.uses(self.sock)


class _HTTPConnection(_Told, awsrequest.AWSHTTPConnection):  # type: ignore[misc]  # botocore has no types
    pass


class _HTTPSConnection(_Told, awsrequest.AWSHTTPSConnection):  # type: ignore[misc]  # botocore has no types
    pass


awsrequest.AWSHTTPConnectionPool.ConnectionCls = _HTTPConnection
awsrequest.AWSHTTPSConnectionPool.ConnectionCls = _HTTPSConnection

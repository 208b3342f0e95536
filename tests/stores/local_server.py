"""An HTTP server on the loopback whose clients may hang up: the base of the servers for tests of stores."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from types import TracebackType
from typing import Any, Self


class LocalServer:
    """A server on a free port of 127.0.0.1. Use as a context manager. Its handlers find it as `self.server.owner`."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self.closing = Event()
        self._server = QuietServer(("127.0.0.1", 0), handler)
        self._server.owner = self
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class QuietServer(ThreadingHTTPServer):
    """Serves each connection in a thread that does not outlive the process."""

    daemon_threads = True
    owner: Any

    def handle_error(self, request: object, client_address: object) -> None:
        """Log nothing: connections are broken on purpose."""

"""The HTTP endpoints. They read Status and change nothing."""

import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import structlog

from backup_agent.supervisor.status import Status

POLL_SECONDS = 5.0
"""How often the server looks whether it should stop; a request is served at once whatever this is."""

TEXT = "text/plain; charset=utf-8"

MOST_THREADS = 200
"""More clients than this at once are turned away: each silent one has a thread and a descriptor for ten seconds, and
descriptors are what backups are started with."""

log = structlog.get_logger()


class _Server(ThreadingHTTPServer):
    """A thread a client, up to a number."""

    daemon_threads = True
    request_queue_size = 128

    def verify_request(self, request: object, client_address: object) -> bool:
        """Tell whether there is a thread for one more client."""
        del request, client_address
        return threading.active_count() < MOST_THREADS

    def handle_error(self, request: object, client_address: object) -> None:
        """Log a fault of a page as everything is logged; that a client has gone is none."""
        del request, client_address
        fault = sys.exception()
        if not isinstance(fault, OSError):
            log.error("page failed", exc_info=fault)


class Endpoints:
    """Serves /metrics, /livez, /readyz and /status.json from a thread of its own."""

    def __init__(
        self,
        host: str,
        port: int,
        metrics: Callable[[], tuple[str, bytes]],
        status: Callable[[], Status],
        alive: Callable[[], bool],
    ) -> None:
        """Bind the address; raise OSError where it is taken. Port 0 takes any: see `port`."""

        class Handler(BaseHTTPRequestHandler):
            server_version = "backup-agent"
            sys_version = ""
            timeout = 10

            def do_GET(self) -> None:
                self.wfile.write(self._begin())

            def do_HEAD(self) -> None:
                self._begin()

            def _begin(self) -> bytes:
                """Send all but the body, and return that."""
                try:
                    code, kind, body = _answer(self.path.partition("?")[0], metrics, status, alive)
                except TimeoutError as error:  # the base class would take it for its own, and hang up without a word
                    code, kind, body = 503, TEXT, f"{error}\n".encode()
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                return body

            def log_message(self, *_: object) -> None:
                """Say nothing: probes come every few seconds."""

        self._server = _Server((host, port), Handler)
        self.port = self._server.server_address[1]

    def start(self) -> None:
        """Serve."""
        threading.Thread(target=self._server.serve_forever, args=(POLL_SECONDS,), name="http", daemon=True).start()

    def close(self) -> None:
        """Stop listening. Does not wait for the serving thread, which ends with the process."""
        self._server.server_close()


def _answer(
    path: str, metrics: Callable[[], tuple[str, bytes]], status: Callable[[], Status], alive: Callable[[], bool]
) -> tuple[int, str, bytes]:
    match path:
        case "/metrics":
            return 200, *metrics()
        case "/livez":
            return (200, TEXT, b"ok\n") if alive() else (503, TEXT, b"the agent's loop does not turn\n")
        case "/readyz":
            now = status()
            body = "ok\n" if now.ready else "\n".join(now.not_ready_because) + "\n"
            return (200 if now.ready else 503), TEXT, body.encode()
        case "/status.json":
            return 200, "application/json", status().to_json()
        case "/":
            return 200, TEXT, b"/metrics /livez /readyz /status.json\n"
        case _:
            return 404, TEXT, b"no such page; there are /metrics /livez /readyz /status.json\n"

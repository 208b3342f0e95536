"""The HTTP endpoints. They read Status and change nothing."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from backup_agent.supervisor.status import Status

POLL_SECONDS = 5.0
"""How often the server looks whether it should stop; a request is served at once whatever this is."""


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
                code, kind, body = _answer(self.path.partition("?")[0], metrics, status, alive)
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing: probes come every few seconds."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
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
    text = "text/plain; charset=utf-8"
    match path:
        case "/metrics":
            return 200, *metrics()
        case "/livez":
            return (200, text, b"ok\n") if alive() else (503, text, b"the agent's loop does not turn\n")
        case "/readyz":
            now = status()
            body = "ok\n" if now.ready else "\n".join(now.not_ready_because) + "\n"
            return (200 if now.ready else 503), text, body.encode()
        case "/status.json":
            return 200, "application/json", status().to_json()
        case "/":
            return 200, text, b"/metrics /livez /readyz /status.json\n"
        case _:
            return 404, text, b"no such page; there are /metrics /livez /readyz /status.json\n"

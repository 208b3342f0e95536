"""A receiver of notifications: a real HTTP server on the loopback, with a secret in its URL."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "5ecret-0f-the-path"


class Receiver(ThreadingHTTPServer):
    """A server that keeps the requests that it gets, and gives each the same answer.

    `trickles` sends the answer byte by byte and without an end.
    """

    def __init__(
        self,
        *,
        status: int = 200,
        body: bytes = b"OK",
        location: str | None = None,
        trickles: bool = False,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.got: list[tuple[str, str | None, bytes]] = []
        self.release = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"] or 0))
                receiver.got.append((self.path, self.headers["Content-Type"], content))
                if trickles:
                    while not receiver.release.wait(0.02):
                        self.wfile.write(b"H")
                    return
                self.send_response(status)
                if location is not None:
                    self.send_header("Location", location)
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                self.do_POST()

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{SECRET}"


@contextmanager
def served(**answer: Any) -> Iterator[Receiver]:
    server = Receiver(**answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.release.set()
        server.shutdown()
        thread.join()
        server.server_close()

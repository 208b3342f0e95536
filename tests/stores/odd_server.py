"""An HTTP server with the raw answers of a test: incomplete pages, bytes that come one by one, bodies without an end."""

from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler
from xml.sax.saxutils import escape

from tests.stores.local_server import LocalServer, QuietServer

DRIP_SECONDS = 0.02


class OddServer(LocalServer):
    """A server on a free port of 127.0.0.1. `answer` returns the raw answer to a path. Use as a context manager."""

    def __init__(self, answer: Callable[[str], Iterable[bytes]]) -> None:
        super().__init__(_Handler)
        self.answer = answer
        self.paths: list[str] = []
        self.sent = 0

    def drip(self, content: bytes) -> Iterator[bytes]:
        """Yield the bytes of `content` one by one, with pauses, again and again until the server is closed."""
        while True:
            for number in range(len(content)):
                if self.closing.wait(DRIP_SECONDS):
                    return
                yield content[number : number + 1]


class _Handler(BaseHTTPRequestHandler):
    server: QuietServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        odd: OddServer = self.server.owner
        odd.paths.append(self.path)
        self.close_connection = True
        for block in odd.answer(self.path):
            self.wfile.write(block)
            self.wfile.flush()
            odd.sent += len(block)

    do_HEAD = do_PUT = do_DELETE = do_GET  # noqa: N815  names that the base class calls

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def head(status: int = 200, **headers: str) -> bytes:
    """Return the head of an answer. Underscores in names of headers become dashes."""
    lines = [f"HTTP/1.1 {status} Odd", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "".join(f"{line}\r\n" for line in (*lines, "Connection: close", "")).encode()


def whole(body: bytes, status: int = 200, **headers: str) -> Iterator[bytes]:
    """Yield a valid answer."""
    yield head(status, Content_Length=str(len(body)), **headers)
    yield body


def page(*keys: str, more: str = "<IsTruncated>false</IsTruncated>") -> bytes:
    """Return a page of ListObjectsV2."""
    contents = "".join(f"<Contents><Key>{escape(key)}</Key><Size>1</Size></Contents>" for key in keys)
    return (
        f'<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{contents}{more}'
        "</ListBucketResult>"
    ).encode()


def truncated(token: str | None) -> str:
    """Return the XML by which a page says that more pages follow, with the token for the next one."""
    next_token = "" if token is None else f"<NextContinuationToken>{token}</NextContinuationToken>"
    return f"<IsTruncated>true</IsTruncated>{next_token}"

"""The HTTP servers with clients that disconnect, are slow or too many, or ask while the loop is busy."""

import errno
import http.client
import os
import queue
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import structlog

from backup_agent.core.page.style import POLICY
from backup_agent.core.reasons import PermanentError
from backup_agent.core.status import Status
from backup_agent.supervisor.status.http import (
    CLIENT_SECONDS,
    HTML,
    MOST_CONNECTIONS,
    Answer,
    HttpServer,
    metrics_pages,
    probe_pages,
    status_pages,
)
from tests.polling import until

PATIENCE = 0.5
"""Seconds that clients have in tests that wait until their time is over."""

Serve = Callable[..., int]


def busy() -> Status:
    raise TimeoutError("the agent's loop is busy")


@pytest.fixture(name="serve")
def _serve() -> Iterator[Serve]:
    with ExitStack() as stack:

        def serve(
            page: Callable[[], tuple[str, bytes]] = lambda: ("text/plain", b"a 1\n"),
            status: Callable[[], Status] = busy,
            host: str = "127.0.0.1",
            patience: float = CLIENT_SECONDS,
            people: Callable[[], Answer] | None = None,
        ) -> int:
            """Serve the pages of all servers on one port. `people` makes the status page."""
            pages = {**metrics_pages(page), **status_pages(status, people), **probe_pages(status, lambda: True)}
            server = HttpServer("http.listen", host, 0, pages, patience=patience)
            server.start()
            stack.callback(server.close)
            return server.port

        yield serve


def ask(port: int, path: str, method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def ask_as(port: int, *hosts: str) -> int:
    """Ask for metrics with these Host headers; return the status."""
    lines = ["GET /metrics HTTP/1.1", *(f"Host: {host}" for host in hosts), "", ""]
    with connected(port) as client:
        client.sendall("\r\n".join(lines).encode())
        return int(end_of(client).split()[1])


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def end_of(client: socket.socket) -> bytes:
    """Return all bytes that the server sends until it ends the connection."""
    data = b""
    with suppress(ConnectionResetError):
        while more := client.recv(65536):
            data += more
    return data


@contextmanager
def no_gap_between_descriptors() -> Iterator[int]:
    """Fill the gaps between the open descriptors during the block. Yield the number of the next descriptor."""
    last = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    filling = []
    try:
        while (number := os.open(os.devnull, os.O_RDONLY)) <= last:
            filling.append(number)
        os.close(number)
        yield number
    finally:
        for number in filling:
            os.close(number)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("path", ["/readyz", "/status.json"])
def test_a_page_says_that_the_loop_is_busy(serve: Serve, path: str) -> None:
    assert ask(serve(), path) == (503, b"the agent's loop is busy\n")


@pytest.mark.parametrize(
    "hosts",
    [
        ("evil.example",),
        ("evil.example:8082",),
        ("127.0.0.1.evil.example",),
        ("localhost.evil.example",),
        ("127.0.0.1", "evil.example"),
        ("evil.example:" + "9" * 5000,),
        ("\u202e",),
    ],
)
def test_a_server_on_the_loopback_address_refuses_host_names_of_other_sites(
    serve: Serve, hosts: tuple[str, ...]
) -> None:
    """A page of another site can let its host name resolve to 127.0.0.1, and would read the answer in a browser."""
    assert ask_as(serve(), *hosts) == 421
    assert ask_as(serve(host="0.0.0.0"), *hosts) == 200


@pytest.mark.parametrize("hosts", [(), ("",), ("localhost:8082",), ("LOCALHOST",), ("127.0.0.1:9",), ("[::1]:80",)])
def test_a_server_on_the_loopback_address_answers_to_localhost_and_addresses(
    serve: Serve, hosts: tuple[str, ...]
) -> None:
    assert ask_as(serve(), *hosts) == 200


def test_a_probe_may_send_head_requests(serve: Serve) -> None:
    assert ask(serve(), "/livez", "HEAD") == (200, b"")


def test_each_page_is_served_with_and_without_a_query(serve: Serve) -> None:
    port = serve()

    assert ask(port, "/metrics?name=x") == (200, b"a 1\n")
    assert ask(port, "/") == (200, b"/metrics /status.json /livez /readyz\n")
    assert ask(port, "/favicon.ico")[0] == 404


def test_the_status_page_is_at_the_root(serve: Serve) -> None:
    port = serve(people=lambda: (200, HTML, b"<!doctype html>"))

    assert ask(port, "/") == (200, b"<!doctype html>")


@pytest.mark.parametrize("path", ["/", "/status.json", "/nowhere"])
def test_the_headers_forbid_browsers_to_load_anything_and_to_show_an_answer_in_a_frame(serve: Serve, path: str) -> None:
    with connected(serve(people=lambda: (200, HTML, b""))) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
        head = end_of(client).partition(b"\r\n\r\n")[0].decode()

    assert f"\r\nContent-Security-Policy: {POLICY}\r\n" in head
    assert "\r\nX-Content-Type-Options: nosniff\r\n" in head
    assert "\r\nReferrer-Policy: no-referrer\r\n" in head
    assert "\r\nCache-Control: no-store" in head


def test_a_page_that_takes_long_delays_no_other_page(serve: Serve) -> None:
    release = threading.Event()

    def slow() -> Answer:
        release.wait(10)
        return 200, HTML, b"late"

    port = serve(people=slow)
    with connected(port) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")

        assert ask(port, "/metrics") == (200, b"a 1\n")
        assert ask(port, "/status.json")[0] == 503
        release.set()
        assert end_of(client).endswith(b"late")


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        pytest.param(b"GET /livez HTTP/1.1\n\n", b"200", id="lines that end as on Unix"),
        pytest.param(b"POST /livez HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b"405", id="a body"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400", id="another version"),
        pytest.param(b"\r\n\r\n", b"400", id="nothing"),
        pytest.param(b"\xff\xfe \x00 HTTP/1.1\r\n\r\n", b"405", id="bytes that are not text"),
        pytest.param(b"GET /" + b"a" * 15_000 + b" x\r\n\r\n", b"400", id="a long line that is not a request"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 4_000, b"431", id="headers without end"),
    ],
)
def test_any_input_is_answered_at_once(serve: Serve, request_: bytes, code: bytes) -> None:
    with connected(serve()) as client:
        client.sendall(request_)

        assert end_of(client).split()[1] == code


def test_ipv4_and_ipv6_addresses_are_served(serve: Serve) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    port = serve(host="::")
    with socket.create_connection(("::1", port), timeout=10) as client:
        client.sendall(b"GET /livez HTTP/1.0\r\n\r\n")

        assert end_of(client).endswith(b"ok\n")
    assert ask(port, "/livez") == (200, b"ok\n")


def test_the_error_for_a_port_in_use_names_only_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(PermanentError) as refused:
            HttpServer("http.probes", "127.0.0.1", port, {})

    failure = refused.value.failure
    assert failure.error == f"http.probes: cannot listen on 127.0.0.1:{port}: {os.strerror(errno.EADDRINUSE)}"
    assert failure.advice == "end the process that listens there, or set http.probes to a free port"


def test_the_error_for_an_address_of_another_host_names_its_setting() -> None:
    with pytest.raises(PermanentError, match=r"http.listen: cannot listen on \[2001:db8::1\]:1: "):
        HttpServer("http.listen", "2001:db8::1", 1, {})


# Slow clients


@pytest.mark.process
def test_a_client_that_sends_byte_by_byte_is_cut_off_after_its_time(serve: Serve) -> None:
    begun = time.monotonic()
    with connected(serve(patience=PATIENCE)) as client:
        client.settimeout(0.02)
        client.sendall(b"GET /livez HTTP/1.1\r\nX: ")
        ended = False
        while not ended:
            assert time.monotonic() - begun < 10 * PATIENCE
            try:
                client.sendall(b"x")
                ended = client.recv(1) == b""
            except TimeoutError:
                continue
            except ConnectionError:
                ended = True

    assert time.monotonic() - begun >= PATIENCE


@pytest.mark.process
def test_a_client_that_does_not_read_is_cut_off_after_its_time(serve: Serve) -> None:
    body = b"x" * 50_000_000
    port = serve(lambda: ("text/plain", body), patience=PATIENCE)
    with connected(port) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        begun = time.monotonic()
        until(lambda: len(open_connections(port)) == 0, "end of the connection")

        assert time.monotonic() - begun < 10 * PATIENCE
        assert len(end_of(client)) < len(body)


def test_a_large_answer_is_sent_completely_to_a_client_that_reads(serve: Serve) -> None:
    body = bytes(range(256)) * 40_000

    assert ask(serve(lambda: ("text/plain", body)), "/metrics") == (200, body)


def open_connections(port: int) -> list[str]:
    """Return the established connections of this process to a port, seen from the server (proc(5), net/tcp)."""
    own = {str(path.readlink())[8:-1] for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return [row[9] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01" and row[9] in own]


# Floods


@pytest.mark.process
def test_the_number_of_clients_does_not_raise_threads_or_descriptors_without_bound(serve: Serve) -> None:
    port = serve()
    before = threading.active_count()
    with ExitStack() as silent:
        clients = [silent.enter_context(connected(port)) for _ in range(MOST_CONNECTIONS + 130)]
        until(lambda: end_of(clients[129]) == b"", "end of the oldest")

        assert len(open_connections(port)) == MOST_CONNECTIONS
        assert threading.active_count() == before
        assert ask(port, "/livez") == (200, b"ok\n")


@pytest.mark.process
@pytest.mark.parametrize(
    "first",
    [b"", b"GET /livez HTTP/1.1\r\nX: ", b"GET /status.json HTTP/1.1\r\n\r\n"],
    ids=["silent", "slow", "waiting"],
)
def test_the_newest_of_many_clients_is_served(serve: Serve, first: bytes) -> None:
    release = threading.Event()

    def hang() -> Status:
        release.wait(10)
        raise TimeoutError("the agent's loop is busy")

    port = serve(status=hang)
    with ExitStack() as flood:
        for _ in range(3 * MOST_CONNECTIONS):
            client = flood.enter_context(connected(port))
            client.sendall(first)
            client.setblocking(False)
        begun = time.monotonic()
        for _ in range(20):
            assert ask(port, "/livez") == (200, b"ok\n")

        assert time.monotonic() - begun < 2
        release.set()


def test_many_concurrent_requests_ask_the_loop_once_at_a_time(serve: Serve) -> None:
    asked: queue.SimpleQueue[None] = queue.SimpleQueue()
    release = threading.Event()

    def slow() -> Status:
        asked.put(None)
        release.wait(10)
        raise TimeoutError("the agent's loop is busy")

    port = serve(status=slow)
    with ExitStack() as flood:
        clients = [flood.enter_context(connected(port)) for _ in range(50)]
        for client in clients:
            client.sendall(b"GET /status.json HTTP/1.1\r\n\r\n")
        asked.get(timeout=10)
        for _ in range(
            3
        ):  # the first answer may be given before the last client asks; all clients have asked before the last answer
            assert ask(port, "/livez") == (200, b"ok\n")
        release.set()

        assert all(b"503" in end_of(client) for client in clients)
    assert asked.qsize() <= 2


def test_a_server_that_ran_out_of_descriptors_serves_again_later(serve: Serve) -> None:
    port = serve()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as taken:
        clients = [taken.enter_context(connected(port)) for _ in range(3)]
        last = taken.enter_context(socket.socket())
        until(lambda: len(open_connections(port)) == 3, "connections")
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken.enter_context(no_gap_between_descriptors()), hard))
        try:
            last.settimeout(10)
            last.connect(("127.0.0.1", port))
            last.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
            answered = end_of(last)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert answered.endswith(b"ok\n")
    assert clients


def test_a_server_that_was_never_started_can_be_closed() -> None:
    before = descriptors()
    HttpServer("http.listen", "127.0.0.1", 0, {}).close()

    assert descriptors() == before


def test_an_error_of_a_page_is_logged_and_the_server_continues(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    def page() -> tuple[str, bytes]:
        raise KeyError("x")

    port = serve(page)
    with structlog.testing.capture_logs() as lines:
        assert ask(port, "/metrics") == (500, b"the page cannot be made: see the agent's log\n")

    assert [(line["event"], line["page"], line["log_level"]) for line in lines] == [
        ("page failed", "/metrics", "error")
    ]
    assert "Traceback" not in capsys.readouterr().err
    assert ask(port, "/status.json")[0] == 503


def test_a_client_that_disconnects_is_not_logged(serve: Serve) -> None:
    asked, release = threading.Event(), threading.Event()

    def page() -> tuple[str, bytes]:
        asked.set()
        release.wait(10)
        return "text/plain", b"x" * 10_000_000

    port = serve(page)
    with structlog.testing.capture_logs() as lines:
        with connected(port) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            assert asked.wait(10)
        release.set()
        assert ask(port, "/metrics")[0] == 200

    assert lines == []

"""The endpoints under clients as they come: gone, silent, too many, or asking while the loop is busy."""

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import structlog

from backup_agent.supervisor.http import MOST_THREADS, Endpoints
from backup_agent.supervisor.status import Status
from tests.agent.live import until


def busy() -> Status:
    raise TimeoutError("the agent's loop is busy")


@pytest.fixture(name="serve")
def _serve() -> Iterator[Callable[..., int]]:
    with ExitStack() as stack:

        def serve(page: Callable[[], tuple[str, bytes]] = lambda: ("text/plain", b"a 1\n")) -> int:
            endpoints = Endpoints("127.0.0.1", 0, page, busy, lambda: True)
            endpoints.start()
            stack.callback(endpoints.close)
            return endpoints.port

        yield serve


def ask(port: int, path: str, method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/readyz", "/status.json"])
def test_who_asks_while_the_loop_is_busy_is_told_so(serve: Callable[..., int], path: str) -> None:
    assert ask(serve(), path) == (503, b"the agent's loop is busy\n")


def test_a_probe_may_ask_for_the_head_alone(serve: Callable[..., int]) -> None:
    assert ask(serve(), "/livez", "HEAD") == (200, b"")


def test_clients_without_number_take_neither_threads_nor_descriptors_without_number(serve: Callable[..., int]) -> None:
    port = serve()
    with ExitStack() as silent:
        for _ in range(MOST_THREADS + 100):
            silent.enter_context(socket.create_connection(("127.0.0.1", port)))
        until(lambda: threading.active_count() >= MOST_THREADS, "as many threads as there may be")

        assert threading.active_count() == MOST_THREADS
    until(lambda: threading.active_count() < MOST_THREADS, "end of a thread")
    assert ask(port, "/livez")[0] == 200


@pytest.mark.parametrize(("error", "told"), [(BrokenPipeError(), 0), (KeyError("x"), 1)], ids=["gone", "a-fault"])
def test_a_client_that_has_gone_is_no_news_and_a_fault_of_a_page_is_a_line_of_the_log(
    serve: Callable[..., int], error: Exception, told: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def page() -> tuple[str, bytes]:
        raise error

    with structlog.testing.capture_logs() as lines, pytest.raises(http.client.RemoteDisconnected):
        ask(serve(page), "/metrics")

    until(lambda: len(lines) == told, "line of the log", patience=2)
    assert "Traceback" not in capsys.readouterr().err

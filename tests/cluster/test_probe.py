"""Probing backup addresses by a TCP connection, and the faults that are reported."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from backup_agent.cluster.probe import probe


def address(listener: socket.socket) -> str:
    return f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def listening() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield address(listener)


@pytest.fixture
def refusing() -> Iterator[str]:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield address(reserved)


@pytest.fixture
def silent() -> Iterator[str]:
    """An address whose queue of connections is full: the kernel drops further packets, as a firewall does."""
    with ExitStack() as open_sockets:
        listener = open_sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = open_sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield address(listener)


def test_an_address_that_listens_has_no_fault(listening: str) -> None:
    assert probe([listening, listening]) == {listening: None}


def test_a_refusal_names_the_setting_that_is_its_usual_cause(refusing: str) -> None:
    text = probe([refusing])[refusing]

    assert text is not None
    assert text.startswith(f"{refusing} refused the connection")
    assert "server.backup.listen_address" in text
    assert "127.0.0.1 by default" in text


def test_a_server_that_does_not_answer_is_reported(silent: str) -> None:
    text = probe([silent], timeout=0.3)[silent]

    assert text is not None
    assert text.startswith(f"{silent} does not answer")
    assert "server.backup.listen_address" in text


def test_a_name_that_does_not_resolve_is_reported() -> None:
    text = probe(["no-such-host.invalid:6362"], timeout=15)["no-such-host.invalid:6362"]

    assert text is not None
    assert "does not resolve" in text


def test_an_address_that_cannot_be_connected_to_is_reported() -> None:
    text = probe(["255.255.255.255:6362"])["255.255.255.255:6362"]

    assert text is not None
    assert "cannot be connected to" in text


@pytest.mark.process
def test_many_silent_addresses_take_no_longer_than_one(silent: str, listening: str) -> None:
    others = [f"127.0.0.{number}:{silent.rpartition(':')[2]}" for number in range(2, 20)]
    began = time.monotonic()

    found = probe([silent, *others, listening], timeout=0.5)

    assert time.monotonic() - began < 2
    assert found[listening] is None
    assert list(found) == [silent, *others, listening]


def test_without_addresses_there_are_no_faults() -> None:
    assert probe([]) == {}

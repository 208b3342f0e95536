"""The Bolt stand-in as a server: TLS, the handshake, messages in any order, ports, the program."""

import datetime as dt
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import neo4j
import pytest
import trustme
from neo4j.exceptions import ServiceUnavailable

from backup_agent.standins.bolt.conversation import MAGIC
from backup_agent.standins.cluster import User, five_servers, save, three_servers
from tests.standins.served import (
    AUTH,
    DATABASES,
    FAILURE,
    HELLO,
    IGNORED,
    LOGOFF,
    LOGON,
    PULL,
    RESET,
    ROUTE,
    RUN,
    SUCCESS,
    TELEMETRY,
    Served,
    connected,
    host_and_port,
    refuses,
)

Serve = Callable[..., Served]


# TLS


@pytest.fixture(name="authority", scope="module")
def _authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(name="serve_tls")
def _serve_tls(serve: Serve, authority: trustme.CA, tmp_path: Path) -> Serve:
    """Serve a cluster with a certificate of the authority."""

    def start(**options: Any) -> Served:
        certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
        issued = authority.issue_cert("localhost", "127.0.0.1", **options)
        issued.cert_chain_pems[0].write_to_path(str(certificate))
        issued.private_key_pem.write_to_path(str(key))
        return serve(certificate=certificate, key=key)

    return start


@pytest.fixture(name="trusting")
def _trusting(authority: trustme.CA, tmp_path: Path) -> dict[str, Any]:
    """Options of a driver that trusts the authority."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return {"encrypted": True, "trusted_certificates": neo4j.TrustCustomCAs(str(tmp_path / "ca.pem"))}


def causes(error: BaseException | None) -> str:
    """Return the texts of an error and of all its causes."""
    return f"{error} {causes(error.__cause__ or error.__context__)}" if error else ""


@pytest.mark.parametrize("scheme", ["bolt", "neo4j"])
def test_tls_works_for_a_driver_that_trusts_the_authority(
    serve_tls: Serve, trusting: dict[str, Any], scheme: str
) -> None:
    driver = serve_tls().driver(scheme=scheme, **trusting)

    assert len(driver.execute_query(DATABASES, database_="system").records) == 9


def test_a_driver_that_checks_no_certificate_accepts_any(serve_tls: Serve) -> None:
    assert serve_tls().connection_error(scheme="neo4j+ssc") is None


def test_an_expired_certificate_is_refused_by_the_driver(serve_tls: Serve, trusting: dict[str, Any]) -> None:
    served = serve_tls(not_after=dt.datetime.now(dt.UTC) - dt.timedelta(days=1))

    assert "certificate has expired" in causes(served.connection_error(**trusting))


def test_an_unknown_authority_is_refused_by_the_driver(serve_tls: Serve) -> None:
    assert "unable to get local issuer certificate" in causes(serve_tls().connection_error(scheme="bolt+s"))


def test_a_driver_without_tls_cannot_connect_to_a_server_with_tls(serve_tls: Serve) -> None:
    assert isinstance(serve_tls().connection_error(scheme="bolt"), ServiceUnavailable)


# Messages


@pytest.mark.parametrize(
    ("proposals", "agreed"),
    [
        pytest.param("00000805 00000000 00000000 00000000", (5, 8), id="the newest"),
        pytest.param("00080805 00020404 00000404 00000003", (5, 8), id="a range"),
        pytest.param("00000005 00000000 00000000 00000000", (5, 0), id="the oldest"),
        pytest.param("00020505 00000000 00000000 00000000", (5, 4), id="5.5 was never offered"),
        pytest.param("00000404 00000305 00000000 00000000", (5, 3), id="the second"),
        pytest.param("00000404 00000003 00000000 00000000", (0, 0), id="none"),
    ],
)
def test_the_handshake_agrees_on_the_first_version_that_both_support(
    serve: Serve, proposals: str, agreed: tuple[int, int]
) -> None:
    with socket.create_connection(host_and_port(serve().server.addresses["server-0"]), timeout=5) as client:
        client.sendall(MAGIC + bytes.fromhex(proposals))
        _, _, minor, major = client.recv(4)

    assert (major, minor) == agreed


def test_bolt_5_0_logs_in_with_hello_and_reports_errors_by_code(serve: Serve) -> None:
    served = serve(three_servers().with_users(User(*AUTH)))
    hello = {"user_agent": "t", "scheme": "basic", "principal": AUTH[0]}
    with served.client(version="00000005") as client:
        client.send(HELLO, {**hello, "credentials": AUTH[1]})
        client.send(RUN, "BOGUS", {}, {})

        assert client.tags(1) == [SUCCESS]
        assert client.receive().fields[0]["code"] == "Neo.ClientError.Statement.SyntaxError"
    with served.client(version="00000005") as client:
        client.send(HELLO, {**hello, "credentials": "wrong"})

        assert client.receive().fields[0]["code"] == "Neo.ClientError.Security.Unauthorized"
        assert client.is_disconnected()


def test_requests_after_a_failure_are_ignored_until_reset(serve: Serve) -> None:
    with serve().client() as client:
        client.log_on()
        client.send(RUN, "BOGUS", {}, {})
        client.send(PULL, {"n": -1})
        client.send(TELEMETRY, 1)
        client.send(RESET)
        client.send(TELEMETRY, 1)

        assert client.tags(5) == [FAILURE, IGNORED, IGNORED, SUCCESS, SUCCESS]


def test_another_user_can_log_on_after_the_first_has_logged_off(serve: Serve) -> None:
    served = serve(three_servers().with_users(User(*AUTH), User("other", "secret", databases=())))
    with served.client() as client:
        client.log_on()
        client.send(LOGOFF)
        client.send(LOGON, {"scheme": "basic", "principal": "other", "credentials": "secret"})

        assert client.tags(2) == [SUCCESS, SUCCESS]
    assert [login.user for login in served.server.logins] == ["neo4j", "other"]


@pytest.mark.parametrize(
    "message",
    [(RUN, "RETURN 1", {}, {}), (ROUTE, {}, [], {}), (RESET,)],
    ids=["run", "route", "reset"],
)
def test_requests_before_the_login_are_refused(serve: Serve, message: tuple[Any, ...]) -> None:
    served = serve()
    with served.client() as client:
        client.send(*message)

        assert client.tags(1) == [FAILURE]
        assert client.is_disconnected()
    assert served.server.statements == ()


def test_an_unknown_message_ends_the_connection(serve: Serve) -> None:
    with serve().client() as client:
        client.send(0x55)

        assert client.is_disconnected()


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n\r\n....", b"\x60\x60", MAGIC + bytes(16), b""],
    ids=["http", "cut", "nothing proposed", "silence"],
)
def test_an_invalid_client_does_not_affect_other_clients(serve: Serve, data: bytes) -> None:
    served = serve()
    with socket.create_connection(host_and_port(served.server.addresses["server-0"])) as client:
        client.sendall(data)

    assert served.connection_error() is None


# Ports and the program


def test_a_fixed_port_is_used_and_one_that_is_in_use_is_an_error(serve: Serve) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        with pytest.raises(OSError, match="in use"):
            serve(three_servers().with_server("server-1", bolt=f"127.0.0.1:{taken.getsockname()[1]}"))


def test_a_stopped_server_closes_its_ports(tmp_path: Path) -> None:
    with Served(tmp_path, five_servers()) as served:
        assert served.connection_error() is None
        addresses = dict(served.server.addresses)

    assert all(map(refuses, addresses.values()))


def test_a_single_server_of_the_cluster_can_be_served(serve: Serve) -> None:
    served = serve(three_servers().with_server("server-0", bolt="server-0.example:7687"), only="server-1")
    shown = {row["address"] for row in served.ask("SHOW DATABASE orders", server="server-1")}

    assert set(served.server.addresses) == {"server-1"}
    assert shown == {"server-0.example:7687", served.server.addresses["server-1"], "127.0.0.1:0"}


def test_the_program_serves_until_sigterm(tmp_path: Path) -> None:
    save(three_servers(), tmp_path)
    command = [
        sys.executable,
        "-m",
        "backup_agent.standins.bolt",
        "--cluster",
        str(tmp_path),
        "--listen",
        "127.0.0.1:0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout
        addresses = json.loads(program.stdout.readline())["addresses"]
        with connected(f"neo4j://{addresses['server-0']}") as driver:
            records = driver.execute_query(DATABASES, database_="system").records
        program.send_signal(signal.SIGTERM)

        assert program.wait(10) == 0
        assert {record["address"] for record in records} == set(addresses.values())

"""Discovery with a simulated Enterprise cluster: the topology that it reads, and its errors."""

import dataclasses
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import neo4j
import pytest
import trustme
from neo4j.exceptions import ConfigurationError, Neo4jError, ServiceUnavailable

from backup_agent.cluster.bolt import Discovered, Endpoint, LoginRefusedError, classify, discover
from backup_agent.core.artifacts.names import DatabaseName
from backup_agent.core.artifacts.records import Definition
from backup_agent.core.neo4j.kinds import ExcludedKind
from backup_agent.core.neo4j.topology import Addressing, Topology, sources
from backup_agent.core.reasons import BackupError, PermanentError, Reason, TransientError
from backup_agent.standins.bolt import BoltServer
from backup_agent.standins.cluster import BoltFault, Cluster, Copy, User, five_servers, new_database, three_servers
from tests.builders import ORDERS

Start = Callable[..., BoltServer]

PASSWORD = "sesame-open-42"
AGENT = User("agent", PASSWORD)
BY_HOST = Addressing(backup_addresses="{server_id}:6362")
"""All servers have the address 127.0.0.1, so their Bolt hosts would not tell them apart."""


def ask(server: BoltServer, scheme: str = "neo4j", *, timeout: float = 10.0, password: str = PASSWORD) -> Discovered:
    return discover(Endpoint(server.uri(scheme=scheme), "agent", password), timeout=timeout)


def failure(
    server: BoltServer, scheme: str = "neo4j", *, timeout: float = 10.0, password: str = PASSWORD
) -> BackupError:
    with pytest.raises(BackupError) as caught:
        ask(server, scheme, timeout=timeout, password=password)

    assert caught.value.failure.reason is Reason.SOURCE_UNREACHABLE
    assert password not in caught.value.failure.error + caught.value.failure.hint
    return caught.value


def order(topology: Topology, database: str, cluster: Cluster) -> list[tuple[str, str]]:
    """Return name and role of the servers a backup would come from."""
    ids = {f"{server.id}:6362": server.name for server in cluster.servers}
    return [(ids[source.address], source.role) for source in sources(topology, DatabaseName(database), BY_HOST)]


@pytest.mark.parametrize("scheme", ["bolt", "neo4j"])
@pytest.mark.parametrize("version", ["5.26.31", "2025.06.0", "2026.09.0"])
def test_the_topology_of_three_servers_is_read(bolt_server: Start, scheme: str, version: str) -> None:
    cluster = three_servers(version)
    server = bolt_server(cluster)

    found = ask(server, scheme)

    assert set(found.topology.databases()) == {"neo4j", "orders", "system"}
    assert {copy.address for copy in found.topology.copies} == set(server.addresses.values())
    assert found.topology.versions == (version,)
    assert {copy.database_id for copy in found.topology.databases()[ORDERS]} == {cluster.database("orders").database_id}
    assert {copy.last_committed_txn for copy in found.topology.databases()[ORDERS]} == {12}
    assert abs((found.topology.seen - datetime.now(UTC)).total_seconds()) < 10
    assert found.clock_offset_seconds is not None
    assert abs(found.clock_offset_seconds) < 1
    assert found.notes == ()


def test_of_three_servers_the_followers_come_before_the_writer(bolt_server: Start) -> None:
    cluster = three_servers().with_leader("orders", "server-1").with_copy("orders", "server-0", lag=-4)

    found = ask(bolt_server(cluster))

    expected = [("server-2", "follower"), ("server-0", "follower"), ("server-1", "writer")]
    assert order(found.topology, "orders", cluster) == expected


def test_of_five_servers_the_secondaries_come_first_by_lag(bolt_server: Start) -> None:
    cluster = five_servers().with_leader("orders", "server-0")

    found = ask(bolt_server(cluster))

    chosen = order(found.topology, "orders", cluster)
    assert chosen[:2] == [("server-3", "secondary"), ("server-4", "secondary")]
    assert chosen[-1] == ("server-0", "writer")
    assert len(chosen) == 5


def test_a_leader_switch_between_two_queries_is_seen_by_the_second(bolt_server: Start) -> None:
    cluster = three_servers().with_leader("orders", "server-0")
    moving = BoltFault("move_leader", statement="SHOW DATABASES", times=1, database="orders", to="server-2")
    server = bolt_server(cluster.with_bolt_faults(moving))

    before, after = ask(server), ask(server)

    assert order(before.topology, "orders", cluster)[-1] == ("server-0", "writer")
    assert order(after.topology, "orders", cluster)[-1] == ("server-2", "writer")


def test_a_server_that_is_down_has_no_address_and_does_not_serve(bolt_server: Start) -> None:
    cluster = three_servers().with_server_down("server-2")

    found = ask(bolt_server(cluster))

    down = [copy for copy in found.topology.copies if copy.status == "unknown"]
    assert {(copy.address, copy.database_id, copy.replication_lag) for copy in down} == {(None, None, None)}
    assert len(down) == 3
    assert "server-2" not in [name for name, _ in order(found.topology, "orders", cluster)]


def test_quarantined_and_offline_copies_do_not_serve(bolt_server: Start) -> None:
    cluster = (
        five_servers()
        .with_copy("orders", "server-3", status="quarantined")
        .with_copy("orders", "server-4", status="offline")
        .with_status("neo4j", "offline")
    )

    found = ask(bolt_server(cluster))

    assert {name for name, _ in order(found.topology, "orders", cluster)} == {"server-0", "server-1", "server-2"}
    assert {copy.status for copy in found.topology.databases()[DatabaseName("neo4j")]} == {"offline"}
    assert {copy.database_id for copy in found.topology.databases()[DatabaseName("neo4j")]} == {None}


def test_composites_and_aliases_are_recognised(bolt_server: Start) -> None:
    composite = new_database(
        "fabric", [Copy(f"server-{number}") for number in range(3)], type="composite", constituents=("fabric.orders",)
    )
    cluster = three_servers().with_database_added(composite).with_alias("shop", "orders")

    found = ask(bolt_server(cluster))

    assert {copy.type for copy in found.topology.databases()[DatabaseName("fabric")]} == {"composite"}
    assert found.topology.aliases == {"shop": "orders"}


@pytest.mark.parametrize("version", ["5.26.31", "2025.06.0", "2026.09.0"])
def test_definitions_are_read_from_the_columns_that_the_version_has(bolt_server: Start, version: str) -> None:
    cluster = (
        five_servers(version)
        .with_database("orders", default_language="CYPHER 25", options={"txLogEnrichment": "FULL", "seedURI": "s3://x"})
        .with_database("neo4j", access="read-only")
        .with_alias("shop", "orders")
    )

    found = ask(bolt_server(cluster))

    assert found.notes == ()
    language = None if version == "5.26.31" else "CYPHER 25"
    assert found.topology.definitions[ORDERS] == Definition(
        primaries=3,
        secondaries=2,
        default_language=language,
        access="read-write",
        options={"txLogEnrichment": "FULL"},
        aliases=("shop",),
    )
    assert found.topology.definitions[DatabaseName("neo4j")].access == "read-only"
    assert found.topology.definitions.keys() == {"neo4j", "orders", "system"}


@pytest.mark.parametrize(
    "fault",
    [
        BoltFault("forbidden", statement="CYPHER 25 SHOW DATABASES"),
        BoltFault("fail", statement="CYPHER 25 SHOW DATABASES", code="Neo.ClientError.Statement.SyntaxError"),
        BoltFault("close_in_answer", statement="CYPHER 25 SHOW DATABASES"),
    ],
    ids=lambda fault: str(fault.do),
)
def test_without_definitions_the_rest_of_the_topology_is_known(bolt_server: Start, fault: BoltFault) -> None:
    found = ask(bolt_server(three_servers().with_alias("shop", "orders").with_bolt_faults(fault)))

    assert set(found.topology.databases()) == {"neo4j", "orders", "system"}
    assert (found.topology.aliases, found.topology.versions) == ({"shop": "orders"}, ("2026.09.0",))
    assert found.topology.definitions == {}
    [note] = found.notes
    assert note.startswith("definitions of databases: ")


@pytest.mark.parametrize("manages", [True, False])
def test_sharded_databases_and_replicas_are_recognised(bolt_server: Start, *, manages: bool) -> None:
    """An account that may not manage databases sees no shards, only the row of the sharded database."""
    replica = new_database("mirror", [Copy("server-0")], type="replica")
    cluster = three_servers().with_sharded_database("web").with_database_added(replica)
    server = bolt_server(cluster.with_users(dataclasses.replace(AGENT, manages_databases=manages)))

    shards = ("web-g000", "web-p000", "web-p001") if manages else ()
    assert ask(server).topology.excluded() == {
        "mirror": ExcludedKind.REPLICA,
        "web": ExcludedKind.SHARDED,
        **dict.fromkeys(shards, ExcludedKind.SHARD),
    }


def test_a_role_without_access_sees_system_alone(bolt_server: Start) -> None:
    server = bolt_server(three_servers().with_users(User("agent", PASSWORD, databases=())))

    found = ask(server)

    assert set(found.topology.databases()) == {"system"}
    assert found.clock_offset_seconds is None


def test_each_server_returns_its_own_backup_address(bolt_server: Start) -> None:
    cluster = (
        three_servers()
        .with_settings("server-0", {"server.backup.advertised_address": "internal-0:6400"})
        .with_settings(
            "server-1",
            {"server.backup.advertised_address": ":0", "server.default_advertised_address": "internal-1"},
        )
    )
    server = bolt_server(cluster)

    found = ask(server)

    assert found.topology.backup_addresses[server.addresses["server-0"]] == "internal-0:6400"
    assert found.topology.backup_addresses[server.addresses["server-1"]] == "internal-1:6362"


@contextmanager
def foreign_host() -> Iterator[socket.socket]:
    """Listen on a host that is not the one of the URI."""
    with socket.create_server(("127.0.0.2", 0)) as listener:
        listener.settimeout(0)
        yield listener


def address_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"{host}:{port}"


def connects(listener: socket.socket) -> bool:
    """Return whether a client has connected."""
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


@pytest.mark.parametrize("scheme", ["bolt", "neo4j"])
def test_the_password_is_not_sent_to_a_foreign_host_that_the_server_lists(bolt_server: Start, scheme: str) -> None:
    with foreign_host() as listener:
        cluster = three_servers().with_server("server-2", bolt=address_of(listener))
        server = bolt_server(cluster, only="server-0")
        own_route = BoltFault("dead_routes", addresses=(server.addresses["server-0"],))
        server.change(cluster.with_bolt_faults(own_route))

        found = ask(server, scheme)

        assert not connects(listener)
        assert found.topology.copies
        [note] = [note for note in found.notes if address_of(listener) in note]
        assert note.startswith("1 foreign address was not asked for its settings")
        assert "neo4j.backup_addresses" in note
        assert address_of(listener) not in found.topology.backup_addresses


@pytest.mark.patience
def test_a_host_of_the_routing_table_is_asked(bolt_server: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backup_agent.cluster.bolt.EXTRAS_SECONDS", 0.7)  # the listener does not answer
    with foreign_host() as listener:
        cluster = three_servers().with_server("server-2", bolt=address_of(listener))

        ask(bolt_server(cluster, only="server-0"))

        assert connects(listener)


def test_a_host_of_the_settings_is_asked(bolt_server: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backup_agent.cluster.bolt.EXTRAS_SECONDS", 0.7)  # the listener does not answer
    with foreign_host() as listener:
        cluster = three_servers().with_server("server-2", bolt=address_of(listener))
        server = bolt_server(cluster, only="server-0")

        trusted = Addressing(backup_addresses={address_of(listener): "server-2:6362"})
        discover(Endpoint(server.uri(), "agent", PASSWORD, addressing=trusted), timeout=10)

        assert connects(listener)


def test_settings_that_may_not_be_read_are_not_an_error(bolt_server: Start) -> None:
    server = bolt_server(three_servers().with_users(User("agent", PASSWORD, show_settings=())))

    found = ask(server)

    assert (found.topology.backup_addresses, found.notes) == ({}, ())


@pytest.mark.parametrize("version", ["5.26.31", "2026.09.0"])
def test_a_community_server_is_not_an_error(bolt_server: Start, version: str) -> None:
    cluster = three_servers(version)
    server = bolt_server(dataclasses.replace(cluster, bolt=dataclasses.replace(cluster.bolt, edition="community")))

    found = ask(server)

    assert set(found.topology.databases()) == {"neo4j", "orders", "system"}
    assert {copy.last_committed_txn for copy in found.topology.copies} == {None}
    assert found.topology.aliases == {}


def test_a_rolling_upgrade_shows_both_versions(bolt_server: Start) -> None:
    found = ask(bolt_server(three_servers("2026.08.0").with_server("server-1", version="2026.09.0")))

    assert found.topology.versions == ("2026.08.0", "2026.09.0")


def test_the_servers_clock_is_compared_with_ours(bolt_server: Start) -> None:
    found = ask(bolt_server(three_servers().with_bolt_faults(BoltFault("clock", seconds=-600.0))))

    assert found.clock_offset_seconds == pytest.approx(-600.0, abs=2.0)


def test_a_wrong_password_is_tried_once(bolt_server: Start) -> None:
    server = bolt_server(three_servers().with_users(AGENT))

    error = failure(server, password="not-the-password")

    assert isinstance(error, LoginRefusedError)
    assert (
        error.failure.error
        == f"{server.addresses['server-0']} refused the login of 'agent': wrong user name or password"
    )
    assert [(login.user, login.accepted) for login in server.logins] == [("agent", False)]


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        pytest.param(BoltFault("rate_limit"), LoginRefusedError, "too many wrong passwords", id="locked-account"),
        pytest.param(
            BoltFault("credentials_expired"), LoginRefusedError, "must be changed first", id="expired-password"
        ),
        pytest.param(BoltFault("forbidden"), LoginRefusedError, "does not let 'agent' list", id="forbidden"),
        pytest.param(BoltFault("unavailable"), TransientError, "DatabaseUnavailable", id="system-not-up"),
        pytest.param(BoltFault("unsupported"), PermanentError, "refused the statement", id="unsupported"),
        pytest.param(
            BoltFault("fail", code="Neo.ClientError.Cluster.NotALeader", message="No leader"),
            TransientError,
            "knows no leader at the moment",
            id="not-a-leader",
        ),
        pytest.param(BoltFault("close_in_answer"), TransientError, "", id="closed in the middle of an answer"),
        pytest.param(BoltFault("refuse"), TransientError, "refused the connection", id="refused"),
        pytest.param(BoltFault("reset"), TransientError, "", id="reset"),
    ],
)
def test_every_failure_has_its_error(
    bolt_server: Start, monkeypatch: pytest.MonkeyPatch, fault: BoltFault, kind: type[BackupError], words: str
) -> None:
    monkeypatch.setattr("backup_agent.cluster.bolt.RETRY_SECONDS", 0.1)
    server = bolt_server(three_servers().with_users(AGENT).with_bolt_faults(fault))

    error = failure(server, "bolt")

    assert isinstance(error, kind)
    assert server.addresses["server-0"] in error.failure.error
    assert words in error.failure.error
    assert error.failure.advice


@pytest.mark.process
@pytest.mark.parametrize("do", ["hang_before_handshake", "hang", "hang_in_answer"])
@pytest.mark.parametrize("scheme", ["bolt", "neo4j"])
def test_a_server_that_hangs_is_left_at_the_deadline(bolt_server: Start, scheme: str, do: str) -> None:
    server = bolt_server(three_servers().with_bolt_faults(BoltFault(do)))
    began = time.monotonic()

    error = failure(server, scheme, timeout=0.4)

    assert time.monotonic() - began < 2.0
    assert isinstance(error, TransientError)
    assert "gave no answer within" in error.failure.error


def test_a_transient_fault_is_waited_for(bolt_server: Start) -> None:
    server = bolt_server(
        three_servers().with_bolt_faults(BoltFault("unavailable", statement="SHOW DATABASES", times=1))
    )

    assert set(ask(server, "bolt").topology.databases()) == {"neo4j", "orders", "system"}


def test_if_no_address_of_the_routing_table_answers_the_given_server_is_asked(bolt_server: Start) -> None:
    server = bolt_server(three_servers().with_bolt_faults(BoltFault("dead_routes")))

    found = ask(server)

    assert set(found.topology.databases()) == {"neo4j", "orders", "system"}


@pytest.mark.process
def test_if_the_addresses_of_the_routing_table_hang_the_given_server_is_asked(bolt_server: Start) -> None:
    cluster = three_servers()
    silent = socket.create_server(("127.0.0.1", 0))
    with silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        server = bolt_server(cluster.with_bolt_faults(BoltFault("dead_routes", addresses=(address,))))

        found = ask(server, timeout=1.5)

    assert set(found.topology.databases()) == {"neo4j", "orders", "system"}


@pytest.mark.process
def test_a_failed_optional_statement_does_not_affect_the_others(
    bolt_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backup_agent.cluster.bolt.EXTRAS_SECONDS", 0.7)
    faults = (
        BoltFault("hang", statement="SHOW ALIASES"),
        BoltFault("forbidden", statement="CALL dbms.components"),
        BoltFault("hang_in_answer", statement="SHOW SETTINGS", server="server-1"),
    )
    server = bolt_server(three_servers().with_bolt_faults(*faults))

    found = ask(server)

    assert set(found.topology.databases()) == {"neo4j", "orders", "system"}
    assert (found.topology.aliases, found.topology.versions) == ({}, ())
    assert found.clock_offset_seconds is not None
    assert "SHOW ALIASES: no answer in time" in found.notes
    assert len(found.notes) == 5


def test_an_answer_with_other_columns_is_an_error_that_says_so(bolt_server: Start) -> None:
    server = bolt_server(three_servers().with_bolt_faults(BoltFault("other_columns", statement="SHOW DATABASES")))

    assert "sent an answer that Neo4j does not send" in failure(server).failure.error


def test_an_optional_answer_with_other_columns_is_a_note(bolt_server: Start) -> None:
    server = bolt_server(three_servers().with_bolt_faults(BoltFault("other_columns", statement="CALL dbms")))

    found = ask(server)

    assert set(found.topology.databases()) == {"neo4j", "orders", "system"}
    assert any("dbms.components(): " in note and "that Neo4j does not send" in note for note in found.notes)


@pytest.mark.parametrize("kind", [KeyError, TypeError, AttributeError, OverflowError, RecursionError, MemoryError])
def test_an_unexpected_error_of_python_in_a_conversation_becomes_a_failure(kind: type[Exception]) -> None:
    error = classify(kind(PASSWORD), Endpoint("bolt://demo:7687", "agent", PASSWORD), "bolt://demo:7687")

    assert error.failure.error.startswith("demo:7687 sent an answer")


def test_a_host_that_does_not_resolve_is_named() -> None:
    with pytest.raises(TransientError, match=r"host name of no-such-host\.invalid:7687 does not resolve"):
        discover(Endpoint("neo4j://no-such-host.invalid", "agent", PASSWORD), timeout=20)


def test_a_port_that_speaks_http_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        uri = f"bolt://127.0.0.1:{listener.getsockname()[1]}"
        listener.settimeout(10)
        with (
            pytest.raises(PermanentError, match="answers in HTTP, not Bolt"),
            _answering(listener, b"HTTP/1.1 400 Bad\r\n"),
        ):
            discover(Endpoint(uri, "agent", PASSWORD), timeout=5)


class _answering:  # noqa: N801  reads as a verb where it is used
    """A server that answers the first connection with some bytes. Use as a context manager."""

    def __init__(self, listener: socket.socket, answer: bytes) -> None:
        self._thread = threading.Thread(target=self._answer, args=(listener, answer))

    def _answer(self, listener: socket.socket, answer: bytes) -> None:
        client, _ = listener.accept()
        with client:
            client.recv(64)
            client.sendall(answer)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join(10)


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def certificate(authority: trustme.CA, folder: Path, *names: str, days: int = 1) -> dict[str, Path]:
    issued = authority.issue_cert(
        *names,
        not_before=datetime.now(UTC) - timedelta(days=30),
        not_after=datetime.now(UTC) + timedelta(days=days),
    )
    issued.cert_chain_pems[0].write_to_path(str(folder / "server.pem"))
    issued.private_key_pem.write_to_path(str(folder / "server.key"))
    return {"certificate": folder / "server.pem", "key": folder / "server.key"}


def ask_by_tls(server: BoltServer, scheme: str, ca_file: str | None) -> Discovered:
    return discover(Endpoint(server.uri(scheme=scheme), "agent", PASSWORD, ca_file=ca_file), timeout=10)


@pytest.mark.parametrize("scheme", ["bolt+s", "neo4j+s", "bolt+ssc", "neo4j+ssc"])
def test_the_ca_of_the_settings_is_trusted(
    bolt_server: Start, authority: trustme.CA, ca_file: str, tmp_path: Path, scheme: str
) -> None:
    server = bolt_server(three_servers().with_users(AGENT), **certificate(authority, tmp_path, "127.0.0.1"))

    found = ask_by_tls(server, scheme, ca_file)

    assert set(found.topology.databases()) == {"neo4j", "orders", "system"}
    assert found.topology.versions == ("2026.09.0",)
    assert found.notes == ()


@pytest.mark.parametrize(
    ("name", "days", "trusted", "words"),
    [
        pytest.param("127.0.0.1", -1, True, r"the certificate of [\d.:]+ has expired$", id="expired"),
        pytest.param("127.0.0.1", 1, False, "from a CA that is not trusted here", id="unknown-ca"),
        pytest.param("other.example.com", 1, True, "names other hosts", id="other-name"),
    ],
)
@pytest.mark.parametrize("scheme", ["bolt+s", "neo4j+s"])
def test_a_bad_certificate_is_an_error(
    bolt_server: Start,
    authority: trustme.CA,
    ca_file: str,
    tmp_path: Path,
    scheme: str,
    name: str,
    days: int,
    words: str,
    *,
    trusted: bool,
) -> None:
    server = bolt_server(three_servers().with_users(AGENT), **certificate(authority, tmp_path, name, days=days))

    with pytest.raises(PermanentError, match=words):
        ask_by_tls(server, scheme, ca_file if trusted else None)
    assert server.logins == ()


def test_plain_bolt_to_a_server_with_tls_is_an_error(bolt_server: Start, authority: trustme.CA, tmp_path: Path) -> None:
    server = bolt_server(three_servers(), **certificate(authority, tmp_path, "127.0.0.1"))

    error = failure(server, "bolt")

    assert "+s" in error.failure.hint


def test_a_server_without_tls_is_an_error(bolt_server: Start, ca_file: str) -> None:
    server = bolt_server(three_servers())

    with pytest.raises(BackupError, match=server.addresses["server-0"]) as caught:
        ask_by_tls(server, "bolt+s", ca_file)
    assert "plain form" in caught.value.failure.hint


@pytest.mark.parametrize(
    ("content", "words"),
    [pytest.param(None, "cannot be read", id="absent"), pytest.param("junk", "contains no certificate", id="junk")],
)
def test_an_invalid_ca_file_of_bolt_is_an_error(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)

    with pytest.raises(PermanentError, match=f"neo4j.ca_file .*ca.pem {words}"):
        discover(Endpoint("neo4j+s://127.0.0.1:1", "agent", PASSWORD, ca_file=str(path)), timeout=5)


def test_a_fifo_is_refused_as_ca_file_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ca.pem")

    with pytest.raises(PermanentError, match="cannot be read: a FIFO, not a regular file"):
        discover(Endpoint("neo4j+s://127.0.0.1:1", "agent", PASSWORD, ca_file=str(tmp_path / "ca.pem")), timeout=5)


@pytest.mark.parametrize("uri", ["http+neo4j://x", "x", "bolt://agent:sesame-open-42@x:1"])
def test_the_error_of_an_invalid_uri_shows_no_secret(uri: str) -> None:
    with pytest.raises(PermanentError, match=r"neo4j\.uri cannot be used") as caught:
        discover(Endpoint(uri, "agent", "other"), timeout=5)
    assert PASSWORD not in caught.value.failure.error


# Rows of the table of failures that the simulated servers cannot cause


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        pytest.param(
            ServiceUnavailable("out of luck"), TransientError, "cannot be asked: ServiceUnavailable", id="anything-else"
        ),
        pytest.param(ConnectionResetError("reset"), TransientError, "broke the connection", id="reset"),
    ],
)
def test_other_failures_are_classified(error: Exception, kind: type[BackupError], words: str) -> None:
    found = classify(error, Endpoint("bolt://server-0", "agent", PASSWORD), "bolt://server-0")

    assert isinstance(found, kind)
    assert words in found.failure.error


def test_an_error_that_is_not_of_the_driver_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        classify(ZeroDivisionError(), Endpoint("bolt://server-0", "agent", PASSWORD), "bolt://server-0")


@pytest.mark.parametrize("secret", [PASSWORD, f"{PASSWORD}\n", "sesame  open\t42", "{what}"])
@pytest.mark.parametrize(
    "kind", [ServiceUnavailable, ConfigurationError, Neo4jError, ValueError, ConnectionError, ssl.SSLError, OSError]
)
def test_no_word_of_the_driver_or_of_a_server_is_quoted(kind: type[Exception], secret: str) -> None:
    error = kind(f"peer said {secret} and more")

    found = classify(error, Endpoint("bolt://server-0", "agent", secret), "bolt://server-0")

    assert "said" not in repr(found.failure)
    assert secret not in repr(found.failure)
    assert secret not in repr(Endpoint("bolt://server-0", "agent", secret))


def test_a_servers_status_code_is_quoted_if_it_is_valid() -> None:
    def error(code: str) -> Neo4jError:
        return Neo4jError._hydrate_neo4j(code=code, message=f"it is {PASSWORD}")

    def text_of(code: str) -> str:
        return classify(error(code), Endpoint("bolt://server-0", "agent", PASSWORD), "bolt://server-0").failure.error

    assert text_of("Neo.ClientError.Statement.SyntaxError").endswith("Neo.ClientError.Statement.SyntaxError")
    assert text_of(f"Neo.ClientError.{PASSWORD}.x").endswith("an unknown status code")
    assert text_of(PASSWORD).endswith("an unknown status code")


def test_the_driver_has_the_version_for_which_the_table_was_written() -> None:
    assert neo4j.__version__.startswith("6.")


HOSTILE = ("../../x", "--option", "$(id)", "x`; drop database neo4j; ", "a\x1b[2K", "x" * 5000)


def test_invalid_names_of_databases_cause_a_note_only(bolt_server: Start) -> None:
    cluster = three_servers(databases=("orders", *HOSTILE)).with_alias("$(id)", "orders").with_alias("shop", "orders")

    found = ask(bolt_server(cluster))

    assert set(found.topology.databases()) == {"orders", "system"}
    assert found.topology.aliases == {"shop": "orders"}
    assert found.refused == len(HOSTILE)
    [note] = found.notes
    assert note.startswith(f"{len(HOSTILE)} names of databases refused")
    assert note.isprintable()
    assert len(note) < 700


def test_a_server_with_an_invalid_address_has_no_address(bolt_server: Start) -> None:
    cluster = three_servers().with_settings("server-0", {"server.backup.advertised_address": "$(id) --to-path=/:6400"})

    server = bolt_server(cluster)

    assert server.addresses["server-0"] not in ask(server).topology.backup_addresses


def test_more_copies_than_the_limit_are_an_error(bolt_server: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backup_agent.core.neo4j.topology.MOST_COPIES", 8)

    error = failure(bolt_server(three_servers()))

    assert isinstance(error, PermanentError)
    assert "SHOW DATABASES lists more than 8 copies of databases" in error.failure.error

import contextlib
import datetime as dt
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import neo4j
import pytest
import trustme
from neo4j.exceptions import AuthError, ClientError, Neo4jError, ServiceUnavailable, SessionExpired

from backup_agent.standins.bolt.conversation import MAGIC
from backup_agent.standins.bolt.faults import KINDS
from backup_agent.standins.bolt.packstream import Structure, pack, unpack
from backup_agent.standins.cluster import BoltFault, User, five_servers, save, three_servers
from tests.polling import until
from tests.standins.bolt_fixtures import AUTH, asked, by_server, connected, started

DATABASES = "SHOW DATABASES YIELD name, address, writer, role"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (BoltFault("forbidden"), "Neo.ClientError.Security.Forbidden"),
        (BoltFault("unavailable"), "Neo.TransientError.General.DatabaseUnavailable"),
        (BoltFault("credentials_expired"), "Neo.ClientError.Security.CredentialsExpired"),
        (BoltFault("unsupported"), "Neo.ClientError.Statement.UnsupportedAdministrationCommand"),
        (BoltFault("fail"), "Neo.DatabaseError.General.UnknownError"),
        (
            BoltFault("fail", code="Neo.DatabaseError.Database.UnableToStartDatabase", message="no"),
            "Neo.DatabaseError.Database.UnableToStartDatabase",
        ),
    ],
    ids=lambda value: value.do if isinstance(value, BoltFault) else "",
)
def test_a_statement_can_be_refused(tmp_path: Path, fault: BoltFault, code: str) -> None:
    with (
        started(tmp_path, three_servers().with_bolt_faults(fault)) as server,
        connected(server.uri()) as driver,
        pytest.raises(Neo4jError) as caught,
    ):
        asked(driver, DATABASES)

    assert caught.value.code == code


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        (BoltFault("unauthorized"), AuthError, "Neo.ClientError.Security.Unauthorized"),
        (BoltFault("rate_limit"), ClientError, "Neo.ClientError.Security.AuthenticationRateLimit"),
    ],
    ids=["unauthorized", "rate limit"],
)
def test_a_login_can_be_refused(tmp_path: Path, fault: BoltFault, kind: type[Neo4jError], code: str) -> None:
    with started(tmp_path, three_servers().with_bolt_faults(fault)) as server:
        with connected(server.uri()) as driver, pytest.raises(kind) as caught:
            driver.verify_connectivity()

        assert caught.value.code == code
        assert [login.accepted for login in server.logins] == [False]


def test_a_fault_strikes_only_its_server_and_statement(tmp_path: Path) -> None:
    fault = BoltFault("forbidden", server="server-1", statement="show settings")
    with started(tmp_path, three_servers().with_bolt_faults(fault)) as server:
        with connected(server.uri("server-0")) as driver:
            assert asked(driver, "SHOW SETTINGS")
        with connected(server.uri("server-1")) as driver:
            assert asked(driver, DATABASES)
            with pytest.raises(ClientError):
                asked(driver, "SHOW\nSETTINGS 'server.backup.enabled'")


def test_a_fault_with_times_is_used_up(tmp_path: Path) -> None:
    fault = BoltFault("unavailable", times=2)
    outcomes: list[int | str] = []
    with started(tmp_path, three_servers().with_bolt_faults(fault)) as server, connected(server.uri()) as driver:
        for _ in range(4):
            try:
                outcomes.append(len(asked(driver, DATABASES)))
            except Neo4jError as error:
                outcomes.append(str(error.code).rpartition(".")[2])

    assert outcomes == ["DatabaseUnavailable", "DatabaseUnavailable", 9, 9]


def test_an_unknown_kind_of_fault_is_told_with_those_there_are(tmp_path: Path) -> None:
    with (
        started(tmp_path, three_servers()) as server,
        connected(server.uri()) as driver,
        driver.session(database="system") as session,
    ):
        session.run(DATABASES).consume()
        save(three_servers().with_bolt_faults(BoltFault("explode")), tmp_path)

        with pytest.raises(Neo4jError, match='no kind "explode"; there are refuse, '):
            session.run(DATABASES).consume()


def test_a_refusing_server_is_up_for_the_others(tmp_path: Path) -> None:
    with started(tmp_path, three_servers().with_bolt_faults(BoltFault("refuse", server="server-0"))) as server:
        with connected(server.uri("server-0")) as driver, pytest.raises(ServiceUnavailable, match="refused"):
            driver.verify_connectivity()
        with connected(server.uri("server-1")) as driver:
            assert server.addresses["server-0"] in {row["address"] for row in asked(driver, DATABASES)}


def test_a_cluster_can_refuse_as_a_whole_and_come_back(tmp_path: Path) -> None:
    with started(tmp_path, three_servers().with_bolt_faults(BoltFault("refuse"))) as server:
        for name in server.addresses:
            with connected(server.uri(name)) as driver, pytest.raises(ServiceUnavailable):
                driver.verify_connectivity()

        server.change(server.cluster.with_bolt_faults())
        with connected(server.uri(scheme="neo4j")) as driver:
            driver.verify_connectivity()


def test_a_change_by_another_process_opens_and_closes_ports(tmp_path: Path) -> None:
    with started(tmp_path, three_servers()) as server:
        host, port = _parts(server.addresses["server-1"])
        save(server.cluster.with_server("server-1", up=False), tmp_path)
        until(lambda: _refused(host, port), "closed port")
        save(server.cluster.with_server("server-1", up=True), tmp_path)
        until(lambda: not _refused(host, port), "open port")


def test_a_connection_can_be_reset(tmp_path: Path) -> None:
    with started(tmp_path, three_servers().with_bolt_faults(BoltFault("reset"))) as server:
        with connected(server.uri()) as driver, pytest.raises(ServiceUnavailable):
            driver.verify_connectivity()

        assert server.logins == ()


def test_a_server_that_hangs_before_the_handshake_is_given_up(tmp_path: Path) -> None:
    cluster = three_servers().with_bolt_faults(BoltFault("hang_before_handshake"))
    with (
        started(tmp_path, cluster) as server,
        connected(server.uri(), connection_acquisition_timeout=0.3) as driver,
        pytest.raises(ServiceUnavailable, match=r"Failed to read four byte Bolt handshake"),
    ):
        driver.verify_connectivity()


@pytest.mark.parametrize("kind", ["hang", "hang_in_answer"])
def test_a_server_can_hang_at_a_statement(tmp_path: Path, kind: str) -> None:
    cluster = three_servers().with_bolt_faults(BoltFault(kind, statement="SHOW DATABASES"))
    with started(tmp_path, cluster) as server, _opened(server.addresses["server-0"]) as client:
        client.log_on()
        client.send(0x10, DATABASES, {}, {"db": "system"})
        client.send(0x3F, {"n": -1})
        heard = client.until_silence(0.3)

        assert heard == [] if kind == "hang" else [0x70, 0x71, 0x71, 0x71, 0x71]


def test_a_connection_can_break_in_the_middle_of_an_answer(tmp_path: Path) -> None:
    cluster = three_servers().with_bolt_faults(BoltFault("close_in_answer", times=1))
    with started(tmp_path, cluster) as server, connected(server.uri()) as driver:
        with pytest.raises(ServiceUnavailable), driver.session(database="system") as session:
            list(session.run(DATABASES))

        assert len(asked(driver, DATABASES)) == 9


def test_an_answer_can_be_late(tmp_path: Path) -> None:
    cluster = three_servers().with_bolt_faults(BoltFault("delay", seconds=0.2, times=1))
    with started(tmp_path, cluster) as server, connected(server.uri()) as driver:
        driver.verify_connectivity()
        before = time.monotonic()
        asked(driver, DATABASES)

        assert time.monotonic() - before >= 0.2


def test_a_leader_can_move_between_two_statements(tmp_path: Path) -> None:
    fault = BoltFault("move_leader", statement="SHOW DATABASES", database="orders", to="server-0", times=1)
    with started(tmp_path, three_servers().with_bolt_faults(fault)) as server, connected(server.uri()) as driver:
        leaders = []
        for _ in range(2):
            copies = by_server(asked(driver, DATABASES), server.addresses, "orders")
            leaders.append([name for name, row in copies.items() if row["writer"]])

    assert leaders == [["server-2"], ["server-0"]]


def test_a_leader_that_moves_nowhere_is_told(tmp_path: Path) -> None:
    cluster = three_servers().with_bolt_faults(BoltFault("move_leader"))
    with (
        started(tmp_path, cluster) as server,
        connected(server.uri()) as driver,
        pytest.raises(Neo4jError, match="move_leader needs database and to"),
    ):
        asked(driver, DATABASES)


def test_a_clock_can_be_off(tmp_path: Path) -> None:
    cluster = three_servers().with_bolt_faults(BoltFault("clock", seconds=-3600))
    with started(tmp_path, cluster) as server, connected(server.uri()) as driver:
        [row] = asked(driver, "RETURN datetime() AS now", "neo4j")

    off = (row["now"].to_native() - dt.datetime.now(dt.UTC)).total_seconds()
    assert off == pytest.approx(-3600, abs=5)


@pytest.mark.parametrize("named", [True, False], ids=["an address of the test's", "one that refuses"])
def test_a_routing_table_can_name_addresses_that_do_not_answer(tmp_path: Path, named: bool) -> None:
    with started(tmp_path, three_servers()) as server:
        addresses = (server.dead_address,) if named else ()
        server.change(server.cluster.with_bolt_faults(BoltFault("dead_routes", addresses=addresses)))

        with connected(server.uri(scheme="neo4j")) as driver, pytest.raises(SessionExpired):
            asked(driver, DATABASES)
        with connected(server.uri(scheme="bolt")) as driver:
            assert len(asked(driver, DATABASES)) == 9


def test_every_kind_of_fault_is_tried_here() -> None:
    tried = Path(__file__).read_text(encoding="utf-8")

    assert [kind for kind in KINDS if f'"{kind}"' not in tried] == []


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def _certified(folder: Path, authority: trustme.CA, **options: Any) -> tuple[Path, Path, Path]:
    certificate, key, ca = folder / "server.pem", folder / "server.key", folder / "ca.pem"
    issued = authority.issue_cert("localhost", "127.0.0.1", **options)
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    issued.private_key_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(ca))
    return certificate, key, ca


@pytest.mark.parametrize("scheme", ["bolt", "neo4j"])
def test_tls_works_with_the_authority_that_signed(tmp_path: Path, authority: trustme.CA, scheme: str) -> None:
    certificate, key, ca = _certified(tmp_path, authority)
    with (
        started(tmp_path, three_servers(), certificate=certificate, key=key) as server,
        connected(
            server.uri(scheme=scheme), encrypted=True, trusted_certificates=neo4j.TrustCustomCAs(str(ca))
        ) as driver,
    ):
        assert len(asked(driver, DATABASES)) == 9


def test_any_certificate_will_do_where_none_is_checked(tmp_path: Path, authority: trustme.CA) -> None:
    certificate, key, _ = _certified(tmp_path, authority)
    with (
        started(tmp_path, three_servers(), certificate=certificate, key=key) as server,
        connected(server.uri(scheme="neo4j+ssc")) as driver,
    ):
        driver.verify_connectivity()


def test_an_expired_certificate_is_refused_by_the_driver(tmp_path: Path, authority: trustme.CA) -> None:
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    certificate, key, ca = _certified(tmp_path, authority, not_after=yesterday)
    with (
        started(tmp_path, three_servers(), certificate=certificate, key=key) as server,
        connected(server.uri(), encrypted=True, trusted_certificates=neo4j.TrustCustomCAs(str(ca))) as driver,
        pytest.raises(ServiceUnavailable) as caught,
    ):
        driver.verify_connectivity()

    assert "certificate has expired" in _causes(caught.value)


def test_an_unknown_authority_is_refused_by_the_driver(tmp_path: Path, authority: trustme.CA) -> None:
    certificate, key, _ = _certified(tmp_path, authority)
    with (
        started(tmp_path, three_servers(), certificate=certificate, key=key) as server,
        connected(server.uri(scheme="bolt+s")) as driver,
        pytest.raises(ServiceUnavailable) as caught,
    ):
        driver.verify_connectivity()

    assert "unable to get local issuer certificate" in _causes(caught.value)


def test_a_plain_client_gets_nowhere_with_tls(tmp_path: Path, authority: trustme.CA) -> None:
    certificate, key, _ = _certified(tmp_path, authority)
    with (
        started(tmp_path, three_servers(), certificate=certificate, key=key) as server,
        connected(server.uri(scheme="bolt")) as driver,
        pytest.raises(ServiceUnavailable),
    ):
        driver.verify_connectivity()


@pytest.mark.parametrize(
    ("proposals", "agreed"),
    [
        ("00000805 00000000 00000000 00000000", (5, 8)),
        ("00080805 00020404 00000404 00000003", (5, 8)),
        ("00000005 00000000 00000000 00000000", (5, 0)),
        ("00020505 00000000 00000000 00000000", (5, 4)),
        ("00000404 00000305 00000000 00000000", (5, 3)),
        ("00000404 00000003 00000000 00000000", (0, 0)),
    ],
    ids=["the newest", "a range", "the oldest", "5.5 was never offered", "the second", "none"],
)
def test_an_older_handshake_agrees_on_the_best_both_know(
    tmp_path: Path, proposals: str, agreed: tuple[int, int]
) -> None:
    with (
        started(tmp_path, three_servers()) as server,
        socket.create_connection(_parts(server.addresses["server-0"])) as client,
    ):
        client.settimeout(5)
        client.sendall(MAGIC + bytes.fromhex(proposals))
        answer = client.recv(4)

        assert (answer[3], answer[2]) == agreed


def test_bolt_5_0_logs_in_with_hello_and_names_errors_the_old_way(tmp_path: Path) -> None:
    with started(tmp_path, three_servers().with_users(User(*AUTH))) as server:
        with _opened(server.addresses["server-0"], "00000005") as client:
            client.send(0x01, {"user_agent": "t", "scheme": "basic", "principal": AUTH[0], "credentials": AUTH[1]})
            assert client.receive().tag == 0x70
            client.send(0x10, "BOGUS", {}, {})
            assert client.receive().fields[0]["code"] == "Neo.ClientError.Statement.SyntaxError"
        with _opened(server.addresses["server-0"], "00000005") as client:
            client.send(0x01, {"user_agent": "t", "scheme": "basic", "principal": AUTH[0], "credentials": "wrong"})
            assert client.receive().fields[0]["code"] == "Neo.ClientError.Security.Unauthorized"
            assert client.receive_bytes() == b""


def test_after_a_failure_all_is_ignored_until_reset(tmp_path: Path) -> None:
    with started(tmp_path, three_servers()) as server, _opened(server.addresses["server-0"]) as client:
        client.log_on()
        requests: tuple[tuple[Any, ...], ...] = (
            (0x10, "BOGUS", {}, {}),
            (0x3F, {"n": -1}),
            (0x54, 1),
            (0x0F,),
            (0x54, 1),
        )
        for request in requests:
            client.send(*request)

        assert [client.receive().tag for _ in range(5)] == [0x7F, 0x7E, 0x7E, 0x70, 0x70]


def test_another_user_may_log_on_after_the_first_logged_off(tmp_path: Path) -> None:
    cluster = three_servers().with_users(User(*AUTH), User("other", "secret", databases=()))
    with started(tmp_path, cluster) as server, _opened(server.addresses["server-0"]) as client:
        client.log_on()
        client.send(0x6B)
        client.send(0x6A, {"scheme": "basic", "principal": "other", "credentials": "secret"})

        assert [client.receive().tag for _ in range(2)] == [0x70, 0x70]
        assert [login.user for login in server.logins] == ["neo4j", "other"]


@pytest.mark.parametrize(
    "request_",
    [(0x10, "RETURN 1", {}, {}), (0x66, {}, [], {}), (0x0F,)],
    ids=["run", "route", "reset"],
)
def test_nothing_is_served_before_the_login(tmp_path: Path, request_: tuple[Any, ...]) -> None:
    with started(tmp_path, three_servers()) as server, _opened(server.addresses["server-0"]) as client:
        client.send(*request_)

        assert client.receive().tag == 0x7F
        assert client.receive_bytes() == b""
        assert server.statements == ()


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n\r\n....", b"\x60\x60", MAGIC + bytes(16), b""],
    ids=["http", "cut", "nothing proposed", "silence"],
)
def test_a_client_that_talks_nonsense_harms_nobody_else(tmp_path: Path, data: bytes) -> None:
    with started(tmp_path, three_servers()) as server:
        with socket.create_connection(_parts(server.addresses["server-0"])) as client:
            client.sendall(data)
        with connected(server.uri()) as driver:
            driver.verify_connectivity()


def test_messages_that_are_no_request_end_the_connection(tmp_path: Path) -> None:
    with started(tmp_path, three_servers()) as server, _opened(server.addresses["server-0"]) as client:
        client.send(0x55)

        assert client.receive_bytes() == b""


def test_fixed_ports_are_taken_as_written_and_a_taken_one_is_an_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        cluster = three_servers().with_server("server-1", bolt=f"127.0.0.1:{taken.getsockname()[1]}")

        with pytest.raises(OSError, match="in use"), started(tmp_path, cluster):
            pass


def test_a_stopped_server_leaves_its_ports_and_threads(tmp_path: Path) -> None:
    with started(tmp_path, five_servers()) as server:
        addresses = dict(server.addresses)
        with connected(server.uri()) as driver:
            driver.verify_connectivity()

    assert all(_refused(*_parts(address)) for address in addresses.values())


def test_the_program_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
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
            rows = asked(driver, DATABASES)
        program.send_signal(signal.SIGTERM)

        assert program.wait(10) == 0
        assert {row["address"] for row in rows} == set(addresses.values())


def test_one_server_alone_can_be_served(tmp_path: Path) -> None:
    cluster = three_servers().with_server("server-0", bolt="server-0.example:7687")
    with started(tmp_path, cluster, only="server-1") as server, connected(server.uri()) as driver:
        assert set(server.addresses) == {"server-1"}
        assert {row["address"] for row in asked(driver, "SHOW DATABASE orders")} == {
            "server-0.example:7687",
            server.addresses["server-1"],
            "127.0.0.1:0",
        }


def _refused(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except ConnectionError:  # refused, or reset: it waited to be taken in as the port closed
        return True
    return False


def _parts(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def _causes(error: BaseException | None) -> str:
    words = []
    while error:
        words.append(str(error))
        error = error.__cause__ or error.__context__
    return " ".join(words)


class _Client:
    """Bolt by hand, for what the driver would never send."""

    def __init__(self, client: socket.socket) -> None:
        self.client = client

    def send(self, tag: int, *fields: Any) -> None:
        message = pack(Structure(tag, fields))
        self.client.sendall(len(message).to_bytes(2) + message + b"\x00\x00")

    def receive_bytes(self) -> bytes:
        message = b""
        while size := int.from_bytes(self._exactly(2)):
            message += self._exactly(size)
        return message

    def receive(self) -> Structure:
        message = unpack(self.receive_bytes())
        assert isinstance(message, Structure)
        return message

    def until_silence(self, seconds: float) -> list[int]:
        self.client.settimeout(seconds)
        tags = []
        with contextlib.suppress(TimeoutError):
            while True:
                tags.append(self.receive().tag)
        return tags

    def log_on(self) -> None:
        self.send(0x01, {"user_agent": "test"})
        self.send(0x6A, {"scheme": "basic", "principal": AUTH[0], "credentials": AUTH[1]})
        assert [self.receive().tag, self.receive().tag] == [0x70, 0x70]

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (more := self.client.recv(size - len(data))):
            data += more
        return data


@contextlib.contextmanager
def _opened(address: str, version: str = "00000805") -> Iterator[_Client]:
    with socket.create_connection(_parts(address), timeout=5) as client:
        client.sendall(MAGIC + bytes.fromhex(version) + bytes(12))
        assert client.recv(4) == bytes.fromhex(version)
        yield _Client(client)

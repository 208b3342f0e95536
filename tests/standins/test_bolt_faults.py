"""The effect of each kind of fault of the Bolt stand-in on the driver."""

import datetime as dt
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from neo4j.exceptions import AuthError, ClientError, Neo4jError, ServiceUnavailable, SessionExpired

from backup_agent.standins.bolt.faults import KINDS
from backup_agent.standins.cluster import BoltFault, save, three_servers
from tests.polling import until
from tests.standins.served import DATABASES, PULL, RECORD, RUN, SUCCESS, Served, refuses

Serve = Callable[..., Served]


def test_every_kind_of_fault_is_tested_here() -> None:
    tried = Path(__file__).read_text(encoding="utf-8")

    assert [kind for kind in KINDS if f'"{kind}"' not in tried] == []


@pytest.fixture(name="faulty")
def _faulty(serve: Serve) -> Callable[..., Served]:
    """Serve three servers with faults."""
    return lambda *faults: serve(three_servers().with_bolt_faults(*faults))


# At a statement

MISSING_STORE = "Neo.DatabaseError.Database.UnableToStartDatabase"


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (BoltFault("forbidden"), "Neo.ClientError.Security.Forbidden"),
        (BoltFault("unavailable"), "Neo.TransientError.General.DatabaseUnavailable"),
        (BoltFault("credentials_expired"), "Neo.ClientError.Security.CredentialsExpired"),
        (BoltFault("unsupported"), "Neo.ClientError.Statement.UnsupportedAdministrationCommand"),
        (BoltFault("fail"), "Neo.DatabaseError.General.UnknownError"),
        (BoltFault("fail", code=MISSING_STORE, message="no"), MISSING_STORE),
    ],
    ids=["forbidden", "unavailable", "credentials_expired", "unsupported", "fail", "fail with a code"],
)
def test_a_statement_can_be_refused(faulty: Serve, fault: BoltFault, code: str) -> None:
    assert faulty(fault).code(DATABASES) == code


def test_a_fault_strikes_only_its_server_and_its_statement(faulty: Serve) -> None:
    served = faulty(BoltFault("forbidden", server="server-1", statement="show settings"))

    assert served.ask("SHOW SETTINGS", server="server-0")
    assert served.ask(DATABASES, server="server-1")
    assert isinstance(served.refusal("SHOW\nSETTINGS 'server.backup.enabled'", server="server-1"), ClientError)


def test_a_fault_with_times_is_used_up(faulty: Serve) -> None:
    served = faulty(BoltFault("unavailable", times=2))

    assert [served.code(DATABASES) for _ in range(2)] == ["Neo.TransientError.General.DatabaseUnavailable"] * 2
    assert len(served.ask(DATABASES)) == 9


def test_an_unknown_kind_of_fault_is_refused_with_a_list_of_all_kinds(serve: Serve) -> None:
    served = serve()
    with served.driver().session(database="system") as session:
        session.run(DATABASES).consume()
        save(three_servers().with_bolt_faults(BoltFault("explode")), served.folder)

        with pytest.raises(Neo4jError, match='unknown kind "explode": use one of refuse, '):
            session.run(DATABASES).consume()


@pytest.mark.parametrize(("kind", "heard"), [("hang", []), ("hang_in_answer", [SUCCESS, *[RECORD] * 4])])
def test_a_server_can_hang_before_or_in_an_answer(faulty: Serve, kind: str, heard: list[int]) -> None:
    with faulty(BoltFault(kind, statement="SHOW DATABASES")).client() as client:
        client.log_on()
        client.send(RUN, "SHOW DATABASES YIELD name, address, writer, role", {}, {"db": "system"})
        client.send(PULL, {"n": -1})

        assert client.tags_until_silence(0.3) == heard


def test_a_connection_can_break_in_the_middle_of_an_answer(faulty: Serve) -> None:
    served = faulty(BoltFault("close_in_answer", times=1))
    with pytest.raises(ServiceUnavailable), served.driver().session(database="system") as session:
        list(session.run(DATABASES))

    assert len(served.ask(DATABASES)) == 9


def test_columns_can_have_other_names(faulty: Serve) -> None:
    with faulty(BoltFault("other_columns")).driver().session(database="system") as session:
        assert all(name.startswith("other_") for row in session.run(DATABASES).data() for name in row)


def test_a_text_can_have_no_end(faulty: Serve) -> None:
    with faulty(BoltFault("endless_text", statement="SHOW DATABASES")).client() as client:
        client.log_on()
        client.send(RUN, "SHOW DATABASES", {}, {"db": "system"})
        client.send(PULL, {"n": -1})
        client.tags(1)

        assert client.chunks(300).endswith(b"x" * 2**20)


def test_an_answer_can_be_delayed(faulty: Serve) -> None:
    served = faulty(BoltFault("delay", seconds=0.2, times=1))
    before = time.monotonic()
    served.ask(DATABASES)

    assert time.monotonic() - before >= 0.2


def test_a_leader_can_move_between_two_statements(faulty: Serve) -> None:
    served = faulty(BoltFault("move_leader", statement="SHOW DATABASES", database="orders", to="server-0", times=1))
    leaders = [[name for name, row in served.copies("orders").items() if row["writer"]] for _ in range(2)]

    assert leaders == [["server-2"], ["server-0"]]


def test_moving_a_leader_without_a_target_is_an_error(faulty: Serve) -> None:
    assert "move_leader needs database and to" in str(faulty(BoltFault("move_leader")).refusal(DATABASES))


def test_the_servers_clock_can_be_shifted(faulty: Serve) -> None:
    [row] = faulty(BoltFault("clock", seconds=-3600)).ask("RETURN datetime() AS now", "neo4j")

    assert (row["now"].to_native() - dt.datetime.now(dt.UTC)).total_seconds() == pytest.approx(-3600, abs=5)


# At a connection


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        (BoltFault("unauthorized"), AuthError, "Neo.ClientError.Security.Unauthorized"),
        (BoltFault("rate_limit"), ClientError, "Neo.ClientError.Security.AuthenticationRateLimit"),
    ],
    ids=["unauthorized", "rate_limit"],
)
def test_a_login_can_be_refused(faulty: Serve, fault: BoltFault, kind: type[Neo4jError], code: str) -> None:
    served = faulty(fault)
    error = served.connection_error()

    assert isinstance(error, kind)
    assert error.code == code
    assert [login.accepted for login in served.server.logins] == [False]


def test_a_server_that_refuses_connections_is_still_listed_by_the_others(faulty: Serve) -> None:
    served = faulty(BoltFault("refuse", server="server-0"))

    assert "refused" in str(served.connection_error(server="server-0"))
    shown = {row["address"] for row in served.ask(DATABASES, server="server-1")}
    assert served.server.addresses["server-0"] in shown


def test_a_whole_cluster_can_refuse_connections_and_accept_them_again(faulty: Serve) -> None:
    served = faulty(BoltFault("refuse"))
    assert all(isinstance(served.connection_error(server=name), ServiceUnavailable) for name in served.server.addresses)

    served.change(served.cluster.with_bolt_faults())

    assert served.connection_error(scheme="neo4j") is None


def test_a_change_by_another_process_opens_and_closes_ports(serve: Serve) -> None:
    served = serve()
    address = served.server.addresses["server-1"]
    save(served.cluster.with_server("server-1", up=False), served.folder)
    until(lambda: refuses(address), "closed port")
    save(served.cluster.with_server("server-1", up=True), served.folder)
    until(lambda: not refuses(address), "open port")


def test_a_connection_can_be_reset(faulty: Serve) -> None:
    served = faulty(BoltFault("reset"))

    assert isinstance(served.connection_error(), ServiceUnavailable)
    assert served.server.logins == ()


def test_the_driver_times_out_if_a_server_hangs_before_the_handshake(faulty: Serve) -> None:
    error = faulty(BoltFault("hang_before_handshake")).connection_error(connection_acquisition_timeout=0.3)

    assert isinstance(error, ServiceUnavailable)
    assert "Failed to read four byte Bolt handshake" in str(error)


@pytest.mark.parametrize("named", [True, False], ids=["addresses of the test", "one that refuses"])
def test_a_routing_table_can_name_addresses_that_do_not_answer(serve: Serve, named: bool) -> None:
    served = serve()
    addresses = (served.server.dead_address,) if named else ()
    served.change(served.cluster.with_bolt_faults(BoltFault("dead_routes", addresses=addresses)))

    assert isinstance(served.refusal(DATABASES, scheme="neo4j"), SessionExpired)
    assert len(served.ask(DATABASES)) == 9

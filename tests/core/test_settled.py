"""When the next server of a cluster may be restarted."""

from dataclasses import replace

import pytest

from backup_agent.core.neo4j.settled import DatabaseRow, ServerRow, reasons_to_wait

BOTH = frozenset({"system", "orders"})
SERVERS = tuple(ServerRow(f"s{n}", f"demo-server-{n}:7687", "Enabled", "Available", BOTH, BOTH) for n in range(3))
DATABASES = tuple(
    DatabaseRow(name, f"demo-server-{n}:7687", "online", "online", writer=n == 0)
    for name in sorted(BOTH)
    for n in range(3)
)


def with_server(**changes: object) -> tuple[ServerRow, ...]:
    return (*SERVERS[:2], replace(SERVERS[2], **changes))  # type: ignore[arg-type]  # fields of the row


def with_database(**changes: object) -> tuple[DatabaseRow, ...]:
    return (replace(DATABASES[0], **changes), *DATABASES[1:])  # type: ignore[arg-type]  # fields of the row


def test_a_settled_cluster_may_lose_its_next_server() -> None:
    assert reasons_to_wait(SERVERS, DATABASES) == ()
    assert reasons_to_wait(SERVERS, DATABASES, expected=3) == ()


@pytest.mark.parametrize(
    ("servers", "said"),
    [
        (with_server(health="Unavailable"), "server s2 (demo-server-2:7687) is Unavailable, not Available"),
        (with_server(state="Cordoned"), "is Cordoned, not Enabled"),
        (with_server(hosting=frozenset({"system"})), "does not host yet: orders"),
        (with_server(hosting=BOTH | {"old"}), "still hosts: old"),
        (SERVERS[:2], "2 servers are Enabled, and 3 are expected"),
        ((*SERVERS, replace(SERVERS[0], name="s3")), "4 servers are Enabled, and 3 are expected"),
        ((), "lists no server"),
    ],
)
def test_a_server_that_is_not_as_it_should_be_stops_the_next_restart(servers: tuple[ServerRow, ...], said: str) -> None:
    assert said in "\n".join(reasons_to_wait(servers, DATABASES, expected=3))


@pytest.mark.parametrize(
    ("databases", "said"),
    [
        (with_database(current="starting"), "orders on demo-server-0:7687 is starting, and online is requested"),
        (
            with_database(current="store copying", message="from s1"),
            "is store copying, and online is requested: from s1",
        ),
        (with_database(current="offline", address=None), "orders on no server is offline"),
        (with_database(writer=False), "orders: no server accepts writes"),
    ],
)
def test_a_database_that_is_not_as_requested_stops_the_next_restart(
    databases: tuple[DatabaseRow, ...], said: str
) -> None:
    assert said in "\n".join(reasons_to_wait(SERVERS, databases))


def test_a_database_that_is_stopped_on_purpose_stops_nothing() -> None:
    stopped = tuple(
        replace(row, current="offline", requested="offline", writer=False) if row.name == "orders" else row
        for row in DATABASES
    )

    assert reasons_to_wait(SERVERS, stopped) == ()


def test_a_version_that_does_not_tell_the_writer_is_judged_by_the_rest() -> None:
    assert reasons_to_wait(SERVERS, tuple(replace(row, writer=None) for row in DATABASES)) == ()

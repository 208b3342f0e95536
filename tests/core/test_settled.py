"""Whether a cluster is settled, so that its next server may be restarted."""

from dataclasses import replace
from typing import Any

import pytest

from backup_agent.core.neo4j.cluster_state import MOST_REASONS, ClusterState, Readiness, SeenServer
from backup_agent.core.neo4j.settled import (
    LONGEST_TEXT,
    CopyRow,
    ServerRow,
    StateAnswer,
    copy_row,
    server_row,
    state_of,
)

BOTH = frozenset({"system", "orders"})
SERVERS = tuple(
    ServerRow(f"s{n}", f"demo-server-{n}:7687", "Enabled", "Available", BOTH, BOTH, f"id-{n}", "2026.09.0")
    for n in range(3)
)
COPIES = tuple(
    CopyRow(
        name, f"demo-server-{n}:7687", "online", "online", type="system" if name == "system" else "standard",
        writer=n == 0, server_id=f"id-{n}",
    )
    for name in sorted(BOTH)
    for n in range(3)
)  # fmt: skip


def with_server(**changes: Any) -> tuple[ServerRow, ...]:
    return (*SERVERS[:2], replace(SERVERS[2], **changes))


def with_copy(**changes: Any) -> tuple[CopyRow, ...]:
    """Change the first copy, which is the writer of `orders`."""
    return (replace(COPIES[0], **changes), *COPIES[1:])


def of_orders(**changes: Any) -> tuple[CopyRow, ...]:
    """Change all copies of `orders`."""
    return tuple(replace(copy, **changes) if copy.name == "orders" else copy for copy in COPIES)


def cluster_state(
    servers: tuple[ServerRow, ...] = SERVERS, copies: tuple[CopyRow, ...] = COPIES, expected: int | None = None
) -> ClusterState:
    return state_of(StateAnswer(copies, servers), expected)


@pytest.mark.parametrize("expected", [None, 3])
def test_a_settled_cluster_may_lose_its_next_server(expected: int | None) -> None:
    found = cluster_state(expected=expected)

    assert found.readiness is Readiness.SETTLED
    assert (found.reasons, found.unseen, found.databases) == ((), (), 2)
    assert found.servers[1] == SeenServer(
        name="s1", address="demo-server-1:7687", version="2026.09.0", state="Enabled", health="Available", hosting=2,
        requested=2,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("servers", "text"),
    [
        (with_server(health="Unavailable"), "demo-server-2:7687 is Unavailable, not Available"),
        (with_server(health="Unavailable", address=None), "server s2 is Unavailable, not Available"),
        (with_server(state="Cordoned"), "demo-server-2:7687 is Cordoned, not Enabled"),
        (with_server(hosting=frozenset({"system"})), "demo-server-2:7687 does not host yet: orders"),
        (with_server(requested=frozenset({"system"})), "demo-server-2:7687 still hosts: orders"),
        (SERVERS[:2], "2 servers are Enabled, and 3 are expected"),
        ((*SERVERS, replace(SERVERS[0], name="s3")), "4 servers are Enabled, and 3 are expected"),
        ((), "0 servers are Enabled, and 3 are expected"),
    ],
)
def test_a_server_that_is_not_as_it_should_be_stops_the_next_restart(servers: tuple[ServerRow, ...], text: str) -> None:
    found = cluster_state(servers, expected=3)

    assert found.readiness is Readiness.WAIT
    assert text in found.reasons


def test_a_cluster_that_lists_no_server_is_not_settled() -> None:
    assert cluster_state(()).reasons == ("SHOW SERVERS lists no server",)


@pytest.mark.parametrize(
    ("copies", "expected"),
    [
        (with_copy(current="starting"), "orders on demo-server-0:7687 is starting, and online is requested"),
        (
            with_copy(current="store copying", message="from s1"),
            "orders on demo-server-0:7687 is store copying (from s1), and online is requested",
        ),
        (with_copy(current="dirty", address=None), "orders on demo-server-0:7687 is dirty, and online is requested"),
        (
            with_copy(current="dirty", address=None, server_id=None),
            "orders on a server without an address is dirty, and online is requested",
        ),
        (with_copy(writer=False), "no server accepts writes to orders: no leader is elected"),
        (of_orders(writer=True), "several servers say that they accept writes to orders: the leader is changing"),
    ],
)
def test_a_database_that_is_not_as_requested_stops_the_next_restart(copies: tuple[CopyRow, ...], expected: str) -> None:
    found = cluster_state(copies=copies)

    assert found.readiness is Readiness.WAIT
    assert expected in found.reasons


def test_databases_with_the_same_status_on_one_server_share_one_reason() -> None:
    copies = tuple(replace(copy, current="starting") if copy.server_id == "id-2" else copy for copy in COPIES)

    assert cluster_state(copies=copies).reasons == (
        "orders, system on demo-server-2:7687 are starting, and online is requested",
    )


def test_the_databases_of_an_unavailable_server_are_not_further_reasons() -> None:
    copies = tuple(
        replace(copy, current="unknown", address=None) if copy.server_id == "id-2" else copy for copy in COPIES
    )

    found = cluster_state(with_server(health="Unavailable", hosting=frozenset()), copies)

    assert found.reasons == ("demo-server-2:7687 is Unavailable, not Available",)


def test_a_database_that_is_stopped_on_purpose_does_not_stop_a_restart() -> None:
    copies = of_orders(current="offline", requested="offline", writer=False)

    assert cluster_state(copies=copies).readiness is Readiness.SETTLED
    assert cluster_state(with_server(hosting=frozenset({"system"})), copies).readiness is Readiness.SETTLED


@pytest.mark.parametrize(
    "changes", [{"writer": None}, {"type": "composite", "writer": False}, {"type": "replica", "writer": False}]
)
def test_a_database_of_a_kind_without_a_writer_does_not_stop_a_restart(changes: dict[str, Any]) -> None:
    assert cluster_state(copies=of_orders(**changes)).readiness is Readiness.SETTLED


def test_the_writer_of_a_sharded_database_is_that_of_its_graph_shard() -> None:
    copies = of_orders(writer=False)
    shard = tuple(replace(copy, name="orders-g000", type="graph shard") for copy in COPIES[:3])

    assert cluster_state(copies=(*copies, *shard)).readiness is Readiness.SETTLED
    assert (
        "no server accepts writes to orders-g000"
        in cluster_state(copies=(*copies, *(replace(copy, writer=False) for copy in shard))).reasons[0]
    )


def test_without_the_right_to_list_servers_the_result_is_unknown_with_the_visible_reasons() -> None:
    found = state_of(StateAnswer(with_copy(current="starting"), not_asked="SHOW SERVERS is not granted"))

    assert found.readiness is Readiness.UNKNOWN
    assert found.unseen == ("SHOW SERVERS is not granted",)
    assert found.reasons == ("orders on demo-server-0:7687 is starting, and online is requested",)


def test_if_the_role_does_not_see_a_hosted_database_the_result_is_unknown() -> None:
    found = cluster_state(copies=COPIES[3:])

    assert found.readiness is Readiness.UNKNOWN
    assert found.unseen[0].startswith("SHOW DATABASES does not list orders although servers host them")


def test_a_database_whose_servers_are_all_unavailable_does_not_count_as_hidden_by_the_role() -> None:
    servers = tuple(replace(server, health="Unavailable") for server in SERVERS)

    assert cluster_state(servers, COPIES[3:]).readiness is Readiness.WAIT


def test_the_first_reasons_are_listed_and_the_others_counted() -> None:
    servers = tuple(replace(SERVERS[0], name=f"s{n}", address=f"s{n}", state="Free") for n in range(MOST_REASONS + 7))

    found = cluster_state(servers)

    assert (len(found.reasons), found.more_reasons) == (MOST_REASONS, 7)


SERVER_ANSWER = {
    "serverId": "id-0", "name": "s0", "address": "demo-server-0:7687", "state": "Enabled", "health": "Available",
    "hosting": ["system", "orders"], "requestedHosting": ["orders", "system"], "version": "2026.09.0",
}  # fmt: skip
COPY_ANSWER = {
    "serverID": "id-0", "name": "orders", "type": "standard", "address": "demo-server-0:7687", "writer": True,
    "currentStatus": "online", "requestedStatus": "online", "statusMessage": "",
}  # fmt: skip


def test_the_rows_of_the_two_statements_are_read() -> None:
    assert server_row(SERVER_ANSWER) == SERVERS[0]
    assert copy_row(COPY_ANSWER) == COPIES[0]


def test_values_of_other_types_count_as_unknown() -> None:
    assert server_row(dict.fromkeys(SERVER_ANSWER, 7)) == ServerRow(
        "?", None, "unknown", "unknown", frozenset(), frozenset()
    )
    assert server_row({**SERVER_ANSWER, "hosting": ["orders", None, 7]}).hosting == {"orders"}
    assert copy_row(dict.fromkeys(COPY_ANSWER, 7)) == CopyRow("?", None, "unknown", "unknown", type="unknown")


def test_long_and_unprintable_texts_are_shortened_and_escaped() -> None:
    found = copy_row({**COPY_ANSWER, "name": "x\x1b[2K", "statusMessage": "y" * 10_000})

    assert found.name == "x\\x1b[2K"
    assert len(found.message) == LONGEST_TEXT

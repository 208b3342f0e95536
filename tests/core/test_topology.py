"""Which server serves a backup, and under which address."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_agent.core.topology import (
    ADVERTISED_BACKUP,
    ADVERTISED_DEFAULT,
    Addressing,
    Copy,
    Source,
    Topology,
    addresses,
    advertised,
    from_template,
    join,
    sources,
    split,
    with_port,
)

NOW = datetime(2026, 11, 23, 2, tzinfo=UTC)


def copy(number: int, database: str = "orders", **fields: Any) -> Copy:
    row: dict[str, Any] = {
        "type": "standard",
        "role": "primary",
        "writer": False,
        "address": f"server-{number}:7687",
        "server_id": f"id-{number}",
        "status": "online",
        "replication_lag": 0,
        "last_committed_txn": 12,
    }
    return Copy(database=database, **(row | fields))


def topology(*copies: Copy, **fields: Any) -> Topology:
    return Topology(seen=NOW, copies=copies, **fields)


def order(*copies: Copy, reachable: dict[str, str | None] | None = None, **settings: Any) -> list[str]:
    found = sources(topology(*copies), "orders", Addressing(**settings), reachable)
    return [source.address.removesuffix(":6362") for source in found]


WRITER = copy(0, writer=True)
FOLLOWER = copy(1)
SECONDARY = copy(2, role="secondary")
NULLS = Copy(database="orders", address="server-9:7687")


@pytest.mark.parametrize(
    ("copies", "expected"),
    [
        pytest.param(
            [WRITER, FOLLOWER, SECONDARY], ["server-2", "server-1", "server-0"], id="secondary-follower-writer"
        ),
        pytest.param(
            [copy(1, role="secondary", replication_lag=-5), SECONDARY, copy(3, role="secondary", replication_lag=None)],
            ["server-2", "server-1", "server-3"],
            id="secondaries-by-lag-unknown-last",
        ),
        pytest.param([copy(1, replication_lag=-3), copy(2)], ["server-2", "server-1"], id="followers-by-lag"),
        pytest.param(
            [copy(1, last_committed_txn=None), copy(2, last_committed_txn=9), copy(3, last_committed_txn=10)],
            ["server-3", "server-2", "server-1"],
            id="same-lag-by-last-transaction-null-last",
        ),
        pytest.param([copy(2), copy(1)], ["server-1", "server-2"], id="all-else-equal-by-address"),
        pytest.param([WRITER], ["server-0"], id="a-lone-writer-serves"),
        pytest.param(
            [copy(0, writer=True, role="secondary"), copy(1)], ["server-1", "server-0"], id="writer-wins-over-role"
        ),
        pytest.param(
            [WRITER, copy(1, writer=None), FOLLOWER.model_copy(update={"address": "server-5:7687"})],
            ["server-5", "server-1", "server-0"],
            id="null-writer-between",
        ),
        pytest.param([copy(1, role=None), WRITER], ["server-1", "server-0"], id="null-role-before-the-writer"),
        pytest.param([copy(1, role="property shard replica"), copy(2)], ["server-1", "server-2"], id="shard-replica"),
        pytest.param([NULLS, WRITER], ["server-0", "server-9"], id="a-null-status-goes-last"),
        pytest.param(
            [copy(1, address=None), FOLLOWER.model_copy(update={"address": "server-7:7687"})],
            ["server-7"],
            id="a-copy-without-address-and-without-map-is-nowhere",
        ),
        pytest.param(
            [WRITER, copy(1, status="quarantined"), copy(2, status="offline"), copy(3, status="starting")],
            ["server-0"],
            id="only-online-copies",
        ),
        pytest.param(
            [copy(1, status="offline"), copy(2, status="offline", role="unknown")],
            ["server-1", "server-2"],
            id="where-none-is-online-any-copy",
        ),
        pytest.param(
            [copy(1, "hr"), copy(2, "hr", writer=True)],
            ["server-1", "server-2"],
            id="a-database-not-listed-may-be-anywhere",
        ),
    ],
)
def test_servers_are_ordered(copies: list[Copy], expected: list[str]) -> None:
    assert order(*copies) == expected
    assert order(*reversed(copies)) == expected


def test_a_copy_of_another_database_is_no_source() -> None:
    assert order(WRITER, copy(5, "hr", role="secondary")) == ["server-0"]


def test_reachability_orders_and_drops_nobody() -> None:
    found = sources(
        topology(WRITER, FOLLOWER, SECONDARY),
        "orders",
        Addressing(),
        {"server-2:6362": "refused", "server-1:6362": None},
    )

    assert [(source.address, source.role, source.unreachable) for source in found] == [
        ("server-1:6362", "follower", None),
        ("server-0:6362", "writer", None),
        ("server-2:6362", "secondary", "refused"),
    ]


def test_where_nobody_answers_all_are_tried_in_the_order_of_preference() -> None:
    silent: dict[str, str | None] = {f"server-{number}:6362": "silent" for number in range(3)}

    assert order(WRITER, FOLLOWER, SECONDARY, reachable=silent) == ["server-2", "server-1", "server-0"]


def test_the_static_list_comes_last_and_a_server_only_once() -> None:
    found = sources(topology(WRITER, FOLLOWER), "orders", Addressing(servers=("spare", "server-0")))

    assert [(source.address, source.role) for source in found] == [
        ("server-1:6362", "follower"),
        ("server-0:6362", "writer"),
        ("spare:6362", "unknown"),
    ]


def test_a_static_server_that_answers_goes_before_one_that_does_not() -> None:
    assert order(WRITER, reachable={"server-0:6362": "silent"}, servers=("spare",)) == ["spare", "server-0"]


def test_without_any_topology_the_static_list_serves() -> None:
    found = sources(None, "orders", Addressing(servers=("a:1", "b")))

    assert found == (Source(address="a:1", role="unknown"), Source(address="b:6362", role="unknown"))


def test_of_two_copies_behind_one_address_the_better_one_stands() -> None:
    found = sources(topology(WRITER, SECONDARY), "orders", Addressing(backup_addresses="balancer:6362"))

    assert [(source.address, source.role) for source in found] == [("balancer:6362", "secondary")]


@pytest.mark.parametrize(
    ("settings", "told", "expected"),
    [
        pytest.param({}, {}, "server-1:6362", id="bolt-host-and-default-port"),
        pytest.param({"backup_port": 7000}, {}, "server-1:7000", id="bolt-host-and-own-port"),
        pytest.param({}, {"server-1:7687": "internal-1:6400"}, "internal-1:6400", id="told-by-the-server"),
        pytest.param(
            {"backup_addresses": {"id-1": "by-id:1"}}, {"server-1:7687": "x:1"}, "by-id:1", id="map-wins-by-id"
        ),
        pytest.param({"backup_addresses": {"server-1": "by-host"}}, {}, "by-host:6362", id="map-by-host-port-optional"),
        pytest.param({"backup_addresses": {"server-1:7687": "by-address:2"}}, {}, "by-address:2", id="map-by-address"),
        pytest.param({"backup_addresses": {"server-9": "x:1"}}, {}, "server-1:6362", id="map-without-this-server"),
        pytest.param(
            {"backup_addresses": "{host}.demo-headless:6363"}, {}, "server-1.demo-headless:6363", id="template"
        ),
        pytest.param({"backup_addresses": "{server_id}"}, {"server-1:7687": "x:1"}, "id-1:6362", id="template-by-id"),
    ],
)
def test_the_backup_address_is_found_in_this_order(
    settings: dict[str, Any], told: dict[str, str], expected: str
) -> None:
    found = sources(topology(copy(1), backup_addresses=told), "orders", Addressing(**settings))

    assert found[0].address == expected


def test_a_map_finds_a_server_whose_bolt_address_is_null() -> None:
    [source] = sources(topology(copy(1, address=None)), "orders", Addressing(backup_addresses="{server_id}.internal"))

    assert source.address == "id-1.internal:6362"


def test_a_copy_of_which_nothing_is_known_is_nowhere() -> None:
    assert sources(topology(Copy(database="orders")), "orders", Addressing(backup_addresses={"a": "b"})) == (
        Source(address="b:6362", role="unknown"),
    )


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{host}:6362", "demo-server-0.example.com:6362"),
        ("{name}.demo-headless:6362", "demo-server-0.demo-headless:6362"),
        ("{server_id}", None),
        ("{host.__class__}", "{host.__class__}"),
    ],
)
def test_a_template_is_filled_with_what_is_known(template: str, expected: str | None) -> None:
    assert from_template(template, Copy(database="orders", address="demo-server-0.example.com:7687")) == expected


@pytest.mark.parametrize(
    ("own", "default", "bolt", "expected"),
    [
        pytest.param("server-1.internal:6400", None, "server-1:7687", "server-1.internal:6400", id="own"),
        pytest.param(":0", "server-1.internal", "server-1:7687", "server-1.internal:6362", id="2025.05-default"),
        pytest.param(":6400", "server-1.internal:0", "server-1:7687", "server-1.internal:6400", id="own-port-only"),
        pytest.param(None, "server-1.internal", "server-1:7687", "server-1.internal:6362", id="5.26"),
        pytest.param(":0", "localhost", "server-1:7687", None, id="localhost-is-the-default-and-says-nothing"),
        pytest.param("localhost:6362", None, "server-1:7687", None, id="localhost-elsewhere"),
        pytest.param(":0", "localhost", "localhost:7687", "localhost:6362", id="localhost-on-a-laptop"),
        pytest.param("[::1]:6400", None, "[::1]:7687", "[::1]:6400", id="ipv6"),
        pytest.param(None, None, "server-1:7687", None, id="nothing-granted"),
    ],
)
def test_what_a_server_advertises_is_read(
    own: str | None, default: str | None, bolt: str, expected: str | None
) -> None:
    settings = {name: value for name, value in ((ADVERTISED_BACKUP, own), (ADVERTISED_DEFAULT, default)) if value}

    assert advertised(settings, bolt, 6362) == expected


def test_every_address_a_backup_could_need_is_probed_once() -> None:
    found = addresses(
        topology(WRITER, copy(0, "hr"), copy(1, status="offline"), copy(2, address=None)),
        Addressing(servers=("spare",)),
    )

    assert found == ("server-0:6362", "server-1:6362", "spare:6362")
    assert addresses(None, Addressing(servers=("spare",), backup_addresses={"a": "b:1"})) == ("spare:6362", "b:1")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("server-0:7687", ("server-0", 7687)),
        ("server-0", ("server-0", None)),
        (":0", ("", 0)),
        ("[::1]:6362", ("::1", 6362)),
        ("[::1]", ("::1", None)),
        ("fe80::1", ("fe80::1", None)),
        ("server-0:http", ("server-0", None)),
        ("", ("", None)),
    ],
)
def test_an_address_is_split(address: str, expected: tuple[str, int | None]) -> None:
    assert split(address) == expected


@given(
    host=st.from_regex(r"[a-z0-9.-]{1,30}|[0-9a-f]{1,4}(:[0-9a-f]{1,4}){2,7}", fullmatch=True),
    port=st.integers(1, 65535),
)
def test_what_is_joined_splits_into_the_same(host: str, port: int) -> None:
    assert split(join(host, port)) == (host, port)
    assert with_port(join(host, port), 1) == join(host, port)


def test_what_vanished_is_kept_until_it_returns_or_is_forgotten() -> None:
    first = topology(copy(0), copy(0, "hr"), Copy(database="fabric", type="composite"))
    second = topology(copy(0)).following(first)
    third = topology(copy(0)).following(second)

    assert (first.following(None).missing, second.missing, third.missing) == ((), ("hr",), ("hr",))
    assert topology(copy(0), copy(0, "hr")).following(third).missing == ()
    assert third.forgetting("hr").missing == ()


def test_a_topology_survives_its_file() -> None:
    before = topology(copy(0), NULLS, aliases={"shop": "orders", "far": None}, versions=("5.26.31",))

    assert Topology.model_validate_json(before.model_dump_json()) == before


COPIES = st.builds(
    Copy,
    database=st.sampled_from(["orders", "hr"]),
    role=st.sampled_from([None, "primary", "secondary", "unknown"]),
    writer=st.sampled_from([None, True, False]),
    address=st.sampled_from([None, "a:7687", "b:7687", "c:7687", "d:7687"]),
    server_id=st.sampled_from([None, "1", "2"]),
    status=st.sampled_from([None, "online", "offline", "quarantined"]),
    last_committed_txn=st.none() | st.integers(0, 9),
    replication_lag=st.none() | st.integers(-9, 0),
)


@given(copies=st.lists(COPIES, max_size=8), down=st.sets(st.sampled_from(["a:6362", "b:6362", "spare:6362"])))
def test_reachability_never_changes_who_is_asked(copies: list[Copy], down: set[str]) -> None:
    addressing = Addressing(servers=("spare",))
    free = sources(topology(*copies), "orders", addressing)
    ordered = sources(topology(*copies), "orders", addressing, dict.fromkeys(down, "silent"))

    assert {source.address for source in ordered} == {source.address for source in free}
    assert [source.address in down for source in ordered] == sorted(source.address in down for source in ordered)
    assert len({source.address for source in free}) == len(free)

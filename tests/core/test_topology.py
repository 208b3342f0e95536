"""The server that serves a backup, and its backup address."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup_agent.core.artifacts.names import DATABASE, DatabaseName
from backup_agent.core.artifacts.records import Definition
from backup_agent.core.escaping import quoted
from backup_agent.core.neo4j.kinds import ExcludedKind
from backup_agent.core.neo4j.topology import (
    ADVERTISED_BACKUP,
    ADVERTISED_DEFAULT,
    BACKUP_ENABLED,
    BACKUP_LISTEN,
    MOST_ALIASES,
    MOST_COPIES,
    MOST_SERVERS,
    REFUSED_DATABASES,
    Addressing,
    BackupSource,
    Copy,
    Refusals,
    Topology,
    addresses,
    advertised,
    aliases,
    from_template,
    join,
    kernel_versions,
    listed,
    listener_fault,
    sources,
    split,
    with_port,
)
from backup_agent.core.reasons import PermanentError
from tests.builders import ORDERS, TAKEN, a_copy, a_topology
from tests.core.hostile import TEXTS
from tests.examples import examples


def order_of_sources(*copies: Copy, reachable: dict[str, str | None] | None = None, **settings: Any) -> list[str]:
    found = sources(a_topology(*copies), ORDERS, Addressing(**settings), reachable)
    return [source.address.removesuffix(":6362") for source in found]


WRITER = a_copy(0, writer=True)
FOLLOWER = a_copy(1)
SECONDARY = a_copy(2, role="secondary")
NULLS = Copy(database=ORDERS, address="server-9:7687")


@pytest.mark.parametrize(
    ("copies", "expected"),
    [
        pytest.param(
            [WRITER, FOLLOWER, SECONDARY], ["server-2", "server-1", "server-0"], id="secondary-follower-writer"
        ),
        pytest.param(
            [
                a_copy(1, role="secondary", replication_lag=-5),
                SECONDARY,
                a_copy(3, role="secondary", replication_lag=None),
            ],
            ["server-2", "server-1", "server-3"],
            id="secondaries-by-lag-unknown-last",
        ),
        pytest.param([a_copy(1, replication_lag=-3), a_copy(2)], ["server-2", "server-1"], id="followers-by-lag"),
        pytest.param(
            [a_copy(1, last_committed_txn=None), a_copy(2, last_committed_txn=9), a_copy(3, last_committed_txn=10)],
            ["server-3", "server-2", "server-1"],
            id="same-lag-by-last-transaction-null-last",
        ),
        pytest.param([a_copy(2), a_copy(1)], ["server-1", "server-2"], id="all-else-equal-by-address"),
        pytest.param([WRITER], ["server-0"], id="a-lone-writer-serves"),
        pytest.param(
            [a_copy(0, writer=True, role="secondary"), a_copy(1)], ["server-1", "server-0"], id="writer-wins-over-role"
        ),
        pytest.param(
            [WRITER, a_copy(1, writer=None), replace(FOLLOWER, address="server-5:7687")],
            ["server-5", "server-1", "server-0"],
            id="null-writer-between",
        ),
        pytest.param([a_copy(1, role=None), WRITER], ["server-1", "server-0"], id="null-role-before-the-writer"),
        pytest.param(
            [a_copy(1, role="property shard replica"), a_copy(2)], ["server-1", "server-2"], id="shard-replica"
        ),
        pytest.param([NULLS, WRITER], ["server-0", "server-9"], id="a-null-status-goes-last"),
        pytest.param(
            [a_copy(1, address=None), replace(FOLLOWER, address="server-7:7687")],
            ["server-7"],
            id="a-copy-without-address-and-without-map-is-nowhere",
        ),
        pytest.param(
            [WRITER, a_copy(1, status="quarantined"), a_copy(2, status="offline"), a_copy(3, status="starting")],
            ["server-0"],
            id="only-online-copies",
        ),
        pytest.param(
            [a_copy(1, status="offline"), a_copy(2, status="offline", role="unknown")],
            ["server-1", "server-2"],
            id="any-copy-if-no-copy-is-online",
        ),
        pytest.param(
            [a_copy(1, "hr"), a_copy(2, "hr", writer=True)],
            ["server-1", "server-2"],
            id="a-database-not-listed-may-be-anywhere",
        ),
    ],
)
def test_servers_are_ordered(copies: list[Copy], expected: list[str]) -> None:
    assert order_of_sources(*copies) == expected
    assert order_of_sources(*reversed(copies)) == expected


def test_a_copy_of_another_database_is_no_source() -> None:
    assert order_of_sources(WRITER, a_copy(5, "hr", role="secondary")) == ["server-0"]


def test_unreachable_servers_come_last_and_are_not_dropped() -> None:
    found = sources(
        a_topology(WRITER, FOLLOWER, SECONDARY),
        ORDERS,
        Addressing(),
        {"server-2:6362": "refused", "server-1:6362": None},
    )

    assert [(source.address, source.role, source.unreachable) for source in found] == [
        ("server-1:6362", "follower", None),
        ("server-0:6362", "writer", None),
        ("server-2:6362", "secondary", "refused"),
    ]


def test_if_no_server_is_reachable_the_order_of_preference_stays() -> None:
    silent: dict[str, str | None] = {f"server-{number}:6362": "silent" for number in range(3)}

    assert order_of_sources(WRITER, FOLLOWER, SECONDARY, reachable=silent) == ["server-2", "server-1", "server-0"]


def test_the_static_list_comes_last_and_a_server_only_once() -> None:
    found = sources(a_topology(WRITER, FOLLOWER), ORDERS, Addressing(servers=("spare", "server-0")))

    assert [(source.address, source.role) for source in found] == [
        ("server-1:6362", "follower"),
        ("server-0:6362", "writer"),
        ("spare:6362", "unknown"),
    ]


def test_a_reachable_static_server_comes_first() -> None:
    assert order_of_sources(WRITER, reachable={"server-0:6362": "silent"}, servers=("spare",)) == ["spare", "server-0"]


def test_without_a_topology_the_static_list_is_used() -> None:
    found = sources(None, ORDERS, Addressing(servers=("a:1", "b")))

    assert found == (BackupSource(address="a:1", role="unknown"), BackupSource(address="b:6362", role="unknown"))


def test_if_two_copies_share_an_address_the_preferred_one_counts() -> None:
    found = sources(a_topology(WRITER, SECONDARY), ORDERS, Addressing(backup_addresses="balancer:6362"))

    assert [(source.address, source.role) for source in found] == [("balancer:6362", "secondary")]


@pytest.mark.parametrize(
    ("settings", "advertised", "expected"),
    [
        pytest.param({}, {}, "server-1:6362", id="bolt-host-and-default-port"),
        pytest.param({"backup_port": 7000}, {}, "server-1:7000", id="bolt-host-and-own-port"),
        pytest.param({}, {"server-1:7687": "internal-1:6400"}, "internal-1:6400", id="advertised-by-the-server"),
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
def test_the_backup_address_is_chosen_in_this_order(
    settings: dict[str, Any], advertised: dict[str, str], expected: str
) -> None:
    found = sources(a_topology(a_copy(1), backup_addresses=advertised), ORDERS, Addressing(**settings))

    assert found[0].address == expected


def test_a_map_finds_a_server_whose_bolt_address_is_null() -> None:
    [source] = sources(a_topology(a_copy(1, address=None)), ORDERS, Addressing(backup_addresses="{server_id}.internal"))

    assert source.address == "id-1.internal:6362"


def test_a_copy_without_an_address_has_no_backup_address() -> None:
    assert sources(a_topology(Copy(database=ORDERS)), ORDERS, Addressing(backup_addresses={"a": "b"})) == (
        BackupSource(address="b:6362", role="unknown"),
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
def test_a_template_is_filled_with_known_values(template: str, expected: str | None) -> None:
    assert from_template(template, Copy(database=ORDERS, address="demo-server-0.example.com:7687")) == expected


@pytest.mark.parametrize(
    ("own", "default", "bolt", "expected"),
    [
        pytest.param("server-1.internal:6400", None, "server-1:7687", "server-1.internal:6400", id="own"),
        pytest.param(":0", "server-1.internal", "server-1:7687", "server-1.internal:6362", id="2025.05-default"),
        pytest.param(":6400", "server-1.internal:0", "server-1:7687", "server-1.internal:6400", id="own-port-only"),
        pytest.param(None, "server-1.internal", "server-1:7687", "server-1.internal:6362", id="5.26"),
        pytest.param(":0", "localhost", "server-1:7687", None, id="localhost-as-the-default-is-ignored"),
        pytest.param("localhost:6362", None, "server-1:7687", None, id="localhost-elsewhere"),
        pytest.param(":0", "localhost", "localhost:7687", "localhost:6362", id="localhost-on-a-laptop"),
        pytest.param("[::1]:6400", None, "[::1]:7687", "[::1]:6400", id="ipv6"),
        pytest.param(None, None, "server-1:7687", None, id="nothing-granted"),
    ],
)
def test_an_advertised_address_is_used_if_other_machines_can_use_it(
    own: str | None, default: str | None, bolt: str, expected: str | None
) -> None:
    settings = {name: value for name, value in ((ADVERTISED_BACKUP, own), (ADVERTISED_DEFAULT, default)) if value}

    assert advertised(settings, bolt, 6362) == expected


@pytest.mark.parametrize(
    ("settings", "bolt", "fault"),
    [
        ({BACKUP_ENABLED: "true", BACKUP_LISTEN: "0.0.0.0:6362"}, "server-0:7687", None),
        ({BACKUP_ENABLED: "true", BACKUP_LISTEN: "[::]:6362"}, "server-0:7687", None),
        ({BACKUP_LISTEN: "10.0.0.7:6362"}, "server-0:7687", None),
        ({}, "server-0:7687", None),
        ({BACKUP_ENABLED: "false", BACKUP_LISTEN: "0.0.0.0:6362"}, "server-0:7687", "server.backup.enabled is false"),
        ({BACKUP_LISTEN: "127.0.0.1:6362"}, "server-0:7687", "server.backup.listen_address is '127.0.0.1:6362'"),
        ({BACKUP_LISTEN: "[::1]:6362"}, "server-0:7687", "server.backup.listen_address is '[::1]:6362'"),
        ({BACKUP_LISTEN: "localhost:6362"}, "localhost:7687", None),
    ],
)
def test_a_listener_on_its_own_machine_alone_is_a_fault_for_others(
    settings: dict[str, str | None], bolt: str, fault: str | None
) -> None:
    assert listener_fault(settings, bolt) == fault


def test_every_possible_backup_address_is_probed_once() -> None:
    found = addresses(
        a_topology(WRITER, a_copy(0, "hr"), a_copy(1, status="offline"), a_copy(2, address=None)),
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
def test_a_joined_address_splits_into_the_same_parts(host: str, port: int) -> None:
    assert split(join(host, port)) == (host, port)
    assert with_port(join(host, port), 1) == join(host, port)


def test_a_database_is_missing_until_it_returns_or_is_forgotten() -> None:
    first = a_topology(a_copy(0), a_copy(0, "hr"), Copy(database=DatabaseName("fabric"), type="composite"))
    second = a_topology(a_copy(0)).following(first)
    third = a_topology(a_copy(0)).following(second)

    assert (first.following(None).missing, second.missing, third.missing) == ((), ("hr",), ("hr",))
    assert a_topology(a_copy(0), a_copy(0, "hr")).following(third).missing == ()
    assert third.forgetting(DatabaseName("hr")).missing == ()


def test_excluded_databases_are_recognised_by_type_and_by_definition() -> None:
    copies = (
        Copy(database=DatabaseName("fabric"), type="composite"),
        Copy(database=DatabaseName("mirror"), type="replica"),
        Copy(database=DatabaseName("web"), type="standard"),
        Copy(database=DatabaseName("web-g000"), type="graph shard"),
        Copy(database=DatabaseName("web-p000"), type="property shard", role="property shard replica"),
        Copy(database=DatabaseName("orders-p000"), type="standard"),
        Copy(database=DatabaseName("later"), type="of a later version"),
    )
    definitions = {"web": Definition(shards=("web-g000", "web-p000")), "orders-p000": Definition()}

    assert a_topology(*copies, definitions=definitions).excluded() == {
        "fabric": ExcludedKind.COMPOSITE,
        "mirror": ExcludedKind.REPLICA,
        "web": ExcludedKind.SHARDED,
        "web-g000": ExcludedKind.SHARD,
        "web-p000": ExcludedKind.SHARD,
    }


def with_id(identity: str | None, database: str = "orders", hour: int = 0) -> Topology:
    return a_topology(a_copy(0, database, database_id=identity), seen=datetime(2026, 11, 23, hour, tzinfo=UTC))


def test_a_database_with_another_id_was_replaced_until_its_new_history_has_a_full() -> None:
    first = with_id("A")
    gone = with_id("X", "hr", 1).following(first)
    starting = with_id(None, hour=2).following(gone)
    back = with_id("B", hour=3).following(starting)
    later = with_id("B", hour=4).following(back)

    assert (gone.replaced, starting.replaced, starting.former) == ({}, {}, {"orders": "A", "hr": "X"})
    assert (back.replaced, later.replaced) == ({ORDERS: back.seen}, {ORDERS: back.seen})
    assert with_id("A", hour=3).following(starting).replaced == {}
    assert later.with_full(ORDERS, "A") is later, "a backup that was selected before the replacement"
    assert later.with_full(ORDERS, "B").replaced == {}
    assert with_id("B", hour=5).following(later.with_full(ORDERS, "B")).replaced == {}
    assert later.forgetting(DatabaseName("hr")).former == {}


def test_an_excluded_database_that_is_no_longer_listed_is_not_missing() -> None:
    mirror, web = a_copy(0, "mirror", type="replica"), a_copy(0, "web")
    first = a_topology(a_copy(0), mirror, web, definitions={"web": Definition(shards=("web-g000",))})

    assert a_topology(a_copy(0)).following(first).missing == ()


@pytest.mark.parametrize(
    ("copies", "expected"),
    [
        pytest.param([], None, id="not listed"),
        pytest.param([(7, "online")], 7, id="one copy"),
        pytest.param([(7, "online"), (5, "online"), (6, None)], 5, id="what the last of them has"),
        pytest.param([(7, "online"), (2, "offline")], 7, id="a copy that does not serve"),
        pytest.param([(7, "online"), (None, "online")], None, id="a copy without the value"),
        pytest.param([(0, "online")], 0, id="no transaction yet"),
    ],
)
def test_the_last_committed_transaction_is_the_lowest_of_the_online_copies(
    copies: list[tuple[int | None, str | None]], expected: int | None
) -> None:
    listed = tuple(Copy(database=ORDERS, last_committed_txn=last, status=status) for last, status in copies)

    assert a_topology(*listed, a_copy(0, "hr")).last_committed_tx(ORDERS) == expected


def test_a_topology_survives_a_round_trip_through_json() -> None:
    before = a_topology(a_copy(0), NULLS, aliases={"shop": "orders", "far": None}, versions=("5.26.31",))

    assert Topology.model_validate_json(before.to_json()) == before


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
def test_reachability_changes_only_the_order_of_servers(copies: list[Copy], down: set[str]) -> None:
    addressing = Addressing(servers=("spare",))
    free = sources(a_topology(*copies), ORDERS, addressing)
    ordered = sources(a_topology(*copies), ORDERS, addressing, dict.fromkeys(down, "silent"))

    assert {source.address for source in ordered} == {source.address for source in free}
    assert [source.address in down for source in ordered] == sorted(source.address in down for source in ordered)
    assert len({source.address for source in free}) == len(free)


HOSTILE = [
    "../../x",
    "--option",
    "$(id)",
    "x`; drop database neo4j; ",
    "",
    "a/b",
    ".",
    "..",
    "a\n",
    "x" * 129,
    "ö",
    None,
    7,
]


def a_row(name: object, **fields: Any) -> dict[str, Any]:
    return {"database": name, "address": "server-0:7687", "server_id": "id-0", "status": "online", **fields}


@pytest.mark.parametrize("name", HOSTILE, ids=quoted)
def test_an_invalid_name_is_refused_and_reported_once(name: object) -> None:
    found = listed([a_row("orders"), a_row(name), a_row(name)])

    assert [copy.database for copy in found.copies] == ["orders"]
    assert found.refusals.count(REFUSED_DATABASES) == 1
    assert found.refusals.notes() == (f"1 {REFUSED_DATABASES}: {quoted(name)}",)


@pytest.mark.parametrize(
    "name", ["a", "orders", "main-db", "sales-2024.q1", "1st", "orders-g000.p1", "x" * 128, "Orders"]
)
def test_every_valid_name_of_neo4j_is_accepted(name: str) -> None:
    assert [copy.database for copy in listed([a_row(name)]).copies] == [name]


@given(st.lists(TEXTS, max_size=10))
@settings(max_examples=examples(50))
def test_the_note_on_refused_names_is_short_and_printable(names: list[str]) -> None:
    found = listed(map(a_row, names))

    assert all(DATABASE.fullmatch(copy.database) for copy in found.copies)
    assert all(len(note) < 700 and note.isprintable() for note in found.refusals.notes())


def test_of_many_refused_names_a_few_are_shown_and_all_are_counted() -> None:
    [note] = listed([a_row(f"/{number}") for number in range(1000)]).refusals.notes()

    assert note == f"1000 {REFUSED_DATABASES}: '/0', '/1', '/2', '/3', '/4', …"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("address", "$(id):7687"),
        ("address", "server-0:7687 --to-path=/"),
        ("address", "a" * 5000),
        ("server_id", "../x"),
        ("database_id", "x" * 5000),
        ("status", "on\x1b[2Kline"),
        ("role", ["primary"]),
        ("type", "\n"),
        ("writer", "perhaps"),
        ("last_committed_txn", 2**70),
    ],
)
def test_another_invalid_value_counts_as_unknown(field: str, value: object) -> None:
    found = listed([a_row("orders", **{field: value})])

    assert found.copies == (Copy(**a_row("orders", **{field: None})),)
    assert found.refusals.notes() == (f"1 values of {field} invalid, so treated as unknown: {quoted(value)}",)


def rows(count: int) -> Iterator[dict[str, Any]]:
    """Yield `count` rows. Fail if the reader takes more rows than it needs to know that there are too many."""
    yield from (a_row(f"d{number}") for number in range(count + 1))
    raise AssertionError("more was read than is taken")


def test_too_many_rows_servers_or_aliases_are_an_error() -> None:
    with pytest.raises(PermanentError, match=f"more than {MOST_COPIES} copies of databases"):
        listed(rows(MOST_COPIES))
    with pytest.raises(PermanentError, match=f"more than {MOST_SERVERS} servers"):
        listed(a_row("orders", address=f"s{number}:7687") for number in range(MOST_SERVERS + 1))
    with pytest.raises(PermanentError, match=f"more than {MOST_ALIASES} aliases"):
        aliases((f"a{number}", "orders") for number in range(MOST_ALIASES + 1))


def test_the_largest_allowed_numbers_are_accepted() -> None:
    assert len(listed(a_row(f"d{number}") for number in range(MOST_COPIES)).copies) == MOST_COPIES
    assert len(aliases((f"a{number}", "orders") for number in range(MOST_ALIASES))) == MOST_ALIASES


def test_an_alias_with_an_invalid_name_is_ignored() -> None:
    assert aliases([("shop", "orders"), ("../x", "orders"), ("far", None), ("odd", "$(id)"), (7, "orders")]) == {
        "shop": "orders",
        "far": None,
        "odd": None,
    }


def test_invalid_versions_are_refused_and_their_number_is_limited() -> None:
    refusals = Refusals()
    versions = [
        "2026.09.0",
        "5.26.31",
        "5.26.31",
        "5.26.31-drop17.0",
        "\x1b[2K",
        None,
        *(f"9.{number}" for number in range(200)),
    ]

    assert kernel_versions(versions[:6], refusals) == ("2026.09.0", "5.26.31", "5.26.31-drop17.0")
    assert refusals.notes() == ("2 versions refused: '\\x1b[2K', None",)
    assert len(kernel_versions(versions, Refusals())) == 100


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("aliases", {"$(id)": "orders"}),
        ("backup_addresses", {"a:1": "$(id)"}),
        ("missing", ["../../x"]),
        ("versions", ["\n"]),
        ("copies", [{"database": "../../x"}]),
    ],
)
def test_a_stored_topology_with_invalid_values_is_refused(what: str, value: object) -> None:
    with pytest.raises(ValueError, match=what):
        Topology.model_validate({"seen": TAKEN, "copies": (), what: value})


def test_an_invalid_advertised_address_is_ignored() -> None:
    assert advertised({ADVERTISED_BACKUP: "$(id):6362"}, "server-0:7687", 6362) is None

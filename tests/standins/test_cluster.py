import json
from collections.abc import Callable
from pathlib import Path

import pytest

from backup_agent.standins.cluster import (
    FILE,
    SYSTEM_INTERNAL_ID,
    BoltFault,
    Cluster,
    Copy,
    User,
    five_servers,
    load,
    new_database,
    one_server,
    save,
    three_servers,
)


def leader(cluster: Cluster, database: str) -> str | None:
    return next((copy.server for copy in cluster.database(database).copies if copy.writer), None)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    cluster = (
        five_servers()
        .with_database_added(new_database("library", [Copy("server-0")], type="composite", constituents=("library.a",)))
        .with_alias("shop", "orders")
        .with_faults({"command": "backup", "do": "hang"})
        .with_bolt_faults(BoltFault("dead_routes", addresses=("127.0.0.1:1",)), BoltFault("hang", times=2))
        .with_users(User("reader", "secret", databases=("orders*",), show_settings=()))
        .with_settings("server-1", {"server.backup.enabled": "false"})
    )

    save(cluster, tmp_path)

    assert load(tmp_path) == cluster


def test_the_file_has_the_form_both_stand_ins_agreed_on(tmp_path: Path) -> None:
    save(three_servers(databases=["orders"]), tmp_path)

    data = json.loads((tmp_path / FILE).read_text())

    assert set(data) == {"version", "servers", "databases", "aliases", "faults", "bolt"}
    assert set(data["servers"][0]) == {"id", "name", "bolt", "backup", "up", "version"}
    assert set(data["databases"][0]) == {
        "name",
        "type",
        "internal_id",
        "database_id",
        "constituents",
        "last_transaction",
        "pruned_below",
        "store_bytes",
        "copies",
    }
    assert set(data["databases"][0]["copies"][0]) == {"server", "role", "writer", "status", "lag"}


def test_a_file_with_the_bare_minimum_is_enough(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"version": "5.26.0", "servers": [], "databases": []}')

    assert load(tmp_path) == Cluster("5.26.0", (), ())


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"version": "5.26.0"}', '{"version": "1", "servers": [{"x": 1}], "databases": []}']
)
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)

    with pytest.raises(ValueError, match=r"cluster\.json: not a simulated cluster"):
        load(tmp_path)


def test_saving_leaves_one_file(tmp_path: Path) -> None:
    save(three_servers(), tmp_path)
    save(three_servers("5.26.31"), tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_ids_are_made_from_names_and_unlike_each_other() -> None:
    first, again = three_servers(), five_servers()

    assert first.database("orders").database_id == again.database("orders").database_id
    assert len({database.database_id for database in first.databases}) == 3
    assert len({database.internal_id for database in first.databases}) == 3
    assert first.database("system").internal_id == SYSTEM_INTERNAL_ID


def test_a_database_id_is_64_upper_hex_digits() -> None:
    identity = three_servers().database("orders").database_id

    assert len(identity) == 64
    assert set(identity) <= set("0123456789ABCDEF")


@pytest.mark.parametrize("build", [one_server, three_servers, five_servers])
def test_every_database_has_one_leader_and_all_of_them_are_primaries(build: Callable[[], Cluster]) -> None:
    for database in build().databases:
        assert [copy.role for copy in database.copies if copy.writer] == ["primary"]


def test_a_moved_leader_is_the_only_one() -> None:
    moved = three_servers().with_leader("orders", "server-0")

    assert [copy.server for copy in moved.database("orders").copies if copy.writer] == ["server-0"]


def test_a_stopped_leader_is_followed_by_another_primary() -> None:
    cluster = five_servers().with_leader("orders", "server-0").with_server_down("server-0")

    assert leader(cluster, "orders") == "server-1"


def test_without_a_majority_of_primaries_nobody_leads() -> None:
    cluster = three_servers().with_server_down("server-0").with_server_down("server-1")

    assert {leader(cluster, database.name) for database in cluster.databases} == {None}


def test_the_majority_is_back_with_the_server_that_was_missing() -> None:
    cluster = three_servers().with_server_down("server-0").with_server_down("server-1").with_server_up("server-1")

    assert leader(cluster, "orders") in {"server-1", "server-2"}


def test_a_server_that_comes_back_follows() -> None:
    cluster = three_servers().with_leader("orders", "server-0").with_server_down("server-0").with_server_up("server-0")

    assert leader(cluster, "orders") == "server-1"


def test_a_composite_database_gets_no_leader() -> None:
    composite = new_database("library", [Copy(f"server-{number}") for number in range(3)], type="composite")
    cluster = three_servers().with_database_added(composite).with_server_down("server-0")

    assert leader(cluster, "library") is None


def test_a_recreated_database_has_its_name_and_nothing_else() -> None:
    before = three_servers().with_transactions("orders", 30)
    after = before.with_database_recreated("orders")

    assert after.database("orders").database_id != before.database("orders").database_id
    assert after.database("orders").internal_id != before.database("orders").internal_id
    assert after.database("orders").last_transaction == 1


def test_transactions_advance() -> None:
    assert three_servers().with_transactions("orders", 5).database("orders").last_transaction == 17


def test_a_dropped_database_takes_its_aliases_along() -> None:
    cluster = three_servers().with_alias("shop", "orders").with_alias("main", "neo4j").with_database_dropped("orders")

    assert [alias.name for alias in cluster.aliases] == ["main"]
    assert [database.name for database in cluster.databases] == ["system", "neo4j"]


def test_a_database_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(KeyError, match="nope: not one of system, neo4j, orders"):
        three_servers().with_transactions("nope", 1)


def test_a_server_without_a_copy_cannot_lead() -> None:
    cluster = three_servers().with_database_added(new_database("small", [Copy("server-0", writer=True)]))

    with pytest.raises(KeyError, match="server-1 holds no copy of small"):
        cluster.with_leader("small", "server-1")


def test_a_server_may_run_another_version() -> None:
    cluster = three_servers("2026.09.0").with_server("server-1", version="2026.08.1")

    assert [cluster.version_of(server.name) for server in cluster.servers] == ["2026.09.0", "2026.08.1", "2026.09.0"]

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


def test_a_saved_cluster_can_be_loaded(tmp_path: Path) -> None:
    cluster = (
        five_servers()
        .with_database_added(new_database("library", [Copy("server-0")], type="composite", constituents=("library.a",)))
        .with_sharded_database("web")
        .with_alias("shop", "orders")
        .with_faults({"command": "backup", "do": "hang"})
        .with_bolt_faults(BoltFault("dead_routes", addresses=("127.0.0.1:1",)), BoltFault("hang", times=2))
        .with_users(User("reader", "secret", databases=("orders*",), show_settings=()))
        .with_settings("server-1", {"server.backup.enabled": "false"})
    )

    save(cluster, tmp_path)

    assert load(tmp_path) == cluster


def test_the_file_has_the_fields_that_both_stand_ins_read(tmp_path: Path) -> None:
    save(three_servers(databases=["orders"]), tmp_path)

    data = json.loads((tmp_path / FILE).read_text())

    assert set(data) == {"version", "servers", "databases", "aliases", "faults", "bolt"}
    assert set(data["servers"][0]) == {"id", "name", "bolt", "backup", "up", "version", "state"}
    assert set(data["databases"][0]) == {
        "name",
        "type",
        "internal_id",
        "database_id",
        "constituents",
        "shards",
        "access",
        "default_language",
        "options",
        "last_transaction",
        "pruned_below",
        "store_bytes",
        "copies",
    }
    assert set(data["databases"][0]["copies"][0]) == {"server", "role", "writer", "status", "lag", "failed"}


def test_a_file_with_the_required_fields_only_can_be_loaded(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"version": "5.26.0", "servers": [], "databases": []}')

    assert load(tmp_path) == Cluster("5.26.0", (), ())


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"version": "5.26.0"}', '{"version": "1", "servers": [{"x": 1}], "databases": []}']
)
def test_the_error_for_an_invalid_file_names_the_file(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)

    with pytest.raises(ValueError, match=r"cluster\.json: not a simulated cluster"):
        load(tmp_path)


def test_saving_leaves_one_file(tmp_path: Path) -> None:
    save(three_servers(), tmp_path)
    save(three_servers("5.26.31"), tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_ids_are_derived_from_names_and_unique() -> None:
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
def test_every_database_has_one_leader_which_is_a_primary(build: Callable[[], Cluster]) -> None:
    for database in build().databases:
        assert [copy.role for copy in database.copies if copy.writer] == ["primary"]


def test_a_database_has_one_leader_after_the_leader_has_moved() -> None:
    moved = three_servers().with_leader("orders", "server-0")

    assert [copy.server for copy in moved.database("orders").copies if copy.writer] == ["server-0"]


def test_another_primary_becomes_leader_if_the_leaders_server_goes_down() -> None:
    cluster = five_servers().with_leader("orders", "server-0").with_server_down("server-0")

    assert leader(cluster, "orders") == "server-1"


def test_without_a_majority_of_primaries_there_is_no_leader() -> None:
    cluster = three_servers().with_server_down("server-0").with_server_down("server-1")

    assert {leader(cluster, database.name) for database in cluster.databases} == {None}


def test_there_is_a_leader_again_when_the_majority_is_back() -> None:
    cluster = three_servers().with_server_down("server-0").with_server_down("server-1").with_server_up("server-1")

    assert leader(cluster, "orders") in {"server-1", "server-2"}


def test_a_former_leader_is_a_follower_when_its_server_is_up_again() -> None:
    cluster = three_servers().with_leader("orders", "server-0").with_server_down("server-0").with_server_up("server-0")

    assert leader(cluster, "orders") == "server-1"


def test_a_composite_database_has_no_leader() -> None:
    composite = new_database("library", [Copy(f"server-{number}") for number in range(3)], type="composite")
    cluster = three_servers().with_database_added(composite).with_server_down("server-0")

    assert leader(cluster, "library") is None


def test_a_recreated_database_keeps_only_its_name() -> None:
    before = three_servers().with_transactions("orders", 30)
    after = before.with_database_recreated("orders")

    assert after.database("orders").database_id != before.database("orders").database_id
    assert after.database("orders").internal_id != before.database("orders").internal_id
    assert after.database("orders").last_transaction == 1


def test_added_transactions_raise_the_last_transaction() -> None:
    assert three_servers().with_transactions("orders", 5).database("orders").last_transaction == 17


def test_dropping_a_database_drops_its_aliases() -> None:
    cluster = three_servers().with_alias("shop", "orders").with_alias("main", "neo4j").with_database_dropped("orders")

    assert [alias.name for alias in cluster.aliases] == ["main"]
    assert [database.name for database in cluster.databases] == ["system", "neo4j"]


def test_the_error_for_an_unknown_database_lists_the_known_ones() -> None:
    with pytest.raises(KeyError, match="nope: not one of system, neo4j, orders"):
        three_servers().with_transactions("nope", 1)


def test_a_server_without_a_copy_cannot_lead() -> None:
    cluster = three_servers().with_database_added(new_database("small", [Copy("server-0", writer=True)]))

    with pytest.raises(KeyError, match="server-1 holds no copy of small"):
        cluster.with_leader("small", "server-1")


def test_a_server_may_run_another_version() -> None:
    cluster = three_servers("2026.09.0").with_server("server-1", version="2026.08.1")

    assert [cluster.version_of(server.name) for server in cluster.servers] == ["2026.09.0", "2026.08.1", "2026.09.0"]

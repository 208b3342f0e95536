"""Discovery over Bolt that fails at the start or later, or has faults: backups continue with the last known facts."""

import json
from datetime import UTC, datetime, timedelta
from operator import methodcaller
from pathlib import Path

import pytest

from backup_agent.catalog.record_notes import RecordNotes
from backup_agent.standins import cluster as simulated
from backup_agent.standins.cluster import BoltFault, User
from tests.agent.live import PASSWORD, Live
from tests.polling import until

AWAY = BoltFault(do="refuse")


def away(live: Live) -> None:
    live.change(lambda cluster: cluster.with_bolt_faults(AWAY))


def ask_again(live: Live) -> None:
    """Change the settings, so that the next backup queries the cluster although the last query was a moment ago."""
    loaded = len(live.events("settings reloaded"))
    live.write_settings(databases=["*", f"!never-{loaded}"])
    until(lambda: len(live.events("settings reloaded")) > loaded, "settings read again")


def servers(live: Live) -> list[str]:
    return [server.backup for server in live.cluster.servers]


def test_if_bolt_never_answered_globs_fail_and_names_are_backed_up_from_the_static_list(live: Live) -> None:
    live.settings["neo4j"]["servers"] = servers(live)
    away(live)
    live.start()
    answer = live.ask(databases=["ord*", "neo4j"])
    result = answer["databases"]["neo4j"]

    assert (answer["state"], answer["reason"]) == ("failed", "source_unreachable")
    assert (result["outcome"], result["discovery"]) == ("succeeded", "static")
    assert "and never has" in answer["databases"]["ord*"]["error"]
    assert live.metric("neo4j_backup_bolt_up") == 0
    assert live.metric("neo4j_backup_topology_timestamp_seconds") is None


def test_without_bolt_and_without_servers_a_backup_fails(live: Live) -> None:
    live.settings["neo4j"]["backup_addresses"] = None
    away(live)
    live.start()
    answer = live.ask(database="orders")

    assert (answer["state"], answer["reason"]) == ("failed", "source_unreachable")
    assert answer["hint"]
    assert live.is_ready()


def test_if_bolt_does_not_answer_the_last_topology_is_used_even_after_a_restart(live: Live) -> None:
    live.start()
    live.ask(databases=["ord*"])
    away(live)
    assert live.end() == 0
    live.start()
    live.commit()
    answer = live.ask(databases=["ord*"])
    result = answer["databases"]["orders"]

    assert answer["state"] == "succeeded_with_warnings"
    assert result["outcome"] == "succeeded"
    assert (result["discovery"], result["type"]) == ("last_topology", "DIFF")
    assert "Bolt did not answer" in answer["error"]


def test_a_topology_that_is_too_old_is_used_and_the_request_fails(live: Live) -> None:
    live.settings["neo4j"]["max_topology_age"] = "1h"
    live.start()
    live.ask(databases=["ord*"])
    away(live)
    assert live.end() == 0
    _age(live.root, timedelta(hours=2))
    live.start()
    live.commit()
    answer = live.ask(databases=["ord*"])

    assert (answer["state"], answer["reason"]) == ("failed", "discovery_stale")
    assert answer["databases"]["orders"]["outcome"] == "succeeded"


def test_a_wrong_password_is_tried_once_and_read_again_for_the_next_query(live: Live) -> None:
    live.change(lambda cluster: cluster.with_users(User("neo4j", PASSWORD)))
    (live.folder / "password").write_text("let-me-in\n")
    live.start()
    answer = live.ask(databases=["ord*"])
    assert live.bolt is not None
    tried = live.bolt.logins

    assert (answer["state"], answer["reason"]) == ("failed", "source_unreachable")
    assert len(tried) == 1
    assert not tried[0].accepted
    assert "let-me-in" not in json.dumps(answer)
    (live.folder / "password").write_text(PASSWORD + "\n")
    ask_again(live)
    assert live.ask(databases=["ord*"])["state"] == "succeeded"


@pytest.mark.nightly
def test_a_request_is_answered_although_the_cluster_hangs(live: Live) -> None:
    live.settings["neo4j"]["servers"] = servers(live)
    live.change(lambda cluster: cluster.with_bolt_faults(BoltFault(do="hang", statement="SHOW DATABASES")))
    live.start()
    answer = live.ask(database="orders", patience=90)

    assert (answer["state"], answer["databases"]["orders"]["discovery"]) == ("succeeded", "static")


def test_a_leader_that_moves_between_two_statements_is_not_a_failure(live: Live) -> None:
    live.change(
        lambda cluster: cluster.with_bolt_faults(
            BoltFault(do="move_leader", statement="SHOW DATABASES", database="orders", to="server-0", times=1)
        )
    )
    live.start()

    assert live.ask(databases=["*"])["state"] == "succeeded"


def test_a_server_that_is_down_is_passed_over(live: Live) -> None:
    live.start()
    live.ask(database="orders")
    used = live.records()[0]["source"].split(":")[0]
    live.change(lambda cluster: cluster.with_server_down(used))
    live.commit()
    answer = live.ask(database="orders", type="FULL")

    assert answer["databases"]["orders"]["artifact"]
    assert live.records()[1]["source"].split(":")[0] != used


def test_a_database_no_longer_listed_is_a_warning_by_name_and_a_metric(live: Live) -> None:
    live.start()
    live.ask(databases=["*"])
    live.change(lambda cluster: cluster.with_database_dropped("orders"))
    ask_again(live)
    live.commit("neo4j")
    answer = live.ask(databases=["*"])

    assert answer["state"] == "succeeded_with_warnings"
    assert "orders is no longer listed" in answer["error"]
    assert live.metric("neo4j_backup_database_missing", database="orders") == 1


def test_a_record_has_the_definition_and_the_last_transaction_and_comes_from_a_secondary(tmp_path: Path) -> None:
    cluster = (
        simulated.five_servers().with_alias("shop", "orders").with_database("orders", default_language="CYPHER 25")
    )
    with Live(tmp_path, cluster) as live:
        live.start()
        live.ask(database="orders")
        [record] = live.records()

        assert record["source"] == "server-3:6362"
        assert record["definition"] == {
            "primaries": 3,
            "secondaries": 2,
            "default_language": "CYPHER 25",
            "access": "read-write",
            "options": {},
            "aliases": ["shop"],
            "shards": [],
        }
        assert record["last_committed_tx"] == 10  # of 12: the last secondary is two behind
        header = record["header"]
        assert record["history"] == {"database_id": header["database_id"], "store_id": header["store_id"]}
        topology = json.loads((live.root / ".agent" / "topology.json").read_text())
        assert topology["definitions"]["orders"]["aliases"] == ["shop"]


def test_backups_succeed_without_a_definition_and_without_bolt(live: Live) -> None:
    live.change(lambda one: one.with_bolt_faults(BoltFault(do="forbidden", statement="CYPHER 25 SHOW DATABASES")))
    live.start()
    live.ask(database="orders")
    away(live)
    ask_again(live)
    live.commit()
    live.ask(database="orders")

    assert [(one["definition"], one["last_committed_tx"]) for one in live.records()] == [(None, 12), (None, None)]


def test_excluded_databases_are_named_and_not_tried(live: Live) -> None:
    replica = simulated.new_database("mirror", [simulated.Copy("server-0")], type="replica")
    live.change(lambda one: one.with_sharded_database("web", 1).with_database_added(replica))
    live.start()
    answer = live.ask(databases=["*"])
    named = live.ask("named", databases=["mirror", "web-p000", "orders"])
    excluded = {"mirror": "replica", "web": "sharded", "web-g000": "shard", "web-p000": "shard"}
    status = live.status()["excluded_databases"]

    assert (answer["state"], sorted(answer["databases"])) == ("succeeded", ["neo4j", "orders", "system"])
    assert answer["excluded"] == {name: one["why"] for name, one in status.items()}
    assert {name: one["kind"] for name, one in status.items()} == excluded
    assert live.metric("neo4j_backup_databases_excluded", kind="shard") == 2
    assert live.metric("neo4j_backup_databases_excluded", kind="composite") == 0
    assert named["state"] == "failed"
    assert {name: one.get("reason") for name, one in named["databases"].items()} == {
        "mirror": "invalid_request", "web-p000": "invalid_request", "orders": None,
    }  # fmt: skip


def test_if_the_role_sees_only_system_the_missing_databases_are_warnings(live: Live) -> None:
    live.change(lambda cluster: cluster.with_users(User("neo4j", PASSWORD, databases=())))
    live.start()
    answer = live.ask(databases=["ord*"])

    assert (answer["state"], answer["reason"]) == ("failed", "no_such_database")
    assert "role.cypher" in answer["hint"]


def _age(root: Path, by: timedelta) -> None:
    path = root / ".agent" / "topology.json"
    topology = json.loads(path.read_text())
    topology["seen"] = (datetime.now(UTC) - by).isoformat()
    path.write_text(json.dumps(topology))


def test_an_optional_answer_that_is_missing_is_noted_and_affects_nothing_else(live: Live) -> None:
    live.change(lambda cluster: cluster.with_bolt_faults(BoltFault(do="forbidden", statement="SHOW ALIASES")))
    live.start()

    assert live.ask(database="orders")["state"] == "succeeded"
    [note] = live.status()["bolt_notes"]
    assert note.startswith("SHOW ALIASES: ")
    assert live.events("topology incomplete")
    assert live.metric("neo4j_backup_bolt_up") == 1


HOSTILE = ("../../x", "--option", "$(id)", "x`; drop database neo4j; ", "a\x1b[2K", "x" * 5000)


def test_an_invalid_name_of_a_database_becomes_no_folder_no_label_and_no_warning(tmp_path: Path) -> None:
    with Live(tmp_path / "world", simulated.three_servers(databases=("orders", *HOSTILE))) as live:
        live.start()
        first = live.ask(databases=["*"])
        status = live.status()
        metrics = live.get("/metrics")[1]
        for name in HOSTILE:
            live.change(methodcaller("with_database_dropped", name))
        ask_again(live)
        live.commit()
        after = live.ask(databases=["*"])

        assert [(one["state"], sorted(one["databases"])) for one in (first, after)] == [
            ("succeeded", ["orders", "system"])
        ] * 2
        assert sorted(path.name for path in (live.root / "default").iterdir()) == ["orders", "system"]
        assert [path.name for path in tmp_path.iterdir()] == ["world"]
        [note] = status["bolt_notes"]
        assert note.startswith(f"{len(HOSTILE)} names of databases refused")
        assert status["databases_refused"] == len(HOSTILE)
        assert "neo4j_backup_databases_refused 6.0" in metrics
        assert not any(name in metrics for name in ("../x", "--option", "$(id)", "xxxx"))
        assert status["missing_databases"] == []
        assert live.status()["databases_refused"] == 0
        assert len(live.events("topology incomplete")) == 1


def test_without_bolt_backups_use_the_last_topology_and_log_and_status_say_so(live: Live) -> None:
    live.start()
    live.ask(database="orders")
    away(live)
    ask_again(live)
    live.commit()
    answer = live.ask(database="orders")
    [event] = live.events("cluster not discovered")
    status = live.status()

    assert answer["databases"]["orders"]["discovery"] == "last_topology"
    assert (event["reason"], event["topology_seen"][:10]) == ("source_unreachable", status["topology_seen"][:10])
    assert event["level"] == "warning"
    assert (status["bolt_error"], status["bolt_reason"]) == (event["error"], "source_unreachable")


def test_a_name_that_has_only_failed_is_listed_and_can_be_forgotten(live: Live) -> None:
    live.settings["neo4j"]["servers"] = servers(live)
    away(live)
    live.start()
    answer = live.ask(database="orderz")
    listed = live.status()["attempts"]
    forgotten = live.ask("f", action="forget", database="Orderz", reason="a slip")

    assert answer["state"] == "failed"
    assert list(listed) == ["default/orderz"]
    assert forgotten["state"] == "succeeded"
    assert live.status()["attempts"] == {}
    assert live.metric("neo4j_backup_last_failure_timestamp_seconds", database="orderz") is None


def test_a_name_of_the_volume_in_another_case_can_be_forgotten(live: Live) -> None:
    live.start()
    live.ask(database="orders")
    assert live.end() == 0
    folder = live.root / "default" / "Orders"
    folder.mkdir()
    [record] = (live.root / "default" / "orders").glob("*.json")
    content = (
        record.read_text()
        .replace('"database": "orders"', '"database": "Orders"', 1)
        .replace("/orders/orders", "/Orders/Orders")
        .replace('"name": "orders', '"name": "Orders')
    )
    name = record.name.replace("orders", "Orders", 1)
    (folder / name).write_text(content)
    [notes] = (live.root / ".agent" / "recorded").glob("local@*")
    RecordNotes(notes).add(json.loads(content)["key"], content.encode())
    live.change(lambda cluster: cluster.with_database_dropped("orders"))
    live.start()
    live.ask(databases=["*"])
    listed = {one["database"] for one in live.status()["databases"]}
    answer = live.ask("f", action="forget", database="orders", reason="dropped")

    assert listed == {"Orders", "orders", "system", "neo4j"}
    assert answer["state"] == "succeeded"
    assert set(live.status()["forgotten"]) == {"Orders", "orders"}

"""Retention, holds and pauses, requested or due, with a live agent."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog.journal import Doing
from backup_agent.core.artifacts.records import Record
from tests.agent.live import Live
from tests.catalog.places import write_record
from tests.jobs.worlds import World
from tests.polling import until

KEEP_TWO = {"last": 2, "max_delete_share": 1}


@pytest.fixture(name="started")
def _started(live: Live) -> Live:
    return live.start()


@pytest.fixture(name="aged")
def _aged(live: Live) -> Live:
    """Return an agent that has four whole backups of one database, of four days."""
    world = World(live.root)
    for number in range(4):
        world.add(4 - number, 1, 10 * (number + 1), database="neo4j")
    return live.start()


def keys(live: Live) -> list[str]:
    return sorted(record["key"] for record in live.records(database="neo4j"))


def asked(live: Live, name: str, **request: Any) -> dict[str, Any]:
    live.drop(f"{name}.request", **request)
    return live.answer(name)


def policy(live: Live, **retention: Any) -> None:
    live.write_settings(retention=retention)
    until(lambda: live.events("settings reloaded"), "reload")


def test_retention_keeps_the_points_of_its_rules_and_deletes_records_and_data(aged: Live) -> None:
    before = keys(aged)
    policy(aged, **KEEP_TWO)
    folder = aged.root / "default" / "neo4j"
    until(lambda: len(list(folder.iterdir())) == 4, "pruned volume")

    assert keys(aged) == before[-2:]
    assert {path.name for path in folder.iterdir()} == {
        name for key in before[-2:] for name in (Path(key).name, f"{Path(key).name}.json")
    }
    until(lambda: aged.metric("neo4j_backup_retention_deleted_total", place="local") == 2, "count of both")


def test_the_answer_to_a_dry_run_has_the_plan_and_nothing_is_deleted(aged: Live) -> None:
    aged.write_settings(retention={**KEEP_TWO, "min_age": "1h"})
    before = keys(aged)
    answer = asked(aged, "plan", action="prune", dry_run=True)

    assert answer["state"] == "succeeded"
    assert answer["places"]["local"]["plan"]
    assert keys(aged) == before


def test_a_request_with_the_id_of_another_plan_fails(aged: Live) -> None:
    answer = asked(aged, "p", action="prune", plan="0123456789abcdef", place="local")

    assert answer["state"] == "failed"
    assert "0123456789abcdef was requested" in answer["error"]


def test_a_plan_that_deletes_too_much_is_refused_until_it_is_forced(aged: Live) -> None:
    policy(aged, last=1)
    refused = asked(aged, "p", action="prune")

    assert refused["state"] == "failed"
    assert "3 of 4 artifacts would be deleted" in refused["error"]
    assert len(keys(aged)) == 4

    assert asked(aged, "q", action="prune", force=True)["places"]["local"]["deleted"] == 3
    assert len(keys(aged)) == 1


def test_a_held_artifact_is_kept_until_it_is_released(aged: Live) -> None:
    oldest = keys(aged)[0]

    assert asked(aged, "h", action="hold", artifact=oldest, reason="audit")["marks"] == {"local": "held"}

    policy(aged, **KEEP_TWO)
    until(lambda: len(keys(aged)) == 3, "pruned volume")
    assert oldest in keys(aged)

    assert asked(aged, "r", action="release", artifact=oldest, reason="over")["marks"] == {"local": "released"}
    asked(aged, "p", action="prune")
    assert oldest not in keys(aged)
    assert list((aged.root / "default" / "neo4j").glob("*.hold.json")) == []


def test_a_selection_is_held_and_released_by_one_request_each(aged: Live) -> None:
    first, second, third, _ = keys(aged)
    times = {record["key"]: record["header"]["taken"] for record in aged.records(database="neo4j")}
    selection = {"database": "NEO*", "taken_to": times[second], "reason": "audit"}

    answer = asked(aged, "h", action="hold", **selection)
    assert (answer["state"], answer["places"]["local"]["marked"]) == ("succeeded", 2)
    assert answer["places"]["local"]["marked_keys"] == [first, second]
    folder = aged.root / "default" / "neo4j"
    assert {path.name for path in folder.glob("*.hold.json")} == {
        f"{Path(key).name}.hold.json" for key in (first, second)
    }

    policy(aged, **KEEP_TWO | {"last": 1})
    until(lambda: third not in keys(aged), "pruned volume")
    assert keys(aged)[:2] == [first, second]

    answer = asked(aged, "r", action="release", **selection)
    assert answer["places"]["local"]["marked_keys"] == [first, second]
    assert answer["request"]["reason"] == "audit"
    asked(aged, "p", action="prune")
    assert len(keys(aged)) == 1
    assert asked(aged, "r2", action="release", **selection)["reason"] == "not_found"
    assert asked(aged, "h2", action="hold", until="2020-01-01", **selection)["reason"] == "invalid_request"


def test_a_hold_on_an_unknown_artifact_is_not_found(started: Live) -> None:
    answer = asked(
        started, "h", action="hold", artifact="default/neo4j/neo4j-2026-01-01T00-00-00.backup", reason="audit"
    )

    assert (answer["state"], answer["reason"]) == ("failed", "not_found")


def test_a_pause_lasts_over_a_restart_until_resume(started: Live) -> None:
    assert asked(started, "p", action="pause", reason="maintenance")["state"] == "succeeded"
    started.end()
    started.start()
    started.drop("b.request", database="neo4j")
    until(lambda: started.answer("b", final=False)["state"] == "queued", "queued request")

    assert started.status()["paused"]["reason"] == "maintenance"
    assert started.metric("neo4j_backup_paused") == 1

    asked(started, "r", action="resume")
    assert started.answer("b")["state"] == "succeeded"


def test_a_pause_with_an_end_ends_by_itself_after_a_restart(started: Live) -> None:
    end = (datetime.now(UTC) + timedelta(seconds=3)).isoformat()
    assert asked(started, "p", action="pause", until=end)["state"] == "succeeded"
    started.end()
    started.start()
    started.drop("b.request", database="neo4j")

    assert started.answer("b")["state"] == "succeeded"
    assert started.status().get("paused") is None


def test_nothing_is_deleted_while_the_orders_are_unreadable(aged: Live) -> None:
    kept = keys(aged)
    aged.end()
    (aged.root / ".agent" / "orders.json").write_text('{"schema":1,"paused":')
    aged.settings["retention"] = KEEP_TWO
    aged.start()
    until(lambda: aged.status()["places"]["local"].get("blocked") == "unreadable", "blocked retention")

    assert keys(aged) == kept
    assert asked(aged, "f", action="forget", database="gone", reason="dropped")["reason"] == "unreadable"
    assert asked(aged, "b", database="neo4j", type="FULL")["state"] == "succeeded"
    assert keys(aged)[:4] == kept

    asked(aged, "r", action="resume")
    asked(aged, "p", action="prune")
    assert len(keys(aged)) == 2


def test_a_listed_database_cannot_be_forgotten(started: Live) -> None:
    asked(started, "b", database="neo4j")
    answer = asked(started, "f", action="forget", database="neo4j", reason="gone")

    assert answer["state"] == "failed"
    assert "the cluster lists this database" in answer["error"]


def test_an_interrupted_deletion_is_finished_and_foreign_files_are_left_alone(aged: Live) -> None:
    aged.end()
    folder = aged.root / "default" / "neo4j"
    oldest = folder / Path(keys(aged)[0]).name
    record = Record.from_json(Path(f"{oldest}.json").read_bytes())
    stranger = folder / "neo4j-2020-01-01T00-00-00.backup"
    stranger.write_bytes(b"another program's")
    World(aged.root).begin(record.key, Doing.DELETING, 0)
    (journal,) = (aged.root / ".agent" / "journal").glob(f"local@*/{record.key}")
    Path(f"{oldest}.json").unlink()
    aged.start()
    until(lambda: not journal.exists(), "ended deletion")

    assert not oldest.exists()
    assert stranger.exists()
    until(lambda: aged.events("unexpected files found"), "report of the stray file")


def test_an_ad_hoc_set_expires_as_a_whole(started: Live) -> None:
    asked(started, "d", database="neo4j")
    asked(started, "a", database="neo4j", path="before-release")
    folder = started.root / "before-release" / "neo4j"
    for path in folder.glob("*.json"):
        record = Record.from_json(path.read_bytes())
        write_record(started.root, record.model_copy(update={"finished": record.finished - timedelta(days=8)}))
    asked(started, "p", action="prune")
    assert folder.parent.exists()  # its last request was a moment ago
    uses = started.root / ".agent" / "adhoc.json"
    kept = json.loads(uses.read_text())
    long_ago = (datetime.now(UTC) - timedelta(days=8)).isoformat()
    uses.write_text(json.dumps({**kept, "used": dict.fromkeys(kept["used"], long_ago)}))
    asked(started, "q", action="prune")

    assert not folder.parent.exists()
    assert len(started.records(database="neo4j")) == 1

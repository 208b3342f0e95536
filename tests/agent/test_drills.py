"""Drills of a running agent: asked for by requests and schedules, giving way to backups, and killed at each stage."""

from datetime import timedelta

import pytest

from backup_agent.standins.neo4j_admin.faults import COUNTS
from tests.agent.live import Live
from tests.polling import until

pytestmark = pytest.mark.process


def backed_up(live: Live) -> str:
    """Start the agent and take a backup. Return the key of the artifact."""
    live.write_settings(schedules={}, drill={"level": "restore"})
    live.start()
    assert live.ask("first", database="orders", type="FULL")["state"] == "succeeded"
    return str(live.records()[-1]["key"])


def hangs(live: Live) -> bool:
    """Return whether the stand-in has met its fault."""
    return (live.cluster_folder / COUNTS).exists()


def test_a_request_drills_the_newest_artifact_and_status_and_metrics_tell_of_it(live: Live) -> None:
    key = backed_up(live)

    answer = live.ask("d", action="drill", database="orders")

    assert answer["state"] == "succeeded", answer
    assert answer["places"]["local"]["drills"] == {key: "passed"}
    (drills,) = live.status()["drills"]
    assert set(drills["passed"]) == {"read", "restore"}
    of = {"place": "local", "set": "default", "database": "orders"}
    assert live.metric("neo4j_backup_drill_passed_timestamp_seconds", **of, level="restore") is not None
    assert live.metric("neo4j_backup_restore_estimated_seconds", **of) is not None
    assert live.metric("neo4j_backup_drill_failed", **of, outcome="artifact_failed") is None


def test_results_of_drills_outlive_the_agent(live: Live) -> None:
    backed_up(live)
    live.ask("d", action="drill", database="orders")
    before = live.status()["drills"]
    live.end()
    live.start()

    assert live.status()["drills"] == before


def test_a_drill_gives_way_to_a_backup_and_is_made_afterwards(live: Live) -> None:
    backed_up(live)
    live.fault({"do": "hang", "at": "checkpoint", "command": "restore", "times": 1})
    live.drop("d.request", action="drill", database="orders")
    until(lambda: hangs(live), "hanging restore")

    assert live.ask("second", database="orders")["state"] in ("succeeded", "succeeded_with_warnings")
    assert live.answer("d")["state"] == "succeeded"
    assert [one["outcome"] for one in drills_ended(live)] == ["not done", "passed"]


def drills_ended(live: Live) -> list[dict[str, str]]:
    found = [*live.events("drill not done"), *live.events("drill passed")]
    return [{"outcome": one["event"].removeprefix("drill ")} for one in found]


def test_a_schedule_of_drills_makes_no_backups(live: Live) -> None:
    backed_up(live)
    live.end()
    live.write_settings(schedules={"drills": {"cron": "* * * * *", "type": "DRILL"}}, drill={"level": "read"})
    live.handled("drills", "* * * * * UTC", timedelta(hours=1))
    live.start()

    until(lambda: live.status()["drills"] and live.events("drill passed"), "drill")
    assert len(live.records()) == 1


def test_a_killed_agent_leaves_no_scratch_data_and_no_program(live: Live) -> None:
    backed_up(live)
    live.fault({"do": "hang", "at": "checkpoint", "command": "restore", "times": 1})
    live.drop("d.request", action="drill", database="orders")
    until(lambda: hangs(live), "hanging restore")
    live.kill()
    live.start()

    assert live.answer("d")["state"] == "succeeded"
    assert list(live.leftovers()) == []
    assert not list((live.root / ".staging").iterdir())

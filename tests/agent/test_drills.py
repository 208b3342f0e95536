"""Drills of a running agent: asked for by requests and schedules, giving way to backups, and killed at each stage."""

from datetime import timedelta
from pathlib import Path

import pytest

from backup_agent.signing import key_file
from backup_agent.standins.neo4j_admin.faults import COUNTS
from tests.agent.bucket import destination, stored
from tests.agent.live import Live
from tests.components.seaweedfs import KEYS, SeaweedFS
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


def test_a_request_drills_the_newest_artifact_and_status_and_metrics_show_the_result(live: Live) -> None:
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


def test_results_of_drills_are_known_after_a_restart(live: Live) -> None:
    backed_up(live)
    live.ask("d", action="drill", database="orders")
    before = live.status()["drills"]
    live.end()
    live.start()

    assert live.status()["drills"] == before


def test_a_drill_gives_way_to_a_backup_and_is_repeated_afterwards(live: Live) -> None:
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


def test_after_a_kill_no_scratch_data_and_no_program_of_a_drill_remain(live: Live) -> None:
    backed_up(live)
    live.fault({"do": "hang", "at": "checkpoint", "command": "restore", "times": 1})
    live.drop("d.request", action="drill", database="orders")
    until(lambda: hangs(live), "hanging restore")
    live.kill()
    live.start()

    assert live.answer("d")["state"] == "succeeded"
    assert list(live.leftovers()) == []
    assert not list((live.root / ".staging").iterdir())


def test_one_full_follows_when_drills_find_damaged_copies_and_not_one_for_each_drill(
    live: Live, seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    live.environ = KEYS
    live.settings["storage"]["destinations"] = {"offsite": destination(seaweedfs, tmp_path)}
    key = backed_up(live)
    live.ask("second", database="orders", type="FULL")
    live.fault({"do": "exit_1", "at": "start", "command": "restore", "message": "refused"})

    drilled = live.ask("d1", action="drill", database="orders")
    until(
        lambda: len(live.records()) == 3 and f"{live.records()[-1]['key']}.json" in stored(seaweedfs, tmp_path), "FULL"
    )
    again = live.ask("d2", action="drill", database="orders")
    live.until_idle()

    *_, damaged, newest = (record["key"] for record in live.records())
    assert drilled["places"]["offsite"]["drills"] == {damaged: "artifact_failed"}
    assert again["places"]["offsite"]["drills"] == {newest: "artifact_failed"}
    assert [one for one in stored(seaweedfs, tmp_path) if one.endswith(".damaged.json")] == [f"{damaged}.damaged.json"]
    assert live.records()[-1]["requested_by"] == "backup-agent"
    assert len(live.records()) == 3
    assert key == live.records()[0]["key"]
    live.end()
    live.start()
    live.until_idle()
    assert len(live.records()) == 3


@pytest.mark.nightly
def test_findings_of_check_in_every_drill_cause_no_fulls_and_do_not_stop_retention(
    live: Live,
) -> None:
    live.fault({"do": "exit_1", "command": "check", "message": "Inconsistencies found."})
    live.write_settings(schedules={}, drill={"level": "check"}, retention={"last": 2, "max_delete_share": 1})
    live.start()
    taken = []
    for night in range(5):
        taken.append(live.ask(f"night{night}", database="orders", type="FULL")["databases"]["orders"]["artifact"])
        drilled = live.ask(f"drill{night}", action="drill", database="orders")
        assert (drilled["state"], drilled["reason"]) == ("failed", "inconsistent")
        assert live.ask(f"prune{night}", action="prune", place="local")["state"] == "succeeded"
        live.until_idle()
        assert [one["key"] for one in live.records()] == taken[-2:]

    assert not list(live.root.rglob("*.damaged.json"))
    assert {one["requested_by"] for one in live.records() if "requested_by" in one} <= {None}
    assert live.metric(
        "neo4j_backup_drill_failed", place="local", set="default", database="orders", outcome="content_failed"
    )


@pytest.mark.nightly
def test_evidence_of_a_separate_drill_job_alerts_and_is_shown(live: Live, seaweedfs: SeaweedFS, tmp_path: Path) -> None:
    """The drill job signs with its own key. Its first drill passes, and the second finds damage."""
    trusted = key_file.create(tmp_path / "job.pem")
    live.environ = KEYS
    live.settings["storage"]["destinations"] = {"offsite": destination(seaweedfs, tmp_path)}
    live.write_settings(schedules={}, drill={"level": "restore", "trusted": [trusted]})
    live.start()
    live.ask("first", database="orders", type="FULL")
    key = live.ask("second", database="orders", type="FULL")["databases"]["orders"]["artifact"]
    drill = ("drill", "orders", "--from", "offsite", "--level", "restore", "--evidence")
    of = {"place": "offsite", "set": "default", "database": "orders"}

    def job(code: int) -> None:
        live.environ["BACKUP_AGENT_SIGNING__KEY_FILE"] = str(tmp_path / "job.pem")
        live.printed(*drill, code=code)
        del live.environ["BACKUP_AGENT_SIGNING__KEY_FILE"]
        assert live.ask("p", action="prune", place="offsite")["state"] == "succeeded"

    job(0)
    [passed] = live.status()["drills"]
    listed = live.command("list", "--place", "offsite", "--database", "orders")["artifacts"]
    shown = live.command("show", key)
    live.fault({"do": "exit_1", "at": "start", "command": "restore", "message": "refused"})
    job(1)
    until(lambda: len(live.records()) == 3, "FULL after the damage")

    assert set(passed["passed"]) == {"read", "restore"}
    assert {one["key"]: one["drilled"] and one["drilled"]["claimed"] for one in listed}[key] is False
    drilled = shown["places"]["offsite"]["drilled"]
    assert (drilled["outcome"], drilled["level"]) == ("passed", "restore")
    assert live.metric("neo4j_backup_drill_passed_timestamp_seconds", **of, level="restore") is not None
    assert live.metric("neo4j_backup_drill_failed", **of, outcome="artifact_failed") == 1
    assert live.events("drill artifact failed")[0]["evidence_of_another_process"] == "signed"
    assert f"{key}.damaged.json" in stored(seaweedfs, tmp_path)

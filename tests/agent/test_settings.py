"""Schedules and settings in a live agent: runs missed while it was down, and changes of the settings file."""

import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from backup_agent.catalog import mounts
from tests.agent.live import Live
from tests.builders import settings_tree
from tests.polling import until

MEMORY = Path("/dev/shm")

HOURLY = "0 * * * *"


def test_runs_missed_while_the_agent_was_down_are_made_up_for_by_one_run(live: Live) -> None:
    live.settings["schedules"] = {"hourly": {"cron": HOURLY, "databases": ["orders"], "type": "FULL"}}
    live.handled("hourly", f"{HOURLY} UTC", timedelta(hours=3))
    due = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    live.start()
    answer = live.final(f"hourly@{due:%Y%m%dT%H%M%SZ}")

    assert answer["state"] == "succeeded"
    assert answer["schedule"] == "hourly"
    assert len(live.artifacts()) == 1
    assert live.metric("neo4j_backup_schedule_missed_total", schedule="hourly") in {2, 3}  # another hour may begin here
    assert live.metric("neo4j_backup_runs_total", trigger="schedule", outcome="succeeded") == 1
    assert live.end() == 0
    live.start()
    assert live.status()["queue_depth"] == 0
    assert len(live.artifacts()) == 1


@pytest.mark.parametrize(
    ("schedule", "missed"), [({"misfire": "skip"}, {3, 4}), ({"suspend": True}, {0})], ids=["skip", "suspend"]
)
def test_a_schedule_may_ignore_missed_runs(live: Live, schedule: dict[str, object], missed: set[int]) -> None:
    live.settings["schedules"] = {"hourly": {"cron": HOURLY, "databases": ["orders"], **schedule}}
    live.handled("hourly", f"{HOURLY} UTC", timedelta(hours=3))
    if datetime.now(UTC).minute < 3:
        pytest.skip("within the grace of a due time nothing is missed")
    live.start()

    assert live.status()["queue_depth"] == 0
    assert list((live.requests / "answers").iterdir()) == []
    assert live.metric("neo4j_backup_schedule_missed_total", schedule="hourly") in missed
    assert live.metric("neo4j_backup_schedule_suspended", schedule="hourly") == float("suspend" in schedule)


def test_a_new_schedule_has_missed_no_runs(live: Live) -> None:
    live.settings["schedules"] = {"hourly": {"cron": HOURLY}}
    live.start()

    assert live.status()["queue_depth"] == 0
    assert list((live.requests / "answers").iterdir()) == []
    assert len(live.status()["schedules"]["hourly"]["next_runs"]) == 5


def test_a_schedule_added_to_the_file_is_in_force_without_a_restart(live: Live) -> None:
    live.start()
    assert live.status()["schedules"] == {}
    live.write_settings(schedules={"nightly": {"cron": "0 2 * * *", "timezone": "Europe/Berlin"}})
    until(lambda: live.status()["schedules"], "new schedule")

    assert live.metric("neo4j_backup_schedule_next_timestamp_seconds", schedule="nightly")
    assert live.events("settings reloaded")
    assert live.events("next run")


def test_a_faulty_file_leaves_the_last_good_settings_in_force_and_says_so(live: Live) -> None:
    live.settings["schedules"] = {"nightly": {"cron": "0 2 * * *"}}
    live.start()
    good = live.config.read_text()
    live.config.write_text(yaml.safe_dump({**live.settings, "schedules": {"nightly": {"cron": "0 2 * *"}}, "typo": 1}))
    fault = until(lambda: live.status().get("settings_fault"), "fault")

    assert "schedules.nightly.cron" in fault
    assert "typo" in fault
    assert live.metric("neo4j_backup_config_valid") == 0
    assert live.ask(database="orders")["state"] == "succeeded"
    live.config.write_text(good)
    until(lambda: live.status()["settings_valid"], "mended settings")
    assert live.metric("neo4j_backup_config_valid") == 1


def test_the_log_level_of_the_file_is_in_force_without_a_restart(live: Live) -> None:
    live.start()
    live.write_settings(log={"format": "json", "level": "error"}, schedules={"nightly": {"cron": "0 2 * * *"}})
    until(lambda: live.status()["schedules"], "new settings")
    quiet = len(live.lines)

    assert live.ask(database="orders")["state"] == "succeeded"
    assert live.lines[quiet:] == []
    live.write_settings(log={"format": "json", "level": "info"})
    until(lambda: live.events("next run"), "log of the schedules")


def test_a_change_that_needs_a_restart_is_reported_and_has_no_effect_before(live: Live) -> None:
    live.start()
    live.write_settings(cluster="other", limits={"parallel": 3})
    waiting = until(lambda: live.status()["settings_waiting"], "waiting keys")

    assert waiting == ["cluster"]
    assert live.status()["cluster"] == "demo"
    assert live.end() == 0
    live.start()
    assert live.status()["cluster"] == "other"
    assert live.status()["settings_waiting"] == []


def test_copies_of_existing_artifacts_are_missing_at_a_destination_that_a_reload_adds(live: Live) -> None:
    place = {"type": "s3", "bucket": "bbb", "endpoint_url": "http://127.0.0.1:1", "region": "x", "path_style": True}
    live.environ = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_MAX_ATTEMPTS": "1"}
    live.start()
    live.ask(database="orders")
    live.write_settings(storage={"root": str(live.root), "destinations": {"offsite": place}})
    until(lambda: "offsite" in live.status()["destinations"], "the destination")
    counts = until(lambda: [one["owed"] for one in live.status()["destinations"].values() if "owed" in one], "a count")

    assert counts == [1]
    assert live.metric("neo4j_backup_copies_owed", destination="offsite") == 1


@pytest.mark.parametrize(("command", "code"), [("run", 4), ("adopt-root", 1)])
def test_a_root_on_the_containers_own_disk_is_refused_before_anything_is_written(
    tmp_path: Path, command: str, code: int
) -> None:
    root = Path(f"/{uuid4()}/backups")
    config = tmp_path / "config.yaml"
    settings = settings_tree(storage={"root": str(root)})
    config.write_text(yaml.safe_dump({**settings, "requests": {"folder": str(tmp_path / "requests")}}))
    completed = subprocess.run(
        [sys.executable, "-m", "backup_agent", command, "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "KUBERNETES_SERVICE_HOST": "10.0.0.1"},
    )

    assert completed.returncode == code
    assert f"{root}: no volume is mounted there" in completed.stderr
    assert "storage.require_volume: never" in completed.stderr
    assert not root.parent.exists()
    assert not (tmp_path / "requests").exists()


def test_requests_on_the_containers_own_disk_are_served_with_a_warning(live: Live) -> None:
    if mounts.mount_of(live.requests, mounts.parse(mounts.MOUNTS.read_text())).point != "/" or not MEMORY.is_mount():
        pytest.skip("needs a folder on the root file system, and one on another")
    with tempfile.TemporaryDirectory(prefix="neo4j-backup-agent-", dir=MEMORY) as volume:
        live.root = Path(volume) / "backups"
        live.settings["storage"] = {"root": str(live.root), "require_volume": "auto"}
        live.start(KUBERNETES_SERVICE_HOST="10.0.0.1")

        assert live.ask(database="orders")["state"] == "succeeded"
        (line,) = live.events("requests folder is on no volume")
        assert line["level"] == "warning"
        assert live.end() == 0


def test_an_unprotected_connection_is_logged_once_and_shown(live: Live) -> None:
    live.settings["neo4j"]["uri"] = "neo4j+ssc://127.0.0.1:1"
    live.start()
    live.settings["limits"] = {**live.settings.get("limits", {}), "keep_answers": "20d"}
    live.write_settings()
    until(lambda: live.events("settings reloaded"), "the reload")

    assert list(live.status()["unprotected_connections"]) == ["unchecked_bolt"]
    assert live.metric("neo4j_backup_connection_unprotected", kind="unchecked_bolt") == 1
    assert live.metric("neo4j_backup_connection_unprotected", kind="plain_bolt") == 0
    [line] = live.events("connection unprotected")
    assert (line["kind"], line["level"]) == ("unchecked_bolt", "warning")

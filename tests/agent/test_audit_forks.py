"""The audit log of a live agent whose volume is lost, restored from a snapshot, or cloned: always after a SIGKILL.

The lease of a killed agent is taken over after three minutes, because the volume of the next one is another.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.agent.bucket import destination, stored
from tests.agent.live import Live
from tests.components.seaweedfs import KEYS, SeaweedFS
from tests.polling import until

pytestmark = [pytest.mark.process, pytest.mark.nightly]

TAKEOVER_SECONDS = 400.0


@pytest.fixture(name="bucket")
def _bucket(seaweedfs: SeaweedFS, tmp_path: Path) -> dict[str, Any]:
    """A destination that keeps one artifact, so that each further FULL is followed by a deletion there."""
    return destination(seaweedfs, tmp_path, retention={"last": 1, "max_delete_share": 1})


def agent(live: Live, bucket: dict[str, Any]) -> Live:
    live.environ = KEYS
    live.settings["storage"]["destinations"] = {"offsite": bucket}
    return live.start()


def back_up(live: Live, seaweedfs: SeaweedFS, tmp_path: Path) -> str:
    """Take a FULL, and wait until it alone is at the destination: the log was stored there before the deletion."""
    answer = live.ask(database="orders", type="FULL", patience=TAKEOVER_SECONDS)
    key = str(answer["databases"]["orders"]["artifact"])

    def alone() -> bool:
        there = [name for name in stored(seaweedfs, tmp_path) if name.endswith(".backup.json")]
        return there == [f"{key}.json"]

    until(alone, f"{key} alone at the destination", TAKEOVER_SECONDS)
    return key


def findings(live: Live) -> set[str]:
    """Return what an auditor finds in the bucket, which is never more than gaps and lines that are not stored yet."""
    found = {one["fault"] for one in live.command("audit", "--place", "offsite", code=3)["findings"]}
    assert found <= {"gap", "tail"}
    return found


def epochs(live: Live) -> list[str]:
    return [event["because"] for event in live.events("audit log has another epoch")]


def test_a_snapshot_that_is_restored_is_a_fork(
    live: Live, bucket: dict[str, Any], seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    agent(live, bucket)
    back_up(live, seaweedfs, tmp_path)
    live.end()
    shutil.copytree(live.root, tmp_path / "snapshot")
    live.start()
    back_up(live, seaweedfs, tmp_path)
    live.kill_all()
    shutil.rmtree(live.root)
    shutil.copytree(tmp_path / "snapshot", live.root)
    live.start()
    back_up(live, seaweedfs, tmp_path)

    assert epochs(live) == ["forked"]
    assert live.metric("neo4j_backup_audit_forks_total", place="offsite") == 1
    assert live.end() == 0
    assert "gap" in findings(live)


def test_the_log_of_a_lost_volume_is_taken_up(
    live: Live, bucket: dict[str, Any], seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    agent(live, bucket)
    first = back_up(live, seaweedfs, tmp_path)
    second = back_up(live, seaweedfs, tmp_path)
    live.kill_all()
    shutil.rmtree(live.root)
    live.start()
    answer = live.ask(database="orders", type="FULL", patience=TAKEOVER_SECONDS)
    third = answer["databases"]["orders"]["artifact"]
    until(lambda: f"{third}.json" in stored(seaweedfs, tmp_path), "copy by the new agent", TAKEOVER_SECONDS)
    live.printed("adopt-root", "--place", "offsite", "--yes")
    live.ask(database="orders", type="FULL", patience=TAKEOVER_SECONDS)
    until(lambda: f"{third}.json" not in stored(seaweedfs, tmp_path), "deletion by the new agent", TAKEOVER_SECONDS)

    assert epochs(live) == ["taken_up"]
    assert live.end() == 0
    assert "gap" in findings(live)
    history = live.printed("history", "--place", "offsite")
    assert all(f'"deleting","place":"offsite","key":"{key}"' in history.replace(" ", "") for key in (first, third))
    assert f"{second}.json" in stored(seaweedfs, tmp_path), "the new agent does not recognise it, and leaves it alone"


def test_a_clone_writes_nothing_until_the_first_agent_is_dead_and_is_a_fork_then(
    live: Live, bucket: dict[str, Any], seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    agent(live, bucket)
    back_up(live, seaweedfs, tmp_path)
    with Live(tmp_path / "clone") as clone:
        shutil.copytree(live.root, clone.root)
        agent(clone, bucket)
        waiting = clone.ask(database="orders", type="FULL", patience=TAKEOVER_SECONDS)
        back_up(live, seaweedfs, tmp_path)

        assert waiting["reason"] == "copies_owed"
        assert epochs(clone) == epochs(live) == []
        live.kill_all()
        back_up(clone, seaweedfs, tmp_path)

        assert epochs(clone) == ["forked"]
        assert clone.end() == 0
        assert "gap" in findings(clone)

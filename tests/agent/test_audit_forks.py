"""The audit log of a live agent whose volume is lost or restored from a snapshot after a SIGKILL, or is cloned.

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
    """Take a FULL, and wait for its copy. Return its key."""
    answer = live.ask(database="orders", type="FULL", patience=TAKEOVER_SECONDS)
    key = str(answer["databases"]["orders"]["artifact"])
    until(lambda: f"{key}.json" in stored(seaweedfs, tmp_path), f"copy of {key}", TAKEOVER_SECONDS)
    return key


def replace(live: Live, seaweedfs: SeaweedFS, tmp_path: Path) -> str:
    """Take two FULLs, of which the first is deleted at the destination. Before that the whole log is stored there."""
    first, second = (back_up(live, seaweedfs, tmp_path) for _ in range(2))
    assert live.ask("p", action="prune", place="offsite", patience=TAKEOVER_SECONDS)["state"] == "succeeded"
    there = stored(seaweedfs, tmp_path)
    assert (f"{first}.json" in there, f"{second}.json" in there) == (False, True)
    return first


def findings(live: Live) -> set[str]:
    """Return what an auditor finds in the bucket, which is never more than gaps and lines that are not stored yet."""
    found = {one["fault"] for one in live.command("audit", "--place", "offsite", code=3)["findings"]}
    assert found <= {"gap", "tail"}
    return found


def epochs(live: Live) -> list[str]:
    return [event["because"] for event in live.events("audit log has another epoch")]


def test_restoring_a_snapshot_forks_the_log(
    live: Live, bucket: dict[str, Any], seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    agent(live, bucket)
    back_up(live, seaweedfs, tmp_path)
    live.end()
    shutil.copytree(live.root, tmp_path / "snapshot")
    live.start()
    replace(live, seaweedfs, tmp_path)
    live.kill_all()
    shutil.rmtree(live.root)
    shutil.copytree(tmp_path / "snapshot", live.root)
    live.start()
    replace(live, seaweedfs, tmp_path)

    assert epochs(live) == ["forked"]
    assert live.metric("neo4j_backup_audit_forks_total", place="offsite") == 1
    assert live.end() == 0
    assert "gap" in findings(live)


def test_a_new_volume_continues_the_log_of_a_lost_one(
    live: Live, bucket: dict[str, Any], seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    agent(live, bucket)
    first = replace(live, seaweedfs, tmp_path)
    live.kill_all()
    shutil.rmtree(live.root)
    live.start()
    back_up(live, seaweedfs, tmp_path)
    live.printed("adopt-root", "--place", "offsite", "--yes")
    later = replace(live, seaweedfs, tmp_path)

    assert epochs(live) == ["taken_up"]
    assert live.end() == 0
    assert "gap" in findings(live)
    history = live.printed("history", "--place", "offsite", "--kind", "deleting")
    assert first in history
    assert later in history


def test_two_agents_with_clones_of_a_volume_fork_the_log(
    live: Live, bucket: dict[str, Any], seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    """Both agents have the same id, so each takes the lease when the other has released it."""
    agent(live, bucket)
    back_up(live, seaweedfs, tmp_path)
    with Live(tmp_path / "clone") as clone:
        shutil.copytree(live.root, clone.root)
        agent(clone, bucket)
        replace(clone, seaweedfs, tmp_path)
        replace(live, seaweedfs, tmp_path)
        live.kill_all()
        replace(clone, seaweedfs, tmp_path)

        assert epochs(live) == ["forked"]
        assert epochs(clone) == ["forked"]
        assert clone.end() == 0
        assert "gap" in findings(clone)

"""The supervisor or a copy pass is killed at each step, with two databases and two destinations.

Each database is backed up once, the request is answered once, and in the end both destinations have both artifacts.
"""

import shutil
from functools import partial
from pathlib import Path

import pytest

from tests.agent.bucket import destination, stored
from tests.agent.crashes import ENOUGH, SUPERVISOR, Death, after_it, crash
from tests.agent.live import Live
from tests.components.seaweedfs import KEYS, SeaweedFS
from tests.polling import until

DESTINATION = "backup_agent.jobs.destination"
DATABASES = ("neo4j", "orders")
PLACES = ("nearby", "offsite")
SHARES = 4


def complete(seaweedfs: SeaweedFS, bucket: Path, keys: set[str]) -> bool:
    return stored(seaweedfs, bucket).keys() >= keys


def survive(folder: Path, seaweedfs: SeaweedFS, death: Death, step: int) -> bool:
    """Crash at one step, start again, and check. Return whether the step was reached."""
    buckets = [folder / f"{folder.parent.name}-{step}-{place}" for place in PLACES]
    with Live(folder) as live:
        live.settings["storage"]["destinations"] = {
            place: destination(seaweedfs, bucket) for place, bucket in zip(PLACES, buckets, strict=True)
        }
        live.environ = KEYS
        reached = crash(live, death, step)
        answer = after_it(live, death)
        records = {name: live.records(database=name) for name in DATABASES}
        keys = {records[name][0]["key"] for name in DATABASES}
        there = keys | {f"{key}.json" for key in keys}

        assert answer["state"] in {"succeeded", "succeeded_with_warnings"}, answer
        assert {name: len(found) for name, found in records.items()} == dict.fromkeys(DATABASES, 1)
        for name, result in answer["databases"].items():
            assert result["artifact"] == records[name][0]["key"]
            assert result["copies"].keys() == set(PLACES)
            assert set(result["copies"].values()) <= {"stored", "owed"}
            assert result["attempts"] == 1 or death.module == SUPERVISOR
        for bucket in buckets:
            until(partial(complete, seaweedfs, bucket, there), f"copies in {bucket.name}", 60)
        assert live.end() == 0
        assert live.open_entries() == []
        return reached


CASES = [
    pytest.param(
        Death(module, "self", among, DATABASES),
        share,
        shares,
        id=f"{module.rpartition('.')[2]}-{among}-{share}",
        marks=pytest.mark.nightly,  # the short storm and test_dying_children kill such processes too
    )
    for module in (SUPERVISOR, DESTINATION)
    for among, shares in (("kinds", 1), ("every", SHARES))
    for share in range(shares)
]


@pytest.mark.parametrize(("death", "share", "shares"), CASES)
def test_after_a_kill_at_any_step_both_destinations_get_both_artifacts(
    tmp_path: Path, seaweedfs: SeaweedFS, death: Death, share: int, shares: int
) -> None:
    last = share
    for step in range(share, ENOUGH, shares):
        last = step
        reached = survive(tmp_path / str(step), seaweedfs, death, step)
        shutil.rmtree(tmp_path / str(step))
        if not reached:
            break

    assert 5 < last < ENOUGH - shares

"""Two real agents on one bucket: one publishes, and the other reports the owner of the place."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backup_agent.standins import cluster as simulated
from tests.agent.bucket import WARNED, content, destination, stored
from tests.agent.live import Live
from tests.components.seaweedfs import KEYS, SeaweedFS
from tests.polling import until


def another_cluster(name: str = "system") -> simulated.Cluster:
    """Return a cluster with another `system` database."""
    return simulated.three_servers(databases=("neo4j", "orders")).with_database_recreated(name)


@pytest.fixture(name="pair")
def _pair(tmp_path: Path, seaweedfs: SeaweedFS) -> Iterator[tuple[Live, Live]]:
    """Two agents with one destination, of clusters with the same name."""
    with Live(tmp_path / "a") as one, Live(tmp_path / "b", another_cluster()) as other:
        for live in (one, other):
            live.settings["storage"]["destinations"] = {"offsite": destination(seaweedfs, tmp_path)}
            live.environ = KEYS
        yield one, other


def owner_there(seaweedfs: SeaweedFS, tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(content(seaweedfs, tmp_path, "owner.json"))
    return found


def owner_of(live: Live) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((live.root / "owner.json").read_text())
    return found


def owes(live: Live, answer: dict[str, Any], *sides: str) -> None:
    """Check that the backup has succeeded with a missing copy, and that the answer names the owner of the place."""
    assert (answer["state"], answer["reason"]) == WARNED
    assert answer["databases"]["orders"]["copies"] == {"offsite": "owed"}
    text = json.dumps(answer)
    for side in sides:
        assert side in text
    assert live.status()["destinations"]["offsite"]["reason"] == "foreign_root"


def test_if_two_clusters_with_the_same_name_start_at_the_same_time_only_one_publishes(
    pair: tuple[Live, Live], seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    for live in pair:
        live.start()
    for live in pair:
        live.drop(database="orders")
    answers = [live.answer(patience=60) for live in pair]
    states = [answer["state"] for answer in answers]

    assert sorted(states) == ["succeeded", "succeeded_with_warnings"]
    won = states.index("succeeded")
    winner, loser = pair[won], pair[1 - won]
    records = [json.loads(content(seaweedfs, tmp_path, key)) for key in stored(seaweedfs, tmp_path) if "json" in key]
    assert [{**record, "fencing": None} for record in records] == winner.records()
    owes(loser, answers[1 - won], owner_of(winner)["id"], owner_of(loser)["id"], "offsite")
    assert len(loser.records()) == 1
    winner.commit()
    assert winner.ask("again", database="orders")["state"] == "succeeded"
    assert owner_there(seaweedfs, tmp_path)["id"] == owner_of(winner)["id"]


def test_a_staging_cluster_cloned_from_production_publishes_nothing_there(
    pair: tuple[Live, Live], seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    production, staging = pair
    production.start()
    assert production.ask(database="orders")["state"] == "succeeded"
    before = stored(seaweedfs, tmp_path)
    shutil.copytree(production.root, staging.root)
    staging.start()
    staging.commit()
    answer = staging.ask(database="orders", type="FULL")

    owes(staging, answer, owner_of(production)["id"])
    assert stored(seaweedfs, tmp_path) == before
    production.commit()
    assert production.ask("again", database="orders")["state"] == "succeeded"


def test_a_cloned_volume_publishes_nothing_until_its_cluster_is_known(
    pair: tuple[Live, Live], seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    production, staging = pair
    production.settings["storage"]["destinations"]["offsite"]["endpoint_url"] = "http://127.0.0.1:1"
    production.start()
    assert production.ask(database="orders", patience=60)["databases"]["orders"]["copies"] == {"offsite": "owed"}
    shutil.copytree(production.root, staging.root)
    staging.start()

    until(lambda: staging.status()["destinations"]["offsite"].get("reason"), "first retry of the copy")
    assert staging.status()["destinations"]["offsite"]["reason"] == "foreign_root"
    assert stored(seaweedfs, tmp_path) == {}
    answer = staging.ask(database="orders", type="FULL")
    assert "nothing is deleted here, and nothing is copied from here" in answer["error"]


@pytest.mark.nightly
def test_an_agent_with_a_lost_volume_continues_to_copy(
    pair: tuple[Live, Live], seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    live, _ = pair
    live.start()
    assert live.ask(database="orders")["state"] == "succeeded"
    before, there = owner_of(live)["id"], stored(seaweedfs, tmp_path)
    assert live.end() == 0
    shutil.rmtree(live.root)
    live.start()
    live.commit()
    answer = live.ask(database="orders")

    assert answer["state"] == "succeeded"
    assert owner_there(seaweedfs, tmp_path)["id"] == owner_of(live)["id"] != before
    assert len(stored(seaweedfs, tmp_path)) == len(there) + 2
    assert there.items() <= stored(seaweedfs, tmp_path).items()


@pytest.mark.nightly
def test_a_copy_killed_with_its_agent_is_repeated_at_once_after_a_restart(
    pair: tuple[Live, Live], seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    live, _ = pair
    live.settings["storage"]["destinations"]["offsite"]["bandwidth"] = "256KiB"
    live.change(lambda cluster: cluster.with_database("orders", store_bytes=4 << 20))
    live.start()
    live.drop(id="one", database="orders")
    live.until_stage("one", "copies")
    until(lambda: live.answer_of("one").get("progress", {}).get("bytes"), "progress of the copy")

    def number() -> int:
        try:
            lease = json.loads(content(seaweedfs, tmp_path, ".agent/lease.json"))
        except seaweedfs.client().exceptions.NoSuchKey:
            return 0
        return int(lease["number"])

    before = number()
    live.kill_all()
    live.settings["storage"]["destinations"]["offsite"].pop("bandwidth")
    live.start()
    answer = live.final("one", patience=60)

    assert answer["databases"]["orders"]["copies"] == {"offsite": "stored"}
    assert number() > before > 0

"""Copies to S3: confirmed, missing, tried again. The next backup never waits for them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.bucket import WARNED, content, destination, stored
from tests.agent.live import Live
from tests.components.seaweedfs import KEYS, SeaweedFS
from tests.polling import until


@pytest.fixture(name="offsite")
def _offsite(live: Live, seaweedfs: SeaweedFS, tmp_path: Path) -> Iterator[Live]:
    """A live agent with a destination in the real S3 server."""
    live.settings["storage"]["destinations"] = {"offsite": destination(seaweedfs, tmp_path)}
    live.environ = KEYS
    yield live
    if not seaweedfs.running:
        seaweedfs.start()


def test_a_copy_is_confirmed_with_its_record(offsite: Live, seaweedfs: SeaweedFS, tmp_path: Path) -> None:
    offsite.start()
    answer = offsite.ask(database="orders")
    result = answer["databases"]["orders"]
    key = result["artifact"]

    assert (answer["state"], result["copies"]) == ("succeeded", {"offsite": "stored"})
    assert stored(seaweedfs, tmp_path).keys() == {key, f"{key}.json"}
    assert content(seaweedfs, tmp_path, key) == (offsite.root / key).read_bytes()
    here, there = offsite.records()[0], json.loads(content(seaweedfs, tmp_path, f"{key}.json"))
    assert there == {**here, "fencing": there["fencing"]}
    assert there["fencing"] > 0
    assert offsite.metric("neo4j_backup_copies_owed", destination="offsite") == 0
    assert offsite.metric("neo4j_backup_storage_up", destination="offsite") == 1


def test_the_lease_is_held_from_the_first_copy_until_the_agent_ends(
    offsite: Live, seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    def lease() -> tuple[int, bool]:
        found = json.loads(content(seaweedfs, tmp_path, ".agent/lease.json"))
        return found["number"], found["released"]

    offsite.start()
    for state in ("succeeded", "succeeded"):
        assert offsite.ask(database="orders")["state"] == state
        assert lease() == (1, False)
    offsite.end()

    assert lease() == (1, True)


def test_missing_copies_are_made_parents_first_when_the_store_works_again(
    offsite: Live, seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    offsite.start()
    seaweedfs.kill()
    first = offsite.ask(database="orders", patience=60)
    offsite.commit()
    second = offsite.ask(database="orders", patience=60)
    status = offsite.status()["destinations"]["offsite"]

    assert [(answer["state"], answer["reason"]) for answer in (first, second)] == [WARNED] * 2
    assert second["databases"]["orders"]["copies"] == {"offsite": "owed"}
    assert (status["up"], status["owed"], status["reason"]) == (False, 2, "storage_unreachable")
    assert status["retry_seconds"] > 0
    assert offsite.metric("neo4j_backup_copies_owed", destination="offsite") == 2
    assert offsite.metric("neo4j_backup_storage_up", destination="offsite") == 0
    assert offsite.is_ready()

    seaweedfs.start()
    offsite.write_settings(sets=["weekly"])  # after a change of the settings the next try is at once
    until(lambda: not offsite.status()["destinations"]["offsite"]["owed"], "copies", patience=60)
    full, diff = (record["key"] for record in offsite.records())
    written = stored(seaweedfs, tmp_path)
    assert written.keys() == {full, f"{full}.json", diff, f"{diff}.json"}
    assert written[full] <= written[f"{full}.json"] <= written[diff] <= written[f"{diff}.json"]
    assert until(lambda: offsite.events("missing copies made"), "line of the copies")[0]["copied"] == 2
    assert offsite.status()["destinations"]["offsite"]["up"]


def test_missing_copies_are_known_after_a_restart_and_made_with_the_next_backup(
    offsite: Live, seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    """A copy that was complete when the agent was killed is found at the destination, and nothing is sent twice."""
    offsite.settings["storage"].pop("destinations")
    offsite.start()
    offsite.ask(database="orders")
    assert offsite.end() == 0
    offsite.settings["storage"]["destinations"] = {"offsite": destination(seaweedfs, tmp_path)}
    offsite.start()
    until(lambda: len(stored(seaweedfs, tmp_path)) == 2, "owed copy", patience=60)
    until(lambda: not offsite.status()["destinations"]["offsite"]["owed"], "note of the copy")

    assert offsite.ask("again", database="neo4j")["state"] == "succeeded"
    assert len(stored(seaweedfs, tmp_path)) == 4


def test_an_ad_hoc_set_stays_on_the_volume(offsite: Live, seaweedfs: SeaweedFS, tmp_path: Path) -> None:
    offsite.settings["sets"] = ["weekly"]
    offsite.start()
    adhoc = offsite.ask("a", database="orders", path="before-upgrade")
    declared = offsite.ask("b", database="orders", path="weekly")

    assert (adhoc["state"], adhoc["databases"]["orders"]["copies"]) == ("succeeded", {})
    assert "ad hoc set" in adhoc["set_note"]
    assert declared["databases"]["orders"]["copies"] == {"offsite": "stored"}
    assert {key.split("/")[0] for key in stored(seaweedfs, tmp_path)} == {"weekly"}
    assert offsite.metric("neo4j_backup_copies_owed", destination="offsite") == 0


def test_a_wrong_secret_is_reported_and_the_backup_succeeds(offsite: Live) -> None:
    offsite.start(AWS_SECRET_ACCESS_KEY="SK-that-is-wrong")
    answer = offsite.ask(database="orders", patience=60)
    status = offsite.status()["destinations"]["offsite"]

    assert (answer["state"], answer["reason"]) == WARNED
    assert status["reason"] == "storage_auth"
    assert f"offsite: {status['hint']}" in answer["hint"]
    assert offsite.metric("neo4j_backup_storage_errors_total", destination="offsite", reason="storage_auth") == 1
    assert "SK-that-is-wrong" not in json.dumps(answer) + json.dumps(status) + "".join(offsite.text)


def test_an_upload_respects_the_bandwidth(offsite: Live, seaweedfs: SeaweedFS, tmp_path: Path) -> None:
    slow = destination(seaweedfs, tmp_path, bandwidth="1MiB")
    offsite.settings["storage"]["destinations"] = {"offsite": slow}
    offsite.change(lambda cluster: cluster.with_database("orders", store_bytes=4 << 20))
    offsite.start()
    result = offsite.ask(database="orders", patience=60)["databases"]["orders"]

    assert result["copies"] == {"offsite": "stored"}
    assert result["stages"]["copies"] >= (result["size"] - (1 << 20)) / (1 << 20) > 1


def test_a_backup_cancelled_during_its_copy_keeps_the_artifact_and_the_copy_goes_on(
    offsite: Live, seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    slow = destination(seaweedfs, tmp_path, bandwidth="64KiB")
    offsite.settings["storage"]["destinations"] = {"offsite": slow}
    offsite.change(lambda cluster: cluster.with_database("orders", store_bytes=4 << 20))
    offsite.start()
    offsite.drop("x.request", id="one", database="orders")
    offsite.until_stage("one", "copies")
    until(lambda: offsite.answer_of("one").get("progress", {}).get("bytes"), "progress of the copy")
    assert offsite.ask("stop", action="cancel", id="one")["state"] == "succeeded"
    answer = offsite.answer(patience=10)

    (record,) = offsite.records()
    assert (answer["state"], answer["databases"]["orders"]["copies"]) == ("cancelled", {"offsite": "owed"})
    assert f"{record['key']} is recorded, and its copy is still made at offsite" in answer["error"]
    assert ("copy", record["key"]) in [(run["kind"], run.get("artifact")) for run in offsite.status()["running"]]
    assert offsite.metric("neo4j_backup_copies_owed", destination="offsite") == 1


def test_retention_of_a_destination_deletes_only_there_and_writes_wanted_holds(
    offsite: Live, seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    place = destination(seaweedfs, tmp_path, retention={"last": 1, "max_delete_share": 1, "min_age": "1h"})
    offsite.settings["storage"]["destinations"] = {"offsite": place}
    offsite.start()
    first, second, third = (
        offsite.ask(f"r{number}", database="orders", type="FULL")["databases"]["orders"]["artifact"]
        for number in range(3)
    )
    offsite.ask("hold", action="hold", artifact=first, reason="audit")
    until(lambda: f"{first}.hold.json" in stored(seaweedfs, tmp_path), "hold at the destination")
    offsite.settings["storage"]["destinations"]["offsite"]["retention"].pop("min_age")
    offsite.write_settings()
    until(lambda: f"{second}.json" not in stored(seaweedfs, tmp_path), "pruned destination")
    until(lambda: second not in stored(seaweedfs, tmp_path), "data gone after its record")

    left = {first, third}
    assert stored(seaweedfs, tmp_path).keys() == left | {f"{key}.json" for key in left} | {f"{first}.hold.json"}
    assert len(offsite.records()) == 3
    assert offsite.metric("neo4j_backup_copies_owed", destination="offsite") == 0

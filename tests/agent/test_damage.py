"""Damage on the volume and in a real bucket: a live agent finds, marks, reports and heals it."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_agent.core.artifacts.records import Record
from tests.agent.bucket import content, destination, stored
from tests.agent.live import Live
from tests.catalog.places import write_record
from tests.components.seaweedfs import BUCKET, KEYS, SeaweedFS
from tests.polling import until

DAMAGED = "neo4j_backup_artifacts_damaged"
SUCCESS = "neo4j_backup_last_success_timestamp_seconds"


class Places:
    """The volume of a live agent and its place in the bucket, read and changed by the test."""

    def __init__(self, live: Live, seaweedfs: SeaweedFS, folder: Path) -> None:
        self.live = live
        self._seaweedfs = seaweedfs
        self._folder = folder

    def read(self, place: str, key: str) -> bytes:
        if place == "local":
            return (self.live.root / key).read_bytes()
        return content(self._seaweedfs, self._folder, key)

    def has(self, place: str, key: str) -> bool:
        return (self.live.root / key).exists() if place == "local" else key in stored(self._seaweedfs, self._folder)

    def flip(self, place: str, key: str) -> None:
        """Flip one bit near the end."""
        found = self.read(place, key)
        flipped = found[:-9] + bytes((found[-9] ^ 1,)) + found[-8:]
        if place == "local":
            (self.live.root / key).unlink()  # other hard links to this file keep their content
            (self.live.root / key).write_bytes(flipped)
        else:
            where = f"{self._folder.name}/demo/{key}"
            self._seaweedfs.client().put_object(Bucket=BUCKET, Key=where, Body=flipped)

    def remove(self, place: str, key: str) -> None:
        if place == "local":
            (self.live.root / key).unlink()
        else:
            self._seaweedfs.client().delete_object(Bucket=BUCKET, Key=f"{self._folder.name}/demo/{key}")


@pytest.fixture(name="places")
def _places(live: Live, seaweedfs: SeaweedFS, tmp_path: Path) -> Places:
    live.settings["storage"]["destinations"] = {"offsite": destination(seaweedfs, tmp_path)}
    live.environ = KEYS
    return Places(live, seaweedfs, tmp_path)


def backed_up(live: Live, name: str = "b", **request: Any) -> str:
    """Take a backup with its copy. Return the artifact's key."""
    answer = live.ask(name, database="orders", patience=60, **request)

    assert answer["state"] == "succeeded"
    return str(answer["databases"]["orders"]["artifact"])


@pytest.mark.parametrize("place", ["offsite", "local"])
def test_a_flipped_bit_is_found_marked_counted_and_healed(places: Places, place: str) -> None:
    live = places.live.start()
    key = backed_up(live)
    good, record = places.read(place, key), places.read(place, f"{key}.json")
    places.flip(place, key)
    found = live.ask("v", action="verify", artifact=key, place=place)

    assert (found["state"], found["reason"]) == ("failed", "checksum_mismatch")
    assert found["places"][place]["damaged"] == [key]
    assert places.has(place, f"{key}.damaged.json")
    until(lambda: live.metric(DAMAGED, place=place) == 1, "damage in the metrics")
    assert live.metric("neo4j_backup_verify_total", place=place, outcome="damaged") == 1
    assert (live.metric(SUCCESS, type="FULL") is None) == (place == "local")

    healed = live.ask("h", action="verify", heal=True, artifact=key, place=place)

    assert (healed["state"], healed["places"][place]["healed"]) == ("succeeded", [key])
    assert (places.read(place, key), places.read(place, f"{key}.json")) == (good, record)
    assert not places.has(place, f"{key}.damaged.json")
    until(lambda: live.metric(DAMAGED, place=place) == 0, "no damage in the metrics")
    assert live.metric("neo4j_backup_verify_total", place=place, outcome="healed") == 1
    assert live.metric(SUCCESS, type="FULL") is not None
    assert live.ask("again", action="verify", artifact=key)["state"] == "succeeded"


def test_one_request_heals_all_damaged_and_missing_artifacts_that_have_an_undamaged_copy(places: Places) -> None:
    live = places.live.start()
    first = backed_up(live)
    live.commit()
    second = backed_up(live, "c")
    good = {key: places.read("local", key) for key in (first, second)}
    places.flip("local", first)
    places.remove("offsite", second)
    answer = live.ask("h", action="verify", heal=True, patience=60)

    assert answer["state"] == "succeeded"
    assert {place: result["healed"] for place, result in answer["places"].items()} == {
        "local": [first],
        "offsite": [second],
    }
    assert {place: {key: places.read(place, key) for key in good} for place in ("local", "offsite")} == {
        "local": good,
        "offsite": good,
    }

    places.flip("local", second)
    places.remove("offsite", second)
    hopeless = live.ask("w", action="verify", heal=True, artifact=second, place="local")

    assert (hopeless["state"], hopeless["reason"]) == ("failed", "checksum_mismatch")
    assert "has no undamaged copy elsewhere: offsite: its file is missing" in hopeless["error"]
    assert places.has("local", f"{second}.damaged.json")
    until(lambda: live.events("artifact not healed"), "line of the failure")


def test_retention_does_not_count_a_damaged_copy_as_a_point(places: Places) -> None:
    place = places.live.settings["storage"]["destinations"]["offsite"]
    place["retention"] = {"last": 1, "max_delete_share": 1}
    live = places.live.start()
    first = backed_up(live, type="FULL")
    live.ask("hold", action="hold", artifact=first, reason="not yet")
    second = backed_up(live, "c", type="FULL")
    places.flip("offsite", second)
    live.ask("v", action="verify", artifact=second, place="offsite")
    live.ask("release", action="release", artifact=first, reason="healed")
    answer = live.ask("p", action="prune", place="offsite", dry_run=True)

    assert first not in [one["key"] for one in answer["places"]["offsite"]["deletions"]]


@pytest.mark.nightly
def test_an_agent_killed_while_healing_heals_after_a_restart(places: Places) -> None:
    live = places.live
    live.change(lambda cluster: cluster.with_database("orders", store_bytes=2 << 20))
    live.start()
    key = backed_up(live)
    good = places.read("offsite", key)
    places.flip("local", key)
    live.ask("v", action="verify", artifact=key, place="local")
    assert live.end() == 0
    live.settings["verify"] = {"bandwidth": "1MiB"}
    live.start()
    live.drop("h.request", action="verify", heal=True, artifact=key, place="local", id="heal")

    def fetched() -> list[Path]:
        return [path for path in (live.root / ".staging").rglob("*.backup") if path.stat().st_size]

    until(fetched, "copy under way")
    live.kill_all()

    assert places.has("local", f"{key}.damaged.json")
    assert places.read("offsite", key) == good

    live.settings["verify"] = {}
    live.start()
    answer = live.final("heal", patience=60)
    assert answer["state"] == "succeeded", str(answer)
    assert places.read("local", key) == good
    assert not places.has("local", f"{key}.damaged.json")
    assert not fetched()


@pytest.mark.nightly
def test_verification_continues_after_a_kill(places: Places) -> None:
    live = places.live
    live.change(lambda cluster: cluster.with_database("orders", store_bytes=1 << 20))
    live.start()
    keys = [backed_up(live, f"r{number}", type="FULL") for number in range(3)]
    assert live.end() == 0
    for key in keys:  # taken long ago: all are overdue, the first one for the longest time
        path = live.root / f"{key}.json"
        record = Record.from_json(path.read_bytes())
        write_record(live.root, record.model_copy(update={"finished": record.finished - timedelta(days=60)}))
    live.settings["verify"] = {"bandwidth": "1MiB"}
    live.start()
    live.drop("v.request", action="verify", place="local", id="v")
    until(lambda: live.metric("neo4j_backup_verify_total", place="local", outcome="verified"), "first one read")
    live.kill_all()
    (log,) = (live.root / ".agent" / "verified").glob("local@*/log")
    done = [line.split()[1] for line in log.read_text().splitlines()]
    live.settings["verify"] = {}
    live.start()

    answer = live.final("v", patience=60)
    assert answer["state"] == "succeeded", str(answer)
    assert 0 < len(done) < 3
    assert [line.split()[1] for line in log.read_text().splitlines()] == keys


def test_one_request_for_all_finds_and_heals_every_flipped_byte(places: Places) -> None:
    live = places.live.start()
    keys = [backed_up(live, f"r{number}", type="FULL") for number in range(4)]
    good = {key: places.read("offsite", key) for key in keys}
    for key in keys[::2]:
        places.flip("local", key)
    slices = [live.ask("due", action="verify", place="local", id=f"due-{number}") for number in range(2)]
    found = live.ask("v", action="verify", all=True, place="local", id="all")
    healed = live.ask("h", action="verify", all=True, heal=True, id="heal", patience=60)
    again = live.ask("a", action="verify", all=True, id="again", patience=60)

    for answer in slices:
        place = answer["places"]["local"]
        assert sum(one["artifacts"] for one in place["not_read"]) == 3
    assert (found["state"], found["reason"]) == ("failed", "checksum_mismatch")
    assert (found["places"]["local"]["verified"], found["places"]["local"]["damaged"]) == (2, keys[::2])
    assert (healed["state"], healed["places"]["local"]["healed"]) == ("succeeded", keys[::2])
    assert {place: one["verified"] for place, one in again["places"].items()} == {"local": 4, "offsite": 4}
    assert {key: places.read("local", key) for key in keys} == good
    begun = live.events("verification started")[0]
    assert (begun["artifacts"], begun["size"]) == (4, sum(len(content) for content in good.values()))
    assert begun["estimated_seconds"] is not None


def test_a_truncated_record_is_a_warning_and_in_metrics_and_status(places: Places) -> None:
    live = places.live.start()
    cut, sound = backed_up(live, type="FULL"), backed_up(live, "c", type="FULL")
    path = live.root / f"{cut}.json"
    path.write_bytes(path.read_bytes()[:200])
    answer = live.ask("v", action="verify", place="local")
    (live.root / f"{sound}.json").write_bytes(b"{")
    nothing = live.ask("w", action="verify", place="local")

    assert answer["state"] == "succeeded_with_warnings"
    assert f"{cut}.json" in answer["error"]
    assert (nothing["state"], nothing["reason"]) == ("failed", "nothing_verified")
    metric = "neo4j_backup_unreadable_artifacts"
    until(lambda: live.metric(metric, place="local", why="record_unreadable") == 2, "unreadable records in the metrics")
    assert live.status()["places"]["local"]["unreadable"]["record_unreadable"] == [f"{cut}.json", f"{sound}.json"]
    assert live.events("artifacts not readable")[0]["found"] == {"record_unreadable": [f"{cut}.json"]}


def test_a_full_missing_at_a_destination_is_reported_and_copied_again(
    places: Places,
) -> None:
    live = places.live.start()
    full = backed_up(live)
    live.commit()
    link = backed_up(live, "c")
    for key in (full, f"{full}.json"):
        places.remove("offsite", key)
    checked = live.ask("v", action="verify", place="offsite")
    broken = live.metric("neo4j_backup_unrestorable_artifacts", place="offsite")
    live.commit()
    newest = backed_up(live, "d")
    whole = live.ask("w", action="verify", artifact=newest, chain=True, place="offsite")

    assert (checked["state"], broken) == ("succeeded_with_warnings", 1)
    assert full in checked["error"]
    assert link in checked["error"]
    assert (whole["state"], whole["places"]["offsite"]["verified"]) == ("succeeded", 3)
    assert live.ask("x", action="verify", place="offsite", all=True)["state"] == "succeeded"
    until(lambda: live.metric("neo4j_backup_unrestorable_artifacts", place="offsite") == 0, "whole chains")


def test_a_request_for_all_gives_way_to_a_backup_and_continues_after_it(places: Places) -> None:
    live = places.live
    live.change(lambda cluster: cluster.with_database("orders", store_bytes=1 << 20))
    live.start()
    keys = [backed_up(live, f"r{number}", type="FULL") for number in range(4)]
    assert live.end() == 0
    live.settings["verify"] = {"bandwidth": "1MiB"}
    live.start()
    live.drop("v.request", action="verify", all=True, place="local", id="v")
    until(lambda: live.metric("neo4j_backup_verify_total", place="local", outcome="verified"), "first one read")
    newest = backed_up(live, "b", type="FULL")
    behind = live.answer_of("v")
    until(
        lambda: live.metric("neo4j_backup_verify_total", place="local", outcome="verified") not in (None, 1),
        "slice after it",
    )
    live.kill_all()
    (progress,) = (live.root / ".agent" / "verified").glob("local@*/asked/v")
    done = progress.read_text().count("\n")
    live.settings["verify"] = {}
    live.start()
    answer = live.final("v", patience=60)

    assert behind["state"] == "running"
    assert 2 <= done < 5
    assert answer["state"] == "succeeded", str(answer)
    assert (answer["places"]["local"]["verified"], answer["places"]["local"]["artifacts"]) == (5, 5)
    lines = [json.loads(line)["key"] for line in progress.read_text().splitlines()]
    assert sorted(lines) == sorted([*keys, newest])

"""Passes over a place that are killed at each step. The place is checked after each death and after the next pass.

The steps are the changes that a pass makes: names and files on the volume, requests to the bucket. The invariants are
checked without code of the agent (tests/jobs/outside.py), against the results that are written here.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backup_agent.catalog.audit_reading import AuditSource, examine
from backup_agent.catalog.place import place_of
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.audit.examination import GAPS, AuditFault
from backup_agent.signing.keyring import Keyring
from tests.components.seaweedfs import BUCKET, SeaweedFS
from tests.jobs.killed import LONGEST, PRUNE, Dying, Places, result_of
from tests.jobs.outside import begun, broken, faults, of_folder, records
from tests.jobs.worlds import World, aged, chained, owing

SHARES = 2
QUICKLY = 30.0
"""Seconds. Without the release of a dead holder's lease, a takeover would take three minutes."""


def die_at_each_step(share: int, at: Callable[[int], bool]) -> int:
    """Go through this worker's steps until a child lives. Return the last result."""
    for step in range(share, LONGEST, SHARES):
        if not at(step):
            return step
    raise AssertionError(f"it has more than {LONGEST} steps")


def audited(places: Places, world: World, place: str) -> set[AuditFault]:
    """Return what is wrong with the audit log of a place, from a copy of the bucket for a destination."""
    folder = world.root
    if world.destinations:
        folder = world.root.parent / "bucket"
        for key, content in places.seen(world, hidden=True).items():
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    source = AuditSource.of_folder(place_of(place, world.settings).name, folder)
    return {one.fault for one in examine(source, Keyring(world.settings)).findings}


def deletions(world: World) -> set[str]:
    """Return the artifacts that the log says were deleted: announced with a plan, or left by an earlier life."""
    lines = list(AuditSource.of_folder(VOLUME, world.root).lines())
    announced = {line.key for line in lines if line.kind == "deleting" and line.plan}
    return {line.key or "" for line in lines if line.kind == "deleted" and (line.why or line.key in announced)}


def pruned_at_each_step(places: Places, dying: Dying, share: int) -> int:
    def die(step: int) -> bool:
        world = places.make(str(step), aged)
        first = dying.run(PRUNE, world, step, place=world.place)
        if first["died"]:
            seen = places.seen(world)
            ours = begun(world.root, world.place)
            assert list(faults(seen, ours=ours, strangers=world.strangers, damaged=world.damaged)) == []
            assert list(broken(seen, world.kept)) == []
        started = time.monotonic()
        result = result_of(dying.run(PRUNE, world, None, place=world.place))["result"]

        assert result["outcome"] == "succeeded", result
        assert time.monotonic() - started < QUICKLY
        seen = places.seen(world)
        assert list(faults(seen, ours={world.young}, strangers=world.strangers)) == []
        assert list(broken(seen, world.kept)) == []
        left = {key.partition(".backup")[0] for key in seen}
        assert not left & {key.partition(".backup")[0] for key in world.going}
        assert {key for key in seen if key.endswith(".hold.json")} == {f"{world.kept[0]}.hold.json"}
        assert begun(world.root, world.place) == {world.young}
        if world.destinations:
            assert places.lease(world)["released"]
        else:
            assert not (world.root / "test").exists()  # the ad hoc set and its folder
        assert set(world.going) <= deletions(world)
        assert not audited(places, world, world.place) - GAPS
        return bool(first["died"])

    return die_at_each_step(share, die)


@pytest.mark.parametrize("share", range(SHARES))
def test_retention_killed_at_any_step_is_finished_by_the_next_pass(tmp_path: Path, dying: Dying, share: int) -> None:
    assert pruned_at_each_step(Places(tmp_path, None), dying, share) > (0 if dying.kinds else 60)


@pytest.mark.parametrize("share", range(SHARES))
def test_retention_of_a_bucket_killed_at_any_step_is_finished_by_the_next_pass(
    tmp_path: Path, dying: Dying, seaweedfs: SeaweedFS, share: int
) -> None:
    assert pruned_at_each_step(Places(tmp_path, seaweedfs), dying, share) > (0 if dying.kinds else 60)


def test_a_copy_killed_at_any_step_leaves_no_lease_and_is_finished_by_the_next_pass(
    tmp_path: Path, dying: Dying, seaweedfs: SeaweedFS
) -> None:
    places = Places(tmp_path, seaweedfs)
    orphans = 0
    for step in range(LONGEST):
        world = places.make(str(step), owing, on_volume=True)
        died = dying.copy(world, step)["died"]
        seen = places.seen(world)
        assert list(faults(seen, ours=begun(world.root, "offsite"), strangers={})) == []
        orphans += bool(begun(world.root, "offsite") & seen.keys())
        started = time.monotonic()
        result = result_of(dying.copy(world, None))

        assert result["failure"] is None, result
        assert time.monotonic() - started < QUICKLY
        seen = places.seen(world)
        assert list(faults(seen, ours=(), strangers={})) == []
        assert list(broken(seen, world.kept)) == []
        assert seen.keys() == of_folder(world.root).keys()
        if not places.lease(world)["released"]:  # killed after the last copy: the next holder takes the lease
            started = time.monotonic()
            assert result_of(dying.run(PRUNE, world, None, place="offsite"))["result"]["outcome"] == "succeeded"
            assert time.monotonic() - started < QUICKLY
        lease = places.lease(world)
        assert lease["released"]
        assert all(1 <= record["fencing"] <= lease["number"] for record in records(seen).values())
        assert begun(world.root, "offsite") == set()
        assert {*world.kept} <= {
            line.key for line in AuditSource.of_folder(VOLUME, world.root).lines() if line.kind == "copied"
        }
        assert not audited(places, world, "offsite") - GAPS
        if not died:
            break

    assert step > (0 if dying.kinds else 40)
    assert orphans > (0 if dying.kinds else 5)


@pytest.mark.parametrize("what", ["record and file", pytest.param("file", marks=pytest.mark.nightly)])
def test_a_copy_killed_at_any_step_never_publishes_a_differential_without_its_full(
    tmp_path: Path, dying: Dying, seaweedfs: SeaweedFS, what: str
) -> None:
    places = Places(tmp_path, seaweedfs)
    for step in range(LONGEST):
        world = places.make(str(step), chained, on_volume=True)
        full, _, newest = world.kept
        with world.without(newest):
            result_of(dying.copy(world, None))
        for key in (full,) if what == "file" else (full, f"{full}.json"):
            seaweedfs.client().delete_object(Bucket=BUCKET, Key=f"{world.destinations['offsite']['prefix']}/demo/{key}")

        died = dying.copy(world, step)["died"]
        seen = places.seen(world)
        if f"{newest}.json" in seen:
            assert list(broken(seen, [newest])) == []
        result = result_of(dying.copy(world, None))

        assert result["failure"] is None, result
        seen = places.seen(world)
        assert list(faults(seen, ours=(), strangers={})) == []
        assert list(broken(seen, world.kept)) == []
        if not died:
            break
    assert step > (0 if dying.kinds else 20)


def test_orphans_of_an_unwanted_copy_are_deleted_after_their_grace_period(
    tmp_path: Path, dying: Dying, seaweedfs: SeaweedFS
) -> None:
    places = Places(tmp_path, seaweedfs)
    for step in range(LONGEST):
        world = places.make(str(step), owing, on_volume=True)
        assert dying.copy(world, step)["died"]
        if places.seen(world).keys() - {"owner.json"}:
            break
    dropped = result_of(dying.run(PRUNE, world, None, place="local", drop_owed="offsite"))
    in_time = result_of(dying.run(PRUNE, world, None, place="offsite"))
    still = places.seen(world).keys() - {"owner.json"}
    world.age_intents(days=2)
    later = result_of(dying.run(PRUNE, world, None, place="offsite"))

    assert [one["result"]["outcome"] for one in (dropped, in_time, later)] == ["succeeded"] * 3
    assert len(still) == 1
    assert places.seen(world).keys() == {"owner.json"}
    assert begun(world.root, "offsite") == set()


@pytest.mark.parametrize("kind", ["volume", "bucket"])
def test_a_rebuild_killed_at_any_step_gives_the_same_index_the_next_time(
    tmp_path: Path, dying: Dying, kind: str, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("seaweedfs") if kind == "bucket" else None
    places = Places(tmp_path, server)
    world = places.make("0", aged)
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(world.tree))
    rebuild = ["--config", str(config), "catalog", "rebuild", "--place", world.place]
    dying.run(rebuild, world, None)
    (index,) = (world.root / ".agent" / "catalog").glob(f"{world.place}@*")
    whole, before = index.read_bytes(), places.seen(world)
    head, first, *lines = whole.splitlines(keepends=True)
    cases = {
        "none": b"",
        "cut off": whole[:-20],
        "altered": head + bytes(8) + first[8:] + b"".join(lines),
    }

    for what, left in cases.items():
        for step in range(LONGEST):
            index.write_bytes(left)
            died = dying.run(rebuild, world, step)["died"]
            assert index.read_bytes() in (left, whole)
            assert dying.run(rebuild, world, None)["code"] == 0

            assert index.read_bytes() == whole
            assert places.seen(world) == before
            if not died:
                break
        assert step >= 2, what
    survey = {"open_runs": (), "settings": world.tree}
    assert dying.order("backup_agent.jobs.survey:main", world.root, None, survey)["code"] == 0

    assert [path.name for path in index.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("first", ["hold", "release"])
def test_a_hold_or_release_killed_at_any_step_is_atomic_and_can_be_repeated(
    tmp_path: Path, dying: Dying, first: str
) -> None:
    for step in range(LONGEST):
        root = tmp_path / str(step) / "backups"
        world = owing(World(root, "offsite", {"offsite": {"type": "s3", "bucket": "backups"}}))
        key = world.kept[0]
        place_of("offsite", world.settings).record_notes.add(key, b"{}")
        mark = root / f"{key}.hold.json"
        (wish,) = (
            path.parents[4] / "holds" / path.parents[2].name / key
            for path in root.glob(".agent/recorded/offsite@*/*/*/*")
        )
        if first == "release":
            dying.run("hold", world, None, artifact=key)

        died = dying.run(first, world, step, artifact=key)["died"]
        for file in (mark, wish):
            if file.exists() and file.read_bytes() != b"released\n":
                assert json.loads(file.read_text())["key"] == key
        assert dying.run(first, world, None, artifact=key)["code"] == 0

        assert mark.exists() == (first == "hold")
        assert (wish.read_bytes() == b"released\n") == (first == "release")
        if not died:
            break
    assert step >= 4

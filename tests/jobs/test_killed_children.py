"""Passes over a place that are killed at each step: judged from outside after each death, and after the next pass.

The steps are the changes a pass makes: names and files on the volume, requests to the bucket. What must hold is read
from the place itself (tests/jobs/outside.py); what a pass should have done stands here, and is not asked of the agent.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest

from tests.agent.test_copies import KEYS
from tests.components.seaweedfs import BUCKET, SeaweedFS
from tests.jobs.outside import begun, broken, faults, of_bucket, of_folder, records
from tests.jobs.worlds import RETENTION, World, aged, chained, owing

HERE = Path(__file__).parent
COPY = "backup_agent.jobs.copy:main"
PRUNE = "backup_agent.jobs.prune:main"

LONGEST = 600
"""More steps than any pass has."""

SHARES = 2
QUICKLY = 5.0
"""Seconds: a lease that its dead holder keeps would take 45 to be taken over."""


class Dying:
    """The program whose forks die (dying.py)."""

    def __enter__(self) -> Self:
        environ = {**os.environ, **KEYS, "AWS_EC2_METADATA_DISABLED": "true", "PYDANTIC_DISABLE_PLUGINS": "__all__"}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "dying.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def run(self, call: str | list[str], world: World, at: int | None, **task: Any) -> dict[str, Any]:
        """Let a child run; tell how it ended."""
        return self.order(call, world, at, {"run": "r", "settings": world.settings, **task})

    def order(self, call: str | list[str], world: World, at: int | None, task: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        order = {"call": call, "task": task, "at": at, "below": str(world.root)}
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()
        ended: dict[str, Any] = json.loads(self.process.stdout.readline())
        return ended


@pytest.fixture(name="dying", scope="module")
def _dying() -> Iterator[Dying]:
    with Dying() as dying:
        yield dying


class Places:
    """Makes worlds, and looks at them."""

    def __init__(self, folder: Path, server: SeaweedFS | None) -> None:
        self.folder = folder
        self.server = server
        self.client = server.client() if server else None
        self.known: dict[str, bytes] = {}

    def make(self, number: str, fill: Callable[[World], World], *, on_volume: bool = False) -> World:
        root = self.folder / number / "backups"
        root.mkdir(parents=True)
        if self.server is None:
            return fill(World(root, "local", lambda key, data: write(root / key, data)))
        prefix = f"{self.folder.name}-{number}"
        there = {"bucket": BUCKET, "endpoint_url": self.server.endpoint_url, "path_style": True, "region": "us-east-1"}
        destination = {"type": "s3", **there, "prefix": prefix, "retention": RETENTION}

        def put(key: str, data: bytes) -> None:
            if on_volume:
                write(root / key, data)
                return
            assert self.client is not None
            self.client.put_object(Bucket=BUCKET, Key=f"{prefix}/demo/{key}", Body=data)

        return fill(World(root, "offsite", put, {"offsite": destination}))

    def seen(self, world: World) -> dict[str, bytes]:
        if not world.destinations:
            return of_folder(world.root)
        return of_bucket(self.client, BUCKET, f"{world.destinations['offsite']['prefix']}/demo", self.known)

    def lease(self, world: World) -> dict[str, Any]:
        assert self.client is not None
        key = f"{world.destinations['offsite']['prefix']}/demo/.agent/lease.json"
        found: dict[str, Any] = json.loads(self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())
        return found


def put(root: Path, key: str, data: bytes) -> None:
    write(root / key, data)


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def die_at_each_step(share: int, at: Callable[[int], bool]) -> int:
    """Go through the steps of a share until a child lives; return the last."""
    for step in range(share, LONGEST, SHARES):
        if not at(step):
            return step
    raise AssertionError(f"it has more than {LONGEST} steps")


def result_of(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return the last event of a child that lived."""
    assert told["code"] == 0, told
    last: dict[str, Any] = json.loads(told["told"].splitlines()[-1])
    assert last["event"] == "result"
    return last


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
            assert not (world.root / "test").exists()  # the ad hoc set, its folder too
        return bool(first["died"])

    return die_at_each_step(share, die)


@pytest.mark.parametrize("share", range(SHARES))
def test_retention_killed_at_any_step_breaks_nothing_and_is_ended_by_the_next_pass(
    tmp_path: Path, dying: Dying, share: int
) -> None:
    assert pruned_at_each_step(Places(tmp_path, None), dying, share) > 60


@pytest.mark.parametrize("share", range(SHARES))
def test_retention_of_a_bucket_killed_at_any_step_breaks_nothing_and_is_ended_by_the_next_pass(
    tmp_path: Path, dying: Dying, seaweedfs: SeaweedFS, share: int
) -> None:
    assert pruned_at_each_step(Places(tmp_path, seaweedfs), dying, share) > 60


def test_a_copy_killed_at_any_step_breaks_nothing_leaves_no_lease_and_is_ended_by_the_next_pass(
    tmp_path: Path, dying: Dying, seaweedfs: SeaweedFS
) -> None:
    places = Places(tmp_path, seaweedfs)
    orphans = 0
    for step in range(LONGEST):
        world = places.make(str(step), owing, on_volume=True)
        died = dying.run(COPY, world, step, destination="offsite", sets=["default"])["died"]
        seen = places.seen(world)
        assert list(faults(seen, ours=begun(world.root, "offsite"), strangers={})) == []
        orphans += bool(begun(world.root, "offsite") & seen.keys())
        started = time.monotonic()
        result = result_of(dying.run(COPY, world, None, destination="offsite", sets=["default"]))

        assert "reason" not in result, result
        assert time.monotonic() - started < QUICKLY
        seen = places.seen(world)
        assert list(faults(seen, ours=(), strangers={})) == []
        assert list(broken(seen, world.kept)) == []
        assert seen.keys() == of_folder(world.root).keys()
        if not places.lease(world)["released"]:  # killed when nothing was owed any more: the next that asks has it
            started = time.monotonic()
            assert result_of(dying.run(PRUNE, world, None, place="offsite"))["result"]["outcome"] == "succeeded"
            assert time.monotonic() - started < QUICKLY
        lease = places.lease(world)
        assert lease["released"]
        assert all(1 <= record["fencing"] <= lease["number"] for record in records(seen).values())
        assert begun(world.root, "offsite") == set()
        if not died:
            break

    assert step > 40
    assert orphans > 5


@pytest.mark.parametrize("what", ["record and file", "file"])
def test_a_copy_killed_at_any_step_never_shows_a_differential_without_the_full_that_went_from_the_bucket(
    tmp_path: Path, dying: Dying, seaweedfs: SeaweedFS, what: str
) -> None:
    places = Places(tmp_path, seaweedfs)
    for step in range(LONGEST):
        world = places.make(str(step), chained, on_volume=True)
        full, _, newest = world.kept
        later = {path: path.read_bytes() for path in world.root.glob(f"{newest}*")}
        for path in later:
            path.unlink()
        result_of(dying.run(COPY, world, None, destination="offsite", sets=["default"]))
        for key in (full,) if what == "file" else (full, f"{full}.json"):
            seaweedfs.client().delete_object(Bucket=BUCKET, Key=f"{world.destinations['offsite']['prefix']}/demo/{key}")
        for path, data in later.items():
            path.write_bytes(data)

        died = dying.run(COPY, world, step, destination="offsite", sets=["default"])["died"]
        seen = places.seen(world)
        if f"{newest}.json" in seen:
            assert list(broken(seen, [newest])) == []
        result = result_of(dying.run(COPY, world, None, destination="offsite", sets=["default"]))

        assert "reason" not in result, result
        seen = places.seen(world)
        assert list(faults(seen, ours=(), strangers={})) == []
        assert list(broken(seen, world.kept)) == []
        if not died:
            break
    assert step > 20


def test_a_copy_that_was_cut_off_and_is_not_wanted_any_more_goes_after_its_grace(
    tmp_path: Path, dying: Dying, seaweedfs: SeaweedFS
) -> None:
    places = Places(tmp_path, seaweedfs)
    for step in range(LONGEST):
        world = places.make(str(step), owing, on_volume=True)
        assert dying.run(COPY, world, step, destination="offsite", sets=["default"])["died"]
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
def test_a_rebuild_killed_at_any_step_is_repeated_byte_for_byte(
    tmp_path: Path, dying: Dying, kind: str, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("seaweedfs") if kind == "bucket" else None
    places = Places(tmp_path, server)
    world = places.make("0", aged)
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(world.settings))
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
    survey = {"open_runs": (), "settings": world.settings}
    assert dying.order("backup_agent.jobs.survey:main", world, None, survey)["code"] == 0

    assert [path.name for path in index.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("first", ["hold", "release"])
def test_a_hold_or_release_killed_at_any_step_is_whole_or_not_there_and_done_when_asked_again(
    tmp_path: Path, dying: Dying, first: str
) -> None:
    for step in range(LONGEST):
        root = tmp_path / str(step) / "backups"
        there = {"offsite": {"type": "s3", "bucket": "backups"}}
        world = owing(World(root, "offsite", partial(put, root), there))
        key = world.kept[0]
        world.note("copied", key, "")
        mark = root / f"{key}.hold.json"
        (wish,) = (
            path.parents[4] / "holds" / path.parents[2].name / key for path in root.glob(".agent/copied/*/*/*/*")
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

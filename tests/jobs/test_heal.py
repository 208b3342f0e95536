"""Healing: what is damaged at one place comes back from another, and whatever ends it, nothing good is lost."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedIOBase
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from backup_agent.artifact.reading import read_through
from backup_agent.catalog.tenure import KEY
from backup_agent.core.artifacts.keys import damage_key, record_key
from backup_agent.core.artifacts.records import Record
from backup_agent.core.ownership.lease import Lease
from backup_agent.core.reasons import Reason
from backup_agent.durable import LIMIT
from backup_agent.stores.local import LocalStore
from backup_agent.stores.store import Store, StoredObject
from tests.artifact.writer import artifact, split
from tests.jobs.passes import Blocks, events, judged, put, verify_at
from tests.stores.faulty import WRITES, Does, Fault, FaultyStore, KilledError
from tests.stores.memory_store import MemoryStore


@dataclass
class World:
    """A volume and two destinations with the same artifacts."""

    root: Path
    stores: dict[str, Store]

    def copy(self, record: Record, *names: str) -> Record:
        """Copy an artifact from the volume to destinations."""
        for name in names or ("offsite", "mirror"):
            for file in record.files:
                key = f"{record.set}/{record.database}/{file.name}"
                self.stores[name].put_artifact(key, self.root / key, file, lambda _count: None)
            self.stores[name].create(record_key(record.key), record.model_copy(update={"fencing": 1}).to_json())
        return record

    def spoil(self, place: str, key: str, how: str = "flipped") -> None:
        """Let an artifact's file rot where it stands, with no trace in its size unless that is asked."""
        content = self.stores[place].read(key, LIMIT)
        self.stores[place].delete(key)
        if how != "missing":
            spoilt = content[:-5] if how == "cut" else content[:-9] + bytes((content[-9] ^ 1,)) + content[-8:]
            self.stores[place].create(key, spoilt)

    def verify(self, place: str, **changes: Any) -> list[dict[str, Any]]:
        return verify_at(self.stores, self.root, place=place, **changes)

    def whole(self, place: str, record: Record) -> bool:
        """Tell whether a place has the very bytes, and no mark."""
        keys = [f"{record.set}/{record.database}/{file.name}" for file in record.files]
        other = next(name for name in self.stores if name != place)
        as_before = all(self.stores[place].read(key, LIMIT) == self.stores[other].read(key, LIMIT) for key in keys)
        return as_before and self.stores[place].stat(damage_key(record.key)) is None


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> World:
    root = tmp_path / "root"
    root.mkdir()
    return World(
        root, {"local": LocalStore(root, "local"), "offsite": MemoryStore("offsite"), "mirror": MemoryStore("mirror")}
    )


@pytest.mark.parametrize("how", ["flipped", "cut", "missing"])
@pytest.mark.parametrize("place", ["local", "offsite"])
@pytest.mark.parametrize("asked", [True, False], ids=["by its key", "with all that is damaged"])
def test_what_is_damaged_comes_back_from_another_place(world: World, place: str, how: str, asked: bool) -> None:
    record = world.copy(put(world.root))
    before = world.stores[place].read(record_key(record.key), LIMIT)
    world.spoil(place, record.key, how)
    told = world.verify(place, heal=True, artifact=record.key if asked else None)

    assert (events(told, "damaged"), events(told, "healed")) == ([record.key], [record.key])
    assert told[-1]["result"]["outcome"] == "succeeded"
    assert (told[-1]["result"]["healed"], told[-1]["result"]["damaged"]) == ([record.key], [])
    assert world.whole(place, record)
    assert world.stores[place].read(record_key(record.key), LIMIT) == before
    assert not list(world.root.glob(".staging/*"))


@pytest.mark.parametrize("place", ["local", "offsite"])
def test_what_was_marked_before_is_healed_when_that_is_asked_and_not_sooner(world: World, place: str) -> None:
    record = world.copy(put(world.root))
    world.spoil(place, record.key)
    found, again = world.verify(place), world.verify(place)
    marked = world.stores[place].stat(damage_key(record.key)) is not None
    told = world.verify(place, heal=True)

    assert (found[-1]["result"]["reason"], judged(again)["keys"], marked) == (
        Reason.CHECKSUM_MISMATCH,
        [record.key],
        True,
    )
    assert events(told, "healed") == [record.key]
    assert world.whole(place, record)
    assert judged(told)["keys"] == []


def test_a_file_of_a_split_artifact_comes_from_where_it_is_right(world: World) -> None:
    """Neither destination has all of it: one lacks the first part, the other the second."""
    record = put(world.root)
    path = world.root / record.key
    split(path, artifact(), 200)
    record = record.model_copy(update={"files": read_through(path).files})
    (world.root / record_key(record.key)).write_bytes(record.to_json())
    world.copy(record)
    _, one, two, *_ = (f"{record.set}/{record.database}/{file.name}" for file in record.files)
    content = {key: world.stores["local"].read(key, LIMIT) for key in (one, two)}
    for place, key in (("local", one), ("local", two), ("offsite", one), ("mirror", two)):
        world.spoil(place, key)
    told = world.verify("local", heal=True)

    assert [event["sources"] for event in told if event["event"] == "healed"] == [["mirror", "offsite"]]
    assert {key: world.stores["local"].read(key, LIMIT) for key in (one, two)} == content


def test_a_copy_that_is_damaged_too_heals_nothing_and_the_next_one_does(world: World) -> None:
    record = world.copy(put(world.root))
    world.spoil("local", record.key)
    world.spoil("offsite", record.key)
    told = world.verify("local", heal=True)

    assert [event["sources"] for event in told if event["event"] == "healed"] == [["mirror"]]
    assert world.stores["local"].read(record.key, LIMIT) == world.stores["mirror"].read(record.key, LIMIT)


def test_without_a_good_copy_the_answer_says_what_each_place_has_and_nothing_is_replaced(world: World) -> None:
    record = world.copy(put(world.root), "offsite")
    world.spoil("offsite", record.key)
    world.spoil("local", record.key, "cut")
    left = world.stores["local"].read(record.key, LIMIT)
    result = world.verify("local", heal=True)[-1]["result"]

    assert (result["outcome"], result["reason"]) == ("failed", Reason.CHECKSUM_MISMATCH)
    assert "has no good copy elsewhere: offsite: SHA-256" in result["error"]
    assert "mirror: its file is missing" in result["error"]
    assert "take a FULL" in result["hint"]
    assert (result["damaged"], result["healed"]) == ([record.key], [])
    assert world.stores["local"].read(record.key, LIMIT) == left
    assert world.stores["local"].stat(damage_key(record.key)) is not None


def test_a_place_that_does_not_answer_is_told_as_that(world: World) -> None:
    record = world.copy(put(world.root), "offsite")
    world.spoil("local", record.key)
    world.stores["offsite"] = FaultyStore(world.stores["offsite"], Fault("open", Does.FAIL, lasting=True))
    result = world.verify("local", heal=True)[-1]["result"]

    assert result["reason"] == Reason.STORAGE_UNREACHABLE
    assert "as injected" in result["error"]


@pytest.mark.parametrize(
    ("does", "operation", "nth"),
    [
        *product([Does.DIE_BEFORE, Does.DIE_AFTER], WRITES, (1, 2, 3)),
        *product([Does.DIE_BEFORE], ("open",), range(1, 9)),
    ],
)
@pytest.mark.parametrize("place", ["local", "offsite"])
def test_a_death_at_any_step_leaves_the_mark_or_the_good_bytes_and_the_next_life_ends_it(
    world: World, place: str, does: Does, operation: str, nth: int
) -> None:
    record = world.copy(put(world.root), "offsite")
    world.spoil(place, record.key)
    world.verify(place)  # marked
    good = world.stores["local" if place == "offsite" else "offsite"]
    content = good.read(record.key, LIMIT)
    faulty = world.stores[place] = FaultyStore(world.stores[place], Fault(operation, does, nth))
    try:
        world.verify(place, heal=True)
    except KilledError:
        assert faulty.inner.stat(damage_key(record.key)) is not None or faulty.inner.read(record.key, LIMIT) == content
    assert good.read(record.key, LIMIT) == content
    faulty.revive()
    world.verify(place, heal=True)

    assert faulty.inner.read(record.key, LIMIT) == content
    assert faulty.inner.stat(damage_key(record.key)) is None


def test_a_place_that_is_another_agents_is_neither_marked_nor_healed(world: World) -> None:
    record = world.copy(put(world.root))
    world.spoil("offsite", record.key)
    world.stores["offsite"].create("owner.json", b'{"schema": 1, "id": "x", "cluster": "demo", "namespace": "other"}')
    told = world.verify("offsite", heal=True)

    assert events(told, "damaged") == [record.key]
    assert told[-1]["result"]["reason"] == Reason.FOREIGN_ROOT
    assert world.stores["offsite"].stat(damage_key(record.key)) is None


def test_what_reads_as_recorded_again_keeps_its_mark_until_it_is_healed(world: World) -> None:
    record = world.copy(put(world.root))
    world.spoil("offsite", record.key)
    world.verify("offsite")
    world.spoil("offsite", record.key)  # the same bit back
    told = world.verify("offsite", artifact=record.key)
    marked = world.stores["offsite"].stat(damage_key(record.key)) is not None
    healed = world.verify("offsite", artifact=record.key, heal=True)

    assert (told[-1]["result"]["outcome"], marked) == ("succeeded_with_warnings", True)
    assert "verify --heal" in told[-1]["result"]["warnings"][0]
    assert [event["sources"] for event in healed if event["event"] == "healed"] == [[]]
    assert world.whole("offsite", record)


def test_nothing_is_replaced_by_bytes_that_rotted_after_their_proof(world: World, monkeypatch: Any) -> None:
    """The copy on the volume rots between its proof and the upload."""
    record = world.copy(put(world.root), "offsite")
    world.spoil("offsite", record.key)
    left = world.stores["offsite"].read(record.key, LIMIT)
    replace: Callable[..., Any] = world.stores["offsite"].replace_artifact

    def late(*args: Any) -> Any:
        world.spoil("local", record.key)
        return replace(*args)

    monkeypatch.setattr(world.stores["offsite"], "replace_artifact", late)
    result = world.verify("offsite", heal=True)[-1]["result"]

    assert result["reason"] == Reason.CHECKSUM_MISMATCH
    assert world.stores["offsite"].read(record.key, LIMIT) == left


@pytest.mark.process
@pytest.mark.parametrize("place", ["local", "offsite"])
def test_healing_keeps_to_the_bandwidth_of_reading(world: World, place: str) -> None:
    """It reads the damaged one, the good one, that one again as it is put in its place, and what then stands there."""
    record = world.copy(put(world.root), "offsite")
    world.spoil(place, record.key, "missing")
    rate = 4 * record.size
    started = time.monotonic()
    told = world.verify(place, heal=True, artifact=record.key, settings={"verify": {"bandwidth": f"{rate}B"}})

    assert events(told, "healed") == [record.key]
    assert time.monotonic() - started >= 0.9 * 2 * record.size / rate


@pytest.mark.parametrize("place", ["local", "offsite"])
def test_healing_that_is_cancelled_leaves_mark_and_copy(world: World, place: str) -> None:
    record = world.copy(put(world.root), "offsite")
    world.spoil(place, record.key)
    world.verify(place)
    cancel = threading.Event()
    other = "offsite" if place == "local" else "local"
    good = world.stores[other].read(record.key, LIMIT)

    class Cancelling(FaultyStore):
        """Somebody cancels as soon as the good copy is opened."""

        def open(self, key: str) -> BufferedIOBase:
            cancel.set()
            return super().open(key)

    world.stores[other] = Cancelling(world.stores[other])
    told = world.verify(place, heal=True, cancel=cancel)

    assert told[-1]["result"]["outcome"] == "cancelled"
    assert world.stores[place].stat(damage_key(record.key)) is not None
    assert world.stores[other].read(record.key, LIMIT) == good
    assert not list(world.root.glob(".staging/*"))


def test_a_place_that_alters_what_it_is_given_keeps_its_mark(world: World) -> None:
    record = world.copy(put(world.root), "offsite")
    world.spoil("offsite", record.key)

    class Altering(FaultyStore):
        def replace_artifact(self, key: str, *rest: Any) -> StoredObject:
            stored = super().replace_artifact(key, *rest)
            content = self.inner.read(key, LIMIT)
            self.inner.delete(key)
            self.inner.create(key, content[:-1] + b"?")
            return stored

    world.stores["offsite"] = Altering(world.stores["offsite"])
    result = world.verify("offsite", heal=True)[-1]["result"]

    assert "was written again, and still: SHA-256" in result["error"]
    assert (result["damaged"], result["healed"]) == ([record.key], [])
    assert world.stores["offsite"].stat(damage_key(record.key)) is not None


def test_an_agent_that_has_lost_the_lease_meanwhile_replaces_nothing(world: World) -> None:
    record = world.copy(put(world.root), "offsite")
    world.spoil("offsite", record.key)
    left = world.stores["offsite"].read(record.key, LIMIT)

    class Robbed(FaultyStore):
        """Another agent takes the lease while the upload is under way."""

        def replace_artifact(self, key: str, *rest: Any) -> StoredObject:
            lease = Lease.from_json(self.inner.read(KEY, LIMIT))
            self.inner.delete(KEY)
            self.inner.create(KEY, lease.model_copy(update={"token": "theirs", "number": lease.number + 1}).to_json())
            return super().replace_artifact(key, *rest)

    world.stores["offsite"] = Robbed(world.stores["offsite"])
    result = world.verify("offsite", heal=True)[-1]["result"]

    assert result["reason"] == Reason.FOREIGN_ROOT
    assert world.stores["offsite"].read(record.key, LIMIT) == left
    assert world.stores["offsite"].stat(damage_key(record.key)) is not None


def test_where_nothing_may_be_deleted_nothing_is_replaced(world: World) -> None:
    """What stands there is marked all the same: that overwrites nothing."""
    record = world.copy(put(world.root), "offsite")
    world.spoil("offsite", record.key)
    left = world.stores["offsite"].read(record.key, LIMIT)

    class Unconditional(FaultyStore):
        @property
        def conditional_writes(self) -> bool:
            return False

    world.stores["offsite"] = Unconditional(world.stores["offsite"])
    result = world.verify("offsite", heal=True)[-1]["result"]

    assert result["reason"] == Reason.FOREIGN_ROOT
    assert "single_writer" in result["hint"]
    assert world.stores["offsite"].read(record.key, LIMIT) == left
    assert world.stores["offsite"].stat(damage_key(record.key)) is not None


@pytest.mark.parametrize("marked", [True, False])
def test_an_artifact_on_bad_blocks_is_healed_when_that_is_asked_and_not_marked_for_it(
    world: World, marked: bool
) -> None:
    record = world.copy(put(world.root), "offsite")
    if marked:
        world.spoil("local", record.key)
        world.verify("local")

    class OldInode(Blocks):
        """The bad blocks are the file's that stood there: a new one has others."""

        def replace_artifact(self, key: str, *rest: Any) -> StoredObject:
            stored = super().replace_artifact(key, *rest)
            self.bad.discard(key)
            return stored

    world.stores["local"] = OldInode(world.root, record.key)
    told = [] if marked else world.verify("local")
    left = world.stores["local"].stat(damage_key(record.key))
    healed = world.verify("local", heal=True)

    assert (events(told, "unread"), left is None) == ([] if marked else [record.key], not marked)
    assert events(healed, "healed") == [record.key]
    assert healed[-1]["result"]["outcome"] == "succeeded"
    assert world.whole("local", record)


def test_what_is_missing_is_healed_also_where_nothing_is_read_by_itself(world: World) -> None:
    record = world.copy(put(world.root), "offsite")
    world.spoil("local", record.key, "missing")
    told = world.verify("local", heal=True, settings={"verify": {"every": None}})

    assert (events(told, "damaged"), events(told, "healed")) == ([record.key], [record.key])

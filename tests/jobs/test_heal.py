"""Healing: a damaged artifact is replaced from another place, and no interruption loses an undamaged file."""

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
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.durable import LIMIT
from backup_agent.stores.local import LocalStore
from backup_agent.stores.store import Store, StoredObject
from tests.artifact.writer import artifact, split
from tests.catalog.places import place_at, write_record
from tests.examples import some
from tests.jobs.passes import Blocks, damages_in, keys_of, put, verify_at
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
            content = record.model_copy(update={"fencing": 1}).to_json()
            place_at(self.root, name, bucket=name).record_notes.add(record.key, content)
            self.stores[name].create(record_key(record.key), content)
        return record

    def spoil(self, place: str, key: str, how: str = "flipped") -> None:
        """Damage an artifact's file at a place; its size stays the same unless `how` changes it."""
        content = self.stores[place].read(key, LIMIT)
        self.stores[place].delete(key)
        if how != "missing":
            spoilt = content[:-5] if how == "cut" else content[:-9] + bytes((content[-9] ^ 1,)) + content[-8:]
            self.stores[place].create(key, spoilt)

    def verify(self, place: str, **changes: Any) -> list[dict[str, Any]]:
        return verify_at(self.stores, self.root, place=place, **changes)

    def whole(self, place: str, record: Record) -> bool:
        """Return whether an artifact at a place has its original bytes and no damage mark."""
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
def test_a_damaged_artifact_is_replaced_from_another_place(world: World, place: str, how: str, asked: bool) -> None:
    record = world.copy(put(world.root))
    before = world.stores[place].read(record_key(record.key), LIMIT)
    world.spoil(place, record.key, how)
    events = world.verify(place, heal=True, artifact=record.key if asked else None)

    assert (keys_of(events, "damaged"), keys_of(events, "healed")) == ([record.key], [record.key])
    assert events[-1]["result"]["outcome"] == "succeeded"
    assert (events[-1]["result"]["healed"], events[-1]["result"]["damaged"]) == ([record.key], [])
    assert world.whole(place, record)
    assert world.stores[place].read(record_key(record.key), LIMIT) == before
    assert not list(world.root.glob(".staging/*"))


@pytest.mark.parametrize("archived", ["offsite", "local"], ids=["the other copy", "the damaged one"])
def test_an_archived_artifact_heals_no_other_and_is_not_healed(world: World, archived: str) -> None:
    record = world.copy(put(world.root), "offsite")
    world.spoil("local", record.key)
    world.stores["mirror"] = MemoryStore("mirror")
    inner = world.stores[archived]

    class Glacier(FaultyStore):
        def open(self, key: str, start: int = 0) -> Any:
            if key.endswith(".backup"):
                raise PermanentError(Reason.ARCHIVED, f"{archived}: {key}: InvalidObjectState")
            return super().open(key, start)

    world.stores[archived] = Glacier(inner)
    events = world.verify("local", heal=True, artifact=record.key)

    assert keys_of(events, "healed") == []
    result = events[-1]["result"]
    assert "InvalidObjectState" in "\n".join((result.get("error") or "", *result["warnings"]))
    assert "archived" in {result.get("reason"), *(one["why"] for one in result["not_read"])}


@pytest.mark.parametrize("place", ["local", "offsite"])
def test_a_marked_artifact_is_healed_only_if_requested(world: World, place: str) -> None:
    record = world.copy(put(world.root))
    world.spoil(place, record.key)
    found, again = world.verify(place), world.verify(place)
    marked = world.stores[place].stat(damage_key(record.key)) is not None
    events = world.verify(place, heal=True)

    assert (found[-1]["result"]["reason"], damages_in(again)["keys"], marked) == (
        Reason.CHECKSUM_MISMATCH,
        [record.key],
        True,
    )
    assert keys_of(events, "healed") == [record.key]
    assert world.whole(place, record)
    assert damages_in(events)["keys"] == []


def test_each_file_of_a_split_artifact_comes_from_a_place_with_good_bytes(world: World) -> None:
    """Neither destination is complete: one lacks the first part, the other the second."""
    record = put(world.root)
    path = world.root / record.key
    split(path, artifact(), 200)
    record = record.model_copy(update={"files": read_through(path).files})
    write_record(world.root, record)
    world.copy(record)
    _, one, two, *_ = (f"{record.set}/{record.database}/{file.name}" for file in record.files)
    content = {key: world.stores["local"].read(key, LIMIT) for key in (one, two)}
    for place, key in (("local", one), ("local", two), ("offsite", one), ("mirror", two)):
        world.spoil(place, key)
    events = world.verify("local", heal=True)

    assert [event["sources"] for event in events if event["event"] == "healed"] == [["mirror", "offsite"]]
    assert {key: world.stores["local"].read(key, LIMIT) for key in (one, two)} == content


def test_a_damaged_copy_is_skipped_and_the_next_one_is_used(world: World) -> None:
    record = world.copy(put(world.root))
    world.spoil("local", record.key)
    world.spoil("offsite", record.key)
    events = world.verify("local", heal=True)

    assert [event["sources"] for event in events if event["event"] == "healed"] == [["mirror"]]
    assert world.stores["local"].read(record.key, LIMIT) == world.stores["mirror"].read(record.key, LIMIT)


def test_without_an_undamaged_copy_nothing_is_replaced_and_the_error_names_each_place(world: World) -> None:
    record = world.copy(put(world.root), "offsite")
    world.spoil("offsite", record.key)
    world.spoil("local", record.key, "cut")
    left = world.stores["local"].read(record.key, LIMIT)
    result = world.verify("local", heal=True)[-1]["result"]

    assert (result["outcome"], result["reason"]) == ("failed", Reason.CHECKSUM_MISMATCH)
    assert "has no undamaged copy elsewhere: offsite: it has the SHA-256" in result["error"]
    assert "mirror: its file is missing" in result["error"]
    assert "take a FULL" in result["hint"]
    assert (result["damaged"], result["healed"]) == ([record.key], [])
    assert world.stores["local"].read(record.key, LIMIT) == left
    assert world.stores["local"].stat(damage_key(record.key)) is not None


def test_a_place_that_does_not_answer_is_the_reason_of_the_failure(world: World) -> None:
    record = world.copy(put(world.root), "offsite")
    world.spoil("local", record.key)
    world.stores["offsite"] = FaultyStore(world.stores["offsite"], Fault("open", Does.FAIL, lasting=True))
    result = world.verify("local", heal=True)[-1]["result"]

    assert result["reason"] == Reason.STORAGE_UNREACHABLE
    assert "as injected" in result["error"]


CRASHES = [
    *product(("local", "offsite"), [Does.DIE_BEFORE, Does.DIE_AFTER], WRITES, (1, 2, 3)),
    *product(("local", "offsite"), [Does.DIE_BEFORE], ("open",), range(1, 9)),
]


@pytest.mark.parametrize(("place", "does", "operation", "nth"), some(CRASHES))
def test_after_a_crash_at_any_step_the_next_pass_finishes_healing(
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


def test_a_place_of_another_agent_is_neither_marked_nor_healed(world: World) -> None:
    record = world.copy(put(world.root))
    world.spoil("offsite", record.key)
    world.stores["offsite"].create("owner.json", b'{"schema": 1, "id": "x", "cluster": "demo", "namespace": "other"}')
    events = world.verify("offsite", heal=True)

    assert keys_of(events, "damaged") == [record.key]
    assert events[-1]["result"]["reason"] == Reason.FOREIGN_ROOT
    assert world.stores["offsite"].stat(damage_key(record.key)) is None


def test_an_artifact_that_is_undamaged_again_keeps_its_mark_until_it_is_healed(world: World) -> None:
    record = world.copy(put(world.root))
    world.spoil("offsite", record.key)
    world.verify("offsite")
    world.spoil("offsite", record.key)  # flip the same bit back
    events = world.verify("offsite", artifact=record.key)
    marked = world.stores["offsite"].stat(damage_key(record.key)) is not None
    healed = world.verify("offsite", artifact=record.key, heal=True)

    assert (events[-1]["result"]["outcome"], marked) == ("succeeded_with_warnings", True)
    assert "verify --heal" in events[-1]["result"]["warnings"][0]
    assert [event["sources"] for event in healed if event["event"] == "healed"] == [[]]
    assert world.whole("offsite", record)


def test_a_copy_that_changes_after_its_check_is_not_used(world: World, monkeypatch: Any) -> None:
    """The copy on the volume changes between its check and the upload."""
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
def test_healing_respects_the_bandwidth_of_verification(world: World, place: str) -> None:
    """Four readings: the damaged file, the copy, the copy again for the replacement, and the new file."""
    record = world.copy(put(world.root), "offsite")
    world.spoil(place, record.key, "missing")
    rate = 4 * record.size
    started = time.monotonic()
    events = world.verify(place, heal=True, artifact=record.key, settings={"verify": {"bandwidth": f"{rate}B"}})

    assert keys_of(events, "healed") == [record.key]
    assert time.monotonic() - started >= 0.9 * 2 * record.size / rate


@pytest.mark.parametrize("place", ["local", "offsite"])
def test_cancelled_healing_keeps_the_mark_and_the_copy(world: World, place: str) -> None:
    record = world.copy(put(world.root), "offsite")
    world.spoil(place, record.key)
    world.verify(place)
    cancel = threading.Event()
    other = "offsite" if place == "local" else "local"
    good = world.stores[other].read(record.key, LIMIT)

    class Cancelling(FaultyStore):
        """Cancels the pass as soon as the copy is opened."""

        def open(self, key: str, start: int = 0) -> BufferedIOBase:
            cancel.set()
            return super().open(key, start)

    world.stores[other] = Cancelling(world.stores[other])
    events = world.verify(place, heal=True, cancel=cancel)

    assert events[-1]["result"]["outcome"] == "cancelled"
    assert world.stores[place].stat(damage_key(record.key)) is not None
    assert world.stores[other].read(record.key, LIMIT) == good
    assert not list(world.root.glob(".staging/*"))


def test_the_mark_stays_if_the_place_alters_the_new_file(world: World) -> None:
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

    assert "was written again and is damaged again: it has the SHA-256" in result["error"]
    assert (result["damaged"], result["healed"]) == ([record.key], [])
    assert world.stores["offsite"].stat(damage_key(record.key)) is not None


def test_an_agent_that_lost_its_lease_replaces_nothing(world: World) -> None:
    record = world.copy(put(world.root), "offsite")
    world.spoil("offsite", record.key)
    left = world.stores["offsite"].read(record.key, LIMIT)

    class Robbed(FaultyStore):
        """Lets another agent take the lease during the upload."""

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


def test_no_file_is_replaced_at_a_place_where_the_agent_may_not_delete(world: World) -> None:
    """The artifact still gets its damage mark, which overwrites nothing."""
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
def test_an_artifact_on_bad_blocks_is_healed_if_requested_and_never_marked(world: World, marked: bool) -> None:
    record = world.copy(put(world.root), "offsite")
    if marked:
        world.spoil("local", record.key)
        world.verify("local")

    class OldInode(Blocks):
        """The old file is on bad blocks; the new file is not."""

        def replace_artifact(self, key: str, *rest: Any) -> StoredObject:
            stored = super().replace_artifact(key, *rest)
            self.bad.discard(key)
            return stored

    world.stores["local"] = OldInode(world.root, record.key)
    events = [] if marked else world.verify("local")
    left = world.stores["local"].stat(damage_key(record.key))
    healed = world.verify("local", heal=True)

    assert (keys_of(events, "unread"), left is None) == ([] if marked else [record.key], not marked)
    assert keys_of(healed, "healed") == [record.key]
    assert healed[-1]["result"]["outcome"] == "succeeded"
    assert world.whole("local", record)


def test_a_missing_artifact_is_healed_even_without_scheduled_verification(world: World) -> None:
    record = world.copy(put(world.root), "offsite")
    world.spoil("local", record.key, "missing")
    events = world.verify("local", heal=True, settings={"verify": {"every": None}})

    assert (keys_of(events, "damaged"), keys_of(events, "healed")) == ([record.key], [record.key])

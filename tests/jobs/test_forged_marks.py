"""Damage marks at a destination where other programs can write: a forged mark makes no restore point unusable."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog.contents import Contents, survey
from backup_agent.catalog.place import Place, place_of
from backup_agent.core.artifacts.keys import damage_key, hold_key
from backup_agent.core.artifacts.marks import Damage, Hold
from backup_agent.core.artifacts.records import Record
from backup_agent.core.requests.tasks import PruneTask
from backup_agent.jobs.prune import prune
from backup_agent.signing import key_file
from backup_agent.signing.keyring import Keyring
from backup_agent.stores.local import LocalStore
from tests.builders import TAKEN, an_event_writer, settings_with
from tests.catalog.places import with_store
from tests.jobs import passes
from tests.jobs.passes import LONG_AGO
from tests.stores.memory_store import MemoryStore


@dataclass
class World:
    """A volume with one artifact, and its copy at a destination."""

    root: Path
    key: Path
    store: MemoryStore
    record: Record

    @property
    def signing(self) -> dict[str, str]:
        return {"key_file": str(self.key)}

    def place(self, **signing: Any) -> Place:
        storage = {"root": str(self.root), "destinations": {"offsite": {"bucket": "offsite", "retention": {"last": 1}}}}
        return with_store(place_of("offsite", settings_with(storage=storage, signing=signing)), self.store)

    def contents(self, **signing: Any) -> Contents:
        return survey(self.place(**signing))

    def verify(self, **changes: Any) -> list[dict[str, Any]]:
        settings = {"signing": changes.pop("signing", {})}
        return passes.verify_at({"offsite": self.store}, self.root, place="offsite", settings=settings, **changes)

    def put(self, key: str, data: bytes) -> None:
        self.store.delete(key)
        self.store.create(key, data)

    def rot(self) -> None:
        """Change the bytes of the copy."""
        self.put(self.record.key, bytes(self.record.size))


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> World:
    key_file.create(tmp_path / "key.pem")
    root = tmp_path / "root"
    record = passes.put(root)
    world = World(root, tmp_path / "key.pem", MemoryStore("offsite"), record)
    world.put(record.key, (root / record.key).read_bytes())
    world.put(f"{record.key}.json", record.to_json())
    world.place().record_notes.add(record.key, record.to_json())
    return world


def a_mark(world: World) -> Damage:
    return Damage(key=world.record.key, since=LONG_AGO, found="forged")


def by_a_stranger(world: World) -> bytes:
    key_file.create(world.root / "stranger.pem")
    keyring = Keyring(settings_with(signing={"key_file": str(world.root / "stranger.pem")}))
    return keyring.sign(a_mark(world)).to_json()


def signed(world: World) -> bytes:
    return Keyring(settings_with(signing=world.signing)).sign(a_mark(world)).to_json()


FORGED = pytest.mark.parametrize(
    "forged",
    [
        pytest.param(lambda world: a_mark(world).to_json(), id="not signed"),
        pytest.param(by_a_stranger, id="signed by a stranger"),
        pytest.param(lambda _world: b"{", id="no mark"),
        pytest.param(lambda _world: bytes(2**21), id="large"),
    ],
)


@FORGED
@pytest.mark.parametrize("with_key", [True, False], ids=["with a key", "without a key"])
def test_an_artifact_with_a_forged_mark_is_still_a_restore_point(
    world: World, forged: Callable[[World], bytes], with_key: bool
) -> None:
    world.put(damage_key(world.record.key), forged(world))
    found = world.contents(**(world.signing if with_key else {}))

    assert {} == found.unsound
    assert (world.record.key,) == found.unproven_damages
    assert () == found.unreadable, "it does not stop retention"


@FORGED
def test_the_artifact_of_a_forged_mark_is_verified_next_and_its_mark_is_ignored_afterwards(
    world: World, forged: Callable[[World], bytes]
) -> None:
    world.verify(all=True)  # it is not due
    world.put(damage_key(world.record.key), forged(world))

    events = world.verify(signing=world.signing)

    assert [world.record.key] == passes.keys_of(events, "verified")
    (report,) = (event for event in events if event["event"] == "pass_result")
    assert any("Its damage mark is ignored" in text for text in report["result"]["warnings"])
    assert ((), {}) == (world.contents().unproven_damages, world.contents().unsound)
    assert [] == passes.keys_of(world.verify(signing=world.signing), "verified")


def test_a_mark_that_the_agent_wrote_is_believed_by_its_note(world: World) -> None:
    world.rot()
    world.verify(all=True)

    assert [world.record.key] == list(world.contents().unsound)
    assert None is Damage.from_json(world.store.read(damage_key(world.record.key), 2**20)).signature


def test_a_mark_of_the_agent_is_signed_and_believed_after_the_notes_were_lost(world: World) -> None:
    world.rot()
    world.verify(all=True, signing=world.signing)
    world.place().damage_notes.strike(world.record.key)

    assert [world.record.key] == list(world.contents(**world.signing).unsound)
    assert (world.record.key,) == world.contents().unproven_damages, "without the key it is read again"


def test_damage_behind_a_mark_of_unknown_origin_is_found_when_it_is_read(world: World) -> None:
    world.put(damage_key(world.record.key), a_mark(world).to_json())
    world.rot()

    events = world.verify()

    assert [world.record.key] == passes.keys_of(events, "damaged")
    assert [world.record.key] == list(world.contents().unsound)


def test_an_old_mark_that_is_put_back_after_healing_is_not_believed(world: World) -> None:
    world.rot()
    world.verify(all=True, signing=world.signing)
    old = world.store.read(damage_key(world.record.key), 2**20)
    healed = passes.verify_at(
        {"local": LocalStore(world.root, "local"), "offsite": world.store},
        world.root,
        place="offsite",
        heal=True,
        settings={"signing": world.signing},
    )
    assert [world.record.key] == passes.keys_of(healed, "healed")

    world.put(damage_key(world.record.key), old)

    assert {} == world.contents(**world.signing).unsound


def test_a_mark_of_an_unrecognised_artifact_is_not_read(world: World) -> None:
    world.put(damage_key("default/orders/orders-2026-11-23T02-00-00.backup"), b"{")

    assert ((), ()) == (world.contents().unproven_damages, world.contents().unreadable)


def test_the_hold_at_a_destination_is_signed(world: World) -> None:
    hold = Hold(key=world.record.key, since=TAKEN, reason="audit", request="h")
    place = world.place(**world.signing)
    place.wanted_holds.hold(hold)
    events: list[dict[str, Any]] = []
    prune(PruneTask(run="prune-1", place="offsite", settings={}), place, an_event_writer(events))

    content = world.store.read(hold_key(world.record.key), 2**20)
    assert Keyring(place.settings).signer(Hold, world.record.key, content) is not None
    assert hold == Hold.from_json(content).model_copy(update={"signature": None})
    assert [(hold.key, hold)] == list(place.wanted_holds), "the note on it stays"
    assert {"event": "signing", "fault": None} in json.loads(json.dumps(events))

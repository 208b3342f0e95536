"""Records at a destination that were written while the key could not be read are signed by a later pass."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog.contents import survey
from backup_agent.catalog.place import Place, place_of
from backup_agent.catalog.recognised import create_on_volume
from backup_agent.catalog.unsigned import unsigned_at
from backup_agent.core.artifacts.keys import record_key
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.artifacts.records import LARGEST, Record
from backup_agent.core.requests.tasks import CopyTask, PruneTask
from backup_agent.jobs.copy import Copying
from backup_agent.jobs.prune import prune
from backup_agent.signing import key_file
from backup_agent.signing.keyring import Keyring
from tests.builders import a_record, an_event_writer, content, settings_with
from tests.catalog.places import with_store
from tests.stores.memory_store import MemoryStore


@dataclass
class World:
    """A volume, a bucket, and the file of a key that does not exist yet."""

    root: Path
    store: MemoryStore

    @property
    def key(self) -> Path:
        return self.root.parent / "key.pem"

    def place(self, store: MemoryStore | None = None, **signing: Any) -> Place:
        storage = {"root": str(self.root), "destinations": {"offsite": {"bucket": "backups", "retention": {"last": 9}}}}
        settings = settings_with(storage=storage, signing=signing or {"key_file": str(self.key)})
        return with_store(place_of("offsite", settings), store or self.store)

    def back_up(self, hour: int) -> Record:
        """Put an artifact on the volume."""
        place = self.place()
        record = a_record(hour)
        for file in record.files:
            path = self.root / record.set / record.database / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content(file.name))
        return create_on_volume(place_of(VOLUME, place.settings), record, Keyring(place.settings))

    def copy(self) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        task = CopyTask(run="copy-1", place="offsite", sets=("default",), settings={})
        assert Copying(task, self.place(), an_event_writer(events), threading.Event()).copy_all().failure is None
        return events

    def prune(self, place: Place | None = None) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        prune(PruneTask(run="prune-1", place="offsite", settings={}), place or self.place(), an_event_writer(events))
        return events

    def stored(self, key: str) -> Record:
        return Record.from_json(self.store.read(record_key(key), LARGEST))


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> World:
    (tmp_path / "root").mkdir()
    return World(tmp_path / "root", MemoryStore("offsite"))


def faults(events: list[dict[str, Any]]) -> list[str | None]:
    return [event["fault"] for event in events if event["event"] == "signing"]


def test_the_copy_is_made_without_its_key_and_signed_by_the_next_pass_that_has_it(world: World) -> None:
    record = world.back_up(0)
    fault = f"{world.key}: the signing key cannot be read: No such file or directory"
    assert [fault] == faults(world.copy())
    before = world.stored(record.key)
    assert (None, []) == (before.signature, faults(world.prune()))

    own = key_file.create(world.key)
    events = world.prune()

    after = world.stored(record.key)
    assert after.signature is not None
    assert (own, before) == (after.signature.key, after.model_copy(update={"signature": None}))
    assert [None] == faults(events)
    assert [] == list(unsigned_at(world.place()))
    found = survey(world.place(trusted=[]))
    assert ([record.key], {}, ()) == (list(found.entries), found.altered, found.unreadable)


def test_a_signed_record_is_not_written_again(world: World) -> None:
    key_file.create(world.key)
    record = world.back_up(0)
    world.copy()
    before = world.store.read(record_key(record.key), LARGEST)
    unsigned_at(world.place()).add(record.key)
    world.prune()

    assert before == world.store.read(record_key(record.key), LARGEST)
    assert [] == list(unsigned_at(world.place()))


def test_a_record_that_was_replaced_is_not_signed(world: World) -> None:
    record = world.back_up(0)
    world.copy()
    key_file.create(world.key)
    forged = world.stored(record.key).model_copy(update={"note": "forged"}).to_json()
    world.store.delete(record_key(record.key))
    world.store.create(record_key(record.key), forged)
    world.prune()

    assert forged == world.store.read(record_key(record.key), LARGEST)


def test_a_deleted_record_is_no_longer_to_be_signed(world: World) -> None:
    record = world.back_up(0)
    world.copy()
    key_file.create(world.key)
    world.store.delete(record_key(record.key))
    world.prune()

    assert [] == list(unsigned_at(world.place()))


def test_after_a_crash_between_record_and_note_the_record_is_recognised(world: World) -> None:
    class Death(BaseException):
        """Ends the pass as a kill would: no handler catches this exception."""

    class Dying(MemoryStore):
        """A store whose caller dies after it has replaced an object."""

        def swap(self, key: str, content: bytes, version: str | None) -> str:
            done = super().swap(key, content, version)
            if key.endswith(".backup.json"):
                raise Death
            return done

    record = world.back_up(0)
    world.copy()
    key_file.create(world.key)
    dying = Dying("offsite")
    vars(dying).update(vars(world.store))
    with pytest.raises(Death):
        world.prune(world.place(dying))
    assert world.stored(record.key).signature is not None

    world.prune()

    assert [] == list(unsigned_at(world.place()))
    assert [record.key] == list(survey(world.place(trusted=[])).entries)

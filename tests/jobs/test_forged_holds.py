"""Holds at a destination where other programs can write: a forged hold keeps its artifact for a limited time."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog.acceptance import accept
from backup_agent.catalog.contents import STRANGE_HOLD, survey
from backup_agent.catalog.diff import diff
from backup_agent.catalog.place import Place, place_of
from backup_agent.core.artifacts.drift import Kind
from backup_agent.core.artifacts.keys import hold_key
from backup_agent.core.artifacts.marks import Hold
from backup_agent.core.artifacts.records import Record
from backup_agent.core.requests.answers import PlaceResult
from backup_agent.core.requests.tasks import HoldTask, PruneTask
from backup_agent.jobs.audit_trail import AuditTrail
from backup_agent.jobs.hold import change_holds
from backup_agent.jobs.prune import prune
from backup_agent.signing import key_file
from backup_agent.signing.keyring import Keyring
from tests.builders import TAKEN, a_header, a_record, an_event_writer, settings_with
from tests.catalog.places import FilledPlace, with_store
from tests.stores.memory_store import MemoryStore

LONG = timedelta(days=31)
"""Longer than `limits.keep_unrecognised`."""


class World:
    """A bucket with two restore points, of which retention keeps the newer one; and keys."""

    def __init__(self, folder: Path) -> None:
        self.key, self.stranger = folder / "key.pem", folder / "stranger.pem"
        for key in (self.key, self.stranger):
            key_file.create(key)
        retention = {"last": 1, "max_delete_share": 1}
        storage = {"root": str(folder), "destinations": {"offsite": {"bucket": "backups", "retention": retention}}}
        settings = settings_with(storage=storage, limits={"keep_unrecognised": "30d"})
        self.store = MemoryStore("offsite")
        self.bucket = FilledPlace(with_store(place_of("offsite", settings), self.store))
        self.old, self.new = (self.bucket.add(full(days)) for days in (2, 1))

    def place(self, *, with_key: bool = False) -> Place:
        settings = self.bucket.place.settings
        signing = settings_with(signing={"key_file": str(self.key)} if with_key else {}).signing
        return with_store(
            replace(self.bucket.place, settings=settings.model_copy(update={"signing": signing})), self.store
        )

    def mark(self, **changes: Any) -> Hold:
        return Hold(key=self.old.key, since=TAKEN, reason="forged", request="h", **changes)

    def put(self, content: bytes) -> None:
        self.bucket.put(hold_key(self.old.key), content)

    def signed(self, key: Path, **changes: Any) -> bytes:
        return Keyring(settings_with(signing={"key_file": str(key)})).sign(self.mark(**changes)).to_json()

    def prune(self, *, with_key: bool = False) -> PlaceResult:
        task = PruneTask(run="prune-1", place="offsite", settings={})
        return prune(task, self.place(with_key=with_key), an_event_writer([]))

    def first_seen_earlier(self, by: timedelta) -> None:
        notes = self.bucket.place.strange_holds
        first = notes.first(self.old.key)
        assert first is not None
        notes.note(self.old.key, first - by)


def full(days: float) -> Record:
    """Return the record of a full that was taken `days` days ago."""
    taken = datetime.now(UTC).replace(microsecond=0) - timedelta(days=days)
    return a_record(header=a_header(taken=taken, full=True), finished=taken)


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> World:
    return World(tmp_path)


FORGED = pytest.mark.parametrize(
    "forged",
    [
        pytest.param(lambda world: world.mark().to_json(), id="not signed"),
        pytest.param(lambda world: world.mark(until=TAKEN).to_json(), id="ended"),
        pytest.param(lambda world: world.mark(until=TAKEN + 9999 * LONG).to_json(), id="with an end far away"),
        pytest.param(lambda world: world.signed(world.stranger), id="signed by a stranger"),
        pytest.param(lambda _world: b"{", id="no mark"),
        pytest.param(lambda _world: bytes(2**21), id="large"),
    ],
)


@FORGED
@pytest.mark.parametrize("with_key", [True, False], ids=["with a key", "without a key"])
def test_a_forged_hold_keeps_its_artifact_for_a_limited_time_from_its_first_sight(
    world: World, forged: Callable[[World], bytes], with_key: bool
) -> None:
    world.put(forged(world))

    first = world.prune(with_key=with_key)

    assert (None, (f"{hold_key(world.old.key)}: {STRANGE_HOLD}",)) == (first.deleted, first.warnings)
    world.first_seen_earlier(LONG)
    world.put(world.mark(until=TAKEN + 9999 * LONG).to_json())
    assert 1 == world.prune(with_key=with_key).deleted
    assert [] == [one.key for one in world.store.list(world.old.key)]
    assert None is world.bucket.place.strange_holds.first(world.old.key)


@FORGED
def test_a_noted_hold_lasts_whatever_its_mark_contains(world: World, forged: Callable[[World], bytes]) -> None:
    wanted = Hold(key=world.old.key, since=TAKEN, reason="audit", request="h")
    world.place().wanted_holds.hold(wanted)
    assert None is world.prune().deleted

    world.put(forged(world))
    assert None is world.prune().deleted
    assert wanted == Hold.from_json(world.store.read(hold_key(world.old.key), 2**20)), "the mark is written again"
    world.store.delete(hold_key(world.old.key))
    assert None is world.prune().deleted
    assert wanted == Hold.from_json(world.store.read(hold_key(world.old.key), 2**20))


def test_the_mark_of_a_hold_is_written_once(world: World) -> None:
    world.place().wanted_holds.hold(world.mark())
    world.prune()
    version = world.store.look(hold_key(world.old.key), 2**20)

    world.prune()

    assert version == world.store.look(hold_key(world.old.key), 2**20)


def test_a_signed_hold_counts_without_its_note_and_has_no_end(world: World) -> None:
    world.put(world.signed(world.key, until=TAKEN))

    assert [None, ()] == [(result := world.prune(with_key=True)).deleted, result.warnings]
    assert None is world.bucket.place.strange_holds.first(world.old.key)
    assert ({world.old.key}, ()) == (
        {*(found := survey(world.place(with_key=True))).holds},
        found.strange_holds,
    )


def test_an_accepted_record_brings_its_hold_without_an_end(world: World) -> None:
    world.bucket.place.record_notes.strike(world.old.key)
    world.put(world.mark(until=TAKEN).to_json())

    accept(world.place(), world.old.key)

    assert world.mark() == world.place().wanted_holds.of(world.old.key)


def test_accepting_a_record_keeps_a_hold_that_is_noted(world: World) -> None:
    noted = world.mark(until=TAKEN + LONG)
    world.place().wanted_holds.hold(noted)
    world.put(world.mark().to_json())

    accept(world.place(), world.old.key)

    assert noted == world.place().wanted_holds.of(world.old.key)


def test_a_forged_hold_is_named_as_drift(world: World) -> None:
    world.put(b"{")

    assert [(Kind.UNRECOGNISED, hold_key(world.old.key), STRANGE_HOLD)] == list(diff(world.place()))


def test_a_forged_hold_is_selected_by_a_release_and_removed(world: World) -> None:
    world.put(b"{")
    task = HoldTask(
        run="hold-1", place="offsite", action="release", request="h", since=TAKEN, reason="forged", settings={}
    )

    assert (world.old.key,) == change_holds(
        task, world.place(), AuditTrail(world.place(), an_event_writer())
    ).marked_keys
    world.prune()
    assert None is world.store.stat(hold_key(world.old.key))


def test_the_hold_of_an_artifact_with_an_unrecognised_record_is_not_read(world: World) -> None:
    world.bucket.place.record_notes.strike(world.old.key)
    world.put(b"{")

    assert ((), ()) == ((found := survey(world.place())).strange_holds, found.unreadable)

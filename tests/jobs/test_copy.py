"""Copying: an agent that loses its lease stops, and a differential is never published without its chain."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog.place import place_of
from backup_agent.catalog.tenure import Held, HeldByAnotherError
from backup_agent.core.artifacts.keys import record_key
from backup_agent.core.artifacts.records import ArtifactFile, BackupType, Record
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.answers import CopyState
from backup_agent.core.requests.tasks import BackupTask, CopyTask
from backup_agent.durable import LIMIT
from backup_agent.jobs.backup import BackupRun, result
from backup_agent.jobs.copy import Copying, pass_on
from backup_agent.stores.store import Progress, StoredObject
from tests.builders import OFFSITE, an_event_writer
from tests.catalog.places import with_store
from tests.jobs.outside import broken, faults
from tests.jobs.passes import put
from tests.jobs.worlds import World
from tests.stores.memory_store import MemoryStore


def test_a_copy_suspended_during_a_takeover_stops_sending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "backups")
    lost = False

    class Losing(Held):
        def check(self) -> None:
            if lost:
                raise HeldByAnotherError("the lease was lost")

    class Sleeping(MemoryStore):
        """Is suspended in the middle of an artifact, while another agent takes the lease."""

        def put_artifact(self, key: str, source: Path, file: ArtifactFile, progress: Progress) -> StoredObject:
            nonlocal lost
            progress(1)
            lost = True
            progress(1)
            return super().put_artifact(key, source, file, progress)

    @contextmanager
    def hold(*_: Any) -> Iterator[Held]:
        yield Losing()

    monkeypatch.setattr("backup_agent.jobs.copy.hold_place", hold)
    store = Sleeping("offsite")
    failure, _ = copied(a_world(tmp_path), store)

    assert failure is not None
    assert failure.error == "the lease was lost"
    assert list(store.list()) == []


def a_world(folder: Path) -> World:
    """Return a volume with a destination."""
    root = folder / "backups"
    root.mkdir(exist_ok=True)
    return World(root, "offsite", {"offsite": {"type": "s3", "bucket": "backups"}})


def copied(world: World, store: MemoryStore) -> tuple[Failure | None, list[dict[str, Any]]]:
    """Make one pass. Return its failure and its warnings."""
    told: list[dict[str, Any]] = []
    writer = an_event_writer(told)
    task = CopyTask(run="copy-1", destination="offsite", sets=("default",), settings={})
    failure = Copying(task, with_store(place_of("offsite", world.settings), store), writer).copy_all()
    return failure, [event for event in told if event["event"] == "warning"]


def seen(store: MemoryStore) -> dict[str, bytes]:
    return {one.key: store.read(one.key, LIMIT) for one in store.list() if one.key != "owner.json"}


def chain(world: World) -> tuple[str, str, str, str]:
    """Put a full, two differentials and a later full on the volume."""
    full = world.add(4, 1, 10)
    link = world.add(3, 11, 20, parent=full)
    return full, link, world.add(2, 21, 30, parent=link), world.add(1, 1, 40)


def test_the_copy_of_a_record_keeps_keys_of_a_newer_agent(tmp_path: Path) -> None:
    world, store = a_world(tmp_path), MemoryStore("offsite")
    key = world.add(1, 1, 10)
    path = world.root / record_key(key)
    path.write_text(json.dumps({**json.loads(path.read_text()), "colour": {"of": [None, "red"]}}))
    place_of("local", world.settings).record_notes.add(key, path.read_bytes())

    assert copied(world, store) == (None, [])

    assert json.loads(store.read(record_key(key), LIMIT))["colour"] == {"of": [None, "red"]}


@pytest.mark.parametrize("what", ["record and file", "record", "file"])
@pytest.mark.parametrize("which", [0, 1], ids=["full", "link"])
def test_missing_parents_are_copied_again_with_a_differential(tmp_path: Path, which: int, what: str) -> None:
    """In one case the parent exists at the destination, but the parent's own parent does not."""
    world, store = a_world(tmp_path), MemoryStore("offsite")
    *there, newest, _ = chain(world)
    with world.without(newest):
        assert copied(world, store)[0] is None
    gone = there[which]
    for key in [gone] if what == "file" else [record_key(gone)] if what == "record" else [gone, record_key(gone)]:
        store.delete(key)

    failure, warnings = copied(world, store)

    assert failure is None
    assert list(faults(seen(store), ours=(), strangers={})) == []
    assert list(broken(seen(store), [newest])) == []
    assert len(warnings) == 1
    assert f"{newest} needs it" in warnings[0]["because"]


@pytest.mark.parametrize("also", [False, True], ids=["parent there", "parent gone too"])
def test_a_differential_without_its_full_is_not_copied_and_others_are(tmp_path: Path, *, also: bool) -> None:
    world, store = a_world(tmp_path), MemoryStore("offsite")
    full, link, newest, later = chain(world)
    with world.without(newest, later):
        assert copied(world, store)[0] is None
    for key in (full, link) if also else (full,):
        world.remove(key)
        store.delete(record_key(key))
        store.delete(key)

    failure, warnings = copied(world, store)

    assert failure is not None
    assert failure.reason is Reason.CHAIN_BROKEN
    assert f"{newest} is not copied: it needs {link if also else full}" in failure.error
    assert any(failure.error in warning["because"] for warning in warnings)
    assert newest not in seen(store)
    assert record_key(newest) not in seen(store)
    assert later in seen(store)
    assert record_key(later) in seen(store)


def test_a_differential_is_copied_if_only_the_destination_has_its_parents(tmp_path: Path) -> None:
    world, store = a_world(tmp_path), MemoryStore("offsite")
    full, link, newest, _ = chain(world)
    with world.without(newest):
        assert copied(world, store)[0] is None
    world.remove(full)
    world.remove(link)

    assert copied(world, store) == (None, [])
    assert list(broken(seen(store), [newest])) == []


def test_a_differential_is_not_recorded_if_its_full_is_deleted_during_the_copy(
    tmp_path: Path,
) -> None:
    world = a_world(tmp_path)
    full, link, *_ = chain(world)

    class Emptied(MemoryStore):
        """Deletes the full as soon as the differential's data has arrived."""

        def put_artifact(self, key: str, source: Path, file: ArtifactFile, progress: Progress) -> StoredObject:
            stored = super().put_artifact(key, source, file, progress)
            if key == link:
                self.delete(record_key(full))
                self.delete(full)
            return stored

    store = Emptied("offsite")
    failure, _ = copied(world, store)

    assert failure is not None
    assert failure.reason is Reason.CHAIN_BROKEN
    assert record_key(link) not in seen(store)


@pytest.mark.parametrize(
    ("became", "outcome"), [(CopyState.STORED, "succeeded"), (CopyState.OWED, "succeeded_with_warnings")]
)
def test_the_outcome_of_a_backup_depends_on_the_copy_of_its_own_artifact(
    tmp_path: Path, became: CopyState, outcome: str
) -> None:
    world = a_world(tmp_path)
    full, *_ = chain(world)
    task = BackupTask(
        run="run-1", request="r", set="default", database="orders", type=BackupType.FULL, sources=(),
        since=datetime.now(UTC), destinations=("offsite",), settings={},
    )  # fmt: skip
    run = BackupRun(task, world.settings, an_event_writer(), threading.Event())
    run.copy_failures[OFFSITE] = Failure(Reason.CHAIN_BROKEN, "an older differential is not copied")
    judged = result(run, Record.from_json((world.root / record_key(full)).read_bytes()), {OFFSITE: became})

    assert (judged.outcome.value, judged.copies) == (outcome, {"offsite": became})


def test_an_event_of_a_copy_that_cannot_be_understood_is_told() -> None:
    told: list[dict[str, Any]] = []
    reports = [pass_on(line, an_event_writer(told)) for line in ('{"event":"stage"}', "no event")]

    assert reports == [None, None]
    assert [(one["event"], one["text"]) for one in told] == [("warning", "event not understood")]
    assert told[0]["because"].startswith("stage: ")

"""Copying: who loses the destination meanwhile ends where it stands, and a differential never comes without its chain."""

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
from backup_agent.jobs.event_writer import EventWriter
from backup_agent.stores.store import Progress, StoredObject
from tests.catalog.places import with_store
from tests.jobs.outside import broken, faults
from tests.jobs.passes import put
from tests.jobs.worlds import World
from tests.stores.memory_store import MemoryStore


def test_a_copy_that_slept_through_a_takeover_is_sent_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "backups")
    lost = False

    class Losing(Held):
        def check(self) -> None:
            if lost:
                raise HeldByAnotherError("the lease was lost")

    class Sleeping(MemoryStore):
        """Stops in the middle of an artifact, while another agent takes the lease."""

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
    """Make one pass; return its failure and the warnings that it told."""
    told: list[dict[str, Any]] = []
    teller = EventWriter(lambda line: told.append(json.loads(line)))
    task = CopyTask(run="copy-1", destination="offsite", sets=("default",), settings={})
    failure = Copying(task, with_store(place_of("offsite", world.settings), store), teller).copy_all()
    return failure, [event for event in told if event["event"] == "warning"]


def seen(store: MemoryStore) -> dict[str, bytes]:
    return {one.key: store.read(one.key, LIMIT) for one in store.list() if one.key != "owner.json"}


def chain(world: World) -> tuple[str, str, str, str]:
    """Put a full, two differentials and a later full on the volume."""
    full = world.add(4, 1, 10)
    link = world.add(3, 11, 20, parent=full)
    return full, link, world.add(2, 21, 30, parent=link), world.add(1, 1, 40)


def test_the_copy_of_a_record_keeps_what_only_a_newer_agent_knows(tmp_path: Path) -> None:
    world, store = a_world(tmp_path), MemoryStore("offsite")
    key = world.add(1, 1, 10)
    path = world.root / record_key(key)
    path.write_text(json.dumps({**json.loads(path.read_text()), "colour": {"of": [None, "red"]}}))

    assert copied(world, store) == (None, [])

    assert json.loads(store.read(record_key(key), LIMIT))["colour"] == {"of": [None, "red"]}


@pytest.mark.parametrize("what", ["record and file", "record", "file"])
@pytest.mark.parametrize("which", [0, 1], ids=["full", "link"])
def test_a_differential_brings_back_all_that_it_needs_and_is_gone(tmp_path: Path, which: int, what: str) -> None:
    """The first parent is there in the one case; its own parent is not."""
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
def test_a_differential_whose_full_is_gone_from_the_volume_too_is_not_published_and_holds_up_nothing_else(
    tmp_path: Path, *, also: bool
) -> None:
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


def test_a_differential_whose_parents_the_destination_alone_has_is_copied(tmp_path: Path) -> None:
    world, store = a_world(tmp_path), MemoryStore("offsite")
    full, link, newest, _ = chain(world)
    with world.without(newest):
        assert copied(world, store)[0] is None
    world.remove(full)
    world.remove(link)

    assert copied(world, store) == (None, [])
    assert list(broken(seen(store), [newest])) == []


def test_a_full_that_goes_while_its_differential_is_sent_keeps_the_differential_from_being_recorded(
    tmp_path: Path,
) -> None:
    world = a_world(tmp_path)
    full, link, *_ = chain(world)

    class Emptied(MemoryStore):
        """Loses the full as soon as the differential's data has arrived."""

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
def test_a_backup_is_judged_by_the_copy_of_its_own_artifact(tmp_path: Path, became: CopyState, outcome: str) -> None:
    world = a_world(tmp_path)
    full, *_ = chain(world)
    task = BackupTask(
        run="run-1", request="r", set="default", database="orders", type=BackupType.FULL, sources=(),
        since=datetime.now(UTC), destinations=("offsite",), settings={},
    )  # fmt: skip
    run = BackupRun(task, world.settings, EventWriter(lambda _line: None), threading.Event())
    run.copy_failures["offsite"] = Failure(Reason.CHAIN_BROKEN, "an older differential is not copied")
    judged = result(run, Record.from_json((world.root / record_key(full)).read_bytes()), {"offsite": became})

    assert (judged.outcome.value, judged.copies) == (outcome, {"offsite": became})


def test_an_event_of_a_copy_that_cannot_be_understood_is_told() -> None:
    lines: list[str] = []
    reports = [pass_on(line, EventWriter(lines.append)) for line in ('{"event":"stage"}', "no event")]

    assert reports == [None, None]
    assert [(told["event"], told["text"]) for told in map(json.loads, lines)] == [("warning", "event not understood")]
    assert "stage: " in lines[0]

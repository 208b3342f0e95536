"""Copying: an agent that loses its lease stops, and a differential is never published without its chain."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog.place import place_of
from backup_agent.catalog.tenure import Held, HeldByAnotherError
from backup_agent.core.artifacts.keys import record_key
from backup_agent.core.artifacts.records import ArtifactFile
from backup_agent.core.reasons import BackupError, Failure, PermanentError, Reason, TransientError
from backup_agent.core.requests.answers import PlaceResult
from backup_agent.core.requests.events import CopyReport
from backup_agent.core.requests.tasks import CopyTask, PruneTask
from backup_agent.durable import LIMIT
from backup_agent.jobs.copy import Copying
from backup_agent.jobs.prune import prune
from backup_agent.stores.store import Progress, StoredObject
from tests.builders import an_event_writer
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
    """Return a world of a volume and a destination."""
    root = folder / "backups"
    root.mkdir(exist_ok=True)
    return World(root, "offsite", {"offsite": {"type": "s3", "bucket": "backups"}})


def copied(world: World, store: MemoryStore) -> tuple[Failure | None, list[dict[str, Any]]]:
    """Copy what is missing, in one pass. Return the failure and the warnings."""
    report, events = passed(world, store)
    return report.failure, [event for event in events if event["event"] == "warning"]


def passed(
    world: World,
    store: MemoryStore,
    *awaited: str,
    yields: threading.Event | None = None,
    set_name: str = "default",
    databases: tuple[str, ...] | None = None,
) -> tuple[CopyReport, list[dict[str, Any]]]:
    """Make one pass while requests wait for copies of the `awaited` artifacts. Return its report and its events."""
    events: list[dict[str, Any]] = []
    task = CopyTask(run="copy-1", place="offsite", sets=(set_name,), awaited=awaited, databases=databases, settings={})
    place = with_store(place_of("offsite", world.settings), store)
    report = Copying(task, place, an_event_writer(events), yields or threading.Event()).copy_all()
    return report, events


def ends(events: list[dict[str, Any]]) -> dict[str, str]:
    """Return artifact -> how its copy ended."""
    return {event["key"]: event["event"] for event in events if event["event"] in ("copied", "not_copied")}


def stored_in(store: MemoryStore) -> dict[str, bytes]:
    return {one.key: store.read(one.key, LIMIT) for one in store.list() if one.key != "owner.json"}


def chain(world: World) -> tuple[str, str, str, str]:
    """Put a full, two differentials and a later full on the volume."""
    full = world.add(4, 1, 10)
    link = world.add(3, 11, 20, parent=full)
    return full, link, world.add(2, 21, 30, parent=link), world.add(1, 1, 40)


def test_a_pass_looks_at_the_given_databases_and_at_awaited_ones(tmp_path: Path) -> None:
    world, store = a_world(tmp_path), MemoryStore("offsite")
    keys = {name: world.add(1, 1, 10, database=name) for name in ("customers", "neo4j", "orders")}
    report, events = passed(world, store, keys["orders"], databases=("default/neo4j",))

    assert ends(events) == {keys["orders"]: "copied", keys["neo4j"]: "copied"}
    assert not report.counted
    whole, events = passed(world, store)
    assert ends(events) == {keys["customers"]: "copied"}
    assert whole.counted


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
    assert list(faults(stored_in(store), ours=(), strangers={})) == []
    assert list(broken(stored_in(store), [newest])) == []
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
    assert newest not in stored_in(store)
    assert record_key(newest) not in stored_in(store)
    assert later in stored_in(store)
    assert record_key(later) in stored_in(store)


def test_a_differential_is_copied_if_only_the_destination_has_its_parents(tmp_path: Path) -> None:
    world, store = a_world(tmp_path), MemoryStore("offsite")
    full, link, newest, _ = chain(world)
    with world.without(newest):
        assert copied(world, store)[0] is None
    world.remove(full)
    world.remove(link)

    assert copied(world, store) == (None, [])
    assert list(broken(stored_in(store), [newest])) == []


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
    assert record_key(link) not in stored_in(store)


class Failing(MemoryStore):
    """Fails each upload of the given keys."""

    def __init__(self, error: BackupError, *keys: str) -> None:
        super().__init__("offsite")
        self._error = error
        self._keys = keys

    def put_artifact(self, key: str, source: Path, file: ArtifactFile, progress: Progress) -> StoredObject:
        if key in self._keys:
            raise self._error
        return super().put_artifact(key, source, file, progress)


UNREACHABLE = TransientError(Reason.STORAGE_UNREACHABLE, "offsite: no route")
OTHER_CONTENT = PermanentError(Reason.ALREADY_EXISTS, "offsite: it exists with other content")


def order_of_copies(events: list[dict[str, Any]]) -> list[str]:
    return [event["key"] for event in events if event["event"] == "copying"]


def test_databases_take_turns_and_within_one_parents_come_first(tmp_path: Path) -> None:
    world, store = a_world(tmp_path), MemoryStore("offsite")
    orders = chain(world)
    stock = [world.add(day, 1, 10, database="stock") for day in (4, 3)]
    report, events = passed(world, store)

    assert report == CopyReport(copied=6, counted=True)
    assert order_of_copies(events) == [orders[0], stock[0], orders[1], stock[1], orders[2], orders[3]]


def test_awaited_artifacts_come_first_after_what_they_need(tmp_path: Path) -> None:
    world, store = a_world(tmp_path), MemoryStore("offsite")
    orders = chain(world)
    stock = [world.add(day, 1, 10, database="stock") for day in (4, 3)]
    _, events = passed(world, store, stock[1], orders[2])

    assert order_of_copies(events) == [stock[1], orders[0], stock[0], orders[1], orders[2], orders[3]]


def test_more_databases_than_take_turns_are_all_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backup_agent.jobs.copy.AT_ONCE", 2)
    world, store = a_world(tmp_path), MemoryStore("offsite")
    keys = {world.add(1, 1, 10, database=f"db-{number}") for number in range(5)}
    report, events = passed(world, store)

    assert report.copied == 5
    assert ends(events) == dict.fromkeys(keys, "copied")
    assert [event["owed"] for event in events if event["event"] == "owed"] == [0] * 5


def test_a_failure_of_one_artifact_ends_the_waits_for_it_and_for_those_that_need_it(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    full, link, newest, later = chain(world)
    store = Failing(OTHER_CONTENT, link)
    report, events = passed(world, store, full, link, newest, later)

    assert ends(events) == {full: "copied", link: "not_copied", newest: "not_copied", later: "copied"}
    assert (report.copied, report.failure, report.ended_early) == (2, OTHER_CONTENT.failure, False)


def test_a_failure_of_the_destination_ends_the_pass_and_nothing_else_is_tried(tmp_path: Path) -> None:
    world = a_world(tmp_path)
    full, link, newest, later = chain(world)
    other = world.add(1, 1, 10, database="stock")
    report, events = passed(world, Failing(UNREACHABLE, link), full, link, newest, later)

    assert ends(events) == {full: "copied", other: "copied"}
    assert (report.copied, report.failure, report.ended_early) == (2, UNREACHABLE.failure, True)
    assert {event["database"]: event["owed"] for event in events if event["event"] == "owed"} == {
        "orders": 3,
        "stock": 0,
    }


def test_a_copy_that_an_earlier_pass_made_is_reported_to_waiting_requests(tmp_path: Path) -> None:
    world, store = a_world(tmp_path), MemoryStore("offsite")
    key = world.add(1, 1, 10)
    passed(world, store)
    report, events = passed(world, Failing(UNREACHABLE, key), key)

    assert (report.copied, report.failure) == (0, None)
    assert [(one["key"], one["seconds"]) for one in events if one["event"] == "copied"] == [(key, None)]


@pytest.mark.parametrize("why", ["given up", "gone", "undeclared", "record unusable"])
def test_a_copy_that_is_never_made_is_not_waited_for(tmp_path: Path, why: str) -> None:
    world, store = a_world(tmp_path), MemoryStore("offsite")
    key = world.add(1, 1, 10)
    if why == "given up":
        place_of("offsite", world.settings).record_notes.give_up(key)
    elif why == "gone":
        world.remove(key)
    elif why == "record unusable":
        (world.root / record_key(key)).write_text("{}")
    report, events = passed(world, store, key, set_name="weekly" if why == "undeclared" else "default")

    assert report.failure is None
    assert ends(events) == {key: "not_copied"}


def test_a_pass_that_must_yield_ends_after_its_artifact_and_says_what_is_missing(tmp_path: Path) -> None:
    world, yields = a_world(tmp_path), threading.Event()
    keys = chain(world)

    class Asked(MemoryStore):
        """Is asked to yield during the first upload."""

        def put_artifact(self, key: str, source: Path, file: ArtifactFile, progress: Progress) -> StoredObject:
            yields.set()
            return super().put_artifact(key, source, file, progress)

    report, events = passed(world, Asked("offsite"), *keys, yields=yields)

    assert report == CopyReport(copied=1, counted=True)
    assert ends(events) == {keys[0]: "copied"}
    assert [event["owed"] for event in events if event["event"] == "owed"] == [3]


def test_an_artifact_that_the_volume_cannot_read_stops_no_other_copy(tmp_path: Path) -> None:
    world, store = a_world(tmp_path), MemoryStore("offsite")
    broken_one, sound = world.add(2, 1, 10), world.add(1, 1, 20)
    (world.root / broken_one).unlink()
    (world.root / broken_one).symlink_to(broken_one.rsplit("/", 1)[1])
    report, events = passed(world, store, broken_one, sound)

    assert ends(events) == {broken_one: "not_copied", sound: "copied"}
    assert not report.ended_early


def test_retention_of_the_volume_deletes_nothing_that_a_copy_reads_or_needs(tmp_path: Path) -> None:
    """Retention runs during each upload. Its rules keep only the newest full, so it deletes each artifact once copied."""
    world = a_world(tmp_path)
    keys = chain(world)
    plans: list[PlaceResult] = []

    class Beside(MemoryStore):
        def put_artifact(self, key: str, source: Path, file: ArtifactFile, progress: Progress) -> StoredObject:
            task = PruneTask(run="prune-1", place="local", force=True, settings={})
            plans.append(prune(task, place_of("local", world.settings), an_event_writer()))
            return super().put_artifact(key, source, file, progress)

    store = Beside("offsite")
    report, events = passed(world, store, *keys)

    assert report == CopyReport(copied=4, counted=True)
    assert ends(events) == dict.fromkeys(keys, "copied")
    assert list(broken(stored_in(store), list(keys))) == []
    assert [plan.outcome for plan in plans] == ["succeeded"] * 4

"""The copy pass on a store in which each operation fails in each way. Only the objects in the storage are checked.

After the fault each record there has its complete artifact and the record of its parent. After the next pass all copies
exist. No object is ever overwritten.
"""

import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog import owner_file, tenure
from backup_agent.catalog.place import place_of
from backup_agent.catalog.recognised import create_on_volume
from backup_agent.core.artifacts.keys import record_key
from backup_agent.core.artifacts.names import VOLUME, artifact_name
from backup_agent.core.artifacts.records import Record
from backup_agent.core.ownership.lease import Lease
from backup_agent.core.ownership.owner import Owner
from backup_agent.core.reasons import Failure, Reason
from backup_agent.core.requests.tasks import CopyTask
from backup_agent.durable import LIMIT
from backup_agent.jobs.copy import Copying
from backup_agent.signing.keyring import Keyring
from backup_agent.stores.store import Store
from tests.builders import ORDERS, TAKEN, a_header, a_record, an_event_writer, settings_with
from tests.catalog.places import with_store
from tests.examples import some
from tests.stores.faulty import Does, Fault, FaultyStore, KilledError, violations
from tests.stores.files import describe
from tests.stores.memory_store import MemoryStore

OPERATIONS = {"list": 2, "look": 5, "swap": 3, "stat": 4, "put_artifact": 4, "create": 3}
"""Operation -> the number of calls in a pass over this volume, at least. A test checks that a pass calls no others."""


class Volume:
    """A volume with a full F1, its differential D1, and a full F2 of two files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings = settings_with(storage={"root": str(root), "destinations": {"offsite": {"bucket": "backups"}}})
        full = self.add(0, None, "F1")
        self.records = [full, self.add(1, full, "D1"), self.add(2, None, "F2", "F2 again")]

    def add(self, hour: int, parent: Record | None, *contents: str) -> Record:
        folder = self.root / "default" / "orders"
        folder.mkdir(parents=True, exist_ok=True)
        name = artifact_name(ORDERS, TAKEN + timedelta(hours=hour))
        files = []
        for number, content in enumerate(contents):
            path = folder / (name if number == 0 else f"{name}.{number}")
            path.write_bytes(content.encode() * 100)
            files.append(describe(path))
        header = a_header(hour, full=parent is None, lowest=parent.header.highest + 1 if parent else 1)
        record = a_record(header=header, parent=parent and parent.key, files=tuple(files))
        create_on_volume(place_of(VOLUME, self.settings), record, Keyring(self.settings))
        return record

    def copy(self, store: Store) -> tuple[Failure | None, list[dict[str, Any]]]:
        """Make a pass. Return its failure and its events."""
        events: list[dict[str, Any]] = []
        task = CopyTask(run="copy-1", place="offsite", sets=("default",), settings={})
        writer = an_event_writer(events)
        place = with_store(place_of("offsite", self.settings), store)
        return Copying(task, place, writer, threading.Event()).copy_all().failure, events

    @property
    def owed(self) -> int:
        return len(place_of("offsite", self.settings).record_notes.owed(self.records))


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path / "backups")


def all_is_there(store: Store, volume: Volume) -> None:
    """Check that the destination has a copy of each artifact, whose record has the number of a lease."""
    expected = {path.relative_to(volume.root).as_posix() for path in (volume.root / "default").rglob("*.*")}
    assert {stored.key for stored in store.list()} - {owner_file.KEY} == expected
    for record in volume.records:
        there = Record.from_json(store.read(record_key(record.key), LIMIT))
        assert there.model_copy(update={"fencing": None}) == record
        assert (there.fencing or 0) > 0
    assert violations(store) == []
    assert volume.owed == 0


def test_a_pass_calls_the_operations_of_the_table(volume: Volume) -> None:
    store = FaultyStore(MemoryStore("offsite"))
    failure, events = volume.copy(store)

    assert failure is None
    assert dict(store.calls) == OPERATIONS | {"swap": 3}
    assert [event["event"] for event in events].count("copied") == 3
    all_is_there(store, volume)


def test_a_pass_without_missing_copies_sends_no_request(volume: Volume) -> None:
    store = FaultyStore(MemoryStore("offsite"))
    volume.copy(store)
    store.calls.clear()
    volume.copy(store)

    assert not store.calls


@pytest.mark.parametrize(
    ("operation", "nth", "does"),
    some(
        [(operation, nth + 1, does) for operation, count in OPERATIONS.items() for nth in range(count) for does in Does]
    ),
)
def test_after_any_failure_the_destination_is_valid_and_the_next_pass_completes_it(
    volume: Volume, operation: str, nth: int, does: Does
) -> None:
    store = FaultyStore(MemoryStore("offsite"), Fault(operation, does, nth))
    _run(volume, store, does)

    assert violations(store.inner) == []
    store.revive()
    assert volume.copy(store)[0] is None
    all_is_there(store.inner, volume)


def _run(volume: Volume, store: FaultyStore, does: Does) -> None:
    def run() -> None:
        with suppress(KilledError):
            volume.copy(store)

    if does not in (Does.HANG_BEFORE, Does.HANG_AFTER):
        run()
        return
    thread = threading.Thread(target=run)
    thread.start()
    assert store.hanging.wait(30)
    assert violations(store.inner) == []
    store.end()
    thread.join()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_after_a_failure_the_copy_is_missing_and_reported(volume: Volume, operation: str) -> None:
    store = FaultyStore(MemoryStore("offsite"), Fault(operation, Does.FAIL, lasting=True))
    failure, events = volume.copy(store)

    assert failure is not None
    assert failure.reason is Reason.STORAGE_UNREACHABLE
    assert [event["owed"] for event in events if event["event"] == "owed"] == [volume.owed]
    assert volume.owed == (2 if operation == "list" else 3)  # the first full is copied before the first listing


def test_a_lagging_listing_changes_nothing(volume: Volume) -> None:
    store = FaultyStore(MemoryStore("offsite"))
    store.list_lags = True

    assert volume.copy(store)[0] is None
    assert list(store.list()) == []
    all_is_there(store.inner, volume)


def test_a_record_with_another_number_of_the_lease_is_the_same_record(volume: Volume) -> None:
    store = MemoryStore("offsite")
    first = volume.records[0]
    for file in first.files:
        store.put_artifact(f"default/orders/{file.name}", volume.root / "default/orders" / file.name, file, print)
    store.create(record_key(first.key), first.model_copy(update={"fencing": 41}).to_json())

    assert volume.copy(store)[0] is None
    assert Record.from_json(store.read(record_key(first.key), LIMIT)).fencing == 41
    all_is_there(store, volume)


@pytest.mark.parametrize("same", [True, False])
def test_a_record_that_appears_before_the_write_may_differ_in_the_number_of_the_lease_only(
    volume: Volume, same: bool
) -> None:
    theirs = {"fencing": 41} if same else {"fencing": 41, "request": "another"}

    class Overtaken(MemoryStore):
        def create(self, key: str, content: bytes) -> None:
            if key == record_key(volume.records[0].key) and self.look(key, LIMIT) is None:
                super().create(key, Record.from_json(content).model_copy(update=theirs).to_json())
            super().create(key, content)

    store = Overtaken("offsite")
    failure, _ = volume.copy(store)

    assert (failure is None) is same
    assert volume.owed == (0 if same else 2)
    assert (volume.records[1].key in {stored.key for stored in store.list()}) is same
    assert Record.from_json(store.read(record_key(volume.records[0].key), LIMIT)).fencing == 41


@pytest.mark.parametrize("what", ["record", "artifact", "no record"])
def test_a_foreign_object_is_not_overwritten_and_stops_only_copies_that_need_its_key(volume: Volume, what: str) -> None:
    store, first = MemoryStore("offsite"), volume.records[0]
    key, content = {
        "record": (record_key(first.key), first.model_copy(update={"request": "another"}).to_json()),
        "artifact": (first.key, b"x" * first.size),
        "no record": (record_key(first.key), b"{}"),
    }[what]
    store.create(key, content)
    failure, _ = volume.copy(store)

    assert failure is not None
    assert failure.reason is Reason.ALREADY_EXISTS
    assert key in failure.error
    assert store.read(key, LIMIT) == content
    assert volume.owed == 2
    there = {stored.key for stored in store.list()}
    assert [one.key in there for one in volume.records[1:]] == [False, True]


@pytest.mark.parametrize("theirs", ["lease", "place"])
def test_if_another_agent_has_the_lease_or_the_place_no_copy_is_made_and_both_are_named(
    volume: Volume, theirs: str
) -> None:
    store = MemoryStore("offsite")
    if theirs == "lease":
        held = Lease(holder="z", agent="z-pod", token="t", number=9, renewal=1, period=60, seat="elsewhere")
        store.create(tenure.KEY, held.to_json())
    else:
        there = Owner(id="z", cluster="demo", agent="z-pod")
        store.create(owner_file.KEY, there.to_json())
    failure, events = volume.copy(store)

    assert failure is not None
    assert failure.reason is Reason.FOREIGN_ROOT
    assert "z-pod" in failure.error
    assert str(volume.root) in failure.error
    assert [event["owed"] for event in events if event["event"] == "owed"] == [3]
    assert [stored.key for stored in store.list("default/")] == []


def test_no_record_is_written_if_the_lease_is_lost_during_the_upload(volume: Volume) -> None:
    class Overtaken(MemoryStore):
        def put_artifact(self, *given: Any) -> Any:
            now = Lease.from_json(self.read(tenure.KEY, LIMIT))
            taken = now.model_copy(update={"holder": "z", "token": "z", "seat": "elsewhere", "number": now.number + 1})
            self.swap(tenure.KEY, taken.to_json(), self.look(tenure.KEY, LIMIT).version)  # type: ignore[union-attr]  # it is there
            return super().put_artifact(*given)

    store = Overtaken("offsite")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backup_agent.catalog.tenure.HOLD_PERIODS", 0)  # as if the upload took longer than two periods
        failure, _ = volume.copy(store)

    assert failure is not None
    assert failure.reason is Reason.FOREIGN_ROOT
    assert [stored.key for stored in store.list("default/")] == [volume.records[0].key]
    assert volume.owed == 3


def test_a_parent_that_was_deleted_at_the_destination_is_copied_again_before_its_differential(volume: Volume) -> None:
    store = MemoryStore("offsite")
    volume.copy(store)
    for stored in list(store.list("default/")):
        store.delete(stored.key)
    later = volume.add(3, volume.records[1], "D2")
    failure, events = volume.copy(store)
    expected = [volume.records[0].key, volume.records[1].key, later.key]

    assert failure is None
    assert [record_key(key) for key in expected] == [
        stored.key for stored in store.list("default/") if stored.key.endswith(".json")
    ]
    assert violations(store) == []
    again = [event["because"].partition(": ")[0] for event in events if event.get("text") == "copied again"]
    assert again == expected[:2]


def test_an_artifact_that_cannot_be_copied_again_counts_as_missing(volume: Volume) -> None:
    store = FaultyStore(MemoryStore("offsite"))
    volume.copy(store)
    for stored in list(store.list("default/")):
        store.delete(stored.key)
    volume.records.append(volume.add(3, volume.records[1], "D2"))
    store.revive()
    store.faults.append(Fault("put_artifact", Does.FAIL))
    failure, events = volume.copy(store)

    assert failure is not None
    assert [event["owed"] for event in events if event["event"] == "owed"] == [volume.owed] == [3]
    assert violations(store) == []

"""Retention on a store in which each operation fails in each way, and with a lagging listing. Only objects are checked.

After the fault each record has its data, no kept point is broken, and no file of another program is changed. The next
pass finishes what was begun.
"""

import json
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog.journal import Doing
from backup_agent.catalog.place import place_of
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.reasons import BackupError
from backup_agent.core.requests.answers import Outcome, PlaceResult
from backup_agent.core.requests.tasks import PruneTask
from backup_agent.durable import LIMIT
from backup_agent.jobs.prune import prune
from backup_agent.stores.local import LocalStore
from tests.builders import an_event_writer
from tests.catalog.places import with_store
from tests.examples import HOUSE, examples
from tests.jobs.outside import begun, broken, faults, records
from tests.jobs.worlds import RETENTION, World, small
from tests.stores.faulty import Does, Fault, FaultyStore, KilledError
from tests.stores.memory_store import MemoryStore

OPERATIONS = {
    "offsite": ("look", "swap", "list", "read", "stat", "create", "delete", "now", "versions"),
    "local": ("list", "read", "stat", "delete", "now", "versions"),
}
"""The operations that a pass over each place calls. A test checks that it calls no others."""

Calls = dict[str, Counter[str]]

HANGS = (Does.HANG_BEFORE, Does.HANG_AFTER)

STRIDE = HOUSE // examples(HOUSE)
"""Each call of an operation fails once; in the fast tests each tenth call."""


class Pruned:
    """A small world at a destination whose store has faults."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        root = folder / "backups"
        root.mkdir(parents=True)
        self.store = FaultyStore(LocalStore(root, VOLUME) if name == VOLUME else MemoryStore(name))
        destinations = {} if name == VOLUME else {name: {"bucket": "backups", "retention": RETENTION}}
        self.world = small(World(root, name, destinations, self.store.inner.create))
        self.place = with_store(place_of(name, self.world.settings), self.store)

    def prune(self) -> PlaceResult:
        self.events: list[dict[str, Any]] = []
        task = PruneTask(run="prune-1", place=self.name, settings={})
        return prune(task, self.place, an_event_writer(self.events))

    def seen(self) -> dict[str, bytes]:
        return {stored.key: self.store.inner.read(stored.key, LIMIT) for stored in self.store.inner.list()}

    def wrong(self) -> list[str]:
        """Return the violations of invariants at the place."""
        seen, ours = self.seen(), begun(self.world.root, self.name)
        found = [*faults(seen, ours=ours, strangers=self.world.strangers), *broken(seen, self.world.kept)]
        if f"{self.world.kept[1]}.hold.json" not in seen:
            found.append("the hold is gone")
        return found

    def ended(self) -> bool:
        """Return whether all artifacts that had to be deleted are deleted."""
        left = {key.partition(".backup")[0] for key in self.seen()}
        return not left & {key.partition(".backup")[0] for key in self.world.going}


@pytest.fixture(name="calls", scope="module")
def _calls(tmp_path_factory: pytest.TempPathFactory) -> Calls:
    """Count the calls of each operation in a pass without faults over each place."""
    passes = {name: Pruned(tmp_path_factory.mktemp(name), name) for name in OPERATIONS}
    for pruned in passes.values():
        pruned.prune()
    return {name: pruned.store.calls for name, pruned in passes.items()}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_pass_calls_the_operations_of_the_table(tmp_path: Path, name: str) -> None:
    pruned = Pruned(tmp_path, name)

    assert pruned.prune().outcome is Outcome.SUCCEEDED
    assert set(pruned.store.calls) == set(OPERATIONS[name])
    assert pruned.wrong() == []
    assert pruned.ended()


@pytest.mark.parametrize("does", list(Does))
@pytest.mark.parametrize(
    ("name", "operation"), [(name, operation) for name, operations in OPERATIONS.items() for operation in operations]
)
def test_after_any_failure_no_kept_point_is_broken_and_the_next_pass_finishes(
    tmp_path: Path, calls: Calls, name: str, operation: str, does: Does
) -> None:
    # A call that hangs until the process is ended leaves the same as a kill, so each fifth is enough.
    for nth in range(1, calls[name][operation] + 1, STRIDE * (5 if does in HANGS else 1)):
        pruned = Pruned(tmp_path / str(nth), name)
        pruned.store.faults = [Fault(operation, does, nth)]
        run(pruned, does)
        assert pruned.store.calls[operation] >= nth
        assert pruned.wrong() == []
        pruned.store.revive()

        assert pruned.prune().outcome is Outcome.SUCCEEDED
        assert pruned.wrong() == []
        assert pruned.ended()
        assert begun(pruned.world.root, name) == set()


def run(pruned: Pruned, does: Does) -> None:
    def once() -> None:
        with suppress(KilledError, BackupError):
            pruned.prune()

    if does not in HANGS:
        once()
        return
    thread = threading.Thread(target=once)
    thread.start()
    while thread.is_alive() and not pruned.store.hanging.wait(0.01):
        pass
    pruned.store.end()
    thread.join()


@pytest.mark.parametrize("name", OPERATIONS)
def test_if_a_listing_hides_any_key_or_kept_artifact_no_kept_artifact_is_deleted(tmp_path: Path, name: str) -> None:
    first = Pruned(tmp_path / "keys", name)
    keys = sorted(first.seen())
    stay = {key.partition(".backup")[0] for key in keys} - {key.partition(".backup")[0] for key in first.world.going}
    hidden = [[key] for key in keys] + [[key for key in keys if key.startswith(one)] for one in sorted(stay)]
    for number, lacking in enumerate(hidden):
        pruned = Pruned(tmp_path / str(number), name)
        pruned.store.hide(*lacking)
        with suppress(BackupError):
            pruned.prune()

        assert pruned.wrong() == [], lacking
        pruned.store.catch_up()
        assert pruned.prune().outcome is Outcome.SUCCEEDED
        assert pruned.wrong() == []
        assert pruned.ended()


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_listing_that_still_shows_deleted_objects_changes_nothing(tmp_path: Path, name: str) -> None:
    pruned = Pruned(tmp_path, name)
    pruned.store.list_lags = True
    pruned.prune()
    seen = pruned.seen()

    assert pruned.prune().outcome is Outcome.SUCCEEDED
    assert pruned.seen() == seen
    assert pruned.wrong() == []
    assert pruned.ended()


@pytest.mark.parametrize("operation", ["look", "swap", "list", "read", "now"])
def test_if_a_store_does_not_answer_nothing_is_lost_and_this_is_reported(tmp_path: Path, operation: str) -> None:
    pruned = Pruned(tmp_path, "offsite")
    before = pruned.seen()
    pruned.store.faults = [Fault(operation, Does.FAIL, lasting=True)]

    with pytest.raises(BackupError, match=f"{operation} failed"):
        pruned.prune()
    assert {key: content for key, content in before.items() if not key.endswith(".hold.json")}.items() <= (
        pruned.seen() | {key: before[key] for key in pruned.world.going if key in before}
    ).items()


def test_a_pass_that_failed_releases_its_lease(tmp_path: Path) -> None:
    pruned = Pruned(tmp_path, "offsite")
    pruned.store.faults = [Fault("delete", Does.FAIL, nth=3)]
    with suppress(BackupError):
        pruned.prune()

    assert json.loads(pruned.store.inner.read(".agent/lease.json", LIMIT))["released"]


def test_a_deletion_that_a_later_pass_completes_is_reported(tmp_path: Path) -> None:
    pruned = Pruned(tmp_path, VOLUME)
    (gone,) = (key for key in pruned.world.going if key not in records(pruned.seen()))
    pruned.store.inner.delete(gone)
    pruned.prune()  # everything is done except what was begun
    pruned.world.put(gone, b"left")
    pruned.world.begin(gone, Doing.DELETING, 0.1)
    pruned.prune()

    summaries = [event["summary"] for event in pruned.events if event["event"] == "summary"]
    assert [(one["set"], one["database"]) for one in summaries] == [("default", "orders")]


def test_an_artifact_deleted_at_a_destination_has_no_note_and_does_not_count_as_missing(tmp_path: Path) -> None:
    pruned = Pruned(tmp_path, "offsite")
    notes = pruned.place.record_notes
    for key in pruned.world.going + pruned.world.kept:
        if not notes.has(key):
            notes.add(key, b"the record that an orphan had")
    pruned.prune()

    assert [key for key in pruned.world.going if notes.has(key)] == []
    assert [key for key in pruned.world.kept if notes.has(key)] == pruned.world.kept
    (folder,) = (pruned.world.root / ".agent" / "recorded").glob("offsite@*")
    assert [key for key in pruned.world.going if not (folder / key).exists()] == []  # so that nothing is copied again

"""Holding and releasing the artifacts that a request selects, without an agent."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog.place import Place, place_of
from backup_agent.core.artifacts.keys import hold_key, record_key
from backup_agent.core.artifacts.records import Record
from backup_agent.core.reasons import PermanentError
from backup_agent.core.requests.answers import PlaceResult
from backup_agent.core.requests.tasks import HoldTask
from backup_agent.jobs.audit_trail import AuditTrail
from backup_agent.jobs.hold import change_holds
from tests.builders import TAKEN, a_record, an_event_writer, settings_with
from tests.catalog.places import FilledPlace, with_store
from tests.stores.memory_store import MemoryStore


@pytest.fixture(name="volume")
def _volume(tmp_path: Path) -> Place:
    return place_of(
        "local", settings_with(storage={"root": str(tmp_path), "destinations": {"offsite": {"bucket": "backups"}}})
    )


def change_hold(place: Place, action: str = "hold", **selection: Any) -> PlaceResult:
    task = {"run": "hold-1", "place": place.name, "request": "h", "since": TAKEN, "reason": "audit", "settings": {}}
    return change_holds(
        HoldTask.model_validate({**task, "action": action, **selection}), place, AuditTrail(place, an_event_writer())
    )


def hold_files(volume: Place) -> set[str]:
    return {str(path.relative_to(volume.root)) for path in volume.root.rglob("*.hold.json")}


def hold_keys(*records: Record) -> set[str]:
    return {hold_key(record.key) for record in records}


def test_artifacts_that_match_all_criteria_are_held_and_released(volume: Place) -> None:
    filled = FilledPlace(volume)
    case = {"case": "4711"}
    early, late, other = (
        filled.add(a_record(24 * day, labels=labels)) for day, labels in ((0, case), (1, case), (2, {}))
    )
    people = filled.add(a_record(0, database="people", labels=case))

    assert change_hold(volume, database="ord*", labels=case).marked_keys == (early.key, late.key)
    assert hold_files(volume) == hold_keys(early, late)
    assert change_hold(volume, taken_from=TAKEN + timedelta(days=1)).marked_keys == (late.key, other.key)
    assert change_hold(volume, taken_to=TAKEN).marked == 2
    assert hold_files(volume) == hold_keys(early, late, other, people)

    released = change_hold(volume, "release", database="ord*", labels=case)
    assert (released.outcome, released.marked_keys) == ("succeeded", (early.key, late.key))
    assert hold_files(volume) == hold_keys(other, people)
    with pytest.raises(PermanentError, match="local: no held artifact matches"):
        change_hold(volume, "release", labels=case, database="orders")
    with pytest.raises(PermanentError, match="local: no artifact matches"):
        change_hold(volume, database="sales")


def test_copies_that_only_a_destination_has_are_held_there(volume: Place) -> None:
    offsite = with_store(place_of("offsite", volume.settings), MemoryStore("offsite"))
    record = FilledPlace(offsite).add(a_record(0))
    until = TAKEN + timedelta(days=9)

    assert change_hold(offsite, database="orders", until=until).marked_keys == (record.key,)
    [(key, hold)] = offsite.wanted_holds
    assert (key, hold and hold.until, hold_files(volume)) == (record.key, until, set())
    assert change_hold(offsite, "release", database="orders").marked == 1
    assert list(offsite.wanted_holds) == [(record.key, None)]


def test_an_artifact_that_cannot_be_judged_is_named(volume: Place) -> None:
    filled = FilledPlace(volume)
    good, bad = filled.add(a_record(0)), filled.add(a_record(24))
    filled.put_record(bad, b"{")
    result = change_hold(volume, database="orders")

    assert (result.outcome, result.marked_keys) == ("succeeded_with_warnings", (good.key,))
    assert [warning.partition(":")[0] for warning in result.warnings] == [record_key(bad.key)]

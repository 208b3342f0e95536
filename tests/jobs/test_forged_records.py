"""Retention at a destination where other programs can write: forged records change no decision."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog.place import Place, place_of
from backup_agent.core.artifacts.keys import hold_key
from backup_agent.core.artifacts.records import Record
from backup_agent.core.requests.answers import PlaceResult
from backup_agent.core.requests.tasks import PruneTask
from backup_agent.jobs.event_writer import EventWriter
from backup_agent.jobs.prune import prune
from tests.builders import a_header, a_record, settings_with
from tests.catalog.places import FilledPlace, with_store
from tests.stores.memory_store import MemoryStore

LIMITS = {"keep_unrecognised": "30d"}


@pytest.fixture(name="offsite")
def _offsite(tmp_path: Path) -> FilledPlace:
    """A bucket that keeps the two newest points."""
    retention = {"last": 2, "max_delete_share": 0.5}
    storage = {"root": str(tmp_path), "destinations": {"offsite": {"bucket": "backups", "retention": retention}}}
    settings = settings_with(schedules={}, storage=storage, limits=LIMITS)
    return FilledPlace(with_store(place_of("offsite", settings), MemoryStore("offsite")))


def full(days: float) -> Record:
    """Return the record of a full that was taken `days` days ago."""
    taken = datetime.now(UTC).replace(microsecond=0) - timedelta(days=days)
    return a_record(header=a_header(taken=taken, full=True), finished=taken)


def differential(parent: Record, hours: float) -> Record:
    """Return the record of a differential that names its parent, taken so many hours after that."""
    taken = parent.header.taken + timedelta(hours=hours)
    return a_record(header=a_header(1, taken=taken, full=False), parent=parent.key, finished=taken)


def applied(place: Place) -> tuple[PlaceResult, list[dict[str, Any]]]:
    """Make a pass of retention. Return its result and its events."""
    events: list[dict[str, Any]] = []
    result = prune(
        PruneTask(run="prune-1", place=place.name, settings={}),
        place,
        EventWriter(lambda line: events.append(json.loads(line))),
    )
    return result, events


def there(offsite: FilledPlace) -> set[str]:
    """Return the artifacts that have a record at the destination."""
    keys = (one.key for one in offsite.store.list())
    return {key.removesuffix(".json") for key in keys if key.endswith(".backup.json")}


@pytest.mark.parametrize("days", [0.1, -30], ids=["dated now", "dated next month"])
def test_forged_points_cause_no_deletion_of_real_ones(offsite: FilledPlace, days: float) -> None:
    genuine = [offsite.add(full(2 + number)) for number in range(3)]
    forged = [offsite.add(full(days + number / 100), recognised=False) for number in range(10)]

    result, events = applied(offsite.place)

    assert (result.outcome, result.deleted) == ("succeeded", 1)
    assert there(offsite) == {record.key for record in (*genuine[:2], *forged)}
    (event,) = (event for event in events if event["event"] == "unrecognised")
    assert (event["place"], event["records"]) == ("offsite", 10)


def test_forged_records_do_not_count_for_max_delete_share(offsite: FilledPlace) -> None:
    genuine = [offsite.add(full(2 + number)) for number in range(6)]
    for number in range(20):
        offsite.add(full(-30 - number), recognised=False)

    result, _ = applied(offsite.place)

    assert "4 of 6 artifacts would be deleted, more than max_delete_share (0.5) allows" in (result.error or "")
    assert {record.key for record in genuine} <= there(offsite)


def test_an_invalid_record_stops_retention_only_if_it_has_a_note(offsite: FilledPlace) -> None:
    genuine = [offsite.add(full(2 + number)) for number in range(3)]
    for number in range(20):
        offsite.put(f"{full(50 + number).key}.json", b"garbage")

    assert applied(offsite.place)[0].deleted == 1
    offsite.add(full(1))
    offsite.put(f"{genuine[0].key}.json", b"garbage")

    result, _ = applied(offsite.place)

    assert (result.outcome, result.deleted) == ("succeeded_with_warnings", None)
    assert "it is not the record that the agent wrote" in result.warnings[0]


def test_an_unreadable_hold_keeps_only_its_own_artifact(offsite: FilledPlace) -> None:
    genuine = [offsite.add(full(2 + number)) for number in range(4)]
    offsite.hold(genuine[3])
    offsite.put(hold_key(genuine[3].key), b"garbage")

    result, _ = applied(offsite.place)

    assert (result.outcome, result.deleted) == ("succeeded_with_warnings", 1)
    assert there(offsite) == {record.key for record in genuine if record is not genuine[2]}
    assert result.warnings[0].endswith("; its artifact is kept")


def test_the_parent_of_an_unrecognised_record_is_kept_for_some_time(offsite: FilledPlace) -> None:
    oldest, *newer = (offsite.add(full(5 - number)) for number in range(3))
    offsite.add(differential(oldest, 1), recognised=False)

    assert applied(offsite.place)[0].deleted is None
    claims = offsite.place.claims
    first = claims.first(oldest.key)
    assert first is not None
    claims.note(oldest.key, first - timedelta(days=31))
    offsite.add(differential(oldest, 2), recognised=False)

    result, _ = applied(offsite.place)

    assert result.deleted == 1
    assert {record.key for record in newer} <= there(offsite)
    assert oldest.key not in there(offsite)
    assert claims.first(oldest.key) is None


def test_a_file_named_like_an_artifact_costs_no_request_of_its_own(offsite: FilledPlace) -> None:
    asked: list[str] = []

    class Counting(MemoryStore):
        def stat(self, key: str) -> Any:
            asked.append(key)
            return super().stat(key)

    store = Counting("offsite")
    for number in range(100):
        store.create(full(10 + number).key, b"junk")
    with_store(offsite.place, store)
    for number in range(2):
        offsite.add(full(2 + number))

    applied(offsite.place)

    assert [key for key in asked if key.endswith(".backup.json")] == []

"""A place with very many files of other programs: only the first are kept in memory."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog.contents import survey
from backup_agent.catalog.diff import diff
from backup_agent.core.artifacts.drift import MOST_FOREIGN, Kind
from backup_agent.jobs.prune import tell_strays
from backup_agent.jobs.prune_plan import with_lagging_records
from backup_agent.stores.store import StoredObject
from tests.builders import a_record, an_event_writer
from tests.catalog.places import FilledPlace, filled
from tests.stores.memory_store import MemoryStore

NUMBER = MOST_FOREIGN + 50


class Crowded(MemoryStore):
    """A bucket with `number` foreign objects in the folder of a database, and as many outside of it."""

    number = NUMBER

    def list(self, prefix: str = "") -> Iterator[Any]:
        yield from (StoredObject(f"default/orders/notes-{number:07}.txt", 1) for number in range(self.number))
        yield from super().list(prefix)
        yield from (StoredObject(f"notes-{number:07}.txt", 1) for number in range(self.number))


@pytest.fixture(name="bucket")
def _bucket(tmp_path: Path) -> FilledPlace:
    return filled(tmp_path, Crowded("offsite"), "offsite")


@pytest.fixture(name="huge")
def _huge(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(Crowded, "number", 30_000)
    return Crowded.number


@pytest.mark.patience
def test_foreign_objects_are_counted_and_only_the_first_are_kept(bucket: FilledPlace, huge: int) -> None:
    record = bucket.add(a_record())
    tracemalloc.start()
    try:
        found = survey(bucket.place)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert found.entries.keys() == {record.key}
    assert (len(found.foreign), found.more_foreign) == (MOST_FOREIGN, 2 * huge - MOST_FOREIGN)
    assert peak < 4 * 2**20  # all of them take 15 MiB


def test_a_pass_names_the_first_foreign_objects_and_the_number_of_those_that_are_not_kept(bucket: FilledPlace) -> None:
    events: list[dict[str, Any]] = []
    tell_strays(survey(bucket.place), bucket.place, an_event_writer(events))

    (strays,) = (event for event in events if event["event"] == "strays")
    assert (len(strays["foreign"]), strays["more"]) == (10, 2 * NUMBER - MOST_FOREIGN)


def test_drift_names_the_first_foreign_objects_and_the_number_of_the_others(bucket: FilledPlace) -> None:
    findings = [one for one in diff(bucket.place) if one.kind is Kind.FOREIGN]

    assert len(findings) == MOST_FOREIGN + 1
    assert findings[-1].text == f"{2 * NUMBER - MOST_FOREIGN} more files that are not the agent's, left alone"


def test_of_many_orphans_those_with_a_note_are_kept(tmp_path: Path) -> None:
    bucket = filled(tmp_path, MemoryStore("offsite"), "offsite")
    records = [a_record(hour) for hour in range(MOST_FOREIGN + 50)]
    for record in records:
        bucket.put(record.key, b"x")
    bucket.place.record_notes.add(records[-1].key, records[-1].to_json())

    found = survey(bucket.place)

    assert (len(found.orphans), found.more_orphans) == (MOST_FOREIGN + 1, 49)
    assert found.orphans[-1].key == records[-1].key
    assert with_lagging_records(found, bucket.place).unreadable == ()

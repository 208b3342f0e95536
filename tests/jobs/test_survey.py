"""The survey at start: summaries, missing artifacts, and missing copies."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog.place import Place, place_of
from backup_agent.core.artifacts.names import DEFAULT_SET
from backup_agent.jobs.summaries import tell_summary
from backup_agent.jobs.survey import MOST_WARNINGS, survey
from tests.builders import ORDERS, a_record, an_event_writer, settings_with
from tests.catalog.places import filled, place_at


def volume(root: Path, *destinations: str) -> Place:
    """Return a volume with copies at some destinations."""
    storage = {"root": str(root), "destinations": {name: {"bucket": name} for name in destinations}}
    return place_at(root, storage=storage, schedules={})


def events_of(root: Path, kind: str, *destinations: str) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    survey(volume(root, *destinations or ("offsite",)), (), an_event_writer(lines))
    found = [event for event in lines if event["event"] == kind]
    return [event["summary"] for event in found] if kind == "summary" else found


def test_a_summary_is_the_same_with_and_without_the_index(tmp_path: Path) -> None:
    place = filled(tmp_path)
    for hour in range(4):
        place.add(a_record(hour))
    place.add(a_record(0, set_name="test", database="customers"))

    first = events_of(tmp_path, "summary")

    assert volume(tmp_path).index.exists()
    assert events_of(tmp_path, "summary") == first
    assert [(one["set"], one["database"], one["artifacts"], one["chain_links"]) for one in first] == [
        ("default", "orders", 4, 4), ("test", "customers", 1, 1),
    ]  # fmt: skip


def test_copies_of_declared_sets_are_missing_until_they_are_noted(tmp_path: Path) -> None:
    place = filled(tmp_path)
    one, _ = place.add(a_record(0)), place.add(a_record(1))
    place.add(a_record(0, set_name="adhoc"))
    place_of("offsite", volume(tmp_path, "offsite").settings).record_notes.add(one.key, one.to_json())

    assert {summary["set"]: summary["owed"] for summary in events_of(tmp_path, "summary")} == {
        "default": {"offsite": 1},
        "adhoc": {},
    }


def test_if_record_notes_cannot_be_read_only_that_destination_is_not_counted(
    tmp_path: Path,
) -> None:
    both = volume(tmp_path, "offsite", "other")
    place = filled(tmp_path)
    place.add(a_record(0))
    broken = place_of("offsite", both.settings).record_notes._folder / "default" / "orders"
    broken.parent.mkdir(parents=True)
    broken.write_text("no folder")
    lines: list[dict[str, Any]] = []
    survey(both, (), an_event_writer(lines))

    assert [one["summary"]["owed"] for one in lines if one["event"] == "summary"] == [{"other": 1}]
    assert [one["destination"] for one in lines if one["event"] == "uncounted"] == ["offsite"]
    assert lines[-1]["event"] == "surveyed"


def test_a_summary_that_cannot_be_made_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "index")

    settings = settings_with(storage={"root": str(tmp_path)})
    monkeypatch.setattr("backup_agent.jobs.summaries.of_database", unreadable)
    filled(tmp_path).add(a_record(0))
    lines: list[dict[str, Any]] = []

    assert tell_summary(DEFAULT_SET, ORDERS, settings, an_event_writer(lines))
    (event,) = lines
    assert (event["event"], event["set"], event["database"]) == ("unsummarised", "default", "orders")


def test_missing_and_altered_artifacts_are_reported(tmp_path: Path) -> None:
    place = filled(tmp_path)
    gone, missing, damaged = place.add(a_record(0)), place.add(a_record(1)), place.add(a_record(2))
    survey(volume(tmp_path), (), an_event_writer())
    place.remove(gone)
    place.store.delete(missing.key)
    place.damage(damaged)

    warnings = [(one["text"], one["because"]) for one in events_of(tmp_path, "warning")]

    assert warnings == [
        ("catalog drifted", f"{gone.key}: its record is gone, and the agent did not delete it"),
        ("catalog drifted", f"{missing.key}: its file is missing"),
    ]
    assert events_of(tmp_path, "summary")[0]["chain_links"] == 0


def test_the_number_of_warnings_about_a_lost_folder_is_limited(tmp_path: Path) -> None:
    place = filled(tmp_path)
    for hour in range(MOST_WARNINGS + 5):
        place.add(a_record(hour), files=False)

    assert len(events_of(tmp_path, "warning")) == MOST_WARNINGS


def test_an_unreadable_record_is_reported(tmp_path: Path) -> None:
    place = filled(tmp_path)
    place.put_record(a_record(0), b"{")

    assert events_of(tmp_path, "unreadable")[0]["fault"].startswith(f"{a_record(0).key}.json: Invalid JSON")


def test_temporary_files_of_a_killed_survey_are_removed(tmp_path: Path) -> None:
    folder = volume(tmp_path).index.parent
    folder.mkdir(parents=True)
    (folder / ".tmp-4711-local").write_bytes(b"half")

    survey(volume(tmp_path), (), an_event_writer())

    assert [path.name for path in folder.iterdir()] == [volume(tmp_path).index.name]

"""Notes on records: which copies are missing, in which order they are made, and which were given up."""

from pathlib import Path

import pytest

from backup_agent.catalog.record_notes import RecordNotes, digest_of
from backup_agent.core.artifacts.entries import Entry
from tests.builders import a_record
from tests.catalog.places import place_at

FULL, DIFF, LATER = a_record(0), a_record(1), a_record(2)


@pytest.fixture(name="notes")
def _notes(tmp_path: Path) -> RecordNotes:
    return place_at(tmp_path, "offsite").record_notes


def owed(notes: RecordNotes) -> list[str]:
    return [record.key for record in notes.owed([LATER, DIFF, FULL])]


def test_all_copies_are_missing_at_first_and_parents_come_first(notes: RecordNotes) -> None:
    assert owed(notes) == [FULL.key, DIFF.key, LATER.key]
    assert [one.key for one in notes.owed([Entry.of(LATER), Entry.of(FULL)])] == [FULL.key, LATER.key]


def test_a_confirmed_copy_is_not_missing(notes: RecordNotes) -> None:
    notes.add(FULL.key, FULL.to_json())

    assert (notes.has(FULL.key), notes.has(DIFF.key)) == (True, False)
    assert owed(notes) == [DIFF.key, LATER.key]


def test_a_copy_that_was_given_up_is_neither_missing_nor_stored(notes: RecordNotes, tmp_path: Path) -> None:
    notes.give_up(DIFF.key)

    assert owed(notes) == [FULL.key, LATER.key]
    assert not notes.has(DIFF.key)
    assert not place_at(tmp_path, "offsite").record_notes.has(DIFF.key)


def test_a_copy_made_after_giving_up_counts(notes: RecordNotes) -> None:
    notes.give_up(DIFF.key)
    notes.add(DIFF.key, DIFF.to_json())

    assert notes.has(DIFF.key)
    assert owed(notes) == [FULL.key, LATER.key]


def test_giving_up_a_copy_at_one_destination_does_not_affect_others(notes: RecordNotes, tmp_path: Path) -> None:
    notes.give_up(DIFF.key)

    assert DIFF.key in owed(place_at(tmp_path, "mirror").record_notes)
    assert DIFF.key in owed(place_at(tmp_path, "offsite", cluster="other").record_notes)


def test_further_lines_of_a_note_are_ignored(notes: RecordNotes, tmp_path: Path) -> None:
    notes.add(FULL.key, FULL.to_json())
    (note,) = (path for path in tmp_path.rglob("*.backup") if path.is_file())
    note.write_text(note.read_text() + "signed by somebody\n")

    assert notes.digest(FULL.key) == digest_of(FULL.to_json())
    assert FULL.key not in owed(notes)

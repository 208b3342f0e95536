"""Copy notes: which copies are missing, in which order they are made, and which were given up."""

from pathlib import Path

import pytest

from backup_agent.catalog.copy_notes import CopyNotes
from backup_agent.core.artifacts.entries import Entry
from tests.builders import a_record
from tests.catalog.places import place_at

FULL, DIFF, LATER = a_record(0), a_record(1), a_record(2)


@pytest.fixture(name="notes")
def _notes(tmp_path: Path) -> CopyNotes:
    return place_at(tmp_path, "offsite").copy_notes


def owed(notes: CopyNotes) -> list[str]:
    return [record.key for record in notes.owed([LATER, DIFF, FULL])]


def test_all_copies_are_missing_at_first_and_parents_come_first(notes: CopyNotes) -> None:
    assert owed(notes) == [FULL.key, DIFF.key, LATER.key]
    assert [one.key for one in notes.owed([Entry.of(LATER), Entry.of(FULL)])] == [FULL.key, LATER.key]


def test_a_confirmed_copy_is_not_missing(notes: CopyNotes) -> None:
    notes.add(FULL.key)

    assert (notes.has(FULL.key), notes.has(DIFF.key)) == (True, False)
    assert owed(notes) == [DIFF.key, LATER.key]


def test_a_copy_that_was_given_up_is_neither_missing_nor_stored(notes: CopyNotes, tmp_path: Path) -> None:
    notes.give_up(DIFF.key)

    assert owed(notes) == [FULL.key, LATER.key]
    assert not notes.has(DIFF.key)
    assert not place_at(tmp_path, "offsite").copy_notes.has(DIFF.key)


def test_a_copy_made_after_giving_up_counts(notes: CopyNotes) -> None:
    notes.give_up(DIFF.key)
    notes.add(DIFF.key)

    assert notes.has(DIFF.key)
    assert owed(notes) == [FULL.key, LATER.key]


def test_giving_up_concerns_one_destination(notes: CopyNotes, tmp_path: Path) -> None:
    notes.give_up(DIFF.key)

    assert DIFF.key in owed(place_at(tmp_path, "mirror").copy_notes)
    assert DIFF.key in owed(place_at(tmp_path, "offsite", cluster="other").copy_notes)


def test_a_note_with_the_fields_of_a_newer_agent_still_confirms_a_copy(notes: CopyNotes, tmp_path: Path) -> None:
    notes.add(FULL.key)
    (note,) = (path for path in tmp_path.rglob("*.backup") if path.is_file())
    note.write_text('{"schema": 1, "sha256": "ab"}\n')

    assert notes.has(FULL.key)
    assert FULL.key not in owed(notes)

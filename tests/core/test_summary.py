"""Summaries of the artifacts of a database."""

from uuid import UUID

import pytest

from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.summarising import summarise
from tests.builders import OFFSITE, a_header, a_record

FULL, DIFF, LATER = a_record(0), a_record(1), a_record(2)


@pytest.mark.parametrize("as_entries", [False, True], ids=["of records", "of entries"])
def test_a_summary_has_sizes_and_times(*, as_entries: bool) -> None:
    members = [Entry.of(record) if as_entries else record for record in (LATER, FULL, DIFF)]

    found = summarise(members, {OFFSITE: (LATER, DIFF)})

    assert (found.set, found.database, found.artifacts) == ("default", "orders", 3)
    assert (found.size, found.newest, found.newest_size) == (3 * FULL.size, LATER.key, LATER.size)
    assert (found.first, found.last_success) == (FULL.finished, {"DIFF": LATER.finished, "FULL": FULL.finished})
    assert (found.chain_links, found.chain_size) == (3, {"FULL": FULL.size, "DIFF": 2 * DIFF.size})
    assert (found.owed, found.owed_since) == ({"offsite": 2}, {"offsite": DIFF.finished})


def test_without_a_full_there_is_no_chain_and_no_success() -> None:
    found = summarise([DIFF], {})

    assert (found.chain_links, found.chain_size) == (0, {"FULL": 0, "DIFF": 0})
    assert found.last_success == {}


def test_an_unsound_artifact_and_its_differentials_belong_to_no_chain() -> None:
    found = summarise([FULL, DIFF, LATER], {}, unsound={DIFF.key})

    assert (found.artifacts, found.newest, found.chain_links) == (3, LATER.key, 1)
    assert found.last_success == {"FULL": FULL.finished, "DIFF": FULL.finished}


def test_a_success_before_the_database_was_replaced_does_not_count() -> None:
    replaced = a_record(3, full=True, header=a_header(3, full=True, database_id=UUID(int=8)))

    found = summarise([FULL, DIFF, LATER, replaced], {}, unsound={replaced.key})

    assert found.last_success == {}
    assert summarise([FULL, LATER, replaced], {}).last_success["FULL"] == replaced.finished

"""What is written down before it is put: the agent's own files, and nobody else's."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from backup_agent.catalog.journal import Journal
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.stores.memory import MemoryStore
from backup_agent.stores.store import Stored

KEY = "default/orders/orders-2026-11-23T02-00-00.backup"
FILES = (KEY, f"{KEY}.1")
NOW = datetime(2026, 11, 23, 3, tzinfo=UTC)


@pytest.fixture(name="journal")
def _journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path, "local", "local")


def named(journal: Journal) -> list[tuple[str, ...]]:
    return [intent.files for intent in journal]


def test_what_lies_in_the_place_already_is_not_written_down_as_the_agents_own(journal: Journal) -> None:
    store = MemoryStore()
    store.create(KEY, b"a stranger's")
    journal.begin_publishing(store, KEY, FILES, NOW)

    assert named(journal) == [FILES[1:]]


def test_what_an_earlier_try_has_put_stays_written_down(journal: Journal) -> None:
    store = MemoryStore()
    journal.begin_publishing(store, KEY, FILES, NOW)
    store.create(KEY, b"ours")
    journal.begin_publishing(store, KEY, FILES, NOW)

    assert named(journal) == [FILES]


def test_where_everything_lies_there_nothing_is_written_down(journal: Journal) -> None:
    store = MemoryStore()
    for file in FILES:
        store.create(file, b"a stranger's")
    journal.begin_publishing(store, KEY, FILES, NOW)

    assert named(journal) == []


def test_who_may_not_look_claims_nothing(journal: Journal) -> None:
    class Blind(MemoryStore):
        def stat(self, key: str) -> Stored | None:
            raise PermanentError(Reason.STORAGE_AUTH, f"403: {key}")

    journal.begin_publishing(Blind(), KEY, FILES, NOW)

    assert named(journal) == []

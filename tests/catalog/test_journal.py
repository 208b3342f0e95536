"""An intent names the agent's own files, and no files of other programs."""

import errno
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog.damage_marks import damaged
from backup_agent.catalog.journal import Journal
from backup_agent.core.artifacts.names import DEFAULT_SET
from backup_agent.core.reasons import BackupError, PermanentError, Reason
from backup_agent.durable import RefusedFileError
from backup_agent.stores.local import LocalStore
from backup_agent.stores.store import StoredObject
from tests.builders import ORDERS, a_record
from tests.catalog.places import place_at
from tests.stores.memory_store import MemoryStore

KEY = "default/orders/orders-2026-11-23T02-00-00.backup"
FILES = (KEY, f"{KEY}.1")
NOW = datetime(2026, 11, 23, 3, tzinfo=UTC)


@pytest.fixture(name="journal")
def _journal(tmp_path: Path) -> Journal:
    return place_at(tmp_path).journal


def files_in(journal: Journal) -> list[tuple[str, ...]]:
    return [intent.files for intent in journal]


def test_an_intent_does_not_name_files_that_existed_before(journal: Journal) -> None:
    store = MemoryStore()
    store.create(KEY, b"a stranger's")
    journal.begin_publishing(store, KEY, FILES, NOW)

    assert files_in(journal) == [FILES[1:]]


def test_an_intent_keeps_the_files_of_an_earlier_try(journal: Journal) -> None:
    store = MemoryStore()
    journal.begin_publishing(store, KEY, FILES, NOW)
    store.create(KEY, b"ours")
    journal.begin_publishing(store, KEY, FILES, NOW)

    assert files_in(journal) == [FILES]


@pytest.mark.parametrize(
    ("key", "file"),
    [
        pytest.param(KEY, "default/orders/orders-2026-11-24T02-00-00.backup", id="a file of another artifact"),
        pytest.param(KEY, "../../etc/passwd", id="a path"),
        pytest.param(KEY, f"{KEY}.json", id="a record"),
        pytest.param("default/orders/notes.txt", "default/orders/notes.txt", id="not an artifact"),
        pytest.param("default/orders/orders-2026-11-24T02-00-00.backup", KEY, id="an intent under another key"),
    ],
)
def test_an_intent_that_names_files_of_others_is_ignored(journal: Journal, key: str, file: str) -> None:
    intent = {"schema": 1, "key": key, "doing": "deleting", "files": [file], "since": "2026-11-23T03:00:00Z"}
    path = journal._folder / KEY
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(intent))

    assert files_in(journal) == []


def test_if_all_files_exist_no_intent_is_written(journal: Journal) -> None:
    store = MemoryStore()
    for file in FILES:
        store.create(file, b"a stranger's")
    journal.begin_publishing(store, KEY, FILES, NOW)

    assert files_in(journal) == []


def test_without_permission_to_look_no_intent_is_written(journal: Journal) -> None:
    class Blind(MemoryStore):
        def stat(self, key: str) -> StoredObject | None:
            raise PermanentError(Reason.STORAGE_AUTH, f"403: {key}")

    journal.begin_publishing(Blind(), KEY, FILES, NOW)

    assert files_in(journal) == []


@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_notes_and_marks_that_cannot_be_listed_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    (tmp_path / "default" / "orders").mkdir(parents=True)
    place = place_at(tmp_path, "offsite")
    journal, notes, wanted = place.journal, place.record_notes, place.wanted_holds
    for folder in (one._folder for one in (journal, notes, wanted)):
        (folder / "default" / "orders").mkdir(parents=True)
    listdir, scandir = os.listdir, os.scandir

    def failing(folder: Path | int) -> Any:
        where = str(Path(f"/proc/self/fd/{folder}").readlink()) if isinstance(folder, int) else str(folder)
        if where.endswith("/orders"):
            raise OSError(error, os.strerror(error), where)
        return listdir(folder)

    def failing_scan(folder: Path | int) -> Any:
        failing(folder)
        return scandir(folder)

    monkeypatch.setattr(os, "listdir", failing)
    monkeypatch.setattr(os, "scandir", failing_scan)

    for looked in (
        lambda: list(journal),
        lambda: list(notes.noted()),
        lambda: notes.owed([a_record(0)]),
        lambda: list(wanted),
        lambda: damaged(tmp_path, DEFAULT_SET, ORDERS),
    ):
        with pytest.raises(OSError, match=os.strerror(error)):
            looked()
    with pytest.raises(BackupError):
        list(LocalStore(tmp_path).list())


@pytest.mark.parametrize("plant", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["FIFO", "link"])
def test_reading_a_note_that_is_not_a_regular_file_does_not_block(
    tmp_path: Path, plant: Callable[[Path], None]
) -> None:
    place = place_at(tmp_path, "offsite")
    journal = place.journal
    for one in (journal, place.record_notes, place.wanted_holds):
        path = one._folder / KEY
        path.parent.mkdir(parents=True)
        plant(path)

    assert (files_in(journal), journal.deletes(KEY)) == ([], False)
    with pytest.raises(RefusedFileError):
        place.record_notes.has(KEY)
    with pytest.raises(RefusedFileError):
        place.wanted_holds.wants(KEY)

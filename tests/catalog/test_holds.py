"""A hold and a deletion at the same time: one of the two gives way and says so."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from backup_agent.catalog.holds import hold, release
from backup_agent.catalog.journal import Doing, Intent
from backup_agent.catalog.tenure import Held
from backup_agent.core.artifacts.keys import hold_key, record_key
from backup_agent.core.artifacts.marks import Hold
from backup_agent.core.reasons import PermanentError
from backup_agent.jobs.prune import Deleted, delete
from tests.catalog.places import place_at

KEY = "default/orders/orders-2026-11-23T02-00-00.backup"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
WANTED = Hold(key=KEY, since=NOW, reason="audit", request="h")


@pytest.fixture(name="root")
def _root(tmp_path: Path) -> Path:
    for key in (KEY, record_key(KEY)):
        path = tmp_path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def test_an_artifact_held_after_the_plan_is_not_deleted(root: Path) -> None:
    hold(place_at(root).settings, WANTED)

    assert delete(place_at(root), Held(), KEY, (KEY,)) is Deleted.NOT
    assert (root / KEY).exists()
    assert (root / record_key(KEY)).exists()
    assert list(place_at(root).journal) == []


def test_an_artifact_that_is_being_deleted_cannot_be_held(root: Path) -> None:
    place_at(root).journal.begin(Intent(key=KEY, doing=Doing.DELETING, files=(KEY,), since=NOW))

    with pytest.raises(PermanentError, match="being deleted at local"):
        hold(place_at(root).settings, WANTED)
    assert not (root / hold_key(KEY)).exists()


def test_a_change_wanted_during_an_earlier_one_is_kept(root: Path) -> None:
    wanted = place_at(root, "offsite").wanted_holds
    wanted.release(KEY)
    [(key, earlier)] = wanted
    wanted.hold(WANTED)
    wanted.settle(key, earlier)
    assert list(wanted) == [(KEY, WANTED)]

    wanted.settle(KEY, WANTED)
    assert list(wanted) == []


def test_a_released_artifact_is_deleted_completely(root: Path) -> None:
    hold(place_at(root).settings, WANTED)
    release(place_at(root).settings, KEY)

    assert delete(place_at(root), Held(), KEY, (KEY,)) is Deleted.FREED
    assert not (root / "default").exists()

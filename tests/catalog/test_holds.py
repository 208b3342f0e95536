"""A hold and a deletion at the same time: one of the two gives way and reports it. Also: ends of holds."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup_agent.catalog.holds import hold, holds_at, release, remove_ended
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


def hold_until(days: int) -> Hold:
    return WANTED.model_copy(update={"until": NOW + timedelta(days=days)})


def hold_on_volume(root: Path) -> Hold:
    return Hold.from_json((root / hold_key(KEY)).read_bytes())


def test_a_hold_with_an_end_can_be_prolonged_and_not_cut_short(root: Path) -> None:
    settings = place_at(root).settings

    assert hold(settings, hold_until(2)) == {"local": "held until 2026-11-25T12:00:00Z"}
    assert hold(settings, hold_until(1)) == {"local": "held until 2026-11-25T12:00:00Z before"}
    assert hold(settings, hold_until(3)) == {
        "local": "held until 2026-11-26T12:00:00Z; held until 2026-11-25T12:00:00Z before"
    }
    assert hold_on_volume(root) == hold_until(3)
    assert hold(settings, WANTED) == {"local": "held; held until 2026-11-26T12:00:00Z before"}
    assert hold(settings, hold_until(4)) == {"local": "held before"}
    assert hold_on_volume(root) == WANTED


def test_a_hold_at_a_destination_can_be_prolonged_and_not_cut_short(tmp_path: Path) -> None:
    offsite = place_at(tmp_path, "offsite")
    offsite.record_notes.add(KEY, b"x")

    assert hold(offsite.settings, hold_until(2)) == {
        "offsite": "held until 2026-11-25T12:00:00Z; the next pass writes the mark there"
    }
    assert hold(offsite.settings, hold_until(1)) == {"offsite": "held until 2026-11-25T12:00:00Z before"}
    assert list(offsite.wanted_holds) == [(KEY, hold_until(2))]


def test_an_artifact_that_is_being_deleted_keeps_the_hold_that_it_had(root: Path) -> None:
    hold(place_at(root).settings, hold_until(1))
    place_at(root).journal.begin(Intent(key=KEY, doing=Doing.DELETING, files=(KEY,), since=NOW))

    with pytest.raises(PermanentError, match="being deleted at local"):
        hold(place_at(root).settings, WANTED)
    assert hold_on_volume(root) == hold_until(1)


def test_an_unreadable_mark_remains_and_counts_as_a_hold(root: Path) -> None:
    (root / hold_key(KEY)).write_bytes(b"{")

    assert hold(place_at(root).settings, hold_until(1)) == {"local": "held before, by a mark that cannot be read"}
    assert (root / hold_key(KEY)).read_bytes() == b"{"


def test_a_hold_that_was_prolonged_meanwhile_is_not_removed(root: Path) -> None:
    hold(place_at(root).settings, hold_until(2))

    assert remove_ended(place_at(root), KEY, NOW + timedelta(days=1)) == hold_until(2)
    assert hold_on_volume(root) == hold_until(2)
    assert remove_ended(place_at(root), KEY, NOW + timedelta(days=3)) is None
    assert not (root / hold_key(KEY)).exists()
    assert remove_ended(place_at(root), KEY, NOW) is None


def test_at_a_destination_only_a_noted_hold_has_an_end(tmp_path: Path) -> None:
    offsite = place_at(tmp_path, "offsite")

    assert holds_at(offsite, {KEY: hold_until(1)}) == {KEY: WANTED}
    offsite.wanted_holds.hold(hold_until(2))
    assert holds_at(offsite, {KEY: hold_until(1)}) == holds_at(offsite, {}) == {KEY: hold_until(2)}
    assert holds_at(offsite, {KEY: WANTED}) == {KEY: hold_until(2)}
    offsite.wanted_holds.release(KEY)
    assert holds_at(offsite, {KEY: WANTED}) == {KEY: WANTED}


def test_a_change_that_is_requested_during_an_earlier_one_is_kept(root: Path) -> None:
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

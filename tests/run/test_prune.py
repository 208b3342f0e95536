"""Applying retention at one place, below the live agent: a set that is refused, and copies that are given up."""

import json
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog.copies import Notes
from backup_agent.core.names import record_key
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.core.records import Record
from backup_agent.core.tasks import PruneTask
from backup_agent.run.prune import Place, prune
from backup_agent.run.telling import Teller
from backup_agent.settings.model import Settings
from backup_agent.stores.local import LocalStore
from tests.catalog.places import Place as Filled
from tests.catalog.places import made


def full(set_name: str, day: int) -> Record:
    """Return the record of the full of a day long ago."""
    return made(24 * (day - 300), set_name=set_name)


@pytest.fixture(name="volume")
def _volume(tmp_path: Path) -> Place:
    """A volume with two sets of fulls, a day apart: four in `default`, of which three may go, and two in `weekly`."""
    (tmp_path / "root").mkdir()
    settings = Settings.model_validate(
        {
            "cluster": "demo",
            "neo4j": {"uri": "neo4j://demo:7687"},
            "sets": ["weekly"],
            "schedules": {},
            "retention": {"last": 1},
            "storage": {"root": str(tmp_path / "root"), "destinations": {"offsite": {"bucket": "backups"}}},
        }
    )
    place = Place("local", LocalStore(settings.storage.root, "local"), settings)
    notes = Notes(place.root, "offsite", settings.storage.destinations["offsite"].identity)
    for set_name, count in (("default", 4), ("weekly", 2)):
        for day in range(count):
            record = Filled(place.store).add(full(set_name, day))
            notes.add(record.key)
    return place


def applied(volume: Place, **task: Any) -> tuple[Any, list[dict[str, Any]]]:
    told: list[dict[str, Any]] = []
    teller = Teller(lambda line: told.append(json.loads(line)))
    return prune(PruneTask(run="prune-1", place="local", settings={}, **task), volume, teller), told


def recorded(volume: Place) -> list[str]:
    return [one.key for one in volume.store.list() if one.key.endswith(".backup.json")]


def keys(set_name: str, *days: int) -> list[str]:
    return [record_key(full(set_name, day).key) for day in days]


def test_a_set_of_which_too_much_would_go_is_refused_and_the_other_is_pruned(volume: Place) -> None:
    result, told = applied(volume)

    assert (result.outcome, result.reason) == ("failed", Reason.INVALID_REQUEST)
    assert result.error == (
        "default: 3 of 4 artifacts would be deleted, more than the share of 0.5 that max_delete_share allows"
    )
    assert "--force" in result.hint
    assert [one.key for one in result.deletions] == [full("weekly", 0).key]
    assert (result.deleted, result.kept) == (1, 5)
    assert recorded(volume) == [*keys("default", 0, 1, 2, 3), *keys("weekly", 1)]
    assert [event["key"] for event in told if event["event"] == "pruned"] == [full("weekly", 0).key]


def test_by_force_the_refused_set_is_pruned_too(volume: Place) -> None:
    result, _ = applied(volume, force=True)

    assert (result.outcome, result.deleted) == ("succeeded", 4)
    assert recorded(volume) == [*keys("default", 3), *keys("weekly", 1)]


def test_a_dry_run_says_the_same_and_deletes_nothing(volume: Place) -> None:
    before = recorded(volume)
    result, _ = applied(volume, dry_run=True)

    assert (result.outcome, result.deleted) == ("failed", None)
    assert len(result.deletions) == 1
    assert recorded(volume) == before


def test_the_digest_is_that_of_what_goes_so_the_refused_do_not_change_it(volume: Place) -> None:
    dry, _ = applied(volume, dry_run=True)
    forced, _ = applied(volume, dry_run=True, force=True)
    carried_out, _ = applied(volume, plan=dry.plan)

    assert dry.plan != forced.plan
    assert carried_out.deleted == 1


def test_what_is_owed_is_kept_until_it_is_given_up(volume: Place) -> None:
    settings = volume.settings.storage.destinations["offsite"]
    oldest = full("weekly", 0).key
    (next((volume.root / ".agent" / "copied").iterdir()) / oldest).unlink()
    kept, _ = applied(volume, dry_run=True)
    rehearsed, _ = applied(volume, dry_run=True, drop_owed="offsite", force=True)
    notes = Notes(volume.root, "offsite", settings.identity)
    owed_before = [one.key for one in notes.owed([full("weekly", 0)])]
    result, _ = applied(volume, drop_owed="offsite", force=True)

    assert (kept.deletions, rehearsed.dropped, owed_before) == ((), None, [oldest])
    assert (result.dropped, result.deleted) == (1, 4)
    assert keys("weekly", 0)[0] not in recorded(volume)


def test_copies_to_a_destination_that_is_not_there_cannot_be_given_up(volume: Place) -> None:
    with pytest.raises(PermanentError, match="there is no destination 'moon'") as refused:
        applied(volume, drop_owed="moon", force=True)

    assert refused.value.failure.reason is Reason.NOT_FOUND

"""A place: its notes on the volume, and that its store is opened only when needed."""

import subprocess
import sys
from pathlib import Path

import pytest

from backup_agent.catalog.place import Place, all_places, place_of
from backup_agent.core.reasons import PermanentError
from tests.builders import OFFSITE
from tests.catalog.places import place_at

KEY = "default/orders/orders-2026-11-23T02-00-00.backup"

LOADED = """
import sys
from backup_agent.catalog.place import all_places
from backup_agent.settings.model import Settings
destinations = {"offsite": {"bucket": "backups"}}
storage = {"root": "/nowhere", "destinations": destinations}
given = {"cluster": "demo", "neo4j": {"uri": "neo4j://demo:7687"}, "storage": storage}
volume, offsite = all_places(Settings.model_validate(given))
print(offsite.name, offsite.record_notes.has("default/orders/x"), "boto3" in sys.modules, end=" ")
offsite.store
print("boto3" in sys.modules)
"""


@pytest.mark.process
def test_the_client_library_of_a_destination_is_loaded_when_its_store_is_first_used() -> None:
    completed = subprocess.run((sys.executable, "-c", LOADED), capture_output=True, text=True, check=True)

    assert completed.stdout == "offsite False False True\n"


def test_the_store_of_a_place_is_opened_once(tmp_path: Path) -> None:
    place = place_at(tmp_path)

    assert place.store is place.store


def test_the_volume_comes_first_and_places_are_found_by_name(tmp_path: Path) -> None:
    settings = place_at(tmp_path, "offsite").settings

    assert [(one.name, one.is_volume) for one in all_places(settings)] == [("local", True), ("offsite", False)]
    with pytest.raises(PermanentError, match="onsite: there is no such place; the settings have local, offsite"):
        place_of("onsite", settings)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"storage": {"destinations": {"offsite": {"bucket": "another"}}}}, id="pointed elsewhere"),
        pytest.param({"cluster": "renamed"}, id="the cluster renamed, which makes another prefix"),
    ],
)
def test_notes_are_not_used_for_another_location_with_the_same_name(
    tmp_path: Path, other: dict[str, dict[str, object]]
) -> None:
    place = place_at(tmp_path, "offsite")
    place.record_notes.add(KEY, b"{}")
    changed = place.settings.model_dump() | other
    changed["storage"] |= {"root": tmp_path}
    elsewhere = Place(OFFSITE, type(place.settings).model_validate(changed))

    assert place_at(tmp_path, "offsite").record_notes.has(KEY)
    assert not elsewhere.record_notes.has(KEY)

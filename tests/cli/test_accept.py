"""`catalog unrecognised` and `catalog accept`: records that the agent neither wrote nor accepted."""

from pathlib import Path

import pytest

from backup_agent.catalog.place import place_of
from backup_agent.catalog.record_notes import digest_of
from backup_agent.core.artifacts.keys import record_key
from backup_agent.settings.load import load
from backup_agent.stores import s3
from backup_agent.stores.local import LocalStore
from tests.builders import a_record
from tests.catalog.places import FilledPlace, filled, with_store
from tests.cli.conftest import Place

OFFSITE = ("--place", "offsite")


@pytest.fixture(name="bucket")
def _bucket(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FilledPlace:
    """Return a destination that is a folder."""
    place.settings["storage"]["destinations"] = {"offsite": {"type": "s3", "bucket": "backups"}}
    folder = tmp_path / "bucket"
    folder.mkdir()
    monkeypatch.setattr(s3, "open_store", lambda name, *_: LocalStore(folder, name))
    return FilledPlace(with_store(place_of("offsite", load(place.config, {}).settings), LocalStore(folder)))


def test_unrecognised_records_are_listed_and_accepted(place: Place) -> None:
    volume = filled(place.root)
    known, one, other = (volume.add(a_record(hour), recognised=hour == 0) for hour in (0, 24, 48))
    listed = place.run("catalog", "unrecognised", "--json")

    assert (3, [one.key, other.key]) == (listed.code, [found["artifact"] for found in listed.json["unrecognised"]])
    assert f"accepted: {one.key}\n" == place.run("catalog", "accept", one.key).out
    assert [other.key] == place.run("catalog", "accept", "--all", "--json").json["accepted"]
    again = place.run("catalog", "unrecognised")
    assert (0, "local: every record is recognised\n") == (again.code, again.out)
    assert 1 == place.run("catalog", "accept", known.key).code


def test_a_discarded_record_of_a_destination_is_deleted_and_the_artifact_of_the_volume_is_copied_again(
    place: Place, bucket: FilledPlace
) -> None:
    genuine = filled(place.root).add(a_record())
    bucket.add(a_record(request="forged"), recognised=False)

    result = place.run("catalog", "accept", *OFFSITE, "--discard", "--yes", genuine.key)

    assert (0, f"discarded: {genuine.key}\n") == (result.code, result.out)
    assert [] == [one.key for one in bucket.store.list("default/")]
    assert (genuine,) == bucket.place.record_notes.owed([genuine])


def test_a_copy_that_was_given_up_stays_given_up_when_its_record_is_discarded(
    place: Place, bucket: FilledPlace
) -> None:
    genuine = filled(place.root).add(a_record())
    bucket.add(genuine, recognised=False)
    bucket.place.record_notes.give_up(genuine.key)

    assert 0 == place.run("catalog", "accept", *OFFSITE, "--discard", "--yes", genuine.key).code
    assert () == bucket.place.record_notes.owed([genuine])


def test_a_record_whose_key_was_revoked_is_discarded_although_it_has_a_note(place: Place, bucket: FilledPlace) -> None:
    genuine = filled(place.root).add(a_record())
    bucket.add(a_record(request="forged"), recognised=False)
    key = "sha256:" + 64 * "0"
    content = bucket.store.read(record_key(genuine.key), 2**20)
    bucket.place.record_notes.add_signed(genuine.key, digest_of(content), key)
    place.settings["signing"] = {"revoked": {key: "2026-01-01T00:00:00Z"}}

    assert [genuine.key] == place.run("catalog", "accept", *OFFSITE, "--discard", "--yes", "--all", "--json").json[
        "discarded"
    ]
    assert (genuine,) == bucket.place.record_notes.owed([genuine])


def test_nothing_is_discarded_without_a_terminal_to_confirm_at(place: Place) -> None:
    volume = filled(place.root)
    one = volume.add(a_record(), recognised=False)

    result = place.run("catalog", "accept", "--discard", "--all")

    assert 2 == result.code
    assert "there is no terminal to confirm at: add --yes" in result.err
    assert volume.store.stat(record_key(one.key)) is not None

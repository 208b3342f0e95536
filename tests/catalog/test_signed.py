"""Records that are recognised by their signature, after the notes on them were lost."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog.acceptance import accept
from backup_agent.catalog.contents import of_database, survey
from backup_agent.catalog.place import Place
from backup_agent.catalog.recognised import create_on_volume, is_copy, read_record
from backup_agent.core.artifacts.keys import record_key
from backup_agent.core.artifacts.names import DEFAULT_SET
from backup_agent.core.artifacts.records import Record
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.signing import key_file
from backup_agent.signing.keyring import Keyring
from tests.builders import ORDERS, a_record, settings_with
from tests.catalog.places import FilledPlace, filled
from tests.stores.memory_store import MemoryStore


class World:
    """A bucket whose notes were lost, and keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder / "key.pem"
        self.own = key_file.create(self.key)
        self.stranger = folder / "stranger.pem"
        key_file.create(self.stranger)
        self.bucket = filled(folder / "root", MemoryStore("offsite"), "offsite")

    def signed(self, record: Record, key: Path | None = None, cluster: str = "demo") -> Record:
        settings = settings_with(cluster=cluster, signing={"key_file": str(key or self.key)})
        return Keyring(settings).sign(record)

    def add(self, hour: int, key: Path | None = None, **how: Any) -> Record:
        """Put a signed artifact into the bucket, without a note."""
        return self.bucket.add(self.signed(a_record(hour), key), recognised=False, **how)

    def place(self, **signing: Any) -> Place:
        """Return the place under other settings."""
        tree = {**self.bucket.place.settings.model_dump(mode="json"), "signing": signing}
        settings = self.bucket.place.settings.model_validate(
            {"cluster": "demo", "neo4j": {"uri": "neo4j://demo:7687"}, "signing": signing, "storage": tree["storage"]}
        )
        place = replace(self.bucket.place, settings=settings)
        vars(place)["store"] = self.bucket.store
        return place


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> World:
    return World(tmp_path)


def unread(place: Place) -> None:
    """Remove the index, so that the records are read as on a new volume."""
    place.index.unlink(missing_ok=True)


def test_signed_records_are_recognised_without_a_note_and_noted(world: World) -> None:
    record = world.add(0)
    place = world.place(key_file=str(world.key))

    found = survey(place)

    assert ([record.key], {}) == (list(found.entries), found.unrecognised)
    assert place.record_notes.has(record.key)
    assert [record.key] == list(survey(world.place()).entries), "the note is enough from now on"


def test_all_records_of_a_lost_volume_are_recognised_at_once_however_many(world: World) -> None:
    records = [world.add(hour) for hour in range(100)]
    forged = [world.bucket.add(a_record(hour), recognised=False).key for hour in range(100, 200)]

    found = survey(world.place(trusted=[world.own]))

    assert {record.key for record in records} == found.entries.keys()
    assert set(forged) == found.unrecognised.keys()


def test_a_record_signed_by_a_key_that_is_not_trusted_is_not_recognised(world: World) -> None:
    record = world.add(0, world.stranger)
    place = world.place(key_file=str(world.key))

    assert [record.key] == list(survey(place).unrecognised)
    assert not place.record_notes.has(record.key)
    with pytest.raises(PermanentError) as error:
        read_record(place, record.key)
    assert Reason.UNRECOGNISED is error.value.failure.reason


def test_a_record_of_another_cluster_or_artifact_is_not_recognised(world: World) -> None:
    other = world.bucket.add(world.signed(a_record(0), cluster="other"), recognised=False)
    moved = world.signed(a_record(24)).model_copy(update={"key": a_record(48).key, "files": a_record(48).files})
    moved = world.bucket.add(moved.model_copy(update={"header": a_record(48).header}), recognised=False)

    found = survey(world.place(key_file=str(world.key)))

    assert list(found.entries) == []
    assert {other.key, moved.key} == found.unrecognised.keys()


def test_the_signed_record_of_a_copy_that_was_given_up_is_not_recognised(world: World) -> None:
    record = world.add(0)
    place = world.place(key_file=str(world.key))
    place.record_notes.give_up(record.key)

    assert [record.key] == list(survey(place).unrecognised)
    assert not place.record_notes.has(record.key)
    with pytest.raises(PermanentError, match="neither wrote nor accepted"):
        read_record(place, record.key)


def test_a_replaced_record_is_recognised_again_if_it_is_signed(world: World) -> None:
    record = world.add(0)
    place = world.place(key_file=str(world.key))
    place.record_notes.add(record.key, b"what was written first")

    assert record == read_record(place, record.key)
    assert [record.key] == list(survey(place).entries)
    assert place.record_notes.digest(record.key) is not None
    assert [record.key] == list(survey(world.place()).entries)


def test_a_replaced_record_stays_unreadable_if_a_stranger_signed_it(world: World) -> None:
    record = world.add(0, world.stranger)
    place = world.place(key_file=str(world.key))
    place.record_notes.add(record.key, b"what was written first")

    (fault,) = survey(place).unreadable

    assert fault.fault.startswith("it is not the record that the agent wrote")


def test_a_signed_record_without_its_files_confirms_no_copy(world: World) -> None:
    record = world.add(0, files=False)
    place = world.place(key_file=str(world.key))

    found = survey(place)

    assert [record.key] == list(found.without_artifact)
    assert not place.record_notes.has(record.key)


def test_a_revoked_key_no_longer_recognises_records_that_finished_after_the_revocation(world: World) -> None:
    before, after = world.add(0), world.add(24)
    assert {before.key, after.key} == survey(world.place(trusted=[world.own])).entries.keys()
    new = world.add(1)
    place = world.place(revoked={world.own: after.finished.isoformat()})

    for _ in ("by the index", "by the notes"):
        found = survey(place)
        assert ([before.key], {after.key, new.key}) == (list(found.entries), {*found.unrecognised})
        unread(place)
    with pytest.raises(PermanentError, match="neither wrote nor accepted"):
        read_record(place, after.key)


def test_after_a_revocation_records_that_the_agent_wrote_or_a_person_accepts_are_recognised(world: World) -> None:
    written = world.bucket.add(world.signed(a_record(24)))
    accepted = world.add(48)
    survey(world.place(trusted=[world.own]))
    place = world.place(revoked={world.own: a_record(0).finished.isoformat()})
    assert [accepted.key] == list(survey(place).unrecognised)

    accept(place, accepted.key)

    assert {written.key, accepted.key} == survey(place).entries.keys()


def test_a_key_that_is_trusted_later_counts_from_the_next_pass_on(world: World) -> None:
    record = world.add(0)
    assert [record.key] == list(survey(world.place()).unrecognised)

    assert [record.key] == list(survey(world.place(trusted=[world.own])).entries)


def test_the_index_of_earlier_keys_is_removed(world: World) -> None:
    world.add(0)
    earlier, later = world.place(), world.place(trusted=[world.own])
    survey(earlier)
    assert earlier.index.exists()

    survey(later)

    assert [later.index.name] == [path.name for path in later.index.parent.iterdir()]


def test_signed_records_are_recognised_when_one_database_is_read(world: World) -> None:
    record = world.add(0)

    assert [record.key] == list(of_database(world.place(trusted=[world.own]), DEFAULT_SET, ORDERS).entries)


def test_the_record_on_the_volume_is_signed_when_it_is_written(world: World, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    volume = filled(tmp_path / "volume")
    keyring = Keyring(world.place(key_file=str(world.key)).settings)

    written = create_on_volume(volume.place, a_record(0), keyring)

    assert written.signature is not None
    assert written.signature.key == world.own
    assert written.to_json() == (volume.place.root / record_key(written.key)).read_bytes()
    assert written == read_record(volume.place, written.key)


def test_a_copied_record_may_differ_in_its_lease_and_signature_only(world: World) -> None:
    record = world.signed(a_record(0))
    copy = world.signed(a_record(0).model_copy(update={"fencing": 7}), world.stranger)

    assert is_copy(copy.to_json(), record)
    assert is_copy(a_record(0).to_json(), record)
    assert not is_copy(copy.model_copy(update={"reason": "x"}).to_json(), record)


def test_a_key_that_is_not_trusted_is_not_loaded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.add(0, world.stranger)
    loaded: list[object] = []
    monkeypatch.setattr("backup_agent.signing.keyring._verifies", lambda *given: loaded.append(given))

    survey(world.place(trusted=[world.own]))

    assert loaded == []


def test_a_place_whose_records_are_all_noted_needs_no_key(world: World) -> None:
    own: FilledPlace = world.bucket
    record = own.add(a_record(0))

    assert [record.key] == list(survey(own.place).entries)

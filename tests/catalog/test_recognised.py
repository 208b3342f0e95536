"""Only records that the agent wrote or accepted are recognised."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from backup_agent.catalog.acceptance import accept, unrecognised
from backup_agent.catalog.contents import of_database, survey
from backup_agent.catalog.place import Place
from backup_agent.catalog.recognised import create_on_volume, read_record
from backup_agent.core.artifacts.keys import record_key
from backup_agent.core.artifacts.names import DEFAULT_SET
from backup_agent.core.artifacts.records import Record
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.signing.keyring import Keyring
from tests.builders import ORDERS, a_record
from tests.catalog.places import FilledPlace, filled
from tests.stores.memory_store import MemoryStore


@pytest.fixture(name="bucket")
def _bucket(tmp_path: Path) -> FilledPlace:
    return filled(tmp_path, MemoryStore("offsite"), "offsite")


def later(record: Record) -> bytes:
    """Return another record of the same artifact with the same size."""
    return record.model_copy(update={"finished": record.finished + timedelta(seconds=1)}).to_json()


def test_a_record_of_another_program_is_reported_and_is_not_an_entry(bucket: FilledPlace) -> None:
    own, forged = bucket.add(a_record(0)), bucket.add(a_record(24), recognised=False)

    for _ in ("without the index", "with it"):
        found = survey(bucket.place)

        assert (set(found.entries), set(found.unrecognised)) == ({own.key}, {forged.key})
        assert (found.orphans, found.unreadable, found.number_unrecognised) == ((), (), 1)


@pytest.mark.parametrize(
    "replaced",
    [
        pytest.param(lambda record: record.model_copy(update={"reason": "another size"}).to_json(), id="another size"),
        pytest.param(later, id="the same size"),
        pytest.param(lambda _record: b"{", id="no record"),
    ],
)
def test_a_record_that_was_replaced_is_unreadable(bucket: FilledPlace, replaced: Callable[[Record], bytes]) -> None:
    record = bucket.add(a_record(0))
    bucket.put(record_key(record.key), replaced(record))

    (fault,) = survey(bucket.place).unreadable

    assert fault.fault.startswith("it is not the record that the agent wrote, which has SHA-256 ")
    with pytest.raises(PermanentError, match="is not the record that the agent wrote") as error:
        read_record(bucket.place, record.key)
    assert error.value.failure.reason is Reason.UNREADABLE


def test_of_thousands_of_forged_records_only_a_few_are_read(bucket: FilledPlace) -> None:
    own = bucket.add(a_record(0))
    for hour in range(1, 400):
        bucket.add(a_record(hour), files=False, recognised=False)
    read: list[str] = []

    class Counting(MemoryStore):
        def read(self, key: str, limit: int) -> bytes:
            read.append(key)
            return super().read(key, limit)

    counting = Counting("offsite")
    counting.__dict__ |= bucket.store.__dict__
    index = bucket.place.index

    first, again = survey(bucket.at(index, counting)), survey(bucket.at(index, counting))

    assert (set(first.entries), set(again.entries)) == ({own.key}, {own.key})
    assert (first.number_unrecognised, again.number_unrecognised) == (399, 399)
    assert len(read) <= 1 + 2 * 32
    assert len(set(read)) == len(read)


def test_an_accepted_record_is_recognised_and_no_file_is_changed(bucket: FilledPlace) -> None:
    forged = bucket.add(a_record(0), recognised=False)
    survey(bucket.place)
    before = {one.key for one in bucket.store.list()}

    accept(bucket.place, forged.key)

    assert survey(bucket.place).entries.keys() == {forged.key}
    assert of_database(bucket.place, DEFAULT_SET, ORDERS).entries.keys() == {forged.key}
    assert list(unrecognised(bucket.place)) == []
    assert {one.key for one in bucket.store.list()} == before


def test_an_invalid_record_cannot_be_accepted(bucket: FilledPlace) -> None:
    bucket.put(record_key(a_record(0).key), a_record(1).to_json())

    with pytest.raises(PermanentError, match="is not a record of this artifact, and is not accepted"):
        accept(bucket.place, a_record(0).key)

    assert [one.artifact for one in unrecognised(bucket.place)] == [a_record(0).key]


def test_the_record_of_a_copy_that_was_given_up_is_not_recognised(bucket: FilledPlace) -> None:
    record = bucket.add(a_record(0))
    bucket.place.record_notes.give_up(record.key)

    assert survey(bucket.place).unrecognised.keys() == {record.key}


def test_an_unrecognised_record_is_reported_with_its_missing_file(bucket: FilledPlace) -> None:
    bucket.add(a_record(0), files=False, recognised=False)

    (one,) = unrecognised(bucket.place)

    assert one.fault == "its file is missing"


def test_recognised_records_survive_the_loss_of_the_index(bucket: FilledPlace) -> None:
    record = bucket.add(a_record(0))
    survey(bucket.place)
    bucket.place.index.unlink()

    assert survey(bucket.place).entries.keys() == {record.key}


def test_an_existing_record_keeps_its_note(tmp_path: Path) -> None:
    volume = filled(tmp_path)
    record = volume.add(a_record(0))

    with pytest.raises(PermanentError):
        create_on_volume(volume.place, record.model_copy(update={"reason": "another"}), Keyring(volume.place.settings))

    assert read_record(volume.place, record.key) == record


def test_a_note_without_a_record_has_no_effect(tmp_path: Path) -> None:
    """A crash between the note and the record leaves such a note."""
    volume = filled(tmp_path)
    volume.place.record_notes.add(a_record(0).key, a_record(0).to_json())
    assert survey(volume.place).entries == {}

    create_on_volume(
        volume.place, a_record(0).model_copy(update={"reason": "the next attempt"}), Keyring(volume.place.settings)
    )

    assert survey(volume.place).entries.keys() == {a_record(0).key}


def test_notes_apply_to_one_place(tmp_path: Path) -> None:
    volume = filled(tmp_path)
    record = volume.add(a_record(0))
    other: Place = filled(tmp_path, volume.store, "offsite").place

    assert survey(other).unrecognised.keys() == {record.key}

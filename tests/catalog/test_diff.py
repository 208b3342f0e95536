"""Drift: each kind is found, nothing is repaired, and a place without drift has no findings."""

from collections.abc import Callable
from pathlib import Path

import pytest

from backup_agent.catalog.contents import survey
from backup_agent.catalog.diff import confirmed_drift, diff
from backup_agent.catalog.index import HEAD
from backup_agent.catalog.place import Place
from backup_agent.catalog.rebuild import rebuild
from backup_agent.core.artifacts.drift import Kind
from backup_agent.core.artifacts.keys import record_key
from backup_agent.core.artifacts.records import Record
from backup_agent.core.reasons import BackupError, Reason, TransientError
from tests.builders import a_record, content
from tests.catalog.places import FilledPlace, filled, newer, place_at, tree
from tests.stores.memory_store import MemoryStore


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> FilledPlace:
    root = tmp_path / "root"
    root.mkdir()
    return filled(root)


@pytest.fixture(name="at")
def _at(place: FilledPlace, tmp_path: Path) -> Place:
    return place_at(tmp_path / "root", store=place.store)


@pytest.fixture(name="index")
def _index(at: Place) -> Path:
    at.index.parent.mkdir(parents=True)
    return at.index


def flipped(record: Record) -> bytes:
    data = bytearray(content(record.files[0].name))
    data[-1] ^= 1
    return bytes(data)


def tampered(record: Record) -> bytes:
    return record.to_json().replace(b'"highest": 10,', b'"highest": 11,')


SPOILERS: dict[str, tuple[Callable[[FilledPlace, Record], object], Kind, str]] = {
    "record deleted": (
        lambda place, one: place.store.delete(record_key(one.key)), Kind.ARTIFACT_WITHOUT_RECORD, "{key}",
    ),
    "artifact deleted": (lambda place, one: place.store.delete(one.key), Kind.RECORD_WITHOUT_ARTIFACT, "{key}"),
    "part deleted": (lambda place, one: place.store.delete(f"{one.key}.1"), Kind.RECORD_WITHOUT_ARTIFACT, "{key}.1"),
    "artifact cut": (lambda place, one: place.put(one.key, b"short"), Kind.SIZE_CHANGED, "{key}"),
    "artifact flipped": (lambda place, one: place.put(one.key, flipped(one)), Kind.CHECKSUM_CHANGED, "{key}"),
    "record garbled": (lambda place, one: place.put(record_key(one.key), b"{"), Kind.UNREADABLE, "{key}.json"),
    "record of a newer schema": (
        lambda place, one: place.put(record_key(one.key), newer(one.to_json())), Kind.UNREADABLE, "{key}.json",
    ),
    "record tampered with": (
        lambda place, one: place.put(record_key(one.key), tampered(one)), Kind.UNREADABLE, "{key}.json",
    ),
    "record of a stranger": (
        lambda place, one: place.place.record_notes.strike(one.key), Kind.UNRECOGNISED, "{key}.json",
    ),
    "both deleted": (lambda place, one: place.remove(one), Kind.VANISHED, "{key}"),
    "a stranger": (lambda place, _one: place.put("default/notes.txt", b"x"), Kind.FOREIGN, "default/notes.txt"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILERS)
def test_each_kind_of_drift_is_found_and_nothing_is_repaired(
    place: FilledPlace, at: Place, index: Path, tmp_path: Path, name: str
) -> None:
    spoil, kind, key = SPOILERS[name]
    record = place.add(a_record(0, parts=1))
    place.add(a_record(1))
    survey(place.at(index))
    spoil(place, record)
    before = tree(tmp_path)

    found = [(one.kind, one.key) for one in diff(at, checksums=True)]

    assert (kind, key.format(key=record.key)) in found
    assert {one for one, _ in found} <= {kind, Kind.ARTIFACT_WITHOUT_RECORD, Kind.VANISHED, Kind.CHAIN_BROKEN}
    assert tree(tmp_path) == before
    assert [(one.kind, one.key) for one in diff(at, checksums=True)] == found


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda place, one: place.remove(one), id="missing"),
        pytest.param(lambda place, one: place.store.delete(one.key), id="its file missing"),
        pytest.param(lambda place, one: place.damage(one), id="damaged"),
        pytest.param(lambda place, one: place.put(record_key(one.key), b"{"), id="its record unreadable"),
    ],
)
@pytest.mark.parametrize("warm", [False, True], ids=["without an index", "with one"])
def test_each_artifact_behind_a_gap_in_a_chain_is_reported(
    place: FilledPlace, at: Place, index: Path, spoil: Callable[[FilledPlace, Record], None], *, warm: bool
) -> None:
    full, first, second = (place.add(a_record(hour)) for hour in range(3))
    if warm:
        survey(place.at(index))
    spoil(place, full)

    found = {one.key: one.text for one in diff(at) if one.kind is Kind.CHAIN_BROKEN}

    assert found.keys() == {first.key, second.key}


@pytest.mark.parametrize("warm", [False, True], ids=["without an index", "with one"])
def test_a_place_without_drift_has_no_findings(place: FilledPlace, at: Place, index: Path, *, warm: bool) -> None:
    one = place.add(a_record(0, parts=2))
    place.hold(one)
    place.damage(one)
    if warm:
        survey(place.at(index))

    assert list(diff(at, checksums=True)) == []


def test_an_index_that_lacks_entries_is_no_drift(place: FilledPlace, at: Place, index: Path) -> None:
    place.add(a_record(0))
    survey(place.at(index))
    place.add(a_record(1))

    assert list(diff(at)) == []


def test_a_damaged_index_is_drift(place: FilledPlace, at: Place, index: Path) -> None:
    place.add(a_record(0))
    index.write_bytes(HEAD + b"garbled\n")

    assert [(one.kind, one.text) for one in diff(at)] == [(Kind.INDEX_DIFFERS, "the index: line 2 cannot be read")]


def test_checksums_are_compared_only_if_requested(place: FilledPlace, at: Place) -> None:
    record = place.add(a_record(0))
    place.put(record.key, flipped(record))

    assert list(diff(at)) == []
    assert [one.kind for one in diff(at, checksums=True)] == [Kind.CHECKSUM_CHANGED]


def test_an_error_of_the_store_is_raised_and_is_no_drift(tmp_path: Path) -> None:
    class Mute(MemoryStore):
        def read(self, key: str, limit: int) -> bytes:  # noqa: ARG002  a store's method
            raise TransientError(Reason.STORAGE_UNREACHABLE, f"{key}: no answer")

    place = filled(tmp_path, Mute())
    place.add(a_record(0))
    at = place.place

    with pytest.raises(BackupError, match="no answer"):
        list(diff(at))


def test_a_rebuilt_index_has_the_same_bytes_and_no_drift_left(place: FilledPlace, at: Place, index: Path) -> None:
    for hour in range(30):
        place.add(a_record(hour, parts=hour % 3))
        survey(place.at(index))
    kept = index.read_bytes()
    index.unlink()

    rebuilt = rebuild(at)

    assert index.read_bytes() == kept
    assert (rebuilt.artifacts, rebuilt.unreadable, rebuilt.noted) == (30, (), ())


def test_rebuilding_finds_a_record_that_was_replaced_by_one_of_its_size(
    place: FilledPlace, at: Place, index: Path
) -> None:
    record = place.add(a_record(0))
    survey(place.at(index))
    place.put(record_key(record.key), tampered(record))
    assert next(iter(survey(place.at(index)).entries.values())).highest == 10

    assert [one.artifact for one in rebuild(at).unreadable] == [record.key]
    assert survey(place.at(index)).entries == {}


def test_rebuilding_a_destination_restores_the_notes_on_complete_copies(place: FilledPlace, tmp_path: Path) -> None:
    bucket = filled(tmp_path / "root", MemoryStore(), "offsite")
    offsite = bucket.place
    copied, cut, owed = (place.add(a_record(hour)) for hour in range(3))
    bucket.add(copied.model_copy(update={"fencing": 7}), recognised=False)
    bucket.add(cut, recognised=False)
    bucket.put(cut.key, b"short")
    strange = bucket.add(a_record(5), recognised=False)  # not on the volume
    notes = offsite.record_notes

    rebuilt = rebuild(offsite)

    assert rebuilt.noted == (copied.key,)
    assert [record.key for record in notes.owed([owed, cut, copied])] == [cut.key, owed.key]
    assert not notes.has(strange.key)
    assert (rebuilt.artifacts, rebuilt.unrecognised) == (1, 2)
    assert rebuild(offsite).noted == ()


def test_rebuilding_removes_no_note(place: FilledPlace, tmp_path: Path) -> None:
    record = place.add(a_record(0))
    offsite = place_at(tmp_path / "root", "offsite", MemoryStore())
    notes = offsite.record_notes
    notes.add(record.key, record.to_json())

    rebuild(offsite)

    assert notes.has(record.key)


def test_an_artifact_that_a_pass_deletes_between_the_two_looks_is_not_drift(place: FilledPlace, at: Place) -> None:
    """A pass deletes the record first. A file that still exists at the second look is drift."""
    going, left = place.add(a_record(0)), place.add(a_record(24))
    for one in (going, left):
        place.store.delete(record_key(one.key))
    found = confirmed_drift(at, wait=lambda _: place.store.delete(going.key))

    assert [(one.kind, one.key) for one in found] == [(Kind.ARTIFACT_WITHOUT_RECORD, left.key)]


def test_a_changed_checksum_is_compared_again(place: FilledPlace, at: Place) -> None:
    mended, bad = place.add(a_record(0)), place.add(a_record(24, parts=1))
    for one in (mended, bad):
        place.put(one.key, flipped(one))
    found = confirmed_drift(at, checksums=True, wait=lambda _: place.put(mended.key, content(mended.files[0].name)))

    assert [(one.kind, one.key) for one in found] == [(Kind.CHECKSUM_CHANGED, bad.key)]


def test_without_drift_there_is_no_second_look(place: FilledPlace, at: Place) -> None:
    place.add(a_record())

    def never(_: float) -> None:
        raise AssertionError

    assert confirmed_drift(at, wait=never) == []

"""The contents of a place, for each kind of store, with and without an index."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_agent.catalog.contents import Contents, by_database, of_database, survey
from backup_agent.catalog.index import HEAD, forget
from backup_agent.core.artifacts.drift import Kind, ListedKey
from backup_agent.core.artifacts.entries import Entry
from backup_agent.core.artifacts.keys import damage_key, hold_key, record_key
from backup_agent.core.artifacts.names import DatabaseName, SetName
from backup_agent.core.artifacts.records import Record
from backup_agent.core.reasons import BackupError, Reason, TransientError
from backup_agent.stores.local import LocalStore
from backup_agent.stores.store import Store
from tests.builders import ORDERS, a_record, content
from tests.catalog.places import FilledPlace, filled, newer
from tests.stores.memory_store import MemoryStore

STORES: dict[str, Callable[[Path], Store]] = {
    "memory": lambda _folder: MemoryStore(),
    "local": LocalStore,
}


class Counting:
    """A store that counts reads."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.read_keys: list[str] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self.store, name)

    def read(self, key: str, limit: int) -> bytes:
        self.read_keys.append(key)
        return self.store.read(key, limit)


@pytest.fixture(name="place", params=STORES)
def _place(request: pytest.FixtureRequest, tmp_path: Path) -> FilledPlace:
    root = tmp_path / "root"
    root.mkdir()
    return filled(root, STORES[request.param](root))


@pytest.fixture(name="index")
def _index(tmp_path: Path) -> Path:
    return tmp_path / "own" / "catalog" / "local@0"


def test_an_empty_place_has_no_contents(place: FilledPlace, index: Path) -> None:
    assert survey(place.at(index)) == Contents()
    assert index.read_bytes() == HEAD


def test_every_artifact_has_its_entry_and_its_files(place: FilledPlace, index: Path) -> None:
    one, split = place.add(a_record(0)), place.add(a_record(1, parts=2))
    other = place.add(a_record(0, set_name="test", database="a-b.c"))

    for _ in ("without the index", "with it"):
        found = survey(place.at(index))

        assert found.entries == {record.key: Entry.of(record) for record in (one, split, other)}
        assert found.files[split.key] == (split.key, f"{split.key}.1", f"{split.key}.2")
        assert found == Contents(entries=found.entries, files=found.files)


def test_records_in_the_index_are_not_read_again(place: FilledPlace, index: Path) -> None:
    place.add(a_record(0))
    survey(place.at(index))
    new = place.add(a_record(1))
    counting = Counting(place.store)

    survey(place.at(index, counting))  # type: ignore[arg-type]  # it has what a store has
    survey(place.at(index, counting))  # type: ignore[arg-type]  # the same

    assert counting.read_keys == [record_key(new.key)]


def test_marks_belong_to_their_artifacts(place: FilledPlace, index: Path) -> None:
    one, other = place.add(a_record(0)), place.add(a_record(1))
    hold, damage = place.hold(one), place.damage(other)

    found = survey(place.at(index))

    assert (found.holds, found.damages) == ({one.key: hold}, {other.key: damage})
    assert (found.orphans, found.foreign, found.unreadable) == ((), (), ())


def test_a_hold_is_known_without_its_artifact(place: FilledPlace, index: Path) -> None:
    record = place.add(a_record(0))
    hold = place.hold(record)
    place.remove(record)

    assert survey(place.at(index)).holds == {record.key: hold}


def test_a_file_that_no_record_names_is_an_orphan(place: FilledPlace, index: Path) -> None:
    record = a_record(1, parts=1)
    for file in record.files:
        place.put(f"default/orders/{file.name}", content(file.name))

    found = survey(place.at(index))

    assert found.orphans == tuple(ListedKey(f"default/orders/{file.name}", file.size) for file in record.files)
    assert found.entries == {}


def test_a_part_beyond_those_recorded_is_an_orphan(place: FilledPlace, index: Path) -> None:
    record = place.add(a_record(0, parts=1))
    place.put(f"{record.key}.2", b"left over")

    assert survey(place.at(index)).orphans == (ListedKey(f"{record.key}.2", 9),)


@pytest.mark.parametrize(
    "key",
    [
        "notes.txt",
        "default/notes.txt",
        "default/orders/notes.txt",
        "default/orders/deeper/orders-2026-11-23T02-00-00.backup",
        "default/orders/customers-2026-11-23T02-00-00.backup",
        "default/orders/orders.backup",
        "default/orders/orders.backup.1",
        "default/orders/orders-2026-11-23T02-00-00.backup.report.tar.gz",
        "default/ord ers/x-2026-11-23T02-00-00.backup",
        "neo4j-2026-11-23T02-00-00.backup",
    ],
)
def test_files_with_other_names_are_foreign(place: FilledPlace, index: Path, key: str) -> None:
    place.add(a_record(0))
    place.put(key, b"strange")

    found = survey(place.at(index))

    assert found.foreign == (ListedKey(key, 7),)
    assert found.orphans == ()


def test_the_agents_own_files_are_not_foreign(place: FilledPlace, index: Path) -> None:
    place.add(a_record(0))
    for key in ("owner.json", ".agent/lease.json", ".aside/x.aside"):
        place.put(key, b"{}")

    assert survey(place.at(index)).foreign == ()


def test_missing_files_and_other_sizes_are_found(place: FilledPlace, index: Path) -> None:
    gone, cut, whole = place.add(a_record(0), files=False), place.add(a_record(1)), place.add(a_record(2))
    place.put(cut.key, b"short")

    for _ in ("without the index", "with it"):
        found = survey(place.at(index))

        assert {key: [one.kind for one in wrong] for key, wrong in found.without_artifact.items()} == {
            gone.key: [Kind.RECORD_WITHOUT_ARTIFACT],
            cut.key: [Kind.SIZE_CHANGED],
        }
        assert found.entries.keys() == {gone.key, cut.key, whole.key}


BROKEN: dict[str, tuple[Callable[[Record], bytes], str]] = {
    "no JSON": (lambda _record: b"{", "Invalid JSON"),
    "a newer schema": (lambda record: newer(record.to_json()), "schema 2: this agent knows only schema 1"),
    "another's": (lambda _record: a_record(5).to_json(), f"it is the record of {a_record(5).key}"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_files_of_an_unreadable_record_are_no_orphans(place: FilledPlace, index: Path, kind: str) -> None:
    data, fault = BROKEN[kind]
    record = place.add(a_record(0, parts=1))
    place.put_record(record, data(record))

    found = survey(place.at(index))

    assert [(one.key, one.artifact) for one in found.unreadable] == [(record_key(record.key), record.key)]
    assert fault in str(found.unreadable[0])
    assert (found.entries, found.orphans, found.foreign) == ({}, (), ())


def test_a_record_with_an_unknown_key_is_readable(place: FilledPlace, index: Path) -> None:
    record = place.add(a_record(0))
    place.put_record(record, record.to_json()[:-3] + b', "colour": "red"}')

    found = survey(place.at(index))

    assert found.entries.keys() == {record.key}
    assert found.unreadable == ()


@pytest.mark.parametrize("key_of", [hold_key, damage_key], ids=["hold", "damage"])
def test_an_unreadable_mark_is_reported_with_its_artifact(
    place: FilledPlace, index: Path, key_of: Callable[[str], str]
) -> None:
    record = place.add(a_record(0))
    mark = place.hold(record) if key_of is hold_key else place.damage(record)
    place.put(key_of(record.key), newer(mark.to_json()))

    found = survey(place.at(index))

    assert [(one.key, one.artifact) for one in found.unreadable] == [(key_of(record.key), record.key)]
    assert "schema 2" in found.unreadable[0].fault


def test_a_mark_that_names_another_artifact_is_unreadable(place: FilledPlace, index: Path) -> None:
    record = place.add(a_record(0))
    place.put(hold_key(record.key), place.hold(place.add(a_record(1))).to_json())

    found = survey(place.at(index))

    assert found.holds.keys() == {a_record(1).key}
    assert found.unreadable[0].fault == f"it is the mark of {a_record(1).key}"


def test_a_survey_of_one_set_keeps_the_others_in_the_index(place: FilledPlace, index: Path) -> None:
    sets = tuple(map(SetName, ("a", "a-b", "a.b", "b")))
    records = {name: place.add(a_record(0, set_name=name)) for name in sets}
    place.put("strange.txt", b"")
    survey(place.at(index))
    before = index.read_bytes()

    for chosen in [("a",), ("a-b", "b"), ("a.b", "a"), sets, ()]:
        found = survey(place.at(index), sets=tuple(map(SetName, chosen)))

        assert found.entries.keys() == {records[SetName(name)].key for name in chosen}
        assert (found.altered, found.foreign) == ({}, ())
        assert index.read_bytes() == before


def test_a_record_that_vanished_is_reported_once(place: FilledPlace, index: Path) -> None:
    gone, stays, last = (place.add(a_record(hour)) for hour in range(3))
    alone = place.add(a_record(0, set_name="zoo"))
    survey(place.at(index))
    for record in (gone, last, alone):
        place.remove(record)

    found = survey(place.at(index))

    assert {key: one.kind for key, one in found.altered.items()} == dict.fromkeys(
        (gone.key, last.key, alone.key), Kind.VANISHED
    )
    assert found.entries.keys() == {stays.key}
    assert survey(place.at(index)).altered == {}


def test_a_record_that_the_agent_deletes_is_not_reported_as_vanished(place: FilledPlace, index: Path) -> None:
    first, second, third = (place.add(a_record(hour)) for hour in range(3))
    survey(place.at(index))

    forget(index, {second.key})
    place.remove(second)

    assert survey(place.at(index)).altered == {}
    assert survey(place.at(index)).entries.keys() == {first.key, third.key}


def test_a_record_removed_only_from_the_index_is_read_again(place: FilledPlace, index: Path) -> None:
    record = place.add(a_record(0))
    survey(place.at(index))
    before = index.read_bytes()

    forget(index, {record.key})

    assert index.read_bytes() == HEAD
    assert survey(place.at(index)).entries.keys() == {record.key}
    assert index.read_bytes() == before


def test_removing_keys_without_an_index_makes_none(index: Path) -> None:
    forget(index, {"default/orders/x.backup"})

    assert not index.exists()


def test_a_record_with_another_size_than_in_the_index_is_reported(place: FilledPlace, index: Path) -> None:
    record = place.add(a_record(0))
    survey(place.at(index))
    place.put_record(record, record.model_copy(update={"reason": "rewritten"}).to_json())

    found = survey(place.at(index))

    assert found.entries == {record.key: Entry.of(record)}
    assert found.altered[record.key].kind is Kind.INDEX_DIFFERS


def test_an_error_of_the_store_is_raised_and_the_index_is_unchanged(place: FilledPlace, index: Path) -> None:
    place.add(a_record(0))
    survey(place.at(index))
    before = index.read_bytes()
    place.add(a_record(1))

    class Failing(Counting):
        def read(self, key: str, limit: int) -> bytes:  # noqa: ARG002  a store's method
            raise TransientError(Reason.STORAGE_UNREACHABLE, f"{key}: no answer")

    with pytest.raises(BackupError, match="no answer"):
        survey(place.at(index, Failing(place.store)))  # type: ignore[arg-type]  # it has what a store has

    assert index.read_bytes() == before
    assert [path.name for path in index.parent.iterdir()] == [index.name]


def test_if_reading_stops_half_way_the_index_is_unchanged(place: FilledPlace, index: Path) -> None:
    place.add(a_record(0))
    place.add(a_record(0, set_name="zoo"))

    parts = by_database(place.at(index))
    next(parts)
    parts.close()  # type: ignore[attr-defined]  # it is a generator

    assert not index.exists()


def test_contents_come_one_database_at_a_time(place: FilledPlace, index: Path) -> None:
    for set_name, database in (("a", "x"), ("a", "y"), ("b", "x")):
        place.add(a_record(0, set_name=set_name, database=database))

    found = [list(one.entries) for one in by_database(place.at(index))]

    assert [len(keys) for keys in found] == [1, 1, 1]
    assert [key for keys in found for key in keys] == sorted(key for keys in found for key in keys)


POOL = [
    a_record(hour, set_name=set_name, database=database, parts=parts)
    for set_name, database in (("a", "x"), ("a", "x-1"), ("a", "x.1"), ("a-b", "x"), ("b", "x"))
    for hour, parts in ((0, 0), (1, 0), (2, 1))
]


@given(st.lists(st.lists(st.sampled_from(POOL), max_size=6), max_size=6))
def test_after_any_history_an_index_equals_a_rebuilt_one(
    tmp_path_factory: pytest.TempPathFactory, history: list[list[Record]]
) -> None:
    """Each batch adds missing artifacts and deletes existing ones. The index is updated after each batch."""
    folder = tmp_path_factory.mktemp("history")
    place = filled(folder / "own", MemoryStore())
    there: set[str] = set()
    for batch in history:
        for record in batch:
            if record.key in there:
                place.remove(record)
            else:
                place.add(record)
            there ^= {record.key}
        survey(place.at(folder / "kept"))
    kept = survey(place.at(folder / "kept"))
    anew = survey(place.at(folder / "anew"))

    assert kept == anew
    assert (folder / "kept").read_bytes() == (folder / "anew").read_bytes()
    assert kept.entries.keys() == there


def test_the_contents_of_one_database_equal_its_part_of_all_contents(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    place = filled(root)
    records = [a_record(hour, set_name=set_name) for hour in range(4) for set_name in ("a", "a-b")]
    for record in records:
        place.add(record)
    place.hold(records[0])
    place.damage(records[2])
    place.store.delete(records[4].key)
    none, some = tmp_path / "none", tmp_path / "some"
    survey(place.at(some))
    place.add(a_record(7, set_name="a"))
    place.put("a/orders/strange.txt", b"mine")
    whole = survey(place.place, sets=[SetName("a")], indexed=False)

    assert of_database(place.at(none), SetName("a"), ORDERS) == whole
    assert of_database(place.at(some), SetName("a"), ORDERS) == whole
    assert of_database(place.at(some), SetName("a"), DatabaseName("neo4j")) == Contents()

"""The index as a file: truncated, damaged, of another version, on a full volume. Only valid lines are used."""

import errno
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_agent import durable
from backup_agent.catalog import index as module
from backup_agent.catalog.contents import survey
from backup_agent.catalog.index import HEAD, IndexLine, faults, lines_of, with_checksum
from backup_agent.core.artifacts.records import Record
from tests.builders import a_record
from tests.catalog.places import filled
from tests.stores.memory_store import MemoryStore

times = st.integers(0, 200_000_000_000_000).map(
    lambda count: datetime(1971, 1, 1, tzinfo=UTC) + timedelta(milliseconds=count)
)


@given(
    taken=times,
    finished=times | times.map(lambda moment: moment.astimezone(timezone(timedelta(hours=5, minutes=30)))),
    lowest=st.integers(-(2**63), 2**63 - 1),
    parent=st.none() | st.text(),
    version=st.none() | st.text(),
    store_id=st.text(),
    parts=st.integers(0, 3),
)
def test_a_line_is_read_as_the_value_that_was_written(
    taken: datetime,
    finished: datetime,
    lowest: int,
    parent: str | None,
    version: str | None,
    store_id: str,
    parts: int,
) -> None:
    record = a_record(0, parts=parts)
    header = record.header.model_copy(update={"taken": taken, "lowest": lowest, "store_id": store_id})
    record = record.model_copy(
        update={"header": header, "finished": finished, "parent": parent, "admin_version": version}
    )
    line = IndexLine.of(record, 2048, recognised=parts != 1)

    raw = line.to_bytes()

    assert raw.count(b"\n") == 1
    assert IndexLine.from_bytes(raw) == line._replace(entry=line.entry._replace(version=version or None))
    assert IndexLine.from_bytes(raw).to_bytes() == raw


SPOILERS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _data: b"",
    "zeroes": lambda data: bytes(len(data)),
    "no head": lambda data: data.removeprefix(HEAD),
    "a later version's": lambda data: data.replace(b'"index":1', b'"index":2', 1),
    "cut in a line": lambda data: data[: len(data) // 2],
    "cut at a line": lambda data: data[: data.rindex(b"\n", 0, -1) + 1],
    "a line is no JSON": lambda data: data.replace(b"[", b"{", 1),
    "a line is too short": lambda data: data.replace(b"\n", b"\n" + with_checksum(b'["default/orders/x.backup",1]'), 1),
    "a line is nested without end": lambda data: data.replace(b"\n", b"\n" + with_checksum(b"[" * 100_000), 1),
    "a line twice": lambda data: data + data.splitlines(keepends=True)[-1],
    "lines in disorder": lambda data: b"".join([HEAD, *reversed(data.splitlines(keepends=True)[1:])]),
}


@pytest.mark.parametrize("spoil", SPOILERS.values(), ids=SPOILERS)
def test_a_damaged_index_is_completed_from_the_records(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    place, path = filled(tmp_path / "own", MemoryStore()), tmp_path / "index"
    for hour in range(5):
        place.add(a_record(hour))
    expected, whole = survey(place.at(path)), path.read_bytes()
    path.write_bytes(spoil(whole))

    found = survey(place.at(path))

    assert found.entries == expected.entries
    assert path.read_bytes() == whole
    assert survey(place.at(path)) == expected


def test_a_line_with_a_flipped_bit_is_ignored(tmp_path: Path) -> None:
    place, path = filled(tmp_path / "own", MemoryStore()), tmp_path / "index"
    for hour in range(3):
        place.add(a_record(hour))
    expected = survey(place.at(path))
    whole = path.read_bytes()

    for position in range(0, len(whole), 7):
        data = bytearray(whole)
        data[position] ^= 0x01
        path.write_bytes(data)
        assert survey(place.at(path)) == expected, position


def test_an_index_that_is_up_to_date_is_not_written(tmp_path: Path) -> None:
    place, path = filled(tmp_path / "own", MemoryStore()), tmp_path / "index"
    place.add(a_record(0))
    survey(place.at(path))
    before = path.stat()

    survey(place.at(path))

    assert path.stat() == before


@pytest.mark.parametrize("begun", [False, True], ids=["opening", "writing"])
def test_on_a_full_volume_only_the_index_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, begun: bool
) -> None:
    place, path = filled(tmp_path / "own", MemoryStore()), tmp_path / "index"
    records: list[Record] = [place.add(a_record(hour)) for hour in range(2)]
    survey(place.at(path))
    before = path.read_bytes()
    records += [place.add(a_record(2)), place.add(a_record(3))]

    class Full(module._Draft):
        def begin(self, old: object, same: int) -> None:
            del old, same
            raise OSError(errno.ENOSPC, "No space left on device")

    def refuse(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(module, "_Draft", Full if begun else refuse)
    found = survey(place.at(path))

    assert found.entries.keys() == {record.key for record in records}
    assert path.read_bytes() == before
    assert sorted(one.name for one in tmp_path.iterdir()) == ["index", "own"]


def test_damaged_lines_are_reported_with_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "index"
    assert list(faults(path)) == []

    path.write_bytes(HEAD + IndexLine.of(a_record(0), 1, recognised=True).to_bytes() + b"[]\n")
    assert list(faults(path)) == ["line 3 cannot be read"]

    path.write_bytes(b"something else\n")
    assert list(faults(path)) == ["it is not an index of this version"]


def test_an_unfinished_index_has_the_name_of_a_temporary_file(tmp_path: Path) -> None:
    draft = module._Draft(tmp_path / "index")

    durable.remove_temporaries(tmp_path)

    draft.discard()
    assert list(tmp_path.iterdir()) == []


PREFIXES = ["a/orders/", "a-b/orders/", "a/neo4j/", "b/orders/", "0/x/", "z/x/", "a/orders2/"]


@pytest.fixture(name="many")
def _many(tmp_path: Path) -> Path:
    """Return an index of four databases, some with many lines."""
    place = filled(tmp_path / "own", MemoryStore())
    for set_name, database, count in (("a", "orders", 40), ("a-b", "orders", 1), ("a", "neo4j", 3), ("b", "orders", 7)):
        for hour in range(count):
            place.add(a_record(hour, set_name=set_name, database=database, parts=hour % 3))
    survey(place.at(tmp_path / "index"))
    return tmp_path / "index"


def linear(index: Path, prefix: str) -> list[str]:
    keys = []
    for raw in index.read_bytes().splitlines(keepends=True)[1:]:
        try:
            keys.append(IndexLine.from_bytes(raw).entry.key)
        except ValueError:
            continue
    return [key for key in keys if key.startswith(prefix)]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_lines_of_a_folder_are_found_by_a_binary_search(many: Path, prefix: str) -> None:
    assert list(lines_of(many, prefix)) == linear(many, prefix)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_damaged_lines_do_not_hide_others(many: Path, prefix: str) -> None:
    lines = many.read_bytes().splitlines(keepends=True)
    for start in range(1, 8):
        garbled = [b"x" * (len(raw) - 1) + b"\n" if at and at % 8 < start else raw for at, raw in enumerate(lines)]
        many.write_bytes(b"".join(garbled))

        assert list(lines_of(many, prefix)) == linear(many, prefix)


@pytest.mark.parametrize("left", [b"", b'{"index":2}\n', HEAD, HEAD + b"cut"])
def test_no_lines_are_found_in_an_empty_index(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "index").write_bytes(left)

    assert lines_of(tmp_path / "index", "a/orders/") == {}
    assert lines_of(tmp_path / "none", "a/orders/") == {}


@pytest.mark.parametrize("planted", ["sparse", "no folder"])
def test_a_path_that_is_not_a_regular_file_counts_as_a_missing_index(tmp_path: Path, planted: str) -> None:
    place, path = filled(tmp_path / "own", MemoryStore()), tmp_path / "catalog" / "index"
    place.add(a_record(0))
    if planted == "sparse":
        survey(place.at(path))
        os.truncate(path, 60 * 2**30)
    else:
        path.parent.write_text("a file where a folder belongs")

    assert lines_of(path, "default/orders/") == {}
    assert len(survey(place.at(path)).entries) == 1

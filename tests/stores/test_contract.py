"""The contract suite: what every kind of store promises."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup_agent.core.reasons import BackupError, PermanentError, Reason
from backup_agent.durable import LIMIT
from backup_agent.stores.store import ConflictError, ObjectTooLargeError, Store
from tests.stores.files import KEY, MIB, PART, ignore, make

OWN = ".agent/lease.json"

SIZES = [
    pytest.param(0, id="empty"),
    pytest.param(1, id="one byte"),
    pytest.param(PART, id="one part"),
    pytest.param(PART + 1, id="a part and a byte"),
    pytest.param(3 * PART, id="three parts"),
]

ODD_KEYS = [
    pytest.param("default/a b/c d.backup", id="spaces"),
    pytest.param("default/a+b/c%2Fd%20e.backup", id="plus and percent"),
    pytest.param("default/naïve-Ω-数据/x.backup", id="unicode"),
    pytest.param("default/a&b=c?d#e;f/x.backup", id="of a URL"),
    pytest.param("default/'quoted\"<x>/x.backup", id="of XML"),
    pytest.param("default/$x;~!/*.backup", id="of a shell"),
    pytest.param("owner.json", id="at the root"),
    pytest.param(".agent/lease.json", id="the agent's own"),
]


@pytest.mark.parametrize("size", SIZES)
def test_an_artifact_is_read_back_unchanged(store: Store, tmp_path: Path, size: int) -> None:
    file = make(tmp_path / "source", size)

    stored = store.put_artifact(KEY, tmp_path / "source", file, ignore)

    with store.open(KEY) as content:
        assert content.read() == (tmp_path / "source").read_bytes()
    assert (stored.key, stored.size) == (KEY, size)
    found = store.stat(KEY)
    assert found is not None
    assert (found.key, found.size) == (KEY, size)


def test_progress_adds_up_to_the_size(store: Store, tmp_path: Path) -> None:
    file = make(tmp_path / "source", 2 * PART + 3)
    reported: list[int] = []

    store.put_artifact(KEY, tmp_path / "source", file, reported.append)

    assert sum(reported) == file.size


def test_storing_the_same_artifact_again_succeeds(store: Store, tmp_path: Path) -> None:
    file = make(tmp_path / "source", PART + 1)
    first = store.put_artifact(KEY, tmp_path / "source", file, ignore)
    (tmp_path / "copy").write_bytes((tmp_path / "source").read_bytes())
    reported: list[int] = []

    again = store.put_artifact(KEY, tmp_path / "copy", file, reported.append)

    assert again == first
    assert sum(reported) == file.size


@pytest.mark.parametrize("size", [pytest.param(100, id="same size"), pytest.param(101, id="other size")])
def test_another_artifact_under_the_key_is_refused_and_the_first_one_kept(
    store: Store, tmp_path: Path, size: int
) -> None:
    store.put_artifact(KEY, tmp_path / "first", make(tmp_path / "first", 100, seed=1), ignore)

    with pytest.raises(PermanentError) as refused:
        store.put_artifact(KEY, tmp_path / "second", make(tmp_path / "second", size, seed=2), ignore)

    assert refused.value.failure.reason is Reason.ALREADY_EXISTS
    assert KEY in refused.value.failure.error
    with store.open(KEY) as content:
        assert content.read() == (tmp_path / "first").read_bytes()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("before", [None, 3, 2 * PART])
def test_an_artifact_replaces_any_object_under_its_key(
    store: Store, tmp_path: Path, size: int, before: int | None
) -> None:
    if before is not None:
        store.put_artifact(KEY, tmp_path / "before", make(tmp_path / "before", before, seed=1), ignore)
    file = make(tmp_path / "source", size)
    reported: list[int] = []
    asked: list[str] = []

    stored = store.replace_artifact(KEY, tmp_path / "source", file, reported.append, lambda: asked.append("may I"))

    with store.open(KEY) as content:
        assert content.read() == (tmp_path / "source").read_bytes()
    assert (stored.key, stored.size, sum(reported)) == (KEY, size, size)
    assert asked == ["may I"]
    assert [one.key for one in store.list()] == [KEY]


@pytest.mark.parametrize("size", [pytest.param(100, id="one part"), pytest.param(PART + 1, id="a part and a byte")])
def test_bytes_that_differ_from_their_description_replace_nothing(store: Store, tmp_path: Path, size: int) -> None:
    store.put_artifact(KEY, tmp_path / "before", make(tmp_path / "before", 100, seed=1), ignore)
    file = make(tmp_path / "source", size)
    content = (tmp_path / "source").read_bytes()
    (tmp_path / "source").write_bytes(content[:-1] + bytes((content[-1] ^ 1,)))

    with pytest.raises(PermanentError) as refused:
        store.replace_artifact(KEY, tmp_path / "source", file, ignore, lambda: None)

    assert refused.value.failure.reason is Reason.CHECKSUM_MISMATCH
    assert store.read(KEY, LIMIT) == (tmp_path / "before").read_bytes()


@pytest.mark.parametrize("size", [pytest.param(100, id="one part"), pytest.param(PART + 1, id="a part and a byte")])
def test_an_object_stays_if_the_check_before_its_replacement_fails(store: Store, tmp_path: Path, size: int) -> None:
    store.put_artifact(KEY, tmp_path / "before", make(tmp_path / "before", 100, seed=1), ignore)
    file = make(tmp_path / "source", size)

    def refuse() -> None:
        raise ConflictError("the lease")

    with pytest.raises(ConflictError):
        store.replace_artifact(KEY, tmp_path / "source", file, ignore, refuse)

    assert store.read(KEY, LIMIT) == (tmp_path / "before").read_bytes()
    assert [one.key for one in store.list()] == [KEY]


@pytest.mark.parametrize("change", [pytest.param(b"", id="shorter"), pytest.param(b"longer", id="longer")])
def test_a_source_whose_size_has_changed_is_refused_and_not_stored(store: Store, tmp_path: Path, change: bytes) -> None:
    file = make(tmp_path / "source", 3)
    (tmp_path / "source").write_bytes(change)

    with pytest.raises(PermanentError) as refused:
        store.put_artifact(KEY, tmp_path / "source", file, ignore)

    assert refused.value.failure.reason is Reason.CHECKSUM_MISMATCH
    assert store.stat(KEY) is None


def test_a_missing_source_is_an_error(store: Store, tmp_path: Path) -> None:
    file = make(tmp_path / "source", 3)
    (tmp_path / "source").unlink()

    with pytest.raises(PermanentError) as refused:
        store.put_artifact(KEY, tmp_path / "source", file, ignore)

    assert refused.value.failure.reason is Reason.NO_ARTIFACT


def test_a_small_object_is_read_back_unchanged(store: Store) -> None:
    store.create(KEY + ".json", b'{"schema": 1}\n')

    assert store.read(KEY + ".json", LIMIT) == b'{"schema": 1}\n'


def test_creating_the_same_object_again_is_a_success(store: Store) -> None:
    store.create(KEY + ".json", b"{}")

    store.create(KEY + ".json", b"{}")

    assert store.read(KEY + ".json", LIMIT) == b"{}"


@pytest.mark.parametrize("content", [b"", b"{", b"{ }", b"{}\n"])
def test_creating_an_object_that_exists_with_other_content_is_refused(store: Store, content: bytes) -> None:
    store.create(KEY + ".json", b"{}")

    with pytest.raises(PermanentError) as refused:
        store.create(KEY + ".json", content)

    assert refused.value.failure.reason is Reason.ALREADY_EXISTS
    assert store.read(KEY + ".json", LIMIT) == b"{}"


def test_of_many_clients_that_create_the_same_key_one_succeeds(store: Store, request: pytest.FixtureRequest) -> None:
    if "without conditional" in request.node.name:
        pytest.skip("that is what conditional writes are for")

    def create(number: int) -> int | None:
        try:
            store.create(KEY, b"%d" % number)
        except PermanentError:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        winners = [number for number in pool.map(create, range(8)) if number is not None]

    assert [b"%d" % number for number in winners] == [store.read(KEY, LIMIT)]


def test_a_swapped_object_is_looked_at_with_its_version(store: Store) -> None:
    first = store.swap(OWN, b"1", None)
    seen = store.look(OWN, LIMIT)
    second = store.swap(OWN, b"2", first)

    assert seen is not None
    assert (seen.content, seen.version) == (b"1", first)
    assert second != first
    assert store.read(OWN, LIMIT) == b"2"


def test_a_version_is_that_of_the_content(store: Store) -> None:
    """A caller of `swap` must write new content each time: the same content would look as if nothing was written."""
    first = store.swap(OWN, b"1", None)
    second = store.swap(OWN, b"2", first)

    assert store.swap(OWN, b"1", second) == first


@pytest.mark.parametrize("stale", [None, "first", "never was"])
def test_a_swap_of_an_object_that_has_changed_is_refused(store: Store, stale: str | None) -> None:
    first = store.swap(OWN, b"1", None)
    store.swap(OWN, b"2", first)

    with pytest.raises(ConflictError) as refused:
        store.swap(OWN, b"3", first if stale == "first" else stale)

    assert refused.value.failure.reason is Reason.FOREIGN_ROOT
    assert OWN in refused.value.failure.error
    assert store.read(OWN, LIMIT) == b"2"


def test_a_swap_of_an_object_that_was_deleted_is_refused(store: Store) -> None:
    version = store.swap(OWN, b"1", None)
    store.delete(OWN)

    with pytest.raises(ConflictError):
        store.swap(OWN, b"2", version)

    assert store.look(OWN, LIMIT) is None


@pytest.mark.parametrize("version", [None, "first"])
def test_a_swap_whose_answer_was_lost_may_be_repeated(store: Store, version: str | None) -> None:
    first = store.swap(OWN, b"1", None)
    second = store.swap(OWN, b"2", first)

    assert store.swap(OWN, b"2", first if version else None) == second


def test_of_many_clients_that_swap_the_same_version_one_succeeds(store: Store, request: pytest.FixtureRequest) -> None:
    if "without conditional" in request.node.name:
        pytest.skip("that is what conditional writes are for")
    version = store.swap(OWN, b"start", None)

    def swap(number: int) -> int | None:
        try:
            store.swap(OWN, b"%d" % number, version)
        except ConflictError:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        winners = [number for number in pool.map(swap, range(8)) if number is not None]

    assert [b"%d" % number for number in winners] == [store.read(OWN, LIMIT)]


def test_a_store_knows_whether_its_writes_are_conditional(store: Store, request: pytest.FixtureRequest) -> None:
    assert store.conditional_writes == ("without conditional" not in request.node.name)


def test_a_store_with_a_clock_returns_its_time(store: Store, request: pytest.FixtureRequest) -> None:
    now = store.now()

    assert (now is not None) == ("s3" in request.node.name)
    if now is not None:
        assert abs(now - datetime.now(UTC)) < timedelta(seconds=5)


@pytest.mark.parametrize(
    "read", [lambda store: store.read(KEY, LIMIT), lambda store: store.open(KEY)], ids=["read", "open"]
)
def test_a_missing_object_is_not_found(store: Store, read: Callable[[Store], object]) -> None:
    with pytest.raises(PermanentError) as refused:
        read(store)

    assert refused.value.failure.reason is Reason.NOT_FOUND
    assert store.stat(KEY) is None
    assert store.look(KEY, LIMIT) is None
    assert list(store.list()) == []


def test_an_object_larger_than_the_limit_is_not_read_and_can_be_replaced_by_its_version(store: Store) -> None:
    store.create(OWN, b"x" * 1001)

    assert store.read(OWN, 1001) == b"x" * 1001
    for read in (store.read, store.look):
        with pytest.raises(ObjectTooLargeError, match="larger than 1000 bytes") as refused:
            read(OWN, 1000)
    assert refused.value.failure.reason is Reason.UNREADABLE
    store.swap(OWN, b"small", refused.value.version)
    assert store.read(OWN, 5) == b"small"


def test_an_object_without_content_is_read_whatever_the_limit(store: Store) -> None:
    store.create(KEY, b"")

    assert store.read(KEY, 0) == b""


def test_a_part_of_a_key_is_not_a_key(store: Store) -> None:
    store.create(KEY, b"x")

    assert store.stat("default/orders") is None
    assert store.stat("default") is None
    assert store.stat(KEY[:-1]) is None


def test_a_listing_is_in_the_order_of_the_keys(store: Store) -> None:
    keys = ["a-b/x", "a/b-c/x", "a/b/x", "a/b.x", "a/b0", "a0", "ä/x", "Z"]
    for key in keys:
        store.create(key, key.encode())

    listed = list(store.list())

    assert [stored.key for stored in listed] == sorted(keys)
    assert [stored.size for stored in listed] == [len(key.encode()) for key in sorted(keys)]


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("default/", ["default/a/1", "default/ab/2"]),
        ("default/a", ["default/a/1", "default/ab/2"]),
        ("default/a/", ["default/a/1"]),
        ("default/ab/2", ["default/ab/2"]),
        ("def", ["default/a/1", "default/ab/2"]),
        ("other", []),
        ("default/a/1/", []),
        ("default/b/", []),
    ],
)
def test_a_listing_has_only_keys_with_its_prefix(store: Store, prefix: str, expected: list[str]) -> None:
    for key in ("default/a/1", "default/ab/2", "test/a/3"):
        store.create(key, b"x")

    assert [stored.key for stored in store.list(prefix)] == expected


def test_the_agents_own_files_are_not_listed(store: Store) -> None:
    for key in (".agent/x", "default/.hidden/x", "default/orders/.x", "default/orders/x"):
        store.create(key, b"x")

    assert [stored.key for stored in store.list()] == ["default/orders/x"]
    assert list(store.list(".agent/")) == []


def test_the_agents_own_folder_has_versions_that_change_with_the_content(store: Store) -> None:
    keys = [f".drills/{name}" for name in ("default/a/x", "default/b/x", "y")]
    for key in (*keys, ".drills/default/.hidden/x", ".agent/x", "default/x"):
        store.create(key, b"x")
    before = store.versions(".drills/", 10)
    store.swap(keys[0], b"other", before[keys[0]])
    after = store.versions(".drills/", 10)

    assert sorted(before) == keys
    assert {key: looked.version for key in keys if (looked := store.look(key, 10))} == after
    assert [key for key in keys if after[key] != before[key]] == keys[:1]
    assert len(store.versions(".drills/", 2)) == 2
    assert store.versions(".other/", 10) == {}


def test_a_listing_may_be_longer_than_a_page(store: Store, request: pytest.FixtureRequest) -> None:
    count = 1_001 if "memory" in request.node.name else 30
    keys = [f"default/orders/{number:04}" for number in range(count)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: store.create(key, b"x"), keys))

    assert [stored.key for stored in store.list()] == keys


def test_a_deleted_object_does_not_exist_and_may_be_deleted_again(store: Store) -> None:
    store.create(KEY, b"x")

    store.delete(KEY)
    store.delete(KEY)
    store.delete("never/was/there")

    assert store.stat(KEY) is None
    assert list(store.list()) == []


@pytest.mark.parametrize("key", ODD_KEYS)
def test_keys_with_special_characters_are_listed_unchanged(store: Store, key: str) -> None:
    store.create(key, b"x")

    assert store.read(key, LIMIT) == b"x"
    assert store.stat(key) is not None
    assert [stored.key for stored in store.list()] == ([] if key.startswith(".") else [key])
    store.delete(key)
    assert store.stat(key) is None


def test_an_invalid_key_is_refused_by_every_method(store: Store, tmp_path: Path) -> None:
    file = make(tmp_path / "source", 1)
    methods: dict[str, Callable[[str], object]] = {
        "put_artifact": lambda key: store.put_artifact(key, tmp_path / "source", file, ignore),
        "replace_artifact": lambda key: store.replace_artifact(key, tmp_path / "source", file, ignore, lambda: None),
        "create": lambda key: store.create(key, b"x"),
        "swap": lambda key: store.swap(key, b"x", None),
        "look": lambda key: store.look(key, LIMIT),
        "read": lambda key: store.read(key, LIMIT),
        "open": store.open,
        "stat": store.stat,
        "delete": store.delete,
    }
    for name, method in methods.items():
        with pytest.raises(PermanentError) as refused:
            method("../outside")

        assert refused.value.failure.reason is Reason.INVALID_REQUEST, name
    assert not (tmp_path / "outside").exists()


def test_an_object_is_read_in_pieces_from_its_start(store: Store, tmp_path: Path) -> None:
    file = make(tmp_path / "source", 3 * MIB + 5)
    store.put_artifact(KEY, tmp_path / "source", file, ignore)

    with store.open(KEY) as content:
        pieces = [content.read(7), content.read(2 * MIB), content.read(), content.read(1)]

    assert b"".join(pieces) == (tmp_path / "source").read_bytes()
    assert [len(piece) for piece in pieces] == [7, 2 * MIB, MIB - 2, 0]


@pytest.mark.parametrize("start", [1, MIB, MIB + 1, 3 * MIB, 6 * MIB + 4, 6 * MIB + 5])
def test_an_object_can_be_read_from_any_byte(store: Store, tmp_path: Path, start: int) -> None:
    file = make(tmp_path / "source", 6 * MIB + 5)
    store.put_artifact(KEY, tmp_path / "source", file, ignore)

    with store.open(KEY, start) as content:
        assert content.read() == (tmp_path / "source").read_bytes()[start:]


def test_a_store_has_a_name_for_its_messages(store: Store) -> None:
    with pytest.raises(BackupError) as refused:
        store.read(KEY, LIMIT)

    assert store.name
    assert store.name in refused.value.failure.error

"""A listing sorted by what each name is."""

import pytest

from backup_agent.core.artifacts.drift import Finding, Folder, Kind, ListedKey, artifact_of, folder_of, folders

FULL = "default/orders/orders-2026-11-23T02-00-00.backup"


def folder(*keys: str) -> Folder:
    (one,) = folders(ListedKey(key, len(key)) for key in sorted(keys))
    assert isinstance(one, Folder)
    return one


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (FULL, "default/orders/"),
        ("default/orders/deep/er.backup", "default/orders/"),
        ("default/orders", ""),
        ("owner.json", ""),
        ("default/_x/y", ""),
        (".agent/orders/y", ""),
        ("a//y", ""),
        ("//y", ""),
    ],
)
def test_a_key_lies_in_the_folder_of_a_database_or_in_none(key: str, expected: str) -> None:
    assert folder_of(key) == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (FULL, FULL),
        (f"{FULL}.1", FULL),
        (f"{FULL}.1.2", f"{FULL}.1.2"),
        (f"{FULL}.x", f"{FULL}.x"),
        (f"{FULL}.²", f"{FULL}.²"),
        ("a/b/notes.1", "a/b/notes.1"),
    ],
)
def test_a_part_belongs_to_its_manifest(key: str, expected: str) -> None:
    assert artifact_of(key) == expected


def test_each_name_is_what_its_end_says() -> None:
    one = folder(
        FULL, f"{FULL}.1", f"{FULL}.json", f"{FULL}.hold.json", f"{FULL}.damaged.json", f"{FULL}.txt", f"{FULL}/x"
    )

    assert one.records.keys() == {FULL}
    assert one.files.keys() == {FULL, f"{FULL}.1"}
    assert (one.holds, one.damages) == ((FULL,), (FULL,))
    assert [found.key for found in one.foreign] == [f"{FULL}.txt", f"{FULL}/x"]


def test_what_lies_outside_of_every_database_comes_as_found_but_for_the_agents_own() -> None:
    listing = [ListedKey(key, 1) for key in ("a.txt", FULL, "default/z.txt", "owner.json")]

    found = list(folders(listing))

    assert [one for one in found if isinstance(one, ListedKey)] == [
        ListedKey("a.txt", 1),
        ListedKey("default/z.txt", 1),
    ]
    assert [one.prefix for one in found if isinstance(one, Folder)] == ["default/orders/"]


def test_files_are_held_against_what_was_recorded() -> None:
    one = folder(FULL, f"{FULL}.json")
    name = FULL.rpartition("/")[2]

    assert one.amiss([(name, len(FULL))]) == []
    assert one.amiss([(name, 1), (f"{name}.1", 1)]) == [
        Finding(Kind.SIZE_CHANGED, FULL, f"1 bytes were recorded, it has {len(FULL)}"),
        Finding(Kind.RECORD_WITHOUT_ARTIFACT, f"{FULL}.1", "its file is missing"),
    ]


def test_what_no_record_claims_is_an_orphan_or_a_strangers() -> None:
    other = FULL.replace("02-00-00", "03-00-00")
    strange = "default/orders/neo4j-2026-11-23T02-00-00.backup"
    one = folder(FULL, f"{FULL}.1", f"{FULL}.json", other, f"{other}.1", strange)

    orphans, strangers = one.left_over({FULL})

    assert [found.key for found in orphans] == [f"{FULL}.1", other, f"{other}.1"]
    assert [found.key for found in strangers] == [strange]


def test_a_record_that_cannot_be_read_claims_all_that_is_named_after_it() -> None:
    one = folder(FULL, f"{FULL}.1", f"{FULL}.json")

    assert one.left_over(()) == ((), ())

"""Classification of listed keys, and their comparison with records."""

from backup_agent.core.artifacts.drift import MOST_FOREIGN, Finding, Folder, Kind, ListedKey, folders

FULL = "default/orders/orders-2026-11-23T02-00-00.backup"


def folder_with(*keys: str) -> Folder:
    (one,) = folders(ListedKey(key, len(key)) for key in sorted(keys))
    assert isinstance(one, Folder)
    return one


def test_keys_are_classified_by_their_suffix() -> None:
    one = folder_with(
        FULL,
        f"{FULL}.1",
        f"{FULL}.json",
        f"{FULL}.hold.json",
        f"{FULL}.damaged.json",
        f"{FULL}.drilled.json",
        f"{FULL}.txt",
        f"{FULL}/x",
    )

    assert one.records.keys() == {FULL}
    assert one.files.keys() == {FULL, f"{FULL}.1"}
    assert (one.holds, one.damages, one.drilled) == ((FULL,), (FULL,), (FULL,))
    assert [found.key for found in one.foreign] == [f"{FULL}.txt", f"{FULL}/x"]


def test_keys_outside_of_folders_are_yielded_except_those_of_the_agent() -> None:
    listing = [ListedKey(key, 1) for key in ("a.txt", FULL, "default/z.txt", "owner.json")]

    found = list(folders(listing))

    assert [one for one in found if isinstance(one, ListedKey)] == [
        ListedKey("a.txt", 1),
        ListedKey("default/z.txt", 1),
    ]
    assert [one.prefix for one in found if isinstance(one, Folder)] == ["default/orders/"]


def test_files_are_compared_with_their_recorded_sizes() -> None:
    one = folder_with(FULL, f"{FULL}.json")
    name = FULL.rpartition("/")[2]

    assert one.file_faults([(name, len(FULL))]) == []
    assert one.file_faults([(name, 1), (f"{name}.1", 1)]) == [
        Finding(Kind.SIZE_CHANGED, FULL, f"its size is {len(FULL)} bytes, but 1 were recorded"),
        Finding(Kind.RECORD_WITHOUT_ARTIFACT, f"{FULL}.1", "its file is missing"),
    ]


def test_a_file_that_no_record_names_is_an_orphan_or_foreign() -> None:
    other = FULL.replace("02-00-00", "03-00-00")
    strange = "default/orders/neo4j-2026-11-23T02-00-00.backup"
    one = folder_with(FULL, f"{FULL}.1", f"{FULL}.json", other, f"{other}.1", strange)

    assert [found.key for found in one.left_over({FULL})] == [f"{FULL}.1", other, f"{other}.1"]
    assert [found.key for found in one.foreign] == [strange]


def test_an_unreadable_record_claims_all_files_of_its_artifact() -> None:
    one = folder_with(FULL, f"{FULL}.1", f"{FULL}.json")

    assert one.left_over(()) == ()


def test_of_many_foreign_keys_the_first_are_kept_and_the_others_counted() -> None:
    one = folder_with(*(f"default/orders/notes-{number:04}.txt" for number in range(MOST_FOREIGN + 7)))

    assert (len(one.foreign), one.more_foreign) == (MOST_FOREIGN, 7)
    assert one.foreign[0].key == "default/orders/notes-0000.txt"

"""Verifying artifacts on a volume: damage, failures to read, slices and requests."""

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog.contents import of_database, survey
from backup_agent.catalog.journal import Doing, Intent
from backup_agent.core.artifacts.keys import damage_key, record_key
from backup_agent.core.artifacts.marks import Damage
from backup_agent.core.artifacts.names import DEFAULT_SET
from backup_agent.core.artifacts.records import BackupType, Record
from backup_agent.core.reasons import PermanentError, Reason, TransientError
from backup_agent.stores.local import LocalStore
from backup_agent.stores.store import Store
from tests.builders import ORDERS
from tests.catalog.places import place_at, write_record
from tests.jobs.passes import LONG_AGO, Blocks, damages_in, keys_of, put, verify, verify_at
from tests.stores.memory_store import MemoryStore


def test_an_undamaged_artifact_is_verified_and_not_read_again_at_once(tmp_path: Path) -> None:
    records = [put(tmp_path, hour) for hour in range(3)]
    first, second = verify(tmp_path), verify(tmp_path)

    assert keys_of(first, "verified") == [record.key for record in records]
    assert (first[-1]["result"]["outcome"], first[-1]["result"]["verified"], not_read(first)) == ("succeeded", 3, {})
    assert keys_of(second, "verified") == []
    assert first[-1]["oldest"] > LONG_AGO.isoformat()


def test_a_slice_without_time_reads_nothing_and_reports_what_remains(tmp_path: Path) -> None:
    record = put(tmp_path)

    assert not_read(verify(tmp_path, seconds=0)) == {"not_reached": (1, record.size)}


@pytest.mark.parametrize("fault", ["flipped", "cut", "longer", "missing"])
def test_a_damaged_artifact_is_marked_and_is_no_restore_point(tmp_path: Path, fault: str) -> None:
    record = put(tmp_path)
    path = tmp_path / record.key
    content = path.read_bytes()
    if fault == "missing":
        path.unlink()
    else:
        flipped = content[:-9] + bytes((content[-9] ^ 1,)) + content[-8:]
        path.write_bytes({"flipped": flipped, "cut": content[:-4], "longer": content + b"x"}[fault])
    events = verify(tmp_path)
    mark = tmp_path / damage_key(record.key)

    assert keys_of(events, "damaged") == [record.key]
    assert Damage.from_json(mark.read_bytes()).file == path.name
    assert (events[-1]["result"]["reason"], damages_in(events)["keys"]) == (Reason.CHECKSUM_MISMATCH, [record.key])
    assert of_database(place_at(tmp_path), DEFAULT_SET, ORDERS).unsound.keys() == {record.key}


def test_a_mark_is_never_overwritten(tmp_path: Path) -> None:
    record = put(tmp_path)
    (tmp_path / record.key).unlink()
    verify(tmp_path)
    first = (tmp_path / damage_key(record.key)).read_bytes()
    verify(tmp_path, artifact=record.key)

    assert (tmp_path / damage_key(record.key)).read_bytes() == first


def test_an_artifact_that_cannot_be_read_is_not_marked_as_damaged(tmp_path: Path) -> None:
    record = put(tmp_path)

    class Failing(LocalStore):
        def open(self, key: str, start: int = 0) -> Any:
            if key.endswith(".backup"):
                raise TransientError(Reason.STORAGE_UNREACHABLE, f"{key}: input/output error")
            return super().open(key, start)

    events = verify(tmp_path, Failing(tmp_path, "local"))

    assert keys_of(events, "unread") == [record.key]
    assert events[-1]["result"]["reason"] == Reason.STORAGE_UNREACHABLE
    assert not (tmp_path / damage_key(record.key)).exists()


def test_artifacts_on_bad_blocks_do_not_keep_others_from_being_read(tmp_path: Path) -> None:
    records = [put(tmp_path, hour) for hour in range(6)]
    bad, good = [one.key for one in records[:4]], [one.key for one in records[4:]]
    events = [event for _ in range(3) for event in verify(tmp_path, Blocks(tmp_path, *bad))]

    assert keys_of(events, "verified") == good


def test_an_unreadable_artifact_is_tried_hourly_and_the_others_at_their_usual_times(
    tmp_path: Path,
) -> None:
    first, *others = [put(tmp_path, hour) for hour in range(6)]
    store = Blocks(tmp_path, first.key)
    before, after = verify(tmp_path, store), verify(tmp_path, store)
    store.bad.clear()
    mended = verify(tmp_path, store)

    assert (keys_of(before, "unread"), keys_of(after, "unread")) == ([first.key], [first.key])
    assert (keys_of(before, "verified"), keys_of(after, "verified")) == ([one.key for one in others], [])
    assert (before[-1]["next_seconds"], after[-1]["next_seconds"]) == (3600, 3600)
    assert keys_of(mended, "verified") == [first.key]


def test_a_truncated_log_is_read_to_its_last_whole_line(tmp_path: Path) -> None:
    for hour in range(2):
        put(tmp_path, hour)
    verify(tmp_path)
    (folder,) = (tmp_path / ".agent" / "verified").iterdir()
    log = folder / "log"
    log.write_bytes(log.read_bytes()[:-20])
    (folder / "state.json").unlink()

    assert len(keys_of(verify(tmp_path), "verified")) == 1


def test_a_pass_opens_only_the_records_of_artifacts_that_it_reads(tmp_path: Path) -> None:
    records = [put(tmp_path, hour) for hour in range(5)]
    survey(place_at(tmp_path))
    opened: list[str] = []

    class Counting(LocalStore):
        def read(self, key: str, limit: int) -> bytes:
            opened.append(key)
            return super().read(key, limit)

    nothing = verify(tmp_path, Counting(tmp_path, "local"), seconds=0)
    before = list(opened)
    verify(tmp_path, Counting(tmp_path, "local"), artifact=records[3].key)

    assert (not_read(nothing), before) == ({"not_reached": (5, total(*records))}, [])
    assert opened == [record_key(records[3].key)]


def test_an_artifact_with_a_missing_file_is_reported_at_once_and_read_first(tmp_path: Path) -> None:
    records = [put(tmp_path, hour) for hour in range(3)]
    (tmp_path / records[2].key).unlink()
    events, read = verify(tmp_path, seconds=0), verify(tmp_path)

    assert [event["keys"] for event in events if event["event"] == "damages"] == [[records[2].key]]
    assert next(event["key"] for event in read if event["event"] in ("damaged", "verified")) == records[2].key


@pytest.mark.process
def test_reading_respects_the_bandwidth(tmp_path: Path) -> None:
    """The first block is read at once; each further block waits for the bandwidth of those before it."""
    *before, _ = [put(tmp_path, hour) for hour in range(4)]
    size = sum(record.size for record in before)
    rate = 3 * size
    started = time.monotonic()
    verify_at({"local": LocalStore(tmp_path, "local")}, tmp_path, settings={"verify": {"bandwidth": f"{rate}B"}})

    assert time.monotonic() - started >= 0.9 * size / rate


def test_an_unreadable_record_is_reported_and_the_rest_is_read(tmp_path: Path) -> None:
    records = [put(tmp_path, hour) for hour in range(3)]
    survey(place_at(tmp_path))
    path = tmp_path / record_key(records[0].key)
    path.write_bytes(path.read_bytes()[:-2] + b"x\n")
    events = verify(tmp_path)

    assert keys_of(events, "unread") == [records[0].key]
    assert keys_of(events, "verified") == [record.key for record in records[1:]]
    assert "it is not the record that the agent wrote" in events[-1]["result"]["error"]


def test_the_summary_of_a_damaged_database_is_reported_again(tmp_path: Path) -> None:
    records = [put(tmp_path, hour) for hour in range(2)]
    (tmp_path / records[1].key).unlink()
    events = verify(tmp_path)
    (summary,) = (event["summary"] for event in events if event["event"] == "summary")

    assert summary["last_success"]["FULL"] == records[0].finished.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("fate", "owed"),
    [
        pytest.param("deleted", 1, id="by another program"),
        pytest.param("record deleted", 1, id="its record alone"),
        pytest.param("given up", 0, id="by retention"),
        pytest.param("being deleted", 0, id="by retention, which was killed"),
        pytest.param("there", 0, id="not at all"),
    ],
)
def test_a_deleted_copy_counts_as_missing_again(tmp_path: Path, fate: str, owed: int) -> None:
    record, offsite = put(tmp_path), MemoryStore("offsite")
    destinations = {"offsite": {"bucket": "offsite"}}
    place = place_at(tmp_path, "offsite", storage={"root": str(tmp_path), "destinations": destinations})
    notes, journal = place.record_notes, place.journal
    notes.add(record.key, record.to_json())
    if fate in ("there", "record deleted"):
        offsite.put_artifact(record.key, tmp_path / record.key, record.files[0], lambda _: None)
    if fate == "there":
        offsite.create(record_key(record.key), record.to_json())
    if fate == "given up":
        notes.give_up(record.key)
    if fate == "being deleted":
        journal.begin(Intent(key=record.key, doing=Doing.DELETING, files=(record.key,), since=LONG_AGO))
    events = verify_at({"local": LocalStore(tmp_path, "local"), "offsite": offsite}, tmp_path, place="offsite")
    warnings = [warning for warning in events[-1]["result"]["warnings"] if "missing again" in warning]

    assert owed == len(notes.owed([record])) == len(warnings)
    assert all(record.key in warning for warning in warnings)
    assert [event["summary"]["owed"] for event in events if event["event"] == "summary"] == [{"offsite": 1}] * owed


def not_read(events: list[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    """Return the artifacts that a pass did not read: reason -> number of artifacts and bytes."""
    return {one["why"]: (one["artifacts"], one["size"]) for one in events[-1]["result"]["not_read"]}


def total(*records: Record) -> int:
    return sum(record.size for record in records)


def flip(root: Path, record: Record) -> None:
    path = root / record.key
    content = path.read_bytes()
    path.write_bytes(content[:-9] + bytes((content[-9] ^ 1,)) + content[-8:])


def young(root: Path, record: Record) -> Record:
    """Set the time of the record to now, so that the artifact is not due."""
    record = record.model_copy(update={"finished": datetime.now(UTC) - timedelta(minutes=1)})
    write_record(root, record)
    return record


def test_the_answer_says_how_much_was_not_read_and_why(tmp_path: Path) -> None:
    records = [young(tmp_path, put(tmp_path, hour)) for hour in range(6)]

    asked, late = verify(tmp_path, request="v"), verify(tmp_path, request="v", seconds=0)

    first, second, *others = records
    assert (asked[-1]["result"]["verified"], not_read(asked)) == (1, {"not_due": (5, total(second, *others))})
    assert not_read(late) == {"not_reached": (1, second.size), "not_due": (5, total(first, *others))}


def test_each_request_reads_the_next_artifacts_and_fails_if_none_was_read(tmp_path: Path) -> None:
    records = [young(tmp_path, put(tmp_path, hour)) for hour in range(6)]
    for record in records[::2]:
        flip(tmp_path, record)

    passes = [verify(tmp_path, request=f"v{number}") for number in range(6)]

    assert {key for one in passes for key in keys_of(one, "damaged")} == {record.key for record in records[::2]}
    assert all(one[-1]["result"]["verified"] or one[-1]["result"]["outcome"] == "failed" for one in passes)


@pytest.mark.parametrize("scope", [{}, {"all": True}], ids=["what is due", "all"])
def test_a_truncated_record_is_a_warning_that_names_it(tmp_path: Path, scope: dict[str, Any]) -> None:
    record, sound = put(tmp_path), put(tmp_path, 1)
    path = tmp_path / record_key(record.key)
    path.write_bytes(path.read_bytes()[:200])
    events = verify(tmp_path, request="v", **scope)
    result = events[-1]["result"]
    damages = damages_in(events)

    assert keys_of(events, "verified") == [sound.key]
    assert result["outcome"] == "succeeded_with_warnings"
    assert any(record_key(record.key) in warning for warning in result["warnings"])
    assert not_read(events) == {"record_unreadable": (1, 0)}
    assert damages["unreadable"]["record_unreadable"] == [record_key(record.key)]


@pytest.mark.parametrize("scope", [{}, {"all": True}, {"database": "orders"}], ids=["what is due", "all", "database"])
@pytest.mark.parametrize("what", ["record cut", "record gone"])
def test_a_request_that_verified_nothing_fails_with_nothing_verified(
    tmp_path: Path, scope: dict[str, Any], what: str
) -> None:
    record = put(tmp_path)
    path = tmp_path / record_key(record.key)
    path.write_bytes(path.read_bytes()[:200]) if what == "record cut" else path.unlink()

    result = verify(tmp_path, request="v", **scope)[-1]["result"]

    assert (result["outcome"], result["reason"]) == ("failed", Reason.NOTHING_VERIFIED)
    assert any(record.key in warning for warning in result["warnings"])


def test_a_request_that_verified_nothing_fails_even_if_nothing_is_ever_due(tmp_path: Path) -> None:
    put(tmp_path)
    settings = {"verify": {"every": None}}
    store = {"local": LocalStore(tmp_path, "local")}

    asked = verify_at(store, tmp_path, settings=settings, request="v")[-1]["result"]
    unasked = verify_at(store, tmp_path, settings=settings)[-1]["result"]
    whole = verify_at(store, tmp_path, settings=settings, request="v", all=True)[-1]["result"]

    assert (asked["reason"], unasked["outcome"], whole["outcome"]) == ("nothing_verified", "succeeded", "succeeded")


@pytest.mark.parametrize(("every", "read"), [("30d", True), (None, False)])
def test_a_destination_has_a_period_of_its_own(tmp_path: Path, every: str | None, *, read: bool) -> None:
    record, offsite = put(tmp_path), MemoryStore("offsite")
    offsite.put_artifact(record.key, tmp_path / record.key, record.files[0], lambda _: None)
    offsite.create(record_key(record.key), record.to_json())
    storage = {"root": str(tmp_path), "destinations": {"offsite": {"bucket": "offsite"}}}
    place_at(tmp_path, "offsite", storage=storage).record_notes.add(record.key, record.to_json())
    stores: dict[str, Store] = {"local": LocalStore(tmp_path, "local"), "offsite": offsite}

    for place, expected in (("local", True), ("offsite", read)):
        events = verify_at(stores, tmp_path, place=place, destination={"verify": {"every": every}})
        assert bool(events[-1]["result"]["verified"]) is expected


def test_verifying_an_empty_place_succeeds(tmp_path: Path) -> None:
    assert verify(tmp_path, request="v", all=True)[-1]["result"]["outcome"] == "succeeded"


def test_data_without_a_record_is_a_warning_unless_the_journal_names_it(tmp_path: Path) -> None:
    ours, strange, sound = (put(tmp_path, hour) for hour in range(3))
    for record in (ours, strange):
        (tmp_path / record_key(record.key)).unlink()
    place_at(tmp_path).journal.begin(Intent(key=ours.key, doing=Doing.DELETING, files=(ours.key,), since=LONG_AGO))
    events = verify(tmp_path, request="v")

    assert keys_of(events, "verified") == [sound.key]
    assert events[-1]["result"]["outcome"] == "succeeded_with_warnings"
    assert not_read(events) == {"no_record": (1, strange.size)}


def test_an_artifact_without_a_record_cannot_be_verified(tmp_path: Path) -> None:
    record = put(tmp_path)
    (tmp_path / record_key(record.key)).unlink()

    with pytest.raises(PermanentError) as error:
        verify(tmp_path, request="v", artifact=record.key)

    assert error.value.failure.reason is Reason.NOTHING_VERIFIED


def test_all_reads_artifacts_that_are_not_due_and_marks_damaged_ones(tmp_path: Path) -> None:
    records = [young(tmp_path, put(tmp_path, hour)) for hour in range(6)]
    for record in records[::2]:
        flip(tmp_path, record)
    result = verify(tmp_path, request="v", all=True)[-1]["result"]

    assert (result["outcome"], result["verified"]) == ("failed", 3)
    assert result["damaged"] == [record.key for record in records[::2]]
    assert [(tmp_path / damage_key(record.key)).exists() for record in records] == [True, False] * 3
    assert (result["read"], result["artifacts"], result["not_read"]) == (6, 6, [])
    assert result["read_size"] == result["size"] == sum(record.size for record in records)


@pytest.mark.process
def test_the_amount_and_the_estimated_time_are_reported_before_the_first_byte(tmp_path: Path) -> None:
    records = [put(tmp_path, hour) for hour in range(3)]
    size = sum(record.size for record in records)
    store = {"local": LocalStore(tmp_path, "local")}
    settings = {"verify": {"bandwidth": f"{size}B"}}

    events = verify_at(store, tmp_path, settings=settings, request="v", all=True)

    scope = next(event for event in events if event["event"] in ("scope", "reading", "verified"))
    assert (scope["artifacts"], scope["size"], scope["read"], scope["estimated_seconds"]) == (3, size, 0, 1.0)


class Ending(LocalStore):
    """Ends the pass in the middle of an artifact, as a backup does, after some artifacts have been read."""

    def __init__(self, root: Path, cancel: threading.Event, after: int) -> None:
        super().__init__(root, "local")
        self.cancel, self.after = cancel, after

    def open(self, key: str, start: int = 0) -> Any:
        if key.endswith(".backup"):
            self.after -= 1
            if self.after < 0:
                self.cancel.set()
        return super().open(key, start)


@pytest.mark.parametrize("ended", ["time", "backup"])
def test_slices_continue_until_every_artifact_was_read_once(tmp_path: Path, ended: str) -> None:
    records = [put(tmp_path, hour) for hour in range(5)]
    flip(tmp_path, records[2])
    read: list[str] = []
    results = []
    for _ in range(20):
        cancel = threading.Event()
        store = Ending(tmp_path, cancel, 2 if ended == "backup" else 99)
        seconds = 60 if ended == "backup" else 0.0001
        events = verify_at({"local": store}, tmp_path, cancel=cancel, request="v", all=True, seconds=seconds)
        read += [*keys_of(events, "verified"), *keys_of(events, "damaged")]
        results.append(events[-1]["result"])
        if results[-1]["outcome"] != "waiting":
            break

    assert len(results) > 1
    assert sorted(read) == sorted(record.key for record in records)
    assert (results[-1]["outcome"], results[-1]["verified"], results[-1]["read"]) == ("failed", 4, 5)
    assert results[-1]["damaged"] == [records[2].key]


def test_another_request_for_all_reads_everything_again(tmp_path: Path) -> None:
    put(tmp_path)

    passes = [verify(tmp_path, request=name, all=True) for name in ("v", "w")]

    assert [one[-1]["result"]["verified"] for one in passes] == [1, 1]


def test_the_progress_of_answered_requests_is_removed(tmp_path: Path) -> None:
    put(tmp_path)
    verify(tmp_path, request="v", all=True)
    verify(tmp_path, request="w", all=True, open_requests=("w",))

    assert [path.name for path in tmp_path.glob(".agent/verified/*/asked/*")] == ["w"]


def test_an_artifact_with_a_truncated_line_of_progress_is_read_again(tmp_path: Path) -> None:
    records = [put(tmp_path, hour) for hour in range(3)]
    verify(tmp_path, request="v", all=True)
    (progress,) = tmp_path.glob(".agent/verified/*/asked/v")
    progress.write_bytes(progress.read_bytes()[:-9])

    events = verify(tmp_path, request="v", all=True)

    assert keys_of(events, "verified") == [records[2].key]
    assert events[-1]["result"]["verified"] == 3
    assert verify(tmp_path, request="v", all=True)[-1]["result"]["verified"] == 3


def test_the_request_fails_if_its_progress_cannot_be_written(tmp_path: Path) -> None:
    for hour in range(3):
        put(tmp_path, hour)
    blocked = tmp_path / ".agent" / "verified"
    blocked.parent.mkdir(exist_ok=True)
    blocked.write_bytes(b"")

    events = verify(tmp_path, request="v", all=True)
    result = events[-1]["result"]

    assert len(keys_of(events, "verified")) == 1
    assert result["outcome"] == "failed"
    assert "cannot be noted on the volume" in result["error"]
    assert not_read(events)["not_reached"][0] == 3


def test_artifacts_on_bad_blocks_do_not_stop_a_request_for_all(tmp_path: Path) -> None:
    records = [put(tmp_path, hour) for hour in range(6)]
    bad, good = [one.key for one in records[:4]], [one.key for one in records[4:]]
    events = verify(tmp_path, Blocks(tmp_path, *bad), request="v", all=True)

    assert keys_of(events, "verified") == good
    assert events[-1]["result"]["outcome"] == "failed"
    assert not_read(events) == {"unreadable": (4, total(*records[:4]))}


def test_a_place_that_is_down_ends_a_request_for_all_with_a_report(tmp_path: Path) -> None:
    records = [put(tmp_path, hour) for hour in range(6)]

    class Down(LocalStore):
        def open(self, key: str, start: int = 0) -> Any:
            if key.endswith(".backup"):
                raise TransientError(Reason.STORAGE_UNREACHABLE, f"{key}: no answer")
            return super().open(key, start)

    events = verify(tmp_path, Down(tmp_path, "local"), request="v", all=True)

    assert (events[-1]["result"]["outcome"], events[-1]["result"]["reason"]) == ("failed", "storage_unreachable")
    assert not_read(events) == {"not_reached": (3, total(*records[3:])), "unreadable": (3, total(*records[:3]))}


def test_an_archived_artifact_is_a_warning(tmp_path: Path) -> None:
    frozen, sound = put(tmp_path), put(tmp_path, 1)

    class Glacier(LocalStore):
        def open(self, key: str, start: int = 0) -> Any:
            if key == frozen.key:
                raise PermanentError(Reason.ARCHIVED, f"{key}: InvalidObjectState")
            return super().open(key, start)

    events = verify(tmp_path, Glacier(tmp_path, "local"), request="v", all=True)

    assert keys_of(events, "verified") == [sound.key]
    assert events[-1]["result"]["outcome"] == "succeeded_with_warnings"
    assert not_read(events) == {"archived": (1, frozen.size)}


def test_any_number_of_archived_artifacts_keeps_no_other_from_being_read(tmp_path: Path) -> None:
    frozen, sound = [put(tmp_path, hour) for hour in range(6)], put(tmp_path, 6)

    class Glacier(LocalStore):
        def open(self, key: str, start: int = 0) -> Any:
            if key in {record.key for record in frozen}:
                raise PermanentError(Reason.ARCHIVED, f"{key}: InvalidObjectState")
            return super().open(key, start)

    events = verify(tmp_path, Glacier(tmp_path, "local"))

    assert keys_of(events, "verified") == [sound.key]
    assert events[-1]["result"]["outcome"] == "succeeded_with_warnings"
    assert not_read(events) == {"archived": (6, total(*frozen))}


def test_a_request_at_a_place_where_all_is_archived_fails(tmp_path: Path) -> None:
    put(tmp_path)

    class Glacier(LocalStore):
        def open(self, key: str, start: int = 0) -> Any:
            if key.endswith(".backup"):
                raise PermanentError(Reason.ARCHIVED, f"{key}: InvalidObjectState")
            return super().open(key, start)

    events = verify(tmp_path, Glacier(tmp_path, "local"), request="v", all=True)

    assert (events[-1]["result"]["outcome"], events[-1]["result"]["reason"]) == ("failed", "nothing_verified")
    assert "1 archived" in events[-1]["result"]["error"]


def test_an_artifact_interrupted_too_often_is_skipped_and_reported(tmp_path: Path) -> None:
    large, sound = put(tmp_path), put(tmp_path, 1)
    events = verify(tmp_path, request="v", all=True, skipped=(large.key,))

    assert keys_of(events, "verified") == [sound.key]
    assert events[-1]["result"]["outcome"] == "succeeded_with_warnings"
    assert not_read(events) == {"interrupted": (1, large.size)}


def test_verifying_a_database_reads_all_its_artifacts_and_no_others(tmp_path: Path) -> None:
    record = put(tmp_path)
    other = tmp_path / "weekly" / "neo4j"
    other.mkdir(parents=True)
    (other / "neo4j-2026-01-01T02-00-00.backup").write_bytes(b"x")

    events = verify(tmp_path, request="v", database="ORDERS")

    assert keys_of(events, "verified") == [record.key]
    assert events[-1]["result"]["outcome"] == "succeeded"
    with pytest.raises(PermanentError, match="no artifact of the database customers is stored there"):
        verify(tmp_path, request="v", database="customers")


def linked(root: Path) -> tuple[Record, Record, Record]:
    """Put a full and two differentials on the volume, and an older full that none of them needs."""
    older = put(root, -24)
    header = older.header.model_copy(update={"highest": 5})
    write_record(root, older.model_copy(update={"header": header}))
    full, *rest = (put(root, hour) for hour in range(3))
    links = [full]
    for number, record in enumerate(rest, start=1):
        ranges = {"full": False, "lowest": 10 * number + 1, "highest": 10 * number + 10}
        header = record.header.model_copy(update=ranges)
        changes = {"type": BackupType.DIFF, "header": header, "parent": links[-1].key}
        link = record.model_copy(update=changes)
        write_record(root, link)
        links.append(link)
    return links[0], links[1], links[2]


def test_verifying_a_chain_reads_the_artifact_and_all_that_it_needs(tmp_path: Path) -> None:
    full, first, second = linked(tmp_path)

    events = verify(tmp_path, request="v", artifact=first.key, chain=True)
    whole = verify(tmp_path, request="w", artifact=second.key, chain=True)

    assert sorted(keys_of(events, "verified")) == [full.key, first.key]
    assert sorted(keys_of(whole, "verified")) == [full.key, first.key, second.key]


def test_a_chain_without_its_full_is_a_failure_that_names_the_full(tmp_path: Path) -> None:
    full, _, second = linked(tmp_path)
    for key in (full.key, record_key(full.key)):
        (tmp_path / key).unlink()

    events = verify(tmp_path, request="v", artifact=second.key, chain=True)

    assert (events[-1]["result"]["outcome"], events[-1]["result"]["reason"]) == ("failed", "chain_broken")
    assert full.key in events[-1]["result"]["error"]
    assert not_read(events) == {"not_recorded": (1, 0)}


@pytest.mark.parametrize("scope", [{}, {"all": True}], ids=["what is due", "all"])
@pytest.mark.parametrize("what", ["gone", "found damaged"])
def test_a_pass_reports_a_chain_with_a_gap(tmp_path: Path, what: str, scope: dict[str, Any]) -> None:
    full, first, second = linked(tmp_path)
    if what == "gone":
        for key in (full.key, record_key(full.key)):
            (tmp_path / key).unlink()
    else:
        flip(tmp_path, full)
    events = verify(tmp_path, **scope)
    damages = damages_in(events)

    assert damages["unrestorable"] == [first.key, second.key]
    assert any(first.key in warning and full.key in warning for warning in events[-1]["result"]["warnings"])


def test_a_known_damaged_artifact_is_a_warning_of_every_later_pass(tmp_path: Path) -> None:
    damaged, sound = put(tmp_path), put(tmp_path, 1)
    flip(tmp_path, damaged)
    verify(tmp_path, all=True)
    result = verify(tmp_path, artifact=None)[-1]["result"]

    assert sound.key
    assert result["outcome"] == "succeeded_with_warnings"
    assert any("marked as damaged, not read (1)" in one and damaged.key in one for one in result["warnings"])

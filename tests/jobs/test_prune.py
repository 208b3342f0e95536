"""Applying retention at one place, without an agent."""

import json
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_agent.catalog.contents import survey
from backup_agent.catalog.holds import hold
from backup_agent.catalog.journal import Doing, Intent
from backup_agent.catalog.place import Place, place_of
from backup_agent.catalog.set_uses import note_use
from backup_agent.catalog.tenure import Held, HeldByAnotherError
from backup_agent.core.artifacts.keys import hold_key, record_key
from backup_agent.core.artifacts.marks import Hold
from backup_agent.core.artifacts.names import SetName
from backup_agent.core.artifacts.records import Record
from backup_agent.core.reasons import PermanentError, Reason, TransientError
from backup_agent.core.requests.tasks import PruneTask
from backup_agent.core.retention.clock import ClockReading, ClockSighting, ClockTime
from backup_agent.jobs.audit_trail import AuditTrail
from backup_agent.jobs.prune import carry_out, prune
from backup_agent.jobs.prune_plan import apply_policy
from tests import memory
from tests.builders import a_record, an_event_writer, settings_with
from tests.catalog.places import FilledPlace, with_store
from tests.stores.memory_store import MemoryStore


def full(set_name: str, day: int) -> Record:
    """Return the record of a full, taken on a given day."""
    return a_record(24 * (day - 300), set_name=set_name)


@pytest.fixture(name="volume")
def _volume(tmp_path: Path) -> Place:
    """A volume with fulls a day apart: four in `default`, of which three can be deleted, and two in `weekly`."""
    (tmp_path / "root").mkdir()
    settings = settings_with(
        sets=["weekly"],
        schedules={},
        retention={"last": 1},
        storage={"root": str(tmp_path / "root"), "destinations": {"offsite": {"bucket": "backups"}}},
    )
    place = place_of("local", settings)
    notes = place_of("offsite", settings).record_notes
    for set_name, count in (("default", 4), ("weekly", 2)):
        for day in range(count):
            record = FilledPlace(place).add(full(set_name, day))
            notes.add(record.key, record.to_json())
    return place


def apply_retention(volume: Place, **task: Any) -> tuple[Any, list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []
    writer = an_event_writer(events)
    return prune(PruneTask(run="prune-1", place="local", settings={}, **task), volume, writer), events


def recorded_keys(volume: Place) -> list[str]:
    return [one.key for one in volume.store.list() if one.key.endswith(".backup.json")]


def keys(set_name: str, *days: int) -> list[str]:
    return [record_key(full(set_name, day).key) for day in days]


def test_a_set_over_max_delete_share_is_refused_and_the_other_is_pruned(volume: Place) -> None:
    result, events = apply_retention(volume)

    assert (result.outcome, result.reason) == ("failed", Reason.INVALID_REQUEST)
    assert result.error == ("default: 3 of 4 artifacts would be deleted, more than max_delete_share (0.5) allows")
    assert "--force" in result.hint
    assert [one.key for one in result.deletions] == [full("weekly", 0).key]
    assert (result.deleted, result.kept) == (1, 5)
    assert recorded_keys(volume) == [*keys("default", 0, 1, 2, 3), *keys("weekly", 1)]
    assert [event["key"] for event in events if event["event"] == "pruned"] == [full("weekly", 0).key]


def test_with_force_the_refused_set_is_pruned_too(volume: Place) -> None:
    result, _ = apply_retention(volume, force=True)

    assert (result.outcome, result.deleted) == ("succeeded", 4)
    assert recorded_keys(volume) == [*keys("default", 3), *keys("weekly", 1)]


def test_a_dry_run_has_the_same_plan_and_deletes_nothing(volume: Place) -> None:
    before = recorded_keys(volume)
    result, _ = apply_retention(volume, dry_run=True)

    assert (result.outcome, result.deleted) == ("failed", None)
    assert len(result.deletions) == 1
    assert recorded_keys(volume) == before


def test_the_id_of_a_plan_depends_only_on_its_deletions(volume: Place) -> None:
    dry, _ = apply_retention(volume, dry_run=True)
    forced, _ = apply_retention(volume, dry_run=True, force=True)
    carried_out, _ = apply_retention(volume, plan=dry.plan)

    assert dry.plan != forced.plan
    assert carried_out.deleted == 1


def test_artifacts_with_missing_copies_are_kept_until_these_are_given_up(volume: Place) -> None:
    oldest = full("weekly", 0).key
    (next((volume.root / ".agent" / "recorded").glob("offsite@*")) / oldest).unlink()
    kept, _ = apply_retention(volume, dry_run=True)
    rehearsed, _ = apply_retention(volume, dry_run=True, drop_owed="offsite", force=True)
    notes = place_of("offsite", volume.settings).record_notes
    owed_before = [one.key for one in notes.owed([full("weekly", 0)])]
    result, _ = apply_retention(volume, drop_owed="offsite", force=True)

    assert (kept.deletions, rehearsed.dropped, owed_before) == ((), None, [oldest])
    assert (result.dropped, result.deleted) == (1, 4)
    assert keys("weekly", 0)[0] not in recorded_keys(volume)


def test_copies_at_an_unknown_destination_cannot_be_given_up(volume: Place) -> None:
    with pytest.raises(PermanentError, match="there is no destination 'moon'") as refused:
        apply_retention(volume, drop_owed="moon", force=True)

    assert refused.value.failure.reason is Reason.NOT_FOUND


def test_an_unreadable_record_stops_the_deletion_in_its_database_with_a_warning(volume: Place) -> None:
    stranger = "weekly/orders/theirs.backup.json"
    (volume.root / stranger).write_text("{}")
    volume.record_notes.add("weekly/orders/theirs.backup", b"{}")
    result, _ = apply_retention(volume, force=True)

    assert (result.outcome, result.deleted) == ("succeeded_with_warnings", 3)
    assert len(result.warnings) == 1
    assert result.warnings[0].startswith(f"{stranger}: key: Field required; nothing of weekly/orders is deleted")
    assert recorded_keys(volume) == [*keys("default", 3), *keys("weekly", 0, 1), stranger]


def test_a_file_named_like_a_part_of_an_artifact_is_left_alone(volume: Place) -> None:
    beside = volume.root / f"{full('weekly', 0).key}.7"
    beside.write_bytes(b"theirs")
    result, _ = apply_retention(volume, force=True)

    assert (result.outcome, result.deleted, result.warnings) == ("succeeded", 4, ())
    assert beside.read_bytes() == b"theirs"


def test_a_hold_that_cannot_be_written_stays_wanted_and_does_not_stop_the_pass(volume: Place) -> None:
    class Refusing(MemoryStore):
        def create(self, key: str, data: bytes) -> None:
            if key.endswith(".hold.json"):
                raise PermanentError(Reason.STORAGE_AUTH, f"{key}: refused")
            super().create(key, data)

    offsite = with_store(place_of("offsite", volume.settings), Refusing("offsite"))
    for day in range(2):
        FilledPlace(offsite).add(full("default", day))
    key = full("default", 0).key
    wanted = offsite.wanted_holds
    wanted.hold(Hold(key=key, since=datetime.now(UTC), reason="audit", request="h"))
    events: list[dict[str, Any]] = []
    task = PruneTask(run="prune-1", place="offsite", settings={})
    result = prune(task, offsite, an_event_writer(events))

    assert result.outcome == "succeeded"
    assert [event["text"] for event in events if event["event"] == "warning"] == ["hold not applied"]
    assert [one for one, _ in wanted] == [key]


def held_until(volume: Place, days: int) -> str:
    """Hold the oldest artifact of the set `weekly`, and write an end of the hold some days from now."""
    key = full("weekly", 0).key
    now = datetime.now(UTC)
    hold(volume.settings, Hold(key=key, since=now, reason="audit", request="h", until=now + timedelta(days=days)))
    return key


def test_an_artifact_is_deleted_after_the_end_of_its_hold(volume: Place) -> None:
    key = held_until(volume, 1)
    assert apply_retention(volume, force=True)[0].deleted == 3

    (volume.root / hold_key(key)).unlink()
    held_until(volume, -1)
    result, events = apply_retention(volume, force=True)

    assert (result.outcome, result.deleted) == ("succeeded", 1)
    assert [event["key"] for event in events if event["event"] == "hold_ended"] == [key]
    assert recorded_keys(volume) == [*keys("default", 3), *keys("weekly", 1)]


def test_the_mark_of_an_ended_hold_is_removed_though_the_artifact_is_kept(volume: Place) -> None:
    key = full("default", 3).key
    now = datetime.now(UTC)
    ended = Hold(key=key, since=now, reason="audit", request="h", until=now - timedelta(days=1))
    hold(volume.settings, ended)
    apply_retention(volume, dry_run=True)
    assert (volume.root / hold_key(key)).exists()
    apply_retention(volume)

    assert not (volume.root / hold_key(key)).exists()
    assert record_key(key) in recorded_keys(volume)


def test_no_hold_ends_by_a_clock_that_cannot_be_trusted(volume: Place) -> None:
    key = held_until(volume, -1)
    with pytest.raises(PermanentError, match="nothing is deleted"):
        apply_retention(volume, force=True, server_clock=shown(ahead=timedelta(days=-2)))

    assert (volume.root / hold_key(key)).exists()


def test_at_a_destination_a_hold_ends_by_the_note_on_the_volume_only(volume: Place) -> None:
    offsite = with_store(place_of("offsite", volume.settings), MemoryStore("offsite"))
    key, other = full("default", 0).key, full("default", 1).key
    for day in range(2):
        FilledPlace(offsite).add(full("default", day))
    now = datetime.now(UTC)
    ends = Hold(key=key, since=now, reason="audit", request="h", until=now + timedelta(days=1))
    offsite.wanted_holds.hold(ends)
    forged = Hold(key=other, since=now, reason="forged", request="h", until=now - timedelta(days=1))
    offsite.store.create(hold_key(other), forged.to_json())

    def passed() -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        prune(PruneTask(run="prune-1", place="offsite", settings={}), offsite, an_event_writer(events))
        return [event for event in events if event["event"] == "hold_ended"]

    def mark() -> Hold:
        return Hold.from_json(offsite.store.read(hold_key(key), 10_000))

    assert passed() == []
    assert mark() == ends
    offsite.store.delete(hold_key(key))
    offsite.store.create(hold_key(key), forged.model_copy(update={"key": key}).to_json())
    assert passed() == []
    assert mark() == ends

    offsite.wanted_holds.hold(ends.model_copy(update={"until": now - timedelta(seconds=1)}))
    assert [event["key"] for event in passed()] == [key]
    assert offsite.store.stat(hold_key(key)) is None
    assert list(offsite.wanted_holds) == []
    assert offsite.store.stat(hold_key(other)) is not None


# By which clock


def since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def shown(*, ahead: timedelta = timedelta(0), ago: float = 3600.0) -> ClockTime:
    """Return an hour-old reading of a clock that is now ahead of ours by `ahead`."""
    now = datetime.now(UTC) + ahead
    return ClockTime(now=now - timedelta(seconds=ago), monotonic=since_boot() - ago)


def seen_by_the_last_pass(volume: Place, *, ahead: timedelta) -> None:
    """Store the clock reading of a pass an hour ago, by a clock that would now be ahead by a given time."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    reading = ClockReading(boot=boot, **shown(ahead=ahead).model_dump())
    (volume.root / ".agent" / "clock.json").write_text(ClockSighting(reading=reading).model_dump_json())


@pytest.mark.parametrize(
    ("ahead", "trusted"),
    [
        pytest.param(timedelta(0), True, id="our clock was not set since"),
        pytest.param(timedelta(days=-30), False, id="ours was set forward since"),
        pytest.param(timedelta(days=30), False, id="ours was set back since"),
    ],
)
def test_a_clock_set_after_the_servers_clock_was_read_is_compared_with_it(
    volume: Place, ahead: timedelta, trusted: bool
) -> None:
    before = recorded_keys(volume)
    if trusted:
        assert apply_retention(volume, force=True, server_clock=shown(ahead=ahead))[0].deleted == 4
        return
    for _ in range(2):
        with pytest.raises(PermanentError, match=r"datetime\(\) of the server") as refused:
            apply_retention(volume, force=True, server_clock=shown(ahead=ahead))
        assert refused.value.failure.reason is Reason.CLOCK

    assert recorded_keys(volume) == before


def test_a_pass_without_deletions_stores_its_clock_reading(volume: Place) -> None:
    apply_retention(volume, force=True)
    kept = volume.root / ".agent" / "clock.json"
    kept.unlink()
    result, _ = apply_retention(volume)

    assert (result.outcome, result.deletions) == ("succeeded", ())
    assert abs(ClockSighting.model_validate_json(kept.read_bytes()).reading.monotonic - since_boot()) < 60


def test_a_clock_that_was_set_is_reported_by_the_first_pass_with_deletions(volume: Place) -> None:
    seen_by_the_last_pass(volume, ahead=timedelta(days=-30))
    apply_retention(volume, dry_run=True)
    idle = volume.settings.model_copy(update={"retention": None})
    prune(
        PruneTask(run="prune-1", place="local", settings={}),
        place_of("local", idle),
        an_event_writer(),
    )
    with pytest.raises(PermanentError, match=r"was set forward by 30 days, 0:00:00") as refused:
        apply_retention(volume, force=True)

    assert refused.value.failure.reason is Reason.CLOCK


def test_a_clock_that_was_set_is_not_trusted_until_another_clock_agrees(volume: Place) -> None:
    seen_by_the_last_pass(volume, ahead=timedelta(days=-30))
    for _ in range(3):
        with pytest.raises(PermanentError, match="was set forward by"):
            apply_retention(volume, force=True)
    agrees = ClockTime(now=datetime.now(UTC), monotonic=time.clock_gettime(time.CLOCK_BOOTTIME))
    with pytest.raises(PermanentError, match="was set forward by"):
        apply_retention(volume, force=True, server_clock=agrees)  # the agent and the servers may share a machine
    result, _ = apply_retention(volume, force=True)

    assert result.deleted == 4


def test_after_a_contradiction_the_next_pass_uses_the_stored_time_of_the_other_clock(
    volume: Place,
) -> None:
    shows = ClockTime(now=datetime.now(UTC) - timedelta(days=100), monotonic=time.clock_gettime(time.CLOCK_BOOTTIME))
    with pytest.raises(PermanentError, match=r"datetime\(\) of the server"):
        apply_retention(volume, force=True, server_clock=shows)
    with pytest.raises(PermanentError, match="was set forward by"):
        apply_retention(volume, force=True)


@pytest.mark.parametrize(
    ("ahead", "hours", "trusted"),
    [
        pytest.param(timedelta(0), 1, True, id="right"),
        pytest.param(timedelta(days=-30), 1, False, id="ours was set forward since"),
        pytest.param(timedelta(days=-30), 25, True, id="too long ago to count on"),
    ],
)
def test_the_pass_on_the_volume_uses_the_clock_of_a_destination(
    volume: Place, ahead: timedelta, hours: int, trusted: bool
) -> None:
    class Elsewhere(MemoryStore):
        def now(self) -> datetime:  # type: ignore[override]  # a memory store has no clock, except this one
            return datetime.now(UTC)

    prune(
        PruneTask(run="prune-1", place="offsite", settings={}),
        with_store(place_of("offsite", volume.settings), Elsewhere()),
        an_event_writer(),
    )
    kept = volume.root / ".agent" / "clock.json"
    seen = ClockSighting.model_validate_json(kept.read_bytes())
    assert seen.shown.keys() == {"offsite"}
    kept.write_text(
        seen.model_copy(update={"shown": {"offsite": shown(ahead=ahead, ago=3600.0 * hours)}}).model_dump_json()
    )

    if trusted:
        assert apply_retention(volume, force=True)[0].deleted == 4
    else:
        with pytest.raises(PermanentError, match="offsite's clock"):
            apply_retention(volume, force=True)


@pytest.mark.parametrize("wrong", [False, True], ids=["right", "wrong"])
def test_no_grace_period_ends_while_the_clock_is_not_trusted(volume: Place, wrong: bool) -> None:
    orphan = full("default", 100).key
    (volume.root / orphan).write_bytes(b"published, and not recorded yet")
    since = datetime.now(UTC) - timedelta(days=30)
    volume.journal.begin(Intent(key=orphan, doing=Doing.PUBLISHING, files=(orphan,), since=since))
    with suppress(PermanentError):
        apply_retention(volume, server_clock=shown(ahead=timedelta(days=-30) if wrong else timedelta(0)))

    assert (volume.root / orphan).exists() == wrong


# By whom


@dataclass(frozen=True)
class Losing(Held):
    """A tenure that is lost when a given key is deleted, as if the process had been suspended then."""

    root: Path = field(kw_only=True)
    last: str = field(kw_only=True)

    def check(self) -> None:
        if not (self.root / self.last).exists():
            raise HeldByAnotherError("the lease was lost")


@pytest.mark.parametrize("last", ["record", "data"])
def test_a_process_that_loses_the_lease_within_a_batch_stops_deleting(volume: Place, last: str) -> None:
    found = survey(volume, indexed=False)
    task = PruneTask(run="prune-1", place="local", force=True, settings={})
    planned = apply_policy(task, found, volume, datetime.now(UTC))
    first = planned.delete[0].key
    held = Losing(root=volume.root, last=record_key(first) if last == "record" else first)
    with pytest.raises(TransientError) as refused:
        carry_out([planned], found, volume, held, AuditTrail(volume, an_event_writer()))
    again = survey(volume, indexed=False)

    assert refused.value.failure.reason is Reason.FOREIGN_ROOT
    assert found.entries.keys() - again.entries.keys() == {first}
    assert [one.key for one in again.orphans] == ([first] if last == "record" else [])
    assert [intent.key for intent in volume.journal] == [first]  # the next pass finishes this deletion


def test_deletions_before_a_failure_are_reported(volume: Place) -> None:
    found = survey(volume, indexed=False)
    task = PruneTask(run="prune-1", place="local", force=True, settings={})
    planned = apply_policy(task, found, volume, datetime.now(UTC))
    lost = Losing(root=volume.root, last=planned.delete[0].key)
    events: list[dict[str, Any]] = []
    with pytest.raises(TransientError):
        carry_out([planned], found, volume, lost, AuditTrail(volume, an_event_writer(events)))

    summaries = {
        one["set"]: one["artifacts"] for one in (each["summary"] for each in events if each["event"] == "summary")
    }
    assert summaries["default"] + summaries["weekly"] == 5


def test_deletions_for_which_a_pass_has_no_time_are_left_to_the_next_pass(
    volume: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backup_agent.jobs.prune.BATCH", 2)
    first, second, third = (apply_retention(volume, force=True, seconds=0.0)[0] for _ in range(3))

    assert (first.outcome, first.deleted, first.left) == ("succeeded", 2, 2)
    assert (second.outcome, second.deleted, second.left) == ("succeeded", 2, None)
    assert (third.outcome, third.deletions) == ("succeeded", ())


# Ad hoc sets


@pytest.mark.parametrize(
    ("note", "stays"),
    [
        pytest.param(None, False, id="not requested since"),
        pytest.param(timedelta(days=8), False, id="requested more than a week ago"),
        pytest.param(timedelta(days=6), True, id="requested less than a week ago"),
        pytest.param("{", True, id="notes that cannot be read"),
    ],
)
def test_an_ad_hoc_set_expires_after_its_last_request(volume: Place, note: timedelta | str | None, stays: bool) -> None:
    record = FilledPlace(volume).add(full("before-release", 0))
    if isinstance(note, timedelta):
        note_use(volume.root, SetName("before-release"), datetime.now(UTC) - note)
    elif note is not None:
        (volume.root / ".agent" / "adhoc.json").write_text(note)
    apply_retention(volume)

    assert (record_key(record.key) in recorded_keys(volume)) is stays


# What cannot be deleted


def test_a_hold_set_after_the_plan_also_keeps_the_artifacts_it_needs(volume: Place) -> None:
    first = 24 * -300
    base, link, newer = (
        a_record(first + hour, database="people", parent=parent)
        for hour, parent in ((0, None), (1, full("default", 0).key.replace("orders", "people")), (24, None))
    )
    for one, lowest, highest in ((base, 1, 10), (link, 11, 20), (newer, 1, 30)):
        header = one.header.model_copy(update={"lowest": lowest, "highest": highest})
        FilledPlace(volume).add(one.model_copy(update={"header": header}))
        place_of("offsite", volume.settings).record_notes.add(one.key, one.to_json())
    found = survey(volume, indexed=False)
    task = PruneTask(run="prune-1", place="local", force=True, settings={})
    planned = apply_policy(task, found, volume, datetime.now(UTC))
    assert [one.key for one in planned.delete][-3:] == [link.key, base.key, full("weekly", 0).key]
    hold(volume.settings, Hold(key=link.key, since=datetime.now(UTC), reason="audit", request="h"))
    done = carry_out([planned], found, volume, Held(), AuditTrail(volume, an_event_writer()))

    assert (done.deleted, done.failure) == (4, None)
    assert recorded_keys(volume) == [
        *keys("default", 3),
        *(record_key(one.key) for one in (base, link, newer)),
        *keys("weekly", 1),
    ]


def in_the_way(volume: Place, key: str) -> None:
    """Put a folder where a file should be."""
    (volume.root / key).unlink()
    (volume.root / key).mkdir()
    (volume.root / key / "theirs").write_bytes(b"theirs")


def test_a_failed_deletion_stops_only_its_own_database(volume: Place) -> None:
    stuck = full("default", 0).key
    in_the_way(volume, stuck)
    result, events = apply_retention(volume, force=True)
    left = recorded_keys(volume)
    again, _ = apply_retention(volume, force=True)

    assert (result.outcome, result.deleted) == ("failed", 1)
    assert "Is a directory" in result.error
    assert [event["because"].partition(":")[0] for event in events if event["event"] == "warning"] == [stuck]
    assert left == [*keys("default", 1, 2, 3), *keys("weekly", 1)]
    assert (again.outcome, again.deleted, recorded_keys(volume)) == (
        "succeeded",
        2,
        [*keys("default", 3), *keys("weekly", 1)],
    )
    assert (volume.root / stuck / "theirs").exists()


@pytest.mark.process
def test_a_huge_record_or_mark_stops_only_its_own_database_and_is_not_loaded(volume: Place) -> None:
    """The mark and the record are sparse files of one GiB."""
    other = FilledPlace(volume).add(a_record(24 * -400, database="other"))
    huge = a_record(24 * -500, database="other").key
    volume.record_notes.add(huge, b"what the agent wrote")
    memory.sparse(volume.root / record_key(huge), 2**30)
    memory.sparse(volume.root / hold_key(other.key), 2**30)
    for hour in range(8):
        dense = b'{"a":[' + b"0," * 50_000 + b"0]," + b",".join(b'"%x":0' % number for number in range(30_000)) + b"}"
        key = a_record(24 * -500 + hour, database="dense").key
        volume.root.joinpath(key).parent.mkdir(exist_ok=True)
        volume.record_notes.add(key, dense)
        volume.root.joinpath(record_key(key)).write_bytes(dense)
    task = PruneTask(run="prune-1", place="local", settings=volume.settings.model_dump(mode="json"), force=True)

    ended = memory.run("backup_agent.jobs.prune", stdin=task.model_dump_json().encode() + b"\n")

    assert ended.code == 0, ended.err
    events = [json.loads(line) for line in ended.out.splitlines()]
    result = events[-1]["result"]
    assert ended.mib < 150
    assert (result["outcome"], result["deleted"]) == ("succeeded_with_warnings", 4)
    warnings = "\n".join(result["warnings"])
    assert warnings.count("is larger than") == 2
    assert warnings.count("its artifact is kept") == 1
    assert (
        warnings.count("nothing of default/other is deleted"),
        warnings.count("nothing of default/dense is deleted"),
    ) == (1, 8)
    assert (volume.root / record_key(other.key)).exists()

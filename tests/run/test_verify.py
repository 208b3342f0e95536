"""Reading again what stands on a volume: what is sound, what is damage, what says nothing, and where it goes on."""

import errno
import json
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup_agent.artifact.reading import read_through
from backup_agent.catalog.copies import Notes
from backup_agent.catalog.holdings import of_database, survey
from backup_agent.catalog.index import index_path
from backup_agent.catalog.journal import Doing, Intent, Journal
from backup_agent.core.marks import Damage
from backup_agent.core.names import damage_key, record_key
from backup_agent.core.reasons import Reason, TransientError
from backup_agent.core.records import BackupType, Record
from backup_agent.core.tasks import VerifyTask
from backup_agent.run.telling import Teller
from backup_agent.run.verify import Verifying
from backup_agent.settings.model import Destination, Settings
from backup_agent.stores.local import LocalStore
from backup_agent.stores.memory import MemoryStore
from backup_agent.stores.store import Store
from tests.artifact.writer import Written, artifact

LONG_AGO = datetime(2026, 1, 1, 2, 0, tzinfo=UTC)


def put(root: Path, hour: int = 0) -> Record:
    """Put a real artifact and its record on the volume, taken some hours after a moment long ago."""
    taken = LONG_AGO + timedelta(hours=hour)
    name = f"orders-{taken:%Y-%m-%dT%H-%M-%S}.backup"
    path = root / "default" / "orders" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(artifact(Written(taken=taken)))
    reading = read_through(path)
    record = Record(
        key=f"default/orders/{name}", cluster="demo", set="default", database="orders", type=BackupType.FULL,
        type_reason="asked", header=reading.header, files=reading.files, request="r", started=taken, finished=taken,
    )  # fmt: skip
    (root / record_key(record.key)).write_bytes(record.to_json())
    return record


def verify(root: Path, store: Store | None = None, **changes: Any) -> list[dict[str, Any]]:
    """Run a pass over the volume; return what it told."""
    return verify_at({"local": store or LocalStore(root, "local")}, root, **changes)


def verify_at(
    stores: Mapping[str, Store],
    root: Path,
    *,
    settings: Mapping[str, Any] | None = None,
    cancel: threading.Event | None = None,
    **changes: Any,
) -> list[dict[str, Any]]:
    """Run a pass over the volume, or another of these places; return what it told."""
    destinations = {name: {"type": "s3", "bucket": name} for name in stores if name != "local"}
    storage = {"root": str(root), "destinations": destinations}
    given = {"cluster": "demo", "neo4j": {"uri": "neo4j://demo:7687"}, "storage": storage, **(settings or {})}
    task = VerifyTask(**{"run": "verify-1", "place": "local", "seconds": 60, "settings": {}, **changes})
    told: list[dict[str, Any]] = []
    teller = Teller(lambda line: told.append(json.loads(line)))
    cancel = cancel or threading.Event()
    Verifying(task, Settings.model_validate(given), lambda name: stores[name], teller, cancel).run()
    return told


def events(told: list[dict[str, Any]], name: str) -> list[str]:
    return [event["key"] for event in told if event["event"] == name]


def test_what_is_as_recorded_is_verified_and_not_read_again_at_once(tmp_path: Path) -> None:
    records = [put(tmp_path, hour) for hour in range(3)]
    first, second = verify(tmp_path), verify(tmp_path)

    assert events(first, "verified") == [record.key for record in records]
    assert (first[-1]["result"]["outcome"], first[-1]["verified"], first[-1]["remaining"]) == ("succeeded", 3, 0)
    assert events(second, "verified") == []
    assert first[-1]["oldest"] > LONG_AGO.isoformat()


def test_a_slice_without_time_reads_nothing_and_says_what_remains(tmp_path: Path) -> None:
    put(tmp_path)

    assert verify(tmp_path, seconds=0)[-1]["remaining"] == 1


@pytest.mark.parametrize("fault", ["flipped", "cut", "longer", "missing"])
def test_what_is_not_as_recorded_is_marked_and_is_no_restore_point(tmp_path: Path, fault: str) -> None:
    record = put(tmp_path)
    path = tmp_path / record.key
    content = path.read_bytes()
    if fault == "missing":
        path.unlink()
    else:
        flipped = content[:-9] + bytes((content[-9] ^ 1,)) + content[-8:]
        path.write_bytes({"flipped": flipped, "cut": content[:-4], "longer": content + b"x"}[fault])
    told = verify(tmp_path)
    mark = tmp_path / damage_key(record.key)

    assert events(told, "damaged") == [record.key]
    assert Damage.from_json(mark.read_bytes()).file == path.name
    assert (told[-1]["result"]["reason"], told[-1]["damaged"]) == (Reason.CHECKSUM_MISMATCH, 1)
    assert of_database(LocalStore(tmp_path), tmp_path / "none", "default", "orders").unsound.keys() == {record.key}


def test_a_mark_is_never_overwritten(tmp_path: Path) -> None:
    record = put(tmp_path)
    (tmp_path / record.key).unlink()
    verify(tmp_path)
    first = (tmp_path / damage_key(record.key)).read_bytes()
    verify(tmp_path, artifact=record.key)

    assert (tmp_path / damage_key(record.key)).read_bytes() == first


def test_what_cannot_be_read_now_is_no_damage(tmp_path: Path) -> None:
    record = put(tmp_path)

    class Failing(LocalStore):
        def open(self, key: str) -> Any:
            if key.endswith(".backup"):
                raise TransientError(Reason.STORAGE_UNREACHABLE, f"{key}: input/output error")
            return super().open(key)

    told = verify(tmp_path, Failing(tmp_path, "local"))

    assert events(told, "unread") == [record.key]
    assert told[-1]["result"]["reason"] == Reason.STORAGE_UNREACHABLE
    assert not (tmp_path / damage_key(record.key)).exists()


class Blocks(LocalStore):
    """A volume with bad blocks under some artifacts."""

    def __init__(self, root: Path, *bad: str) -> None:
        super().__init__(root, "local")
        self.bad = set(bad)

    def open(self, key: str) -> Any:
        if key not in self.bad:
            return super().open(key)
        with self._classified("open", key):
            raise OSError(errno.EIO, "Input/output error")


def test_artifacts_on_bad_blocks_keep_no_other_from_being_read(tmp_path: Path) -> None:
    records = [put(tmp_path, hour) for hour in range(6)]
    bad, good = [one.key for one in records[:4]], [one.key for one in records[4:]]
    told = [event for _ in range(3) for event in verify(tmp_path, Blocks(tmp_path, *bad))]

    assert events(told, "verified") == good


def test_an_artifact_that_cannot_be_read_is_tried_each_hour_and_lets_the_others_be_read_no_sooner(
    tmp_path: Path,
) -> None:
    first, *others = [put(tmp_path, hour) for hour in range(6)]
    store = Blocks(tmp_path, first.key)
    before, after = verify(tmp_path, store), verify(tmp_path, store)
    store.bad.clear()
    mended = verify(tmp_path, store)

    assert (events(before, "unread"), events(after, "unread")) == ([first.key], [first.key])
    assert (events(before, "verified"), events(after, "verified")) == ([one.key for one in others], [])
    assert (before[-1]["next_seconds"], after[-1]["next_seconds"]) == (3600, 3600)
    assert events(mended, "verified") == [first.key]


def test_a_log_that_a_crash_has_cut_is_read_to_its_last_whole_line(tmp_path: Path) -> None:
    for hour in range(2):
        put(tmp_path, hour)
    verify(tmp_path)
    (folder,) = (tmp_path / ".agent" / "verified").iterdir()
    log = folder / "log"
    log.write_bytes(log.read_bytes()[:-20])
    (folder / "state.json").unlink()

    assert len(events(verify(tmp_path), "verified")) == 1


def test_a_pass_opens_the_records_of_what_it_reads_alone(tmp_path: Path) -> None:
    records = [put(tmp_path, hour) for hour in range(5)]
    survey(LocalStore(tmp_path), index_path(tmp_path, "local", "local"))
    opened: list[str] = []

    class Counting(LocalStore):
        def read(self, key: str, limit: int) -> bytes:
            opened.append(key)
            return super().read(key, limit)

    nothing = verify(tmp_path, Counting(tmp_path, "local"), seconds=0)
    before = list(opened)
    verify(tmp_path, Counting(tmp_path, "local"), artifact=records[3].key)

    assert (nothing[-1]["remaining"], before) == (5, [])
    assert opened == [record_key(records[3].key)]


def test_what_the_listing_misses_is_told_at_once_and_read_first(tmp_path: Path) -> None:
    records = [put(tmp_path, hour) for hour in range(3)]
    (tmp_path / records[2].key).unlink()
    told, read = verify(tmp_path, seconds=0), verify(tmp_path)

    assert [event["keys"] for event in told if event["event"] == "damages"] == [[records[2].key]]
    assert next(event["key"] for event in read if event["event"] in ("damaged", "verified")) == records[2].key


def test_reading_keeps_to_its_bandwidth(tmp_path: Path) -> None:
    """The first block goes at once, and each waits for those before it."""
    *before, _ = [put(tmp_path, hour) for hour in range(4)]
    size = sum(record.size for record in before)
    rate = 3 * size
    started = time.monotonic()
    verify_at({"local": LocalStore(tmp_path, "local")}, tmp_path, settings={"verify": {"bandwidth": f"{rate}B"}})

    assert time.monotonic() - started >= 0.9 * size / rate


def test_a_record_that_cannot_be_read_is_told_and_hinders_nothing(tmp_path: Path) -> None:
    records = [put(tmp_path, hour) for hour in range(3)]
    survey(LocalStore(tmp_path), index_path(tmp_path, "local", "local"))
    path = tmp_path / record_key(records[0].key)
    path.write_bytes(path.read_bytes()[:-2] + b"x\n")
    told = verify(tmp_path)

    assert events(told, "unread") == [records[0].key]
    assert events(told, "verified") == [record.key for record in records[1:]]
    assert "cannot be read" in told[-1]["result"]["error"]


def test_the_summary_of_a_damaged_database_is_told_anew(tmp_path: Path) -> None:
    records = [put(tmp_path, hour) for hour in range(2)]
    (tmp_path / records[1].key).unlink()
    told = verify(tmp_path)
    (summary,) = (event for event in told if event["event"] == "summary")

    assert summary["last_success"]["FULL"] == records[0].finished.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("fate", "owed"),
    [
        pytest.param("deleted", 1, id="by somebody"),
        pytest.param("record deleted", 1, id="its record alone"),
        pytest.param("given up", 0, id="by retention"),
        pytest.param("being deleted", 0, id="by retention, which was killed"),
        pytest.param("there", 0, id="not at all"),
    ],
)
def test_a_copy_that_is_gone_from_a_destination_is_owed_again(tmp_path: Path, fate: str, owed: int) -> None:
    record, offsite = put(tmp_path), MemoryStore("offsite")
    identity = Destination(bucket="offsite").identity
    notes, journal = Notes(tmp_path, "offsite", identity), Journal(tmp_path, "offsite", identity)
    notes.add(record.key)
    if fate in ("there", "record deleted"):
        offsite.put_artifact(record.key, tmp_path / record.key, record.files[0], lambda _: None)
    if fate == "there":
        offsite.create(record_key(record.key), record.to_json())
    if fate == "given up":
        notes.give_up(record.key)
    if fate == "being deleted":
        journal.begin(Intent(key=record.key, doing=Doing.DELETING, files=(record.key,), since=LONG_AGO))
    told = verify_at({"local": LocalStore(tmp_path, "local"), "offsite": offsite}, tmp_path, place="offsite")
    warnings = told[-1]["result"]["warnings"]

    assert owed == len(notes.owed([record])) == len(warnings)
    assert all(record.key in warning for warning in warnings)
    assert [event["owed"] for event in told if event["event"] == "summary"] == [{"offsite": 1}] * owed

"""The audit log at a destination: segments, seals, forks, and the log of a lost volume."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup_agent.catalog.audit_copies import AuditCopies, Fork
from backup_agent.catalog.audit_log import AuditLog
from backup_agent.catalog.audit_reading import AuditSource, Examined, examine
from backup_agent.catalog.place import Place
from backup_agent.catalog.tenure import Held
from backup_agent.core.artifacts.keys import record_key
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.audit.examination import AuditFault
from backup_agent.core.audit.lines import AuditKind, AuditLine
from backup_agent.core.audit.segments import LARGEST
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.signing import key_file
from backup_agent.signing.keyring import Keyring
from tests.builders import OFFSITE, a_record
from tests.catalog.places import place_at
from tests.stores.memory_store import MemoryStore

STARTED = AuditLine(kind=AuditKind.STARTED)


@dataclass
class Volume:
    """A volume with an audit log, beside a destination in memory."""

    folder: Path
    store: MemoryStore = field(default_factory=MemoryStore)
    key: Path | None = None

    @property
    def place(self) -> Place:
        return place_at(self.folder, OFFSITE, self.store, signing={"key_file": str(self.key) if self.key else None})

    @property
    def log(self) -> AuditLog:
        return AuditLog(self.folder)

    def copies(self) -> AuditCopies:
        return AuditCopies(self.place, Held(), Keyring(self.place.settings))

    def write(self, lines: int = 1) -> Fork | None:
        """Append some lines and store the log."""
        self.log.append(*[STARTED] * lines)
        return self.copies().store_all()

    def names(self) -> list[str]:
        return [one.key.removeprefix("audit/") for one in self.store.list("audit/")]

    def lines(self) -> list[AuditLine]:
        return list(AuditSource.of_folder(VOLUME, self.folder).lines())

    def examined(self) -> Examined:
        return examine(AuditSource.of_place(self.place), Keyring(self.place.settings))

    def faults(self) -> list[AuditFault]:
        return [one.fault for one in self.examined().findings]


@pytest.fixture(name="volume")
def _volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path / "volume")


def test_closed_segments_are_stored_once(volume: Volume) -> None:
    forks = [volume.write(), volume.copies().store_all(), volume.write(2)]

    assert forks == [None, None, None]
    assert volume.names() == ["000000000001-000000000002.jsonl", "000000000003-000000000004.jsonl"]
    assert volume.faults() == []


def test_a_segment_is_stored_when_it_is_old_enough(volume: Volume) -> None:
    volume.log.append(STARTED)
    volume.copies().store_old()

    assert volume.names() == []


def test_segments_whose_note_was_lost_are_stored_again_without_a_fork(volume: Volume) -> None:
    volume.write()
    shutil.rmtree(volume.place.folder("audit"))

    assert volume.write() is None
    assert len(volume.names()) == 2


def test_segments_are_sealed_and_a_changed_one_is_found(volume: Volume) -> None:
    volume.write()
    volume.key = volume.folder.parent / "key.pem"
    key_file.create(volume.key)
    volume.write()
    sealed = volume.examined()
    name = volume.names()[0]
    volume.store.delete(f"audit/{name}")
    volume.store.create(f"audit/{name}", b'{"n":1,"epoch":1,"kind":"begun"}\n')

    [fingerprint] = [line.facts["fingerprint"] for line in volume.lines() if line.kind == AuditKind.SIGNING_KEY]
    assert sealed.sealed == {fingerprint: 2}
    assert sealed.findings == ()
    assert {AuditFault.SEAL, AuditFault.REMOVED} <= set(volume.faults())


def test_a_seal_by_a_key_that_is_not_trusted_is_found(volume: Volume) -> None:
    volume.key = volume.folder.parent / "key.pem"
    key_file.create(volume.key)
    volume.write()
    volume.key = volume.folder.parent / "other.pem"
    key_file.create(volume.key)

    assert volume.faults() == [AuditFault.SEAL]


@dataclass
class Restored:
    """A volume that is restored from a snapshot."""

    volume: Volume
    snapshot: Path

    def restore(self) -> None:
        shutil.rmtree(self.volume.folder)
        shutil.copytree(self.snapshot, self.volume.folder)


@pytest.fixture(name="restored")
def _restored(volume: Volume, tmp_path: Path) -> Restored:
    """A volume that was restored after it had stored three more segments."""
    volume.write()
    found = Restored(volume, tmp_path / "snapshot")
    shutil.copytree(volume.folder, found.snapshot)
    for _ in range(3):
        volume.write()
    found.restore()
    return found


@pytest.mark.parametrize("lines", [1, 2, 7])
def test_a_restored_snapshot_is_a_fork_and_begins_another_epoch(restored: Restored, lines: int) -> None:
    volume = restored.volume

    fork = volume.write(lines)
    again = volume.write()

    assert fork is not None
    assert (fork.because, fork.theirs.n, fork.ours.n) == ("forked", 5, 2 + lines)
    assert again is None
    assert volume.log.head().epoch == 2
    assert volume.faults() == [AuditFault.GAP]
    assert [line.why for line in AuditSource.of_place(volume.place).lines() if line.kind == "begun"][-1] == "forked"


def test_a_restored_snapshot_that_wrote_the_same_range_is_a_fork(restored: Restored) -> None:
    assert restored.volume.write(1) is not None
    assert any(len(name) > len("000000000001-000000000002.jsonl") for name in restored.volume.names())


def test_a_snapshot_from_before_anything_was_stored_is_a_fork(volume: Volume, tmp_path: Path) -> None:
    volume.log.append(STARTED)
    shutil.copytree(volume.folder, tmp_path / "snapshot")
    volume.write()
    shutil.rmtree(volume.folder)
    shutil.copytree(tmp_path / "snapshot", volume.folder)

    fork = volume.write()

    assert fork is not None
    assert fork.because == "forked"
    assert volume.faults() == [AuditFault.GAP]


def test_a_new_volume_continues_the_log_of_a_lost_one(volume: Volume) -> None:
    for _ in range(3):
        volume.write()
    shutil.rmtree(volume.folder)

    fork = volume.write()

    assert fork is not None
    assert (fork.because, fork.theirs.n) == ("taken_up", 4)
    assert volume.write() is None
    assert volume.faults() == [AuditFault.GAP]


def test_a_new_volume_continues_a_log_whose_first_lines_have_expired(volume: Volume) -> None:
    for _ in range(3):
        volume.write()
    volume.store.delete("audit/000000000001-000000000002.jsonl")
    shutil.rmtree(volume.folder)

    assert volume.write() is not None


def test_a_foreign_object_with_the_name_of_the_next_segment_stops_nothing(volume: Volume) -> None:
    volume.write()
    volume.store.create("audit/000000000003-000000000003.jsonl", b'{"n":3,"epoch":1,"kind":"started"}\n')

    fork = volume.write()

    assert fork is not None
    assert volume.write() is None
    assert AuditFault.ALTERED in volume.faults() or AuditFault.REMOVED in volume.faults()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"garbage", id="no line"),
        pytest.param(b"", id="empty"),
        pytest.param(b'{"n":999999999999,"epoch":7,"kind":"started"}\n', id="a number that no log reaches"),
    ],
)
def test_garbage_among_the_segments_stops_nothing(volume: Volume, content: bytes) -> None:
    volume.store.create("audit/000000000001-999999999999.jsonl", content)

    fork = volume.write()

    assert fork is not None
    assert volume.write() is None
    assert volume.log.head().n == 4
    assert volume.log.closed()[-1].name in volume.names()
    volume.copies().expire(datetime.now(UTC), timedelta(days=1))


def test_objects_that_are_too_large_are_findings_and_end_nothing(volume: Volume) -> None:
    volume.write()
    volume.store.create("audit/000000000009-000000000009.jsonl", b"x" * (LARGEST + 1))
    volume.store.create(record_key(a_record().key), b"x" * 2**21)

    assert sorted(volume.faults()) == [AuditFault.ALTERED, AuditFault.UNEXPLAINED]


def test_nothing_is_created_without_the_lease(volume: Volume) -> None:
    class Lost(Held):
        def check(self) -> None:
            raise PermanentError(Reason.FOREIGN_ROOT, "lost")

    volume.log.append(STARTED)
    with pytest.raises(PermanentError, match="lost"):
        AuditCopies(volume.place, Lost(), Keyring(volume.place.settings)).store_all()

    assert volume.names() == []


def test_old_segments_expire_at_the_destination_once_a_day(volume: Volume) -> None:
    volume.write()
    volume.write()
    later = datetime.now(UTC) + timedelta(days=2)
    volume.log.append(STARTED)

    volume.copies().expire(later, timedelta(days=1))
    volume.copies().store_all()
    volume.copies().expire(later, timedelta(0))

    assert volume.names() == ["000000000004-000000000005.jsonl"]
    assert volume.faults() == []


@pytest.mark.parametrize("step", range(6))
def test_after_an_interruption_at_any_request_storing_continues(volume: Volume, step: int) -> None:
    class Breaking(MemoryStore):
        left = step

        def create(self, key: str, content: bytes) -> None:
            self._may(lambda: None)
            super().create(key, content)

        def _may(self, _act: Callable[[], None]) -> None:
            if self.left == 0:
                self.left -= 1
                raise PermanentError(Reason.STORAGE_UNREACHABLE, "broken")
            self.left -= 1

    volume.store = Breaking()
    volume.key = volume.folder.parent / "key.pem"
    key_file.create(volume.key)
    for _ in range(3):
        try:
            volume.write()
        except PermanentError:
            volume.write()

    assert volume.faults() == []
    assert sum(volume.examined().sealed.values()) == len(volume.log.closed())

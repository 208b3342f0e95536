"""The audit log of a volume: appending, lines that were cut off, segments, a full volume."""

import errno
import multiprocessing
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup_agent.catalog import audit_log
from backup_agent.catalog.audit_log import OPEN, RESERVE, AuditLog
from backup_agent.catalog.audit_reading import AuditSource
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.audit.examination import AuditFault, Examination
from backup_agent.core.audit.lines import START, AuditKind, AuditLine

STARTED = AuditLine(kind=AuditKind.STARTED)


@pytest.fixture(name="log")
def _log(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path)


def kinds(log: AuditLog) -> list[str]:
    return [line.kind for line in AuditSource.of_folder(VOLUME, log.root).lines()]


def faults(log: AuditLog) -> list[AuditFault]:
    examination = Examination(VOLUME)
    for name, content in AuditSource.of_folder(VOLUME, log.root).segments():
        examination.segment(name, content)
    return [one.fault for one in examination.findings(())]


def test_lines_are_appended_under_numbers_without_a_gap(log: AuditLog) -> None:
    assert log.head() == START
    log.append(STARTED)
    head = log.append(STARTED, STARTED)

    assert head == log.head() == log.append()
    assert (head.n, head.epoch) == (4, 1)
    assert kinds(log) == ["begun", "started", "started", "started"]
    assert faults(log) == []


@pytest.mark.parametrize("rest", [b'{"n":3,"epo', b"\0" * 5000, b"not a line\n", b"\xff\n{"])
def test_a_line_that_was_cut_off_is_moved_aside_and_the_log_says_so(log: AuditLog, rest: bytes) -> None:
    log.append(STARTED)
    with (log.folder / OPEN).open("ab") as file:
        file.write(rest)

    log.append(STARTED)

    assert kinds(log) == ["begun", "started", "torn", "started"]
    assert [(log.folder / name).read_bytes() for name in log.torn_files()] == [rest]
    assert faults(log) == [AuditFault.GAP]


def test_a_segment_without_a_whole_line_is_moved_aside_completely(log: AuditLog) -> None:
    log.append(STARTED)
    log.close()
    (log.folder / OPEN).write_bytes(b"garbage")

    log.append(STARTED)

    assert kinds(log) == ["begun", "started", "torn", "started"]


def test_a_closed_segment_has_the_name_of_its_lines_and_the_next_one_goes_on(log: AuditLog) -> None:
    log.close()
    log.append(STARTED)
    log.close(older_than=timedelta(hours=1))
    still_open = log.closed()
    log.close()
    log.append(STARTED)
    log.close()
    log.close()

    assert still_open == ()
    assert [one.name for one in log.closed()] == ["000000000001-000000000002.jsonl", "000000000003-000000000003.jsonl"]
    assert log.head().n == 3
    assert faults(log) == []


def test_a_segment_is_closed_when_it_is_large(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "SEGMENT_BYTES", 300)
    for _ in range(9):
        log.append(STARTED)

    assert len(log.closed()) >= 3
    assert faults(log) == []


def test_a_line_that_is_too_long_is_refused_and_the_log_is_unchanged(log: AuditLog) -> None:
    log.append(STARTED)
    with pytest.raises(OSError, match="an audit line of"):
        log.append(STARTED, AuditLine(kind=AuditKind.SETTINGS, why="x" * 2**16))

    assert kinds(log) == ["begun", "started"]


def test_old_segments_expire_and_the_log_says_up_to_which_line(log: AuditLog) -> None:
    log.append(STARTED)
    log.close()
    log.append(STARTED)
    now = datetime.now(UTC)

    log.expire(now, timedelta(days=1))
    kept = log.closed()
    log.expire(now + timedelta(days=2), timedelta(days=1))

    assert len(kept) == 1
    assert log.closed() == ()
    assert kinds(log) == ["started", "expired"]
    assert faults(log) == []


class Full:
    """A volume on which each write fails until all files of the reserve are deleted."""

    def __init__(self, log: AuditLog, files: int) -> None:
        self._reserve = log.folder / RESERVE
        self._reserve.mkdir(parents=True)
        for number in range(files):
            (self._reserve / str(number)).write_bytes(b"x")
        self._write, self._free = os.write, 0

    def write(self, descriptor: int, content: memoryview) -> int:
        if len(os.listdir(self._reserve)) > self._free:
            self._write(descriptor, content[:7])
            raise OSError(errno.ENOSPC, "full")
        return self._write(descriptor, content)


def test_on_a_full_volume_the_reserve_is_given_up_and_no_line_is_lost(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Full(log, files=3)
    monkeypatch.setattr(os, "write", full.write)

    log.append(STARTED)

    assert os.listdir(log.folder / RESERVE) == []
    assert kinds(log) == ["begun", "started"]


def test_a_full_volume_without_a_reserve_refuses_the_line_and_keeps_the_others(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append(STARTED)
    full = Full(log, files=1)
    full._free = -1
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full.write)
        with pytest.raises(OSError, match="full"):
            log.append(STARTED)

    assert kinds(log) == ["begun", "started"]
    assert faults(log) == []


def _append_many(root: Path) -> None:
    for _ in range(20):
        AuditLog(root).append(STARTED)


def test_processes_that_append_at_the_same_time_do_not_lose_a_line(log: AuditLog) -> None:
    processes = [multiprocessing.Process(target=_append_many, args=(log.root,)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert len(kinds(log)) == 61
    assert faults(log) == []

"""The audit log of one volume: `<root>/.agent/audit/`.

Each process of the agent, and each command beside it, appends by `AuditLog.append` under one lock: it reads the last
whole line, moves a line that a crash cut off aside, appends and syncs. That takes the same time however long the log
is. The lines go into `open.jsonl`, which is closed from time to time: it gets the name of its lines
(`core.audit.segments`), and does not change any more. `audit_copies` stores closed segments at the destinations.

The log has a reserve of its own. If the volume is full, files of the reserve are given up, so that the deletions that
make room can still be written down.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from backup_agent import durable
from backup_agent.catalog.place import OWN
from backup_agent.catalog.space import give_up_file, insist
from backup_agent.core.artifacts.names import VOLUME
from backup_agent.core.audit.lines import (
    LONGEST_LINE,
    START,
    AuditKind,
    AuditLine,
    Head,
    digest_of_line,
    expired,
    head_of,
)
from backup_agent.core.audit.segments import LARGEST, Segment

START_OF_TIME = datetime(1970, 1, 1, tzinfo=UTC)
OPEN = "open.jsonl"
RESERVE = "reserve"
_TORN = "torn-"
_USUAL_LINE = 4096
"""Number of bytes that are read first to find the last line."""

SEGMENT_BYTES = 2**20
"""A segment is closed when it has grown to this size."""

CLOSE_AFTER = timedelta(minutes=10)
"""Age of the first line at which a segment is closed, so that it can be stored at the destinations."""


class _Tail(NamedTuple):
    """The end of the open segment."""

    head: Head
    whole: int
    """Number of bytes of whole lines."""
    size: int
    """Number of bytes of the file. What is beyond `whole` is a line that was cut off."""


@dataclass(frozen=True)
class AuditLog:
    """The audit log below a storage root. Creating it reads and writes nothing."""

    root: Path

    @property
    def folder(self) -> Path:
        """The folder of the log. It has a folder for each destination, too, with what is stored there."""
        return self.root / OWN / "audit"

    def append(self, *lines: AuditLine) -> Head:
        """Append lines durably, and return the new end of the log. If that fails, append no line and raise OSError.

        `n`, `prev`, `at` and `pod` of the lines are set. The first line of a log says that it begins.
        """
        if not lines:
            return self.head()
        return self._insisted(lambda: self._append(lines))

    def head(self) -> Head:
        """Return the end of the log; START if it has no line. Raise OSError if the log cannot be read."""
        if not self.folder.exists():
            return START
        with self._locked():
            return self._tail().head

    def closed(self) -> tuple[Segment, ...]:
        """Return the closed segments in order. Raise OSError if they cannot be listed."""
        return tuple(filter(None, map(Segment.of, durable.names(self.folder))))

    def torn_files(self) -> tuple[str, ...]:
        """Return the names of the files with lines that were cut off."""
        return tuple(name for name in durable.names(self.folder) if name.startswith(_TORN))

    def close(self, *, older_than: timedelta = timedelta(0)) -> None:
        """Close the open segment if its first line is at least this old. Raise OSError if that fails."""
        if not self.folder.exists():
            return
        with self._locked():
            opened = self._opened()
            if opened is not None and (opened.at or START_OF_TIME) <= datetime.now(UTC) - older_than:
                self._close(self._mended())

    def expire(self, now: datetime, keep: timedelta) -> None:
        """Delete the segments whose last line is older than `keep`. Before that, the log says up to which line."""
        old: list[Segment] = []
        newest = START
        for segment in self.closed():
            head, at = _last_of(self.folder / segment.name)
            if at is None or now - at < keep:
                break
            old.append(segment)
            newest = head
        if old:
            self.append(expired(VOLUME, newest))
        for segment in old:
            (self.folder / segment.name).unlink(missing_ok=True)

    def begin_epoch(self, place: str, theirs: Head, because: str) -> Head:
        """Begin another epoch after a fork, with a line that names both ends. Return the new end of the log.

        Its lines are numbered after those of both logs, so that no name of a segment is used twice.
        """

        def begin() -> Head:
            with self._locked():
                ours = self._mended()
                self._close(ours)
                above = Head(max(ours.n, theirs.n), max(ours.epoch, theirs.epoch) + 1, ours.digest)
                return self._write((_begun(because, {VOLUME: ours, place: theirs}),), above)

        return self._insisted(begin)

    def _insisted(self, act: Callable[[], Head]) -> Head:
        return insist(act, lambda: give_up_file(self.folder / RESERVE) is not None)

    def _append(self, lines: tuple[AuditLine, ...]) -> Head:
        with self._locked(make=True):
            head = self._mended()
            if head == START:
                lines = (_begun("first", {}), *lines)
            return self._write(lines, head)

    def _mended(self) -> Head:
        """Return the end of the log, after a line that was cut off has been moved aside."""
        tail = self._tail()
        return self._write((self._move_aside(tail),), tail.head) if tail.size > tail.whole else tail.head

    def _write(self, lines: tuple[AuditLine, ...], head: Head) -> Head:
        now, pod = datetime.now(UTC), os.uname().nodename
        content = bytearray()
        for line in lines:
            chained = line.chained(head, now, pod)
            written = chained.to_json()
            if len(written) > LONGEST_LINE:
                raise OSError(errno.EFBIG, f"an audit line of {len(written)} bytes", str(self.folder / OPEN))
            head = Head(chained.n, chained.epoch, digest_of_line(written))
            content += written
        path = self.folder / OPEN
        descriptor = durable.open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, mode=durable.FILE)
        try:
            before = os.fstat(descriptor).st_size
            try:
                _write_all(descriptor, content, path)
                os.fsync(descriptor)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(descriptor, before)
                raise
        finally:
            os.close(descriptor)
        if not before:
            durable.sync_folder(self.folder)
        if before + len(content) >= SEGMENT_BYTES:
            self._close(head)
        return head

    def _tail(self) -> _Tail:
        """Return the end of the log. If the open segment has no line, the last closed one has it."""
        with suppress(FileNotFoundError):
            tail = _tail_of(self.folder / OPEN)
            if tail.whole:
                return tail
            return tail._replace(head=self._last_closed())
        return _Tail(self._last_closed(), 0, 0)

    def _last_closed(self) -> Head:
        segments = self.closed()
        return _tail_of(self.folder / segments[-1].name).head if segments else START

    def _opened(self) -> AuditLine | None:
        """Return the first line of the open segment; None if it has no whole line."""
        with (
            suppress(FileNotFoundError, ValueError),
            os.fdopen(durable.open_regular(self.folder / OPEN), "rb") as file,
        ):
            return AuditLine.from_json(file.readline(LONGEST_LINE))
        return None

    def _close(self, head: Head) -> None:
        """Rename the open segment, whose last line is `head`, after its first and last line."""
        opened = self._opened()
        if opened is not None:
            (self.folder / OPEN).rename(self.folder / Segment(opened.n, head.n).name)
            durable.sync_folder(self.folder)

    def _move_aside(self, tail: _Tail) -> AuditLine:
        """Move what follows the last whole line into a file of its own. Return the line that says so."""
        path = self.folder / OPEN
        descriptor = durable.open_regular(path, os.O_RDWR)
        try:
            rest = os.pread(descriptor, min(tail.size - tail.whole, LARGEST), tail.whole)
            name = f"{_TORN}{tail.head.n + 1:012}"
            durable.write(self.folder / name, rest)
            os.ftruncate(descriptor, tail.whole)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return AuditLine(kind=AuditKind.TORN, facts={"file": name, "bytes": tail.size - tail.whole})

    @contextmanager
    def _locked(self, *, make: bool = False) -> Iterator[None]:
        if make:
            durable.make_folder(self.folder)
        lock = durable.open_regular(self.folder / "lock", os.O_RDWR | os.O_CREAT, mode=durable.SHARED)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _begun(because: str, heads: dict[str, Head]) -> AuditLine:
    named = {where: {"n": head.n, "digest": head.digest} for where, head in heads.items()}
    return AuditLine(kind=AuditKind.BEGUN, why=because, facts={"heads": named} if named else {})


def _last_of(segment: Path) -> tuple[Head, datetime | None]:
    """Return the end of a closed segment, and the time of its last line."""
    content = durable.read(segment, LARGEST).splitlines()[-1]
    return head_of(content), AuditLine.from_json(content).at


def _tail_of(path: Path) -> _Tail:
    """Return the end of a segment. Raise OSError if it cannot be read.

    Bytes at the end that are no line count as cut off: after a power failure a file may end in zeros.
    """
    descriptor = durable.open_regular(path)
    try:
        size = os.fstat(descriptor).st_size
        for window in (_USUAL_LINE, 2 * LONGEST_LINE):
            start = max(0, size - window)
            found = _last_line(os.pread(descriptor, size - start, start), whole=start == 0)
            if found is not None:
                head, end = found
                return _Tail(head, start + end, size)
    finally:
        os.close(descriptor)
    return _Tail(START, 0, size)


def _last_line(content: bytes, *, whole: bool) -> tuple[Head, int] | None:
    """Return the last line in the end of a file, and where it ends, or None if it contains no whole line.

    If `content` is not the `whole` file, its first line may have been cut.
    """
    end = content.rfind(b"\n") + 1
    while end:
        begin = content.rfind(b"\n", 0, end - 1) + 1
        if begin or whole:
            with suppress(ValueError):
                return head_of(content[begin:end]), end
        end = begin
    return None


def _write_all(descriptor: int, content: bytes | bytearray, path: Path) -> None:
    view = memoryview(content)
    while view:
        written = os.write(descriptor, view)
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        view = view[written:]

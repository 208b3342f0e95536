"""The log of re-readings: when each artifact of a place was last read again and found sound.

After a restart reading goes on where it was. Below `<root>/.agent/verified/<place>@<where>/`, `log` has a line for each
reading, and the last line of an artifact counts; `state.json` is what the last slice came to. Both only save reading:
what is lost is read once more. `asked/<request>` is what has been done for a request that is read in slices: it must be
written, or the request would never end.
"""

import errno
import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from pydantic import ValidationError

from backup_agent import durable
from backup_agent.core.artifacts.records import StoredValue
from backup_agent.core.reasons import Reason
from backup_agent.core.requests.answers import NotRead
from backup_agent.core.retention.scrub import Done

_LONGEST_LINE = 4096
_LONGEST_ERROR = 500
"""Characters that the line of an artifact keeps of an error."""

_SLACK = 1000
"""Lines more than twice the artifacts before the log is written anew."""


class SliceState(StoredValue):
    """What a slice leaves for the next one."""

    started: datetime
    read: int
    pace: float
    unread: tuple[str, ...] = ()
    """What could not be read when it was last tried: it waits behind all else, and hurries nothing."""
    rate: float | None = None
    """Bytes a second at which the last slice read, waiting for its bandwidth counted; None if it read too little."""

    @property
    def done(self) -> Done:
        """The slice, as the core sees it."""
        return Done(self.started, self.read, self.pace)


class ReadOutcome(StrEnum):
    """What became of an artifact that was read for a request."""

    VERIFIED = "verified"
    DAMAGED = "damaged"
    HEALED = "healed"
    UNREAD = "unread"
    GONE = "gone"
    """Its record was deleted meanwhile."""


class ReadingLine(StoredValue):
    """One artifact that was dealt with for a request."""

    key: str
    became: ReadOutcome
    size: int = 0
    why: NotRead | None = None
    reason: Reason | None = None
    error: str | None = None

    def to_json(self) -> bytes:
        """Return the line: without nulls, blanks and line breaks."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n"


class RequestReadings:
    """What has been done for one request at one place, kept over restarts: a line an artifact, the last one counts."""

    def __init__(self, folder: Path, request: str) -> None:
        """Read what earlier slices have done, without a line that a crash cut; raise OSError if it cannot be read."""
        self._path = folder / "asked" / request
        self.lines: dict[str, ReadingLine] = {}
        with suppress(FileNotFoundError, NotADirectoryError):
            for raw in _whole_lines(self._path):
                with suppress(ValidationError):
                    line = ReadingLine.model_validate_json(raw)
                    self.lines[line.key] = line

    def note(self, line: ReadingLine) -> None:
        """Note what became of an artifact; raise OSError if the note cannot be written."""
        shown = line if line.error is None else line.model_copy(update={"error": line.error[:_LONGEST_ERROR]})
        _append_line(self._path, shown.to_json())
        self.lines[line.key] = line

    def keys(self, became: ReadOutcome) -> tuple[str, ...]:
        """Return the artifacts of which this became."""
        return tuple(key for key, line in self.lines.items() if line.became is became)

    def keep_only(self, requests: Collection[str]) -> None:
        """Remove what was noted for requests that are not among these."""
        with suppress(OSError):
            for path in self._path.parent.iterdir():
                if path.name not in requests:
                    path.unlink()


class RereadLog:
    """The re-readings of one place."""

    def __init__(self, folder: Path) -> None:
        """Nothing is made on disk before the first reading."""
        self._folder = folder
        self._log = self._folder / "log"
        self._lines = 0
        self.times: dict[str, datetime] = self._load()

    def note(self, key: str, when: datetime) -> None:
        """Note that an artifact was read and is sound. A full volume does not take it: then it is read again."""
        self.times[key] = when
        self._append(f"{when.isoformat()} {key}\n".encode())

    def keep_only(self, keys: Collection[str]) -> None:
        """Write the log anew without artifacts that are gone, once it has grown long."""
        if self._lines <= 2 * len(keys) + _SLACK:
            return
        self.times = {key: when for key, when in sorted(self.times.items()) if key in keys}
        content = "".join(f"{when.isoformat()} {key}\n" for key, when in self.times.items())
        with suppress(OSError):
            durable.write(self._log, content.encode())
            self._lines = len(self.times)

    def state(self) -> SliceState | None:
        """Return what the last slice left."""
        try:
            return SliceState.from_json(durable.read(self._folder / "state.json"))
        except (OSError, ValueError):
            return None

    def leave(self, state: SliceState) -> None:
        """Leave the state for the next slice."""
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            durable.write(self._folder / "state.json", state.to_json())

    def _load(self) -> dict[str, datetime]:
        """Read the log; a line that a crash has cut is none."""
        times: dict[str, datetime] = {}
        with suppress(OSError), os.fdopen(durable.open_regular(self._log), "rb") as log:
            while line := log.readline(_LONGEST_LINE):
                self._lines += 1
                when, _, key = line.removesuffix(b"\n").partition(b" ")
                if line.endswith(b"\n"):  # else a crash has cut it
                    with suppress(ValueError):
                        times[key.decode()] = datetime.fromisoformat(when.decode())
        return times

    def _append(self, line: bytes) -> None:
        with suppress(OSError):
            _append_line(self._log, line)
            self._lines += 1


def _append_line(path: Path, line: bytes) -> None:
    """Append a line, after what a crash has left of the one before; raise OSError if not all of it was written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = durable.open_regular(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    try:
        end = os.fstat(descriptor).st_size
        if end and os.pread(descriptor, 1, end - 1) != b"\n":
            line = b"\n" + line
        if os.write(descriptor, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(descriptor)


def _whole_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, without their ends; one that a crash has cut is left out. Raise OSError."""
    with os.fdopen(durable.open_regular(path), "rb") as file:
        while line := file.readline(_LONGEST_LINE):
            if line.endswith(b"\n"):
                yield line[:-1]

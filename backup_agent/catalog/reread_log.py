"""The log of verification: when each artifact of a place was last read and found undamaged.

After a restart, verification continues where it was. The files are below `<root>/.agent/verified/<place>@<where>/`.
`log` has a line for each reading; the last line of an artifact counts. `state.json` is the state of the last slice. If
either is lost, artifacts are read again. `asked/<request>` has the outcomes for a request that is read in slices. If
that file cannot be written, the request fails, because otherwise it would never end.
"""

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
from backup_agent.core.retention.verify_slices import FinishedSlice

_LONGEST_LINE = 4096
_LONGEST_ERROR = 500
"""Longest text of an error in the line of an artifact, in characters."""

_SLACK = 1000
"""The log is rewritten if it has more lines than twice the number of artifacts plus this number."""


class SliceState(StoredValue):
    """The state that a slice stores for the next one."""

    started: datetime
    read: int
    pace: float
    unread: tuple[str, ...] = ()
    """Artifacts that could not be read at the last try. They come last, and do not change the pace."""
    rate: float | None = None
    """Bytes per second of the last slice, including waits for the bandwidth limit; None if too little was read."""

    @property
    def finished_slice(self) -> FinishedSlice:
        """The slice as a value for `core.retention.verify_slices`."""
        return FinishedSlice(self.started, self.read, self.pace)


class ReadOutcome(StrEnum):
    """The outcome of an artifact that was read for a request."""

    VERIFIED = "verified"
    DAMAGED = "damaged"
    HEALED = "healed"
    UNREAD = "unread"
    GONE = "gone"
    """The record was deleted meanwhile."""


class ReadingLine(StoredValue):
    """The outcome of one artifact for a request."""

    key: str
    became: ReadOutcome
    size: int = 0
    why: NotRead | None = None
    reason: Reason | None = None
    error: str | None = None

    def to_json(self) -> bytes:
        """Return the line as JSON without nulls and blanks, ended by a line break."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n"


class RequestReadings:
    """The outcomes of one request at one place, kept over restarts: one line per artifact, the last one counts."""

    def __init__(self, folder: Path, request: str) -> None:
        """Read the outcomes of earlier slices, except truncated lines. Raise OSError if they cannot be read."""
        self._path = folder / "asked" / request
        self.lines: dict[str, ReadingLine] = {}
        with suppress(FileNotFoundError, NotADirectoryError):
            for raw in _whole_lines(self._path):
                with suppress(ValidationError):
                    line = ReadingLine.model_validate_json(raw)
                    self.lines[line.key] = line

    def note(self, line: ReadingLine) -> None:
        """Note the outcome of an artifact. Raise OSError if the note cannot be written."""
        shown = line if line.error is None else line.model_copy(update={"error": line.error[:_LONGEST_ERROR]})
        self._path.parent.mkdir(parents=True, exist_ok=True)
        durable.append_line(self._path, shown.to_json())
        self.lines[line.key] = line

    def keys(self, became: ReadOutcome) -> tuple[str, ...]:
        """Return the keys of the artifacts with the outcome `became`."""
        return tuple(key for key, line in self.lines.items() if line.became is became)

    def keep_only(self, requests: Collection[str]) -> None:
        """Remove the notes of all requests except `requests`."""
        with suppress(OSError):
            for path in self._path.parent.iterdir():
                if path.name not in requests:
                    path.unlink()


class RereadLog:
    """The log of one place."""

    def __init__(self, folder: Path) -> None:
        """Create nothing on disk before the first reading."""
        self._folder = folder
        self._log = self._folder / "log"
        self._lines = 0
        self.times: dict[str, datetime] = self._load()

    def note(self, key: str, when: datetime) -> None:
        """Note that an artifact was read and is undamaged. If the volume is full, the artifact is read again later."""
        self.times[key] = when
        self._append(f"{when.isoformat()} {key}\n".encode())

    def keep_only(self, keys: Collection[str]) -> None:
        """If the log has grown long, rewrite it with only the artifacts `keys`."""
        if self._lines <= 2 * len(keys) + _SLACK:
            return
        self.times = {key: when for key, when in sorted(self.times.items()) if key in keys}
        content = "".join(f"{when.isoformat()} {key}\n" for key, when in self.times.items())
        with suppress(OSError):
            durable.write(self._log, content.encode())
            self._lines = len(self.times)

    def state(self) -> SliceState | None:
        """Return the state of the last slice, or None if there is no readable state."""
        try:
            return SliceState.from_json(durable.read(self._folder / "state.json"))
        except (OSError, ValueError):
            return None

    def leave(self, state: SliceState) -> None:
        """Store the state for the next slice. On a full volume the old state stays."""
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            durable.write(self._folder / "state.json", state.to_json())

    def _load(self) -> dict[str, datetime]:
        """Return artifact -> time of its last reading. Truncated lines are ignored."""
        times: dict[str, datetime] = {}
        with suppress(OSError), os.fdopen(durable.open_regular(self._log), "rb") as log:
            while line := log.readline(_LONGEST_LINE):
                self._lines += 1
                when, _, key = line.removesuffix(b"\n").partition(b" ")
                if line.endswith(b"\n"):  # otherwise a crash has truncated the line
                    with suppress(ValueError):
                        times[key.decode()] = datetime.fromisoformat(when.decode())
        return times

    def _append(self, line: bytes) -> None:
        with suppress(OSError):
            self._log.parent.mkdir(parents=True, exist_ok=True)
            durable.append_line(self._log, line)
            self._lines += 1


def _whole_lines(path: Path) -> Iterator[bytes]:
    """Yield the complete lines of a file without their line breaks. Raise OSError if it cannot be read."""
    with os.fdopen(durable.open_regular(path), "rb") as file:
        while line := file.readline(_LONGEST_LINE):
            if line.endswith(b"\n"):
                yield line[:-1]

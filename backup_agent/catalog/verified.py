"""When each artifact of a place was last read again and found sound, so that a restart goes on where it was.

Below `<root>/.agent/verified/<place>@<where>/`: `log` has a line a reading, and the last of an artifact counts;
`state.json` is what the last slice came to. Both only save reading: what is lost is read once more.
"""

import os
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from backup_agent import durable
from backup_agent.catalog.own import place_folder
from backup_agent.core.records import Value
from backup_agent.core.scrub import Done

_LONGEST_LINE = 4096
_SLACK = 1000
"""Lines more than twice the artifacts before the log is written anew."""


class State(Value):
    """What a slice leaves for the next one."""

    started: datetime
    read: int
    pace: float
    unread: tuple[str, ...] = ()
    """What could not be read when it was last tried: it waits behind all else, and hurries nothing."""

    @property
    def done(self) -> Done:
        """The slice, as the core sees it."""
        return Done(self.started, self.read, self.pace)


class Verified:
    """The readings of one place. `identity` is where it is, in any stable form."""

    def __init__(self, root: Path, place: str, identity: str) -> None:
        """Nothing is made on disk before the first reading."""
        self._folder = place_folder(root, "verified", place, identity)
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

    def state(self) -> State | None:
        """Return what the last slice left."""
        try:
            return State.model_validate_json(durable.read(self._folder / "state.json"))
        except (OSError, ValidationError):
            return None

    def leave(self, state: State) -> None:
        """Leave the state for the next slice."""
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            durable.write(self._folder / "state.json", state.model_dump_json(indent=2).encode() + b"\n")

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
            self._folder.mkdir(parents=True, exist_ok=True)
            log = durable.open_regular(self._log, os.O_RDWR | os.O_APPEND | os.O_CREAT)
            try:
                end = os.fstat(log).st_size
                if end and os.pread(log, 1, end - 1) != b"\n":
                    line = b"\n" + line
                os.write(log, line)
            finally:
                os.close(log)
            self._lines += 1

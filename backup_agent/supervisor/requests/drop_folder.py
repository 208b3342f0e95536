"""The files that are dropped into the requests folder: which of them are requests and can be taken now."""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backup_agent import durable
from backup_agent.core.artifacts.names import COMMAND_ID
from backup_agent.core.requests.request import LARGEST, InvalidRequestError, is_whole

ENDINGS = (".request", ".json")
ANSWER_ENDING = ".status.json"
QUIET_SECONDS = 2.0

FileVersion = tuple[int, int, int]
"""Inode, size and time of the last change. They differ after a file was written again."""


@dataclass(frozen=True)
class _Seen:
    """A version of an incomplete file, and when this version was first seen (monotonic seconds)."""

    version: FileVersion
    since: float


class DropFolder:
    """The requests that are dropped into a requests folder. Each method may raise OSError."""

    def __init__(self, folder: Path) -> None:
        """Read nothing yet."""
        self.folder = folder
        self._unripe: dict[str, _Seen] = {}
        self._whole: dict[str, FileVersion] = {}
        self._immovable: dict[str, FileVersion] = {}

    def takeable(self, monotonic: float) -> list[str]:
        """Return the names of the dropped files that can be taken now, the oldest first."""
        found: list[tuple[int, str]] = []
        unripe: dict[str, _Seen] = {}
        whole: dict[str, FileVersion] = {}
        for entry in os.scandir(self.folder):
            if not is_request_name(entry.name):
                continue
            try:
                facts = entry.stat(follow_symlinks=False)
                seen = self._look(entry.name, facts, monotonic)
            except FileNotFoundError:
                continue
            if seen is None:
                found.append((facts.st_mtime_ns, entry.name))
                whole[entry.name] = _version(facts)
            else:
                unripe[entry.name] = seen
        self._unripe, self._whole = unripe, whole
        self._immovable = {name: version for name, version in self._immovable.items() if name in whole}
        return [name for _, name in sorted(found)]

    @property
    def waits_for_quiet(self) -> bool:
        """Whether a dropped file was found that another process may still be writing."""
        return bool(self._unripe)

    def _look(self, name: str, facts: os.stat_result, monotonic: float) -> _Seen | None:
        """Return None if the file can be taken: it is complete, will be rejected, or has not changed for some time."""
        version = _version(facts)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > LARGEST or self._whole.get(name) == version:
            return None
        try:
            if facts.st_size and is_whole(durable.read(self.folder / name, LARGEST)):
                return None
        except (PermissionError, durable.RefusedFileError):
            return None
        before = self._unripe.get(name)
        if before is None or before.version != version:
            return _Seen(version, monotonic)
        return None if monotonic - before.since >= QUIET_SECONDS else before

    def version(self, name: str) -> FileVersion:
        """Return the version of a file."""
        return _version((self.folder / name).lstat())

    def is_immovable(self, name: str, version: FileVersion) -> bool:
        """Return whether this version of a file is known to be immovable."""
        return self._immovable.get(name) == version

    def note_immovable(self, name: str, version: FileVersion) -> None:
        """Note that this version of a file cannot be moved."""
        self._immovable[name] = version


def _version(facts: os.stat_result) -> FileVersion:
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def is_request_name(name: str) -> bool:
    """Return whether a file of that name in the requests folder is a request, not an answer or a hidden file."""
    return name.endswith(ENDINGS) and not name.endswith(ANSWER_ENDING) and not name.startswith(".")


def command_of(name: str) -> str | None:
    """Return the id of a request that a command of `backup-agent` dropped, from its file name; None for other files."""
    stem = name.removesuffix(".request")
    return stem if COMMAND_ID.fullmatch(stem) else None


def read_request(path: Path) -> bytes:
    """Return the bytes of a dropped file. Raise InvalidRequestError if it is too large, unreadable or not regular."""
    mode = path.lstat().st_mode
    for test, word in _KINDS:
        if test(mode):
            raise InvalidRequestError((f"{word}, not a file: write the JSON itself into a regular file",))
    try:
        return durable.read(path, LARGEST)
    except durable.TooLargeError:
        raise InvalidRequestError((f"more than {LARGEST} bytes: a request has at most that many",)) from None
    except OSError as error:
        raise InvalidRequestError(
            (f"cannot be read ({error.strerror}): the agent runs as uid {os.getuid()}",)
        ) from None


_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)

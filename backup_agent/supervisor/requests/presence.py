"""The lock of a requests folder. It shows other processes whether an agent takes requests from the folder.

The agent holds a POSIX lock on `.spool/.lock`. Other processes query it by F_GETLK, which takes no lock and so cannot
disturb an agent that is starting. HTTP cannot replace this: it may be unreachable while the agent takes requests.
"""

import errno
import fcntl
import os
import struct
from contextlib import suppress
from enum import Enum
from functools import partial
from pathlib import Path

from backup_agent import durable
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.supervisor.requests.reserve import Reserve

LOCK = Path(".spool", ".lock")
"""The lock's file below the requests folder."""

_FLOCK = "hhqqi4x"
"""`struct flock` of 64-bit Linux: type, whence, start, length, process."""


class Presence(Enum):
    """Whether an agent takes requests from the folder."""

    PRESENT = "present"
    ABSENT = "absent"
    UNKNOWN = "unknown"
    """The lock's file cannot be opened, or the file system has no locks."""


def presence(folder: Path) -> Presence:
    """Return whether an agent holds the lock of a requests folder.

    Never call this in the process that holds the lock: closing any descriptor of the file would release the lock.
    """
    try:
        descriptor = durable.open_regular(folder / LOCK)
    except FileNotFoundError:
        return Presence.ABSENT
    except OSError:
        return Presence.UNKNOWN
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))[0]
    except OSError:
        return Presence.UNKNOWN
    finally:
        os.close(descriptor)
    return Presence.ABSENT if kind == fcntl.F_UNLCK else Presence.PRESENT


class FolderLock:
    """The lock that the agent holds on its requests folder."""

    def __init__(self, folder: Path, reserve: Reserve) -> None:
        """Lock nothing yet."""
        self._folder = folder
        self._reserve = reserve
        self._lock: int | None = None

    def hold(self) -> None:
        """Lock the folder that exists now at the path. Raise PermanentError if another agent holds the lock.

        This is a lock of the process (POSIX), not of an open file (flock): children must not inherit it. If the file
        system has no locks, nothing is raised: the lock of the storage root is then the only one.
        """
        path = self._folder / LOCK
        with suppress(FileNotFoundError):
            if self._lock is not None and os.path.samestat(os.fstat(self._lock), path.lstat()):
                return
        opening = partial(durable.open_regular, path, os.O_RDWR | os.O_CREAT, mode=durable.SHARED)
        descriptor = self._reserve.insist(opening)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                os.close(descriptor)
                raise PermanentError(
                    Reason.FOREIGN_ROOT,
                    f"{self._folder}: another agent takes its requests from this folder",
                    "only one agent can use a folder: stop the other, or set `requests.folder` to another one",
                ) from error
        if self._lock is not None:
            os.close(self._lock)
        self._lock = descriptor

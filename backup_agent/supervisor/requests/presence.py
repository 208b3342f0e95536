"""The lock of a requests folder: one agent takes requests from it, and other processes ask whether one does.

The agent holds a POSIX lock on `.spool/.lock`. F_GETLK asks for the holder of a lock and takes none, so an agent that
starts at the same moment is not disturbed. HTTP would not tell: it may be closed off while requests are taken.
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
    """What the lock tells."""

    PRESENT = "present"
    ABSENT = "absent"
    UNKNOWN = "unknown"
    """The lock's file cannot be opened, or the file system has no locks."""


def presence(folder: Path) -> Presence:
    """Tell whether an agent holds the lock of a requests folder.

    Never call it in the process that holds the lock: closing any descriptor of the file would give the lock up.
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
    """The lock of the agent that takes its requests from a folder."""

    def __init__(self, folder: Path, reserve: Reserve) -> None:
        """Nothing is locked before `hold`."""
        self._folder = folder
        self._reserve = reserve
        self._lock: int | None = None

    def hold(self) -> None:
        """Lock the folder, also one that was mounted over the last: two agents would each do what the other took.

        A lock of the process, not flock's: children need none, and a new life in the same process is no stranger. Where
        the volume has no locks nothing tells agents apart, and the storage root's lock has to do.
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
                    "one agent a folder: stop the other, or give this one a folder of its own (`requests`)",
                ) from error
        if self._lock is not None:
            os.close(self._lock)
        self._lock = descriptor

"""Whether an agent takes requests from a folder, for other processes.

The agent holds a POSIX lock on `.spool/.lock`. Other processes query it by F_GETLK, which takes no lock and so cannot
disturb an agent that is starting. HTTP cannot replace this: it may be unreachable while the agent takes requests.
"""

import fcntl
import os
import struct
from enum import Enum
from pathlib import Path

from backup_agent import durable

LOCK = Path(".spool", ".lock")
"""The lock's file below the requests folder."""

_LONGEST_OWNER = 200
"""Largest number of bytes of the lock's file."""

_FLOCK = "hhqqi4x"
"""`struct flock` of 64-bit Linux: type, whence, start, length, process."""


class Presence(Enum):
    """Whether an agent takes requests from the folder."""

    PRESENT = "present"
    ABSENT = "absent"
    UNKNOWN = "unknown"
    """The lock's file cannot be opened, or the file system has no locks."""


def owner_of_agent(folder: Path) -> str | None:
    """Return the id of the agent that last took requests from a folder; None if it is unknown.

    Never call this in the process that holds the lock, like `presence`.
    """
    try:
        return durable.read(folder / LOCK, _LONGEST_OWNER).decode("ascii", "replace").strip() or None
    except OSError:
        return None


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

"""The lock of a storage root: an flock on `<root>/.lock`, so that only one agent uses the root at a time.

The processes of a run inherit the descriptor, so the root stays locked as long as any of them still writes there.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from backup_agent import durable
from backup_agent.core.reasons import PermanentError, Reason

LOCK = ".lock"
_HOLDER_LIMIT = 200
"""Number of bytes that are read from the lock file, which contains a process id and a host name."""


def own(root: Path) -> int:
    """Lock a storage root and return the descriptor that holds the lock.

    Raise PermanentError if another agent has locked it, or if the volume does not support locks.
    """
    durable.make_folder(root)
    descriptor = _open(root / LOCK)
    if not _try_lock(descriptor):
        holder = os.pread(descriptor, _HOLDER_LIMIT, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise PermanentError(
            Reason.FOREIGN_ROOT,
            f"{root}: another agent has locked this storage root ({holder or 'name unknown'})",
            "only one agent can use a storage root: stop the other one, or give this one another root",
        )
    _probe(root)
    with suppress(OSError):  # the name is only for messages, and may not fit on a full volume
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"pid {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
    return descriptor


def _open(lock: Path) -> int:
    try:
        descriptor = durable.open_regular(lock, os.O_RDWR | os.O_CREAT, mode=durable.SHARED)
    except PermissionError:
        owner = f"it belongs to uid {lock.stat().st_uid}" if lock.exists() else "its folder is not writable"
        raise PermanentError(
            Reason.INTERNAL,
            f"{lock}: this agent (uid {os.getuid()}, gid {os.getgid()}) cannot write to it: {owner}",
            "let the agent's group write to the volume: fsGroup in Kubernetes, else chgrp -R and chmod -R g+rwX",
        ) from None
    durable.share(descriptor)
    return descriptor


def _probe(root: Path) -> None:
    """Raise PermanentError if the lock can be taken twice, because locks do not work on this file system."""
    second = durable.open_regular(root / LOCK, os.O_RDWR)
    try:
        if _try_lock(second):
            raise PermanentError(
                Reason.FOREIGN_ROOT,
                f"{root}: this volume grants the same flock twice, so two agents could own it at once",
                "use a volume with file locks (a local or block volume; NFS 4 with locking)",
            )
    finally:
        os.close(second)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

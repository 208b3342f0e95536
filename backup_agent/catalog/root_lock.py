"""One agent owns a storage root at a time: an flock on `<root>/.lock`, probed on the real volume.

The processes of a run inherit the descriptor, so a root stays locked as long as anything still writes below it.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from backup_agent import durable
from backup_agent.core.reasons import PermanentError, Reason

LOCK = ".lock"
LONGEST_HOLDER = 200
"""Bytes of the lock file that are read: a process id and a host name."""


def own(root: Path) -> int:
    """Lock a storage root and return the descriptor that holds it; raise PermanentError where another agent does.

    Raise PermanentError as well on a volume that grants two locks at once: there nothing would keep agents apart.
    """
    durable.make_folder(root)
    descriptor = _open(root / LOCK)
    if not _locked(descriptor):
        holder = os.pread(descriptor, LONGEST_HOLDER, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise PermanentError(
            Reason.FOREIGN_ROOT,
            f"{root}: another agent has locked this storage root ({holder or 'it left no name'})",
            "one agent a storage root: stop the other, or give this one a root of its own",
        )
    _probe(root)
    with suppress(OSError):  # a name for people: a full volume, which has no room for it, is owned all the same
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
            f"{lock}: this agent, uid {os.getuid()} of gid {os.getgid()}, may not write it: {owner}",
            "let the agent's group write the volume: fsGroup in Kubernetes, else chgrp -R and chmod -R g+rwX",
        ) from None
    durable.share(descriptor)
    return descriptor


def _probe(root: Path) -> None:
    """Take the lock a second time: a file system that grants it has no locks."""
    second = durable.open_regular(root / LOCK, os.O_RDWR)
    try:
        if _locked(second):
            raise PermanentError(
                Reason.FOREIGN_ROOT,
                f"{root}: this volume grants the same flock twice, so two agents could own it at once",
                "use a volume with file locks (a local or block volume; NFS 4 with locking)",
            )
    finally:
        os.close(second)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

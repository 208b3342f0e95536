"""The lock that the agent holds on its requests folder. `presence` is how other processes see it."""

import errno
import fcntl
import os
from contextlib import suppress
from functools import partial
from pathlib import Path

from backup_agent import durable
from backup_agent.core.reasons import PermanentError, Reason
from backup_agent.supervisor.requests.presence import LOCK
from backup_agent.supervisor.requests.reserve import Reserve


class FolderLock:
    """The lock that the agent holds on its requests folder."""

    def __init__(self, folder: Path, reserve: Reserve) -> None:
        """Lock nothing yet."""
        self._folder = folder
        self._reserve = reserve
        self._lock: int | None = None
        self._named: tuple[int, str] | None = None

    def name(self, owner: str) -> None:
        """Write the id of the agent into the lock's file, so that commands know which agent takes their requests."""
        if self._lock is None or self._named == (self._lock, owner):
            return
        with suppress(OSError):  # the volume may be full
            os.pwrite(self._lock, f"{owner}\n".encode(), 0)
            os.ftruncate(self._lock, len(owner) + 1)
            self._named = (self._lock, owner)

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

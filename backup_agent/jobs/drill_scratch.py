"""The scratch folder of a drill. It holds production data, so it is removed when the drill ends, also after a kill.

    <scratch>/drill-<run>/lock      locked by the drill and by the programs that it starts
    <scratch>/drill-<run>/chain/    the fetched artifacts
    <scratch>/drill-<run>/…         the folders of the scratch Neo4j

The next drill, and the next survey of the agent, remove the folders whose lock is free. The agent surveys again if a
drill was killed. The programs that a killed drill has left hold the lock until they are ended.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from backup_agent import durable
from backup_agent.catalog.space import space
from backup_agent.core.drill.outcomes import DrillStoppedError, StopCause

_NAME = "drill-"
_LOCK = "lock"


@dataclass(frozen=True)
class ScratchFolder:
    """The scratch folder of one drill."""

    folder: Path
    lock: int
    """Descriptor of the lock. Programs of the drill inherit it."""

    @property
    def chain(self) -> Path:
        """The folder of the fetched artifacts."""
        return self.folder / "chain"

    @property
    def free(self) -> int:
        """Number of free bytes."""
        return space(self.folder).free

    def remove_chain(self) -> None:
        """Remove the fetched artifacts."""
        shutil.rmtree(self.chain, ignore_errors=True)


@contextmanager
def scratch_folder(parent: Path, run: str) -> Iterator[ScratchFolder]:
    """Make a scratch folder in `parent`, and remove it at the end. First remove what killed drills have left.

    Raise DrillStoppedError if the folder cannot be made.
    """
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = parent / (_NAME + run)
        with _alone(parent):
            remove_left(parent)
            folder.mkdir(mode=0o700)
            lock = durable.open_regular(folder / _LOCK, os.O_RDWR | os.O_CREAT)
            fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        text = f"{error.filename or parent}: no scratch folder can be made there: {error.strerror}"
        raise DrillStoppedError(StopCause.NO_ROOM, text) from error
    try:
        yield ScratchFolder(folder, lock)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@contextmanager
def _alone(parent: Path) -> Iterator[None]:
    """Hold the lock of `parent`: while a folder is made, it has no lock yet, and must not be removed."""
    descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def clear(parent: Path) -> tuple[str, ...]:
    """Remove the scratch folders that killed drills have left in `parent`, if it exists. Return their names."""
    with suppress(FileNotFoundError), _alone(parent):
        return remove_left(parent)
    return ()


def is_scratch(name: str) -> bool:
    """Return whether a name is that of the scratch folder of a drill."""
    return name.startswith(_NAME)


def remove_left(parent: Path) -> tuple[str, ...]:
    """Like `clear`, for a caller that holds the lock of `parent`."""
    left = [name for name in durable.folders(parent) if is_scratch(name) and _is_free(parent / name)]
    for name in left:
        shutil.rmtree(parent / name, ignore_errors=True)
    return tuple(left)


def _is_free(folder: Path) -> bool:
    """Return whether no process holds the lock of a scratch folder."""
    try:
        lock = durable.open_regular(folder / _LOCK, os.O_RDWR)
    except OSError:
        return True  # killed before the lock was made, or while the folder was being removed
    try:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False
    finally:
        os.close(lock)

"""The reserve: files that are deleted one by one when the volume is full, so that answers can still be written.

A reserve is many small files because a volume can run out of inodes as well as of bytes. They are deleted one by one
because another process may be filling the volume, and would at once use up all space that is freed.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from backup_agent import durable
from backup_agent.catalog.space import T, VolumeSpace, give_up_file, insist, space

WHOLE = 64 * 2**20
FILES = 128
BLOCK = 4096

SHARE = 32
"""On a volume below 2 GiB the reserve takes one 32nd of the bytes."""

SHARE_OF_FILES = 8
"""The reserve has at most one eighth of the files that the volume can have."""

PLENTY = 3
"""The reserve is made only while this many times its size remains free, so that making it does not fill the volume."""

MAKE_SECONDS = 0.5
"""How long one call of `make` takes at most, on a slow network volume. The next call continues."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Size:
    """The size of a reserve: a number of files, and the bytes of each."""

    files: int
    each: int


def size_on(volume: VolumeSpace, parts: int = 1) -> Size:
    """Return the size that the reserve on a volume should have, or that of one of `parts` of it.

    >>> size_on(VolumeSpace(size=100 * 2**30, free=0))
    Size(files=128, each=524288)
    >>> size_on(VolumeSpace(size=16 * 2**20, free=0, files=400))
    Size(files=50, each=4096)
    """
    whole = min(WHOLE, volume.size // SHARE) // parts
    each = max(BLOCK, whole // FILES // BLOCK * BLOCK)
    files = min(FILES, whole // each)
    return Size(min(files, volume.files // SHARE_OF_FILES) if volume.files else files, each)


def missing(volume: VolumeSpace, present: int, parts: int = 1) -> int:
    """Return how many files of a reserve to make now, if `present` of them exist."""
    size = size_on(volume, parts)
    wanted = size.files - present
    if wanted <= 0 or volume.free < (wanted + PLENTY * size.files) * size.each:
        return 0
    if volume.files and volume.free_files < wanted + PLENTY * size.files:
        return 0
    return wanted


def nearly_full(volume: VolumeSpace) -> bool:
    """Return whether the free space of a volume is smaller than its reserve should be."""
    size = size_on(volume)
    return volume.free < size.files * size.each or bool(volume.files and volume.free_files < size.files)


class Reserve:
    """The reserve on one volume, in a folder of its own. Only `insist` raises OSError."""

    def __init__(self, folder: Path, *, parts: int = 1) -> None:
        """Make nothing yet. The reserve has the size of one of `parts` of a whole one."""
        self.folder = folder
        self._parts = parts
        self._refused = False

    def make(self) -> int:
        """Make the missing files if the volume has plenty of space; return how many were made."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            made = self._make()
        except OSError as error:
            if not self._refused and not durable.is_full(error):
                log.warning("reserve not made", folder=str(self.folder), error=error.strerror)
            self._refused = True
            return 0
        self._refused = False
        if made:
            log.info("reserve made", folder=str(self.folder), files=made)
        return made

    def _make(self) -> int:
        """Make files relative to the folder's descriptor, since another folder may be mounted over it."""
        until = time.monotonic() + MAKE_SECONDS
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            volume = space(descriptor)
            present = {entry.name for entry in os.scandir(descriptor)}
            wanted = missing(volume, len(present), self._parts)
            free = (name for name in map(str, range(FILES)) if name not in present)
            made = 0
            while made < wanted and time.monotonic() < until:
                _allocate(next(free), descriptor, size_on(volume, self._parts).each)
                made += 1
            return made
        finally:
            os.close(descriptor)

    def give_up(self) -> bool:
        """Delete one file of the reserve; return whether there was one."""
        left = give_up_file(self.folder)
        if left is None:
            return False
        log.warning("volume full, reserve given up", folder=str(self.folder), files_left=left)
        return True

    def clear_the_way(self) -> None:
        """Delete the whole reserve if the volume is nearly full, so that retention, which frees space, can begin."""
        try:
            full = nearly_full(space(self.folder))
        except OSError:
            return
        while full and self.give_up():
            pass

    def insist(self, act: Callable[[], T]) -> T:
        """Call `act`, which writes to this volume, and return its result: see `catalog.space.insist`."""
        return insist(act, self.give_up)


def _allocate(name: str, folder: int, size: int) -> None:
    """Make a file with allocated but unwritten bytes. If that fails, leave no file."""
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, durable.FILE, dir_fd=folder)
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError:
        os.unlink(name, dir_fd=folder)
        raise
    finally:
        os.close(descriptor)

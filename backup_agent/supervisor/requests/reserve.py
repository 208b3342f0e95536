"""Room kept for the day a volume is full, and given up then bit by bit, so that answers can be written all the same.

It is many small files without content: a volume can run out of files (inodes) as well as of bytes, and what is given
up at once is eaten at once by whatever filled the volume.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import structlog

from backup_agent import durable
from backup_agent.catalog.space import VolumeSpace, space

WHOLE = 64 * 2**20
FILES = 128
BLOCK = 4096

SHARE = 32
"""On a volume below 2 GiB the reserve is this part of it, one 32nd."""

SHARE_OF_FILES = 8
"""At most one eighth of the files that a volume can have."""

PLENTY = 3
"""So many times the reserve stays free beside it: a volume that is nearly full is not filled further."""

MAKE_SECONDS = 0.5
"""How long one `make` takes at most; on a slow share the next one goes on."""

T = TypeVar("T")

log = structlog.get_logger()


@dataclass(frozen=True)
class Size:
    """How large a reserve is: so many files of so many bytes each."""

    files: int
    each: int


def size_on(volume: VolumeSpace) -> Size:
    """Return the size of the reserve that a volume is to have.

    >>> size_on(VolumeSpace(size=100 * 2**30, free=0))
    Size(files=128, each=524288)
    >>> size_on(VolumeSpace(size=16 * 2**20, free=0, files=400))
    Size(files=50, each=4096)
    """
    whole = min(WHOLE, volume.size // SHARE)
    each = max(BLOCK, whole // FILES // BLOCK * BLOCK)
    files = min(FILES, whole // each)
    return Size(min(files, volume.files // SHARE_OF_FILES) if volume.files else files, each)


def missing(volume: VolumeSpace, present: int) -> int:
    """Return how many files to make now, of a reserve of which some are there."""
    size = size_on(volume)
    wanted = size.files - present
    if wanted <= 0 or volume.free < (wanted + PLENTY * size.files) * size.each:
        return 0
    if volume.files and volume.free_files < wanted + PLENTY * size.files:
        return 0
    return wanted


def nearly_full(volume: VolumeSpace) -> bool:
    """Tell whether less is free than the reserve is large."""
    size = size_on(volume)
    return volume.free < size.files * size.each or bool(volume.files and volume.free_files < size.files)


class Reserve:
    """The reserve on the volume of one folder, which is its own. Only `insist` raises."""

    def __init__(self, folder: Path) -> None:
        """Nothing is made before `make`."""
        self.folder = folder
        self._refused = False

    def make(self) -> int:
        """Make what is missing, where there is plenty of room; return how many files that were."""
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
        """Make files by names relative to the folder's descriptor: it may be changed for another meanwhile."""
        until = time.monotonic() + MAKE_SECONDS
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            volume = space(descriptor)
            present = {entry.name for entry in os.scandir(descriptor)}
            wanted = missing(volume, len(present))
            free = (name for name in map(str, range(FILES)) if name not in present)
            made = 0
            while made < wanted and time.monotonic() < until:
                _allocate(next(free), descriptor, size_on(volume).each)
                made += 1
            return made
        finally:
            os.close(descriptor)

    def give_up(self) -> bool:
        """Give up one file; tell whether there was one."""
        names = self._names()
        for left in range(len(names) - 1, -1, -1):
            try:
                (self.folder / names[left]).unlink()
            except OSError:
                continue
            log.warning("volume full, reserve given up", folder=str(self.folder), files_left=left)
            return True
        return False

    def clear_the_way(self) -> None:
        """Give up all of it where the volume is nearly full: for what frees room, and must be able to begin."""
        try:
            full = nearly_full(space(self.folder))
        except OSError:
            return
        while full and self.give_up():
            pass

    def insist(self, act: Callable[[], T]) -> T:
        """Do what writes to this volume; as long as that is full, give up a bit of the reserve and do it again.

        What fails is done again from its beginning. Raise the OSError of the last time.
        """
        while True:
            try:
                return act()
            except OSError as error:
                if not durable.is_full(error) or not self.give_up():
                    raise

    def _names(self) -> list[str]:
        try:
            return [entry.name for entry in os.scandir(self.folder)]
        except OSError:
            return []


def _allocate(name: str, folder: int, size: int) -> None:
    """Make a file that takes up its bytes without being written; none is left where that fails."""
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, durable.FILE, dir_fd=folder)
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError:
        os.unlink(name, dir_fd=folder)
        raise
    finally:
        os.close(descriptor)

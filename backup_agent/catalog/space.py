"""The free space of a volume, and whether it allows hard links."""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from backup_agent import durable

T = TypeVar("T")


@dataclass(frozen=True)
class VolumeSpace:
    """The size of a volume and its free part, in bytes and in files, as available to an unprivileged process."""

    size: int
    free: int
    files: int = 0
    """0 if the file system creates inodes as they are needed (btrfs)."""
    free_files: int = 0


def space(folder: Path | int) -> VolumeSpace:
    """Return the space of the volume that contains a folder (a path or a descriptor). Raise OSError if this fails."""
    volume = os.statvfs(folder)
    return VolumeSpace(
        size=volume.f_blocks * volume.f_frsize,
        free=volume.f_bavail * volume.f_frsize,
        files=volume.f_files,
        free_files=volume.f_favail,
    )


def allows_hard_links(root: Path) -> bool:
    """Return whether the volume of `root` allows hard links. Some network volumes do not.

    If the volume is too full for the probe, return True.
    """
    one, two = root / ".link-probe-1", root / ".link-probe-2"
    try:
        one.unlink(missing_ok=True)
        os.close(durable.open_regular(one, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        two.unlink(missing_ok=True)
        two.hardlink_to(one)
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    finally:
        two.unlink(missing_ok=True)
        one.unlink(missing_ok=True)
    return True


def give_up_file(reserve: Path) -> int | None:
    """Delete one file of a reserve. Return the number of files that are left, or None if the reserve was empty."""
    try:
        names = [entry.name for entry in os.scandir(reserve)]
    except OSError:
        return None
    for left in range(len(names) - 1, -1, -1):
        try:
            (reserve / names[left]).unlink()
        except OSError:
            continue
        return left
    return None


def insist(act: Callable[[], T], give_up: Callable[[], bool]) -> T:
    """Call `act`, which writes to a volume, and return its result.

    If the volume is full, give up a file of its reserve and call `act` again. Raise the last OSError if `give_up`
    returns False, because the reserve is used up.
    """
    while True:
        try:
            return act()
        except OSError as error:
            if not durable.is_full(error) or not give_up():
                raise

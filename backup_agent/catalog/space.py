"""The free space of a volume, and whether it allows hard links."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from backup_agent import durable


@dataclass(frozen=True)
class Space:
    """Sizes of a volume in bytes, as available to an unprivileged process."""

    free: int
    total: int


def space(folder: Path) -> Space:
    """Return the free and the total space of the volume of a folder. Raise OSError."""
    facts = os.statvfs(folder)
    return Space(free=facts.f_bavail * facts.f_frsize, total=facts.f_blocks * facts.f_frsize)


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

"""How much room a volume has, and what it allows."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from backup_agent import durable


@dataclass(frozen=True)
class Space:
    """Bytes of a volume, as an unprivileged process may use them."""

    free: int
    total: int


def space(folder: Path) -> Space:
    """Return the room on the volume of a folder. Raise OSError."""
    facts = os.statvfs(folder)
    return Space(free=facts.f_bavail * facts.f_frsize, total=facts.f_blocks * facts.f_frsize)


def allows_hard_links(root: Path) -> bool:
    """Tell whether files below the root may be hard linked: some network volumes refuse.

    A volume without room for the probe says nothing of that, and gets the benefit of the doubt.
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

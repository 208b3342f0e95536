"""Distinguish a mounted volume from the container's own disk, which is deleted together with the container.

The mount point is compared, not the device: with some storage drivers the root of a container and its volumes are
folders of the same file system of the node.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from backup_agent.core.reasons import PermanentError, Reason

Require = Literal["auto", "always", "never"]

MOUNTS = Path("/proc/self/mountinfo")
MARKERS = (Path("/.dockerenv"), Path("/run/.containerenv"))
"""Files that Docker and Podman put into each container."""

KUBERNETES = "KUBERNETES_SERVICE_HOST"
"""Environment variable that the kubelet sets in each container."""

_ROOT = "/"
_OVERLAY = frozenset({"overlay", "fuse.fuse-overlayfs"})


class Mount(NamedTuple):
    """A line of mountinfo: the mount point of a file system, and the type of the file system."""

    point: str
    kind: str


def check_volume_mounted(root: Path, require: Require, environ: Mapping[str, str]) -> None:
    """Raise PermanentError if the storage root must be on a mounted volume and is not. The root need not exist yet."""
    if is_own_disk(root, require, environ):
        where = "the container's own disk" if require == "auto" else "the root file system"
        raise PermanentError(
            Reason.STORAGE_UNREACHABLE,
            f"{root}: no volume is mounted there; it is on {where}, and backups would be lost with it",
            f"mount a volume at {root} (in Kubernetes, check the pod's claim and volumeMounts); to keep backups on "
            "this disk knowingly, set storage.require_volume: never",
        )


def is_own_disk(folder: Path, require: Require, environ: Mapping[str, str]) -> bool:
    """Return whether a folder is on the disk of `/` although `require` demands a volume; `auto`: only in containers."""
    if require == "never":
        return False
    mounts = parse(MOUNTS.read_text(errors="surrogateescape"))
    return mount_of(folder, mounts).point == _ROOT and (require == "always" or in_container(environ, mounts))


def in_container(environ: Mapping[str, str], mounts: tuple[Mount, ...]) -> bool:
    """Return whether this process runs in a container."""
    overlay = any(mount.point == _ROOT and mount.kind in _OVERLAY for mount in mounts)
    return overlay or KUBERNETES in environ or any(marker.exists() for marker in MARKERS)


def mount_of(folder: Path, mounts: tuple[Mount, ...]) -> Mount:
    """Return the mount that contains a folder. The folder need not exist."""
    path = folder.resolve()
    ancestors = {str(path), *map(str, path.parents)}
    return max(
        (mount for mount in mounts if mount.point in ancestors),
        key=lambda mount: len(mount.point),
        default=Mount("/", ""),
    )


def parse(mountinfo: str) -> tuple[Mount, ...]:
    r"""Return the mounts that proc_pid_mountinfo(5) lists.

    >>> parse("36 35 98:0 /mnt1 /my\\040volume rw,noatime master:1 - ext3 /dev/root rw,errors=continue")
    (Mount(point='/my volume', kind='ext3'),)
    """
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) > 4 and after:  # noqa: PLR2004  the fifth field is the mount point
            point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
            found.append(Mount(point, after.split(" ", 1)[0]))
    return tuple(found)
